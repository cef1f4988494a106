//! Folds the rows of a trace, straight from the file, into what the server has to hold after it was played. Looks at no event and at no answer,
//! so that a mistake on the way from row to event or in the server's own fold shows as a difference.

use std::collections::BTreeMap;

use crate::expected::{Assignment, Delivery, Driver, Expected, Fix, SIGNIFICANT_MS};
use crate::lifecycle::{OrderKey, live};

use super::row::Row;

/// A step faster than this is a teleport: nothing on a road goes at 200 km/h for long.
pub const TELEPORT_MPS: f64 = 55.0;
const TELEPORTS_TOLD: usize = 5;

/// The picture that a file paints.
#[derive(Debug, Default)]
pub struct Folded {
    pub expected: Expected,
    /// Events that the server has to refuse, by reason.
    pub refusals: BTreeMap<String, u64>,
    pub teleports: Teleports,
}

/// Steps between two fixes of an actor that nothing on a road can take. They are played like all others.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Teleports {
    pub count: u64,
    /// The first few, in words.
    pub told: Vec<String>,
}

/// What is known of one actor so far.
#[derive(Debug, Default)]
struct Actor {
    /// By time and id; only rows that the server has to take.
    fixes: Vec<(OrderKey, Fix)>,
    trip: Option<bool>,
    open: Option<String>,
}

/// What is known of one delivery so far.
#[derive(Debug)]
struct Trip {
    driver: String,
    pickup: Option<(OrderKey, Fix)>,
    changes: Vec<(OrderKey, String)>,
}

/// Folds all rows; `time_ms` says when a row is played to have happened.
pub fn fold(rows: &[Row], time_ms: impl Fn(&Row) -> i64) -> Folded {
    let mut folded = Folded::default();
    let mut actors: BTreeMap<&str, Actor> = BTreeMap::new();
    let mut trips: BTreeMap<String, Trip> = BTreeMap::new();
    for row in rows {
        let actor = actors.entry(&row.actor).or_default();
        let at = time_ms(row);
        let fix = Fix { place: row.place, time_ms: Some(at), accuracy_m: row.accuracy_m };
        let refusal = unplaceable(row).or_else(|| unmeasurable(row));
        match refusal {
            None => actor.fixes.push(((at, row.id.clone()), fix)),
            Some(reason) => folded.refuse(reason),
        }
        let before = actor.trip;
        actor.trip = row.trip.or(before);
        match (before, row.trip) {
            (Some(false), Some(true)) => {
                let id = format!("{}-{}", row.actor, row.time_text);
                let trip = trips.entry(id.clone()).or_insert_with(|| Trip { driver: row.actor.clone(), pickup: None, changes: Vec::new() });
                trip.start(row, (at, fix), &mut folded);
                actor.open = Some(id);
            }
            (Some(true), Some(false)) => {
                if let Some(trip) = actor.open.take().and_then(|id| trips.get_mut(&id)) {
                    trip.changes.push(((at, format!("{}-3", row.id)), "delivered".to_owned()));
                }
            }
            _ => {}
        }
    }
    for (id, actor) in actors {
        folded.take_actor(id, actor);
    }
    folded.expected.deliveries = trips.into_iter().map(|(id, trip)| (id, trip.delivery())).collect();
    folded
}

impl Folded {
    fn refuse(&mut self, reason: &str) {
        *self.refusals.entry(reason.to_owned()).or_default() += 1;
    }

    fn take_actor(&mut self, id: &str, mut actor: Actor) {
        actor.fixes.sort_by(|a, b| a.0.cmp(&b.0));
        for pair in actor.fixes.windows(2) {
            let metres = pair[0].1.place.distance_m(pair[1].1.place);
            let seconds = ((pair[1].0.0 - pair[0].0.0) as f64 / 1000.0).max(1.0);
            if metres / seconds > TELEPORT_MPS {
                self.teleports.count += 1;
                self.teleports.tell(|| format!("{id}: {:.1} km in {seconds:.0} s until {}", metres / 1000.0, crate::event::rfc3339(pair[1].0.0)));
            }
        }
        if let Some(((latest_ms, _), fix)) = actor.fixes.pop() {
            let shortly_before = actor.fixes.iter().rev().take_while(|((time_ms, _), _)| *time_ms > latest_ms - SIGNIFICANT_MS);
            let earlier = shortly_before.map(|(_, fix)| *fix).collect();
            self.expected.drivers.insert(id.to_owned(), Driver { fix, earlier, ..Driver::at(fix.place) });
        }
    }
}

impl Teleports {
    fn tell(&mut self, words: impl FnOnce() -> String) {
        if self.told.len() < TELEPORTS_TOLD {
            self.told.push(words());
        }
    }
}

impl Trip {
    /// A delivery whose pickup is no place is refused; that it was assigned still stands.
    fn start(&mut self, row: &Row, (at, fix): (i64, Fix), folded: &mut Folded) {
        if let Some(reason) = unplaceable(row) {
            folded.refuse(reason);
        } else {
            let key = (at, format!("{}-1", row.id));
            self.changes.push((key.clone(), "created".to_owned()));
            if self.pickup.as_ref().is_none_or(|(held, _)| *held < key) {
                self.pickup = Some((key, fix));
            }
        }
        self.changes.push(((at, format!("{}-2", row.id)), "assigned".to_owned()));
    }

