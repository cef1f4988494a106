//! What is known of one delivery: a join of its events, so that their order of arrival does not matter. Never knows what a map shows.

use std::cmp::Ordering;

use crate::model::change::{Boarding, Carrier};
use crate::model::event::{Body, Created, Event, Location, OrderKey};
use crate::model::id::{self, DeliveryId, DriverId, Handle};
use crate::model::status::Status;
use crate::model::time::UnixMs;
use crate::track::ping::{DeliveryPing, Ping, position_rank};
use crate::track::roster::Entity;
use crate::track::status::{StampFlags, Standing, StatusDetail, StatusFact, StatusHistory};

/// The facts of a delivery, and how far its stay in memory has come. There are very many: what many lack is boxed.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub(super) id: DeliveryId,
    pub(super) tenant: u32,
    pub(super) fix_flags: StampFlags,
    /// It left the map, `LEAVES_MAP_AFTER` its end.
    pub(super) left: bool,
    pub(super) handle: Handle,
    /// What a carrier is shown under that is known by this delivery alone. Another one for each carrier: two of them must never share one.
    pub(super) lent: Handle,
    /// The greatest ingest time of its events.
    pub(super) last_heard: UnixMs,
    /// When the one valid entry for it in the queue of what is due comes up.
    pub(super) armed: Option<UnixMs>,
    pub(super) created: Option<Box<Register<Created>>>,
    /// Explicit only. What is implied needs no room of its own: it is the actor of the newest fix.
    pub(super) assigned: Option<Box<Register<DriverId>>>,
    pub(super) eta: Option<Box<Register<UnixMs>>>,
    pub(super) fix: Option<Box<DeliveryPing>>,
    pub(super) statuses: StatusHistory,
}

/// A value that the last writer by order key sets.
#[derive(Clone, Debug)]
pub struct Register<T> {
    pub order: OrderKey,
    pub value: T,
}

/// What an event changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joined {
    Nothing,
    /// Only the newest ping (and with it perhaps the driver that it implies).
    Fix,
    Facts,
}

/// How a delivery came to its driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AssignmentKind {
    Explicit,
    /// By a ping that named the delivery.
    Implied,
}

impl Delivery {
    pub(super) fn new(id: DeliveryId, tenant: u32, handle: Handle) -> Self {
        Self {
            id,
            tenant,
            fix_flags: StampFlags::default(),
            left: false,
            handle,
            lent: handle,
            last_heard: UnixMs(i64::MIN),
            armed: None,
            created: None,
            assigned: None,
            eta: None,
            fix: None,
            statuses: StatusHistory::default(),
        }
    }

    /// Joins what `event` says. Adding an event twice, or two events the other way round, ends alike.
    pub(super) fn join(&mut self, event: &Event, ingest_time: UnixMs) -> Joined {
        #[cfg(test)]
        crate::track::fault::strike("before", event);
        self.last_heard = self.last_heard.max(ingest_time);
        let changed = match &event.body {
            Body::Location(location) => return self.join_fix(event, location, ingest_time),
            Body::Created(created) => {
                let newer = Register::join(&mut self.created, event, |value| created_rank(value).cmp(&created_rank(created)), || (**created).clone());
                // Both must see the event: `|`, not `||`.
                newer | self.join_status(event, Status::Created, None, ingest_time)
            }
            Body::Assigned { driver } => {
                let newer = Register::join(&mut self.assigned, event, |value| value.cmp(driver), || driver.clone());
                newer | self.join_status(event, Status::Assigned, None, ingest_time)
            }
            Body::Status(change) => {
                let detail = StatusDetail { reason: change.reason.clone(), proof: change.proof.clone() };
                let detail = (detail != StatusDetail::default()).then(|| Box::new(detail));
                self.join_status(event, change.status, detail, ingest_time)
            }
            Body::Eta { eta } => Register::join(&mut self.eta, event, |value| value.cmp(eta), || *eta),
            Body::Duty { .. } | Body::Other { .. } => false,
        };
        if changed { Joined::Facts } else { Joined::Nothing }
    }

    fn join_fix(&mut self, event: &Event, location: &Location, ingest_time: UnixMs) -> Joined {
        let Some(actor) = &event.actor else {
            return Joined::Nothing;
        };
        let before = |kept: &DeliveryPing| kept.ping.compare(event, location).then_with(|| kept.actor.cmp(actor)).is_lt();
        let ping = Ping::of(event, location, ingest_time);
        match &mut self.fix {
            Some(kept) if !before(kept) => return Joined::Nothing,
            // Who sent the one before mostly sent this one, too, and their id is in memory once.
            Some(kept) if kept.actor == *actor => kept.ping = ping,
            slot => {
                let known = self.assigned.as_ref().map(|register| &register.value).filter(|known| *known == actor);
                *slot = Some(Box::new(DeliveryPing { ping, actor: known.unwrap_or(actor).clone() }));
            }
        }
        self.fix_flags = stamp_flags(event);
        Joined::Fix
    }

    fn join_status(&mut self, event: &Event, status: Status, detail: Option<Box<StatusDetail>>, ingest_time: UnixMs) -> bool {
        self.statuses.insert(StatusFact { order: event.order_key(), status, detail, ingest_time, flags: stamp_flags(event) })
    }

    /// Who carries it and how that is known. An explicit assignment outranks every implied one, whenever it arrives.
    pub fn assignment(&self) -> Option<(&DriverId, AssignmentKind)> {
        match (&self.assigned, &self.fix) {
            (Some(explicit), _) => Some((&explicit.value, AssignmentKind::Explicit)),
            (None, Some(fix)) => Some((&fix.actor, AssignmentKind::Implied)),
            (None, None) => None,
        }
    }

