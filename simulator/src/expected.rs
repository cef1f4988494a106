//! What the server has to hold of every driver and delivery when a run is over, in plain values. Never says how that was found out.

use std::collections::{BTreeMap, BTreeSet};

use crate::geodesy::Place;
use crate::lifecycle::{advance, is_over};

/// Bounded by the drivers and deliveries of the run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Expected {
    pub drivers: BTreeMap<String, Driver>,
    pub deliveries: BTreeMap<String, Delivery>,
    /// Drivers and deliveries of which nothing was acknowledged, though something was sent: the server may have them.
    pub perhaps: BTreeSet<String>,
}

/// A move of less than this within `SIGNIFICANT_MS` need not be shown; of one that stands, less than its accuracy.
const SIGNIFICANT_M: f64 = 5.0;
/// After this time a newer ping is shown, however small the move.
pub const SIGNIFICANT_MS: i64 = 10_000;
/// The server keeps 1e-7 degrees.
const UNITS_A_DEGREE: f64 = 1e7;

#[derive(Clone, Debug, PartialEq)]
pub struct Driver {
    pub fix: Fix,
    /// Pings of the last `SIGNIFICANT_MS` before it.
    pub earlier: Vec<Fix>,
    pub certainty: Certainty,
}

/// The latest ping.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fix {
    pub place: Place,
    /// Absent when nobody noted it.
    pub time_ms: Option<i64>,
    pub accuracy_m: Option<f32>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Delivery {
    pub status: String,
    pub driver: Option<String>,
    pub assignment: Option<Assignment>,
    pub pickup: Option<Place>,
    pub destination: Option<Place>,
    pub promised_by_ms: Option<i64>,
    pub history: Vec<Step>,
    pub certainty: Certainty,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assignment {
    Explicit,
    /// By a ping that named the delivery.
    Implied,
}

impl Assignment {
    pub fn word(self) -> &'static str {
        match self {
            Self::Explicit => "explicit",
            Self::Implied => "implied",
        }
    }
}

/// One status event of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub status: String,
    pub time_ms: i64,
    pub legal: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Certainty {
    #[default]
    Whole,
    /// Only that the server knows it: an event of it was never answered, or its clock ran so far ahead that the server ordered it by its own.
    Existence,
}

impl Driver {
    pub fn at(place: Place) -> Self {
        Self { fix: Fix { place, time_ms: None, accuracy_m: None }, earlier: Vec::new(), certainty: Certainty::Whole }
    }

    /// Whether a map that is spared insignificant moves may show the driver here: at its latest ping, or at one shortly before and close to it.
    /// A place that it never said it was at is never right.
    pub fn may_stand(&self, shown: Place) -> bool {
        self.fix.is_at(shown) || self.unmoved().any(|fix| fix.is_at(shown))
    }

    /// The same for a place with the time of its ping.
    pub fn may_have_stood(&self, shown: Place, time_ms: Option<i64>) -> bool {
        let is_it = |fix: &Fix| fix.is_at(shown) && (fix.time_ms.is_none() || fix.time_ms == time_ms);
        is_it(&self.fix) || self.unmoved().any(is_it)
    }

    fn unmoved(&self) -> impl Iterator<Item = &Fix> {
        // A map may know an accuracy a little less finely than it was sent, and a large one by four metres.
        let accuracy_m = f64::from(self.fix.accuracy_m.unwrap_or(0.0));
        let slack_m = (accuracy_m + if accuracy_m < 300.0 { 0.01 } else { 4.0 }).max(SIGNIFICANT_M);
        self.earlier.iter().filter(move |fix| fix.place.distance_m(self.fix.place) < slack_m)
    }
}

impl Fix {
    fn is_at(&self, place: Place) -> bool {
        self.place.is_same(place)
    }
}

impl Place {
    /// Equal as the wire has it, but for rounding.
    pub fn is_same(self, other: Self) -> bool {
        let near = |a: f64, b: f64| e7(a).abs_diff(e7(b)) <= 1;
        near(self.lat, other.lat) && near(self.lng, other.lng)
    }
}

/// As the wire has it.
fn e7(degrees: f64) -> i64 {
    (degrees * UNITS_A_DEGREE).round() as i64
}

impl Delivery {
    pub fn is_over(&self) -> bool {
        is_over(&self.status)
    }
}

/// What a driver has to have aboard.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Load<'a> {
    /// Deliveries that are not over.
    pub open: Vec<&'a str>,
    /// Of the one that has come furthest.
    pub status: Option<&'a str>,
    /// Some of it is not known for certain.
    pub certainty: Certainty,
}

