//! The facts of one partition as a pure fold of its records: emits what changed for the marker stage and forgets what has ended. Its time is the log's; does no IO.

use std::time::Duration;

use crate::model::change::{Carrier, DutyFact, FactChange, FactKind};
use crate::model::event::{Body, Event};
use crate::model::id::{DeliveryId, DriverId, Handle, Offset, PartitionId};
use crate::model::time::UnixMs;
use crate::slots::Slot;
use crate::track::delivery::{Delivery, Joined};
use crate::track::driver::{Driver, Joined as DriverJoined, Known};
use crate::track::duty::Duties;
use crate::track::expiry::{Due, DueQueue, Sweep, Tombstones};
use crate::track::roster::{Limits, Roster, Tenants};

/// A delivery leaves the map this long after the event that ended it was heard.
pub const LEAVES_MAP_AFTER: Duration = Duration::from_mins(10);
/// A delivery leaves memory, but for a tombstone, this long after the event that ended it was heard.
pub const LEAVES_MEMORY_AFTER: Duration = Duration::from_hours(24);
/// A driver leaves memory this long after its last event was heard.
pub const DRIVER_LEAVES_AFTER: Duration = Duration::from_hours(7 * 24);

/// One partition's facts: records in, changes out. The same records end in the same facts, whatever their order and however often each comes.
#[derive(Debug)]
pub struct PartitionState {
    pub(super) partition: PartitionId,
    pub(super) limits: Limits,
    /// The greatest offset applied.
    pub(super) applied: Option<Offset>,
    /// The greatest ingest time: what time it is for this fold.
    pub(super) log_time: UnixMs,
    /// Handles given so far; the first is 1.
    pub(super) handles: u64,
    pub(super) tenants: Tenants,
    pub(super) drivers: Roster<Driver>,
    pub(super) duties: Duties,
    pub(super) deliveries: Roster<Delivery>,
    pub(super) tombstones: Tombstones,
    driver_dues: Sweep,
    pub(super) delivery_dues: DueQueue,
    /// Who carried the delivery of the event under way before it, while it was on the map: a panic must not lose it.
    pub(super) before: Option<Carrier>,
    /// Events that named a new entity of a tenant that had as many as it may have, since the task last asked.
    refused: u64,
    #[cfg(test)]
    pub(super) panics_when_due: bool,
}

/// How much a partition holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub drivers: usize,
    pub deliveries: usize,
    pub tombstones: usize,
}

impl PartitionState {
    pub fn new(partition: PartitionId, limits: Limits) -> Self {
        Self {
            partition,
            limits,
            applied: None,
            log_time: UnixMs(i64::MIN),
            handles: 0,
            tenants: Tenants::default(),
            drivers: Roster::default(),
            duties: Duties::default(),
            deliveries: Roster::default(),
            tombstones: Tombstones::new(limits.tombstones),
            driver_dues: Sweep::default(),
            delivery_dues: DueQueue::default(),
            before: None,
            refused: 0,
            #[cfg(test)]
            panics_when_due: false,
        }
    }

    /// Joins the event at `offset` and tells what it changed.
    pub fn apply(&mut self, offset: Offset, ingest_time: UnixMs, event: &Event, tell: &mut impl FnMut(FactChange)) {
        // First what was due before it, so that an event finds the state of its own moment.
        self.pass(offset, ingest_time, tell);
        match (&event.body, &event.delivery, &event.actor) {
            (Body::Location(_), None, Some(driver)) | (Body::Duty { .. }, _, Some(driver)) => self.apply_to_driver(driver, ingest_time, event, tell),
            (Body::Location(_) | Body::Created(_) | Body::Assigned { .. } | Body::Status(_) | Body::Eta { .. }, Some(delivery), _) => {
                self.apply_to_delivery(delivery, ingest_time, event, tell);
            }
            _ => {}
        }
    }

