//! A fleet at work: couriers of the one driver model, live against a server until time or the caller ends it.

use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use crate::check::{Scope, check};
use crate::client::{ClientError, Target};
use crate::clock;
use crate::courier::{Model, ModelOptions};
use crate::event::Format;
use crate::faults::{FaultOptions, Faults};
use crate::preflight::preflight;
use crate::report::{Report, bar};
use crate::roads::Roads;
use crate::roads::source::RoadsError;
use crate::sender::{Sender, SenderOptions};
use crate::wire::Event;

/// How often couriers are asked what happened; their pings are spread over it.
const STEP: Duration = Duration::from_millis(100);

#[derive(Debug, Error)]
pub enum RunError {
    #[error(transparent)]
    Roads(#[from] RoadsError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("{0}")]
    Input(String),
}

#[derive(Clone, Debug)]
pub struct FleetOptions {
    pub url: String,
    pub key: String,
    /// A key that may read, for the check; `key` when absent.
    pub check_key: Option<String>,
    pub couriers: u32,
    /// Between two pings of a courier.
    pub interval: Duration,
    pub seed: u64,
    /// How much faster than life couriers drive and dwell; event times stay real.
    pub speedup: f64,
    /// Ends by itself after this; `None` runs until the token is cancelled.
    pub duration: Option<Duration>,
    pub faults: FaultOptions,
    pub connections: usize,
    pub batch: usize,
    pub format: Format,
    /// Couriers keep to when the server wants their next position.
    pub obey_hints: bool,
    /// What is compared at the end; by default nothing.
    pub check: Scope,
}

impl FleetOptions {
    /// A calm fleet that pings every 2 s, until cancelled, without a check.
    pub fn new(url: String, key: String, couriers: u32) -> Self {
        Self {
            url,
            key,
            check_key: None,
            couriers,
            interval: Duration::from_secs(2),
            seed: 1,
            speedup: 1.0,
            duration: None,
            faults: FaultOptions::default(),
            connections: 2,
            batch: 500,
            format: Format::Proto,
            obey_hints: false,
            check: Scope::default(),
        }
    }
}

/// Runs until `duration` is over or `shutdown` is cancelled; then sends what is left, waits for its answers and reports.
pub async fn run(options: FleetOptions, shutdown: CancellationToken) -> Result<Report, RunError> {
    let target = Target::new(&options.url, &options.key)?;
    let reader = Target::new(&options.url, options.check_key.as_deref().unwrap_or(&options.key))?;
    preflight(&target, (options.check.sample > 0).then_some(&reader)).await?;
    let roads = Roads::gothenburg()?;
    let sender = Sender::start(
        &target,
        SenderOptions { connections: options.connections, batch: options.batch, format: options.format, obey: options.obey_hints },
    );
    let started = Instant::now();
    drive(roads, &options, &sender, &shutdown).await;
    let (tally, ledger) = sender.finish().await;
    let seconds = started.elapsed().as_secs_f64();
    let checked = check(&reader, ledger.expected(), options.check).await;
    Ok(Report::new("fleet", tally, seconds, checked))
}

/// Lets the couriers drive in real time. What they say depends on the seed and on how many steps were made, never on when each was made.
async fn drive(roads: Roads, options: &FleetOptions, sender: &Sender, shutdown: &CancellationToken) {
    let start_ms = clock::now_ms();
    let mut fleet = Steps::new(roads, options, start_ms);
    let bar = progress(options.duration);
    let started = Instant::now();
    let mut ticks = tokio::time::interval(STEP);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            _ = ticks.tick() => {}
        }
        let elapsed = options.duration.map_or_else(|| started.elapsed(), |duration| started.elapsed().min(duration));
        bar.set_position(elapsed.as_secs());
        while fleet.next_at() <= elapsed && !shutdown.is_cancelled() {
            let events = fleet.step();
            // A server that is away must not keep the caller from stopping; what did not fit into the lanes was never said.
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = sender.send(events) => {}
            }
        }
        if options.duration.is_some_and(|duration| elapsed >= duration) {
            break;
        }
    }
    if !shutdown.is_cancelled() {
        sender.send(fleet.rest()).await;
    }
    bar.finish_and_clear();
}

/// The fleet and what goes wrong on the way, a step at a time. The same options give the same steps, but for the time of their start.
#[derive(Debug)]
pub struct Steps {
    model: Model,
    faults: Faults,
    start_ms: i64,
    made: u32,
}

impl Steps {
    pub fn new(roads: Roads, options: &FleetOptions, start_ms: i64) -> Self {
        let interval_ms = i64::try_from(options.interval.as_millis()).unwrap_or(i64::MAX).max(20);
        let speedup = options.speedup.clamp(0.01, 1_000.0);
        let model = Model::new(roads, ModelOptions { couriers: options.couriers, seed: options.seed, start_ms, interval_ms, speedup });
        Self { model, faults: Faults::new(options.faults, options.seed), start_ms, made: 0 }
    }

    /// When the next step is due, from the start.
    fn next_at(&self) -> Duration {
        STEP * (self.made + 1)
    }

    /// What reaches the server in the next step.
    pub fn step(&mut self) -> Vec<Event> {
        let now_ms = self.start_ms + i64::try_from(self.next_at().as_millis()).unwrap_or(i64::MAX);
        self.made += 1;
        self.faults.pass(now_ms, self.model.tick(now_ms))
    }

    /// Whatever is still held back.
    pub fn rest(&mut self) -> Vec<Event> {
        self.faults.rest()
    }
}

/// Draws on a terminal only; indicatif hides it elsewhere.
fn progress(duration: Option<Duration>) -> ProgressBar {
    duration.map_or_else(ProgressBar::hidden, |duration| bar(duration.as_secs(), "s driven"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::event::Payload;

    /// All that a faulty fleet says in 20 s, in the order in which it reaches the server, without what the start's time makes of it.
    fn said(seed: u64, start_ms: i64) -> Vec<(String, i64, String, Option<Payload>)> {
        let faults = FaultOptions { offline: 0.01, offline_seconds: 5.0, duplicates: 0.05, reorder: 0.05, skewed: 0.3, skew_seconds: 20.0 };
        let base = FleetOptions::new(String::new(), String::new(), 30);
        let options = FleetOptions { seed, faults, speedup: 20.0, interval: Duration::from_secs(1), ..base };
        let mut steps = Steps::new(Roads::gothenburg().expect("compiled in"), &options, start_ms);
        let mut events: Vec<Event> = (0..200).flat_map(|_| steps.step()).collect();
        events.extend(steps.rest());
        let payload = |event: &Event| event.payload.clone().filter(|payload| !matches!(payload, Payload::Created(_)));
        events.iter().map(|event| (event.actor_id.clone(), event.event_time_ms - start_ms, event.event_name.clone(), payload(event))).collect()
    }

    #[test]
    fn a_seed_decides_what_a_faulty_fleet_says_and_in_what_order_whenever_it_starts() {
        let events = said(5, 1_790_000_000_000);
        assert!(events.len() > 700, "{}", events.len());
        assert_eq!(events, said(5, 1_795_000_000_000));
        assert_ne!(events, said(6, 1_790_000_000_000));
    }
}
