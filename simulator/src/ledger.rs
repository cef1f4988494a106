//! An independent fold of what was sent and acknowledged: what the server must hold in the end. Shares no code with the server and never asks it.

use std::collections::HashMap;

use crate::geodesy::Place;
use crate::wire::Event;
use crate::wire::event::Payload;

/// Orders facts: event time, then event id.
type Key = (i64, String);

/// Bounded by the drivers and deliveries of the run.
#[derive(Debug, Default)]
pub struct Ledger {
    pub drivers: HashMap<String, ExpectedDriver>,
    pub deliveries: HashMap<String, ExpectedDelivery>,
}

#[derive(Debug, Default)]
pub struct ExpectedDriver {
    last: Option<(Key, Place)>,
    /// Only existence can be expected: an event was never answered, or its clock ran so far ahead that the server ordered it by its own.
    pub loose: bool,
}

#[derive(Debug, Default)]
pub struct ExpectedDelivery {
    changes: Vec<(Key, String)>,
    pub loose: bool,
}

impl ExpectedDriver {
    pub fn position(&self) -> Option<Place> {
        self.last.as_ref().map(|(_, place)| *place)
    }
}

impl ExpectedDelivery {
    /// The status after all changes in event order.
    pub fn status(&self) -> Option<String> {
        let mut changes: Vec<&(Key, String)> = self.changes.iter().collect();
        changes.sort();
        changes.into_iter().fold(None, |now, (_, word)| Some(now.map_or(word.as_str(), |now| next_status(now, word)))).map(str::to_owned)
    }
}

impl Ledger {
    /// Takes an event that the server has acknowledged as stored.
    pub fn note(&mut self, event: &Event) {
        let key = || (event.event_time_ms, event.event_id.clone());
        let word = match &event.payload {
            Some(Payload::Location(fix)) => {
                let driver = entry(&mut self.drivers, &event.actor_id);
                if driver.last.as_ref().is_none_or(|(last, _)| *last < key()) {
                    driver.last = Some((key(), Place { lat: fix.lat, lng: fix.lng }));
                }
                return;
            }
            Some(Payload::Created(_)) => "created",
            Some(Payload::Assigned(_)) => "assigned",
            Some(Payload::Status(change)) => &change.status,
            _ => return,
        };
        entry(&mut self.deliveries, &event.entity_id).changes.push((key(), word.to_owned()));
    }

    /// Takes an event of which nobody knows where the server put it, or whether it has it at all.
    pub fn doubt(&mut self, event: &Event) {
        if let Some(driver) = self.drivers.get_mut(&event.actor_id) {
            driver.loose = true;
        }
        if let Some(delivery) = self.deliveries.get_mut(&event.entity_id) {
            delivery.loose = true;
        }
    }

    pub fn expect_driver(&mut self, id: String, place: Place) {
        self.drivers.insert(id, ExpectedDriver { last: Some(((0, String::new()), place)), loose: false });
    }

    /// Adds another ledger's entities, none of which this one has.
    pub fn absorb(&mut self, other: Self) {
        self.drivers.extend(other.drivers);
        self.deliveries.extend(other.deliveries);
    }
}

fn entry<'a, T: Default>(map: &'a mut HashMap<String, T>, id: &str) -> &'a mut T {
    if !map.contains_key(id) {
        map.insert(id.to_owned(), T::default());
    }
    map.get_mut(id).expect("inserted above")
}

/// Forward in the list, skipping allowed, starting anywhere; `assigned` again before pickup goes back; `cancelled` from whatever is not over;
/// `failed` leads to another attempt or a return. What is not allowed changes nothing.
fn next_status<'a>(current: &'a str, word: &'a str) -> &'a str {
    const WAY: [&str; 8] = ["created", "assigned", "en_route_pickup", "at_pickup", "picked_up", "en_route_dropoff", "approaching", "arrived"];
    const PICKED_UP: usize = 4;
    let rank = |status: &str| WAY.iter().position(|step| *step == status);
    let allowed = match (current, word) {
        ("delivered" | "returned" | "cancelled", _) => false,
        (_, "cancelled") => true,
        ("failed", next) => matches!(next, "en_route_dropoff" | "returned"),
        (_, "delivered" | "returned" | "failed") => true,
        (_, "assigned") => rank(current).is_some_and(|rank| rank < PICKED_UP),
        (_, next) => rank(next) > rank(current),
    };
    if allowed { word } else { current }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Envelope, event, fix, status};

    fn at(time_ms: i64, id: &str, payload: Payload) -> Event {
        event(Envelope { id: id.into(), actor: "a".into(), delivery: "d".into(), time_ms }, payload)
    }

    #[test]
    fn the_last_position_by_event_time_stands_whatever_order_it_came_in() {
        let mut ledger = Ledger::default();
        for (time, lat) in [(5, 1.0), (9, 2.0), (7, 3.0)] {
            ledger.note(&at(time, "x", Payload::Location(fix(Place { lat, lng: 0.0 }))));
        }
        assert_eq!(ledger.drivers["a"].position().map(|place| place.lat), Some(2.0));
    }

    #[test]
    fn a_status_is_folded_in_event_order_and_illegal_steps_change_nothing() {
        let cases: [(&[&str], &str); 6] = [
            (&["created", "assigned", "delivered", "picked_up"], "delivered"),
            (&["created", "at_pickup", "assigned"], "assigned"),
            (&["picked_up", "assigned"], "picked_up"),
            (&["arrived", "failed", "approaching"], "failed"),
            (&["arrived", "failed", "returned", "cancelled"], "returned"),
            (&["en_route_dropoff", "picked_up", "cancelled"], "cancelled"),
        ];
        for (words, expected) in cases {
            let mut ledger = Ledger::default();
            for (time, word) in (0..).zip(words).collect::<Vec<_>>().into_iter().rev() {
                ledger.note(&at(time, "x", status(word, "")));
            }
            assert_eq!(ledger.deliveries["d"].status().as_deref(), Some(expected), "{words:?}");
        }
    }
}
