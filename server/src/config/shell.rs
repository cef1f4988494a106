//! The settings of the shell: what is too little or too much of them, and how the log looks. Holds no value.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{Config, ConfigError, in_range};

/// What a line of the log looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    #[default]
    Pretty,
    Json,
}

impl FromStr for LogFormat {
    type Err = UnknownLogFormat;

    fn from_str(text: &str) -> Result<Self, UnknownLogFormat> {
        match text {
            "pretty" => Ok(Self::Pretty),
            "json" => Ok(Self::Json),
            _ => Err(UnknownLogFormat),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a log format is one of pretty, json")]
pub struct UnknownLogFormat;

impl Config {
    /// Every range of what bounds clients.
    pub(super) fn check_shell(&self) -> Result<(), ConfigError> {
        let wide = |value: usize| u64::try_from(value).unwrap_or(u64::MAX);
        in_range("body_timeout_s", self.body_timeout_s, 1, 3600)?;
        in_range("body_min_bytes_per_s", u64::from(self.body_min_bytes_per_s), 1, 1 << 20)?;
        in_range("header_timeout_s", self.header_timeout_s, 1, 3600)?;
        in_range("idle_timeout_s", self.idle_timeout_s, 1, 86_400)?;
        in_range("response_timeout_s", self.response_timeout_s, 1, 3600)?;
        in_range("max_header_bytes", wide(self.max_header_bytes), 1024, 64 << 10)?;
        in_range("max_connections", wide(self.max_connections), 1, 1 << 20)?;
        in_range("max_connections_per_address", wide(self.max_connections_per_address), 1, 1 << 20)?;
        in_range("max_connections_per_credential", wide(self.max_connections_per_credential), 1, 1 << 20)?;
        in_range("max_in_flight_per_credential", wide(self.max_in_flight_per_credential), 1, 1 << 20)?;
        in_range("tls_reload_s", self.tls_reload_s, 1, 86_400)?;
        in_range("tls_handshake_timeout_s", self.tls_handshake_timeout_s, 1, 3600)?;
        in_range("max_handshakes", wide(self.max_handshakes), 1, 1 << 16)?;
        match (&self.tls_cert, &self.tls_key) {
            (Some(_), None) => Err(ConfigError::Pair { given: "tls_cert", missing: "tls_key" }),
            (None, Some(_)) => Err(ConfigError::Pair { given: "tls_key", missing: "tls_cert" }),
            _ => Ok(()),
        }
    }
}