    /// Passes over the record at `offset`, which cannot be read: time goes on, and it counts as applied.
    pub fn pass(&mut self, offset: Offset, ingest_time: UnixMs, tell: &mut impl FnMut(FactChange)) {
        self.advance(ingest_time, tell);
        self.applied = self.applied.max(Some(offset));
    }

    fn apply_to_driver(&mut self, id: &DriverId, ingest_time: UnixMs, event: &Event, tell: &mut impl FnMut(FactChange)) {
        let tenant = self.tenants.slot(&event.tenant);
        let slot = if let Some(slot) = self.drivers.slot(tenant, id) {
            slot
        } else {
            let Some(handle) = self.admit(tenant) else { return };
            let slot = self.drivers.insert(Driver::new(id.clone(), tenant, handle));
            self.driver_dues.note(Due { at: ingest_time + DRIVER_LEAVES_AFTER, slot });
            slot
        };
        let driver = self.drivers.get_mut(slot).expect("it was found or inserted");
        let (joined, handle) = (driver.join(event, ingest_time), driver.handle());
        let duty_is_new = match event.body {
            Body::Duty { on } => self.duties.join(slot, DutyFact { order: event.order_key(), on }).is_some(),
            _ => false,
        };
        #[cfg(test)]
        crate::track::fault::strike("joined", event);
        let kind = match joined {
            _ if duty_is_new => Known { driver, duty: self.duties.get(slot) }.duty_told(),
            DriverJoined::Fix => driver.fix().map(|fix| FactKind::OwnFix { fix, handle }),
            DriverJoined::Nothing => Some(FactKind::Heard),
        };
        if let Some(kind) = kind {
            tell(FactChange { tenant: *self.tenants.id(tenant), carrier: Carrier::Driver(driver.id.clone()), ingest_time, kind });
        }
    }

    fn apply_to_delivery(&mut self, id: &DeliveryId, ingest_time: UnixMs, event: &Event, tell: &mut impl FnMut(FactChange)) {
        let tenant = self.tenants.slot(&event.tenant);
        let (slot, before) = match self.deliveries.slot(tenant, id) {
            Some(slot) => (slot, self.deliveries.get(slot).filter(|known| !known.left).map(Delivery::carrier)),
            None if self.tombstones.absorbs(tenant, id) => return,
            None => {
                let Some(handle) = self.admit(tenant) else { return };
                (self.deliveries.insert(Delivery::new(id.clone(), tenant, handle)), None)
            }
        };
        self.before = before;
        let delivery = self.deliveries.get_mut(slot).expect("it was found or inserted");
        let joined = delivery.join(event, ingest_time);
        #[cfg(test)]
        crate::track::fault::strike("joined", event);
        if self.before.as_ref().is_some_and(|before| *before != delivery.carrier()) {
            self.handles += 1;
            delivery.lend(Handle::new(self.partition, self.handles));
        }
        if joined == Joined::Facts {
            // Facts may have ended it, or shown that it has not ended after all.
            delivery.left = leaves_map_at(delivery).is_some_and(|at| at <= self.log_time);
        }
        // Only a ping never says when it ended.
        let next = if matches!(event.body, Body::Location(_)) { None } else { next_step(delivery) };
        if let Some(at) = next {
            self.delivery_dues.push(Due { at, slot });
        }
        if joined == Joined::Nothing && is_heard_from_carrier(delivery, event) {
            let tenant = *self.tenants.id(tenant);
            tell(FactChange { tenant, carrier: delivery.carrier(), ingest_time, kind: FactKind::Heard });
        }
        if joined != Joined::Nothing {
            let tenant = self.tenants.id(tenant);
            tell_of_delivery(delivery, self.before.take(), joined, |carrier, kind| tell(FactChange { tenant: *tenant, carrier, ingest_time, kind }));
        }
        if self.delivery_dues.count() > 2 * self.deliveries.count() + 64 {
            self.rearm();
        }
    }

