//! What is known of one driver: the newest ping of its own and its duty history, a join of its events. Never decides what is shown.

use std::sync::Arc;

use crate::model::change::{DutyFact, FactKind};
use crate::model::event::{Body, Event, OrderKey};
use crate::model::id::{self, DriverId, Handle};
use crate::model::time::UnixMs;
use crate::track::delivery::stamp_flags;
use crate::track::ping::Ping;
use crate::track::roster::Entity;
use crate::track::status::StampFlags;

/// Duty events kept of a driver, the greatest by order key.
pub const MAX_DUTY_FACTS: usize = 32;

/// The facts of a driver, from pings that name no delivery and from duty events.
#[derive(Clone, Debug)]
pub struct Driver {
    pub(super) id: DriverId,
    pub(super) tenant: u32,
    pub(super) fix_flags: StampFlags,
    pub(super) handle: Handle,
    /// The greatest ingest time of its events.
    pub(super) last_heard: UnixMs,
    pub(super) fix: Option<Ping>,
    /// Sorted by order key, one a key; absent for the many who never sent any.
    pub(super) duty: Option<Box<Arc<[DutyFact]>>>,
}

/// What an event changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joined {
    Nothing,
    Fix,
    Duty,
}

/// Whether a driver was on duty at `moment`: as the last duty event before it says; who sent none before was on duty.
pub fn on_duty_at(duty: &[DutyFact], moment: &OrderKey) -> bool {
    let before = duty.partition_point(|fact| fact.order <= *moment);
    before == 0 || duty[before - 1].on
}

impl Driver {
    pub(super) fn new(id: DriverId, tenant: u32, handle: Handle) -> Self {
        Self { id, tenant, fix_flags: StampFlags::default(), handle, last_heard: UnixMs(i64::MIN), fix: None, duty: None }
    }

    pub(super) fn join(&mut self, event: &Event, ingest_time: UnixMs) -> Joined {
        self.last_heard = self.last_heard.max(ingest_time);
        match &event.body {
            Body::Location(location) => {
                if self.fix.as_ref().is_some_and(|kept| kept.compare(event, location).is_ge()) {
                    return Joined::Nothing;
                }
                self.fix = Some(Ping::of(event, location));
                self.fix_flags = stamp_flags(event);
                Joined::Fix
            }
            Body::Duty { on } => self.join_duty(DutyFact { order: event.order_key(), on: *on }),
            _ => Joined::Nothing,
        }
    }

    fn join_duty(&mut self, fact: DutyFact) -> Joined {
        let mut duty = self.duty().to_vec();
        match duty.binary_search_by(|kept| kept.order.cmp(&fact.order)) {
            // Two contents under one key: "off" stays, for it hides.
            Ok(at) if duty[at].on && !fact.on => duty[at] = fact,
            Ok(_) => return Joined::Nothing,
            Err(0) if duty.len() == MAX_DUTY_FACTS => return Joined::Nothing,
            Err(at) => {
                duty.insert(at, fact);
                if duty.len() > MAX_DUTY_FACTS {
                    duty.remove(0);
                }
            }
        }
        self.duty = Some(Box::new(duty.into()));
        Joined::Duty
    }

    pub fn duty(&self) -> &[DutyFact] {
        self.duty.as_ref().map_or(&[], |duty| duty)
    }

    pub(super) fn shared_duty(&self) -> Option<Arc<[DutyFact]>> {
        self.duty.as_deref().map(Arc::clone)
    }

    /// As the marker stage is told it; none of who never sent any.
    pub(super) fn duty_told(&self) -> Option<FactKind> {
        let own_is_hidden = self.fix.is_some() && self.visible_fix().is_none();
        self.shared_duty().map(|duty| FactKind::Duty { duty, own_is_hidden, handle: self.handle })
    }

    pub fn on_duty(&self) -> bool {
        self.duty().last().is_none_or(|fact| fact.on)
    }

    /// The newest ping, unless it was sent off duty: then nobody may see it.
    pub fn visible_fix(&self) -> Option<&Ping> {
        self.fix.as_ref().filter(|fix| on_duty_at(self.duty(), &fix.order))
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
    use proptest::prelude::*;

    use super::*;
    use crate::model::event::{Location, Stamp};
    use crate::model::id::{EventId, PartitionId, TenantId};
    use crate::model::position::Position;

    fn event(time: i64, body: Body) -> Event {
        Event {
            id: EventId::parse(&format!("e{time:04}")).unwrap(),
            tenant: TenantId::parse("acme").unwrap(),
            actor: Some(DriverId::parse("ann").unwrap()),
            delivery: None,
            event_time: UnixMs(time),
            schema_version: 1,
            body,
            stamp: Stamp { effective_time: UnixMs(time), ..Stamp::default() },
            unknown: None,
        }
    }

    fn driver() -> Driver {
        Driver::new(DriverId::parse("ann").unwrap(), 0, Handle::new(PartitionId(0), 1))
    }

    #[test]
    fn a_late_duty_event_hides_the_ping_that_was_sent_after_it() {
        let position = Position::from_degrees(57.0, 11.0).unwrap();
        let location = Location { position, accuracy_m: None, speed_mps: None, heading_deg: None, altitude_m: None, battery: None };
        let mut driver = driver();
        driver.join(&event(5, Body::Location(location)), UnixMs(5));
        assert!(driver.visible_fix().is_some());
        assert_eq!(driver.join(&event(4, Body::Duty { on: false }), UnixMs(9)), Joined::Duty);
        assert!(driver.visible_fix().is_none());
        driver.join(&event(6, Body::Duty { on: true }), UnixMs(10));
        assert!(driver.visible_fix().is_none() && driver.on_duty());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// The model: sort all duty events, keep the greatest 32, and read off the last at or before the moment.
        #[test]
        fn any_order_of_duty_events_ends_as_the_sorted_list(on in prop::collection::vec(any::<bool>(), 1..50), order in any::<u64>(), moment in 0_i64..120) {
            let sorted: Vec<(i64, bool)> = (0..).map(|index| 2 * index).zip(on).collect();
            let mut arrivals = sorted.clone();
            arrivals.sort_by_key(|(time, _)| time.cast_unsigned().wrapping_mul(order | 1).rotate_left(9));
            let mut driver = driver();
            for (time, on) in arrivals.iter().chain(&arrivals) {
                driver.join(&event(*time, Body::Duty { on: *on }), UnixMs(1));
            }
            let kept = &sorted[sorted.len().saturating_sub(32)..];
            prop_assert_eq!(driver.duty().iter().map(|fact| (fact.order.effective_time.0, fact.on)).collect::<Vec<_>>(), kept);
            let expected = kept.iter().rev().find(|(time, _)| *time <= moment).is_none_or(|(_, on)| *on);
            let at = OrderKey { effective_time: UnixMs(moment), event_id: EventId::parse("zzzz").unwrap() };
            prop_assert_eq!(on_duty_at(driver.duty(), &at), expected);
        }
    }
}
