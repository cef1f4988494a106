//! What single tenants may send, as the settings say it. Counts nothing.

use serde::{Deserialize, Serialize};

use super::{ConfigError, in_range};

/// What one tenant may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantLimit {
    /// In the long run.
    pub events_per_s: u64,
    /// At once, ahead of that.
    pub burst: u64,
}

impl TenantLimit {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        in_range("tenant_limits.events_per_s", self.events_per_s, 1, 1_000_000_000)?;
        in_range("tenant_limits.burst", self.burst, 1, 1 << 40)
    }
}
