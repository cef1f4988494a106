//! Joins the stages and starts and stops them in order. Only `main` and tests import it.

pub mod demo;
mod stages;

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::{mpsc, watch};
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
use crate::log::block::BlockNumber;
use crate::log::dedup::DedupOptions;
use crate::log::wal::{Wal, WalOptions};
use crate::metrics;
use crate::model::id::TenantId;
use crate::progress::{Progress, Stage};
use crate::track::checkpoint::{CheckpointStore, Recovered};
use crate::track::coordinator::{self, Schedule};
use crate::track::{self, clock_keeper, dealer};
use stages::{Entrance, Stages, live_settings};

/// How long a stop waits for the facts to be level with the log; what is missing is dealt at the next start.
const LEVEL_WAIT: Duration = Duration::from_secs(1);

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

    let (mut stages, entrance) = Stages::start(&config, &clock);
    let ready = Arc::new(AtomicBool::new(false));
    let events = EventsState { auth: Arc::clone(&auth), ingest: Arc::new(OnceLock::new()), max_body_bytes: config.max_body_bytes };
    let read_state = ReadState {
        auth: Arc::clone(&auth),
        map: Arc::clone(&entrance.map),
        partitions: entrance.partitions.clone().into(),
        progress: Arc::clone(&entrance.progress),
        ready: Arc::clone(&ready),
    };
    let settings = live_settings(&config);
    let serving = Serving { commands: entrance.commands.clone(), settings, clock: clock.clone(), shutdown: stop.clone() };
    let live = LiveState { auth: Arc::clone(&auth), serving, ready: Arc::clone(&ready) };
    let router = routes::router(events.clone(), read_state, live, metrics);
    let http_done = CancellationToken::new();
    let flow = Flow { config: &config, repair, clock, data: data.path(), events, ready, stop: stop.clone(), http_done: http_done.clone() };
    // A stage that dies early brings the process down: whatever ends the flow stops the shell as well.
    let flowing = async {
        let flowed = flow.run(entrance, &mut stages).await;
        stop.cancel();
        flowed
    };
    let serving = async {
        accept::run(listener, router, stop.clone()).await;
        http_done.cancel();
    };
    let (flowed, ()) = tokio::join!(flowing, serving);
    flowed?;
    stages.join().await?;
    auth.close().await;
    tracing::info!("stopped");
    Ok(())
}

/// From the log to the partitions, and the way back down.
struct Flow<'a> {
    config: &'a Config,
    repair: bool,
    clock: Clock,
    data: &'a Path,
    events: EventsState,
    ready: Arc<AtomicBool>,
    stop: CancellationToken,
    /// Every request has been answered: nothing more will be appended.
    http_done: CancellationToken,
}

impl Flow<'_> {
    /// Recovers the log and the newest checkpoint, deals what came after it, opens ingest, and goes on until the shell has stopped.
    async fn run(self, mut entrance: Entrance, stages: &mut Stages) -> anyhow::Result<()> {
        let opened = tokio::select! {
            () = self.stop.cancelled() => return Ok(()),
            opened = recover(self.config, self.repair, self.clock.clone(), self.data) => opened?,
        };
        let (log, store, recovered) = opened;
        let progress = Arc::clone(&entrance.progress);
        for state in &recovered.states {
            if let Some(applied) = state.applied() {
                progress.set_durable(state.partition(), applied);
            }
        }
        stages.start_partitions(recovered.states, &mut entrance);
        let reader = log.read(recovered.after).context("the log cannot be read")?;
        let (barriers, barrier_requests) = mpsc::channel(1);
        let (newest, dealt) = watch::channel(None);
        let dealing = dealer::run(reader, recovered.after, entrance.partitions, barrier_requests, Arc::clone(&progress), newest);
        let dealer = async {
            let ended = dealing.await;
            self.stop.cancel();
            ended
        };
        let keeper = clock_keeper::run(Arc::clone(&log), entrance.due_times, self.clock.clone(), self.stop.clone());
        let schedule = Schedule { interval: Duration::from_secs(self.config.checkpoint_interval_s), ..Schedule::default() };
        let last_checkpoint = CancellationToken::new();
        let coordinator = coordinator::run(store, recovered.after, barriers, Arc::clone(&log), schedule, last_checkpoint.clone());
        let (dealt, (), (), (), ()) =
            tokio::join!(dealer, keeper, coordinator, self.open(&log, &progress, dealt), self.close(&log, &progress, &last_checkpoint));
        dealt.context("the log cannot be read on")
    }

    /// Ingest, reads and live views open when all that was durable at the start has been dealt and is on the map: a part of the map would look
    /// like the whole.
    async fn open(&self, log: &Arc<Wal>, progress: &Progress, mut dealt: watch::Receiver<Option<BlockNumber>>) {
        let recovered = log.durable();
        let on_the_map = async {
            dealt.wait_for(|dealt| *dealt >= recovered).await.ok()?;
            progress.level(Stage::Mapped).await;
            Some(())
        };
        tokio::select! {
            () = self.stop.cancelled() => return,
            reached = on_the_map => if reached.is_none() { return },
        }
        let limits = Limits { max_events: self.config.max_events, max_bytes: self.config.max_body_bytes.saturating_mul(8) };
        drop(self.events.ingest.set(Ingest::new(Arc::clone(log), self.clock.clone(), limits)));
        self.ready.store(true, Ordering::Release);
        tracing::info!("ready");
    }

    /// In this order: no more requests, the log's last block, the facts level with it, a last checkpoint.
    async fn close(&self, log: &Arc<Wal>, progress: &Progress, last_checkpoint: &CancellationToken) {
        self.http_done.cancelled().await;
        log.close().await;
        let deadline = tokio::time::Instant::now() + LEVEL_WAIT;
        while progress.lag(Stage::Tracked) > 0 && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        last_checkpoint.cancel();
    }
}

type Opened = (Arc<Wal>, CheckpointStore, Recovered);

async fn recover(config: &Config, repair: bool, clock: Clock, data: &Path) -> anyhow::Result<Opened> {
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
    let (wal, checkpoints, partitions) = (data.join("wal"), data.join("checkpoints"), config.partitions);
    let entities = track::roster::Limits::share(config.entity_limit, partitions);
    let open = move || -> anyhow::Result<Opened> {
        let log = Wal::open(&wal, options, clock).context("the log cannot be opened")?;
        let store = CheckpointStore::open(checkpoints, partitions).context("the checkpoints cannot be opened")?;
        let recovered = store.load(entities).context("the checkpoints cannot be read")?;
        Ok((log, store, recovered))
    };
    tokio::task::spawn_blocking(open).await.context("recovery panicked")?
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
