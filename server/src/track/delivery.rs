//! What is known of one delivery: a join of its events, so that their order of arrival does not matter. Never knows what a map shows.

use std::cmp::Ordering;

use crate::model::change::Carrier;
use crate::model::event::{Body, Created, Event, Location, OrderKey};
use crate::model::id::{self, DeliveryId, DriverId, Handle};
use crate::model::short::Short;
use crate::model::status::Status;
use crate::model::tags::Attributes;
use crate::model::terms::{Boarding, SharedTerms, Terms};
use crate::model::time::UnixMs;
use crate::track::ping::{DeliveryPing, Ping, position_rank};
use crate::track::roster::Entity;
use crate::track::said::{PackedSaid, Said};
use crate::track::status::{StampFlags, Standing, StatusDetail, StatusFact, StatusHistory};

/// The facts of a delivery, and how far its stay in memory has come. There are very many: what many lack is boxed.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Shared with the marker stage, which was told them.
    pub(super) terms: SharedTerms,
    pub(super) tenant: u32,
    pub(super) fix_flags: StampFlags,
    /// It left the map, `LEAVES_MAP_AFTER` its end.
    pub(super) left: bool,
    /// The greatest ingest time of its events.
    pub(super) last_heard: Short<UnixMs>,
    pub(super) fix: Option<Box<DeliveryPing>>,
    pub(super) said: PackedSaid,
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
            terms: SharedTerms::new(Terms::new(id, handle)),
            tenant,
            fix_flags: StampFlags::default(),
            left: false,
            last_heard: UnixMs(i64::MIN).into(),
            fix: None,
            said: PackedSaid::default(),
        }
    }

    /// Joins what `event` says. Adding an event twice, or two events the other way round, ends alike.
    pub(super) fn join(&mut self, event: &Event, ingest_time: UnixMs) -> Joined {
        #[cfg(test)]
        crate::track::fault::strike("before", event);
        self.last_heard = self.last_heard.get().max(ingest_time).into();
        if let Body::Location(location) = &event.body {
            return self.join_fix(event, location);
        }
        let (mut said, mut terms) = (self.said.open(), Terms::clone(&self.terms));
        if !join_said(&mut said, &mut terms, event, ingest_time) {
            // A copy that was heard earlier than the one kept is no other fact, but is kept.
            self.said = PackedSaid::of(&said);
            return Joined::Nothing;
        }
        self.say(&said, terms);
        Joined::Facts
    }

    /// Keeps what is said now, and the terms as that makes them.
    pub(super) fn say(&mut self, said: &Said, terms: Terms) {
        let status = said.statuses.standing().map_or(Status::Created, |standing| standing.status);
        self.terms = SharedTerms::new(Terms { status, ..terms });
        self.said = PackedSaid::of(said);
    }

    /// Gives it a handle for a new carrier.
    pub(super) fn lend(&mut self, handle: Handle) {
        self.terms = SharedTerms::new(Terms { handle: handle.into(), ..Terms::clone(&self.terms) });
    }

    pub(super) fn id(&self) -> &DeliveryId {
        &self.terms.delivery
    }

    fn join_fix(&mut self, event: &Event, location: &Location) -> Joined {
        let Some(actor) = &event.actor else {
            return Joined::Nothing;
        };
        let before = |kept: &DeliveryPing| kept.ping.compare(event, location).then_with(|| kept.actor.cmp(actor)).is_lt();
        let ping = Ping::of(event, location);
        match &mut self.fix {
            Some(kept) if !before(kept) => return Joined::Nothing,
            // Who sent the one before mostly sent this one, too.
            Some(kept) if kept.actor == *actor => kept.ping = ping,
            slot => {
                *slot = Some(Box::new(DeliveryPing { ping, actor: actor.clone() }));
            }
        }
        self.fix_flags = stamp_flags(event);
        Joined::Fix
    }

    /// Who carries it and how that is known. An explicit assignment outranks every implied one, whenever it arrives.
    pub fn assignment(&self) -> Option<(DriverId, AssignmentKind)> {
        let explicit = self.said.assigned().map(|driver| (driver, AssignmentKind::Explicit));
        explicit.or_else(|| self.fix.as_ref().map(|fix| (fix.actor.clone(), AssignmentKind::Implied)))
    }

    pub fn carrier(&self) -> Carrier {
        match self.assignment() {
            Some((driver, _)) => Carrier::Driver(driver),
            None => Carrier::Delivery(self.id().clone()),
        }
    }

    /// Its terminal status and since when, once it has one.
    pub fn ended(&self) -> Option<Standing> {
        // Most have not ended, and of those nothing is taken apart.
        let ended = self.terms.status.is_terminal();
        ended.then(|| self.said.open().statuses.standing()).flatten()
    }

    /// A delivery of which no status event is known counts as created.
    pub fn status(&self) -> Status {
        self.terms.status
    }

    pub fn boarding(&self) -> Boarding {
        Boarding { terms: SharedTerms::clone(&self.terms), fix: self.fix.as_ref().map(|fix| Box::new(fix.ping.fix())) }
    }

    pub(super) fn created(&self, said: &Said) -> Option<Register<Created>> {
        said.created.as_ref().map(|Register { order, value }| Register {
            order: order.clone(),
            value: Created {
                pickup: self.terms.pickup,
                destination: self.terms.destination,
                promised_by: self.terms.promised_by.get(),
                recipient_ref: value.clone(),
                attributes: self.terms.attributes().clone(),
            },
        })
    }
}

