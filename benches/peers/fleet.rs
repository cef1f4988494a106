//! Who moves, and where: the same for all systems, and the same in each run but for the events' ids. Never sends anything.

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use waypost_sim::clock;
use waypost_sim::event::{Envelope, Format, created, event, uuid_of};
use waypost_sim::geodesy::Place;
use waypost_sim::wire::event::Payload;
use waypost_sim::wire::{Event, Location};

use super::postgis::Positions;
use super::redis::{geoadd, xadd};
use super::turns::{Ask, Job};
use super::waypost::Door;
use prost::Message as _;

const METRES_A_PING: f64 = 12.0;

/// Drivers within some 10 km of the centres of twenty cities; each goes 12 m a ping, straight on.
#[derive(Debug)]
pub(crate) struct Fleet {
    homes: Vec<(Place, f64)>,
    /// How many pings were made so far.
    pings: usize,
    seed: u64,
}

/// What one ping says.
struct Ping {
    driver: String,
    place: Place,
    heading_deg: f64,
    number: usize,
}

impl Fleet {
    pub(crate) fn new(drivers: usize) -> Self {
        let mut random = StdRng::seed_from_u64(7);
        let home = |index: usize| {
            let (row, column) = (index % 4, index % 5);
            #[expect(clippy::cast_precision_loss, reason = "below five")]
            let city = Place { lat: 40.0 + row as f64 * 4.0, lng: 2.0 + column as f64 * 5.0 };
            let (north, east) = (random.random_range(-10_000.0..10_000.0), random.random_range(-10_000.0..10_000.0));
            (city.moved_m(north, east), random.random_range(0.0..360.0))
        };
        Self { homes: (0..drivers).map(home).collect(), pings: 0, seed: clock::now_ms().unsigned_abs() }
    }

    pub(crate) fn drivers(&self) -> usize {
        self.homes.len()
    }

    /// The next pings, in batches, as one system takes them.
    pub(crate) fn jobs(&mut self, pings: usize, batch: usize, speech: &Speech) -> Vec<Job> {
        let first = self.pings;
        self.pings += pings;
        let numbers: Vec<usize> = (first..first + pings).collect();
        numbers.chunks(batch).map(|numbers| speech.job(numbers.iter().map(|number| self.ping(*number)).collect(), self.seed)).collect()
    }

    fn ping(&self, number: usize) -> Ping {
        let (driver, round) = (number % self.homes.len(), number / self.homes.len());
        let (home, heading_deg) = self.homes[driver];
        #[expect(clippy::cast_precision_loss, reason = "rounds of a benchmark")]
        let way_m = METRES_A_PING * round as f64;
        let place = home.moved_m(heading_deg.to_radians().cos() * way_m, heading_deg.to_radians().sin() * way_m);
        Ping { driver: format!("driver-{driver:07}"), place, heading_deg, number }
    }
}

/// How a system wants to be told of positions.
#[derive(Clone, Debug)]
pub(crate) enum Speech {
    Waypost(Door, Format),
    Geoadd,
    Xadd,
    Upsert,
}

impl Speech {
    fn job(&self, pings: Vec<Ping>, seed: u64) -> Job {
        let updates = pings.len() as u64;
        let events = || -> Vec<Event> { pings.iter().map(|ping| ping.event(seed)).collect() };
        let ask = match self {
            Self::Waypost(door, format) => Ask::Bytes(door.post(&events(), *format), 0),
            Self::Geoadd => Ask::Bytes(geoadd(pings.iter().map(|ping| (ping.driver.as_str(), ping.place.lng, ping.place.lat))), 1),
            Self::Xadd => {
                let events: Vec<Vec<u8>> = events().iter().map(Event::encode_to_vec).collect();
                Ask::Bytes(xadd(events.iter().map(Vec::as_slice)), pings.len())
            }
            Self::Upsert => {
                let (lngs, lats) = pings.iter().map(|ping| (ping.place.lng, ping.place.lat)).unzip();
                Ask::Upsert(Positions { ids: pings.into_iter().map(|ping| ping.driver).collect(), lngs, lats })
            }
        };
        Job { ask, updates }
    }
}

impl Ping {
    fn event(&self, seed: u64) -> Event {
        let time_ms = clock::now_ms();
        #[expect(clippy::cast_possible_truncation, reason = "a heading to a tenth of a degree")]
        let heading_deg = Some((self.heading_deg * 10.0).round() as f32 / 10.0);
        let round_e7 = |value: f64| (value * 1e7).round() / 1e7;
        let fix = Location {
            lat: round_e7(self.place.lat),
            lng: round_e7(self.place.lng),
            accuracy_m: Some(5.0),
            speed_mps: Some(12.0),
            heading_deg,
            altitude_m: Some(31.5),
            battery: Some(0.75),
        };
        let id = uuid_of(time_ms, seed, self.number as u64);
        event(Envelope { id, actor: self.driver.clone(), delivery: String::new(), time_ms }, Payload::Location(fix))
    }
}

/// Objects spread evenly over a square of degrees, so that a viewport of 0.05 degrees holds 92 of 100,000 and 924 of a million.
#[derive(Debug)]
pub(crate) struct Objects {
    places: Vec<(String, Place)>,
}

const SOUTH: f64 = 47.5;
const WEST: f64 = 10.5;
const SIDE: f64 = 1.645;
const VIEWPORT: f64 = 0.05;

impl Objects {
    pub(crate) fn new(count: usize) -> Self {
        let mut random = StdRng::seed_from_u64(11);
        let mut place = || Place { lat: SOUTH + random.random_range(0.0..SIDE), lng: WEST + random.random_range(0.0..SIDE) };
        Self { places: (0..count).map(|number| (format!("delivery-{number:07}"), place())).collect() }
    }

    /// Viewports that lie wholly among them.
    pub(crate) fn viewports(count: usize) -> Vec<[f64; 4]> {
        let mut random = StdRng::seed_from_u64(13);
        let mut one = || {
            let (west, south) = (WEST + random.random_range(0.0..SIDE - VIEWPORT), SOUTH + random.random_range(0.0..SIDE - VIEWPORT));
            [west, south, west + VIEWPORT, south + VIEWPORT]
        };
        (0..count).map(|_| one()).collect()
    }

    /// Each once, in batches: to Waypost a delivery that waits at its pickup.
    pub(crate) fn jobs(&self, batch: usize, speech: &Speech) -> Vec<Job> {
        self.places.chunks(batch).map(|places| Self::job(places, speech)).collect()
    }

    fn job(places: &[(String, Place)], speech: &Speech) -> Job {
        let ask = match speech {
            Speech::Waypost(door, format) => {
                let time_ms = clock::now_ms();
                let delivery = |(id, place): &(String, Place)| {
                    let envelope = Envelope { id: format!("made-{id}"), actor: String::new(), delivery: id.clone(), time_ms };
                    event(envelope, created(Some(*place), None, None))
                };
                Ask::Bytes(door.post(&places.iter().map(delivery).collect::<Vec<_>>(), *format), 0)
            }
            Speech::Geoadd | Speech::Xadd => Ask::Bytes(geoadd(places.iter().map(|(id, place)| (id.as_str(), place.lng, place.lat))), 1),
            Speech::Upsert => {
                let (lngs, lats) = places.iter().map(|(_, place)| (place.lng, place.lat)).unzip();
                Ask::Upsert(Positions { ids: places.iter().map(|(id, _)| id.clone()).collect(), lngs, lats })
            }
        };
        Job { ask, updates: places.len() as u64 }
    }
}
