//! What does a phone on a slow line see, what does who reads nothing cost the others, and what does coming back after a cut cost? Never judges: the
//! budgets stand beside the figures. `WAYPOST_BENCH_ONLY` (phones, silent or returning) prints one part.

#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]

#[expect(dead_code, reason = "every benchmark uses its part of it")]
mod support;

use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use waypost_sim::client::Target;
use waypost_sim::event::Format;
use waypost_sim::line::Line;
use waypost_sim::live::{LiveError, Session};
use waypost_sim::load::cities::{self, CityOptions};
use waypost_sim::movers::Movers;
use waypost_sim::watch::{self, WatchOptions, WatchReport};
use waypost_sim::wire::{Resume, Source, View};

use support::Server;

/// Each mover speaks so often, and goes that fast.
const PING_EVERY_MS: f64 = 1_000.0;
const SPEED_MPS: f64 = 12.0;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let only = std::env::var("WAYPOST_BENCH_ONLY").unwrap_or_default();
    let wanted = |part: &str| only.is_empty() || only == part;
    if wanted("phones") {
        phones(&runtime);
    }
    if wanted("silent") {
        silent(&runtime);
    }
    if wanted("returning") {
        returning(&runtime);
    }
}

fn writing(server: &Server, movers: Movers, objects: usize, updates_per_s: f64) -> CityOptions {
    CityOptions {
        url: server.url.clone(),
        key: server.key.clone(),
        movers,
        objects,
        updates_per_s,
        duration: None,
        batch: 100.min(objects),
        connections: 4,
        format: Format::Proto,
        seed: waypost_sim::clock::now_ms().unsigned_abs(),
    }
}

fn watching(server: &Server, movers: Movers, sessions: usize, span_deg: f64, seconds: f64) -> WatchOptions {
    WatchOptions {
        url: server.url.clone(),
        key: server.key.clone(),
        sessions,
        span_deg,
        movers,
        pan_every: None,
        duration: Duration::from_secs_f64(seconds),
        seed: 1,
        cut_after: None,
        back_within: Duration::ZERO,
        line: None,
        warm_up: Duration::ZERO,
    }
}

fn start() -> (tempfile::TempDir, Server) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(folder.path(), &[]);
    server.ready();
    (folder, server)
}

/// Writes while `watch` watches, and begins two seconds before.
async fn while_written<T>(writing: CityOptions, watch: impl Future<Output = T>) -> T {
    let enough = CancellationToken::new();
    let watched = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let watched = watch.await;
        enough.cancel();
        watched
    };
    let (wrote, watched) = tokio::join!(cities::run(writing, enough.clone()), watched);
    assert!(wrote.expect("written").is_good());
    watched
}

/// All movers of one city in one view, each speaking once a second.
fn phones(runtime: &Runtime) {
    println!(
        "| line kbit/s | markers in view | out of date at most, p99 ms | ping to frame p50, p99, max ms | bytes/s | frames/s | frames coarsened | ended early | budget |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for (kbit, objects, budget) in [
        (None, 400, ""),
        (Some(50.0), 400, "<= 2,000 ms, not ended"),
        (Some(50.0), 2_000, "coarsened, not ended"),
        (Some(200.0), 2_000, ""),
        (Some(1_000.0), 2_000, ""),
    ] {
        let (_folder, server) = start();
        let movers = Movers::new(1, 0.005, 7).expect("valid settings").at_speed(SPEED_MPS);
        let line = kbit.map(|kbit: f64| Line { bits_per_s: kbit * 1e3, delay: Duration::from_millis(50) });
        // The snapshot of 400 takes some four seconds at 50 kbit/s.
        let warm_up = Duration::from_secs(10);
        let watching = WatchOptions { line, warm_up, ..watching(&server, movers, 1, 0.1, 30.0) };
        let rate = f64::from(u32::try_from(objects).expect("some thousand"));
        let seen: WatchReport = runtime.block_on(while_written(writing(&server, movers, objects, rate), async {
            watch::run(watching, CancellationToken::new()).await.expect("watched")
        }));
        // What is shown was right until the next ping.
        let out_of_date = |age_ms: f64| (age_ms - PING_EVERY_MS).max(0.0);
        println!(
            "| {} | {:.0} of {objects} | {:.0}, {:.0} | {:.0}, {:.0}, {:.0} | {:.0} | {:.1} | {} | {:?} | {budget} |",
            kbit.map_or_else(|| "none".to_owned(), |kbit| format!("{kbit:.0}")),
            seen.markers_held,
            out_of_date(seen.shown_age_max_ms),
            out_of_date(seen.shown_age_p99_ms),
            seen.ping_to_frame_p50_ms,
            seen.ping_to_frame_p99_ms,
            seen.ping_to_frame_max_ms,
            seen.bytes_per_s,
            seen.frames_per_s,
            seen.frames_coarsened,
            seen.closed,
        );
        server.kill();
    }
}

