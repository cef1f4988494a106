//! Every setting with its default: flags over `WAYPOST_*` over `waypost.toml` over what stands here. Reads files once, at start.

pub mod devices;
pub mod jwt;
pub mod limits;
pub mod shell;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::model::speed::SpeedUnit;
use devices::UnlistedDevices;
use jwt::JwtIssuer;
use limits::TenantLimit;
use shell::LogFormat;

/// The settings of one node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The data folder; made when absent, locked while in use.
    pub data: PathBuf,
    /// Where HTTP and `WebSockets` are served. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Partitions of a log that is yet to be created, 1 to 4096. An existing log keeps its own; another number is an error.
    pub partitions: u16,
    /// Marker shards: single-writer tasks that join facts into markers, 1 to 64.
    pub marker_shards: usize,
    /// Length of a tick of the live stage, 10 to 5000 ms.
    pub tick_ms: u64,
    /// Events of one request.
    pub max_events: usize,
    /// Bytes of one request's body, as sent.
    pub max_body_bytes: usize,
    /// Events a second of one driver, in the long run; 0: as many as its tenant's.
    pub driver_events_per_s: u64,
    /// Events of one driver that may come at once ahead of that, so that a day without a network is uploaded in one go.
    pub driver_burst: u64,
    /// Events a second of a tenant that has no entry in `tenant_limits`, in the long run; 0: as many as the node takes.
    pub tenant_events_per_s: u64,
    /// Events of such a tenant that may come at once ahead of that.
    pub tenant_burst: u64,
    /// Limits of single tenants, by name: `[tenant_limits.acme]` with `events_per_s` and `burst`.
    pub tenant_limits: BTreeMap<String, TenantLimit>,
    /// From this lag of the map behind the log on events are let go, at 2, 4 and 8 times as much more of them; 0: never for that reason.
    pub shed_lag_s: u64,
    /// Likewise from this time that an append takes on.
    pub shed_append_ms: u64,
    /// Memory of the process at 85, 90, 95 and 98 % of which events are let go; 0: four fifths of what the machine or its container has.
    pub memory_limit_mb: u64,
    /// How long a client may take over one request's body.
    pub body_timeout_s: u64,
    /// The least a request's body may come with, over all of it and after 5 s.
    pub body_min_bytes_per_s: u32,
    /// How long a client may take over a request's head, and over its first on a new connection.
    pub header_timeout_s: u64,
    /// How long a connection may rest between two requests.
    pub idle_timeout_s: u64,
    /// How long a client may take over the next 64 KiB of an answer.
    pub response_timeout_s: u64,
    /// Bytes of a request's head; it has at most 100 headers.
    pub max_header_bytes: usize,
    /// Open connections, `WebSockets` among them. Fewer where the limit of open files allows no more.
    pub max_connections: usize,
    /// Open connections from one address; all of an IPv6 /64 are one, for a single host has as many. Behind a proxy all come from one.
    pub max_connections_per_address: usize,
    /// Open connections that present one credential.
    pub max_connections_per_credential: usize,
    /// Requests under way that present one credential.
    pub max_in_flight_per_credential: usize,
    /// PEM file of the certificate chain, the server's own first; with `tls_key` the port speaks TLS.
    pub tls_cert: Option<PathBuf>,
    /// PEM file of the certificate's private key.
    pub tls_key: Option<PathBuf>,
    /// How often the files of certificate and key are looked at; they are also taken up at a SIGHUP.
    pub tls_reload_s: u64,
    /// How long a client may take over its TLS handshake; `header_timeout_s` holds for it as well.
    pub tls_handshake_timeout_s: u64,
    /// TLS handshakes under way; who comes beyond waits for its turn within its time.
    pub max_handshakes: usize,
    /// Log lines for people, or JSON for programs. `WAYPOST_LOG` sets what is logged.
    pub log_format: LogFormat,
    /// Quarantine corrupt parts of the log instead of refusing to start.
    pub repair: bool,
    /// Bytes of one segment of the log.
    pub segment_bytes: u64,
    /// The log keeps at most this much once a checkpoint covers it.
    pub log_max_bytes: u64,
    /// The log keeps a segment this long once a checkpoint covers it.
    pub log_max_age_h: u64,
    /// Time between two checkpoints.
    pub checkpoint_interval_s: u64,
    /// Event ids kept to tell a duplicate, over all partitions.
    pub dedup_max_ids: usize,
    /// How far behind the newest event one may be and still count everywhere.
    pub allowed_lateness_s: u64,
    /// Bytes of refused events that are kept, of all tenants together, 4 MiB to 1 TiB. Beyond it the oldest go of the tenant that holds the most.
    pub dead_letters_max_bytes: u64,
    /// A refused event is kept this long, 1 hour to 10 years.
    pub dead_letters_max_age_h: u64,
    /// Live drivers and deliveries of one tenant.
    pub entity_limit: u64,
    /// Live sessions of one tenant on this node.
    pub max_sessions: usize,
    /// Live sessions of one key on this node.
    pub max_sessions_per_key: usize,
    /// View changes of one live session each second; what comes faster waits, and a newer one replaces it. 1 to 1000.
    pub view_changes_per_s: u32,
    /// Bytes of one message to the server on a live session.
    pub max_message_bytes: usize,
    /// Origins, `https://shop.example`, whose pages may use this server from a browser, besides its own; `*` is any. At most 100.
    pub allowed_origins: Vec<String>,
    /// Those whose tokens (JWT) are taken besides keys, at most 16.
    pub jwt: Vec<JwtIssuer>,
    /// The unit of the speeds that `/v1/in/osmand` is sent, unless a request names its own: knots, mps or kmh.
    pub osmand_speed_unit: SpeedUnit,
    /// Whether a device that no table lists is its own driver (`open`) or refused (`strict`).
    pub devices: UnlistedDevices,
    /// Batches of one ingest connection that may wait for their acknowledgement; beyond that the server reads no further. 1 to 1024.
    pub max_unacked_batches: usize,
    /// Ingest connections of one key on this node.
    pub max_streams_per_key: usize,
    /// A `MapLibre` style for the dashboard instead of the built-in offline map.
    pub style_url: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data: PathBuf::from("waypost-data"),
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            partitions: 64,
            marker_shards: 2,
            tick_ms: 100,
            max_events: 1000,
            max_body_bytes: 1 << 20,
            driver_events_per_s: 10,
            driver_burst: 10_000,
            tenant_events_per_s: 0,
            tenant_burst: 1_000_000,
            tenant_limits: BTreeMap::new(),
            shed_lag_s: 10,
            shed_append_ms: 500,
            memory_limit_mb: 0,
            body_timeout_s: 60,
            body_min_bytes_per_s: 256,
            header_timeout_s: 10,
            idle_timeout_s: 75,
            response_timeout_s: 30,
            max_header_bytes: 16 << 10,
            max_connections: 16_384,
            max_connections_per_address: 10_240,
            max_connections_per_credential: 10_240,
            max_in_flight_per_credential: 1024,
            tls_cert: None,
            tls_key: None,
            tls_reload_s: 10,
            tls_handshake_timeout_s: 10,
            max_handshakes: 512,
            log_format: LogFormat::Pretty,
            repair: false,
            segment_bytes: 64 << 20,
            log_max_bytes: 8 << 30,
            log_max_age_h: 72,
            checkpoint_interval_s: 60,
            dedup_max_ids: 8 << 20,
            allowed_lateness_s: 600,
            dead_letters_max_bytes: 256 << 20,
            dead_letters_max_age_h: 14 * 24,
            entity_limit: 1_000_000,
            max_sessions: 10_000,
            max_sessions_per_key: 10_000,
            view_changes_per_s: 20,
            max_message_bytes: 16 << 10,
            allowed_origins: Vec::new(),
            jwt: Vec::new(),
            osmand_speed_unit: SpeedUnit::Knots,
            devices: UnlistedDevices::Open,
            max_unacked_batches: 8,
            max_streams_per_key: 10_000,
            style_url: None,
        }
    }
}

