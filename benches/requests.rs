//! What do single requests cost, does a flood of one tenant hold up another, and how long does a phone's day take? Never judges: the budgets stand beside
//! the figures.
//!
//! One event a request over kept connections; a tenant that sends ten times what it may, and never waits as it is told; 8,640 pings of one driver, ten
//! seconds apart, in requests of 960. `WAYPOST_BENCH_EVENTS` changes how many requests the first table sends.

#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]

#[expect(dead_code, reason = "every benchmark uses its part of it")]
mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use indicatif::ProgressBar;
use tokio::runtime::Runtime;
use waypost_sim::check::Scope;
use waypost_sim::client::{Client, Target};
use waypost_sim::clock;
use waypost_sim::event::{Envelope, Format, encode, event, uuid_of};
use waypost_sim::live::Session;
use waypost_sim::load::{self, LoadOptions, Sent, Workload};
use waypost_sim::wire::Location;
use waypost_sim::wire::event::Payload;

use support::{Server, key_of, quantile, setting};

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    single_requests(&runtime);
    neighbours(&runtime);
    runtime.block_on(a_day());
}

fn options(server: &Server, events: usize, batch: usize, format: Format, connections: usize, drivers: usize) -> LoadOptions {
    let (url, key) = (server.url.clone(), server.key.clone());
    let seed = clock::now_ms().unsigned_abs();
    LoadOptions { url, key, check_key: None, events, batch, format, connections, drivers, seed, rate: None, check: Scope::default() }
}

/// One event a request.
fn single_requests(runtime: &Runtime) {
    const DRIVERS: usize = 10_000;
    let events = setting("WAYPOST_BENCH_EVENTS", 300_000);
    println!("| one event a request | connections | requests/s | server CPU us | ack p50 ms | ack p99 ms | fdatasync p50, p99 ms | budget here |");
    println!("|---|---|---|---|---|---|---|---|");
    for (format, connections) in [(Format::Proto, 64), (Format::Json, 64), (Format::Json, 512)] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let server = Server::start(folder.path(), &[]);
        server.ready();
        let options = options(&server, events + DRIVERS, 1, format, connections, DRIVERS);
        let work = Arc::new(Workload::new(&options, clock::now_ms()));
        let target = Target::new(&server.url, &server.key).expect("an address");
        let post = |range| runtime.block_on(load::send(&target, &work, range, &options, &ProgressBar::hidden())).expect("sent");
        post(0..DRIVERS);
        let (syncs, cpu_s) = (server.buckets(FDATASYNC), server.cpu_s());
        let sent: Sent = post(DRIVERS..work.bodies());
        let cpu_s = server.cpu_s() - cpu_s;
        assert_eq!(sent.tally.sent, sent.tally.accepted, "every event is accepted: {:?}", sent.tally.last_error);
        let [p50, p99] = [0.5, 0.99].map(|share| quantile(&syncs, &server.buckets(FDATASYNC), share) * 1e3);
        #[expect(clippy::cast_precision_loss, reason = "a count of events in a benchmark")]
        let count = sent.tally.sent as f64;
        // 64 connections wait for one block and a half on average.
        let budget = if connections == 64 { format!(">= {:.0}/s", (0.7 * 64.0 / (1.5 * p50 / 1e3)).min(40_000.0)) } else { String::new() };
        println!(
            "| {} | {connections} | {:.0} | {:.1} | {:.2} | {:.2} | {p50:.2}, {p99:.2} | {budget} |",
            if format == Format::Json { "json" } else { "proto" },
            count / sent.seconds,
            cpu_s * 1e6 / count,
            sent.tally.ack_ms(0.5),
            sent.tally.ack_ms(0.99),
        );
        server.kill();
    }
}

const FDATASYNC: &str = "waypost_fdatasync_seconds";

