//! How much memory does a driver with a delivery take, at a million of them, with all levels of the map? The dedup window counts apart. Judges nothing.
//!
//! Workload: ids of 36 bytes (`UUID` text), two stops, a promise and no attributes a delivery, assigned to its driver, whose pings have all fields of a
//! location and move it. First the real server, by its resident memory; then its stages one after the other in this process, each the same work again with
//! one more stage that keeps what it is told. `WAYPOST_BENCH_PAIRS` changes the size; `WAYPOST_BENCH_ONLY` is `server` or `stages`.

#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]

#[path = "memory/stages.rs"]
mod stages;
#[expect(dead_code, reason = "every benchmark uses its part of it")]
mod support;
#[path = "memory/workload.rs"]
mod workload;

use std::time::{Duration, Instant};

use support::posting::post;
use support::{Server, setting};
use waypost_sim::wire::Event;

/// As the server has it, so that what this process uses is what the server would.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BATCH: usize = 500;
const AT_A_TIME: usize = 500_000;
/// Few enough that the window is full before the measure is taken, and grows no more.
const DEDUP_IDS: &str = "65536";
const SETTINGS: [(&str, &str); 3] =
    [("WAYPOST_ENTITY_LIMIT", "16000000"), ("WAYPOST_CHECKPOINT_INTERVAL_S", "86400"), ("WAYPOST_DEDUP_MAX_IDS", DEDUP_IDS)];
/// Events of a few drivers by which the server's buffers, its ring of blocks and the dedup window are full before the measure is taken.
const WARM_UP_EVENTS: usize = 1_000_000;
const WARM_UP_DRIVERS: usize = 1_000;
const LEVEL_WITHIN: Duration = Duration::from_mins(2);

fn main() {
    // As the server has it: of a huge page all counts that lies beside what is used.
    rustix::thread::disable_transparent_huge_pages(true).expect("Linux can do without");
    let pairs = setting("WAYPOST_BENCH_PAIRS", 1_000_000);
    let only = std::env::var("WAYPOST_BENCH_ONLY").unwrap_or_default();
    println!("| pairs | what is counted | bytes a pair | budget |");
    println!("|---|---|---|---|");
    if only != "stages" {
        let server = of_server(pairs);
        println!("| {pairs} | the server, dedup window apart | {:.0} | <= 600 |", server.bytes_a_pair);
        println!("| {pairs} | dedup window, were all its {:.0} ids kept | {:.0} | |", server.events, server.dedup_bytes_a_pair);
    }
    if only != "server" {
        for (name, bytes) in stages::bytes_a_pair(pairs) {
            println!("| {pairs} | {name} | {bytes:.0} | |");
        }
    }
}

struct OfServer {
    bytes_a_pair: f64,
    events: f64,
    dedup_bytes_a_pair: f64,
}

#[expect(clippy::cast_precision_loss, reason = "counts of a benchmark")]
fn of_server(pairs: usize) -> OfServer {
    /// With the room that tables keep free, see `log/dedup/ids.rs`.
    const BYTES_AN_ID: f64 = 64.0;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(folder.path(), &SETTINGS);
    fill(&server, WARM_UP_EVENTS, workload::pings(WARM_UP_DRIVERS, WARM_UP_EVENTS, "warm"));
    let before_mb = settled_mb(&server);
    let events = workload::EVENTS_A_PAIR * pairs;
    fill(&server, events, workload::events(pairs));
    let grown_mb = settled_mb(&server) - before_mb;
    server.kill();
    let (pairs, events) = (pairs as f64, events as f64);
    OfServer { bytes_a_pair: grown_mb * 1024.0 * 1024.0 / pairs, events, dedup_bytes_a_pair: events * BYTES_AN_ID / pairs }
}

/// Posts all of these, and lets the map follow now and then: a server that is far behind lets pings go.
fn fill(server: &Server, events: usize, mut all: impl Iterator<Item = Event>) {
    for from in (0..events).step_by(AT_A_TIME) {
        let count = AT_A_TIME.min(events - from);
        let some: Vec<Event> = all.by_ref().take(count).collect();
        post(server, count, BATCH, some.into_iter());
        settled_mb(server);
    }
}

/// Resident memory once the map is level with the log and nothing changes any more.
fn settled_mb(server: &Server) -> f64 {
    let started = Instant::now();
    let mut before = f64::INFINITY;
    loop {
        std::thread::sleep(Duration::from_secs(2));
        let now = server.rss_mb();
        if server.lag() == 0.0 && (now - before).abs() < 0.5 {
            return now;
        }
        assert!(started.elapsed() < LEVEL_WITHIN, "the map did not become level with the log");
        before = now;
    }
}
