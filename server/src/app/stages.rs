//! The stages behind the log, built from exit to entrance and joined by bounded channels. Starts them; `app.rs` feeds and stops them.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use anyhow::Context as _;
use parking_lot::RwLock;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::attention::Attention;
use crate::beat::Beat;
use crate::clock::Clock;
use crate::config::Config;
use crate::dead_letters::DeadLetters;
use crate::live::tick::Ground;
use crate::live::{self, SessionCommand};
use crate::map::{Map, SharedMap};
use crate::marker::settings::MarkerSettings;
use crate::marker::shard::{self, MarkerQuery, Shard};
use crate::model::change::FactChanges;
use crate::progress::Progress;
use crate::track::due_times::DueTimes;
use crate::track::partition::{self, PartitionInput};
use crate::track::state::PartitionState;

/// Blocks a partition may be behind before the dealer waits.
const PARTITION_INBOX: usize = 64;
/// Messages a marker shard may be behind before partitions wait.
const SHARD_INBOX: usize = 256;
/// Questions a marker shard may be behind before who asks waits.
const SHARD_QUESTIONS: usize = 64;
/// One message of each shard on its way: what comes meanwhile is merged in the shard.
const MAP_INBOX: usize = 2;
/// Of the threads behind the log, in the kernel's terms of niceness: a half of the weight of the others.
const LOWER_PRIORITY: i32 = 3;
const SESSION_COMMANDS: usize = 1024;

/// The running tasks. Each ends when its input does, so dropping the entrance ends them all in order.
#[derive(Debug)]
pub(super) struct Stages {
    tasks: JoinSet<()>,
    threads: Threads,
}

/// Threads of their own for everything behind the log. A marker shard or the map works off a tick's changes in one go, milliseconds in which a
/// request on the same thread would wait; between threads the kernel shares the cores.
#[derive(Debug)]
struct Threads(Option<Runtime>);

impl Threads {
    fn start() -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().thread_name("fold").on_thread_start(step_back).enable_time().build();
        Ok(Self(Some(runtime.context("the threads of the stages cannot be started")?)))
    }

    fn handle(&self) -> &Handle {
        self.0.as_ref().expect("it is there until it is dropped").handle()
    }
}

/// Where both want a core, the way in comes first: what is behind the log may lag, an acknowledgement is waited for.
fn step_back() {
    if let Err(error) = rustix::process::nice(LOWER_PRIORITY) {
        tracing::debug!(%error, "the threads of the stages run at the priority of the others");
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // Without waiting: this may run on a thread that must not block, and whoever minds the tasks has joined them.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// What feeds the stages, and what looks into them.
#[derive(Debug)]
pub(super) struct Entrance {
    pub(super) partitions: Vec<mpsc::Sender<PartitionInput>>,
    pub(super) commands: mpsc::Sender<SessionCommand>,
    pub(super) map: SharedMap,
    pub(super) progress: Arc<Progress>,
    pub(super) due_times: Arc<DueTimes>,
    /// Who is looked at: told by live and marker, read by ingest.
    pub(super) attention: Arc<Attention>,
    /// Questions to the marker shards.
    pub(super) questions: Vec<mpsc::Sender<MarkerQuery>>,
    /// The partitions' inboxes until their tasks start, and what those tasks talk to.
    inboxes: Vec<mpsc::Receiver<PartitionInput>>,
    shards: Vec<mpsc::Sender<FactChanges>>,
}

impl Stages {
    pub(super) fn start(config: &Config, clock: &Clock) -> anyhow::Result<(Self, Entrance)> {
        let (mut tasks, threads) = (JoinSet::new(), Threads::start()?);
        let progress = Arc::new(Progress::new(config.partitions, config.marker_shards));
        let map: SharedMap = Arc::new(RwLock::new(Map::default()));
        let attention = Arc::new(Attention::new(config.marker_shards));
        let beat = Beat::starting_now(Duration::from_millis(config.tick_ms));

        let (markers, map_inbox) = mpsc::channel(MAP_INBOX);
        let (commands, session_commands) = mpsc::channel(SESSION_COMMANDS);
        let ground = Ground { map: Arc::clone(&map), progress: Arc::clone(&progress), attention: Arc::clone(&attention), clock: clock.clone(), beat };
        let live = live::tick::run(map_inbox, session_commands, ground, live_settings(config));
        tasks.spawn_on(live, threads.handle());

        let (mut shards, mut shards_due, mut questions) = (Vec::new(), Vec::new(), Vec::new());
        for index in 0..config.marker_shards {
            let (facts, inbox) = mpsc::channel(SHARD_INBOX);
            let (asking, queries) = mpsc::channel(SHARD_QUESTIONS);
            let next_due = Arc::new(AtomicI64::new(shard::NOTHING_DUE));
            let settings = MarkerSettings::default();
            let shard = Shard { index, settings, beat, next_due: Arc::clone(&next_due), attention: Arc::clone(&attention) };
            let marker_shard = shard::run(shard, inbox, queries, markers.clone());
            tasks.spawn_on(marker_shard, threads.handle());
            shards.push(facts);
            questions.push(asking);
            shards_due.push(next_due);
        }

        let due_times = Arc::new(DueTimes::new(config.partitions).with_listeners(shards_due));
        let (partitions, inboxes) = (0..config.partitions).map(|_| mpsc::channel(PARTITION_INBOX)).unzip();
        Ok((Self { tasks, threads }, Entrance { partitions, commands, map, progress, due_times, attention, questions, inboxes, shards }))
    }

    /// Starts the partitions' tasks with what a checkpoint held; each announces it to the marker stage first.
    pub(super) fn start_partitions(&mut self, states: Vec<PartitionState>, entrance: &mut Entrance, letters: &DeadLetters) {
        let shards = std::mem::take(&mut entrance.shards);
        for (state, inbox) in states.into_iter().zip(entrance.inboxes.drain(..)) {
            let (progress, due_times) = (Arc::clone(&entrance.progress), Arc::clone(&entrance.due_times));
            let task = partition::run(state, inbox, shards.clone(), letters.clone(), progress, due_times);
            self.tasks.spawn_on(task, self.threads.handle());
        }
    }

    /// Waits until all have ended; a panic of one is an error.
    pub(super) async fn join(mut self) -> anyhow::Result<()> {
        while let Some(ended) = self.tasks.join_next().await {
            ended.context("a stage panicked")?;
        }
        Ok(())
    }
}

pub(super) fn live_settings(config: &Config) -> live::Settings {
    live::Settings {
        tick: Duration::from_millis(config.tick_ms),
        max_sessions_per_tenant: config.max_sessions,
        view_changes_per_s: config.view_changes_per_s,
        max_message_bytes: config.max_message_bytes,
        ..live::Settings::default()
    }
}
