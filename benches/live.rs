//! What does it cost to show a thousand people what moves, how old is what they see, and what is a storm of reconnects to those who write? Never judges:
//! the budgets stand beside the figures.
//!
//! Movers go round near the centres of twenty cities; viewports of 0.05 degrees pan like people. Writers, watchers and server share the cores; the
//! server's share is told by itself. `WAYPOST_BENCH_SECONDS`, `_SESSIONS` and `_STORM` change the sizes, `WAYPOST_BENCH_ONLY` (crowds, lone, unseen or storm)
//! prints one part.

#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]

#[expect(dead_code, reason = "every benchmark uses its part of it")]
mod support;

use std::time::Duration;

use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use waypost_sim::event::Format;
use waypost_sim::load::cities::{self, CityOptions};
use waypost_sim::movers::Movers;
use waypost_sim::report::Report;
use waypost_sim::watch::{self, WatchOptions, WatchReport};

use support::{Server, open_sessions, setting};

const CITIES: usize = 20;
const SIGMA_DEG: f64 = 0.05;
/// What the server may open, for all sessions of a storm.
const SETTINGS: [(&str, &str); 3] =
    [("WAYPOST_MAX_SESSIONS", "20000"), ("WAYPOST_MAX_SESSIONS_PER_KEY", "20000"), ("WAYPOST_MAX_CONNECTIONS_PER_ADDRESS", "20000")];

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let only = std::env::var("WAYPOST_BENCH_ONLY").unwrap_or_default();
    for (name, part) in [("crowds", crowds as fn(&Runtime)), ("lone", lone_ping), ("unseen", unseen), ("storm", storm)] {
        if only.is_empty() || only == name {
            part(&runtime);
        }
    }
}

fn movers() -> Movers {
    Movers::new(CITIES, SIGMA_DEG, 1).expect("valid settings")
}

fn writing(server: &Server, movers: Movers, objects: usize, updates_per_s: f64, seconds: f64) -> CityOptions {
    let seed = waypost_sim::clock::now_ms().unsigned_abs();
    CityOptions {
        url: server.url.clone(),
        key: server.key.clone(),
        movers,
        objects,
        updates_per_s,
        duration: Some(Duration::from_secs_f64(seconds)),
        batch: 100.min(objects),
        connections: 16,
        format: Format::Proto,
        seed,
    }
}

fn watching(server: &Server, movers: Movers, sessions: usize, seconds: f64) -> WatchOptions {
    WatchOptions {
        url: server.url.clone(),
        key: server.key.clone(),
        sessions,
        span_deg: 0.05,
        movers,
        pan_every: Some(Duration::from_secs(10)),
        duration: Duration::from_secs_f64(seconds),
        seed: 1,
        cut_after: None,
        back_within: Duration::from_secs(10),
        line: None,
        warm_up: Duration::ZERO,
    }
}

/// What was seen, what was written, and the server's cores meanwhile.
struct Outcome {
    seen: WatchReport,
    wrote: Report,
    cores: f64,
    rss_mb: f64,
}