impl Expected {
    pub fn count(&self) -> usize {
        self.drivers.len() + self.deliveries.len()
    }

    /// By driver. Who carries nothing and never did is absent.
    pub fn loads(&self) -> BTreeMap<&str, Load<'_>> {
        let mut loads: BTreeMap<&str, Load<'_>> = BTreeMap::new();
        for (id, delivery) in &self.deliveries {
            let Some(driver) = &delivery.driver else { continue };
            let load = loads.entry(driver).or_default();
            if delivery.certainty == Certainty::Existence {
                load.certainty = Certainty::Existence;
            }
            if !delivery.is_over() {
                load.open.push(id);
                load.status = load.status.into_iter().chain([delivery.status.as_str()]).max_by_key(|status| advance(status));
            }
        }
        loads
    }

    /// Of drivers that others moved on, only existence can be expected.
    #[must_use]
    pub fn with_moved_on(mut self, drivers: &BTreeSet<String>) -> Self {
        for (id, driver) in &mut self.drivers {
            if drivers.contains(id) {
                driver.certainty = Certainty::Existence;
            }
        }
        self
    }

    /// Makes uncertain here what is uncertain there, and what the server may have beside it.
    pub fn doubt_as(&mut self, other: &Self) {
        for (id, driver) in &mut self.drivers {
            match other.drivers.get(id) {
                Some(known) if known.certainty == Certainty::Whole => {}
                Some(_) => driver.certainty = Certainty::Existence,
                None => {}
            }
        }
        for (id, delivery) in &mut self.deliveries {
            if other.deliveries.get(id).is_some_and(|known| known.certainty == Certainty::Existence) {
                delivery.certainty = Certainty::Existence;
            }
        }
        self.drivers.retain(|id, _| !other.perhaps.contains(id));
        self.deliveries.retain(|id, _| !other.perhaps.contains(id));
        self.perhaps.extend(other.perhaps.iter().cloned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(driver: &str, status: &str) -> Delivery {
        Delivery { driver: Some(driver.into()), status: status.into(), ..Delivery::default() }
    }

    #[test]
    fn a_load_is_what_is_not_over_and_shows_the_status_that_has_come_furthest() {
        let mut expected = Expected::default();
        for (id, status) in [("a", "assigned"), ("b", "arrived"), ("c", "delivered"), ("d", "failed")] {
            expected.deliveries.insert(id.into(), delivery("van", status));
        }
        let loads = expected.loads();
        assert_eq!((loads["van"].open.as_slice(), loads["van"].status), (["a", "b", "d"].as_slice(), Some("arrived")));
    }

    #[test]
    fn a_driver_may_be_shown_where_it_last_was_or_shortly_before_and_close_by_and_nowhere_else() {
        let here = Place { lat: 57.7, lng: 11.9 };
        let fix = |place: Place, time_ms: i64| Fix { place, time_ms: Some(time_ms), accuracy_m: Some(3.0) };
        let earlier = vec![fix(here.moved_m(4.0, 0.0), 8_000), fix(here.moved_m(9.0, 0.0), 7_000)];
        let driver = Driver { fix: fix(here, 9_000), earlier, certainty: Certainty::Whole };
        assert!(driver.may_stand(here) && driver.may_have_stood(here, Some(9_000)));
        assert!(driver.may_have_stood(here.moved_m(4.0, 0.0), Some(8_000)), "less than is significant");
        assert!(!driver.may_have_stood(here, Some(8_000)), "there, but not then");
        assert!(!driver.may_stand(here.moved_m(9.0, 0.0)), "that far it had to be shown");
        assert!(!driver.may_stand(here.moved_m(1.0, 0.0)), "it never was there");
        assert!(driver.may_stand(Place { lat: here.lat + 1e-7, ..here }), "rounding");
    }

    #[test]
    fn doubt_leaves_existence_and_whoever_was_never_acknowledged_is_not_expected_at_all() {
        let driver = Driver::at(Place { lat: 1.0, lng: 2.0 });
        let mut expected = Expected::default();
        let mut known = Expected::default();
        for id in ["sure", "unsure", "perhaps"] {
            expected.drivers.insert(id.into(), driver.clone());
        }
        known.drivers.insert("sure".into(), driver.clone());
        known.drivers.insert("unsure".into(), Driver { certainty: Certainty::Existence, ..driver });
        known.perhaps.insert("perhaps".into());
        expected.doubt_as(&known);
        let certainties: Vec<_> = expected.drivers.iter().map(|(id, driver)| (id.as_str(), driver.certainty)).collect();
        assert_eq!(certainties, [("sure", Certainty::Whole), ("unsure", Certainty::Existence)]);
    }
}
