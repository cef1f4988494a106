//! How much does ingest take, end to end: HTTP in, fsynced, answered, state and map updated? The generator runs on the same cores. Never judges:
//! the budgets stand beside the figures.
//!
//! Workload: drivers that move 12 m a ping, `UUIDv7` ids, all fields of a location, batches of 100, bodies encoded beforehand. Every driver has spoken once
//! before the clock starts. `WAYPOST_BENCH_EVENTS`, `WAYPOST_BENCH_CONNECTIONS` and `WAYPOST_BENCH_ONLY` (json or proto) change it.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark prints its table")]

#[expect(dead_code, reason = "every benchmark uses its part of it")]
mod support;

use std::sync::Arc;
use std::time::Duration;

use indicatif::ProgressBar;
use waypost_sim::check::Scope;
use waypost_sim::client::Target;
use waypost_sim::clock;
use waypost_sim::event::Format;
use waypost_sim::load::{self, LoadOptions, Sent, Workload};

use support::{Server, quantile, setting};

const FDATASYNC: &str = "waypost_fdatasync_seconds";
const BATCH: usize = 100;

fn main() {
    let events = setting("WAYPOST_BENCH_EVENTS", 2_000_000);
    let only = std::env::var("WAYPOST_BENCH_ONLY").unwrap_or_default();
    println!(
        "| format | drivers | events/s | until mapped/s | server CPU us/event | ack p50 ms | ack p99 ms | fdatasync p50, p99 ms | RSS MB | budget |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    let rows = [
        (Format::Json, 200_000, None, ">= 300 k/s, <= 3 us"),
        (Format::Proto, 200_000, None, ">= 600 k/s, <= 1.5 us"),
        (Format::Json, 200_000, Some(150_000.0), "ack p99 <= 5 ms + 5 x fdatasync p50"),
        (Format::Proto, 200_000, Some(300_000.0), "ack p99 <= 5 ms + 5 x fdatasync p50"),
        (Format::Proto, 10_000, None, ""),
        (Format::Proto, 1_000_000, None, ""),
    ];
    for (format, drivers, rate, budget) in rows.into_iter().filter(|(format, ..)| only.is_empty() || name(*format) == only) {
        measure(format, drivers, events, rate, budget);
    }
}

/// Prints one row.
fn measure(format: Format, drivers: usize, events: usize, rate: Option<f64>, budget: &str) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(folder.path(), &[("WAYPOST_ENTITY_LIMIT", "4000000")]);
    server.ready();
    let options = LoadOptions {
        url: server.url.clone(),
        key: server.key.clone(),
        check_key: None,
        events: events + drivers,
        batch: BATCH,
        format,
        connections: setting("WAYPOST_BENCH_CONNECTIONS", 32),
        drivers,
        seed: clock::now_ms().unsigned_abs(),
        rate: None,
        check: Scope::default(),
    };
    let work = Arc::new(Workload::new(&options, clock::now_ms()));
    let target = Target::new(&server.url, &server.key).expect("an address");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let first = drivers.div_ceil(BATCH);
    let post = |range, options: &LoadOptions| runtime.block_on(load::send(&target, &work, range, options, &ProgressBar::hidden())).expect("sent");
    post(0..first, &options);
    std::thread::sleep(Duration::from_millis(300));
    eprintln!("# {} events of {drivers} drivers, {} to process {}", events, name(format), server.pid());
    let syncs = server.buckets(FDATASYNC);
    let cpu_s = server.cpu_s();
    let sent: Sent = post(first..work.bodies(), &LoadOptions { rate, ..options });
    let cpu_s = server.cpu_s() - cpu_s;
    let (answered, accepted) = (sent.tally.sent, sent.tally.accepted);
    assert_eq!(answered, accepted, "every event is accepted: {:?}", sent.tally.last_error);
    let [p50, p99] = [0.5, 0.99].map(|share| quantile(&syncs, &server.buckets(FDATASYNC), share) * 1e3);
    let level_s = sent.level_seconds.expect("the map is level in time");
    #[expect(clippy::cast_precision_loss, reason = "a count of events in a benchmark")]
    let count = answered as f64;
    println!(
        "| {} | {drivers} | {:.0} | {:.0} | {:.2} | {:.2} | {:.2} | {p50:.2}, {p99:.2} | {:.0} | {budget} |",
        name(format),
        count / sent.seconds,
        count / level_s,
        cpu_s * 1e6 / count,
        sent.tally.ack_ms(0.5),
        sent.tally.ack_ms(0.99),
        server.rss_mb()
    );
    server.kill();
}

fn name(format: Format) -> &'static str {
    match format {
        Format::Json => "json",
        Format::Proto => "proto",
    }
}
