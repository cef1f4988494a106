//! The pure core of a partition: facts by entity, and what each event changes for whoever shows it on a map. Does no IO, reads no clock.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::delivery::{DeliveryFacts, DriverFacts};
use crate::model::change::{Carrier, FactChange, FactKind};
use crate::model::event::{Body, Event};
use crate::model::id::{DeliveryId, DriverId, Handle, PartitionId, TenantId};
use crate::model::time::UnixMs;

/// A delivery leaves the map this long after its terminal status was heard.
const ON_MAP_AFTER_END: Duration = Duration::from_secs(600);

/// The facts of one partition.
#[derive(Debug)]
pub struct PartitionState {
    partition: PartitionId,
    tenants: HashMap<TenantId, TenantFacts>,
    next_handle: u64,
    /// The greatest ingest time so far: the only time a fold knows.
    log_time: UnixMs,
    /// Ended deliveries that are still on the map, by the log time at which they leave it.
    leaving: BTreeMap<(UnixMs, TenantId, DeliveryId), ()>,
    /// Entities more than this are not taken in; their events stay in the log.
    max_entities: usize,
    entities: usize,
}

#[derive(Debug, Default)]
struct TenantFacts {
    drivers: HashMap<DriverId, DriverFacts>,
    deliveries: HashMap<DeliveryId, Shown>,
}

#[derive(Debug)]
struct Shown {
    facts: DeliveryFacts,
    on_map: bool,
}

impl PartitionState {
    pub fn new(partition: PartitionId, max_entities: usize) -> Self {
        let leaving = BTreeMap::new();
        Self { partition, tenants: HashMap::new(), next_handle: 0, log_time: UnixMs(i64::MIN), leaving, max_entities, entities: 0 }
    }

    pub fn log_time(&self) -> UnixMs {
        self.log_time
    }

    pub fn delivery(&self, tenant: &TenantId, delivery: &str) -> Option<&DeliveryFacts> {
        self.tenants.get(tenant)?.deliveries.get(delivery).map(|shown| &shown.facts)
    }

    pub fn driver(&self, tenant: &TenantId, driver: &str) -> Option<&DriverFacts> {
        self.tenants.get(tenant)?.drivers.get(driver)
    }

    /// When something will be due that no event may ever trigger.
    pub fn next_due(&self) -> Option<UnixMs> {
        self.leaving.keys().next().map(|(at, _, _)| *at)
    }

    /// Joins one event and tells what that changes for the markers.
    pub fn apply(&mut self, event: &Event, ingest_time: UnixMs, out: &mut Vec<FactChange>) {
        match (&event.delivery, &event.actor) {
            (Some(delivery), _) if !matches!(event.body, Body::Other { .. }) => self.apply_delivery(event, delivery, ingest_time, out),
            (None, Some(driver)) if matches!(event.body, Body::Location(_) | Body::Duty { .. }) => self.apply_driver(event, driver, ingest_time, out),
            _ => {}
        }
    }

    /// Lets log time pass and does what is due: ended deliveries leave the map.
    pub fn advance(&mut self, log_time: UnixMs, out: &mut Vec<FactChange>) {
        self.log_time = self.log_time.max(log_time);
        while let Some(entry) = self.leaving.first_entry() {
            if entry.key().0 > self.log_time {
                break;
            }
            let ((_, tenant, delivery), ()) = entry.remove_entry();
            let Some(shown) = self.tenants.get_mut(&tenant).and_then(|facts| facts.deliveries.get_mut(&delivery)) else {
                continue;
            };
            // Heard again or revived since: it has a later entry, or none.
            let due = shown.facts.status().is_terminal() && shown.facts.last_heard + ON_MAP_AFTER_END <= self.log_time;
            if due && std::mem::replace(&mut shown.on_map, false) {
                let ended = Some(shown.facts.status());
                let carrier = carrier(&shown.facts, &delivery);
                out.push(FactChange { tenant, carrier, ingest_time: self.log_time, kind: FactKind::Alight { delivery, ended } });
            }
        }
    }

    /// A number that two states share exactly when they hold the same facts, however they came to them.
    pub fn state_hash(&self) -> u64 {
        let mut sum = 0_u64;
        for (tenant, facts) in &self.tenants {
            let mut add = |kind: char, id: &str, fingerprint: &str| {
                sum = sum.wrapping_add(xxhash_rust::xxh3::xxh3_64(format!("{tenant}\0{kind}\0{id}\0{fingerprint}").as_bytes()));
            };
            facts.drivers.iter().for_each(|(id, driver)| add('d', id.as_str(), &driver.fingerprint()));
            facts.deliveries.iter().for_each(|(id, shown)| add('o', id.as_str(), &shown.facts.fingerprint()));
        }
        sum
    }

