//! What becomes of a device that no table lists, as the settings say it. Knows no device.

use serde::{Deserialize, Serialize};

/// What a device is that no table lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnlistedDevices {
    /// Its own driver.
    #[default]
    Open,
    /// Refused, as the app's protocol does it.
    Strict,
}
