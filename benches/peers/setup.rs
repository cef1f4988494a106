//! On what a run was made and with what: without it no figure can be judged. Never names who made it or where.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use serde::Serialize;
use waypost_sim::clock;
use waypost_sim::event::rfc3339;

use super::fdatasync;
use super::postgis;
use super::{RESULTS, Sizes};

#[derive(Debug, Serialize)]
pub(crate) struct Setup {
    date: String,
    /// Repeats it.
    command: String,
    build: &'static str,
    cpu: String,
    cores: usize,
    kernel: String,
    memory_gib: f64,
    versions: BTreeMap<&'static str, String>,
    /// Everything else is each system's default.
    settings: BTreeMap<&'static str, String>,
    sizes: Sizes,
    /// The middle of fifty syncs of 4 KiB, before each round of updates.
    fdatasync_p50_ms: Vec<f64>,
}

impl Setup {
    pub(crate) fn of(sizes: &Sizes, redis: Option<String>, postgis: Option<String>) -> Self {
        let mut versions = BTreeMap::from([("waypost", waypost_version())]);
        versions.extend(redis.map(|version| ("redis", version)));
        versions.extend(postgis.map(|version| ("postgis", version)));
        let settings = BTreeMap::from([
            ("redis in memory", "no snapshots, appendonly no".to_owned()),
            ("redis fsync always", "no snapshots, appendonly yes, appendfsync always, no rewrite of the file".to_owned()),
            ("postgis", format!("fsync on, synchronous_commit on, {}", postgis::SETTINGS.join(", "))),
        ]);
        Self {
            date: rfc3339(clock::now_ms()),
            command: command(),
            build: if cfg!(debug_assertions) { "debug" } else { "release" },
            cpu: line_of("/proc/cpuinfo", "model name"),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
            memory_gib: line_of("/proc/meminfo", "MemTotal").split_whitespace().next().and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(0.0)
                / 1_048_576.0,
            versions,
            settings,
            sizes: *sizes,
            fdatasync_p50_ms: fdatasync::noted_ms(),
        }
    }

    fn syncs(&self) -> Option<(f64, f64)> {
        let least = self.fdatasync_p50_ms.iter().copied().reduce(f64::min)?;
        Some((least, self.fdatasync_p50_ms.iter().copied().reduce(f64::max)?))
    }

    /// One sentence for below a picture's title.
    pub(crate) fn short(&self) -> String {
        format!("{}, {} cores.", self.cpu, self.cores)
    }

    /// The same, with what the disk took.
    pub(crate) fn short_with_disk(&self) -> String {
        let syncs = self.syncs().map_or_else(String::new, |(least, most)| format!(" fdatasync p50 {least:.2} to {most:.2} ms."));
        format!("{}{syncs}", self.short())
    }

    pub(crate) fn markdown(&self) -> String {
        let mut out = String::new();
        let mut line = |text: String| writeln!(out, "{text}").expect("memory takes it");
        line(format!("`{}`, {}. Shared machines have moods: ratios inside this run count, not absolutes.\n", self.command, self.date));
        line(format!(
            "- machine: {}, {} cores, {:.0} GiB, Linux {}; server and generator on the same cores",
            self.cpu, self.cores, self.memory_gib, self.kernel
        ));
        if let Some((least, most)) = self.syncs() {
            line(format!("- disk: fdatasync of 4 KiB p50 {least:.2} to {most:.2} ms, before each round of updates"));
        }
        for (name, version) in &self.versions {
            line(format!("- {name} {version}"));
        }
        for (name, setting) in &self.settings {
            line(format!("- {name}: {setting}"));
        }
        if self.build == "debug" {
            line("- a debug build: these figures say nothing".to_owned());
        }
        out
    }
}

/// With what was set beside the defaults.
fn command() -> String {
    let set = std::env::vars().filter(|(name, _)| name.starts_with("WAYPOST_BENCH_") && name != RESULTS);
    let mut set: Vec<String> = set.map(|(name, value)| format!("{name}={value} ")).collect();
    set.sort();
    set.concat() + "make bench-peers"
}

fn line_of(file: &str, name: &str) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    let value = text.lines().find(|line| line.starts_with(name)).and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned());
    value.unwrap_or_else(|| "unknown".to_owned())
}

fn waypost_version() -> String {
    let commit = Command::new("git").args(["rev-parse", "--short", "HEAD"]).current_dir(env!("CARGO_MANIFEST_DIR")).output();
    let commit = commit.ok().filter(|output| output.status.success()).map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    let version = env!("CARGO_PKG_VERSION");
    commit.map_or_else(|| version.to_owned(), |commit| format!("{version} ({commit})"))
}