    pub fn carrier(&self) -> Carrier {
        match self.assignment() {
            Some((driver, _)) => Carrier::Driver(driver.clone()),
            None => Carrier::Delivery(self.id.clone()),
        }
    }

    /// Its terminal status and since when, once it has one.
    pub fn ended(&self) -> Option<Standing> {
        self.statuses.standing().filter(|standing| standing.status.is_terminal())
    }

    /// A delivery of which no status event is known counts as created.
    pub fn status(&self) -> Status {
        self.statuses.standing().map_or(Status::Created, |standing| standing.status)
    }

    pub fn boarding(&self) -> Boarding {
        let created = self.created.as_ref().map(|register| &register.value);
        Boarding {
            delivery: self.id.clone(),
            handle: self.lent,
            status: self.status(),
            pickup: created.and_then(|created| created.pickup),
            destination: created.and_then(|created| created.destination),
            promised_by: created.and_then(|created| created.promised_by),
            reported_eta: self.eta.as_ref().map(|register| register.value),
            attributes: created.map(|created| created.attributes.clone()).unwrap_or_default(),
            fix: self.fix.as_ref().map(|fix| fix.ping.fix()),
        }
    }
}

impl<T> Register<T> {
    /// Sets `slot` when `event` is newer than what stands there; under one key the greater content stays, so that the first to come does not decide.
    fn join(slot: &mut Option<Box<Self>>, event: &Event, compare_to_new: impl Fn(&T) -> Ordering, new: impl FnOnce() -> T) -> bool {
        let order = event.order_key();
        let wins = slot.as_ref().is_none_or(|kept| kept.order.cmp(&order).then_with(|| compare_to_new(&kept.value)).is_lt());
        if wins {
            *slot = Some(Box::new(Self { order, value: new() }));
        }
        wins
    }
}

pub(super) fn stamp_flags(event: &Event) -> StampFlags {
    StampFlags { skewed: event.stamp.skewed, late: event.stamp.late }
}

fn created_rank(created: &Created) -> impl Ord + '_ {
    let Created { pickup, destination, promised_by, recipient_ref, attributes } = created;
    (pickup.map(position_rank), destination.map(position_rank), promised_by, recipient_ref, attributes)
}

impl Entity for Delivery {
    type Kind = id::Delivery;

    fn tenant(&self) -> u32 {
        self.tenant
    }

    fn id(&self) -> &DeliveryId {
        &self.id
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::event::Stamp;
    use crate::model::id::{EventId, PartitionId, TenantId};
    use crate::model::position::Position;

    fn event(time: i64, id: &str, actor: &str, body: Body) -> Event {
        Event {
            id: EventId::parse(id).unwrap(),
            tenant: TenantId::parse("acme").unwrap(),
            actor: Some(DriverId::parse(actor).unwrap()),
            delivery: Some(DeliveryId::parse("d").unwrap()),
            event_time: UnixMs(time),
            schema_version: 1,
            body,
            stamp: Stamp { effective_time: UnixMs(time), ..Stamp::default() },
            unknown: None,
        }
    }

    fn ping(time: i64, id: &str, actor: &str) -> Event {
        let position = Position::from_degrees(57.0, 11.0).unwrap();
        let location = Location { position, accuracy_m: None, speed_mps: None, heading_deg: None, altitude_m: None, battery: None };
        event(time, id, actor, Body::Location(location))
    }

    fn delivery() -> Delivery {
        Delivery::new(DeliveryId::parse("d").unwrap(), 0, Handle::new(PartitionId(0), 1))
    }

    #[test]
    fn an_explicit_assignment_outranks_every_implied_one_whenever_it_arrives() {
        let explicit = event(1, "a", "office", Body::Assigned { driver: DriverId::parse("bob").unwrap() });
        for events in [[&explicit, &ping(9, "b", "eve")], [&ping(9, "b", "eve"), &explicit]] {
            let mut delivery = delivery();
            for event in events {
                delivery.join(event, UnixMs(10));
            }
            let (driver, kind) = delivery.assignment().unwrap();
            assert_eq!((&*driver.as_str(), kind), ("bob", AssignmentKind::Explicit));
        }
    }

    #[test]
    fn of_two_implied_assignments_the_newer_by_order_key_stands() {
        let mut delivery = delivery();
        assert_eq!(delivery.join(&ping(5, "b", "eve"), UnixMs(10)), Joined::Fix);
        assert_eq!(delivery.join(&ping(5, "a", "ann"), UnixMs(11)), Joined::Nothing);
        assert_eq!(delivery.join(&ping(5, "c", "ann"), UnixMs(12)), Joined::Fix);
        assert_eq!(delivery.join(&ping(5, "b", "eve"), UnixMs(13)), Joined::Nothing);
        let (driver, kind) = delivery.assignment().unwrap();
        assert_eq!((&*driver.as_str(), kind), ("ann", AssignmentKind::Implied));
        assert_eq!(delivery.last_heard, UnixMs(13));
    }

    #[test]
    fn a_later_creation_sets_the_stops_and_an_earlier_one_only_the_history() {
        let at = |lat| Some(Position::from_degrees(lat, 11.0).unwrap());
        let created = |pickup| Body::Created(Box::new(Created { pickup, ..Created::default() }));
        let mut delivery = delivery();
        delivery.join(&event(5, "b", "office", created(at(2.0))), UnixMs(10));
        assert_eq!(delivery.join(&event(4, "a", "office", created(at(1.0))), UnixMs(11)), Joined::Facts);
        assert_eq!(delivery.boarding().pickup, at(2.0));
        assert_eq!(delivery.statuses.facts().len(), 2);
    }
}