/// Writers go before and after the watchers, so that these see the rate from their first moment to the last.
fn run(runtime: &Runtime, server: &Server, writing: CityOptions, watching: WatchOptions) -> Outcome {
    const HEAD_START: Duration = Duration::from_secs(2);
    runtime.block_on(async {
        let (ended, tasks) = (CancellationToken::new(), TaskTracker::new());
        let writer = tasks.spawn(cities::run(CityOptions { duration: None, ..writing }, ended.clone()));
        tokio::time::sleep(HEAD_START).await;
        let sessions = watching.sessions;
        let watcher = tasks.spawn(watch::run(watching, CancellationToken::new()));
        while tokio::task::block_in_place(|| open_sessions(server)) < sessions {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let (cpu_s, since) = (server.cpu_s(), std::time::Instant::now());
        let seen = watcher.await.expect("it does not panic").expect("watched");
        let cores = (server.cpu_s() - cpu_s) / since.elapsed().as_secs_f64();
        let rss_mb = server.rss_mb();
        ended.cancel();
        let wrote = writer.await.expect("it does not panic").expect("written");
        Outcome { seen, wrote, cores, rss_mb }
    })
}

/// More and more updates, until what people see is older than the budget allows.
fn crowds(runtime: &Runtime) {
    let sessions = setting("WAYPOST_BENCH_SESSIONS", 1_000);
    let seconds = f64::from(u32::try_from(setting("WAYPOST_BENCH_SECONDS", 15)).expect("a number of seconds"));
    println!(
        "| {sessions} viewports over 20 k movers: updates/s | written/s | markers/s | ping to frame p50, p99, max ms | bytes a marker | server cores | ack p99 ms | view answered p50, p99 ms | RSS MB | times behind | gaps, checksum errors (verified) | budget |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|");
    for (rate, budget) in [
        (50_000.0, "p99 <= 250 ms, <= 1.5 cores, <= 24 bytes"),
        (100_000.0, "the goal: p99 <= 250 ms"),
        (125_000.0, ""),
        (150_000.0, ""),
        (200_000.0, ""),
    ] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let server = Server::start(folder.path(), &SETTINGS);
        server.ready();
        let Outcome { seen, wrote, cores, rss_mb } =
            run(runtime, &server, writing(&server, movers(), 20_000, rate, seconds), watching(&server, movers(), sessions, seconds));
        println!(
            "| {rate:.0} | {:.0} | {:.0} | {:.0}, {:.0}, {:.0} | {:.1} | {cores:.2} | {:.1} | {:.0}, {:.0} | {rss_mb:.0} | {} | {}, {} ({}) | {budget} |",
            wrote.events_per_s,
            seen.markers_per_s,
            seen.ping_to_frame_p50_ms,
            seen.ping_to_frame_p99_ms,
            seen.ping_to_frame_max_ms,
            seen.bytes_per_marker,
            wrote.ack_p99_ms,
            seen.view_answer_p50_ms,
            seen.view_answer_p99_ms,
            seen.times_behind,
            seen.gaps,
            seen.checksum_errors,
            seen.checksums_verified,
        );
        server.kill();
        if seen.ping_to_frame_p99_ms > 500.0 {
            break;
        }
    }
}

/// One mover, one watcher, nothing else: each ping is alone, from when it is due at its writer to the frame.
fn lone_ping(runtime: &Runtime) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(folder.path(), &SETTINGS);
    server.ready();
    let movers = Movers::new(1, 0.0, 1).expect("valid settings");
    // So many that one in a hundred is several of them, and none within a tick of another.
    let still = WatchOptions { pan_every: None, warm_up: Duration::from_secs(2), ..watching(&server, movers, 1, 100.0) };
    let Outcome { seen, .. } = run(runtime, &server, writing(&server, movers, 1, 5.0, 0.0), still);
    println!();
    println!(
        "a lone ping, {} of them: frame after {:.1} ms p50, {:.1} ms p99, {:.1} ms at most (budget: <= 5 ms p99)",
        seen.ping_to_frame_samples, seen.ping_to_frame_p50_ms, seen.ping_to_frame_p99_ms, seen.ping_to_frame_max_ms
    );
    server.kill();
}

