//! What was read of the table lately, also what it does not list. Bounded: what was not asked for lately is forgotten. Never asks the table.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::model::device::DeviceId;
use crate::model::id::{DriverId, TenantId};

/// Devices of a tenant that one generation holds; there are two.
const GENERATION: usize = 32_768;
/// Devices of all tenants.
const MAX: usize = 4 * GENERATION;

#[derive(Debug, Default)]
pub(super) struct Known(Mutex<Tenants>);

/// Each tenant has its own: who asks for ever new ones makes others forget nothing, unless he is not who holds the most.
#[derive(Debug, Default)]
struct Tenants {
    known: HashMap<TenantId, Generations>,
    /// Of all tenants together.
    count: usize,
    /// Counts the changes: what was read before a change must not be learnt after it.
    changes: u64,
}

/// An answer is looked for in both generations. When the younger is full it becomes the older one, whose content goes unless it is asked for again.
#[derive(Debug, Default)]
struct Generations {
    young: HashMap<DeviceId, Option<DriverId>>,
    old: HashMap<DeviceId, Option<DriverId>>,
}

/// When the table was asked, counted in changes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked(u64);

impl Known {
    /// What the table says, or, when that is not known, a note of when it is asked.
    pub(super) fn get(&self, tenant: TenantId, device: &DeviceId) -> Result<Option<DriverId>, Asked> {
        let mut tenants = self.0.lock();
        let asked = Asked(tenants.changes);
        let generations = tenants.known.get_mut(&tenant).ok_or(asked)?;
        if let Some(known) = generations.young.get(device) {
            return Ok(known.clone());
        }
        let known = generations.old.remove(device).ok_or(asked)?;
        tenants.count -= 1;
        tenants.insert(tenant, device.clone(), known.clone());
        Ok(known)
    }

    /// Keeps what the table said, unless something has changed since it was asked.
    pub(super) fn learn(&self, asked: Asked, tenant: TenantId, device: &DeviceId, driver: Option<DriverId>) {
        let mut tenants = self.0.lock();
        if tenants.changes == asked.0 {
            tenants.insert(tenant, device.clone(), driver);
        }
    }

    /// The table has changed.
    pub(super) fn forget(&self, tenant: TenantId, device: &DeviceId) {
        let mut tenants = self.0.lock();
        tenants.changes += 1;
        if let Some(generations) = tenants.known.get_mut(&tenant) {
            let gone = [generations.young.remove(device), generations.old.remove(device)];
            tenants.count -= gone.iter().flatten().count();
        }
    }
}

impl Tenants {
    fn insert(&mut self, tenant: TenantId, device: DeviceId, driver: Option<DriverId>) {
        let generations = self.known.entry(tenant).or_default();
        if generations.young.len() >= GENERATION {
            self.count -= generations.turn();
        }
        self.count += usize::from(generations.young.insert(device, driver).is_none());
        while self.count > MAX
            && let Some(largest) = self.known.values_mut().max_by_key(|generations| generations.len())
        {
            self.count -= largest.turn();
        }
    }
}

impl Generations {
    fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// Says how many are forgotten.
    fn turn(&mut self) -> usize {
        std::mem::replace(&mut self.old, std::mem::take(&mut self.young)).len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_before_a_change_is_not_learnt_after_it() {
        let (known, tenant) = (Known::default(), TenantId::parse("acme").expect("valid"));
        let device = DeviceId::parse("7").expect("valid");
        let asked = known.get(tenant, &device).expect_err("not known");
        known.forget(tenant, &device);
        known.learn(asked, tenant, &device, None);
        let asked = known.get(tenant, &device).expect_err("still not known");
        known.learn(asked, tenant, &device, None);
        assert_eq!(known.get(tenant, &device).expect("known"), None);
    }

    #[test]
    fn it_holds_two_generations_and_keeps_what_is_asked_for() {
        let (known, tenant) = (Known::default(), TenantId::parse("acme").expect("valid"));
        let device = |number: usize| DeviceId::parse(&number.to_string()).expect("valid");
        for number in 0..3 * GENERATION {
            let asked = known.get(tenant, &device(number)).expect_err("not known");
            known.learn(asked, tenant, &device(number), None);
            assert!(known.get(tenant, &device(0)).is_ok(), "asked for all the time");
        }
        let tenants = known.0.lock();
        assert!(tenants.count <= 2 * GENERATION && tenants.count == tenants.known[&tenant].len(), "{}", tenants.count);
        drop(tenants);
        assert!(known.get(tenant, &device(1)).is_err());
    }

    #[test]
    fn who_asks_for_ever_new_ones_makes_no_other_tenant_forget() {
        let (known, quiet) = (Known::default(), TenantId::parse("quiet").expect("valid"));
        let device = |number: usize| DeviceId::parse(&number.to_string()).expect("valid");
        let ask = |tenant: TenantId, number: usize| {
            if let Err(asked) = known.get(tenant, &device(number)) {
                known.learn(asked, tenant, &device(number), None);
            }
        };
        ask(quiet, 7);
        for name in ["loud-1", "loud-2", "loud-3"] {
            let loud = TenantId::parse(name).expect("valid");
            (0..3 * GENERATION).for_each(|number| ask(loud, number));
        }
        assert!(known.get(quiet, &device(7)).is_ok());
        let tenants = known.0.lock();
        assert_eq!(tenants.count, tenants.known.values().map(Generations::len).sum::<usize>());
        assert!(tenants.count <= MAX, "{}", tenants.count);
    }
}