    fn apply_driver(&mut self, event: &Event, driver: &DriverId, ingest_time: UnixMs, out: &mut Vec<FactChange>) {
        let facts = self.tenants.entry(event.tenant.clone()).or_default();
        let known = match facts.drivers.entry(driver.clone()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(_) if self.entities >= self.max_entities => return limit_reached(),
            Entry::Vacant(new) => {
                self.entities += 1;
                new.insert(DriverFacts::new(take_handle(self.partition, &mut self.next_handle)))
            }
        };
        if !known.join(event, driver, ingest_time) {
            return;
        }
        let handle = known.handle;
        let kind = match (&event.body, known.fix()) {
            (Body::Location(_), Some(fix)) => FactKind::OwnFix { fix: std::sync::Arc::clone(fix), handle },
            _ => FactKind::Duty { duty: known.duty(), handle },
        };
        out.push(FactChange { tenant: event.tenant.clone(), carrier: Carrier::Driver(driver.clone()), ingest_time, kind });
    }

    fn apply_delivery(&mut self, event: &Event, delivery: &DeliveryId, ingest_time: UnixMs, out: &mut Vec<FactChange>) {
        let facts = self.tenants.entry(event.tenant.clone()).or_default();
        let (shown, new) = match facts.deliveries.entry(delivery.clone()) {
            Entry::Occupied(known) => (known.into_mut(), false),
            Entry::Vacant(_) if self.entities >= self.max_entities => return limit_reached(),
            Entry::Vacant(vacant) => {
                self.entities += 1;
                let facts = DeliveryFacts::new(take_handle(self.partition, &mut self.next_handle));
                (vacant.insert(Shown { facts, on_map: true }), true)
            }
        };
        let before = carrier(&shown.facts, delivery);
        if !shown.facts.join(event, ingest_time) {
            return;
        }
        let after = carrier(&shown.facts, delivery);
        if before != after && !new {
            // A carrier that is known by its delivery alone shows under the delivery's handle: two of them must never share one.
            shown.facts.handle = take_handle(self.partition, &mut self.next_handle);
        }
        let change = |carrier: Carrier, kind: FactKind| FactChange { tenant: event.tenant.clone(), carrier, ingest_time, kind };
        let ended = shown.facts.status().is_terminal();
        if ended {
            self.leaving.insert((ingest_time + ON_MAP_AFTER_END, event.tenant.clone(), delivery.clone()), ());
        }
        let was_on_map = shown.on_map;
        shown.on_map |= !ended;
        if !shown.on_map {
            return;
        }
        if before != after && was_on_map && !new {
            out.push(change(before.clone(), FactKind::Alight { delivery: delivery.clone(), ended: None }));
        }
        let kind = match (&event.body, shown.facts.fix()) {
            (Body::Location(_), Some(fix)) if !new && was_on_map && before == after => {
                FactKind::AboardFix { delivery: delivery.clone(), fix: std::sync::Arc::clone(fix) }
            }
            _ => FactKind::Board(std::sync::Arc::new(shown.facts.boarding(delivery))),
        };
        out.push(change(after, kind));
    }
}

/// Who shows the delivery: its driver, or itself while it waits.
fn carrier(facts: &DeliveryFacts, delivery: &DeliveryId) -> Carrier {
    facts.driver().map_or_else(|| Carrier::Delivery(delivery.clone()), |driver| Carrier::Driver(driver.clone()))
}

fn take_handle(partition: PartitionId, next: &mut u64) -> Handle {
    let handle = Handle::new(partition, *next);
    *next += 1;
    handle
}

