//! Measures ingest: bodies encoded beforehand, connections that never wait for each other. Each driver moves 12 m a ping.

pub mod cities;

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use indicatif::ProgressBar;
use tokio::task::JoinSet;

use crate::check::{Scope, check};
use crate::client::answer::ItemOutcome;
use crate::client::{Client, ClientError, Posted, Target};
use crate::clock;
use crate::event::{Envelope, Format, encode, event, uuid_of};
use crate::expected::{Driver, Expected};
use crate::fleet::RunError;
use crate::geodesy::Place;
use crate::preflight::preflight;
use crate::report::{Report, Tally, bar};
use crate::wire::event::Payload;
use crate::wire::{Event, Location};

const METRES_A_PING: f64 = 12.0;
/// All pings lie in the last minute, so that none counts as late or ahead.
const SPAN_MS: i64 = 50_000;

#[derive(Clone, Debug)]
pub struct LoadOptions {
    pub url: String,
    pub key: String,
    pub check_key: Option<String>,
    pub events: usize,
    pub batch: usize,
    pub format: Format,
    pub connections: usize,
    pub drivers: usize,
    pub seed: u64,
    /// Events a second at most; none is as fast as the server answers. An ack is then counted from when its batch was due, not from when
    /// it could be sent, so that a stall is seen by every batch that it held up.
    pub rate: Option<f64>,
    pub check: Scope,
}

/// Everything to be sent, and where each driver ends.
#[derive(Debug)]
pub struct Workload {
    bodies: Vec<(Bytes, usize)>,
    /// By driver: its last place, and the body that says so.
    last: Vec<Option<(Place, usize)>>,
}

impl Workload {
    /// How many requests it is.
    pub fn bodies(&self) -> usize {
        self.bodies.len()
    }

    /// Ping `i` is of driver `i % drivers`; its time and place follow from how often that driver has spoken.
    pub fn new(options: &LoadOptions, now_ms: i64) -> Self {
        let drivers = options.drivers.max(1);
        let rounds = i64::try_from(options.events.div_ceil(drivers)).unwrap_or(i64::MAX).max(1);
        let step_ms = (SPAN_MS / rounds).clamp(1, 1_000);
        let mut last = vec![None; drivers.min(options.events)];
        let batch = options.batch.max(1);
        let pings = (0..options.events).map(|index| {
            let (driver, round) = (index % drivers, i64::try_from(index / drivers).unwrap_or(i64::MAX));
            let time_ms = now_ms - ((rounds - 1 - round) * step_ms).min(SPAN_MS);
            let ping = ping(driver, round, time_ms, options.seed, index as u64);
            if let Some(Payload::Location(fix)) = &ping.payload {
                last[driver] = Some((Place { lat: fix.lat, lng: fix.lng }, index / batch));
            }
            ping
        });
        let bodies = Self::of(pings, batch, options.format).bodies;
        Self { bodies, last }
    }

    /// These events, in batches; of none of them is anything expected afterwards.
    pub fn of(events: impl Iterator<Item = Event>, batch: usize, format: Format) -> Self {
        let mut events = events.peekable();
        let mut bodies = Vec::new();
        while events.peek().is_some() {
            let some: Vec<Event> = events.by_ref().take(batch.max(1)).collect();
            bodies.push((Bytes::from(encode(&some, format, 0)), some.len()));
        }
        Self { bodies, last: Vec::new() }
    }
}

fn ping(driver: usize, round: i64, time_ms: i64, seed: u64, number: u64) -> Event {
    let hash = xxhash_rust::xxh3::xxh3_64_with_seed(&driver.to_le_bytes(), 12);
    let share = |bits: u64| (bits & 0xffff) as f64 / 65_536.0;
    let heading = share(hash) * 360.0;
    // Twenty cities on a grid, drivers within some 10 km of their centre.
    let city = Place { lat: 40.0 + f64::from(driver as u32 % 4) * 4.0, lng: f64::from(driver as u32 % 5) * 5.0 + 2.0 };
    let home = city.moved_m((share(hash >> 16) - 0.5) * 20_000.0, (share(hash >> 32) - 0.5) * 20_000.0);
    let way_m = METRES_A_PING * round as f64;
    let place = home.moved_m(heading.to_radians().cos() * way_m, heading.to_radians().sin() * way_m);
    let round_e7 = |value: f64| (value * 1e7).round() / 1e7;
    let fix = Location {
        lat: round_e7(place.lat),
        lng: round_e7(place.lng),
        accuracy_m: Some(5.0),
        speed_mps: Some(12.0),
        heading_deg: Some((heading * 10.0).round() as f32 / 10.0),
        altitude_m: Some(31.5),
        battery: Some(0.75),
    };
    let envelope = Envelope { id: uuid_of(time_ms, seed, number), actor: format!("driver-{driver:07}"), delivery: String::new(), time_ms };
    event(envelope, Payload::Location(fix))
}

/// What became of the bodies that were sent.
#[derive(Debug)]
pub struct Sent {
    pub tally: Tally,
    /// Bodies of which every event is stored.
    pub stored: Vec<usize>,
    /// From the first request to the last answer.
    pub seconds: f64,
    /// From the first request until the server's map held all that was sent; absent when it did not say so in time.
    pub level_seconds: Option<f64>,
}

