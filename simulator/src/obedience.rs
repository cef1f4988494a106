//! Couriers that keep to when the server wants their next position. Holds back pings and nothing else; never sends.

use std::collections::HashMap;

use crate::client::answer::Next;
use crate::geodesy::Place;
use crate::wire::Event;
use crate::wire::event::Payload;

/// A courier that stands says at least this often that it is there.
const LATEST_MS: i64 = 20_000;

/// What each courier was told, and what it said last. Bounded by the couriers of the run.
#[derive(Debug, Default)]
pub struct Obedience {
    couriers: HashMap<String, Told>,
}

#[derive(Debug)]
struct Told {
    next: Next,
    said_at_ms: i64,
    said: Place,
}

impl Obedience {
    /// Whether this event is a ping that nobody wants yet.
    pub fn spares(&self, event: &Event) -> bool {
        let (Some(place), Some(told)) = (place_of(event), self.couriers.get(&event.actor_id)) else { return false };
        let silent_ms = event.event_time_ms - told.said_at_ms;
        let stands = told.said.distance_m(place) < f64::from(told.next.min_distance_m) && silent_ms < LATEST_MS;
        silent_ms < i64::from(told.next.interval_ms) || stands
    }

    /// Notes the answer to an event that was sent.
    pub fn heed(&mut self, event: &Event, next: Option<Next>) {
        let (Some(said), Some(next)) = (place_of(event), next) else { return };
        self.couriers.insert(event.actor_id.clone(), Told { next, said_at_ms: event.event_time_ms, said });
    }
}

fn place_of(event: &Event) -> Option<Place> {
    match &event.payload {
        Some(Payload::Location(location)) => Some(Place { lat: location.lat, lng: location.lng }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{DriverDuty, Location};

    fn event(at_ms: i64, lat: f64) -> Event {
        let payload = Some(Payload::Location(Location { lat, lng: 12.0, ..Location::default() }));
        Event { actor_id: "ann".to_owned(), event_time_ms: at_ms, payload, ..Event::default() }
    }

    #[test]
    fn a_ping_waits_for_its_time_and_its_way_and_never_longer_than_twenty_seconds() {
        let mut obedience = Obedience::default();
        assert!(!obedience.spares(&event(0, 57.0)), "nothing was told yet");
        obedience.heed(&event(0, 57.0), Some(Next { interval_ms: 2_000, min_distance_m: 100 }));
        // A thousandth of a degree is 111 m.
        let table = [(1_999, 57.01, true), (2_000, 57.001, false), (2_000, 57.000_5, true), (19_999, 57.0, true), (20_000, 57.0, false)];
        for (at_ms, lat, spared) in table {
            assert_eq!(obedience.spares(&event(at_ms, lat)), spared, "{at_ms} {lat}");
        }
        let duty = Event { payload: Some(Payload::Duty(DriverDuty { on: true })), ..event(1, 57.0) };
        assert!(!obedience.spares(&duty), "only pings are held back");
        obedience.heed(&event(5_000, 57.001), None);
        assert!(obedience.spares(&event(1_000, 57.01)), "an answer without a hint changes nothing");
    }
}