/// What the command line overrides; absent leaves the lower layers.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Flags {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partitions: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repair: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_cert: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_key: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_format: Option<LogFormat>,
}

#[derive(Debug, Error)]
pub enum ConfigError {
    #[error("{0}")]
    Read(Box<figment::Error>),
    #[error("`{name}` must be from {min} to {max}, not {value}")]
    Range { name: &'static str, min: u64, max: u64, value: u64 },
    #[error("`{name}`: {reason}")]
    Invalid { name: &'static str, reason: String },
    #[error("`{given}` is given without `{missing}`: TLS needs both")]
    Pair { given: &'static str, missing: &'static str },
}

impl Config {
    /// Layers the settings; `file` is `waypost.toml` in the working folder unless named.
    pub fn load(flags: &Flags, file: Option<PathBuf>) -> Result<Self, ConfigError> {
        let file = match file {
            Some(named) => Toml::file_exact(named),
            None => Toml::file("waypost.toml"),
        };
        let config: Self = Figment::from(Serialized::defaults(Self::default()))
            .merge(file)
            .merge(Env::prefixed("WAYPOST_").filter(|name| is_setting(name.as_str())))
            .merge(Serialized::defaults(flags))
            .extract()
            .map_err(|error| ConfigError::Read(Box::new(error)))?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let wide = |value: usize| u64::try_from(value).unwrap_or(u64::MAX);
        in_range("partitions", u64::from(self.partitions), 1, 4096)?;
        in_range("marker_shards", wide(self.marker_shards), 1, 64)?;
        in_range("tick_ms", self.tick_ms, 10, 5000)?;
        in_range("max_events", wide(self.max_events), 1, 100_000)?;
        in_range("max_body_bytes", wide(self.max_body_bytes), 1024, 1 << 30)?;
        self.check_shell()?;
        in_range("driver_events_per_s", self.driver_events_per_s, 0, 1_000_000)?;
        in_range("driver_burst", self.driver_burst, 1, 1 << 30)?;
        in_range("tenant_events_per_s", self.tenant_events_per_s, 0, 1_000_000_000)?;
        in_range("tenant_burst", self.tenant_burst, 1, 1 << 40)?;
        self.tenant_limits.values().try_for_each(TenantLimit::check)?;
        in_range("shed_lag_s", self.shed_lag_s, 0, 86_400)?;
        in_range("shed_append_ms", self.shed_append_ms, 0, 3_600_000)?;
        in_range("segment_bytes", self.segment_bytes, 1 << 20, 4 << 30)?;
        in_range("checkpoint_interval_s", self.checkpoint_interval_s, 1, 86_400)?;
        in_range("dedup_max_ids", wide(self.dedup_max_ids), 1024, 1 << 30)?;
        in_range("dead_letters_max_bytes", self.dead_letters_max_bytes, 4 << 20, 1 << 40)?;
        in_range("dead_letters_max_age_h", self.dead_letters_max_age_h, 1, 87_600)?;
        in_range("entity_limit", self.entity_limit, 1, 1 << 32)?;
        in_range("max_sessions", wide(self.max_sessions), 1, 1 << 20)?;
        in_range("max_sessions_per_key", wide(self.max_sessions_per_key), 1, 1 << 20)?;
        in_range("view_changes_per_s", u64::from(self.view_changes_per_s), 1, 1000)?;
        in_range("max_message_bytes", wide(self.max_message_bytes), 256, 1 << 20)?;
        in_range("allowed_origins", wide(self.allowed_origins.len()), 0, 100)?;
        in_range("jwt", wide(self.jwt.len()), 0, 16)?;
        self.jwt.iter().try_for_each(JwtIssuer::check)?;
        self.allowed_origins.iter().try_for_each(|origin| is_origin(origin))?;
        in_range("max_unacked_batches", wide(self.max_unacked_batches), 1, 1024)?;
        in_range("max_streams_per_key", wide(self.max_streams_per_key), 1, 1 << 20)
    }
}

/// Other variables of the same prefix are not ours to judge: `WAYPOST_LOG` sets what is logged, and a script may have its own.
fn is_setting(name: &str) -> bool {
    let names = serde_json::to_value(Config::default()).ok();
    names.and_then(|names| names.as_object().map(|names| names.keys().any(|known| known.eq_ignore_ascii_case(name)))).unwrap_or(false)
}

fn in_range(name: &'static str, value: u64, min: u64, max: u64) -> Result<(), ConfigError> {
    if (min..=max).contains(&value) { Ok(()) } else { Err(ConfigError::Range { name, min, max, value }) }
}

/// Scheme and host, as a browser names a page's origin: no path, no slash at the end.
fn is_origin(text: &str) -> Result<(), ConfigError> {
    let authority = ["https://", "http://"].into_iter().find_map(|scheme| text.strip_prefix(scheme));
    let good = |authority: &str| !authority.is_empty() && authority.bytes().all(|byte| byte.is_ascii_graphic() && !b"/?#@".contains(&byte));
    if text == "*" || authority.is_some_and(good) {
        return Ok(());
    }
    Err(ConfigError::Invalid { name: "allowed_origins", reason: format!("{text} is no origin such as https://shop.example") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_win_over_the_file_and_the_file_over_the_defaults() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("w.toml");
        std::fs::write(&file, "partitions = 8\ntick_ms = 50\n").expect("written");
        let flags = Flags { partitions: Some(16), ..Flags::default() };
        let config = Config::load(&flags, Some(file)).expect("loads");
        assert_eq!((config.partitions, config.tick_ms, config.marker_shards), (16, 50, 2));
    }

    #[test]
    fn a_setting_of_few_words_takes_those_and_no_other() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("w.toml");
        std::fs::write(&file, "osmand_speed_unit = \"kmh\"\ndevices = \"strict\"\n").expect("written");
        let config = Config::load(&Flags::default(), Some(file.clone())).expect("loads");
        assert_eq!((config.osmand_speed_unit, config.devices), (SpeedUnit::Kmh, UnlistedDevices::Strict));
        std::fs::write(&file, "osmand_speed_unit = \"mph\"\n").expect("written");
        let error = Config::load(&Flags::default(), Some(file)).expect_err("refused").to_string();
        assert!(error.contains("osmand_speed_unit") && error.contains("knots"), "{error}");
    }

    #[test]
    fn a_variable_of_our_prefix_that_is_no_setting_is_left_alone() {
        assert!(is_setting("tick_ms") && is_setting("DATA"));
        assert!(!is_setting("log") && !is_setting("url"));
    }

    #[test]
    fn a_setting_that_is_unknown_or_out_of_range_is_named() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("w.toml");
        for (text, name) in [
            ("tick_mss = 50", "tick_mss"),
            ("tls_cert = 'x'", "tls_key"),
            ("log_format = 'x'", "log_format"),
            ("tick_ms = 1", "tick_ms"),
            ("partitions = 0", "partitions"),
            ("allowed_origins = ['https://a.b/']", "allowed_origins"),
            ("dead_letters_max_bytes = 9", "dead_letters_max_bytes"),
        ] {
            std::fs::write(&file, text).expect("written");
            let error = Config::load(&Flags::default(), Some(file.clone())).expect_err("refused").to_string();
            assert!(error.contains(name), "{error}");
        }
    }
}
