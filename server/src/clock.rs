//! The one place that reads time. Folds never do: their time is the log's.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

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