/// A quiet tenant alone, and beside one that floods: in turns, so that both see the same moods of the disk.
fn neighbours(runtime: &Runtime) {
    const ROUNDS: usize = 3;
    const QUIET_PER_S: f64 = 2_000.0;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(folder.path(), &[("WAYPOST_TENANT_LIMITS", "{noisy={events_per_s=10000,burst=10000}}")]);
    server.ready();
    let noisy_key = key_of(folder.path(), "noisy");
    let quiet = LoadOptions { rate: Some(QUIET_PER_S), ..options(&server, 16_000, 10, Format::Json, 8, 1_000) };
    // Ten times its quota for as long as the quiet tenant sends.
    let noisy = LoadOptions { rate: Some(100_000.0), key: noisy_key, ..options(&server, 800_000, 100, Format::Json, 16, 50_000) };
    let hidden = ProgressBar::hidden();
    let (mut alone, mut beside, mut flood) = (Vec::new(), Vec::new(), None);
    for _ in 0..ROUNDS {
        for flooded in [false, true] {
            let work = Arc::new(Workload::new(&quiet, clock::now_ms()));
            let target = Target::new(&quiet.url, &quiet.key).expect("an address");
            let sent = runtime.block_on(async {
                let mine = load::send(&target, &work, 0..work.bodies(), &quiet, &hidden);
                if !flooded {
                    return mine.await.expect("sent");
                }
                let work = Arc::new(Workload::new(&noisy, clock::now_ms()));
                let mut target = Target::new(&noisy.url, &noisy.key).expect("an address");
                target.patience = Duration::ZERO;
                let (mine, theirs) = tokio::join!(mine, load::send(&target, &work, 0..work.bodies(), &noisy, &hidden));
                flood = Some(theirs.expect("sent"));
                mine.expect("sent")
            });
            assert_eq!(sent.tally.sent, sent.tally.accepted, "{:?}", sent.tally.last_error);
            if flooded { &mut beside } else { &mut alone }.push(sent.tally.ack_ms(0.99));
        }
    }
    let median = |values: &mut Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let (alone, beside) = (median(&mut alone), median(&mut beside));
    let flood = flood.expect("it ran").tally;
    let refused: u64 = flood.rejected_by_code.values().sum();
    println!("\n| a tenant's ack p99 ms, median of {ROUNDS} | beside one at 10 x its quota | times | of the flood accepted, refused | budget |");
    println!("|---|---|---|---|---|");
    println!("| {alone:.2} | {beside:.2} | {:.2} | {}, {refused} | <= 1.5 times |", beside / alone, flood.accepted);
    server.kill();
}

/// A phone comes back after a day without a network, while somebody watches.
async fn a_day() {
    const PINGS: i64 = 8_640;
    const BATCH: i64 = 960;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(folder.path(), &[]);
    server.ready();
    let target = Target::new(&server.url, &server.key).expect("an address");
    let mut session = Session::open(&target).await.expect("a session");
    session.look(11.0, 57.0, 13.0, 58.0, 12.0).await.expect("a view");
    let start_ms = clock::now_ms() - PINGS * 10_000;
    let mut client = Client::new(target);
    let ping = |number: i64| {
        #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
        let lat = 57.1 + number as f64 * 1e-4;
        let location = Location { lat, lng: 12.0, speed_mps: Some(1.1), ..Location::default() };
        let time_ms = start_ms + number * 10_000;
        let id = uuid_of(time_ms, 7, number.unsigned_abs());
        event(Envelope { id, actor: "day-driver".to_owned(), delivery: String::new(), time_ms }, Payload::Location(location))
    };
    let started = Instant::now();
    let posting = async {
        let mut accepted = 0;
        for first in (0..PINGS).step_by(usize::try_from(BATCH).expect("small")) {
            let events: Vec<_> = (first..first + BATCH).map(ping).collect();
            let count = events.len();
            let posted = client.post(Bytes::from(encode(&events, Format::Json, 0)), Format::Json, count).await.expect("answered");
            accepted += posted.outcomes.len();
        }
        (accepted, started.elapsed())
    };
    let watching = async {
        let (mut seen, mut backwards, mut last) = (0, 0, i32::MIN);
        // The last ping's place, or quiet for a while.
        while let Ok(Ok(_)) = tokio::time::timeout(Duration::from_secs(2), session.frame()).await {
            for (_, marker) in session.picture().markers() {
                seen += 1;
                backwards += i32::from(marker.lat_e7 < last);
                last = marker.lat_e7;
            }
        }
        (seen, backwards, f64::from(last) / 1e7)
    };
    let ((accepted, took), (seen, backwards, last)) = tokio::join!(posting, watching);
    println!("\n| a day of one driver, pings | seconds | frames with it | moved back | last seen at, sent last | budget |");
    println!("|---|---|---|---|---|---|");
    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    let sent_last = 57.1 + (PINGS - 1) as f64 * 1e-4;
    println!("| {accepted} | {:.3} | {seen} | {backwards} | {last:.4}, {sent_last:.4} | < 2 s, 0 back |", took.as_secs_f64());
    server.kill();
}