/// The same updates with nobody there, and with people who look at other cities.
fn unseen(runtime: &Runtime) {
    const RATE: f64 = 50_000.0;
    println!();
    println!("| 50 k updates/s, watchers who see none of them | server CPU us an update |");
    println!("|---|---|");
    let here = Movers::new(10, SIGMA_DEG, 1).expect("valid settings");
    let elsewhere = here.from_city(10);
    for sessions in [0, 10, 100, 1_000, 5_000] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let server = Server::start(folder.path(), &SETTINGS);
        server.ready();
        let cores = if sessions == 0 {
            runtime.block_on(cities::run(writing(&server, here, 20_000, RATE, 2.0), CancellationToken::new())).expect("written");
            let (cpu_s, since) = (server.cpu_s(), std::time::Instant::now());
            runtime.block_on(cities::run(writing(&server, here, 20_000, RATE, 10.0), CancellationToken::new())).expect("written");
            (server.cpu_s() - cpu_s) / since.elapsed().as_secs_f64()
        } else {
            let still = WatchOptions { pan_every: None, ..watching(&server, elsewhere, sessions, 10.0) };
            run(runtime, &server, writing(&server, here, 20_000, RATE, 0.0), still).cores
        };
        println!("| {sessions} | {:.2} |", cores * 1e6 / RATE);
        server.kill();
    }
}

/// Everybody is cut at once and comes back within ten seconds, while others write.
fn storm(runtime: &Runtime) {
    const RATE: f64 = 10_000.0;
    const CALM_S: f64 = 12.0;
    const STORM_S: f64 = 14.0;
    let sessions = setting("WAYPOST_BENCH_STORM", 10_000);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(folder.path(), &SETTINGS);
    server.ready();
    let overflows = listen_overflows();
    let (seen, calm, stormy, peak_mb) = runtime.block_on(async {
        let cut_after = Some(Duration::from_secs_f64(CALM_S));
        let options = WatchOptions { cut_after, pan_every: Some(Duration::from_secs(30)), ..watching(&server, movers(), sessions, CALM_S + STORM_S) };
        let write = |seconds| cities::run(writing(&server, movers(), 20_000, RATE, seconds), CancellationToken::new());
        write(2.0).await.expect("written");
        let watcher = TaskTracker::new().spawn(watch::run(options, CancellationToken::new()));
        while tokio::task::block_in_place(|| open_sessions(&server)) < sessions {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let calm = write(CALM_S - 1.5).await.expect("written");
        tokio::time::sleep(Duration::from_secs(1)).await;
        let stormy = write(STORM_S - 2.0).await.expect("written");
        let peak_mb = server.peak_mb();
        (watcher.await.expect("it does not panic").expect("watched"), calm, stormy, peak_mb)
    });
    println!();
    println!("| {sessions} sessions cut at once, back within 10 s | value | budget |");
    println!("|---|---|---|");
    println!("| came back | {} | {sessions} |", seen.reconnects);
    println!(
        "| from wish to first frame p50, p99, max ms | {:.0}, {:.0}, {:.0} | |",
        seen.reconnected_p50_ms, seen.reconnected_p99_ms, seen.reconnected_max_ms
    );
    println!("| bytes of it | {:.0} | |", seen.bytes_per_reconnect);
    println!(
        "| ack p99 ms before, during | {:.1}, {:.1} ({:.2} times) | <= 3 times |",
        calm.ack_p99_ms,
        stormy.ack_p99_ms,
        stormy.ack_p99_ms / calm.ack_p99_ms
    );
    println!("| listen overflows | {} | 0 |", listen_overflows() - overflows);
    println!("| peak RSS MB | {peak_mb:.0} | < 500 |");
    println!("| gaps, checksum errors, ended early | {}, {}, {:?} | 0 |", seen.gaps, seen.checksum_errors, seen.closed);
    server.kill();
}

/// Connections that the kernel dropped because a backlog was full, of the whole machine since its start.
fn listen_overflows() -> u64 {
    let text = std::fs::read_to_string("/proc/net/netstat").unwrap_or_default();
    let mut rows = text.lines().filter(|line| line.starts_with("TcpExt:"));
    let (Some(names), Some(values)) = (rows.next(), rows.next()) else { return 0 };
    let found = names.split(' ').zip(values.split(' ')).find(|(name, _)| *name == "ListenOverflows");
    found.and_then(|(_, value)| value.parse().ok()).unwrap_or(0)
}