/// Two hundred people who read, without and with a hundred who look at the same and read nothing.
fn silent(runtime: &Runtime) {
    const READERS: usize = 200;
    const SILENT: usize = 100;
    const OBJECTS: usize = 4_000;
    const RATE: f64 = 10_000.0;
    let (_folder, server) = start();
    let movers = Movers::new(4, 0.05, 1).expect("valid settings");
    let watch = || async { watch::run(watching(&server, movers, READERS, 0.05, 10.0), CancellationToken::new()).await.expect("watched") };
    let (without, with, closed, held_mb) = runtime.block_on(while_written(writing(&server, movers, OBJECTS, RATE), async {
        let without = watch().await;
        let before_mb = server.rss_mb();
        let target = Target::new(&server.url, &server.key).expect("an address");
        let mut sockets = Vec::new();
        for index in 0..SILENT {
            let mut session = Session::open(&target).await.expect("opened");
            let centre = movers.centre(index);
            let (west, south, east, north) = (centre.lng - 0.1, centre.lat - 0.05, centre.lng + 0.1, centre.lat + 0.05);
            session.view(View { west, south, east, north, zoom: 14.0, filter: None, view_id: 1 }).await.expect("sent");
            sockets.push(session);
        }
        let since = Instant::now();
        let with = watch().await;
        let held_mb = server.rss_mb() - before_mb;
        tokio::time::sleep(Duration::from_secs(15).saturating_sub(since.elapsed())).await;
        let mut ends = JoinSet::new();
        for mut session in sockets {
            ends.spawn(async move {
                loop {
                    match session.next().await {
                        Ok(_) => {}
                        Err(LiveError::Bye(bye)) => return Some(bye.code),
                        Err(_) => return None,
                    }
                }
            });
        }
        let ends = tokio::time::timeout(Duration::from_secs(5), ends.join_all()).await.unwrap_or_default();
        (without, with, ends.into_iter().filter(|code| *code == Some(5)).count(), held_mb)
    }));
    println!();
    println!("| {READERS} who read, {SILENT} who read nothing | without them | with them | budget |");
    println!("|---|---|---|---|");
    println!(
        "| ping to frame p50, p99 ms | {:.0}, {:.0} | {:.0}, {:.0} ({:+.0} %) | p99 within 20 % |",
        without.ping_to_frame_p50_ms,
        without.ping_to_frame_p99_ms,
        with.ping_to_frame_p50_ms,
        with.ping_to_frame_p99_ms,
        (with.ping_to_frame_p99_ms / without.ping_to_frame_p99_ms - 1.0) * 100.0
    );
    println!("| closed with code 4005 within 15 s | | {closed} of {SILENT} | all |");
    println!("| server's memory for each of them, KB | | {:.0} | <= 1,024 |", held_mb * 1024.0 / 100.0);
    server.kill();
}

/// A view of two thousand, of whom a hundred speak a second.
fn returning(runtime: &Runtime) {
    const OBJECTS: usize = 2_000;
    const RATE: f64 = 100.0;
    println!();
    println!("| cut for s | markers in view | bytes by resume | bytes anew | share |");
    println!("|---|---|---|---|---|");
    let (_folder, server) = start();
    let movers = Movers::new(1, 0.005, 7).expect("valid settings").at_speed(SPEED_MPS);
    runtime.block_on(while_written(writing(&server, movers, OBJECTS, RATE), async {
        let target = Target::new(&server.url, &server.key).expect("an address");
        let centre = movers.centre(0);
        let (west, south, east, north, zoom) = (centre.lng - 0.1, centre.lat - 0.1, centre.lng + 0.1, centre.lat + 0.1, 14.0);
        // Until each has spoken once.
        tokio::time::sleep(Duration::from_secs(22)).await;
        for away_s in [1, 10, 60] {
            let mut session = Session::open(&target).await.expect("opened");
            let epoch = session.next().await.expect("greeted").hello.expect("a hello comes first").epoch;
            let level = session.look(west, south, east, north, zoom).await.expect("told");
            let picture = session.into_picture();
            tokio::time::sleep(Duration::from_secs(away_s)).await;
            let sources = vec![Source { epoch, tick: picture.tick }];
            let view = Some(View { west, south, east, north, zoom, filter: None, view_id: 1 });
            let mut back = Session::open_with(&target, picture).await.expect("opened");
            back.come_back(Resume { sources, view, level: level.h3_resolution }).await.expect("told");
            let by_resume = back.received_bytes();
            let mut anew = Session::open(&target).await.expect("opened");
            anew.look(west, south, east, north, zoom).await.expect("told");
            let held = anew.picture().markers().count();
            let anew = anew.received_bytes();
            println!("| {away_s} | {held} | {by_resume} | {anew} | {:.0} % |", ratio(by_resume, anew) * 100.0);
        }
    }));
    server.kill();
}

fn ratio(part: u64, whole: u64) -> f64 {
    let exact = |bytes| f64::from(u32::try_from(bytes).expect("some megabytes at most"));
    exact(part) / exact(whole)
}
