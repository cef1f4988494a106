//! What do hints save, and what do watchers lose? The same fleet twice, once without and once with them, while one dashboard looks at the middle of the
//! city. Never judges.
//!
//! `WAYPOST_BENCH_SECONDS` says how long each fleet drives.

#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]

#[expect(dead_code, reason = "every benchmark uses its part of it")]
mod support;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use waypost_sim::client::Target;
use waypost_sim::fleet::{self, FleetOptions};
use waypost_sim::live::Session;

use support::{Server, setting};

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    println!("| couriers | hints | pings sent | spared | moves of watched markers | of one, s between two: p50, p95 | server CPU s |");
    println!("|---|---|---|---|---|---|---|");
    for obey in [false, true] {
        runtime.block_on(drive(obey));
    }
}

async fn drive(obey_hints: bool) {
    const COURIERS: u32 = 1_000;
    let seconds = setting("WAYPOST_BENCH_SECONDS", 60);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(folder.path(), &[]);
    server.ready();
    let base = FleetOptions::new(server.url.clone(), server.key.clone(), COURIERS);
    let duration = Some(Duration::from_secs(seconds as u64));
    let options = FleetOptions { interval: Duration::from_secs(1), batch: 1, connections: 16, obey_hints, duration, ..base };
    let target = Target::new(&server.url, &server.key).expect("an address");
    let cpu_s = server.cpu_s();
    let (report, (moves, mut gaps_ms)) = tokio::join!(fleet::run(options, CancellationToken::new()), watch(&target, seconds));
    let report = report.expect("the fleet drives");
    gaps_ms.sort_unstable();
    let gap_s = |share: usize| gaps_ms.get(gaps_ms.len() * share / 100).map_or(0.0, |ms| f64::from(*ms) / 1e3);
    println!(
        "| {COURIERS} | {} | {} | {} | {moves} | {:.2}, {:.2} | {:.1} |",
        if obey_hints { "obeyed" } else { "ignored" },
        report.sent,
        report.spared,
        gap_s(50),
        gap_s(95),
        server.cpu_s() - cpu_s
    );
    server.kill();
}

/// How often markers in the middle of the city moved, and the times between two moves of the same.
async fn watch(target: &Target, seconds: usize) -> (usize, Vec<u32>) {
    let mut session = Session::open(target).await.expect("a session");
    session.look(11.955, 57.695, 11.985, 57.715, 15.0).await.expect("a view");
    let (mut moves, mut gaps_ms) = (0, Vec::new());
    let mut last: HashMap<u64, ((i32, i32), Instant)> = HashMap::new();
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(seconds as u64) {
        if tokio::time::timeout(Duration::from_secs(1), session.frame()).await.is_err() {
            continue;
        }
        let now = Instant::now();
        let held: HashMap<u64, (i32, i32)> = session.picture().markers().map(|(handle, marker)| (handle, (marker.lat_e7, marker.lng_e7))).collect();
        // Who left the view and comes back later has not stood still meanwhile.
        last.retain(|handle, _| held.contains_key(handle));
        for (handle, place) in held {
            match last.get_mut(&handle) {
                Some((before, at)) if *before != place => {
                    moves += 1;
                    gaps_ms.push(u32::try_from(now.duration_since(*at).as_millis()).unwrap_or(u32::MAX));
                    (*before, *at) = (place, now);
                }
                Some(_) => {}
                None => drop(last.insert(handle, (place, now))),
            }
        }
    }
    (moves, gaps_ms)
}
