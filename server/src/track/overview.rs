//! What a partition's facts come to as a whole: all of them told anew, a number for them, a look ahead. Changes nothing.

use super::codec;
use super::state::PartitionState;
use crate::model::change::{Carrier, FactChange, FactKind};
use crate::model::event::Event;

impl PartitionState {
    /// Everything anew, for a marker stage that knows nothing yet.
    pub fn announcements(&self) -> impl Iterator<Item = FactChange> {
        let drivers = self.drivers.iter().flat_map(|driver| {
            // Duty first: it decides whether the fix may be shown.
            let duty = driver.shared_duty().map(|duty| FactKind::Duty { duty, handle: driver.handle });
            let fix = driver.fix.as_ref().map(|ping| FactKind::OwnFix { fix: ping.fix(), handle: driver.handle });
            duty.into_iter().chain(fix).map(|kind| {
                let tenant = *self.tenants.id(driver.tenant);
                FactChange { tenant, carrier: Carrier::Driver(driver.id.clone()), ingest_time: driver.last_heard, kind }
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
        let drivers = self.drivers.iter().map(|driver| codec::hash_driver(&mut bytes, self.tenants.id(driver.tenant), driver));
        let drivers = drivers.fold(0, u64::wrapping_add);
        let deliveries = self.deliveries.iter().map(|delivery| codec::hash_delivery(&mut bytes, self.tenants.id(delivery.tenant), delivery));
        deliveries.fold(drivers, u64::wrapping_add)
    }

    /// Looks at whom these events are of, and changes nothing: done for all before the first is applied, the waits for memory overlap.
    pub fn look_ahead<'a>(&self, events: impl Iterator<Item = &'a Event>) {
        let heard = events.filter_map(|event| {
            let tenant = self.tenants.known(&event.tenant)?;
            if let Some(id) = &event.delivery {
                return self.deliveries.find(tenant, id).map(|delivery| (delivery.last_heard.get(), delivery.fix.as_ref().map(|fix| &fix.ping)));
            }
            self.drivers.find(tenant, event.actor.as_ref()?).map(|driver| (driver.last_heard, driver.fix.as_ref()))
        });
        let heard = heard.map(|(heard, fix)| heard.max(fix.map_or(heard, |fix| fix.order.effective_time)));
        // What is found is of no use here; without a use it would not be looked for.
        std::hint::black_box(heard.max());
    }
}
