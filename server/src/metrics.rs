//! The Prometheus recorder, the words for what the stages count, and the counts of ingest. Never samples by itself: the app's sampler does.

use std::sync::atomic::{AtomicU64, Ordering};

use metrics::{Counter, Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use parking_lot::Mutex;
use thiserror::Error;

#[derive(Debug, Error)]
#[error("the metrics recorder cannot be set up: {0}")]
pub struct MetricsError(String);

/// Seconds: from a memory copy to a stalled disk.
const LATENCY_BUCKETS: [f64; 14] = [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];
/// Told as buckets. What else is measured is a summary of the last minute, with quantiles.
const HISTOGRAMS: [&str; 5] =
    ["waypost_ack_seconds", "waypost_ping_to_frame_seconds", "waypost_fdatasync_seconds", "waypost_checkpoint_seconds", "waypost_tick_seconds"];

/// A process has one recorder, however many servers a test starts in it.
static INSTALLED: Mutex<Option<PrometheusHandle>> = Mutex::new(None);

/// Installs the recorder, or returns the one that is installed.
pub fn install() -> Result<PrometheusHandle, MetricsError> {
    let mut installed = INSTALLED.lock();
    if let Some(handle) = installed.as_ref() {
        return Ok(handle.clone());
    }
    let failed = |error: metrics_exporter_prometheus::BuildError| MetricsError(error.to_string());
    let mut builder = PrometheusBuilder::new().set_quantiles(&[0.5, 0.99]).map_err(failed)?;
    for name in HISTOGRAMS {
        builder = builder.set_buckets_for_metric(Matcher::Full(name.to_owned()), &LATENCY_BUCKETS).map_err(failed)?;
    }
    let recorder = builder.build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).map_err(|error| MetricsError(error.to_string()))?;
    describe();
    begin_at_zero();
    *installed = Some(handle.clone());
    Ok(handle)
}

/// What became of the events that clients sent. Every event of a request that could be read is counted once.
#[derive(Debug)]
pub struct IngestCounts([(AtomicU64, Counter); 5]);

/// The outcomes by the value of the label `outcome`.
const OUTCOMES: [&str; 5] = ["accepted", "duplicate", "rejected", "shed", "refused"];

/// A request's events, or all since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IngestTotals {
    pub accepted: u64,
    pub duplicate: u64,
    /// The caller's fault, one by one.
    pub rejected: u64,
    /// Let go by policy.
    pub shed: u64,
    /// With the whole of their request: nothing was stored. A request that cannot be read counts as one.
    pub refused: u64,
}

impl Default for IngestCounts {
    fn default() -> Self {
        Self(OUTCOMES.map(|outcome| (AtomicU64::new(0), metrics::counter!("waypost_ingest_events_total", "outcome" => outcome))))
    }
}

impl IngestCounts {
    pub fn add(&self, of: IngestTotals) {
        for ((total, counter), number) in self.0.iter().zip([of.accepted, of.duplicate, of.rejected, of.shed, of.refused]) {
            if number > 0 {
                total.fetch_add(number, Ordering::Relaxed);
                counter.increment(number);
            }
        }
    }

    pub fn totals(&self) -> IngestTotals {
        let [accepted, duplicate, rejected, shed, refused] = [0, 1, 2, 3, 4].map(|outcome: usize| self.0[outcome].0.load(Ordering::Relaxed));
        IngestTotals { accepted, duplicate, rejected, shed, refused }
    }
}

impl IngestTotals {
    pub fn all(&self) -> u64 {
        self.accepted + self.duplicate + self.rejected + self.shed + self.refused
    }

    /// What came since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            accepted: self.accepted.saturating_sub(earlier.accepted),
            duplicate: self.duplicate.saturating_sub(earlier.duplicate),
            rejected: self.rejected.saturating_sub(earlier.rejected),
            shed: self.shed.saturating_sub(earlier.shed),
            refused: self.refused.saturating_sub(earlier.refused),
        }
    }
}

