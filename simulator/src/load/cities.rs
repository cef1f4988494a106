//! Writes where movers in cities are, at a steady rate and as of now: what `watch` looks at. Nothing is encoded beforehand, so that it can go on for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use indicatif::ProgressBar;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{note_failure, note_outcomes};
use crate::check::Checked;
use crate::client::{Client, Target};
use crate::clock;
use crate::event::{Envelope, Format, encode, event, uuid_of};
use crate::fleet::RunError;
use crate::movers::Movers;
use crate::preflight::preflight;
use crate::report::{Report, Tally, bar};
use crate::wire::event::Payload;
use crate::wire::{Event, Location};

#[derive(Clone, Debug)]
pub struct CityOptions {
    pub url: String,
    pub key: String,
    pub movers: Movers,
    pub objects: usize,
    /// Pings a second, all movers together; they speak in turn.
    pub updates_per_s: f64,
    /// None goes on until it is shut down.
    pub duration: Option<Duration>,
    pub batch: usize,
    pub connections: usize,
    pub format: Format,
    /// Makes event ids.
    pub seed: u64,
}

/// Sends each batch when it is due, whatever became of the one before, and reports. An ack is counted from when its batch was due.
pub async fn run(options: CityOptions, shutdown: CancellationToken) -> Result<Report, RunError> {
    if options.objects == 0 || !(options.updates_per_s.is_finite() && options.updates_per_s > 0.0) {
        return Err(RunError::Input("the pattern of cities takes one object at least, and more than 0 updates a second".into()));
    }
    let target = Target::new(&options.url, &options.key)?;
    preflight(&target, None).await?;
    let batch = options.batch.clamp(1, options.objects);
    let bodies = options.duration.map_or(usize::MAX, |duration| (options.updates_per_s * duration.as_secs_f64() / batch as f64).ceil() as usize);
    let bar = if bodies == usize::MAX { ProgressBar::hidden() } else { bar((bodies * batch) as u64, "pings") };
    let (started, started_ms) = (Instant::now(), clock::now_ms_exact());
    let sheet = Arc::new(Sheet { options, batch, bodies, next: AtomicUsize::new(0), started, started_ms, bar, shutdown });
    let mut lanes = JoinSet::new();
    for _ in 0..sheet.options.connections.max(1) {
        lanes.spawn(lane(Arc::clone(&sheet), Client::new(target.clone())));
    }
    let mut tally = Tally::default();
    while let Some(lane) = lanes.join_next().await {
        tally.absorb(lane.map_err(|error| RunError::Input(error.to_string()))?);
    }
    sheet.bar.finish_and_clear();
    Ok(Report::new("load", tally, started.elapsed().as_secs_f64(), Checked::default()))
}

/// What is due when.
struct Sheet {
    options: CityOptions,
    batch: usize,
    bodies: usize,
    next: AtomicUsize,
    started: Instant,
    started_ms: f64,
    bar: ProgressBar,
    shutdown: CancellationToken,
}

impl Sheet {
    /// The number of the next batch, and after how long it is due.
    fn take(&self) -> Option<(usize, Duration)> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let due = Duration::from_secs_f64((number * self.batch) as f64 / self.options.updates_per_s);
        (number < self.bodies).then_some((number, due))
    }

    fn body(&self, number: usize, due: Duration) -> Bytes {
        let time_ms = (self.started_ms + due.as_secs_f64() * 1e3).round() as i64;
        let pings: Vec<Event> = (number * self.batch..(number + 1) * self.batch).map(|ping| self.ping(ping, time_ms)).collect();
        Bytes::from(encode(&pings, self.options.format, 0))
    }

    fn ping(&self, number: usize, time_ms: i64) -> Event {
        let object = number % self.options.objects;
        let stand = self.options.movers.stand(object, time_ms);
        let fix = Location {
            lat: stand.place.lat,
            lng: stand.place.lng,
            accuracy_m: Some(5.0),
            speed_mps: Some(self.options.movers.speed_mps() as f32),
            heading_deg: Some(stand.heading_deg as f32),
            altitude_m: Some(31.5),
            battery: Some(0.75),
        };
        let id = uuid_of(time_ms, self.options.seed, number as u64);
        event(Envelope { id, actor: Movers::id(object), delivery: String::new(), time_ms }, Payload::Location(fix))
    }
}

async fn lane(sheet: Arc<Sheet>, mut client: Client) -> Tally {
    let mut tally = Tally::default();
    while let Some((number, due)) = sheet.take() {
        tokio::select! {
            () = tokio::time::sleep_until((sheet.started + due).into()) => {}
            () = sheet.shutdown.cancelled() => return tally,
        }
        tally.sent += sheet.batch as u64;
        match client.post(sheet.body(number, due), sheet.options.format, sheet.batch).await {
            Ok(posted) => {
                tally.note_ack(sheet.started.elapsed().saturating_sub(due));
                note_outcomes(&mut tally, &posted);
            }
            Err(error) => note_failure(&mut tally, &error, sheet.batch),
        }
        sheet.bar.inc(sheet.batch as u64);
    }
    tally
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::geodesy::Place;
    use crate::wire::EventBatch;

    #[test]
    fn batches_follow_each_other_at_the_rate_and_say_where_movers_are_then() {
        let movers = Movers::new(2, 0.05, 1).expect("valid");
        let options = CityOptions {
            url: String::new(),
            key: String::new(),
            movers,
            objects: 70,
            updates_per_s: 1_000.0,
            duration: Some(Duration::from_secs(1)),
            batch: 50,
            connections: 1,
            format: Format::Proto,
            seed: 9,
        };
        let (started, shutdown) = (Instant::now(), CancellationToken::new());
        let started_ms = 1_790_000_000_000.0;
        let sheet = Sheet { options, batch: 50, bodies: 20, next: AtomicUsize::new(0), started, started_ms, bar: ProgressBar::hidden(), shutdown };
        let mut pings = Vec::new();
        while let Some((number, due)) = sheet.take() {
            assert_eq!(due, Duration::from_millis(50 * number as u64));
            pings.extend(EventBatch::decode(sheet.body(number, due)).expect("own bytes").events);
        }
        assert_eq!((pings.len(), pings[999].event_time_ms), (1_000, 1_790_000_000_950));
        assert_eq!((pings[75].actor_id.as_str(), pings[69].actor_id.as_str()), ("mover-0000005", "mover-0000069"));
        let Some(Payload::Location(fix)) = &pings[75].payload else { panic!("a ping") };
        let told = movers.time_at(5, Place { lat: fix.lat, lng: fix.lng }, 1_790_000_009_000.0).expect("on its round");
        assert!((told - 1_790_000_000_050.0).abs() < 1.0, "{told}");
    }
}