    /// Gives a handle to a new entity, unless the tenant has as many as it may have.
    fn admit(&mut self, tenant: u32) -> Option<Handle> {
        if !self.tenants.admit(tenant, self.limits.entities_per_tenant) {
            self.refused += 1;
            return None;
        }
        self.handles += 1;
        Some(Handle::new(self.partition, self.handles))
    }

    /// Lets log time pass and does what has come due: ended deliveries leave the map, then memory; silent drivers leave.
    pub fn advance(&mut self, log_time: UnixMs, tell: &mut impl FnMut(FactChange)) {
        if log_time <= self.log_time {
            return;
        }
        self.log_time = log_time;
        while let Some(due) = self.delivery_dues.pop_due(log_time) {
            self.advance_delivery(due, tell);
        }
        while let Some(slots) = self.driver_dues.due(log_time) {
            let next = slots.clone().filter_map(|slot| self.advance_driver(slot, tell)).min();
            self.driver_dues.looked(&slots, next);
        }
        self.tombstones.expire(log_time);
    }

    fn advance_delivery(&mut self, due: Due, tell: &mut impl FnMut(FactChange)) {
        #[cfg(test)]
        assert!(!self.panics_when_due, "asked for");
        // An entry of before what is known now, or whose delivery is gone, means nothing.
        let delivery = self.deliveries.get_mut(due.slot).filter(|delivery| next_step(delivery) == Some(due.at));
        let Some((delivery, ended)) = delivery.and_then(|delivery| delivery.ended().map(|ended| (delivery, ended))) else { return };
        if !delivery.left {
            delivery.left = true;
            let kind = FactKind::Alight { delivery: delivery.id().clone(), ended: Some(ended.status) };
            tell(FactChange { tenant: *self.tenants.id(delivery.tenant), carrier: delivery.carrier(), ingest_time: self.log_time, kind });
        }
        let Some(at) = next_step(delivery) else { return };
        if at > self.log_time {
            self.delivery_dues.push(Due { at, ..due });
        } else if let Some(delivery) = self.deliveries.remove(due.slot) {
            self.tenants.dismiss(delivery.tenant);
            self.tombstones.add(delivery.tenant, delivery.id(), self.log_time);
        }
    }

    /// Lets a driver go when it is time; else says when it will be.
    fn advance_driver(&mut self, slot: Slot, tell: &mut impl FnMut(FactChange)) -> Option<UnixMs> {
        let at = self.drivers.get(slot)?.last_heard() + DRIVER_LEAVES_AFTER;
        if at > self.log_time {
            return Some(at);
        }
        let driver = self.drivers.remove(slot)?;
        self.duties.remove(slot);
        self.tenants.dismiss(driver.tenant);
        let tenant = *self.tenants.id(driver.tenant);
        tell(FactChange { tenant, carrier: Carrier::Driver(driver.id), ingest_time: self.log_time, kind: FactKind::Forget });
        None
    }

    /// Builds the queues anew from the facts: after a recovery, or when entries that mean nothing outnumber the others.
    pub(super) fn rearm(&mut self) {
        (self.delivery_dues, self.driver_dues) = (DueQueue::default(), Sweep::default());
        for (slot, delivery) in self.deliveries.iter_mut() {
            if let Some(at) = next_step(delivery) {
                self.delivery_dues.push(Due { at, slot });
            }
        }
        for (slot, driver) in self.drivers.iter_mut() {
            self.driver_dues.note(Due { at: driver.last_heard() + DRIVER_LEAVES_AFTER, slot });
        }
    }

    /// The earliest log time at which `advance` may have something to do.
    pub fn next_due(&self) -> Option<UnixMs> {
        self.delivery_dues.next().into_iter().chain(self.driver_dues.next()).min()
    }

    pub fn partition(&self) -> PartitionId {
        self.partition
    }

