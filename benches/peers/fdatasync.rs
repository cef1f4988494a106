//! How long the disk takes to sync 4 KiB just now: a durable figure says little without it. Never speaks to a system.

use std::fs::File;
use std::io::Write as _;
use std::sync::Mutex;
use std::time::Instant;

/// All that were noted in this run.
static NOTED_MS: Mutex<Vec<f64>> = Mutex::new(Vec::new());

/// The middle of fifty.
pub(crate) fn p50_ms() -> f64 {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut file = File::create(folder.path().join("probe")).expect("a file");
    let mut one = || {
        file.write_all(&[7; 4096]).expect("written");
        let started = Instant::now();
        file.sync_data().expect("synced");
        started.elapsed().as_secs_f64() * 1e3
    };
    let mut all: Vec<f64> = (0..50).map(|_| one()).collect();
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

pub(crate) fn note(all_ms: &[f64]) {
    NOTED_MS.lock().expect("nobody panics with it").extend(all_ms);
}

/// What was noted, in its order.
pub(crate) fn noted_ms() -> Vec<f64> {
    NOTED_MS.lock().expect("nobody panics with it").clone()
}
