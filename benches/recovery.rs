//! How long does a killed server take to be ready again: a million drivers with a delivery each from the checkpoint, and a million events after it?
//!
//! `WAYPOST_BENCH_DRIVERS` and `WAYPOST_BENCH_TAIL` change the size. The budget is 5 s for the million.

#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]

#[expect(dead_code, reason = "every benchmark uses its part of it")]
mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use waypost_sim::clock;
use waypost_sim::event::{Envelope, assigned, created, event, uuid_of};
use waypost_sim::geodesy::Place;
use waypost_sim::wire::Event;

use support::posting::post;
use support::{Server, setting};

const BATCH: usize = 500;
const SETTINGS: [(&str, &str); 2] = [("WAYPOST_ENTITY_LIMIT", "16000000"), ("WAYPOST_CHECKPOINT_INTERVAL_S", "86400")];
const RUNS: usize = 3;

fn main() {
    let (drivers, tail) = (setting("WAYPOST_BENCH_DRIVERS", 1_000_000), setting("WAYPOST_BENCH_TAIL", 1_000_000));
    let folder = tempfile::tempdir().expect("a temporary folder");
    fill(folder.path(), drivers);
    println!("| drivers, deliveries | tail events | ready s | CPU s | level with the log s | RSS MB | budget |");
    println!("|---|---|---|---|---|---|---|");
    // Once from the checkpoint alone, then with the tail, which every later start reads again: no checkpoint is taken before the kill.
    let server = Server::start(folder.path(), &SETTINGS);
    report(&server, drivers, 0, "");
    post(&server, tail, BATCH, pings(drivers, tail));
    server.kill();
    for _ in 0..RUNS {
        let server = Server::start(folder.path(), &SETTINGS);
        report(&server, drivers, tail, "ready < 5 s");
        server.kill();
    }
}

/// A row: when `/readyz` said yes after the process was started, what that cost, and when nothing was behind the log any more.
fn report(server: &Server, drivers: usize, tail: usize, budget: &str) {
    let started = Instant::now();
    let ready = server.ready();
    let cpu_s = server.cpu_s();
    while server.lag() > 0.0 {
        assert!(started.elapsed() < Duration::from_mins(2), "the map did not become level with the log");
        std::thread::sleep(Duration::from_millis(5));
    }
    let level = started.elapsed();
    println!("| {drivers} | {tail} | {:.2} | {cpu_s:.2} | {:.2} | {:.0} | {budget} |", ready.as_secs_f64(), level.as_secs_f64(), server.rss_mb());
}

/// Drivers with a delivery each, in a checkpoint: a clean stop takes one.
fn fill(data: &Path, drivers: usize) {
    let server = Server::start(data, &SETTINGS);
    server.ready();
    let now_ms = clock::now_ms();
    let deliveries = (0..drivers).flat_map(|number| {
        let envelope = |kind: u64| Envelope {
            id: uuid_of(now_ms, kind, number as u64),
            actor: String::new(),
            delivery: format!("delivery-{number:07}"),
            time_ms: now_ms - 60_000 + i64::try_from(kind).unwrap_or(0),
        };
        let stops = (place(number, 0), place(number, 500));
        [event(envelope(1), created(Some(stops.0), Some(stops.1), None)), event(envelope(2), assigned(&format!("driver-{number:07}")))]
    });
    post(&server, 2 * drivers, BATCH, deliveries);
    post(&server, drivers, BATCH, pings(drivers, drivers));
    server.stop();
}

fn place(number: usize, east_m: u32) -> Place {
    #[expect(clippy::cast_precision_loss, reason = "a number of a driver in a benchmark")]
    let at = number as f64;
    Place { lat: 40.0 + at % 997.0 / 997.0, lng: 5.0 + at % 1009.0 / 1009.0 }.moved_m(0.0, f64::from(east_m))
}

fn pings(drivers: usize, events: usize) -> impl Iterator<Item = Event> {
    let (now_ms, seed) = (clock::now_ms(), clock::now_ms().unsigned_abs());
    (0..events).map(move |index| {
        let number = index % drivers;
        let envelope =
            Envelope { id: uuid_of(now_ms, seed, index as u64), actor: format!("driver-{number:07}"), delivery: String::new(), time_ms: now_ms };
        let place = place(number, u32::try_from(seed % 1_000).unwrap_or(0));
        event(envelope, waypost_sim::wire::event::Payload::Location(waypost_sim::event::fix(place)))
    })
}
