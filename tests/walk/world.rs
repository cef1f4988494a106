//! The model: what was posted, and what must be on the map because of it. Shares no code with the server.

use std::collections::{BTreeMap, BTreeSet};

use h3o::{CellIndex, LatLng, Resolution};
use rand::rngs::StdRng;
use rand::{Rng as _, seq::IndexedRandom as _};
use serde_json::Value;

use crate::harness::events::{assigned, created, duty, ping, status};

const DRIVERS: u32 = 30;
/// More are on a marker's list of 16 no longer.
const MAX_ABOARD: usize = 10;
/// A status's code is its place here.
const STATUSES: [&str; 13] = [
    "",
    "created",
    "assigned",
    "en_route_pickup",
    "at_pickup",
    "picked_up",
    "en_route_dropoff",
    "approaching",
    "arrived",
    "delivered",
    "failed",
    "returned",
    "cancelled",
];
/// Names of attributes are unique, so at most one of a name.
const TAGS: [(&str, &str); 3] = [("size", "xl"), ("cold", ""), ("zone", "a=b")];
const YEAR_MS: i64 = 365 * 24 * 3_600_000;
const ASSIGNED: usize = 2;
const PICKED_UP: usize = 5;
const EN_ROUTE_DROPOFF: usize = 6;
const ARRIVED: usize = 8;
const DELIVERED: usize = 9;
const FAILED: usize = 10;
const RETURNED: usize = 11;
const CANCELLED: usize = 12;

/// In units of 1e-7 degrees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) lat_e7: i32,
    pub(super) lng_e7: i32,
}

#[derive(Debug, Default)]
pub(super) struct World {
    drivers: BTreeMap<String, Courier>,
    deliveries: BTreeMap<String, Delivery>,
    events: u64,
}

#[derive(Debug, Default)]
struct Courier {
    /// When it went on (true) and off duty. Who never said is on duty.
    duty: Vec<(i64, bool)>,
    /// The newest of its own pings that name no delivery.
    fix: Option<Fix>,
}

/// In the order of facts: by time, then by event id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Fix {
    at_ms: i64,
    event: String,
    place: Place,
}

#[derive(Debug)]
struct Delivery {
    pickup: Place,
    /// By an event; it outranks what a ping implies.
    assigned: Option<String>,
    /// The newest ping that names it, and whose that was.
    fix: Option<(Fix, String)>,
    status: usize,
    left: bool,
    tags: Vec<(&'static str, &'static str)>,
    /// Its promise had passed already when it was made; else it never does.
    belated: bool,
}

impl Courier {
    fn is_off_duty(&self) -> bool {
        self.duty.last().is_some_and(|(_, on)| !on)
    }

    /// What is said inside an interval off duty is never shown.
    fn may_show(&self, fix: &Fix) -> bool {
        self.duty.iter().rev().find(|(since_ms, _)| *since_ms <= fix.at_ms).is_none_or(|(_, on)| *on)
    }
}

impl Delivery {
    fn driver(&self) -> Option<&str> {
        self.assigned.as_deref().or(self.fix.as_ref().map(|(_, actor)| actor.as_str()))
    }

    fn asked(&self) -> (Vec<(&'static str, &'static str)>, bool) {
        (self.tags.clone(), self.belated && !is_terminal(self.status))
    }
}

/// What a map shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Marker {
    pub(super) id: String,
    pub(super) driver: bool,
    pub(super) place: Place,
    pub(super) status: u32,
    pub(super) aboard: u32,
    /// Of each delivery aboard, or of the one that waits: its tags, and whether it is at risk of being late.
    pub(super) asked: Vec<(Vec<(&'static str, &'static str)>, bool)>,
}

impl World {
    /// Something happens to a few drivers and deliveries, no two things to one of them.
    pub(super) fn happen(&mut self, rng: &mut StdRng, at_ms: i64) -> Vec<Value> {
        let mut events = Vec::new();
        for _ in 0..rng.random_range(1..6) {
            let driver = a_driver(rng);
            if !events.iter().any(|event: &Value| event["actor_id"] == driver.as_str()) {
                events.push(self.drive(rng, &driver, at_ms));
            }
        }
        if rng.random_bool(0.4) {
            let delivery = format!("order-{}", self.deliveries.len());
            let pickup = somewhere(rng);
            let (tags, belated) =
                ((0..TAGS.len()).filter(|_| rng.random_bool(0.3)).map(|index| TAGS[index]).collect::<Vec<_>>(), rng.random_bool(0.3));
            let mut event = created(&self.id(), &delivery, at_ms, degrees(pickup.lat_e7), degrees(pickup.lng_e7));
            event["payload"]["attributes"] = tags.iter().map(|(name, value)| ((*name).to_owned(), Value::from(*value))).collect();
            event["payload"]["promised_by"] = Value::from(if belated { at_ms - 1 } else { at_ms + YEAR_MS });
            events.push(event);
            self.deliveries.insert(delivery, Delivery { pickup, assigned: None, fix: None, status: 1, left: false, tags, belated });
        }
        for _ in 0..rng.random_range(0..4) {
            let known: Vec<String> = self.deliveries.keys().cloned().collect();
            let Some(delivery) = known.choose(rng) else { continue };
            if events.iter().any(|event: &Value| event["entity_id"] == delivery.as_str()) {
                continue;
            }
            // Who has said something in this batch cannot say it at the same millisecond again: which of the two were newer would be chance.
            let driver = self.deliveries[delivery].driver().map_or_else(|| a_driver(rng), str::to_owned);
            let silent = !events.iter().any(|event: &Value| event["actor_id"] == driver.as_str());
            if silent && rng.random_bool(0.3) {
                events.extend(self.ping_naming(rng, delivery, &driver, at_ms));
            } else {
                events.extend(self.deliver(rng, delivery, at_ms));
            }
        }
        events
    }