    pub fn applied(&self) -> Option<Offset> {
        self.applied
    }

    pub fn log_time(&self) -> UnixMs {
        self.log_time
    }

    /// Events refused for `entity_limit` since this was last asked.
    pub fn take_refused(&mut self) -> u64 {
        std::mem::take(&mut self.refused)
    }

    pub fn counts(&self) -> Counts {
        Counts { drivers: self.drivers.count(), deliveries: self.deliveries.count(), tombstones: self.tombstones.count() }
    }
}

/// A ping that is not the newest changes no fact; when it is the carrier's own, it says all the same that the carrier is there.
fn is_heard_from_carrier(delivery: &Delivery, event: &Event) -> bool {
    let by_carrier = matches!((delivery.carrier(), &event.actor), (Carrier::Driver(driver), Some(actor)) if driver == *actor);
    by_carrier && !delivery.left && matches!(event.body, Body::Location(_))
}

pub(super) fn leaves_map_at(delivery: &Delivery) -> Option<UnixMs> {
    delivery.ended().map(|ended| ended.since + LEAVES_MAP_AFTER)
}

/// When the next thing happens to a delivery that has ended: it leaves the map or, having left it, memory.
pub(super) fn next_step(delivery: &Delivery) -> Option<UnixMs> {
    let after = if delivery.left { LEAVES_MEMORY_AFTER } else { LEAVES_MAP_AFTER };
    delivery.ended().map(|ended| ended.since + after)
}

