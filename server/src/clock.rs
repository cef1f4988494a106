//! The one place that reads time. Folds never do: their time is the log's.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::model::time::UnixMs;

/// Wall-clock time, or a time that a test sets.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    #[default]
    System,
    Manual(ManualClock),
}

/// A clock that stands still until it is moved.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<AtomicI64>);

impl Clock {
    pub fn now(&self) -> UnixMs {
        match self {
            Self::System => system_now(),
            Self::Manual(clock) => UnixMs(clock.0.load(Ordering::SeqCst)),
        }
    }

    /// Nanoseconds since some moment before: for what must not jump when somebody sets the system's clock.
    pub fn monotonic_ns(&self) -> u64 {
        match self {
            Self::System => monotonic_ns(),
            Self::Manual(clock) => u64::try_from(clock.0.load(Ordering::SeqCst)).unwrap_or(0).saturating_mul(1_000_000),
        }
    }
}

impl ManualClock {
    pub fn new(now: UnixMs) -> Self {
        Self(Arc::new(AtomicI64::new(now.0)))
    }

    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX), Ordering::SeqCst);
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the place that reads the system's clock")]
fn system_now() -> UnixMs {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    UnixMs(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}

fn monotonic_ns() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    // A second past zero: what lies before the start is the past, too.
    u64::try_from(START.get_or_init(Instant::now).elapsed().as_nanos()).unwrap_or(u64::MAX).saturating_add(1_000_000_000)
}