    fn drive(&mut self, rng: &mut StdRng, driver: &str, at_ms: i64) -> Value {
        let id = self.id();
        let courier = self.drivers.entry(driver.to_owned()).or_default();
        if rng.random_bool(0.12) {
            let on = courier.is_off_duty();
            courier.duty.push((at_ms, on));
            return duty(&id, driver, at_ms, if on { "on" } else { "off" });
        }
        let place = match &courier.fix {
            Some(fix) if rng.random_bool(0.8) => nearby(rng, fix.place),
            _ => somewhere(rng),
        };
        courier.fix = Some(Fix { at_ms, event: id.clone(), place });
        ping(&id, driver, at_ms, degrees(place.lat_e7), degrees(place.lng_e7))
    }

    /// A courier app that names the delivery it is on.
    fn ping_naming(&mut self, rng: &mut StdRng, id: &str, driver: &str, at_ms: i64) -> Option<Value> {
        let event = self.id();
        let full = self.aboard(driver).count() >= MAX_ABOARD;
        let delivery = self.deliveries.get_mut(id).expect("known");
        if is_terminal(delivery.status) || full && delivery.driver() != Some(driver) {
            return None;
        }
        let place = match &delivery.fix {
            Some((fix, _)) => nearby(rng, fix.place),
            None => somewhere(rng),
        };
        delivery.fix = Some((Fix { at_ms, event: event.clone(), place }, driver.to_owned()));
        self.drivers.entry(driver.to_owned()).or_default();
        let mut ping = ping(&event, driver, at_ms, degrees(place.lat_e7), degrees(place.lng_e7));
        ping["entity_id"] = Value::from(id);
        Some(ping)
    }

    fn deliver(&mut self, rng: &mut StdRng, id: &str, at_ms: i64) -> Option<Value> {
        let driver = a_driver(rng);
        let full = self.aboard(&driver).count() >= MAX_ABOARD;
        let event = self.id();
        let delivery = self.deliveries.get_mut(id).expect("known");
        let now = delivery.status;
        if is_terminal(now) {
            return None;
        }
        if now != FAILED && !full && rng.random_bool(0.4) {
            delivery.assigned = Some(driver.clone());
            delivery.status = if now < PICKED_UP { ASSIGNED } else { now };
            return Some(assigned(&event, id, at_ms, &driver));
        }
        delivery.status = match now {
            FAILED => *[EN_ROUTE_DROPOFF, RETURNED].choose(rng).expect("two"),
            PICKED_UP..=ARRIVED if rng.random_bool(0.2) => FAILED,
            _ if rng.random_bool(0.15) => CANCELLED,
            _ => rng.random_range(now + 1..=DELIVERED),
        };
        Some(status(&event, id, at_ms, STATUSES[delivery.status]))
    }

    fn id(&mut self) -> String {
        self.events += 1;
        format!("e{}", self.events)
    }

    /// The time of what has ended is over.
    pub(super) fn forget_ended(&mut self) {
        self.deliveries.values_mut().filter(|delivery| is_terminal(delivery.status)).for_each(|delivery| delivery.left = true);
    }

