//! The one driver model: couriers that take jobs, drive lawful routes, dwell and hand over, second by second. Pure and seeded: it is told the
//! time and returns events; it never sends anything.

pub mod drive;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::event::{Envelope, assigned, created, duty_on, event, status, uuid_of};
use crate::geodesy::Place;
use crate::roads::{Junction, Roads};
use crate::wire::Event;
use crate::wire::event::Payload;

use self::drive::Drive;

/// What makes a model the same model again.
#[derive(Clone, Copy, Debug)]
pub struct ModelOptions {
    pub couriers: u32,
    pub seed: u64,
    pub start_ms: i64,
    pub interval_ms: i64,
    /// Model seconds a second of event time: how much faster than life couriers drive and dwell.
    pub speedup: f64,
}

/// All couriers of a run.
#[derive(Debug)]
pub struct Model {
    roads: Roads,
    options: ModelOptions,
    couriers: Vec<Courier>,
}

#[derive(Debug)]
struct Courier {
    name: String,
    index: u32,
    rng: ChaCha8Rng,
    next_ping_ms: i64,
    on_duty: bool,
    at: Junction,
    drive: Drive,
    phase: Phase,
    job: Option<Job>,
    jobs: u32,
    events: u64,
    last_said_ms: i64,
}

#[derive(Clone, Debug)]
struct Job {
    delivery: String,
    pickup: Junction,
    destination: Junction,
    /// Set for the few that are called off on the way to the pickup.
    cancel_at_share: Option<f64>,
}

/// What a courier does now; `left_s` is model time still to wait.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    Idle { left_s: f64 },
    Offered { left_s: f64 },
    ToPickup,
    AtPickup { left_s: f64 },
    ToDropoff { approaching: bool },
    AtDoor { left_s: f64 },
    Returning,
    AtReturn { left_s: f64 },
}

/// Shares of deliveries that do not end well.
const CANCELLED_SHARE: f64 = 0.02;
const FAILED_SHARE: f64 = 0.03;
/// A courier says `approaching` when this much of the way is left.
const APPROACHING_M: f64 = 400.0;
/// Couriers come on duty over this many seconds of model time, so that their first routes are not all computed at once.
const COME_ON_DUTY_S: f64 = 15.0;

impl Model {
    pub fn new(roads: Roads, options: ModelOptions) -> Self {
        let couriers = (0..options.couriers).map(|index| Courier::new(index, &roads, options)).collect();
        Self { roads, options, couriers }
    }

    /// Everything that happened up to `now_ms` and was not returned before, couriers in turn, each in time order.
    pub fn tick(&mut self, now_ms: i64) -> Vec<Event> {
        let mut out = Vec::new();
        for courier in &mut self.couriers {
            while courier.next_ping_ms <= now_ms {
                courier.step(&self.roads, self.options, &mut out);
            }
        }
        out
    }
}

