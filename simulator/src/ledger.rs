//! An independent fold of what was sent and acknowledged: what the server must hold in the end. Shares no code with the server and never asks it.

use std::collections::{HashMap, HashSet};

use crate::expected::{Assignment, Certainty, Delivery, Driver, Expected, Fix, SIGNIFICANT_MS};
use crate::geodesy::Place;
use crate::lifecycle::{OrderKey, live};
use crate::wire::event::Payload;
use crate::wire::{DeliveryCreated, Event, Location, Point};

/// Bounded by the drivers and deliveries of the run, and the status events of each.
#[derive(Debug, Default)]
pub struct Ledger {
    drivers: HashMap<String, Pings>,
    deliveries: HashMap<String, Noted>,
    doubted: HashSet<String>,
}

/// By time; of one moment a ping of the driver's own is later than one that names a delivery, and then by id.
type PingKey = (i64, bool, String);

/// The latest ping of a driver, and those shortly before it.
#[derive(Debug)]
struct Pings {
    key: PingKey,
    fix: Fix,
    earlier: Vec<Fix>,
}

/// The events of one delivery, folded as far as their order allows.
#[derive(Debug, Default)]
struct Noted {
    created: Option<(OrderKey, DeliveryCreated)>,
    assigned: Option<(OrderKey, String)>,
    /// Who sent the latest ping that names it.
    named_by: Option<(OrderKey, String)>,
    statuses: Vec<(OrderKey, String)>,
}

impl Ledger {
    /// Takes an event that the server has acknowledged as stored.
    pub fn note(&mut self, event: &Event) {
        let key = (event.event_time_ms, event.event_id.clone());
        match &event.payload {
            Some(Payload::Location(location)) => self.note_location(key, event, location),
            Some(Payload::Created(created)) => {
                let noted = self.delivery(event);
                noted.statuses.push((key.clone(), "created".to_owned()));
                set_later(&mut noted.created, key, || created.clone());
            }
            Some(Payload::Assigned(assigned)) => {
                let noted = self.delivery(event);
                noted.statuses.push((key.clone(), "assigned".to_owned()));
                set_later(&mut noted.assigned, key, || assigned.driver_id.clone());
            }
            Some(Payload::Status(change)) => self.delivery(event).statuses.push((key, change.status.clone())),
            _ => {}
        }
    }

    fn note_location(&mut self, key: OrderKey, event: &Event, location: &Location) {
        let place = Place { lat: location.lat, lng: location.lng };
        let fix = Fix { place, time_ms: Some(event.event_time_ms), accuracy_m: location.accuracy_m };
        if !event.entity_id.is_empty() {
            set_later(&mut self.delivery(event).named_by, key.clone(), || event.actor_id.clone());
        }
        let key = (key.0, event.entity_id.is_empty(), key.1);
        match self.drivers.get_mut(&event.actor_id) {
            Some(pings) => pings.note(key, fix),
            None => drop(self.drivers.insert(event.actor_id.clone(), Pings { key, fix, earlier: Vec::new() })),
        }
    }

    fn delivery(&mut self, event: &Event) -> &mut Noted {
        if !self.deliveries.contains_key(&event.entity_id) {
            self.deliveries.insert(event.entity_id.clone(), Noted::default());
        }
        self.deliveries.get_mut(&event.entity_id).expect("inserted above")
    }

    /// Takes an event of which nobody knows where the server put it, or whether it has it at all.
    pub fn doubt(&mut self, event: &Event) {
        for id in [&event.actor_id, &event.entity_id] {
            if !id.is_empty() && !self.doubted.contains(id) {
                self.doubted.insert(id.clone());
            }
        }
    }

    /// Adds another ledger's entities, none of which this one has.
    pub fn absorb(&mut self, other: Self) {
        self.drivers.extend(other.drivers);
        self.deliveries.extend(other.deliveries);
        self.doubted.extend(other.doubted);
    }

    /// What the server has to hold.
    pub fn expected(self) -> Expected {
        let Self { drivers, deliveries, doubted } = self;
        let certainty = |id: &str| if doubted.contains(id) { Certainty::Existence } else { Certainty::Whole };
        let drivers = drivers.into_iter().map(|(id, Pings { fix, earlier, .. })| {
            let certainty = certainty(&id);
            (id, Driver { fix, earlier, certainty })
        });
        let deliveries = deliveries.into_iter().map(|(id, noted)| {
            let certainty = certainty(&id);
            (id, noted.expected(certainty))
        });
        let mut expected = Expected { drivers: drivers.collect(), deliveries: deliveries.collect(), ..Expected::default() };
        let unknown = |id: &String| !expected.drivers.contains_key(id) && !expected.deliveries.contains_key(id);
        expected.perhaps = doubted.into_iter().filter(unknown).collect();
        expected
    }
}

