//! Joins the stages and starts and stops them in order. Only `main` and tests import it.

pub mod demo;
mod flow;
mod flow_watch;
pub mod keys;
mod parked;
mod pressure;
mod sampler;
mod stages;
mod ways_in;

use std::io::Write as _;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context as _;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::config::Config;
use crate::data_dir::DataDir;
use crate::dead_letters::writer::Writer;
use crate::dead_letters::{Bounds, DeadLetters};
use crate::devices::Devices;
use crate::http::accept::{self, Shell};
use crate::http::auth::Auth;
use crate::http::credentials::CredentialState;
use crate::http::dead_letters::DeadLettersState;
use crate::http::descriptors;
use crate::http::devices::DevicesState;
use crate::http::events::EventsState;
use crate::http::jwt::Jwt;
use crate::http::keys::Keys;
use crate::http::live::LiveState;
use crate::http::origins::Origins;
use crate::http::phones::PhonesState;
use crate::http::read::ReadState;
use crate::http::routes::{self, Routed};
use crate::http::searches::Searches;
use crate::http::tls::{Files, Tls};
use crate::live::seats::Seats;
use crate::live::socket::Serving;
use crate::metrics;
use crate::readiness::Readiness;
use flow::Flow;
use stages::{Entrance, Stages, live_settings};

/// Serves until `stop`; the first line on stdout says where.
pub async fn serve(config: Config, clock: Clock, stop: CancellationToken) -> anyhow::Result<()> {
    descriptors::prepare(config.max_connections);
    let server = Server::open(config, clock).await?;
    let listener = server.bind()?;
    announce(&format!("listening on {}://{}", server.scheme(), listener.local_addr()?))?;
    server.run(listener, stop).await
}

/// A server before its port is open: it holds its data folder and knows who may come in. The caller owns the socket, the clock and the stop signal.
#[derive(Debug)]
pub struct Server {
    config: Config,
    clock: Clock,
    data: DataDir,
    auth: Arc<Auth>,
    metrics: Arc<PrometheusHandle>,
    tls: Option<Arc<Tls>>,
    letters: DeadLetters,
    letter_writer: Writer,
}

impl Server {
    /// Locks the data folder and opens the stores of keys and of refused events.
    pub async fn open(config: Config, clock: Clock) -> anyhow::Result<Self> {
        let holder = format!("process {} on {}", std::process::id(), config.listen);
        let data = DataDir::open(&config.data, &holder)?;
        let metrics = Arc::new(metrics::install()?);
        let keys = Keys::open(data.path()).await?;
        if !keys.any().await? {
            tracing::warn!(
                "there is no API key yet, so nobody can post or read; make one: waypost keys create --data {} --tenant NAME --role admin",
                config.data.display()
            );
        }
        let tokens = Jwt::new(&config.jwt, clock.clone())?;
        let auth = Arc::new(Auth::new(keys, clock.clone()).taking(tokens).await?);
        let tls = open_tls(&config)?;
        let max_age = Duration::from_secs(config.dead_letters_max_age_h.saturating_mul(3600));
        let bounds = Bounds { max_bytes: config.dead_letters_max_bytes, max_age };
        let opened = DeadLetters::open(data.path(), bounds, clock.clone()).await;
        let (letters, letter_writer) =
            opened.context("dead_letters.db cannot be opened; the server starts without what it holds when it is moved away")?;
        Ok(Self { config, clock, data, auth, metrics, tls, letters, letter_writer })
    }

    /// How its addresses begin.
    pub fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    pub fn auth(&self) -> &Auth {
        &self.auth
    }

    /// The socket that the settings name.
    pub fn bind(&self) -> anyhow::Result<TcpListener> {
        accept::bind(self.config.listen).with_context(|| format!("cannot listen on {}", self.config.listen))
    }

