//! The only reader of wall time in the simulator. Never used by the models, which are told the time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch.
pub fn now_ms() -> i64 {
    i64::try_from(since_epoch().as_millis()).expect("milliseconds since 1970 fit an i64 for 292 million years")
}

/// The same with fractions; right to a microsecond.
pub fn now_ms_exact() -> f64 {
    since_epoch().as_secs_f64() * 1e3
}

#[expect(clippy::disallowed_methods, reason = "this is the one place that reads time")]
fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock of this machine stands after 1970")
}
