//! A fleet at work: couriers of the one driver model, live against a server until time or the caller ends it.

use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use crate::check::{Checked, check};
use crate::client::{ClientError, Target};
use crate::clock;
use crate::courier::{Model, ModelOptions};
use crate::event::Format;
use crate::faults::{FaultOptions, Faults};
use crate::report::Report;
use crate::roads::Roads;
use crate::roads::source::RoadsError;
use crate::sender::{Sender, SenderOptions};

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
    /// Entities compared at the end; 0 compares none.
    pub check: usize,
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
            check: 0,
        }
    }
}

/// Runs until `duration` is over or `shutdown` is cancelled; then sends what is left, waits for its answers and reports.
pub async fn run(options: FleetOptions, shutdown: CancellationToken) -> Result<Report, RunError> {
    let target = Target::new(&options.url, &options.key)?;
    let start_ms = clock::now_ms();
    let interval_ms = i64::try_from(options.interval.as_millis()).unwrap_or(i64::MAX).max(20);
    let model = ModelOptions { couriers: options.couriers, seed: options.seed, start_ms, interval_ms, speedup: options.speedup.clamp(0.01, 1_000.0) };
    let mut model = Model::new(Roads::gothenburg()?, model);
    let mut faults = Faults::new(options.faults, options.seed);
    let sender = Sender::start(&target, SenderOptions { connections: options.connections, batch: options.batch, format: options.format });
    let bar = progress(options.duration);
    let started = Instant::now();
    let mut steps = tokio::time::interval(STEP);
    steps.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            _ = steps.tick() => {}
        }
        let elapsed = started.elapsed();
        if options.duration.is_some_and(|duration| elapsed >= duration) {
            break;
        }
        let now_ms = start_ms + i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX);
        let events = faults.pass(now_ms, model.tick(now_ms));
        bar.set_position(elapsed.as_secs());
        // A server that is away must not keep the caller from stopping; what did not fit into the lanes was never said.
        tokio::select! {
            () = shutdown.cancelled() => break,
            () = sender.send(events) => {}
        }
    }
    if !shutdown.is_cancelled() {
        sender.send(faults.rest()).await;
    }
    let (tally, ledger) = sender.finish().await;
    let seconds = started.elapsed().as_secs_f64();
    bar.finish_and_clear();
    let checked = if options.check == 0 {
        Checked::default()
    } else {
        let reader = Target::new(&options.url, options.check_key.as_deref().unwrap_or(&options.key))?;
        check(&reader, &ledger, options.check).await
    };
    Ok(Report::new("fleet", tally, seconds, checked))
}

/// Draws on a terminal only; indicatif hides it elsewhere.
fn progress(duration: Option<Duration>) -> ProgressBar {
    duration.map_or_else(ProgressBar::hidden, |duration| ProgressBar::new(duration.as_secs()).with_message("seconds"))
}
