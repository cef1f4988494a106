//! The Prometheus recorder and the words for what the stages count. Never samples by itself; gauges are set by whoever owns the number.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use parking_lot::Mutex;
use thiserror::Error;

#[derive(Debug, Error)]
#[error("the metrics recorder cannot be set up: {0}")]
pub struct MetricsError(String);

/// Seconds: from a memory copy to a stalled disk.
const LATENCY_BUCKETS: [f64; 14] = [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// A process has one recorder, however many servers a test starts in it.
static INSTALLED: Mutex<Option<PrometheusHandle>> = Mutex::new(None);

/// Installs the recorder, or returns the one that is installed.
pub fn install() -> Result<PrometheusHandle, MetricsError> {
    let mut installed = INSTALLED.lock();
    if let Some(handle) = installed.as_ref() {
        return Ok(handle.clone());
    }
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &LATENCY_BUCKETS)
        .map_err(|error| MetricsError(error.to_string()))?
        .build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).map_err(|error| MetricsError(error.to_string()))?;
    describe();
    *installed = Some(handle.clone());
    Ok(handle)
}

fn describe() {
    describe_counter!("waypost_ingest_events_total", "Events of ingest requests by outcome: accepted, duplicate, rejected");
    describe_histogram!("waypost_ack_seconds", Unit::Seconds, "From the end of a request's body to its answer");
    describe_histogram!("waypost_fdatasync_seconds", Unit::Seconds, "One fdatasync of the log");
    describe_histogram!("waypost_ping_to_frame_seconds", Unit::Seconds, "From the ingest of a frame's oldest change to its hand-over to the socket");
    describe_gauge!("ingest_qps", "Events accepted a second, over the last sampling interval");
    describe_gauge!("ingest_error_rate", "Share of events rejected, over the last sampling interval");
    describe_gauge!("dedupe_rate", "Share of events that were duplicates, over the last sampling interval");
    describe_gauge!("queue_lag_seconds", Unit::Seconds, "How long the map has been behind the log without a break; 0 when it is level");
    describe_gauge!("consumer_lag", "Records that are durable and not yet on the map");
    describe_counter!("dropped_events", "Events dropped by policy; always 0 until shedding exists");
    describe_gauge!("waypost_log_bytes", Unit::Bytes, "Bytes of the log's segments");
    describe_gauge!("waypost_checkpoint_age_seconds", Unit::Seconds, "Time since the newest checkpoint");
    describe_gauge!("waypost_dedup_ids", "Event ids held to tell a duplicate");
    describe_gauge!("waypost_entities", "Live entities by kind");
    describe_gauge!("waypost_live_sessions", "Open live sessions");
}
