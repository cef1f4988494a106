//! What is known of one driver: the newest ping of its own, a join of its events, and beside it its duty. Never decides what is shown.

use std::sync::Arc;

use crate::model::change::{DutyFact, FactKind, Fix};
use crate::model::event::{Body, Event, OrderKey};
use crate::model::id::{self, DriverId, EventId, Handle};
use crate::model::short::Short;
use crate::model::time::UnixMs;
use crate::track::delivery::stamp_flags;
use crate::track::duty::{Duty, on_duty_at};
use crate::track::ping::{Ping, Spot};
use crate::track::roster::Entity;
use crate::track::status::StampFlags;

/// The facts of a driver, from pings that name no delivery. The newest of them lies here in two parts: as one, its end would be left empty.
#[derive(Clone, Debug)]
pub struct Driver {
    pub(super) id: DriverId,
    /// Of the newest ping. Before there is one, before all.
    fix_order: OrderKey,
    spot: Option<Spot>,
    pub(super) tenant: u32,
    handle: Short<Handle>,
    /// The greatest ingest time of its events.
    last_heard: Short<UnixMs>,
    pub(super) fix_flags: StampFlags,
}

/// A driver and its duty, which is kept beside it.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    pub(super) driver: &'a Driver,
    pub(super) duty: Option<&'a Duty>,
}

/// What an event changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joined {
    Nothing,
    Fix,
}

impl Driver {
    pub(super) fn new(id: DriverId, tenant: u32, handle: Handle) -> Self {
        let before_all = OrderKey { effective_time: UnixMs(i64::MIN), event_id: EventId::of_uuid([0x80; 16]) };
        let (handle, last_heard) = (handle.into(), UnixMs(i64::MIN).into());
        Self { id, fix_order: before_all, spot: None, tenant, handle, last_heard, fix_flags: StampFlags::default() }
    }

    /// As a snapshot has it.
    pub(super) fn restored(self, last_heard: UnixMs, fix: Option<Ping>, fix_flags: StampFlags) -> Self {
        let (fix_order, spot) = fix.map_or((self.fix_order, None), |Ping { order, spot }| (order, Some(spot)));
        Self { fix_order, spot, last_heard: last_heard.into(), fix_flags, ..self }
    }

    /// A duty event only says here that the driver is there.
    pub(super) fn join(&mut self, event: &Event, ingest_time: UnixMs) -> Joined {
        self.last_heard = self.last_heard().max(ingest_time).into();
        let Body::Location(location) = &event.body else { return Joined::Nothing };
        if self.spot.is_some_and(|spot| spot.compare(&self.fix_order, event, location).is_ge()) {
            return Joined::Nothing;
        }
        (self.fix_order, self.spot) = (event.order_key(), Some(Spot::of(location)));
        self.fix_flags = stamp_flags(event);
        Joined::Fix
    }

    pub(super) fn handle(&self) -> Handle {
        self.handle.get()
    }

    pub(super) fn last_heard(&self) -> UnixMs {
        self.last_heard.get()
    }

    /// The newest ping.
    pub(super) fn ping(&self) -> Option<Ping> {
        self.spot.map(|spot| Ping { order: self.fix_order.clone(), spot })
    }

    /// It as the marker stage needs it.
    pub(super) fn fix(&self) -> Option<Fix> {
        self.spot.map(|spot| spot.fix(&self.fix_order))
    }

    /// Of the newest ping, when there is one.
    pub(super) fn fix_time(&self) -> UnixMs {
        self.fix_order.effective_time
    }
}

impl<'a> Known<'a> {
    pub fn duty(&self) -> &'a [DutyFact] {
        self.duty.map_or(&[], |duty| duty)
    }

    pub(super) fn shared_duty(&self) -> Duty {
        self.duty.map(Arc::clone).unwrap_or_default()
    }

    /// The duty as the marker stage is told it; none of who never sent any.
    pub(super) fn duty_told(&self) -> Option<FactKind> {
        self.duty.map(|duty| FactKind::Duty {
            duty: Arc::clone(duty),
            own_event: self.driver.fix_order.event_id.clone(),
            handle: self.driver.handle(),
        })
    }

    pub fn on_duty(&self) -> bool {
        self.duty().last().is_none_or(|fact| fact.on)
    }

    /// The newest ping, unless it was sent off duty: then nobody may see it.
    pub fn visible_ping(&self) -> Option<Ping> {
        self.driver.ping().filter(|ping| on_duty_at(self.duty(), &ping.order))
    }
}

impl Entity for Driver {
    type Kind = id::Driver;

    fn tenant(&self) -> u32 {
        self.tenant
    }

    fn id(&self) -> &DriverId {
        &self.id
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::{Offset, PartitionId, TenantId};
    use crate::track::sample::{LIMITS, event, location};
    use crate::track::state::PartitionState;

    #[test]
    fn a_late_duty_event_hides_the_ping_that_was_sent_after_it() {
        let mut state = PartitionState::new(PartitionId(0), LIMITS);
        let mut offset = 0;
        let mut apply = |time: i64, body| {
            offset += 1;
            state.apply(Offset(offset), UnixMs(10), &event(&format!("e{time:04}"), time, Some("ann"), None, body), &mut |_| {});
            let known = state.driver(&TenantId::parse("acme").unwrap(), &DriverId::parse("ann").unwrap()).unwrap();
            (known.visible_ping().is_some(), known.on_duty(), known.duty().len())
        };
        assert_eq!(apply(5, location(57.0)), (true, true, 0));
        assert_eq!(apply(4, Body::Duty { on: false }), (false, false, 1));
        assert_eq!(apply(6, Body::Duty { on: true }), (false, true, 2));
    }
}