    fn aboard<'a>(&'a self, driver: &'a str) -> impl Iterator<Item = (&'a String, &'a Delivery)> {
        self.deliveries.iter().filter(move |(_, delivery)| delivery.driver() == Some(driver) && !delivery.left)
    }

    /// The newest that may be shown of its own pings and of those that name a delivery aboard.
    fn place_of(&self, driver: &str) -> Option<Place> {
        let unknown = Courier::default();
        let courier = self.drivers.get(driver).unwrap_or(&unknown);
        let named = self.aboard(driver).filter_map(|(_, delivery)| delivery.fix.as_ref().map(|(fix, _)| fix));
        let newest_named = named.filter(|fix| courier.may_show(fix)).max();
        let own = courier.fix.as_ref().filter(|fix| courier.may_show(fix));
        // Of one moment the last of these, which is its own.
        let newest = newest_named.into_iter().chain(own).max_by_key(|fix| fix.at_ms);
        newest.filter(|_| !courier.is_off_duty()).map(|fix| fix.place)
    }

    pub(super) fn markers(&self) -> Vec<Marker> {
        // One who never spoke stands where a delivery that it was given was last seen.
        let known = self.deliveries.values().filter_map(|delivery| delivery.driver().map(str::to_owned)).chain(self.drivers.keys().cloned());
        let drivers = known.collect::<BTreeSet<_>>().into_iter().filter_map(|id| {
            let running = self.aboard(&id).map(|(_, delivery)| delivery.status).filter(|status| !is_terminal(*status));
            let status = running.max_by_key(|status| if *status == FAILED { 0 } else { *status }).unwrap_or(0);
            let aboard = u32::try_from(self.aboard(&id).count()).expect("few");
            let asked = self.aboard(&id).map(|(_, delivery)| delivery.asked()).collect();
            Some(Marker { driver: true, place: self.place_of(&id)?, status: code(status), aboard, asked, id })
        });
        let waiting = self.deliveries.iter().filter(|(_, delivery)| delivery.driver().is_none() && !delivery.left).map(|(id, delivery)| {
            let Delivery { pickup, status, .. } = delivery;
            Marker { id: id.clone(), driver: false, place: *pickup, status: code(*status), aboard: 0, asked: vec![delivery.asked()] }
        });
        drivers.chain(waiting).collect()
    }

    /// Where each delivery on the map is, and its status.
    pub(super) fn deliveries(&self) -> BTreeMap<String, (Place, String)> {
        let on_map = self.deliveries.iter().filter(|(_, delivery)| !delivery.left);
        let place_of = |delivery: &Delivery| match delivery.driver() {
            None => Some(delivery.pickup),
            Some(driver) => self.place_of(driver),
        };
        on_map.filter_map(|(id, delivery)| Some((id.clone(), (place_of(delivery)?, STATUSES[delivery.status].to_owned())))).collect()
    }
}

impl Place {
    /// The cell at a level of detail: the ancestor of the finest one, not the one that the place lies in geometrically.
    pub(super) fn cell(self, resolution: u32) -> u64 {
        let finest = LatLng::new(degrees(self.lat_e7), degrees(self.lng_e7)).expect("finite").to_cell(Resolution::Eight);
        let resolution = Resolution::try_from(u8::try_from(resolution).expect("small")).expect("a resolution");
        u64::from(finest.parent(resolution).map_or(finest, |parent: CellIndex| parent))
    }
}

pub(super) fn a_driver(rng: &mut StdRng) -> String {
    format!("driver-{}", rng.random_range(0..DRIVERS))
}

fn is_terminal(status: usize) -> bool {
    matches!(status, DELIVERED | RETURNED | CANCELLED)
}

fn code(status: usize) -> u32 {
    u32::try_from(status).expect("at most twelve")
}

pub(super) fn degrees(e7: i32) -> f64 {
    f64::from(e7) / 1e7
}

/// A city, a place where the longitude jumps, or one where all longitudes meet.
fn somewhere(rng: &mut StdRng) -> Place {
    let (lat_e7, lng_e7, spread_e7) = match rng.random_range(0..10) {
        0..=6 => (577_000_000, 119_700_000, 800_000),
        7 | 8 => (-170_000_000, 1_799_900_000, 500_000),
        _ => (898_000_000, rng.random_range(-1_800_000_000..1_800_000_000), 1_000_000),
    };
    moved(Place { lat_e7, lng_e7 }, rng.random_range(-spread_e7..spread_e7), rng.random_range(-spread_e7..spread_e7))
}

/// At least 100 m further south. Never back: of two moves inside one tick only the last is compared with what is shown, and what came back to within
/// 5 m of that is not told; near the pole a longitude alone is no move at all.
fn nearby(rng: &mut StdRng, place: Place) -> Place {
    let lng_e7 = rng.random_range(10_000..60_000) * if rng.random_bool(0.5) { 1 } else { -1 };
    moved(place, -rng.random_range(10_000..60_000), lng_e7)
}

fn moved(place: Place, lat_e7: i32, lng_e7: i32) -> Place {
    let lng = i64::from(place.lng_e7) + i64::from(lng_e7);
    let wrapped = (lng + 1_800_000_000).rem_euclid(3_600_000_000) - 1_800_000_000;
    Place { lat_e7: (place.lat_e7 + lat_e7).clamp(-899_999_000, 899_999_000), lng_e7: i32::try_from(wrapped).expect("within half a turn") }
}