/// Tells the difference between where a delivery was shown before an event and where it belongs after it.
pub(super) fn tell_of_delivery(delivery: &Delivery, before: Option<Carrier>, joined: Joined, mut tell: impl FnMut(Carrier, FactKind)) {
    let after = (!delivery.left).then(|| delivery.carrier());
    let stayed = before == after;
    if let Some(carrier) = before.filter(|_| !stayed) {
        let ended = delivery.ended().filter(|_| delivery.left).map(|ended| ended.status);
        tell(carrier, FactKind::Alight { delivery: delivery.id().clone(), ended });
    }
    let Some(carrier) = after else { return };
    let kind = match &delivery.fix {
        Some(fix) if stayed && joined == Joined::Fix => FactKind::AboardFix { delivery: delivery.id().clone(), fix: fix.ping.fix() },
        _ => FactKind::Board(delivery.boarding()),
    };
    tell(carrier, kind);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::model::event::OrderKey;
    use crate::model::id::TenantId;
    use crate::model::status::Status;
    use crate::track::delivery::AssignmentKind;
    use crate::track::ping::DeliveryPing;
    use crate::track::sample::{LIMITS, Picture, Record, apply, event, location, records, status};
    use crate::track::snapshot;
    use crate::track::status::{StatusFact, Verdict, judge};
    use crate::track::view::{DeliveryView, DriverView};

    const MINUTE: i64 = 60_000;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;

    fn state() -> PartitionState {
        PartitionState::new(PartitionId(3), LIMITS)
    }

    /// Drives a state and writes down what it tells, shortly.
    struct Told(PartitionState, u64);

    impl Told {
        fn apply(&mut self, ingest_ms: i64, event: &Event) -> Vec<String> {
            let mut told = Vec::new();
            self.1 += 1;
            self.0.apply(Offset(self.1), UnixMs(ingest_ms), event, &mut |change| told.push(brief(&change)));
            told
        }

        fn advance(&mut self, log_time_ms: i64) -> Vec<String> {
            let mut told = Vec::new();
            self.0.advance(UnixMs(log_time_ms), &mut |change| told.push(brief(&change)));
            told
        }

        fn counts(&self) -> (usize, usize, usize) {
            let counts = self.0.counts();
            (counts.drivers, counts.deliveries, counts.tombstones)
        }
    }

    fn brief(change: &FactChange) -> String {
        let kind = match &change.kind {
            FactKind::OwnFix { .. } => "own".to_owned(),
            FactKind::AboardFix { delivery, .. } => format!("fix {delivery}"),
            FactKind::Duty { duty, .. } => format!("duty {}", duty.len()),
            FactKind::Board(boarding) => format!("board {} {}", boarding.delivery, boarding.status.as_str()),
            FactKind::Alight { delivery, ended } => format!("alight {delivery} {}", ended.map_or("-", Status::as_str)),
            FactKind::Heard => "heard".to_owned(),
            FactKind::Forget => "forget".to_owned(),
        };
        format!("{}: {kind}", change.carrier.as_str())
    }

    #[test]
    fn a_delivery_goes_from_its_pickup_to_its_driver_and_to_another() {
        let mut told = Told(state(), 0);
        let assigned = |driver| Body::Assigned { driver: DriverId::parse(driver).unwrap() };
        assert_eq!(told.apply(1, &event("a", 1, None, Some("d"), status(Status::Created))), ["d: board d created"]);
        assert_eq!(told.apply(2, &event("b", 2, Some("ann"), Some("d"), location(1.0))), ["d: alight d -", "ann: board d created"]);
        assert_eq!(told.apply(3, &event("c", 3, Some("ann"), Some("d"), location(2.0))), ["ann: fix d"]);
        assert_eq!(told.apply(4, &event("d", 1, Some("eve"), Some("d"), location(3.0))), [""; 0], "a stale ping changes nothing");
        assert_eq!(told.apply(5, &event("e", 0, None, Some("d"), assigned("bob"))), ["ann: alight d -", "bob: board d assigned"]);
        assert_eq!(told.apply(6, &event("f", 9, Some("ann"), Some("d"), location(3.0))), ["bob: fix d"]);
        assert_eq!(told.apply(7, &event("g", 9, Some("ann"), None, location(3.0))), ["ann: own"]);
        assert_eq!(told.apply(8, &event("h", 9, Some("ann"), None, Body::Duty { on: false })), ["ann: duty 1"]);
    }

    #[test]
    fn what_has_ended_leaves_the_map_then_memory_and_its_tombstone_absorbs_late_events() {
        let mut told = Told(state(), 0);
        told.apply(0, &event("a", 1, Some("ann"), Some("d"), location(1.0)));
        told.apply(1, &event("b", 2, None, Some("d"), status(Status::Delivered)));
        assert_eq!(told.0.next_due(), Some(UnixMs(1 + 10 * MINUTE)));
        assert_eq!(told.advance(10 * MINUTE), [""; 0]);
        assert_eq!(told.advance(1 + 10 * MINUTE), ["ann: alight d delivered"]);
        assert_eq!(told.apply(HOUR, &event("c", 3, Some("ann"), Some("d"), location(1.0))), [""; 0], "known, but not on the map");
        assert_eq!(told.0.next_due(), Some(UnixMs(1 + DAY)));
        told.advance(1 + DAY);
        assert_eq!((told.counts(), told.0.next_due()), ((0, 0, 1), None));
        assert_eq!(told.apply(2 * DAY, &event("d", 4, Some("ann"), Some("d"), location(1.0))), [""; 0]);
        assert_eq!(told.counts(), (0, 0, 1));
        assert_eq!(told.apply(1 + 4 * DAY, &event("e", 5, Some("ann"), Some("d"), location(1.0))), ["ann: board d created"]);
        let handle = told.0.delivery(&TenantId::parse("acme").unwrap(), &DeliveryId::parse("d").unwrap()).unwrap().terms.handle.get();
        assert_eq!((told.counts(), handle), ((0, 1, 0), Handle::new(PartitionId(3), 2)), "a handle is never reused");
    }

    #[test]
    fn an_earlier_event_may_show_that_a_delivery_has_not_ended_and_bring_it_back() {
        let mut told = Told(state(), 0);
        told.apply(0, &event("a", 5, None, Some("d"), status(Status::Delivered)));
        assert_eq!(told.advance(10 * MINUTE), ["d: alight d delivered"]);
        let failed = event("b", 4, None, Some("d"), status(Status::Failed));
        assert_eq!(told.apply(11 * MINUTE, &failed), ["d: board d failed"]);
        assert_eq!(told.advance(2 * DAY), [""; 0]);
        assert_eq!(told.counts(), (0, 1, 0));
    }

    #[test]
    fn a_driver_leaves_after_seven_silent_days() {
        let mut told = Told(state(), 0);
        told.apply(0, &event("a", 1, Some("ann"), None, location(1.0)));
        assert_eq!(told.apply(DAY, &event("b", 0, Some("ann"), None, location(1.0))), ["ann: heard"]);
        assert_eq!(told.advance(8 * DAY - 1), [""; 0]);
        assert_eq!(told.advance(8 * DAY), ["ann: forget"]);
        assert_eq!(told.counts(), (0, 0, 0));
    }

    #[test]
    fn a_tenant_at_its_limit_keeps_what_it_has_and_another_is_not_harmed() {
        let limits = Limits { entities_per_tenant: 2, tombstones: 2 };
        let mut told = Told(PartitionState::new(PartitionId(0), limits), 0);
        told.apply(0, &event("a", 1, Some("ann"), None, location(1.0)));
        told.apply(0, &event("b", 1, None, Some("d"), status(Status::Delivered)));
        assert_eq!(told.apply(0, &event("c", 1, Some("bob"), None, location(1.0))), [""; 0]);
        assert_eq!(told.apply(0, &event("d", 2, Some("ann"), None, location(1.0))), ["ann: own"]);
        let mut other = event("e", 1, Some("bob"), None, location(1.0));
        other.tenant = TenantId::parse("globex").unwrap();
        assert_eq!(told.apply(0, &other), ["bob: own"]);
        assert_eq!((told.0.take_refused(), told.0.take_refused()), (1, 0));
        told.advance(DAY);
        assert_eq!(told.apply(DAY, &event("f", 1, Some("bob"), None, location(1.0))), ["bob: own"], "the delivery has made room");
    }

    #[test]
    fn what_there_is_a_million_of_stays_small() {
        // As `Slots` keeps them.
        assert_eq!((size_of::<Option<Driver>>(), size_of::<Option<Delivery>>()), (88, 80));
        assert_eq!((size_of::<DeliveryPing>(), size_of::<StatusFact>(), size_of::<Due>()), (72, 48, 12));
    }

    #[test]
    fn an_unknown_event_changes_no_state() {
        let mut told = Told(state(), 0);
        let other = Body::Other { name: "vendor.thing".into(), payload: bytes::Bytes::new() };
        assert_eq!(told.apply(7, &event("a", 1, Some("ann"), Some("d"), other)), [""; 0]);
        assert_eq!((told.counts(), told.0.log_time(), told.0.applied()), ((0, 0, 0), UnixMs(7), Some(Offset(1))));
    }

    #[test]
    fn the_hash_sees_every_kind_of_fact() {
        let assigned = Body::Assigned { driver: DriverId::parse("ann").unwrap() };
        let bodies = [location(1.0), assigned, status(Status::Failed), Body::Eta { eta: UnixMs(1) }, Body::Created(Box::default())];
        let mut told = Told(state(), 0);
        let mut hashes = vec![told.0.state_hash()];
        for (index, body) in bodies.into_iter().enumerate() {
            told.apply(1, &event(&format!("e{index}"), 1, Some("ann"), Some("d"), body));
            hashes.push(told.0.state_hash());
        }
        for (id, body) in [("f", location(1.0)), ("g", Body::Duty { on: true })] {
            told.apply(1, &event(id, 1, Some("ann"), None, body));
            hashes.push(told.0.state_hash());
        }
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), 8);
    }

    /// The facts of a delivery by sorting all its events: nothing here is incremental.
    fn assert_delivery_is_as_sorted(view: &DeliveryView, events: &[&Event]) {
        let newest = |wanted: fn(&Body) -> bool| events.iter().rev().find(|event| wanted(&event.body));
        let fix = newest(|body| matches!(body, Body::Location(_)));
        assert_eq!(view.fix.as_ref().map(|fix| fix.ping.order.clone()), fix.map(|event| event.order_key()));
        let explicit = newest(|body| matches!(body, Body::Assigned { .. })).map(|event| match &event.body {
            Body::Assigned { driver } => (driver.clone(), AssignmentKind::Explicit),
            _ => unreachable!("it was looked for"),
        });
        let implied = fix.map(|event| (event.actor.clone().unwrap(), AssignmentKind::Implied));
        assert_eq!(view.assignment.as_ref().map(|given| (given.driver.clone(), given.kind)), explicit.or(implied));
        let created = newest(|body| matches!(body, Body::Created(_))).map(|event| match &event.body {
            Body::Created(created) => (**created).clone(),
            _ => unreachable!("it was looked for"),
        });
        let created = created.unwrap_or_default();
        assert_eq!((view.pickup, view.destination, view.promised_by), (created.pickup, created.destination, created.promised_by));
        assert_eq!(view.attributes, created.attributes);
        let eta = newest(|body| matches!(body, Body::Eta { .. })).map(|event| match event.body {
            Body::Eta { eta } => eta,
            _ => unreachable!("it was looked for"),
        });
        assert_eq!(view.reported_eta, eta);
        let steps: Vec<(OrderKey, Status)> =
            events.iter().filter_map(|event| status_of(&event.body).map(|status| (event.order_key(), status))).collect();
        let mut current = None;
        let mut history = Vec::new();
        for (order, status) in &steps[steps.len().saturating_sub(32)..] {
            let verdict = judge(current, *status);
            current = if verdict == Verdict::Moves { Some(*status) } else { current };
            history.push((order.clone(), *status, verdict));
        }
        assert_eq!(view.history.iter().map(|step| (step.order.clone(), step.status, step.verdict)).collect::<Vec<_>>(), history);
        assert_eq!(view.status, current.unwrap_or(Status::Created));
    }

    fn status_of(body: &Body) -> Option<Status> {
        match body {
            Body::Created(_) => Some(Status::Created),
            Body::Assigned { .. } => Some(Status::Assigned),
            Body::Status(change) => Some(change.status),
            _ => None,
        }
    }

    fn shuffled(records: &[Record], seed: u64) -> Vec<Record> {
        let mut twice: Vec<(u64, Record)> = Vec::new();
        for (index, record) in (0_u64..).zip(records) {
            let draw = |salt: u64| xxhash_rust::xxh3::xxh3_64(format!("{seed} {index} {salt}").as_bytes());
            let copies = 1 + draw(0) % 3;
            twice.extend((1..=copies).map(|salt| (draw(salt), record.clone())));
        }
        twice.sort_by_key(|(place, _)| *place);
        // A log numbers and times what it is given as it comes.
        let numbered = (0_u64..).zip(twice).map(|(index, (_, record))| {
            let ingest_time = UnixMs(1_000_000_000 + i64::try_from(index).unwrap());
            Record { offset: Offset(index), ingest_time, ..record }
        });
        numbered.collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]

        #[test]
        fn any_shuffle_with_any_duplication_gives_the_same_state_hash(records in records(80, 10), seed in any::<u64>()) {
            let (mut once, mut again) = (state(), state());
            apply(&mut once, &records, &mut Picture::default());
            apply(&mut again, &shuffled(&records, seed), &mut Picture::default());
            prop_assert_eq!(once.state_hash(), again.state_hash());
        }

        #[test]
        fn facts_are_those_of_a_model_that_sorts_all_records(records in records(120, 10), seed in any::<u64>()) {
            let mut state = state();
            apply(&mut state, &shuffled(&records, seed), &mut Picture::default());
            let mut deliveries: BTreeMap<_, Vec<&Event>> = BTreeMap::new();
            let mut drivers: BTreeMap<_, Vec<&Event>> = BTreeMap::new();
            for Record { event, .. } in &records {
                match (&event.body, &event.delivery) {
                    (Body::Other { .. }, _) => {}
                    (_, Some(delivery)) => deliveries.entry((event.tenant, delivery.clone())).or_default().push(event),
                    (_, None) => drivers.entry((event.tenant, event.actor.clone().unwrap())).or_default().push(event),
                }
            }
            prop_assert_eq!((state.counts().drivers, state.counts().deliveries), (drivers.len(), deliveries.len()));
            for ((tenant, id), mut events) in deliveries {
                events.sort_by_key(|event| event.order_key());
                let view = DeliveryView::of(tenant, state.delivery(&tenant, &id).unwrap());
                assert_delivery_is_as_sorted(&view, &events);
            }
            for ((tenant, id), mut events) in drivers {
                events.sort_by_key(|event| event.order_key());
                let view = DriverView::of(tenant, state.driver(&tenant, &id).unwrap());
                let fix = events.iter().rev().find(|event| matches!(event.body, Body::Location(_)));
                let on_at_fix = |fix: &&&Event| {
                    let mut duty_before = events.iter().rev().filter(|event| event.order_key() < fix.order_key());
                    duty_before.find_map(|event| if let Body::Duty { on } = event.body { Some(on) } else { None }).unwrap_or(true)
                };
                prop_assert_eq!(view.fix.map(|fix| fix.ping.order.clone()), fix.filter(on_at_fix).map(|event| event.order_key()));
            }
        }

        #[test]
        fn recovery_at_any_cut_equals_no_cut(records in records(80, 6 * HOUR), cut in any::<prop::sample::Index>(), wait in 0..10 * DAY) {
            let cut = cut.index(records.len() + 1);
            let (mut whole, mut first) = (state(), state());
            let (mut whole_picture, mut recovered_picture) = (Picture::default(), Picture::default());
            apply(&mut whole, &records, &mut whole_picture);
            apply(&mut first, &records[..cut], &mut Picture::default());
            let mut recovered = snapshot::decode(&snapshot::encode(&first), LIMITS).unwrap();
            prop_assert_eq!(Picture::of(&recovered), Picture::of(&first));
            recovered.announcements().for_each(|change| recovered_picture.apply(change));
            apply(&mut recovered, &records[cut..], &mut recovered_picture);
            let end = UnixMs(whole.log_time().0 + wait);
            whole.advance(end, &mut |change| whole_picture.apply(change));
            recovered.advance(end, &mut |change| recovered_picture.apply(change));
            prop_assert_eq!(recovered.state_hash(), whole.state_hash());
            prop_assert_eq!((recovered.counts(), recovered.handles, recovered.applied), (whole.counts(), whole.handles, whole.applied));
            prop_assert_eq!(&recovered_picture, &whole_picture);
            // What was told bit by bit is what would be told at once; handles are part of it.
            prop_assert_eq!(&whole_picture, &Picture::of(&whole));
        }

        #[test]
        fn the_queue_of_what_is_due_misses_nothing(records in records(60, 6 * HOUR)) {
            let mut state = state();
            apply(&mut state, &records, &mut Picture::default());
            for _ in 0..1000 {
                let Some(due) = state.next_due() else { break };
                state.advance(due.max(UnixMs(state.log_time().0 + 1)), &mut |_| {});
            }
            prop_assert_eq!(state.next_due(), None);
            prop_assert_eq!(state.counts().drivers, 0);
            prop_assert!(state.deliveries.iter().all(|delivery| delivery.ended().is_none() && !delivery.left));
        }
    }
}
