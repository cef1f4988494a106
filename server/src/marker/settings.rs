//! What can be tuned about markers, with its defaults. Never reads a file (see `config.rs`).

use super::eta::EtaSettings;
use super::link::LinkSettings;
use super::motion::MotionSettings;
use super::significance::Significance;

/// One value for all shards.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MarkerSettings {
    pub significance: Significance,
    pub motion: MotionSettings,
    pub link: LinkSettings,
    pub eta: EtaSettings,
}