/// What is watched by name is there from the first scrape on.
fn begin_at_zero() {
    for name in [
        "ingest_qps",
        "ingest_error_rate",
        "queue_lag_seconds",
        "consumer_lag",
        "dedupe_rate",
        "dropped_events",
        "waypost_log_bytes",
        "waypost_log_segments",
        "waypost_log_oldest_age_seconds",
        "waypost_checkpoint_age_seconds",
        "waypost_dedup_ids",
        "waypost_live_sessions",
        "waypost_pressure",
        "waypost_resident_bytes",
        "waypost_connections",
        "waypost_dead_letters",
        "waypost_dead_letters_bytes",
        "waypost_ingest_streams",
    ] {
        metrics::gauge!(name).set(0.0);
    }
    for kind in ["driver", "delivery", "tombstone"] {
        metrics::gauge!("waypost_entities", "kind" => kind).set(0.0);
    }
    for kind in ["key", "grant", "token"] {
        metrics::gauge!("waypost_credentials", "kind" => kind).set(0.0);
    }
    for name in [
        "waypost_dedup_evicted_early_total",
        "waypost_entity_limit_total",
        "waypost_checkpoint_failures_total",
        "waypost_blocks_missing_total",
        "waypost_unreadable_records_total",
        "waypost_jwks_failures_total",
        "waypost_apply_panics_total",
        "waypost_dead_letters_kept_total",
        "waypost_dead_letters_dropped_total",
    ] {
        metrics::counter!(name).increment(0);
    }
    for reason in ["total", "address", "credential", "in_flight"] {
        metrics::counter!("waypost_connections_refused_total", "reason" => reason).increment(0);
    }
    for reason in ["slow_head", "idle", "stalled_answer", "made_room"] {
        metrics::counter!("waypost_connections_cut_total", "reason" => reason).increment(0);
    }
    for cause in ["size", "age"] {
        metrics::counter!("waypost_dead_letters_evicted_total", "cause" => cause).increment(0);
    }
    IngestCounts::default().add(IngestTotals::default());
}

