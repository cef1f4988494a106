//! A look at a partition's facts: at one entity, at all to tell them anew, a number for them, a look ahead. Changes nothing.

use super::codec;
use super::delivery::Delivery;
use super::driver::Known;
use super::state::PartitionState;
use crate::model::change::{Carrier, FactChange, FactKind};
use crate::model::event::Event;
use crate::model::id::{DeliveryId, DriverId, TenantId};

impl PartitionState {
    pub fn driver(&self, tenant: &TenantId, id: &DriverId) -> Option<Known<'_>> {
        let slot = self.drivers.slot(self.tenants.known(tenant)?, id)?;
        self.drivers.get(slot).map(|driver| Known { driver, duty: self.duties.get(slot) })
    }

    pub(super) fn known_drivers(&self) -> impl Iterator<Item = Known<'_>> {
        self.drivers.iter_placed().map(|(slot, driver)| Known { driver, duty: self.duties.get(slot) })
    }

    pub fn delivery(&self, tenant: &TenantId, id: &DeliveryId) -> Option<&Delivery> {
        self.deliveries.find(self.tenants.known(tenant)?, id)
    }

    /// Everything anew, for a marker stage that knows nothing yet.
    pub fn announcements(&self) -> impl Iterator<Item = FactChange> {
        let drivers = self.known_drivers().flat_map(|known| {
            let (driver, handle) = (known.driver, known.driver.handle());
            // Duty first: it decides whether the fix may be shown.
            let duty = known.duty_told();
            let fix = driver.fix().map(|fix| FactKind::OwnFix { fix, handle });
            duty.into_iter().chain(fix).map(|kind| {
                let tenant = *self.tenants.id(driver.tenant);
                FactChange { tenant, carrier: Carrier::Driver(driver.id.clone()), ingest_time: driver.last_heard(), kind }
            })
        });
        let deliveries = self.deliveries.iter().filter(|delivery| !delivery.left).map(|delivery| {
            let kind = FactKind::Board(delivery.boarding());
            let tenant = *self.tenants.id(delivery.tenant);
            FactChange { tenant, carrier: delivery.carrier(), ingest_time: delivery.last_heard.get(), kind }
        });
        drivers.chain(deliveries)
    }

    /// A number for the facts in memory, and for nothing that depends on when or in what order they were heard.
    pub fn state_hash(&self) -> u64 {
        let mut bytes = Vec::new();
        let drivers = self.known_drivers().map(|known| codec::hash_driver(&mut bytes, self.tenants.id(known.driver.tenant), known));
        let drivers = drivers.fold(0, u64::wrapping_add);
        let deliveries = self.deliveries.iter().map(|delivery| codec::hash_delivery(&mut bytes, self.tenants.id(delivery.tenant), delivery));
        deliveries.fold(drivers, u64::wrapping_add)
    }

    /// Looks at whom these events are of, and changes nothing: done for all before the first is applied, the waits for memory overlap.
    pub fn look_ahead<'a>(&self, events: impl Iterator<Item = &'a Event>) {
        let heard = events.filter_map(|event| {
            let tenant = self.tenants.known(&event.tenant)?;
            if let Some(id) = &event.delivery {
                let delivery = self.deliveries.find(tenant, id)?;
                let fix_time = delivery.fix.as_ref().map(|fix| fix.ping.order.effective_time);
                return Some(delivery.last_heard.get().max(fix_time.unwrap_or_default()));
            }
            self.drivers.find(tenant, event.actor.as_ref()?).map(|driver| driver.last_heard().max(driver.fix_time()))
        });
        // What is found is of no use here; without a use it would not be looked for.
        std::hint::black_box(heard.max());
    }
}
