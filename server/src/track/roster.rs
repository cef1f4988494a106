//! Who is in memory: the entities of a partition by id, and the tenants with their counts. Never knows what an entity's facts mean.

use hashbrown::{HashMap, HashTable};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::model::id::{Handle, TenantId};

/// Bounds of a partition's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Live drivers and deliveries of one tenant in this partition.
    pub entities_per_tenant: u32,
    /// Tombstones of all tenants; beyond it the oldest goes early.
    pub tombstones: usize,
}

impl Limits {
    /// The share of one of `partitions` in a tenant's `entity_limit` for the node, with room for what hashing spreads unevenly.
    pub fn share(entity_limit: u64, partitions: u16) -> Self {
        let even = entity_limit.div_ceil(u64::from(partitions.max(1)));
        let share = u32::try_from(even + even / 8 + 16).unwrap_or(u32::MAX);
        Self { entities_per_tenant: share, tombstones: usize::try_from(share).unwrap_or(usize::MAX).saturating_mul(4) }
    }
}

/// What a roster needs to know of the things it holds.
pub trait Entity {
    /// The slot of its tenant.
    fn tenant(&self) -> u32;
    fn id(&self) -> &str;
    fn handle(&self) -> Handle;

    fn hash(&self) -> u64 {
        entity_hash(self.tenant(), self.id())
    }
}

/// Places an entity in a roster. Only ever compared within one partition's state, for slots are given there.
pub fn entity_hash(tenant: u32, id: &str) -> u64 {
    xxh3_64_with_seed(id.as_bytes(), u64::from(tenant))
}

/// Entities by tenant and id. Bounded by what `Tenants::admit` lets in.
#[derive(Debug)]
pub struct Roster<E> {
    table: HashTable<Box<E>>,
}

impl<E> Default for Roster<E> {
    fn default() -> Self {
        Self { table: HashTable::new() }
    }
}

impl<E: Entity> Roster<E> {
    pub fn find(&self, hash: u64, tenant: u32, id: &str) -> Option<&E> {
        self.table.find(hash, |entity| entity.tenant() == tenant && entity.id() == id).map(Box::as_ref)
    }

    pub fn find_mut(&mut self, hash: u64, tenant: u32, id: &str) -> Option<&mut E> {
        self.table.find_mut(hash, |entity| entity.tenant() == tenant && entity.id() == id).map(Box::as_mut)
    }

    pub fn find_handle_mut(&mut self, hash: u64, handle: Handle) -> Option<&mut E> {
        self.table.find_mut(hash, |entity| entity.handle() == handle).map(Box::as_mut)
    }

    /// Adds an entity that is not there yet.
    pub fn insert(&mut self, entity: E) {
        let hash = entity.hash();
        self.table.insert_unique(hash, Box::new(entity), |entity| entity.hash());
    }

    pub fn remove_handle(&mut self, hash: u64, handle: Handle) -> Option<E> {
        let entry = self.table.find_entry(hash, |entity| entity.handle() == handle).ok()?;
        Some(*entry.remove().0)
    }

    pub fn iter(&self) -> impl Iterator<Item = &E> {
        self.table.iter().map(Box::as_ref)
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut E> {
        self.table.iter_mut().map(Box::as_mut)
    }

    pub fn count(&self) -> usize {
        self.table.len()
    }
}

/// Numbers tenants in order of first sight and counts what each has in memory. Bounded by the tenants that have a key.
#[derive(Debug, Default)]
pub struct Tenants {
    tenants: Vec<(TenantId, u32)>,
    slots: HashMap<TenantId, u32>,
}

impl Tenants {
    pub fn slot(&mut self, tenant: &TenantId) -> u32 {
        if let Some(slot) = self.slots.get(tenant) {
            return *slot;
        }
        let slot = u32::try_from(self.tenants.len()).expect("there are fewer than 2^32 tenants");
        self.tenants.push((*tenant, 0));
        self.slots.insert(*tenant, slot);
        slot
    }

    pub fn known(&self, tenant: &TenantId) -> Option<u32> {
        self.slots.get(tenant).copied()
    }

    pub fn id(&self, slot: u32) -> &TenantId {
        &self.tenants[slot as usize].0
    }

    /// In the order of their slots.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &TenantId> {
        self.tenants.iter().map(|(tenant, _)| tenant)
    }

    /// Counts one entity more, unless the tenant has `limit` already.
    pub fn admit(&mut self, slot: u32, limit: u32) -> bool {
        let count = &mut self.tenants[slot as usize].1;
        let fits = *count < limit;
        *count += u32::from(fits);
        fits
    }

    pub fn dismiss(&mut self, slot: u32) {
        let count = &mut self.tenants[slot as usize].1;
        *count = count.saturating_sub(1);
    }
}
