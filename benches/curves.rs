//! How do cost and age grow with drivers, with sessions, with the length of a tick, with the level of detail and with the size of the finest cells? Curves, not
//! budgets: the defaults are picked from them. A whole run of a release build is written to `benches/results` (`curves.md`, `.json` and pictures), any run to the folder in `WAYPOST_BENCH_RESULTS`.
//!
//! Writers, watchers and server share the cores; the server's share is told by itself. `WAYPOST_BENCH_SECONDS` is the length of a point, `WAYPOST_BENCH_ONLY`
//! (drivers, sessions, ticks, levels or resolutions) makes one curve. The size of a cell is built in: `WAYPOST_BENCH_SERVER_R7` and `_R9` are servers that were
//! built with `WAYPOST_BUILD_FINEST=7` and `9` (`make bench-curves` builds them); without them that curve is left out.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark prints its table")]
#![expect(clippy::cast_precision_loss, reason = "counts of at most a million, as places on an axis")]

#[expect(dead_code, reason = "bars are for other benchmarks")]
mod plot;
#[expect(dead_code, reason = "every benchmark uses its part of it")]
mod support;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use waypost_sim::event::Format;
use waypost_sim::load::cities::{self, CityOptions};
use waypost_sim::movers::Movers;
use waypost_sim::watch::{self, WatchOptions};

use plot::lines::{Axis, Lines, Mark, Series, Spread};
use support::{Server, setting};

/// One run.
#[derive(Clone, Copy, Debug)]
struct Point {
    drivers: usize,
    sessions: usize,
    updates_per_s: f64,
    tick_ms: u64,
    span_deg: f64,
    /// H3 resolution of the server's finest cells.
    finest: u8,
}

const USUAL: Point = Point { drivers: 20_000, sessions: 1_000, updates_per_s: 20_000.0, tick_ms: 100, span_deg: 0.05, finest: 8 };

/// What came of it.
#[derive(Clone, Copy, Debug, Serialize)]
struct Measured {
    x: f64,
    server_cores: f64,
    cpu_us_an_update: f64,
    ping_to_frame_p50_ms: f64,
    ping_to_frame_p99_ms: f64,
    ack_p99_ms: f64,
    markers_per_s: f64,
    bytes_a_marker: f64,
    bytes_per_s_a_session: f64,
    rss_mb: f64,
    written_per_s: f64,
    wrong: u64,
}

