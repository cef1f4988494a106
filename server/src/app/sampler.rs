//! Looks at the flow ten times a second and tells the gauges once a second. Costs nothing an event and changes nothing but what it tells.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use metrics::{counter, gauge};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::flow_watch::{FlowWatch, Judgement, Sample};
use super::pressure::{self, Measured, PressureGauge, Thresholds};
use crate::clock::Clock;
use crate::ingest::Ingest;
use crate::ingest::pressure::Pressure;
use crate::log::EventLog as _;
use crate::log::block::BlockNumber;
use crate::log::wal::Wal;
use crate::metrics::IngestTotals;
use crate::progress::{Progress, Stage};
use crate::readiness::{Failure, Lag, Readiness, State};

const LOOKS_EVERY: Duration = Duration::from_millis(100);
const TELLS_EVERY: Duration = Duration::from_secs(1);

/// What is looked at, and who is told.
pub(super) struct Sampler {
    pub(super) log: Arc<Wal>,
    pub(super) progress: Arc<Progress>,
    pub(super) dealt: watch::Receiver<Option<BlockNumber>>,
    pub(super) ingest: Arc<OnceLock<Ingest<Wal>>>,
    pub(super) readiness: Arc<Readiness>,
    pub(super) clock: Clock,
    pub(super) metrics: Arc<PrometheusHandle>,
    pub(super) thresholds: Thresholds,
}

/// Runs until `stop`.
pub(super) async fn run(sampler: Sampler, stop: CancellationToken) {
    let mut looks = tokio::time::interval(LOOKS_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut watch = FlowWatch::new(Instant::now());
    let (mut pressure, mut memory_bytes) = (PressureGauge::new(sampler.thresholds), pressure::resident_bytes());
    let mut told = Told { at: Instant::now(), totals: IngestTotals::default() };
    loop {
        let now = tokio::select! {
            () = stop.cancelled() => return,
            now = looks.tick() => now,
        };
        let (judgement, lag) = sampler.look(&mut watch, now);
        gauge!("queue_lag_seconds").set(lag.age.as_secs_f64());
        gauge!("consumer_lag").set(as_f64(lag.records));
        sampler.tell_readiness(judgement, lag);
        sampler.press(pressure.judge(now, Measured { lag: lag.age, append: sampler.log.write_time(), memory_bytes }));
        if now.duration_since(told.at) >= TELLS_EVERY {
            memory_bytes = pressure::resident_bytes();
            gauge!("waypost_resident_bytes").set(as_f64(memory_bytes));
            sampler.tell_log();
            told = sampler.tell_rates(&told, now);
            // Moves what histograms gathered out of their buffers, which would grow without bound while nobody scrapes.
            sampler.metrics.run_upkeep();
        }
    }
}

/// When the rates were told, and what had come until then.
struct Told {
    at: Instant,
    totals: IngestTotals,
}

impl Sampler {
    fn look(&self, watch: &mut FlowWatch, now: Instant) -> (Judgement, Lag) {
        // In this order: what is durable now can only have been dealt by the time the second is read.
        let durable = self.log.durable();
        let dealt = *self.dealt.borrow();
        let judgement = watch.judge(now, &Sample { durable, dealt, partitions: self.progress.ends().collect() });
        let records = if dealt >= durable {
            self.progress.lag(Stage::Mapped)
        } else {
            let mapped: u64 = self.progress.ends().map(|(_, mapped)| mapped).sum();
            self.log.stats().events.saturating_sub(mapped)
        };
        (judgement, Lag { records, age: judgement.age })
    }

    fn tell_readiness(&self, judgement: Judgement, lag: Lag) {
        if !self.readiness.has_recovered() {
            return;
        }
        let failure = match (self.log.poisoned(), judgement.stalled) {
            (Some(_), _) => Some(Failure::LogPoisoned),
            (None, stalled) => stalled.map(Failure::Stalled),
        };
        self.readiness.set(failure.map_or(State::Ready(lag), |failure| State::Failing(failure, lag)));
    }

    fn press(&self, pressure: Pressure) {
        let Some(ingest) = self.ingest.get() else { return };
        let before = ingest.valve().pressure();
        if pressure == before {
            return;
        }
        ingest.valve().set(pressure);
        gauge!("waypost_pressure").set(as_f64(pressure as u64));
        if pressure > before {
            tracing::warn!(pressure = pressure.as_str(), "more comes than is worked off: events are let go, or refused, until it is less");
        } else {
            tracing::info!(pressure = pressure.as_str(), "the pressure is less");
        }
    }

    fn tell_log(&self) {
        let stats = self.log.stats();
        let age = stats.oldest_block_time.map_or(Duration::ZERO, |oldest| self.clock.now().since(oldest));
        gauge!("waypost_log_bytes").set(as_f64(stats.log_bytes));
        gauge!("waypost_log_segments").set(as_f64(stats.segments as u64));
        gauge!("waypost_log_oldest_age_seconds").set(age.as_secs_f64());
        gauge!("waypost_dedup_ids").set(as_f64(stats.dedup_ids as u64));
        counter!("waypost_dedup_evicted_early_total").absolute(stats.dedup_evicted_early);
    }

    fn tell_rates(&self, told: &Told, now: Instant) -> Told {
        let totals = self.ingest.get().map(|ingest| ingest.counts().totals()).unwrap_or_default();
        let new = totals.since(&told.totals);
        gauge!("dropped_events").set(as_f64(totals.shed));
        gauge!("ingest_qps").set(as_f64(new.accepted) / now.duration_since(told.at).as_secs_f64());
        // A share of nothing is not 0: what was last true stays.
        if new.all() > 0 {
            gauge!("ingest_error_rate").set(as_f64(new.rejected + new.refused) / as_f64(new.all()));
            gauge!("dedupe_rate").set(as_f64(new.duplicate) / as_f64(new.all()));
        }
        Told { at: now, totals }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is read by people; 2^53 is far away")]
fn as_f64(value: u64) -> f64 {
    value as f64
}
