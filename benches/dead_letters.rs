//! What does a refused event cost, that is kept before its request is answered, beside an accepted one? The generator runs on the same cores. Judges nothing.
//!
//! Workload: JSON pings in batches of 100 over 8 connections; of each batch none, one or all are poison (0,0). `WAYPOST_BENCH_EVENTS` changes how many.

#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]

#[expect(dead_code, reason = "every benchmark uses its part of it")]
mod support;

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::task::JoinSet;
use waypost_sim::client::{Client, Target};
use waypost_sim::clock;
use waypost_sim::event::Format;

use support::{Server, setting};

const BATCH: usize = 100;
const CONNECTIONS: usize = 8;

fn main() {
    let batches = setting("WAYPOST_BENCH_EVENTS", 200_000) / BATCH / CONNECTIONS;
    println!("| refused of 100 | events/s | server CPU us/event | answer p50 ms | answer p99 ms | kept | dropped | file MB |");
    println!("|---|---|---|---|---|---|---|---|");
    for poison in [0, 1, 100] {
        measure(poison, batches);
    }
}

/// Prints one row.
fn measure(poison: usize, batches: usize) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(folder.path(), &[("WAYPOST_DRIVER_EVENTS_PER_S", "0")]);
    server.ready();
    let bodies: Vec<Vec<Bytes>> =
        (0..CONNECTIONS).map(|connection| (0..batches).map(|batch| body(connection * batches + batch, poison)).collect()).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let cpu_s = server.cpu_s();
    let began = Instant::now();
    let mut took = runtime.block_on(async {
        let mut posting: JoinSet<Vec<Duration>> = bodies.into_iter().map(|bodies| post(server.url.clone(), server.key.clone(), bodies)).collect();
        let mut took = Vec::new();
        while let Some(posted) = posting.join_next().await {
            took.extend(posted.expect("posted"));
        }
        took
    });
    let (seconds, cpu_s) = (began.elapsed().as_secs_f64(), server.cpu_s() - cpu_s);
    took.sort_unstable();
    let quantile_ms = |percent: usize| took[(took.len() - 1) * percent / 100].as_secs_f64() * 1e3;
    let count = |name: &str| server.metrics(name).first().map_or(0.0, |(_, value)| *value);
    let file_bytes = std::fs::metadata(folder.path().join("dead_letters.db")).expect("the store").len();
    #[expect(clippy::cast_precision_loss, reason = "counts of a benchmark")]
    let (events, file_mb) = ((took.len() * BATCH) as f64, file_bytes as f64 / 1e6);
    println!(
        "| {poison} | {:.0} | {:.2} | {:.2} | {:.2} | {:.0} | {:.0} | {file_mb:.1} |",
        events / seconds,
        cpu_s * 1e6 / events,
        quantile_ms(50),
        quantile_ms(99),
        count("waypost_dead_letters_kept_total"),
        count("waypost_dead_letters_dropped_total"),
    );
    server.stop();
}

async fn post(url: String, key: String, bodies: Vec<Bytes>) -> Vec<Duration> {
    let mut client = Client::new(Target::new(&url, &key).expect("an address"));
    let mut took = Vec::with_capacity(bodies.len());
    for body in bodies {
        took.push(client.post(body, Format::Json, BATCH).await.expect("answered").took);
    }
    took
}

fn body(batch: usize, poison: usize) -> Bytes {
    let event = |number: usize| {
        let (lat, lng) = if number < poison { (0.0, 0.0) } else { (57.7, 11.97) };
        serde_json::json!({
            "event_id": format!("0192f0c1-2345-7abc-8def-{:012x}", batch * BATCH + number), "event_name": "location",
            "actor_id": format!("driver-{}", batch * BATCH + number), "event_time": clock::now_ms(),
            "payload": {"lat": lat, "lng": lng, "accuracy_m": 5.0, "speed_mps": 8.25, "heading_deg": 90.0, "battery": 0.5},
        })
    };
    serde_json::Value::Array((0..BATCH).map(event).collect()).to_string().into()
}