fn limit_reached() {
    metrics::counter!("waypost_entity_limit_total").increment(1);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Just, Strategy, prop, prop_assert_eq, proptest};

    use super::*;
    use crate::model::event::{Location, Stamp, StatusChange};
    use crate::model::id::EventId;
    use crate::model::position::Position;
    use crate::model::status::Status;

    fn event(id: usize, time: i64, actor: Option<usize>, delivery: Option<usize>, body: Body) -> Event {
        Event {
            id: EventId::parse(&format!("e{id}")).expect("valid"),
            tenant: TenantId::parse("acme").expect("valid"),
            actor: actor.map(|actor| DriverId::parse(&format!("d{actor}")).expect("valid")),
            delivery: delivery.map(|delivery| DeliveryId::parse(&format!("o{delivery}")).expect("valid")),
            event_time: UnixMs(time),
            schema_version: 1,
            body,
            stamp: Stamp { effective_time: UnixMs(time), skewed: false, late: false },
            unknown: None,
        }
    }

    fn body(kind: usize, number: usize) -> Body {
        let position = Position::from_e7(i32::try_from(number).expect("small") + 1, 5);
        match kind {
            0 => Body::Assigned { driver: DriverId::parse(&format!("d{}", number % 3)).expect("valid") },
            1 => Body::Status(Box::new(StatusChange { status: Status::ALL[number % 12], reason: None, proof: None })),
            2 => Body::Eta { eta: UnixMs(number as i64) },
            3 => Body::Duty { on: number.is_multiple_of(2) },
            _ => Body::Location(Location { position, accuracy_m: None, speed_mps: None, heading_deg: None, altitude_m: None, battery: None }),
        }
    }

    /// Events with unique ids; duty and own pings name no delivery.
    fn events() -> impl Strategy<Value = Vec<Event>> {
        prop::collection::vec((0_i64..40, 0_usize..3, 0_usize..3, 0_usize..7), 1..80).prop_map(|rows| {
            let one = |(id, (time, actor, delivery, kind)): (usize, (i64, usize, usize, usize))| {
                let delivery = (kind != 3 && kind != 6).then_some(delivery);
                event(id, time, Some(actor), delivery, body(kind, id))
            };
            rows.into_iter().enumerate().map(one).collect()
        })
    }

    fn fold(events: &[Event]) -> PartitionState {
        let mut state = PartitionState::new(PartitionId(3), 1000);
        events.iter().for_each(|event| state.apply(event, UnixMs(1000), &mut Vec::new()));
        state
    }

    proptest! {
        #[test]
        fn any_shuffle_with_any_duplication_gives_the_same_state_hash(
            (events, shuffled) in events().prop_flat_map(|events| (Just(events.clone()), Just([events.clone(), events].concat()).prop_shuffle())),
        ) {
            prop_assert_eq!(fold(&events).state_hash(), fold(&shuffled).state_hash());
        }

        /// The newest of everything, found by sorting, is what the fold holds.
        #[test]
        fn the_fold_equals_a_model_that_sorts_all_events(events in events()) {
            let state = fold(&events);
            let tenant = TenantId::parse("acme").expect("valid");
            let mut sorted = events.clone();
            sorted.sort_by_key(Event::order_key);
            for number in 0..3 {
                let id = format!("o{number}");
                let of = || sorted.iter().filter(|event| event.delivery.as_ref().is_some_and(|delivery| delivery.as_str() == id));
                let explicit = of().rev().find_map(|event| if let Body::Assigned { driver } = &event.body { Some(driver.clone()) } else { None });
                let ping = of().rev().find(|event| matches!(event.body, Body::Location(_)));
                let driver = explicit.or(ping.and_then(|event| event.actor.clone()));
                let known = state.delivery(&tenant, &id);
                prop_assert_eq!(known.and_then(|facts| facts.driver().cloned()), driver);
                prop_assert_eq!(known.and_then(|facts| facts.fix().map(|fix| fix.order.clone())), ping.map(Event::order_key));
            }
        }
    }

    #[test]
    fn a_reassigned_delivery_alights_from_one_and_boards_the_other() {
        let mut state = PartitionState::new(PartitionId(0), 10);
        let mut out = Vec::new();
        state.apply(&event(1, 1, Some(0), Some(0), body(4, 1)), UnixMs(1), &mut out);
        state.apply(&event(2, 2, None, Some(0), body(0, 1)), UnixMs(2), &mut out);
        let told: Vec<_> = out.iter().map(|change| (change.carrier.as_str().to_owned(), matches!(change.kind, FactKind::Board(_)))).collect();
        assert_eq!(told, [("d0".to_owned(), true), ("d0".to_owned(), false), ("d1".to_owned(), true)]);
        let handles: Vec<_> =
            out.iter().filter_map(|change| if let FactKind::Board(boarding) = &change.kind { Some(boarding.handle) } else { None }).collect();
        assert_ne!(handles[0], handles[1], "two carriers never share a handle");
    }

    #[test]
    fn an_ended_delivery_leaves_the_map_ten_minutes_of_log_time_later() {
        let mut state = PartitionState::new(PartitionId(0), 10);
        let mut out = Vec::new();
        let delivered = Body::Status(Box::new(StatusChange { status: Status::Delivered, reason: None, proof: None }));
        state.apply(&event(1, 1, None, Some(0), delivered), UnixMs(1000), &mut out);
        out.clear();
        assert_eq!(state.next_due(), Some(UnixMs(601_000)));
        state.advance(UnixMs(600_999), &mut out);
        assert!(out.is_empty());
        state.advance(UnixMs(601_000), &mut out);
        assert!(matches!(out[0].kind, FactKind::Alight { ended: Some(Status::Delivered), .. }));
        assert_eq!(state.next_due(), None);
    }
}
