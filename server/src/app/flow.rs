//! From the log to the partitions, and the way back down: recovery, the opening of ingest, the order of a stop. Handles no request.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::parked;
use super::pressure::Thresholds;
use super::sampler::{self, Sampler};
use super::stages::{Entrance, Stages};
use crate::attention::Attention;
use crate::clock::Clock;
use crate::config::Config;
use crate::dead_letters::DeadLetters;
use crate::devices::phone_book::PhoneBook;
use crate::http::events::EventsState;
use crate::ingest::Ingest;
use crate::ingest::limits::Limits;
use crate::ingest::rate::Rate;
use crate::log::EventLog as _;
use crate::log::block::BlockNumber;
use crate::log::dedup::DedupOptions;
use crate::log::wal::{Wal, WalOptions};
use crate::model::id::TenantId;
use crate::progress::{Progress, Stage};
use crate::readiness::{Lag, Readiness, Recovery, State};
use crate::track::checkpoint::{CheckpointStore, Recovered};
use crate::track::coordinator::{self, Schedule};
use crate::track::{clock_keeper, dealer, roster};

/// How long a stop waits for the facts to be level with the log; what is missing is dealt at the next start.
const LEVEL_WAIT: Duration = Duration::from_secs(1);

pub(super) struct Flow<'a> {
    pub(super) config: &'a Config,
    pub(super) clock: Clock,
    pub(super) data: &'a Path,
    pub(super) events: EventsState,
    pub(super) letters: DeadLetters,
    pub(super) phone_book: PhoneBook,
    pub(super) readiness: Arc<Readiness>,
    pub(super) metrics: Arc<PrometheusHandle>,
    pub(super) stop: CancellationToken,
    /// Every request has been answered: nothing more will be appended.
    pub(super) http_done: CancellationToken,
}

