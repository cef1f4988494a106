//! The arguments of `waypost-sim`, as clap reads them. Never does work of its own.

pub(crate) mod options;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use waypost_sim::event::Format;
use waypost_sim::faults::FaultOptions;
use waypost_sim::report::Form;
use waypost_sim::trace::row::Columns;

/// Drives fleets, traces, load and watchers against a Waypost server, and checks that the server holds what was acknowledged and shows what it holds.
///
/// Exit code 0: everything was answered and what was checked is held. 1: something is lost, differs, was not answered or could not be checked.
/// 2: wrong arguments or input.
#[derive(Parser)]
#[command(version, about)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Couriers on the real roads of Gothenburg: whole life cycles of deliveries, live.
    Fleet(FleetArgs),
    /// Plays a recorded trace: CSV (also .gz) with a column mapping, or GPX.
    Trace(TraceArgs),
    /// Measures ingest: pings encoded beforehand, sent as fast as the server answers; or movers in cities at a steady rate, for `watch`.
    Load(LoadArgs),
    /// Opens many live sessions whose viewports pan like people, verifies each frame, and tells how old what they see is.
    Watch(WatchArgs),
}

#[derive(Args)]
pub(crate) struct Common {
    /// The server, as http://HOST:PORT.
    #[arg(long, env = "WAYPOST_URL")]
    url: String,
    /// An API key that may ingest.
    #[arg(long, env = "WAYPOST_KEY", hide_env_values = true)]
    key: String,
    /// An API key that may read, for the check at the end, when --key may not.
    #[arg(long, env = "WAYPOST_CHECK_KEY", hide_env_values = true, value_name = "KEY")]
    check_key: Option<String>,
    /// How to print the report.
    #[arg(long, value_enum, default_value_t, value_name = "FORM")]
    pub(crate) report: Form,
    /// How many drivers and deliveries to ask the server for at the end, or `all`; 0 compares nothing. When that is all of them, the list of
    /// deliveries and the live map are compared as well.
    #[arg(long, default_value = "2000", value_name = "N", value_parser = sample)]
    check: usize,
    /// Nothing else is on this server: what it shows beside this run's drivers and deliveries is a difference.
    #[arg(long)]
    alone: bool,
    /// How bodies are written.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Args)]
pub(crate) struct FleetArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Number of couriers.
    #[arg(long, default_value_t = 200, value_name = "N")]
    drivers: u32,
    /// Length of the run in seconds; 0 runs until Ctrl-C.
    #[arg(long, default_value_t = 60.0)]
    seconds: f64,
    /// Seconds between two pings of a courier.
    #[arg(long, default_value_t = 1.0, value_name = "SECONDS")]
    interval: f64,
    /// Equal seeds and flags drive the same fleet.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How much faster than life couriers drive and dwell; event times stay real.
    #[arg(long, default_value_t = 1.0, value_name = "X")]
    speedup: f64,
    /// Parallel connections; one courier always uses the same.
    #[arg(long, default_value_t = 2, value_name = "C")]
    connections: usize,
    /// Most events in one request.
    #[arg(long, default_value_t = 500, value_name = "B")]
    batch: usize,
    /// Couriers send an event a request, as phones do, and keep to when the server wants their next position.
    #[arg(long)]
    obey_hints: bool,
    #[command(flatten)]
    faults: FaultOptions,
}

#[derive(Args)]
pub(crate) struct TraceArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// A .csv or .gpx file, either also with .gz.
    file: PathBuf,
    /// For CSV: HEADER=FIELD,.. with fields actor, time, lat, lng, and optionally trip (0/1), speed (m/s), heading, accuracy, altitude. A trip that
    /// goes from 0 to 1 creates and assigns delivery {actor}-{time}; back to 0 delivers it.
    #[arg(long)]
    columns: Option<Columns>,
    /// Times real time; 0 is as fast as the server takes it.
    #[arg(long, default_value_t = 1.0, value_name = "X", allow_negative_numbers = true, value_parser = not_negative)]
    speedup: f64,
    /// Read only the first rows.
    #[arg(long, value_name = "ROWS")]
    limit: Option<usize>,
    /// Let the first row happen now and compress times by the speed-up, instead of keeping the file's times.
    #[arg(long)]
    shift_to_now: bool,
    /// Parallel connections; one actor always uses the same.
    #[arg(long, default_value_t = 4, value_name = "C")]
    connections: usize,
    /// Most events in one request.
    #[arg(long, default_value_t = 500, value_name = "B")]
    batch: usize,
}

