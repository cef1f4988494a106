//! The stages behind the log, built from exit to entrance and joined by bounded channels. Starts them; `app.rs` feeds and stops them.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use anyhow::Context as _;
use parking_lot::RwLock;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::clock::Clock;
use crate::config::Config;
use crate::live::{self, SessionCommand};
use crate::map::{Map, SharedMap};
use crate::marker::settings::MarkerSettings;
use crate::marker::shard::{self, MarkerQuery};
use crate::model::change::FactChanges;
use crate::progress::Progress;
use crate::track::partition::{self, DueTimes, PartitionInput};
use crate::track::state::PartitionState;

/// Blocks a partition may be behind before the dealer waits.
const PARTITION_INBOX: usize = 64;
/// Messages a marker shard may be behind before partitions wait.
const SHARD_INBOX: usize = 256;
/// Questions a marker shard may be behind before who asks waits.
const SHARD_QUESTIONS: usize = 64;
/// One message of each shard on its way: what comes meanwhile is merged in the shard.
const MAP_INBOX: usize = 2;
const SESSION_COMMANDS: usize = 1024;

/// The running tasks. Each ends when its input does, so dropping the entrance ends them all in order.
#[derive(Debug)]
pub(super) struct Stages(JoinSet<()>);

/// What feeds the stages, and what looks into them.
#[derive(Debug)]
pub(super) struct Entrance {
    pub(super) partitions: Vec<mpsc::Sender<PartitionInput>>,
    pub(super) commands: mpsc::Sender<SessionCommand>,
    pub(super) map: SharedMap,
    pub(super) progress: Arc<Progress>,
    pub(super) due_times: Arc<DueTimes>,
    /// Questions to the marker shards.
    pub(super) questions: Vec<mpsc::Sender<MarkerQuery>>,
    /// The partitions' inboxes until their tasks start, and what those tasks talk to.
    inboxes: Vec<mpsc::Receiver<PartitionInput>>,
    shards: Vec<mpsc::Sender<FactChanges>>,
}

impl Stages {
    pub(super) fn start(config: &Config, clock: &Clock) -> (Self, Entrance) {
        let mut tasks = JoinSet::new();
        let progress = Arc::new(Progress::new(config.partitions, config.marker_shards));
        let map: SharedMap = Arc::new(RwLock::new(Map::default()));

        let (markers, map_inbox) = mpsc::channel(MAP_INBOX);
        let (commands, session_commands) = mpsc::channel(SESSION_COMMANDS);
        tasks.spawn(live::tick::run(map_inbox, session_commands, Arc::clone(&map), Arc::clone(&progress), clock.clone(), live_settings(config)));

        let (mut shards, mut shards_due, mut questions) = (Vec::new(), Vec::new(), Vec::new());
        for index in 0..config.marker_shards {
            let (facts, inbox) = mpsc::channel(SHARD_INBOX);
            let (asking, queries) = mpsc::channel(SHARD_QUESTIONS);
            let next_due = Arc::new(AtomicI64::new(shard::NOTHING_DUE));
            let settings = MarkerSettings { tick: Duration::from_millis(config.tick_ms), ..MarkerSettings::default() };
            tasks.spawn(shard::run(index, inbox, queries, markers.clone(), settings, Arc::clone(&next_due)));
            shards.push(facts);
            questions.push(asking);
            shards_due.push(next_due);
        }

        let due_times = Arc::new(DueTimes::new(config.partitions).with_listeners(shards_due));
        let (partitions, inboxes) = (0..config.partitions).map(|_| mpsc::channel(PARTITION_INBOX)).unzip();
        (Self(tasks), Entrance { partitions, commands, map, progress, due_times, questions, inboxes, shards })
    }

    /// Starts the partitions' tasks with what a checkpoint held; each announces it to the marker stage first.
    pub(super) fn start_partitions(&mut self, states: Vec<PartitionState>, entrance: &mut Entrance) {
        let shards = std::mem::take(&mut entrance.shards);
        for (state, inbox) in states.into_iter().zip(entrance.inboxes.drain(..)) {
            self.0.spawn(partition::run(state, inbox, shards.clone(), Arc::clone(&entrance.progress), Arc::clone(&entrance.due_times)));
        }
    }

    /// Waits until all have ended; a panic of one is an error.
    pub(super) async fn join(mut self) -> anyhow::Result<()> {
        while let Some(ended) = self.0.join_next().await {
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
