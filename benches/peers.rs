//! How does Waypost do beside Redis and `PostGIS`: position updates, viewport queries, and what live viewers cost? Each is started here, on a free port and in a
//! folder of its own; the systems take turns, and what counts are ratios inside the run. Never judges, and skips a peer that is not here with a line that says why.
//!
//! `WAYPOST_BENCH_EVENTS` (updates a turn), `_DRIVERS`, `_OBJECTS`, `_SECONDS` (of a turn of queries), `_ROUNDS`, `_WATCHERS` and `_RATE` (of the live part) change
//! the sizes. `WAYPOST_BENCH_ONLY` (updates, viewports or live) prints one part. A whole run of a release build is written to `benches/results`, any run to the
//! folder in `WAYPOST_BENCH_RESULTS`.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark prints its table")]

#[path = "peers/fdatasync.rs"]
mod fdatasync;
#[path = "peers/fleet.rs"]
mod fleet;
#[path = "peers/live.rs"]
mod live;
#[expect(dead_code, reason = "curves are for other benchmarks")]
mod plot;
#[path = "peers/polling.rs"]
mod polling;
#[path = "peers/postgis.rs"]
mod postgis;
#[path = "peers/process.rs"]
mod process;
#[path = "peers/redis.rs"]
mod redis;
#[path = "peers/report.rs"]
mod report;
#[path = "peers/setup.rs"]
mod setup;
#[expect(dead_code, reason = "every benchmark uses its part of it")]
mod support;
#[path = "peers/systems.rs"]
mod systems;
#[path = "peers/turns.rs"]
mod turns;
#[path = "peers/updates.rs"]
mod updates;
#[path = "peers/viewports.rs"]
mod viewports;
#[path = "peers/waypost.rs"]
mod waypost;
#[path = "peers/wire.rs"]
mod wire;

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use report::{Report, Section};
use setup::Setup;
use support::setting;

/// How much is measured.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Sizes {
    pub(crate) drivers: usize,
    /// Updates of a batched turn.
    pub(crate) events: usize,
    /// Of the larger of the two maps.
    pub(crate) objects: usize,
    pub(crate) rounds: usize,
    /// Of a turn of queries.
    pub(crate) seconds: f64,
    pub(crate) watchers: usize,
    pub(crate) movers: usize,
    pub(crate) updates_per_s: usize,
    /// Of a turn of the live part.
    pub(crate) live_seconds: f64,
}

impl Sizes {
    fn from_environment() -> Self {
        #[expect(clippy::cast_precision_loss, reason = "seconds")]
        let seconds = setting("WAYPOST_BENCH_SECONDS", 2) as f64;
        Self {
            drivers: setting("WAYPOST_BENCH_DRIVERS", 200_000),
            events: setting("WAYPOST_BENCH_EVENTS", 300_000),
            objects: setting("WAYPOST_BENCH_OBJECTS", 1_000_000),
            rounds: setting("WAYPOST_BENCH_ROUNDS", 5).max(1),
            seconds,
            watchers: setting("WAYPOST_BENCH_WATCHERS", 1_000),
            movers: setting("WAYPOST_BENCH_MOVERS", 20_000),
            updates_per_s: setting("WAYPOST_BENCH_RATE", 20_000),
            live_seconds: (5.0 * seconds).max(2.0),
        }
    }

    pub(crate) fn live_duration(self) -> Duration {
        Duration::from_secs_f64(self.live_seconds)
    }

    /// Between two pings of one mover.
    #[expect(clippy::cast_precision_loss, reason = "milliseconds between pings")]
    pub(crate) fn interval_ms(self) -> f64 {
        self.movers as f64 * 1e3 / self.updates_per_s as f64
    }
}

pub(crate) const RESULTS: &str = "WAYPOST_BENCH_RESULTS";

fn main() {
    let sizes = Sizes::from_environment();
    let only = std::env::var("WAYPOST_BENCH_ONLY").unwrap_or_default();
    let wanted = |part: &str| only.is_empty() || only == part;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let (mut sections, mut live) = (Vec::new(), None);
    if wanted("updates") {
        sections.extend(shown(runtime.block_on(updates::measure(&sizes)).expect("every update is taken")));
    }
    if wanted("viewports") {
        sections.extend(shown(runtime.block_on(viewports::measure(&sizes)).expect("all find the same")));
    }
    if wanted("live") {
        let measured = runtime.block_on(live::measure(&sizes)).expect("everybody sees something");
        println!("{}", measured.markdown());
        live = Some(measured);
    }
    let postgis = runtime.block_on(postgis::Postgis::start()).map(|postgis| postgis.version.clone()).ok();
    let report = Report { setup: Setup::of(&sizes, redis::Redis::version(), postgis), sections, live };
    let folder = std::env::var_os(RESULTS).map(PathBuf::from);
    let kept = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../benches/results");
    let folder = folder.or_else(|| (only.is_empty() && !cfg!(debug_assertions)).then_some(kept));
    let Some(folder) = folder else {
        eprintln!("# a part alone, or of a debug build, is not kept: {RESULTS}=FOLDER does");
        return;
    };
    report.write(&folder).expect("the results are written");
    eprintln!("# written to {}", folder.display());
}

fn shown(sections: Vec<Section>) -> Vec<Section> {
    for section in &sections {
        println!("{}", section.markdown());
    }
    sections
}
