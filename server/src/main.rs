//! The `waypost` command: arguments, logging, exit codes. Never does work of its own.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use tokio_util::sync::CancellationToken;
use waypost::app;
use waypost::cli::arguments::{DeadLetters, look_at_dead_letters};
use waypost::clock::Clock;
use waypost::config::shell::LogFormat;
use waypost::config::{Config, Flags};
use waypost::formats::scope::ScopeWords;
use waypost::http::keys::{MAX_NAME_BYTES, NewKey};
use waypost::logging;
use waypost::model::id::TenantId;
use waypost::model::scope::{Area, Scope};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Real-time delivery tracking: durable ingest, live viewports, one binary.
#[derive(Debug, Parser)]
#[command(name = "waypost", version, about, max_term_width = 120)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server until SIGTERM or Ctrl-C
    Serve(Serve),
    /// Run a server with a simulated fleet on the roads of Gothenburg and print the dashboard's address
    Demo(Demo),
    /// Manage API keys; works while a server runs on the same data folder
    #[command(subcommand)]
    Keys(Keys),
    /// Look at the events that a running server refused, and try them again
    #[command(subcommand)]
    DeadLetters(DeadLetters),
}

#[derive(Debug, Args)]
struct Serve {
    /// The data folder; made when absent [default: waypost-data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where to serve HTTP and `WebSockets`; port 0 takes a free one [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Partitions of a log yet to be created [default: 64]
    #[arg(long, value_name = "P")]
    partitions: Option<u16>,
    /// A settings file instead of ./waypost.toml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Quarantine corrupt parts of the log instead of refusing to start
    #[arg(long)]
    repair: bool,
    /// PEM file of a certificate chain: the port speaks TLS. Taken up anew when it changes
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// PEM file of the certificate's private key
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Log lines on stderr for people (pretty) or for programs (json) [default: pretty]
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<LogFormat>,
}