impl Flow<'_> {
    /// Recovers the log and the newest checkpoint, deals what came after it, opens ingest, and goes on until the shell has stopped.
    pub(super) async fn run(self, mut entrance: Entrance, stages: &mut Stages) -> anyhow::Result<()> {
        let opened = tokio::select! {
            () = self.stop.cancelled() => return Ok(()),
            opened = self.recover() => opened?,
        };
        let (log, store, mut recovered) = opened;
        parked::retry(&self.letters, &mut recovered.states).await;
        let progress = Arc::clone(&entrance.progress);
        for state in &recovered.states {
            if let Some(applied) = state.applied() {
                progress.set_durable(state.partition(), applied);
            }
        }
        stages.start_partitions(recovered.states, &mut entrance, &self.letters);
        let reader = log.read(recovered.after).context("the log cannot be read")?;
        let (barriers, barrier_requests) = mpsc::channel(1);
        let (newest, dealt) = watch::channel(recovered.after);
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
        let sampler = self.sampler(&log, &progress, dealt.clone());
        let opening = self.open(&log, &progress, &entrance.attention, recovered.after, dealt);
        let closing = self.close(&log, &progress, &last_checkpoint);
        let (dealt, (), (), (), (), ()) = tokio::join!(dealer, keeper, coordinator, opening, sampler::run(sampler, last_checkpoint.clone()), closing);
        dealt.context("the log cannot be read on")
    }

    fn sampler(&self, log: &Arc<Wal>, progress: &Arc<Progress>, dealt: watch::Receiver<Option<BlockNumber>>) -> Sampler {
        Sampler {
            log: Arc::clone(log),
            progress: Arc::clone(progress),
            dealt,
            ingest: Arc::clone(&self.events.ingest),
            readiness: Arc::clone(&self.readiness),
            clock: self.clock.clone(),
            metrics: Arc::clone(&self.metrics),
            thresholds: Thresholds::of(self.config),
        }
    }

    /// Ingest, reads and live views open when all that was durable at the start has been dealt and is on the map: a part of the map would look
    /// like the whole.
    async fn open(
        &self,
        log: &Arc<Wal>,
        progress: &Progress,
        attention: &Arc<Attention>,
        after: Option<BlockNumber>,
        mut dealt: watch::Receiver<Option<BlockNumber>>,
    ) {
        let recovered = log.durable();
        let blocks = |until: Option<BlockNumber>| until.map_or(0, |until| until.0).saturating_sub(after.map_or(0, |after| after.0));
        loop {
            let now = *dealt.borrow_and_update();
            if now >= recovered {
                break;
            }
            self.readiness.set(State::Recovering(Recovery::Replay { blocks_done: blocks(now), blocks_total: blocks(recovered) }));
            tokio::select! {
                () = self.stop.cancelled() => return,
                changed = dealt.changed() => if changed.is_err() { return },
            }
        }
        tokio::select! {
            () = self.stop.cancelled() => return,
            () = progress.level(Stage::Mapped) => {}
        }
        let limits = limits(self.config);
        let ingest = Ingest::new(Arc::clone(log), self.clock.clone(), limits, Arc::clone(attention));
        let ingest = ingest.keeping(self.letters.clone()).knowing(self.phone_book.clone());
        drop(self.events.ingest.set(ingest));
        self.readiness.set(State::Ready(Lag::default()));
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

    async fn recover(&self) -> anyhow::Result<Opened> {
        let options = wal_options(self.config);
        let (wal, checkpoints, partitions) = (self.data.join("wal"), self.data.join("checkpoints"), self.config.partitions);
        let entities = roster::Limits::share(self.config.entity_limit, partitions);
        let (clock, readiness) = (self.clock.clone(), Arc::clone(&self.readiness));
        let load = move || -> anyhow::Result<(CheckpointStore, Recovered)> {
            let store = CheckpointStore::open(checkpoints, partitions).context("the checkpoints cannot be opened")?;
            let recovered = store.load(entities).context("the checkpoints cannot be read")?;
            Ok((store, recovered))
        };
        // Neither needs the other, and a start is waited for.
        let open = move || -> anyhow::Result<Opened> {
            std::thread::scope(|scope| {
                let loading = scope.spawn(load);
                let log = Wal::open(&wal, options, clock).context("the log cannot be opened")?;
                readiness.set(State::Recovering(Recovery::Checkpoint));
                let (store, recovered) = loading.join().map_err(|_panic| anyhow::anyhow!("reading the checkpoints panicked"))??;
                Ok((log, store, recovered))
            })
        };
        tokio::task::spawn_blocking(open).await.context("recovery panicked")?
    }
}

type Opened = (Arc<Wal>, CheckpointStore, Recovered);

fn limits(config: &Config) -> Limits {
    let rate = |per_s, burst| (per_s > 0).then(|| Rate::new(per_s, burst));
    // Of a name that no tenant can have there is nothing to limit.
    let own = config.tenant_limits.iter().filter_map(|(name, limit)| Some((TenantId::parse(name).ok()?, Rate::new(limit.events_per_s, limit.burst))));
    Limits {
        driver: rate(config.driver_events_per_s, config.driver_burst),
        tenant: rate(config.tenant_events_per_s, config.tenant_burst),
        tenants: own.collect(),
        ..Limits::of_requests(config.max_events, config.max_body_bytes.saturating_mul(8))
    }
}

fn wal_options(config: &Config) -> WalOptions {
    let dedup = DedupOptions {
        allowed_lateness_ms: i64::try_from(config.allowed_lateness_s.saturating_mul(1000)).unwrap_or(i64::MAX),
        max_ids: config.dedup_max_ids,
        ..DedupOptions::default()
    };
    WalOptions {
        partitions: config.partitions,
        segment_bytes: config.segment_bytes,
        max_bytes: config.log_max_bytes,
        max_age: Duration::from_secs(config.log_max_age_h.saturating_mul(3600)),
        dedup,
        repair: config.repair,
        ..WalOptions::default()
    }
}
