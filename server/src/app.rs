//! Joins the stages and starts and stops them in order. Only `main` and tests import it.

pub mod demo;
mod stages;

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use anyhow::Context as _;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::Config;
use crate::data_dir::DataDir;
use crate::http::accept;
use crate::http::auth::{Auth, Role};
use crate::http::events::EventsState;
use crate::http::keys::Keys;
use crate::http::live::LiveState;
use crate::http::read::ReadState;
use crate::http::routes;
use crate::ingest::{Ingest, Limits};
use crate::live::socket::Serving;
use crate::log::EventLog as _;
use crate::log::dedup::DedupOptions;
use crate::log::wal::{Wal, WalOptions};
use crate::metrics;
use crate::model::id::TenantId;
use crate::track::{clock_keeper, dealer};
use stages::{Entrance, Stages, live_settings};

/// Serves until `stop`. The port is open while the log recovers; `/readyz` and 503 tell that it does.
pub async fn serve(config: Config, repair: bool, clock: Clock, stop: CancellationToken) -> anyhow::Result<()> {
    serve_with(config, repair, clock, stop, |address, _auth| announce(&format!("listening on http://{address}"))).await
}

/// Serves; `started` is told the address as soon as the port is open.
async fn serve_with(
    config: Config,
    repair: bool,
    clock: Clock,
    stop: CancellationToken,
    started: impl FnOnce(SocketAddr, &Arc<Auth>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
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
    let auth = Arc::new(Auth::new(keys, clock.clone()));
    let listener = accept::bind(config.listen).with_context(|| format!("cannot listen on {}", config.listen))?;
    started(listener.local_addr()?, &auth)?;

    let (stages, entrance) = Stages::start(&config, &clock);
    let events = EventsState { auth: Arc::clone(&auth), ingest: Arc::new(OnceLock::new()), max_body_bytes: config.max_body_bytes };
    let reads = ReadState {
        auth: Arc::clone(&auth),
        map: Arc::clone(&entrance.map),
        partitions: entrance.partitions.clone().into(),
        progress: Arc::clone(&entrance.progress),
    };
    let settings = live_settings(&config);
    let serving = Serving { commands: entrance.commands.clone(), settings, clock: clock.clone(), shutdown: stop.clone() };
    let router = routes::router(events.clone(), reads, LiveState { auth: Arc::clone(&auth), serving }, metrics);
    let http = accept::run(listener, router, stop.clone());
    let flow = flow(&config, repair, &clock, data.path(), entrance, &events, stop.clone());
    // A stage that dies early brings the process down: whatever ends the flow stops the shell as well.
    let (flowed, ()) = tokio::join!(
        async {
            let flowed = flow.await;
            stop.cancel();
            flowed
        },
        http
    );
    // Every request has been answered by now: what is left is to let the appender end.
    if let Some(log) = flowed? {
        log.close().await;
    }
    stages.join().await?;
    auth.close().await;
    tracing::info!("stopped");
    Ok(())
}

/// Recovers the log, deals what it holds, opens ingest, and goes on dealing until `stop`.
async fn flow(
    config: &Config,
    repair: bool,
    clock: &Clock,
    data: &Path,
    entrance: Entrance,
    events: &EventsState,
    stop: CancellationToken,
) -> anyhow::Result<Option<Arc<Wal>>> {
    let log = tokio::select! {
        () = stop.cancelled() => return Ok(None),
        log = recover(config, repair, clock.clone(), data) => log?,
    };
    let (dealt, mut newest) = watch::channel(None);
    let reader = log.read(None).context("the log cannot be read")?;
    let dealer = dealer::run(reader, entrance.partitions, Arc::clone(&entrance.progress), dealt, stop.clone());
    let keeper = clock_keeper::run(Arc::clone(&log), entrance.due, clock.clone(), stop.clone());
    let recovered = log.durable();
    let open = async {
        if newest.wait_for(|dealt| *dealt >= recovered).await.is_ok() {
            let limits = Limits { max_events: config.max_events, max_bytes: config.max_body_bytes.saturating_mul(8) };
            drop(events.ingest.set(Ingest::new(Arc::clone(&log), clock.clone(), limits)));
            tracing::info!("ready");
        }
    };
    let (dealt, (), ()) = tokio::join!(dealer, keeper, open);
    dealt.context("the log cannot be read on")?;
    Ok(Some(log))
}

async fn recover(config: &Config, repair: bool, clock: Clock, data: &Path) -> anyhow::Result<Arc<Wal>> {
    let dedup = DedupOptions {
        allowed_lateness_ms: i64::try_from(config.allowed_lateness_s.saturating_mul(1000)).unwrap_or(i64::MAX),
        max_ids: config.dedup_max_ids,
        ..DedupOptions::default()
    };
    let options = WalOptions {
        partitions: config.partitions,
        segment_bytes: config.segment_bytes,
        max_bytes: config.log_max_bytes,
        dedup,
        repair,
        ..WalOptions::default()
    };
    let folder = data.join("wal");
    let open = move || Wal::open(&folder, options, clock);
    tokio::task::spawn_blocking(open).await.context("recovery panicked")?.context("the log cannot be opened")
}

/// Makes a key and prints it: stdout carries the key alone.
pub async fn create_key(data: &Path, tenant: &TenantId, role: Role) -> anyhow::Result<()> {
    std::fs::create_dir_all(data).with_context(|| format!("the data folder {} cannot be made", data.display()))?;
    let keys = Keys::open(data).await?;
    let key = keys.create(tenant, role, &Clock::System).await?;
    keys.close().await;
    announce(&key)
}

/// Prints one line that scripts read, at once.
fn announce(line: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()?;
    Ok(())
}
