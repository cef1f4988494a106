//! What was read of the table lately, also what it does not list. Bounded: what was not asked for lately is forgotten. Never asks the table.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::model::device::DeviceId;
use crate::model::id::{DriverId, TenantId};

/// Devices of all tenants that one generation holds; there are two.
const GENERATION: usize = 32_768;

#[derive(Debug, Default)]
pub(super) struct Known(Mutex<Generations>);

/// An answer is looked for in both generations. When the younger is full it becomes the older one, whose content goes unless it is asked for again.
#[derive(Debug, Default)]
struct Generations {
    young: HashMap<(TenantId, DeviceId), Option<DriverId>>,
    old: HashMap<(TenantId, DeviceId), Option<DriverId>>,
    /// Counts the changes: what was read before a change must not be learnt after it.
    changes: u64,
}

/// When the table was asked, counted in changes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked(u64);

impl Known {
    /// What the table says, or, when that is not known, a note of when it is asked.
    pub(super) fn get(&self, tenant: TenantId, device: &DeviceId) -> Result<Option<DriverId>, Asked> {
        let mut generations = self.0.lock();
        let key = (tenant, device.clone());
        if let Some(known) = generations.young.get(&key) {
            return Ok(known.clone());
        }
        let Some(known) = generations.old.remove(&key) else { return Err(Asked(generations.changes)) };
        generations.insert(key, known.clone());
        Ok(known)
    }

    /// Keeps what the table said, unless something has changed since it was asked.
    pub(super) fn learn(&self, asked: Asked, tenant: TenantId, device: &DeviceId, driver: Option<DriverId>) {
        let mut generations = self.0.lock();
        if generations.changes == asked.0 {
            generations.insert((tenant, device.clone()), driver);
        }
    }

    /// The table has changed.
    pub(super) fn forget(&self, tenant: TenantId, device: &DeviceId) {
        let mut generations = self.0.lock();
        generations.changes += 1;
        let key = (tenant, device.clone());
        generations.young.remove(&key);
        generations.old.remove(&key);
    }
}

impl Generations {
    fn insert(&mut self, key: (TenantId, DeviceId), driver: Option<DriverId>) {
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, driver);
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
        let generations = known.0.lock();
        assert!(generations.young.len() + generations.old.len() <= 2 * GENERATION);
        drop(generations);
        assert!(known.get(tenant, &device(1)).is_err());
    }
}