#[derive(Debug, Args)]
struct Demo {
    /// How many couriers drive
    #[arg(long, value_name = "N", default_value_t = 2000)]
    drivers: u32,
    /// Where to serve; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Keep the data here; otherwise in a temporary folder that goes with the demo
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Keys {
    /// Make a key and print it: it is shown this once
    Create(Create),
    /// List the keys, also revoked ones; never their secrets
    List {
        /// The data folder of the server
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
        /// Those of this tenant alone
        #[arg(long)]
        tenant: Option<String>,
    },
    /// Give a key a new secret and print it; the old one is good for nothing at once
    Rotate {
        /// The data folder of the server
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
        /// The key's id: the 16 digits behind `wpk_`
        id: String,
    },
    /// Make a key good for nothing, and close what it opened
    Revoke {
        /// The data folder of the server
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
        /// The key's id: the 16 digits behind `wpk_`
        id: String,
    },
}

#[derive(Debug, Args)]
struct Create {
    /// The data folder of the server
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Whose data the key opens
    #[arg(long)]
    tenant: String,
    /// ingest (post events), dashboard (read and watch), operator (and look after the flow) or admin (all)
    #[arg(long)]
    role: String,
    /// Speaks for and sees this driver alone; may be given several times
    #[arg(long, value_name = "ID")]
    driver: Vec<String>,
    /// Speaks of and sees this delivery alone; may be given several times
    #[arg(long, value_name = "ID")]
    delivery: Vec<String>,
    /// Speaks of and sees this area alone: west,south,east,north in degrees
    #[arg(long, value_name = "BOX", allow_hyphen_values = true)]
    bbox: Option<String>,
    /// What people call the key
    #[arg(long, default_value = "")]
    name: String,
}

impl Create {
    fn new_key(&self) -> anyhow::Result<NewKey> {
        let listed = |ids: &[String]| (!ids.is_empty()).then(|| ids.to_vec());
        let words = ScopeWords { drivers: listed(&self.driver), deliveries: listed(&self.delivery), ..ScopeWords::default() };
        let area = self.bbox.as_deref().map(Area::parse).transpose().context("--bbox")?;
        let scope = words.read().context("--driver or --delivery")?.within(&Scope::new(None, None, area).context("--bbox")?);
        anyhow::ensure!(
            self.name.len() <= MAX_NAME_BYTES && !self.name.chars().any(char::is_control),
            "--name: at most {MAX_NAME_BYTES} bytes, in one line"
        );
        let tenant = TenantId::parse(&self.tenant).context("--tenant")?;
        Ok(NewKey { tenant, role: self.role.parse().context("--role")?, scope, name: self.name.clone() })
    }
}

fn main() -> ExitCode {
    let prepared = Job::prepare(Cli::parse().command);
    let logging = logging::start(prepared.as_ref().map_or(LogFormat::Pretty, Job::log_format));
    keep_pages_small();
    let ended = prepared.and_then(run_to_end);
    if let Err(error) = &ended {
        tracing::error!("{error:#}");
    }
    logging.end();
    if ended.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A command with its settings read: they say what the log looks like.
enum Job {
    Serve(Box<Config>),
    Demo(Demo),
    Keys(Keys),
    DeadLetters(DeadLetters),
}

impl Job {
    fn prepare(command: Command) -> anyhow::Result<Self> {
        let arguments = match command {
            Command::Serve(arguments) => arguments,
            Command::Demo(arguments) => return Ok(Self::Demo(arguments)),
            Command::Keys(keys) => return Ok(Self::Keys(keys)),
            Command::DeadLetters(command) => return Ok(Self::DeadLetters(command)),
        };
        let flags = Flags {
            data: arguments.data,
            listen: arguments.listen,
            partitions: arguments.partitions,
            repair: arguments.repair.then_some(true),
            tls_cert: arguments.tls_cert,
            tls_key: arguments.tls_key,
            log_format: arguments.log_format,
        };
        let config = Config::load(&flags, arguments.config).context("the settings are not valid")?;
        Ok(Self::Serve(Box::new(config)))
    }

    fn log_format(&self) -> LogFormat {
        match self {
            Self::Serve(config) => config.log_format,
            Self::Demo(_) | Self::Keys(_) | Self::DeadLetters(_) => LogFormat::Pretty,
        }
    }
}

/// A huge page (2 MiB) is cleared whole when its first byte is touched: up to a millisecond, for which also the log's thread would stand still when
/// its tables grow. Holds for all threads, so it comes before they start.
fn keep_pages_small() {
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "the system may give huge pages");
    }
}

/// How long threads that block may take at the end: a recovery that nobody waits for any more is given up.
const THREADS_END: Duration = Duration::from_secs(1);

fn run_to_end(job: Job) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Runtime::new().context("the threads cannot be started")?;
    let ended = runtime.block_on(run(job));
    runtime.shutdown_timeout(THREADS_END);
    ended
}

async fn run(job: Job) -> anyhow::Result<()> {
    match job {
        Job::Serve(config) => app::serve(*config, Clock::System, stop_signal()?).await,
        // It holds a server and a fleet: too large to lie in the command's own future.
        Job::Demo(arguments) => Box::pin(app::demo::run(arguments.drivers, arguments.listen, arguments.data, stop_signal()?)).await,
        Job::Keys(Keys::Create(arguments)) => app::keys::create(&arguments.data, &arguments.new_key()?).await,
        Job::Keys(Keys::List { data, tenant }) => {
            let tenant = tenant.map(|tenant| TenantId::parse(&tenant)).transpose().context("--tenant")?;
            app::keys::list(&data, tenant).await
        }
        Job::Keys(Keys::Rotate { data, id }) => app::keys::rotate(&data, &id).await,
        Job::Keys(Keys::Revoke { data, id }) => app::keys::revoke(&data, &id).await,
        Job::DeadLetters(command) => look_at_dead_letters(command).await,
    }
}

/// Cancelled by the first SIGTERM or Ctrl-C.
fn stop_signal() -> anyhow::Result<CancellationToken> {
    use tokio::signal::unix::{SignalKind, signal};
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be watched")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be watched")?;
    let token = stop.clone();
    let watch = async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        token.cancel();
    };
    #[expect(clippy::disallowed_methods, reason = "lives as long as the process and holds nothing")]
    drop(tokio::spawn(watch));
    Ok(stop)
}