impl Pings {
    fn note(&mut self, key: PingKey, fix: Fix) {
        let before = if key > self.key {
            self.key = key;
            std::mem::replace(&mut self.fix, fix)
        } else {
            fix
        };
        self.earlier.push(before);
        let horizon = self.key.0 - SIGNIFICANT_MS;
        self.earlier.retain(|earlier| earlier.time_ms > Some(horizon));
    }
}

impl Noted {
    fn expected(self, certainty: Certainty) -> Delivery {
        let (status, history) = live(self.statuses);
        let explicit = self.assigned.map(|(_, driver)| (driver, Assignment::Explicit));
        let assigned = explicit.or(self.named_by.map(|(_, driver)| (driver, Assignment::Implied)));
        let (driver, assignment) = assigned.unzip();
        let created = self.created.map(|(_, created)| created).unwrap_or_default();
        let place = |point: Point| Place { lat: point.lat, lng: point.lng };
        Delivery {
            // A delivery of which no status event is known counts as created.
            status: status.unwrap_or_else(|| "created".to_owned()),
            driver,
            assignment,
            pickup: created.pickup.map(place),
            destination: created.destination.map(place),
            promised_by_ms: created.promised_by_ms,
            history,
            certainty,
        }
    }
}

fn set_later<T>(slot: &mut Option<(OrderKey, T)>, key: OrderKey, value: impl FnOnce() -> T) {
    if slot.as_ref().is_none_or(|(held, _)| *held < key) {
        *slot = Some((key, value()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Envelope, assigned, created, event, fix, status};

    fn at(time_ms: i64, id: &str, payload: Payload) -> Event {
        event(Envelope { id: id.into(), actor: "a".into(), delivery: "d".into(), time_ms }, payload)
    }

    fn ping(time_ms: i64, lat: f64) -> Event {
        at(time_ms, "x", Payload::Location(fix(Place { lat, lng: 0.0 })))
    }

    #[test]
    fn the_last_position_by_event_time_stands_whatever_order_it_came_in() {
        let mut ledger = Ledger::default();
        for (time, lat) in [(5, 1.0), (9, 2.0), (7, 3.0)] {
            ledger.note(&ping(time, lat));
        }
        let expected = ledger.expected();
        let fix = expected.drivers["a"].fix;
        assert_eq!((fix.place.lat, fix.time_ms), (2.0, Some(9)));
        let delivery = &expected.deliveries["d"];
        assert_eq!((delivery.driver.as_deref(), delivery.assignment), (Some("a"), Some(Assignment::Implied)), "the pings named it");
    }

    #[test]
    fn of_one_moment_a_ping_of_the_drivers_own_stands_whatever_its_id() {
        let own = |id: &str| Event { event_id: id.into(), entity_id: String::new(), ..ping(5, 2.0) };
        for events in [[own("a"), ping(5, 1.0)], [ping(5, 1.0), own("a")]] {
            let mut ledger = Ledger::default();
            for event in &events {
                ledger.note(event);
            }
            assert_eq!(ledger.expected().drivers["a"].fix.place.lat.to_bits(), 2.0_f64.to_bits());
        }
    }

    #[test]
    fn an_explicit_assignment_outranks_pings_and_the_latest_of_several_stands() {
        let mut ledger = Ledger::default();
        let pickup = Some(Place { lat: 1.0, lng: 2.0 });
        for event in [at(8, "x", assigned("b")), at(3, "x", assigned("c")), ping(9, 1.0), at(1, "x", created(pickup, None, Some(77)))] {
            ledger.note(&event);
        }
        ledger.note(&at(10, "x", status("picked_up", "")));
        let delivery = &ledger.expected().deliveries["d"];
        assert_eq!((delivery.driver.as_deref(), delivery.assignment), (Some("b"), Some(Assignment::Explicit)));
        assert_eq!((delivery.pickup, delivery.promised_by_ms, delivery.status.as_str()), (pickup, Some(77), "picked_up"));
        let history: Vec<_> = delivery.history.iter().map(|step| (step.time_ms, step.status.as_str())).collect();
        assert_eq!(history, [(1, "created"), (3, "assigned"), (8, "assigned"), (10, "picked_up")]);
    }

    #[test]
    fn doubt_before_the_first_acknowledged_event_is_remembered() {
        let mut ledger = Ledger::default();
        ledger.doubt(&ping(1, 1.0));
        ledger.note(&ping(2, 2.0));
        let mut other = ping(3, 1.0);
        (other.actor_id, other.entity_id) = ("b".into(), String::new());
        ledger.doubt(&other);
        let expected = ledger.expected();
        assert_eq!(expected.drivers["a"].certainty, Certainty::Existence);
        assert!(expected.perhaps.contains("b") && !expected.drivers.contains_key("b"));
    }
}
