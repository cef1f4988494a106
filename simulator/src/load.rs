//! Measures ingest: bodies encoded beforehand, connections that never wait for each other. Each driver moves 12 m a ping.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use bytes::Bytes;
use indicatif::ProgressBar;
use tokio::task::JoinSet;

use crate::check::{Scope, check};
use crate::client::answer::ItemOutcome;
use crate::client::{Client, ClientError, Target};
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
    /// Ping `i` is of driver `i % drivers`; its time and place follow from how often that driver has spoken.
    pub fn new(options: &LoadOptions, now_ms: i64) -> Self {
        let drivers = options.drivers.max(1);
        let rounds = i64::try_from(options.events.div_ceil(drivers)).unwrap_or(i64::MAX).max(1);
        let step_ms = (SPAN_MS / rounds).clamp(1, 1_000);
        let mut work = Self { bodies: Vec::new(), last: vec![None; drivers.min(options.events)] };
        let mut batch: Vec<Event> = Vec::with_capacity(options.batch);
        for index in 0..options.events {
            let (driver, round) = (index % drivers, i64::try_from(index / drivers).unwrap_or(i64::MAX));
            let time_ms = now_ms - ((rounds - 1 - round) * step_ms).min(SPAN_MS);
            let ping = ping(driver, round, time_ms, options.seed, index as u64);
            if let Some(Payload::Location(fix)) = &ping.payload {
                work.last[driver] = Some((Place { lat: fix.lat, lng: fix.lng }, work.bodies.len()));
            }
            batch.push(ping);
            if batch.len() == options.batch.max(1) || index + 1 == options.events {
                work.bodies.push((Bytes::from(encode(&batch, options.format, 0)), batch.len()));
                batch.clear();
            }
        }
        work
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

/// Encodes, sends, reports. The clock runs from the first request to the last answer.
pub async fn run(options: LoadOptions) -> Result<Report, RunError> {
    let target = Target::new(&options.url, &options.key)?;
    let reader = Target::new(&options.url, options.check_key.as_deref().unwrap_or(&options.key))?;
    preflight(&target, (options.check.sample > 0).then_some(&reader)).await?;
    let work = Arc::new(Workload::new(&options, clock::now_ms()));
    let bar = bar(options.events as u64, "events");
    let next = Arc::new(AtomicUsize::new(0));
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..options.connections.max(1) {
        let lane = Lane { work: Arc::clone(&work), next: Arc::clone(&next), bar: bar.clone(), format: options.format };
        tasks.spawn(lane.run(Client::new(target.clone())));
    }
    let (mut tally, mut stored) = (Tally::default(), vec![false; work.bodies.len()]);
    while let Some(lane) = tasks.join_next().await {
        let (lane_tally, bodies) = lane.map_err(|error| RunError::Input(error.to_string()))?;
        tally.absorb(lane_tally);
        for body in bodies {
            stored[body] = true;
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    bar.finish_and_clear();
    let checked = check(&reader, expected(&work, &stored), options.check).await;
    Ok(Report::new("load", tally, seconds, checked))
}

/// Only of drivers whose last ping was stored for certain.
fn expected(work: &Workload, stored: &[bool]) -> Expected {
    let mut expected = Expected::default();
    for (driver, last) in work.last.iter().enumerate() {
        if let Some((place, body)) = last
            && stored[*body]
        {
            expected.drivers.insert(format!("driver-{driver:07}"), Driver::at(*place));
        }
    }
    expected
}

struct Lane {
    work: Arc<Workload>,
    next: Arc<AtomicUsize>,
    bar: ProgressBar,
    format: Format,
}

impl Lane {
    /// Its counts, and the bodies of which every event is stored.
    async fn run(self, mut client: Client) -> (Tally, Vec<usize>) {
        let (mut tally, mut stored) = (Tally::default(), Vec::new());
        loop {
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            let Some((body, count)) = self.work.bodies.get(index) else { return (tally, stored) };
            tally.sent += *count as u64;
            match client.post(body.clone(), self.format, *count).await {
                Ok(posted) => {
                    tally.note_ack(posted.took);
                    tally.retries += u64::from(posted.retries);
                    for outcome in &posted.outcomes {
                        tally.note(outcome);
                    }
                    if posted.outcomes.iter().all(|outcome| !matches!(outcome, ItemOutcome::Rejected { .. })) {
                        stored.push(index);
                    }
                }
                Err(error) => {
                    if let ClientError::Refused { status, .. } = &error {
                        tally.note_refused(status.as_u16(), *count);
                    } else {
                        tally.unanswered += *count as u64;
                    }
                    tally.last_error = Some(error.to_string());
                }
            }
            self.bar.inc(*count as u64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::EventBatch;
    use prost::Message;
    use std::collections::HashSet;

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
