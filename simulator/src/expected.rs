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

#[derive(Clone, Debug, PartialEq)]
pub struct Driver {
    pub fix: Fix,
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
        Self { fix: Fix { place, time_ms: None, accuracy_m: None }, certainty: Certainty::Whole }
    }
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