    /// Serves until `stop` or until a stage fails. The port answers while the log recovers; `/readyz` and 503 tell that it does.
    pub async fn run(self, listener: TcpListener, stop: CancellationToken) -> anyhow::Result<()> {
        let Self { config, clock, data, auth, metrics, tls, letters, letter_writer } = self;
        let (mut keeping, all_kept) = (JoinSet::new(), CancellationToken::new());
        keeping.spawn(letter_writer.run(all_kept.clone()));
        let (mut stages, entrance) = Stages::start(&config, &clock)?;
        let readiness = Arc::new(Readiness::default());
        let events = EventsState { ingest: Arc::new(OnceLock::new()), max_body_bytes: config.max_body_bytes };
        let devices = Arc::new(Devices::open(data.path(), clock.clone()).await?);
        let phone_book = ways_in::phone_book(&config, &devices);
        let reads = reads(&entrance, &readiness);
        let serving = Serving { commands: entrance.commands.clone(), settings: live_settings(&config), clock: clock.clone(), shutdown: stop.clone() };
        let sockets = TaskTracker::new();
        let seats = Seats::new(config.max_sessions_per_key);
        let origins = Origins::new(&config.allowed_origins);
        let live = LiveState {
            auth: Arc::clone(&auth),
            serving,
            sockets: sockets.clone(),
            seats,
            readiness: Arc::clone(&readiness),
            origins: origins.clone(),
        };
        let stream = ways_in::stream(&config, &auth, &events, &live, &clock);
        let router = routes::router(&Routed {
            auth: Arc::clone(&auth),
            credentials: CredentialState { auth: Arc::clone(&auth), clock: clock.clone() },
            events: events.clone(),
            dead_letters: DeadLettersState { letters: letters.clone(), ingest: Arc::clone(&events.ingest) },
            phones: PhonesState { events: events.clone(), phone_book: phone_book.clone(), clock: clock.clone() },
            devices: DevicesState { devices: Arc::clone(&devices) },
            stream,
            reads,
            live,
            origins,
            readiness: Arc::clone(&readiness),
            metrics: Arc::clone(&metrics),
            style_url: config.style_url.clone(),
        });
        let http_done = CancellationToken::new();
        let shell = Shell::new(&config, descriptors::places(), router, tls.clone(), stop.clone());
        let fresh = keep_fresh(tls, Duration::from_secs(config.tls_reload_s), stop.clone());
        let (stopping, done) = (stop.clone(), http_done.clone());
        let kept = letters.clone();
        let (data, config) = (data.path(), &config);
        let flow = Flow { config, clock, data, events, letters: kept, phone_book, readiness, metrics, stop: stopping, http_done: done };
        // A stage that dies early brings the process down: whatever ends the flow stops the shell as well.
        let flowing = async {
            let flowed = flow.run(entrance, &mut stages).await;
            stop.cancel();
            flowed
        };
        let serving = async {
            accept::run(listener, shell, sockets).await;
            http_done.cancel();
        };
        let (flowed, (), (), ()) = tokio::join!(flowing, serving, fresh, Box::pin(auth.watch(stop.clone())));
        flowed?;
        stages.join().await?;
        // Requests and partitions have handed over all that they will.
        all_kept.cancel();
        while let Some(ended) = keeping.join_next().await {
            ended.context("the writer of dead letters panicked")?;
        }
        letters.close().await;
        devices.close().await;
        auth.close().await;
        tracing::info!("stopped");
        Ok(())
    }
}

/// What REST looks into.
fn reads(entrance: &Entrance, readiness: &Arc<Readiness>) -> ReadState {
    ReadState {
        map: Arc::clone(&entrance.map),
        searches: Searches::default(),
        partitions: entrance.partitions.clone().into(),
        shards: entrance.questions.clone().into(),
        progress: Arc::clone(&entrance.progress),
        readiness: Arc::clone(readiness),
    }
}

/// Reads certificate and key when the settings name them.
fn open_tls(config: &Config) -> anyhow::Result<Option<Arc<Tls>>> {
    let (Some(certificate), Some(key)) = (&config.tls_cert, &config.tls_key) else {
        return Ok(None);
    };
    let files = Files { certificate: certificate.clone(), key: key.clone() };
    let opened = Tls::open(files, Duration::from_secs(config.tls_handshake_timeout_s), config.max_handshakes);
    opened.context("TLS cannot be served").map(Some)
}

async fn keep_fresh(tls: Option<Arc<Tls>>, every: Duration, done: CancellationToken) {
    if let Some(tls) = tls {
        tls.keep_fresh(every, done).await;
    }
}

/// Prints one line that scripts read, at once.
fn announce(line: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()?;
    Ok(())
}