/// Joins an event that is no ping; false when that changed nothing that anyone is told.
fn join_said(said: &mut Said, terms: &mut Terms, event: &Event, ingest_time: UnixMs) -> bool {
    match &event.body {
        Body::Created(created) => {
            let rank = |recipient: &Option<Box<str>>| {
                let kept =
                    (terms.pickup.map(position_rank), terms.destination.map(position_rank), terms.promised_by.get(), recipient, terms.attributes());
                kept.cmp(&created_rank(created))
            };
            let newer = Register::join(&mut said.created, event, rank, || created.recipient_ref.clone());
            if newer {
                (terms.pickup, terms.destination, terms.promised_by) = (created.pickup, created.destination, created.promised_by.into());
                terms.set_attributes(created.attributes.clone());
            }
            // Both must see the event: `|`, not `||`.
            newer | join_status(&mut said.statuses, event, Status::Created, None, ingest_time)
        }
        Body::Assigned { driver } => {
            let newer = Register::join(&mut said.assigned, event, |value| value.cmp(driver), || driver.clone());
            newer | join_status(&mut said.statuses, event, Status::Assigned, None, ingest_time)
        }
        Body::Status(change) => {
            let detail = StatusDetail { reason: change.reason.clone(), proof: change.proof.clone() };
            let detail = (detail != StatusDetail::default()).then(|| Box::new(detail));
            join_status(&mut said.statuses, event, change.status, detail, ingest_time)
        }
        Body::Eta { eta } => {
            let mut known = said.eta.take().zip(terms.reported_eta()).map(|(order, value)| Register { order, value });
            let newer = Register::join(&mut known, event, |value| value.cmp(eta), || *eta);
            terms.set_reported_eta(known.as_ref().map(|register| register.value));
            said.eta = known.map(|register| register.order);
            newer
        }
        Body::Location(_) | Body::Duty { .. } | Body::Other { .. } => false,
    }
}

fn join_status(statuses: &mut StatusHistory, event: &Event, status: Status, detail: Option<Box<StatusDetail>>, ingest_time: UnixMs) -> bool {
    statuses.insert(StatusFact { order: event.order_key(), status, detail, ingest_time, flags: stamp_flags(event) })
}

impl<T> Register<T> {
    /// Sets `slot` when `event` is newer than what stands there; under one key the greater content stays, so that the first to come does not decide.
    fn join(slot: &mut Option<Self>, event: &Event, compare_to_new: impl Fn(&T) -> Ordering, new: impl FnOnce() -> T) -> bool {
        let order = event.order_key();
        let wins = slot.as_ref().is_none_or(|kept| kept.order.cmp(&order).then_with(|| compare_to_new(&kept.value)).is_lt());
        if wins {
            *slot = Some(Self { order, value: new() });
        }
        wins
    }
}

pub(super) fn stamp_flags(event: &Event) -> StampFlags {
    StampFlags { skewed: event.stamp.skewed, late: event.stamp.late }
}

type CreatedRank<'a> = (Option<(i32, i32)>, Option<(i32, i32)>, Option<UnixMs>, &'a Option<Box<str>>, &'a Attributes);

fn created_rank(created: &Created) -> CreatedRank<'_> {
    let Created { pickup, destination, promised_by, recipient_ref, attributes } = created;
    (pickup.map(position_rank), destination.map(position_rank), *promised_by, recipient_ref, attributes)
}

impl Entity for Delivery {
    type Kind = id::Delivery;

    fn tenant(&self) -> u32 {
        self.tenant
    }

    fn id(&self) -> &DeliveryId {
        &self.terms.delivery
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
        assert_eq!(delivery.last_heard.get(), UnixMs(13));
    }

    #[test]
    fn a_later_creation_sets_the_stops_and_an_earlier_one_only_the_history() {
        let at = |lat| Some(Position::from_degrees(lat, 11.0).unwrap());
        let created = |pickup| Body::Created(Box::new(Created { pickup, ..Created::default() }));
        let mut delivery = delivery();
        delivery.join(&event(5, "b", "office", created(at(2.0))), UnixMs(10));
        assert_eq!(delivery.join(&event(4, "a", "office", created(at(1.0))), UnixMs(11)), Joined::Facts);
        assert_eq!(delivery.boarding().pickup, at(2.0));
        assert_eq!(delivery.said.open().statuses.facts().len(), 2);
    }
}