fn describe() {
    describe_counter!(
        "waypost_ingest_events_total",
        "Events by outcome: accepted, duplicate, rejected one by one, shed by policy, refused with their whole request"
    );
    describe_histogram!("waypost_ack_seconds", Unit::Seconds, "From the end of a request's body to its answer");
    describe_histogram!("waypost_fdatasync_seconds", Unit::Seconds, "One fdatasync of the log");
    describe_histogram!("waypost_fdatasync_recent_seconds", Unit::Seconds, "One fdatasync of the log: quantiles of the last minute");
    describe_histogram!("waypost_ping_to_frame_seconds", Unit::Seconds, "From the ingest of a frame's oldest change to its hand-over to the socket");
    describe_histogram!("waypost_checkpoint_seconds", Unit::Seconds, "Taking one checkpoint");
    describe_histogram!("waypost_tick_seconds", Unit::Seconds, "Work of one tick of the live stage");
    describe_gauge!("ingest_qps", "Events accepted a second, over the last second");
    describe_gauge!("ingest_error_rate", "Share of events rejected or refused, over the last second with any");
    describe_gauge!("dedupe_rate", "Share of events that were duplicates, over the last second with any");
    describe_gauge!("queue_lag_seconds", Unit::Seconds, "Upper bound of the age of the oldest record that is not on the map yet; 0 when all are");
    describe_gauge!("consumer_lag", "Records that are durable and not yet on the map");
    describe_gauge!("dropped_events", "Events let go by policy since the start");
    describe_gauge!(
        "waypost_pressure",
        "What is let go: 0 nothing, 1 repeated pings, 2 pings, 3 all but statuses, 4 requests with a status are refused"
    );
    describe_gauge!("waypost_resident_bytes", Unit::Bytes, "Memory of the process");
    describe_gauge!("waypost_log_bytes", Unit::Bytes, "Bytes of the log's segments");
    describe_gauge!("waypost_log_segments", "Segments of the log");
    describe_gauge!("waypost_log_oldest_age_seconds", Unit::Seconds, "Age of the oldest block in the oldest segment");
    describe_gauge!("waypost_checkpoint_age_seconds", Unit::Seconds, "Time since a checkpoint of this run covered all there was, or since its start");
    describe_counter!("waypost_checkpoint_failures_total", "Checkpoints that could not be taken");
    describe_counter!("waypost_blocks_missing_total", "Blocks of the log that were missing when it was read");
    describe_counter!(
        "waypost_unreadable_records_total",
        "Records of the log that could not be read, though their block is whole, and were passed over"
    );
    describe_counter!("waypost_apply_panics_total", "Times that applying something to the facts panicked; the partition went on");
    describe_gauge!("waypost_dead_letters", "Refused events that are kept");
    describe_gauge!("waypost_dead_letters_bytes", Unit::Bytes, "What the refused events that are kept count against their bound");
    describe_counter!("waypost_dead_letters_kept_total", "Refused events that were kept");
    describe_counter!("waypost_dead_letters_dropped_total", "Refused events that could not be kept: no room in time, or a failed write");
    describe_counter!("waypost_dead_letters_evicted_total", "Kept events that had to go by cause: size, age");
    describe_counter!("waypost_dead_letters_redriven_total", "Kept events tried again by outcome: accepted, duplicate, refused, skipped");
    describe_gauge!("waypost_dedup_ids", "Event ids held to tell a duplicate");
    describe_counter!("waypost_dedup_evicted_early_total", "Event ids that had to go before their time");
    describe_gauge!("waypost_entities", "Live entities by kind");
    describe_counter!("waypost_entity_limit_total", "Entities refused because their tenant has as many as it may");
    describe_gauge!("waypost_credentials", "Credentials in memory by kind: keys in use, tickets and sessions, verified tokens");
    describe_counter!("waypost_jwks_failures_total", "Times that the keys of an issuer of tokens could not be read anew");
    describe_counter!(
        "waypost_ignored_reports_total",
        "Messages of phone apps that carry nothing to store, by app: without a fix, or of a kind that is no event"
    );
    describe_gauge!("waypost_live_sessions", "Open live sessions");
    describe_gauge!("waypost_connections", "Open connections, WebSockets among them");
    describe_counter!(
        "waypost_connections_refused_total",
        "Connections closed at once (all places taken, as many of one address as may be) and requests answered 429 (of one credential)"
    );
    describe_counter!(
        "waypost_connections_cut_total",
        "Connections ended because a head came too slowly, none came any more, or an answer was not read"
    );
    describe_counter!("waypost_tls_handshakes_total", "TLS handshakes by outcome");
    describe_counter!("waypost_tls_reloads_total", "Certificates taken up while running, by outcome");
    describe_gauge!("waypost_ingest_streams", "Open ingest connections");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_watched_by_name_is_there_from_the_first_scrape_on() {
        let exposition = install().expect("a recorder").render();
        for name in ["ingest_qps", "ingest_error_rate", "queue_lag_seconds", "consumer_lag", "dropped_events", "dedupe_rate", "waypost_log_bytes"] {
            assert!(exposition.lines().any(|line| line.starts_with(&format!("{name} "))), "{name} in\n{exposition}");
        }
        for outcome in OUTCOMES {
            assert!(exposition.contains(&format!("waypost_ingest_events_total{{outcome=\"{outcome}\"}}")), "{outcome}");
        }
    }

    #[test]
    fn counts_are_told_since_a_moment() {
        let counts = IngestCounts::default();
        counts.add(IngestTotals { accepted: 3, rejected: 1, ..IngestTotals::default() });
        let earlier = counts.totals();
        counts.add(IngestTotals { accepted: 2, duplicate: 5, ..IngestTotals::default() });
        assert_eq!(counts.totals().since(&earlier), IngestTotals { accepted: 2, duplicate: 5, ..IngestTotals::default() });
        assert_eq!(counts.totals().all(), 11);
    }
}
