//! What can be tuned about markers, with its defaults. Never reads a file (see `config.rs`).

use std::time::Duration;

use super::eta::EtaSettings;
use super::link::LinkSettings;
use super::motion::MotionSettings;
use super::significance::Significance;

/// One value for all shards.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MarkerSettings {
    /// A shard tells the map of changes at most once in this time.
    pub tick: Duration,
    pub significance: Significance,
    pub motion: MotionSettings,
    pub link: LinkSettings,
    pub eta: EtaSettings,
}

impl Default for MarkerSettings {
    fn default() -> Self {
        Self {
            tick: Duration::from_millis(100),
            significance: Significance::default(),
            motion: MotionSettings::default(),
            link: LinkSettings::default(),
            eta: EtaSettings::default(),
        }
    }
}