/// Encodes, sends, reports. The clock runs from the first request to the last answer.
pub async fn run(options: LoadOptions) -> Result<Report, RunError> {
    let target = Target::new(&options.url, &options.key)?;
    let reader = Target::new(&options.url, options.check_key.as_deref().unwrap_or(&options.key))?;
    preflight(&target, (options.check.sample > 0).then_some(&reader)).await?;
    let work = Arc::new(Workload::new(&options, clock::now_ms()));
    let bar = bar(options.events as u64, "events");
    let all = 0..work.bodies.len();
    let sent = send(&target, &work, all, &options, &bar).await?;
    bar.finish_and_clear();
    let checked = check(&reader, expected(&work, &sent.stored), options.check).await;
    Ok(Report::new("load", sent.tally, sent.seconds, checked))
}

/// Sends these bodies over connections that never wait for each other.
pub async fn send(target: &Target, work: &Arc<Workload>, bodies: Range<usize>, options: &LoadOptions, bar: &ProgressBar) -> Result<Sent, RunError> {
    let next = Arc::new(AtomicUsize::new(bodies.start));
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..options.connections.max(1) {
        let pace = options.rate.map(|rate| Pace { started, first: bodies.start, bodies_per_s: rate / options.batch.max(1) as f64 });
        let lane = Lane { work: Arc::clone(work), next: Arc::clone(&next), end: bodies.end, bar: bar.clone(), format: options.format, pace };
        tasks.spawn(lane.run(Client::new(target.clone())));
    }
    let (mut tally, mut stored, mut clients) = (Tally::default(), Vec::new(), Vec::new());
    while let Some(lane) = tasks.join_next().await {
        let (lane_tally, bodies, client) = lane.map_err(|error| RunError::Input(error.to_string()))?;
        tally.absorb(lane_tally);
        stored.extend(bodies);
        clients.push(client);
    }
    let seconds = started.elapsed().as_secs_f64();
    let mut level = true;
    for client in &mut clients {
        level &= client.get("/v1/deliveries?bbox=0,0,0.001,0.001&limit=1").await.is_ok_and(|(status, _)| status.is_success());
    }
    Ok(Sent { tally, stored, seconds, level_seconds: level.then(|| started.elapsed().as_secs_f64()) })
}

/// Only of drivers whose last ping was stored for certain.
fn expected(work: &Workload, stored: &[usize]) -> Expected {
    let stored: HashSet<usize> = stored.iter().copied().collect();
    let mut expected = Expected::default();
    for (driver, last) in work.last.iter().enumerate() {
        if let Some((place, body)) = last
            && stored.contains(body)
        {
            expected.drivers.insert(format!("driver-{driver:07}"), Driver::at(*place));
        }
    }
    expected
}

/// When each body is due.
#[derive(Clone, Copy)]
struct Pace {
    started: Instant,
    first: usize,
    bodies_per_s: f64,
}

impl Pace {
    fn due(&self, body: usize) -> Instant {
        self.started + Duration::from_secs_f64((body - self.first) as f64 / self.bodies_per_s)
    }
}

struct Lane {
    work: Arc<Workload>,
    next: Arc<AtomicUsize>,
    end: usize,
    bar: ProgressBar,
    format: Format,
    pace: Option<Pace>,
}

impl Lane {
    /// Its counts, the bodies of which every event is stored, and its connection.
    async fn run(self, mut client: Client) -> (Tally, Vec<usize>, Client) {
        let (mut tally, mut stored) = (Tally::default(), Vec::new());
        loop {
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            let Some((body, count)) = self.work.bodies.get(index).filter(|_| index < self.end) else { return (tally, stored, client) };
            let due = self.pace.map(|pace| pace.due(index));
            if let Some(due) = due {
                tokio::time::sleep_until(due.into()).await;
            }
            tally.sent += *count as u64;
            match client.post(body.clone(), self.format, *count).await {
                Ok(posted) => {
                    tally.note_ack(due.map_or(posted.took, |due| due.elapsed()));
                    note_outcomes(&mut tally, &posted);
                    if posted.outcomes.iter().all(|outcome| !matches!(outcome, ItemOutcome::Rejected { .. } | ItemOutcome::Shed)) {
                        stored.push(index);
                    }
                }
                Err(error) => note_failure(&mut tally, &error, *count),
            }
            self.bar.inc(*count as u64);
        }
    }
}

fn note_outcomes(tally: &mut Tally, posted: &Posted) {
    tally.retries += u64::from(posted.retries);
    posted.outcomes.iter().for_each(|outcome| tally.note(outcome));
}

fn note_failure(tally: &mut Tally, error: &ClientError, count: usize) {
    if let ClientError::Refused { status, .. } = error {
        tally.note_refused(status.as_u16(), count);
    } else {
        tally.unanswered += count as u64;
    }
    tally.last_error = Some(error.to_string());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::EventBatch;
    use prost::Message;

    #[test]
    fn a_workload_has_its_size_unique_ids_and_drivers_that_move_12_m() {
        let options = LoadOptions {
            url: String::new(),
            key: String::new(),
            check_key: None,
            events: 250,
            batch: 30,
            format: Format::Proto,
            connections: 1,
            drivers: 100,
            seed: 1,
            rate: None,
            check: Scope::default(),
        };
        let work = Workload::new(&options, 1_790_000_000_000);
        let events: Vec<Event> = work.bodies.iter().flat_map(|(body, _)| EventBatch::decode(body.clone()).expect("own bytes").events).collect();
        assert_eq!((events.len(), work.bodies.len()), (250, 9));
        assert_eq!(events.iter().map(|event| &event.event_id).collect::<HashSet<_>>().len(), 250);
        let place = |index: usize| match &events[index].payload {
            Some(Payload::Location(fix)) => Place { lat: fix.lat, lng: fix.lng },
            other => panic!("{other:?}"),
        };
        assert!((place(7).distance_m(place(107)) - 12.0).abs() < 0.05);
        assert_eq!(work.last[7].map(|(last, _)| last), Some(place(207)));
    }
}