#[derive(Args)]
pub(crate) struct LoadArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// How movers are spread and paced.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) pattern: Pattern,
    /// Even: number of events.
    #[arg(long, default_value_t = 1_000_000, value_name = "N")]
    events: usize,
    /// Events in one request.
    #[arg(long, default_value_t = 100, value_name = "B")]
    batch: usize,
    /// Parallel connections.
    #[arg(long, default_value_t = 16, value_name = "C")]
    connections: usize,
    /// Even: number of drivers; each moves 12 m a ping.
    #[arg(long, default_value_t = 200_000, value_name = "D")]
    drivers: usize,
    /// Even: makes event ids; without it every run has new ones. Cities: where movers are, as `watch --seed` has it (1 without it).
    #[arg(long)]
    seed: Option<u64>,
    /// Even: events a second at most; acks are then counted from when a batch was due. Without it: as fast as the server answers.
    #[arg(long, value_name = "R")]
    rate: Option<f64>,
    /// Cities: number of movers, which go round near the centres of cities at 40 m/s.
    #[arg(long, default_value_t = 20_000, value_name = "N")]
    objects: usize,
    #[command(flatten)]
    spread: Spread,
    /// Cities: pings a second of all movers together.
    #[arg(long, default_value_t = 10_000.0, value_name = "R")]
    updates_per_s: f64,
    /// Cities: length of the run in seconds; 0 runs until Ctrl-C.
    #[arg(long, default_value_t = 30.0, value_name = "S")]
    seconds: f64,
}

/// What `load` writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Pattern {
    /// Drivers all over a continent, encoded beforehand and sent once.
    #[default]
    Even,
    /// Movers around the centres of cities, as of now and at a steady rate.
    Cities,
}

/// Where movers are: writer and watcher have to agree.
#[derive(Args)]
struct Spread {
    /// Number of cities, 1 to 20.
    #[arg(long, default_value_t = 20, value_name = "N")]
    cities: usize,
    /// Standard deviation of the movers' homes around a city's centre, in degrees.
    #[arg(long, default_value_t = 0.05, value_name = "DEG")]
    sigma: f64,
}

#[derive(Args)]
pub(crate) struct WatchArgs {
    /// The server, as http://HOST:PORT.
    #[arg(long, env = "WAYPOST_URL")]
    url: String,
    /// An API key that may watch.
    #[arg(long, env = "WAYPOST_KEY", hide_env_values = true)]
    key: String,
    /// How to print the report.
    #[arg(long, value_enum, default_value_t, value_name = "FORM")]
    pub(crate) report: Form,
    /// Number of live sessions; session number i looks at city i.
    #[arg(long, default_value_t = 100, value_name = "N")]
    sessions: usize,
    /// Width and height of each viewport in degrees.
    #[arg(long, default_value_t = 0.05, value_name = "DEG")]
    span: f64,
    #[command(flatten)]
    spread: Spread,
    /// As of `load --pattern cities`; also what people do with their maps.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Seconds that a person rests between two drags, half to one and a half times; 0 never moves.
    #[arg(long, default_value_t = 10.0, value_name = "S")]
    pan_every: f64,
    /// Length of the run in seconds, from when every session was shown something.
    #[arg(long, default_value_t = 30.0, value_name = "S")]
    seconds: f64,
    /// Cuts all connections after so many seconds; they come back and say what they hold.
    #[arg(long, value_name = "S")]
    cut_after: Option<f64>,
    /// Those that were cut come back spread over so many seconds.
    #[arg(long, default_value_t = 10.0, value_name = "S")]
    back_within: f64,
    /// Each session comes over a line of its own that carries so many thousand bits a second from the server, as a phone's.
    #[arg(long, value_name = "KBIT", value_parser = positive)]
    line_kbit: Option<f64>,
    /// What such a line takes each way, in milliseconds.
    #[arg(long, default_value_t = 50, value_name = "MS", requires = "line_kbit")]
    line_delay_ms: u64,
    /// Seconds from when every session was shown something until it begins to count.
    #[arg(long, default_value_t = 0.0, value_name = "S")]
    warm_up: f64,
}

fn positive(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|value: &f64| value.is_finite() && *value > 0.0).ok_or_else(|| "must be more than 0".to_owned())
}

fn not_negative(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|value: &f64| value.is_finite() && *value >= 0.0).ok_or_else(|| "must be 0 or more".to_owned())
}

fn sample(text: &str) -> Result<usize, String> {
    if text == "all" { Ok(usize::MAX) } else { text.parse().map_err(|_not_a_number| "must be a number or `all`".to_owned()) }
}