    fn delivery(self) -> Delivery {
        let (status, history) = live(self.changes);
        Delivery {
            status: status.unwrap_or_default(),
            driver: Some(self.driver),
            assignment: Some(Assignment::Explicit),
            pickup: self.pickup.map(|(_, fix)| fix.place),
            history,
            ..Delivery::default()
        }
    }
}

/// Why the schema allows no such position.
fn unplaceable(row: &Row) -> Option<&'static str> {
    let (lat, lng) = (row.place.lat, row.place.lng);
    if !(-90.0..=90.0).contains(&lat) || !(-180.0..=180.0).contains(&lng) {
        Some("out_of_range")
    } else if lat == 0.0 && lng == 0.0 {
        Some("null_island")
    } else {
        None
    }
}

/// Why the schema allows no such ping, its position aside.
fn unmeasurable(row: &Row) -> Option<&'static str> {
    let within = |value: Option<f32>, range: std::ops::RangeInclusive<f32>| value.is_none_or(|value| range.contains(&value));
    let measurable = within(row.speed_mps, 0.0..=1_000.0)
        && within(row.heading_deg, 0.0..=360.0)
        && within(row.accuracy_m, 0.0..=100_000.0)
        && within(row.altitude_m, -12_000.0..=100_000.0);
    (!measurable).then_some("out_of_range")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geodesy::Place;

    fn row(number: u64, actor: &str, time_s: i64, lat: f64, trip: bool) -> Row {
        Row {
            id: format!("{number:02}"),
            actor: actor.into(),
            time_text: time_s.to_string(),
            time_ms: time_s * 1000,
            place: Place { lat, lng: 2.0 },
            trip: Some(trip),
            speed_mps: None,
            heading_deg: None,
            accuracy_m: None,
            altitude_m: None,
        }
    }

    fn folded(rows: &[Row]) -> Folded {
        fold(rows, |row| row.time_ms)
    }

    #[test]
    fn the_latest_row_by_time_and_id_is_where_a_driver_stands_whatever_its_place_in_the_file() {
        let rows = [row(1, "a", 100, 1.0, false), row(2, "a", 300, 3.0, false), row(3, "a", 200, 2.0, false), row(4, "b", 100, 5.0, false)];
        let expected = folded(&rows).expected;
        assert_eq!((expected.drivers["a"].fix.place.lat, expected.drivers["a"].fix.time_ms), (3.0, Some(300_000)));
        assert_eq!((expected.drivers.len(), expected.deliveries.len()), (2, 0));
        let tie = folded(&[row(9, "a", 100, 9.0, false), row(3, "a", 100, 3.0, false)]).expected;
        assert_eq!(tie.drivers["a"].fix.place, Place { lat: 9.0, lng: 2.0 }, "of two at one time the greater id");
    }

    #[test]
    fn a_trip_from_0_to_1_is_a_delivery_and_its_end_delivers_it() {
        let rows = [
            row(1, "a", 100, 1.0, true),
            row(2, "a", 160, 1.0, false),
            row(3, "a", 220, 1.6, true),
            row(4, "a", 280, 1.7, false),
            row(5, "a", 340, 1.8, true),
        ];
        let deliveries = folded(&rows).expected.deliveries;
        let told: Vec<_> = deliveries.iter().map(|(id, delivery)| (id.as_str(), delivery.status.as_str(), delivery.history.len())).collect();
        assert_eq!(told, [("a-220", "delivered", 3), ("a-340", "assigned", 2)], "what was on at the first row is nobody's beginning");
        assert_eq!(deliveries["a-220"].pickup, Some(Place { lat: 1.6, lng: 2.0 }));
        assert_eq!(deliveries["a-220"].driver.as_deref(), Some("a"));
    }

    #[test]
    fn rows_that_the_schema_forbids_are_counted_and_move_nobody() {
        let nowhere = Row { place: Place { lat: 0.0, lng: 0.0 }, ..row(3, "a", 220, 0.0, true) };
        let rows =
            [row(1, "a", 100, 1.0, false), row(2, "a", 160, 91.0, false), nowhere, Row { speed_mps: Some(-1.0), ..row(4, "a", 280, 3.0, true) }];
        let folded = folded(&rows);
        let refusals: Vec<_> = folded.refusals.iter().map(|(reason, count)| (reason.as_str(), *count)).collect();
        assert_eq!(refusals, [("null_island", 2), ("out_of_range", 2)], "the ping and the delivery's creation are refused each");
        assert_eq!(folded.expected.drivers["a"].fix.place, Place { lat: 1.0, lng: 2.0 });
        let delivery = &folded.expected.deliveries["a-220"];
        assert_eq!((delivery.pickup, delivery.status.as_str()), (None, "assigned"));
    }

    #[test]
    fn a_step_faster_than_any_road_is_a_teleport_and_still_counts() {
        let rows = [row(1, "a", 100, 1.0, false), row(2, "a", 160, 1.02, false), row(3, "a", 220, 1.1, false)];
        let folded = folded(&rows);
        assert_eq!((folded.teleports.count, folded.expected.drivers["a"].fix.place.lat), (1, 1.1));
        assert!(folded.teleports.told[0].contains("8.9 km in 60 s"), "{:?}", folded.teleports.told);
    }
}
