//! What do hints save, and what do watchers lose? The same fleet twice, once without and once with them, while one dashboard looks at the middle of the
//! city. Never judges.
//!
//! `WAYPOST_BENCH_SECONDS` says how long each fleet drives; the watcher looks on from the start and counts from 20 s on.

#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]

#[expect(dead_code, reason = "every benchmark uses its part of it")]
mod support;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use waypost_sim::client::Target;
use waypost_sim::fleet::{self, FleetOptions};
use waypost_sim::frame::Marker;
use waypost_sim::geodesy::Place;
use waypost_sim::live::Session;

use support::{Server, setting};

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    println!("| couriers | hints | pings sent | spared | moves of watched markers | m at a move: p50, p95, p99 | server CPU s |");
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
    let (report, mut steps_m) = tokio::join!(fleet::run(options, CancellationToken::new()), watch(&target, seconds));
    let report = report.expect("the fleet drives");
    steps_m.sort_by(f64::total_cmp);
    let quantile = |share: usize| steps_m.get(steps_m.len() * share / 100).copied().unwrap_or(0.0);
    println!(
        "| {COURIERS} | {} | {} | {} | {} | {:.1}, {:.1}, {:.1} | {:.1} |",
        if obey_hints { "obeyed" } else { "ignored" },
        report.sent,
        report.spared,
        steps_m.len(),
        quantile(50),
        quantile(95),
        quantile(99),
        server.cpu_s() - cpu_s
    );
    server.kill();
}

/// How far markers in the middle of the city went at each move: the fresher they are shown, the shorter their steps. What is shorter than a phone is
/// exact says nothing.
async fn watch(target: &Target, seconds: usize) -> Vec<f64> {
    const EXACT_M: f64 = 5.0;
    /// Until then who was told before anybody watched may keep to that.
    const SETTLED: Duration = Duration::from_secs(20);
    let mut session = Session::open(target).await.expect("a session");
    session.look(11.955, 57.695, 11.985, 57.715, 15.0).await.expect("a view");
    let mut steps_m = Vec::new();
    let mut last: HashMap<u64, Place> = HashMap::new();
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(seconds as u64) {
        if tokio::time::timeout(Duration::from_secs(1), session.frame()).await.is_err() {
            continue;
        }
        let degrees = |e7: i32| f64::from(e7) / 1e7;
        let place = |marker: &Marker| Place { lat: degrees(marker.lat_e7), lng: degrees(marker.lng_e7) };
        let held: HashMap<u64, Place> = session.picture().markers().map(|(handle, marker)| (handle, place(marker))).collect();
        // Who left the view and comes back later has not jumped.
        last.retain(|handle, _| held.contains_key(handle));
        for (handle, place) in held {
            let went_m = last.insert(handle, place).map_or(0.0, |before| before.distance_m(place));
            if went_m >= EXACT_M && started.elapsed() >= SETTLED {
                steps_m.push(went_m);
            }
        }
    }
    steps_m
}
