//! The only reader of wall time in the simulator. Never used by the models, which are told the time.

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch.
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads time")]
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock of this machine stands after 1970");
    i64::try_from(since.as_millis()).expect("milliseconds since 1970 fit an i64 for 292 million years")
}
