//! The `waypost-sim` command: arguments, the printed report and exit codes. Never does work of its own.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use tokio_util::sync::CancellationToken;

use waypost_sim::check::{Company, Scope};
use waypost_sim::event::Format;
use waypost_sim::faults::FaultOptions;
use waypost_sim::fleet::{self, FleetOptions, RunError};
use waypost_sim::load::{self, LoadOptions};
use waypost_sim::report::{Form, Report};
use waypost_sim::trace::row::Columns;
use waypost_sim::trace::{self, TraceOptions};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Drives fleets, traces and load against a Waypost server, then checks that the server holds what was acknowledged.
///
/// Exit code 0: everything was answered and what was checked is held. 1: something is lost, differs, was not answered or could not be checked.
/// 2: wrong arguments or input.
#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Couriers on the real roads of Gothenburg: whole life cycles of deliveries, live.
    Fleet(FleetArgs),
    /// Plays a recorded trace: CSV (also .gz) with a column mapping, or GPX.
    Trace(TraceArgs),
    /// Measures ingest: pings encoded beforehand, sent as fast as the server answers.
    Load(LoadArgs),
}

#[derive(Args)]
struct Common {
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
    report: Form,
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
struct FleetArgs {
    #[command(flatten)]
    common: Common,
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
struct TraceArgs {
    #[command(flatten)]
    common: Common,
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
struct LoadArgs {
    #[command(flatten)]
    common: Common,
    /// Number of events.
    #[arg(long, default_value_t = 1_000_000, value_name = "N")]
    events: usize,
    /// Events in one request.
    #[arg(long, default_value_t = 100, value_name = "B")]
    batch: usize,
    /// Parallel connections.
    #[arg(long, default_value_t = 16, value_name = "C")]
    connections: usize,
    /// Number of drivers; each moves 12 m a ping.
    #[arg(long, default_value_t = 200_000, value_name = "D")]
    drivers: usize,
    /// Makes event ids; without it every run has new ones.
    #[arg(long)]
    seed: Option<u64>,
    /// Events a second at most; acks are then counted from when a batch was due. Without it: as fast as the server answers.
    #[arg(long, value_name = "R")]
    rate: Option<f64>,
}

impl Common {
    fn scope(&self) -> Scope {
        Scope { sample: self.check, company: if self.alone { Company::Alone } else { Company::Others } }
    }
}

fn not_negative(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|value: &f64| value.is_finite() && *value >= 0.0).ok_or_else(|| "must be 0 or more".to_owned())
}

fn sample(text: &str) -> Result<usize, String> {
    if text == "all" { Ok(usize::MAX) } else { text.parse().map_err(|_not_a_number| "must be a number or `all`".to_owned()) }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let form = match &cli.command {
        Command::Fleet(args) => args.common.report,
        Command::Trace(args) => args.common.report,
        Command::Load(args) => args.common.report,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a machine that can run threads");
    match runtime.block_on(run(cli.command)) {
        Ok(report) => {
            let good = report.is_good();
            // Whoever closed our stdout does not want the report.
            let printed = std::io::stdout().write_all(report.print(form).as_bytes()).is_ok();
            if good && printed { ExitCode::SUCCESS } else { ExitCode::from(1) }
        }
        Err(error) => {
            drop(writeln!(std::io::stderr(), "waypost-sim: {error}"));
            ExitCode::from(2)
        }
    }
}

async fn run(command: Command) -> Result<Report, RunError> {
    match command {
        Command::Fleet(args) => run_fleet(args).await,
        Command::Trace(args) => until_ctrl_c(|shutdown| trace::run(trace_options(args), shutdown)).await,
        Command::Load(args) => load::run(load_options(args)).await,
    }
}

async fn run_fleet(args: FleetArgs) -> Result<Report, RunError> {
    let seconds = |value: f64| Duration::try_from_secs_f64(value).map_err(|error| RunError::Input(format!("{value} seconds: {error}")));
    let check = args.common.scope();
    let options = FleetOptions {
        check_key: args.common.check_key,
        interval: seconds(args.interval)?,
        seed: args.seed,
        speedup: args.speedup,
        duration: if args.seconds == 0.0 { None } else { Some(seconds(args.seconds)?) },
        faults: args.faults,
        connections: args.connections,
        batch: args.batch,
        format: args.common.format,
        obey_hints: args.obey_hints,
        check,
        ..FleetOptions::new(args.common.url, args.common.key, args.drivers)
    };
    until_ctrl_c(|shutdown| fleet::run(options, shutdown)).await
}

/// Ctrl-C ends a run early, and its report tells how far it came; a second one ends the process.
async fn until_ctrl_c<Run: Future<Output = Result<Report, RunError>>>(start: impl FnOnce(CancellationToken) -> Run) -> Result<Report, RunError> {
    let shutdown = CancellationToken::new();
    let run = start(shutdown.clone());
    tokio::pin!(run);
    tokio::select! {
        report = &mut run => return report,
        _ = tokio::signal::ctrl_c() => shutdown.cancel(),
    }
    tokio::select! {
        report = &mut run => report,
        _ = tokio::signal::ctrl_c() => Err(RunError::Input("ended before everything was answered".into())),
    }
}

fn trace_options(args: TraceArgs) -> TraceOptions {
    let check = args.common.scope();
    TraceOptions {
        url: args.common.url,
        key: args.common.key,
        check_key: args.common.check_key,
        file: args.file,
        columns: args.columns,
        speedup: args.speedup,
        limit: args.limit,
        shift_to_now: args.shift_to_now,
        connections: args.connections,
        batch: args.batch,
        format: args.common.format,
        check,
    }
}

fn load_options(args: LoadArgs) -> LoadOptions {
    let check = args.common.scope();
    LoadOptions {
        url: args.common.url,
        key: args.common.key,
        check_key: args.common.check_key,
        events: args.events,
        batch: args.batch,
        format: args.common.format,
        connections: args.connections,
        drivers: args.drivers,
        seed: args.seed.unwrap_or_else(|| waypost_sim::clock::now_ms().unsigned_abs()),
        rate: args.rate.filter(|rate| *rate > 0.0),
        check,
    }
}