impl Courier {
    fn new(index: u32, roads: &Roads, options: ModelOptions) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(options.seed ^ (u64::from(index) << 32));
        let at = roads.random_junction(&mut rng);
        let phase_ms = rng.random_range(0..options.interval_ms.max(1));
        let drive = Drive::standing(roads.place(at), &mut rng);
        let left_s = rng.random_range(0.0..COME_ON_DUTY_S) * options.speedup;
        Self {
            name: format!("courier-{index:05}"),
            index,
            rng,
            next_ping_ms: options.start_ms + phase_ms,
            on_duty: false,
            at,
            drive,
            phase: Phase::Idle { left_s },
            job: None,
            jobs: 0,
            events: 0,
            last_said_ms: 0,
        }
    }

    /// One interval: duty once, progress, then the ping.
    fn step(&mut self, roads: &Roads, options: ModelOptions, out: &mut Vec<Event>) {
        let now_ms = self.next_ping_ms;
        self.next_ping_ms += options.interval_ms.max(1);
        let seconds = options.interval_ms as f64 / 1000.0 * options.speedup;
        if !self.on_duty {
            self.on_duty = true;
            self.say(now_ms, "", duty_on(), options, out);
        }
        self.progress(seconds, now_ms, roads, options, out);
        let fix = self.drive.fix(seconds, &mut self.rng);
        self.say(now_ms, "", Payload::Location(fix), options, out);
    }

    fn progress(&mut self, seconds: f64, now_ms: i64, roads: &Roads, options: ModelOptions, out: &mut Vec<Event>) {
        match self.phase {
            // A way that was called off is driven to its end, for the next one starts there.
            Phase::Idle { left_s } if left_s > seconds || self.drive.left_m() > 0.0 => {
                self.drive.advance(seconds, &mut self.rng);
                self.phase = Phase::Idle { left_s: left_s - seconds };
            }
            Phase::Offered { left_s } if left_s > seconds => self.phase = Phase::Offered { left_s: left_s - seconds },
            Phase::AtPickup { left_s } if left_s > seconds => self.phase = Phase::AtPickup { left_s: left_s - seconds },
            Phase::AtDoor { left_s } if left_s > seconds => self.phase = Phase::AtDoor { left_s: left_s - seconds },
            Phase::AtReturn { left_s } if left_s > seconds => self.phase = Phase::AtReturn { left_s: left_s - seconds },
            Phase::Idle { .. } => self.take_job(now_ms, roads, options, out),
            Phase::Offered { .. } => self.accept(now_ms, roads, options, out),
            Phase::ToPickup => self.drive_to_pickup(seconds, now_ms, options, out),
            Phase::AtPickup { .. } => self.leave_pickup(now_ms, roads, options, out),
            Phase::ToDropoff { approaching } => self.drive_to_dropoff(seconds, approaching, now_ms, options, out),
            Phase::AtDoor { .. } => self.hand_over(now_ms, roads, options, out),
            Phase::Returning => self.drive_back(seconds),
            Phase::AtReturn { .. } => self.end_job("returned", "", now_ms, options, out),
        }
    }

    fn take_job(&mut self, now_ms: i64, roads: &Roads, options: ModelOptions, out: &mut Vec<Event>) {
        self.jobs += 1;
        let here = roads.place(self.at);
        // A third of the first deliveries are found with the parcel aboard, as in a fleet at work.
        let aboard = self.jobs == 1 && self.rng.random_bool(0.35);
        let pickup = if aboard { self.at } else { roads.random_junction_around(here, 150.0, 2_000.0, &mut self.rng) };
        let destination = roads.random_junction_around(roads.place(pickup), 600.0, 4_500.0, &mut self.rng);
        let cancel_at_share = self.rng.random_bool(CANCELLED_SHARE).then(|| self.rng.random_range(0.2..0.9));
        let delivery = format!("d-{:x}-{}-{}", options.start_ms / 1000, self.index, self.jobs);
        let promised_by_ms = now_ms + (self.rng.random_range(20.0..45.0) * 60_000.0 / options.speedup) as i64;
        let places: [Option<Place>; 2] = [Some(roads.place(pickup)), Some(roads.place(destination))];
        self.job = Some(Job { delivery, pickup, destination, cancel_at_share });
        self.say_of_job(now_ms, created(places[0], places[1], Some(promised_by_ms)), options, out);
        // A tenth of the deliveries wait at their pickup for a courier.
        if aboard {
            self.say_of_job(now_ms, assigned(&self.name), options, out);
            self.say_status("picked_up", "", now_ms, options, out);
            self.leave_pickup(now_ms, roads, options, out);
        } else if self.rng.random_bool(0.1) {
            self.phase = Phase::Offered { left_s: self.rng.random_range(20.0..150.0) };
        } else {
            self.accept(now_ms, roads, options, out);
        }
    }

    fn accept(&mut self, now_ms: i64, roads: &Roads, options: ModelOptions, out: &mut Vec<Event>) {
        self.say_of_job(now_ms, assigned(&self.name), options, out);
        self.say_status("en_route_pickup", "", now_ms, options, out);
        if let Some(pickup) = self.job.as_ref().map(|job| job.pickup) {
            self.set_out(pickup, roads);
        }
        self.phase = Phase::ToPickup;
    }

    fn drive_to_pickup(&mut self, seconds: f64, now_ms: i64, options: ModelOptions, out: &mut Vec<Event>) {
        let arrived = self.drive.advance(seconds, &mut self.rng);
        let called_off = self.job.as_ref().and_then(|job| job.cancel_at_share).is_some_and(|share| self.drive.share_done() >= share);
        if called_off {
            self.end_job("cancelled", "recipient_called_off", now_ms, options, out);
        } else if arrived {
            self.say_status("at_pickup", "", now_ms, options, out);
            self.phase = Phase::AtPickup { left_s: self.rng.random_range(30.0..180.0) };
        }
    }

    fn leave_pickup(&mut self, now_ms: i64, roads: &Roads, options: ModelOptions, out: &mut Vec<Event>) {
        if matches!(self.phase, Phase::AtPickup { .. }) {
            self.say_status("picked_up", "", now_ms, options, out);
        }
        self.say_status("en_route_dropoff", "", now_ms, options, out);
        if let Some(destination) = self.job.as_ref().map(|job| job.destination) {
            self.set_out(destination, roads);
        }
        self.phase = Phase::ToDropoff { approaching: false };
    }

    fn drive_to_dropoff(&mut self, seconds: f64, approaching: bool, now_ms: i64, options: ModelOptions, out: &mut Vec<Event>) {
        let arrived = self.drive.advance(seconds, &mut self.rng);
        if !approaching && self.drive.left_m() < APPROACHING_M {
            self.say_status("approaching", "", now_ms, options, out);
            self.phase = Phase::ToDropoff { approaching: true };
        }
        if arrived {
            self.say_status("arrived", "", now_ms, options, out);
            self.phase = Phase::AtDoor { left_s: self.rng.random_range(20.0..150.0) };
        }
    }

    fn hand_over(&mut self, now_ms: i64, roads: &Roads, options: ModelOptions, out: &mut Vec<Event>) {
        if self.rng.random_bool(FAILED_SHARE) {
            self.say_status("failed", "recipient_absent", now_ms, options, out);
            if let Some(pickup) = self.job.as_ref().map(|job| job.pickup) {
                self.set_out(pickup, roads);
            }
            self.phase = Phase::Returning;
        } else {
            self.end_job("delivered", "", now_ms, options, out);
        }
    }

    fn drive_back(&mut self, seconds: f64) {
        if self.drive.advance(seconds, &mut self.rng) {
            self.phase = Phase::AtReturn { left_s: self.rng.random_range(20.0..60.0) };
        }
    }

    fn end_job(&mut self, end: &str, reason: &str, now_ms: i64, options: ModelOptions, out: &mut Vec<Event>) {
        self.say_status(end, reason, now_ms, options, out);
        self.job = None;
        self.phase = Phase::Idle { left_s: self.rng.random_range(2.0..60.0) };
    }

    /// Starts on the way from the junction where the last way ended.
    fn set_out(&mut self, to: Junction, roads: &Roads) {
        if let Some(route) = roads.route(self.at, to) {
            self.drive.start(route);
            self.at = to;
        }
    }

    fn say_status(&mut self, word: &str, reason: &str, now_ms: i64, options: ModelOptions, out: &mut Vec<Event>) {
        self.say_of_job(now_ms, status(word, reason), options, out);
    }

    fn say_of_job(&mut self, now_ms: i64, payload: Payload, options: ModelOptions, out: &mut Vec<Event>) {
        let delivery = self.job.as_ref().map(|job| job.delivery.clone()).unwrap_or_default();
        self.say(now_ms, &delivery, payload, options, out);
    }

    fn say(&mut self, now_ms: i64, delivery: &str, payload: Payload, options: ModelOptions, out: &mut Vec<Event>) {
        self.events += 1;
        // Strictly later than what the courier said before: facts are ordered by time first.
        let time_ms = now_ms.max(self.last_said_ms + 1);
        self.last_said_ms = time_ms;
        let id = uuid_of(time_ms, options.seed ^ options.start_ms.unsigned_abs(), (u64::from(self.index) << 40) | self.events);
        let envelope = Envelope { id, actor: self.name.clone(), delivery: delivery.to_owned(), time_ms };
        out.push(event(envelope, payload));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, HashSet};

    fn options(couriers: u32, speedup: f64) -> ModelOptions {
        ModelOptions { couriers, seed: 7, start_ms: 1_790_000_000_000, interval_ms: 1_000, speedup }
    }

    fn run(options: ModelOptions, seconds: i64, step_ms: i64) -> Vec<Event> {
        let mut model = Model::new(Roads::gothenburg().expect("compiled in"), options);
        let mut events = Vec::new();
        for now in (0..=seconds * 1000).step_by(usize::try_from(step_ms).expect("positive")) {
            events.extend(model.tick(options.start_ms + now));
        }
        events
    }

    #[test]
    fn the_same_seed_gives_the_same_events_however_often_the_model_is_asked() {
        let mut often = run(options(8, 1.0), 120, 100);
        let mut seldom = run(options(8, 1.0), 120, 4_000);
        often.sort_by(|a, b| a.event_id.cmp(&b.event_id));
        seldom.sort_by(|a, b| a.event_id.cmp(&b.event_id));
        assert_eq!(often, seldom);
        let other = run(ModelOptions { seed: 8, ..options(8, 1.0) }, 120, 100);
        assert_ne!(often[10], other[10]);
    }

    #[test]
    fn ids_are_unique_and_whole_life_cycles_happen_in_order() {
        let events = run(options(60, 10.0), 900, 1_000);
        let ids: HashSet<&str> = events.iter().map(|event| event.event_id.as_str()).collect();
        assert_eq!(ids.len(), events.len());
        let mut lives: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        let mut sorted: Vec<&Event> = events.iter().collect();
        sorted.sort_by(|a, b| (a.event_time_ms, &a.event_id).cmp(&(b.event_time_ms, &b.event_id)));
        for event in sorted {
            if let Some(Payload::Status(change)) = &event.payload {
                lives.entry(&event.entity_id).or_default().push(&change.status);
            }
        }
        let delivered = lives.values().filter(|life| life.last() == Some(&"delivered")).count();
        assert!(delivered > 100, "{delivered}");
        let whole = ["en_route_pickup", "at_pickup", "picked_up", "en_route_dropoff", "approaching", "arrived", "delivered"];
        assert!(lives.values().any(|life| life.as_slice() == whole.as_slice()), "{lives:?}");
        for end in ["failed", "returned", "cancelled"] {
            assert!(lives.values().any(|life| life.contains(&end)), "no delivery was {end}");
        }
    }

    #[test]
    fn nobody_drives_faster_than_a_car() {
        let mut last: BTreeMap<String, (i64, Place)> = BTreeMap::new();
        for event in run(options(40, 1.0), 300, 1_000) {
            let Some(Payload::Location(fix)) = &event.payload else { continue };
            let place = Place { lat: fix.lat, lng: fix.lng };
            let fresh = event.event_time_ms < 1_790_000_000_000 + 30_000;
            if let Some((_, before)) = last.insert(event.actor_id.clone(), (event.event_time_ms, place))
                && !fresh
            {
                assert!(before.distance_m(place) < 45.0, "{event:?} {before:?}");
            }
        }
    }
}
