//! Who is in memory: the entities of a partition by id, and the tenants with their counts. Never knows what an entity's facts mean.

use hashbrown::HashMap;

use crate::model::id::{Id, TenantId};
use crate::slots::{Index, Slot, Slots};

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
    /// What it is an id of.
    type Kind;

    /// The slot of its tenant.
    fn tenant(&self) -> u32;
    fn id(&self) -> &Id<Self::Kind>;

    fn hash(&self) -> u64 {
        entity_hash(self.tenant(), self.id())
    }
}

/// Places an entity in a roster. Only ever compared within one partition's state, for tenants' slots are given there.
pub fn entity_hash<Of>(tenant: u32, id: &Id<Of>) -> u64 {
    id.hash_with(u64::from(tenant))
}

/// Entities by tenant and id. Bounded by what `Tenants::admit` lets in.
#[derive(Debug)]
pub struct Roster<E> {
    index: Index,
    entities: Slots<E>,
}

impl<E> Default for Roster<E> {
    fn default() -> Self {
        Self { index: Index::default(), entities: Slots::default() }
    }
}

impl<E: Entity> Roster<E> {
    pub fn slot(&self, tenant: u32, id: &Id<E::Kind>) -> Option<Slot> {
        self.index.find(entity_hash(tenant, id), |slot| self.entities.get(slot).is_some_and(|entity| entity.id() == id && entity.tenant() == tenant))
    }

    pub fn find(&self, tenant: u32, id: &Id<E::Kind>) -> Option<&E> {
        self.get(self.slot(tenant, id)?)
    }

    pub fn get(&self, slot: Slot) -> Option<&E> {
        self.entities.get(slot)
    }

    pub fn get_mut(&mut self, slot: Slot) -> Option<&mut E> {
        self.entities.get_mut(slot)
    }

    /// Adds an entity that is not there yet.
    pub fn insert(&mut self, entity: E) -> Slot {
        let hash = entity.hash();
        let slot = self.entities.insert(entity);
        let entities = &self.entities;
        self.index.insert(hash, slot, |slot| entities.get(slot).map_or(0, E::hash));
        slot
    }

    pub fn remove(&mut self, slot: Slot) -> Option<E> {
        let gone = self.entities.remove(slot)?;
        self.index.remove(gone.hash(), slot);
        Some(gone)
    }

    pub fn iter(&self) -> impl Iterator<Item = &E> {
        self.entities.iter()
    }

    pub fn iter_placed(&self) -> impl Iterator<Item = (Slot, &E)> {
        self.entities.iter_placed()
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = (Slot, &mut E)> {
        self.entities.iter_mut()
    }

    pub fn count(&self) -> usize {
        self.index.len()
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