/// Points that differ in one thing.
#[derive(Debug, Serialize)]
struct Curve {
    name: &'static str,
    x: &'static str,
    fixed: String,
    points: Vec<Measured>,
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let only = std::env::var("WAYPOST_BENCH_ONLY").unwrap_or_default();
    let drivers = [10_000, 30_000, 100_000, 300_000, 1_000_000].map(|drivers| (drivers, Point { drivers, sessions: 100, ..USUAL }));
    let sessions = [10, 100, 300, 1_000, 3_000, 10_000].map(|sessions| (sessions, Point { sessions, updates_per_s: 5_000.0, ..USUAL }));
    let ticks = [50_u32, 100, 200, 350, 500].map(|tick_ms| (tick_ms, Point { tick_ms: tick_ms.into(), updates_per_s: 50_000.0, ..USUAL }));
    // 0.05 degrees are zoom 14; each doubling is one less. The levels change at 13, 10 and 7.
    let spans = [0.05, 0.1, 0.2, 0.8, 1.6, 6.4].map(|span_deg| (span_deg, Point { span_deg, sessions: 200, ..USUAL }));
    // By the mean area of a cell, as H3's table of resolutions has it.
    let resolutions = [(9, 0.105), (8, 0.737), (7, 5.161)].map(|(finest, km2)| (km2, Point { finest, updates_per_s: 50_000.0, ..USUAL }));
    let curves = [
        ("drivers", "drivers", &drivers.map(|(x, point)| (x as f64, point))[..]),
        ("sessions", "sessions", &sessions.map(|(x, point)| (x as f64, point))[..]),
        ("ticks", "length of a tick, ms", &ticks.map(|(x, point)| (f64::from(x), point))[..]),
        ("levels", "width of a viewport, degrees", &spans[..]),
        ("resolutions", "area of the finest cells (r9, r8, r7), km²", &resolutions[..]),
    ];
    let is_built = |points: &[(f64, Point)]| points.iter().all(|(_, point)| binary_of(point.finest).is_some());
    let wanted = curves.into_iter().filter(|(name, ..)| only.is_empty() || only == *name).filter(|(name, _, points)| {
        let built = is_built(points);
        if !built {
            eprintln!("{name}: left out, for WAYPOST_BENCH_SERVER_R7 and _R9 name no servers");
        }
        built
    });
    let measured: Vec<Curve> = wanted.map(|(name, x, points)| curve(&runtime, name, x, points)).collect();
    let folder = std::env::var_os("WAYPOST_BENCH_RESULTS").map(PathBuf::from);
    let whole = only.is_empty() && !cfg!(debug_assertions);
    if let Some(folder) = folder.or_else(|| whole.then(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../benches/results")))) {
        write(&folder, &measured).unwrap_or_else(|error| eprintln!("the results cannot be written to {}: {error}", folder.display()));
    }
}

fn curve(runtime: &Runtime, name: &'static str, x: &'static str, points: &[(f64, Point)]) -> Curve {
    let first = points.first().expect("some").1;
    let fixed = format!(
        "{}{}{} updates/s{}",
        if name == "drivers" { String::new() } else { format!("{} drivers in 20 cities, ", first.drivers) },
        if name == "sessions" { String::new() } else { format!("{} sessions, ", first.sessions) },
        first.updates_per_s,
        if name == "ticks" { String::new() } else { format!(", ticks of {} ms", first.tick_ms) },
    );
    println!("\n{fixed}\n\n{}", head(x));
    let measured = points.iter().map(|(x, point)| {
        let measured = Measured { x: *x, ..measure(runtime, *point) };
        println!("{}", row(&measured));
        measured
    });
    Curve { name, x, fixed, points: measured.collect() }
}

fn head(x: &str) -> String {
    let columns = "server cores | CPU us an update | ping to frame p50, p99 ms | ack p99 ms | markers/s | bytes a marker | KB/s a session | RSS MB | written/s | wrong";
    format!("| {x} | {columns} |\n|---|---|---|---|---|---|---|---|---|---|---|")
}

fn row(of: &Measured) -> String {
    format!(
        "| {} | {:.2} | {:.1} | {:.0}, {:.0} | {:.1} | {:.0} | {:.1} | {:.1} | {:.0} | {:.0} | {} |",
        of.x,
        of.server_cores,
        of.cpu_us_an_update,
        of.ping_to_frame_p50_ms,
        of.ping_to_frame_p99_ms,
        of.ack_p99_ms,
        of.markers_per_s,
        of.bytes_a_marker,
        of.bytes_per_s_a_session / 1e3,
        of.rss_mb,
        of.written_per_s,
        of.wrong
    )
}

/// The server whose finest cells are of this resolution; this build's are of 8.
fn binary_of(finest: u8) -> Option<PathBuf> {
    if finest == USUAL.finest {
        return Some(PathBuf::from(env!("CARGO_BIN_EXE_waypost")));
    }
    std::env::var_os(format!("WAYPOST_BENCH_SERVER_R{finest}")).map(PathBuf::from)
}

fn measure(runtime: &Runtime, point: Point) -> Measured {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let tick_ms = point.tick_ms.to_string();
    let settings = [
        ("WAYPOST_TICK_MS", tick_ms.as_str()),
        ("WAYPOST_MAX_SESSIONS", "20000"),
        ("WAYPOST_MAX_SESSIONS_PER_KEY", "20000"),
        ("WAYPOST_MAX_CONNECTIONS_PER_ADDRESS", "20000"),
    ];
    let server = Server::start_of(&binary_of(point.finest).expect("looked for before"), folder.path(), &settings);
    server.ready();
    let measured = runtime.block_on(seen_while_written(&server, point));
    server.kill();
    measured
}

async fn seen_while_written(server: &Server, point: Point) -> Measured {
    let seconds = setting("WAYPOST_BENCH_SECONDS", 10);
    let movers = Movers::new(20, 0.05, 1).expect("valid settings");
    let writing = CityOptions {
        url: server.url.clone(),
        key: server.key.clone(),
        movers,
        objects: point.drivers,
        updates_per_s: point.updates_per_s,
        duration: None,
        batch: 100,
        connections: 16,
        format: Format::Proto,
        seed: waypost_sim::clock::now_ms().unsigned_abs(),
    };
    let watching = WatchOptions {
        url: server.url.clone(),
        key: server.key.clone(),
        sessions: point.sessions,
        span_deg: point.span_deg,
        movers,
        pan_every: Some(Duration::from_secs(10)),
        duration: Duration::from_secs(seconds as u64),
        seed: 1,
        cut_after: None,
        back_within: Duration::ZERO,
        line: None,
        warm_up: Duration::from_secs(1),
    };
    // Every driver speaks once before anybody looks.
    let all_at = 50_000.0_f64.max(point.updates_per_s);
    let first =
        CityOptions { updates_per_s: all_at, duration: Some(Duration::from_secs_f64(point.drivers as f64 / all_at + 0.5)), ..writing.clone() };
    cities::run(first, CancellationToken::new()).await.expect("written");
    let (ended, tasks) = (CancellationToken::new(), TaskTracker::new());
    let writer = tasks.spawn(cities::run(writing, ended.clone()));
    let watcher = tasks.spawn(watch::run(watching, CancellationToken::new()));
    while tokio::task::block_in_place(|| support::open_sessions(server)) < point.sessions {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let (cpu_s, since) = (server.cpu_s(), Instant::now());
    let seen = watcher.await.expect("it does not panic").expect("watched");
    let server_cores = (server.cpu_s() - cpu_s) / since.elapsed().as_secs_f64();
    let rss_mb = server.rss_mb();
    ended.cancel();
    let wrote = writer.await.expect("it does not panic").expect("written");
    Measured {
        x: 0.0,
        server_cores,
        cpu_us_an_update: server_cores * 1e6 / point.updates_per_s,
        ping_to_frame_p50_ms: seen.ping_to_frame_p50_ms,
        ping_to_frame_p99_ms: seen.ping_to_frame_p99_ms,
        ack_p99_ms: wrote.ack_p99_ms,
        markers_per_s: seen.markers_per_s,
        bytes_a_marker: seen.bytes_per_marker,
        bytes_per_s_a_session: seen.bytes_per_s / point.sessions as f64,
        rss_mb,
        written_per_s: wrote.accepted as f64 / wrote.seconds.max(1e-3),
        wrong: seen.gaps + seen.checksum_errors + seen.closed.values().sum::<u64>(),
    }
}

type Of = fn(&Measured) -> f64;

fn write(folder: &std::path::Path, curves: &[Curve]) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let machine = machine();
    let mut markdown = format!(
        "`make bench-curves`, {}. {machine} Writers and watchers share the cores with the server.\n",
        waypost_sim::event::rfc3339(waypost_sim::clock::now_ms())
    );
    for curve in curves {
        writeln!(markdown, "\n## By {}\n\n{}.\n\n{}", curve.x, curve.fixed, head(curve.x)).expect("memory takes it");
        curve.points.iter().for_each(|point| writeln!(markdown, "{}", row(point)).expect("memory takes it"));
        let by_age: &[(&str, Of)] = &[("p50", |of| of.ping_to_frame_p50_ms), ("p99", |of| of.ping_to_frame_p99_ms)];
        let by_cores: &[(&str, Of)] = &[("server", |of| of.server_cores)];
        let bytes: &[(&str, Of)] = &[("a session", |of| of.bytes_per_s_a_session / 1e3)];
        let budget = Mark { value: 250.0, label: "budget at 50 k updates/s: 250 ms".to_owned() };
        let mut pictures = vec![("cpu", "Cores that the server uses", "cores", by_cores, None)];
        // At levels of counts no place tells its time.
        if curve.name == "levels" {
            pictures.push(("bytes", "Bytes to a session", "KB/s", bytes, None));
        } else {
            pictures.push(("age", "From ping to frame", "ms", by_age, Some(budget)));
        }
        for (kind, title, unit, values, mark) in pictures {
            let spread = if curve.name == "ticks" { Spread::Linear } else { Spread::Log };
            let series = values
                .iter()
                .map(|(name, of)| Series { name: (*name).to_owned(), points: curve.points.iter().map(|point| (point.x, of(point))).collect() });
            let lines = Lines {
                title: format!("{title}, by {}", curve.name),
                note: format!("{}. {machine}", curve.fixed),
                x: Axis { label: curve.x.to_owned(), spread },
                // More sessions than two cores can serve are seconds behind, all others milliseconds.
                y: Axis { label: unit.to_owned(), spread: if (curve.name, kind) == ("sessions", "age") { Spread::Log } else { Spread::Linear } },
                series: series.collect(),
                mark,
            };
            let file = format!("curves-{}-{kind}.svg", curve.name);
            std::fs::write(folder.join(&file), lines.svg())?;
            writeln!(markdown, "\n![{title}, by {}]({file})", curve.name).expect("memory takes it");
        }
    }
    std::fs::write(folder.join("curves.md"), markdown)?;
    std::fs::write(folder.join("curves.json"), serde_json::to_string_pretty(curves).map_err(std::io::Error::other)? + "\n")
}

fn machine() -> String {
    let model = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = model.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map_or("", |(_, name)| name).to_owned();
    format!("{model}, {} cores, {}.", std::thread::available_parallelism().map_or(0, usize::from), env!("CARGO_PKG_VERSION"))
}
