//! The task that takes a checkpoint now and then and lets the log know what it may drop. Never writes a snapshot's bytes itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::{counter, gauge, histogram};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::log::EventLog;
use crate::log::block::BlockNumber;
use crate::track::checkpoint::{CheckpointError, CheckpointStore};
use crate::track::dealer::BarrierRequest;
use crate::track::partition::TakenSnapshot;

/// Snapshots that wait for the disk; with more the partitions wait, so that memory never holds all of them.
const SNAPSHOTS_WAITING: usize = 4;
const LOOKS_EVERY: Duration = Duration::from_secs(1);

/// When a checkpoint is due: whichever comes first.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    pub interval: Duration,
    pub blocks: u64,
}

impl Default for Schedule {
    fn default() -> Self {
        Self { interval: Duration::from_mins(1), blocks: 100_000 }
    }
}

/// Why there is no new checkpoint; the one before stays.
#[derive(Debug, Error)]
enum Failed {
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error("the flow is going down")]
    GoingDown,
    #[error("the writing task panicked")]
    Panicked(#[from] tokio::task::JoinError),
}

/// Takes checkpoints until `stop`, and a last one then. To make the last one cover everything, close the log and let the partitions catch up first.
pub async fn run<L: EventLog>(
    store: CheckpointStore,
    recovered: Option<BlockNumber>,
    barriers: mpsc::Sender<BarrierRequest>,
    log: Arc<L>,
    schedule: Schedule,
    stop: CancellationToken,
) {
    let mut looks = tokio::time::interval(LOOKS_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = recovered;
    let mut taken_at = tokio::time::Instant::now();
    let mut covered_at = taken_at;
    loop {
        let stopping = tokio::select! {
            () = stop.cancelled() => true,
            _ = looks.tick() => false,
        };
        gauge!("waypost_checkpoint_age_seconds").set(covered_at.elapsed().as_secs_f64());
        let blocks = log.durable().map_or(0, |durable| durable.0.saturating_sub(last.map_or(0, |last| last.0)));
        let due = taken_at.elapsed() >= schedule.interval || blocks >= schedule.blocks;
        if due || stopping {
            let began = tokio::time::Instant::now();
            match take(&store, last, &barriers).await {
                Ok(taken) => {
                    covered_at = began;
                    if let Some(taken) = taken {
                        last = Some(taken.block);
                        log.release(taken.released);
                    }
                }
                Err(error) => {
                    counter!("waypost_checkpoint_failures_total").increment(1);
                    tracing::error!(%error, "no checkpoint could be taken");
                }
            }
            // Also after a failure: the next attempt waits its turn.
            taken_at = tokio::time::Instant::now();
        }
        if stopping {
            return;
        }
    }
}

struct Taken {
    block: BlockNumber,
    /// The log's blocks up to here are needed by neither of the checkpoints kept.
    released: BlockNumber,
}

/// `None`: nothing is new since the last one.
async fn take(store: &CheckpointStore, last: Option<BlockNumber>, barriers: &mpsc::Sender<BarrierRequest>) -> Result<Option<Taken>, Failed> {
    let started = Instant::now();
    let (snapshots, taken) = mpsc::channel(SNAPSHOTS_WAITING);
    let (position, positioned) = oneshot::channel();
    barriers.send(BarrierRequest { snapshots, position }).await.map_err(|_gone| Failed::GoingDown)?;
    let block = positioned.await.map_err(|_gone| Failed::GoingDown)?;
    let Some(block) = block.filter(|block| Some(*block) > last) else {
        return Ok(None);
    };
    let store = store.clone();
    // On a thread that may block. When it fails early the queue closes, and the partitions' snapshots are dropped unheard.
    let (released, bytes) = tokio::task::spawn_blocking(move || write(&store, block, taken)).await??;
    histogram!("waypost_checkpoint_seconds").record(started.elapsed().as_secs_f64());
    counter!("waypost_checkpoint_bytes_total").increment(bytes);
    Ok(Some(Taken { block, released }))
}

fn write(store: &CheckpointStore, block: BlockNumber, mut snapshots: mpsc::Receiver<TakenSnapshot>) -> Result<(BlockNumber, u64), CheckpointError> {
    let mut checkpoint = store.begin(block)?;
    let mut bytes = 0;
    while let Some(snapshot) = snapshots.blocking_recv() {
        checkpoint.write(snapshot.partition, &snapshot.bytes)?;
        bytes += snapshot.bytes.len() as u64;
    }
    Ok((checkpoint.finish()?, bytes))
}

#[cfg(test)]
mod tests {
    use proptest::strategy::{Strategy, ValueTree};
    use proptest::test_runner::TestRunner;
    use tokio::task::JoinSet;

    use super::*;
    use crate::dead_letters::DeadLetters;
    use crate::log::block::{Block, Entry, EntryKind};
    use crate::model::change::FactChanges;
    use crate::model::id::{DeliveryId, Offset, PartitionId, TenantId};
    use crate::model::status::Status;
    use crate::model::time::UnixMs;
    use crate::progress::{Progress, Stage};
    use crate::track::checkpoint::Recovered;
    use crate::track::dealer;
    use crate::track::due_times::DueTimes;
    use crate::track::partition::{self, PartitionInput, PartitionStats};
    use crate::track::sample::{LIMITS, NotingLog, Picture, Record, SentBlocks, blocks, event, records, status};
    use crate::track::state::PartitionState;
    use tokio::sync::watch;

    /// A log's worth of blocks through dealer, two partitions and a checkpoint at the end; what the two shards then hold, and the state hashes.
    struct Flow {
        pictures: Vec<Picture>,
        hashes: Vec<u64>,
        released: Vec<BlockNumber>,
    }

    async fn flow(store: &CheckpointStore, given: &[Arc<Block>], last_offsets: [Option<u64>; 2]) -> Flow {
        let Recovered { states, after } = store.load(LIMITS).unwrap();
        let (log, stop, progress) = (Arc::new(NotingLog::default()), CancellationToken::new(), Arc::new(Progress::new(2, 2)));
        let due_times = Arc::new(DueTimes::new(2));
        let (shards, inboxes): (Vec<_>, Vec<_>) = (0..2).map(|_| mpsc::channel(2)).unzip();
        let mut readers = JoinSet::new();
        for (index, inbox) in inboxes.into_iter().enumerate() {
            readers.spawn(async move { (index, picture(inbox).await) });
        }
        let mut tasks = JoinSet::new();
        let mut partitions = Vec::new();
        for state in states {
            let (sender, inbox) = mpsc::channel(2);
            partitions.push(sender);
            tasks.spawn(partition::run(state, inbox, shards.clone(), DeadLetters::closed(), Arc::clone(&progress), Arc::clone(&due_times)));
        }
        drop(shards);
        let (blocks, reader) = mpsc::channel(1);
        let (barriers, requests) = mpsc::channel(1);
        let mut dealing = JoinSet::new();
        dealing.spawn(dealer::run(SentBlocks(reader), after, partitions.clone(), requests, Arc::clone(&progress), watch::Sender::new(None)));
        tasks.spawn(run(store.clone(), after, barriers, Arc::clone(&log), Schedule::default(), stop.clone()));
        for block in given.iter().filter(|block| Some(block.number) > after) {
            blocks.send(Arc::clone(block)).await.unwrap();
        }
        drop(blocks);
        for (partition, last) in (0..).map(PartitionId).zip(last_offsets) {
            if let Some(last) = last {
                assert!(progress.wait(Stage::Tracked, partition, Offset(last), Duration::from_secs(5)).await);
            }
        }
        let mut hashes = Vec::new();
        for partition in &partitions {
            let (reply, hash) = oneshot::channel();
            partition.send(PartitionInput::StateHash { reply }).await.unwrap();
            hashes.push(hash.await.unwrap());
        }
        drop(partitions);
        stop.cancel();
        dealing.join_next().await.unwrap().unwrap().unwrap();
        tasks.join_all().await;
        let mut pictures = readers.join_all().await;
        pictures.sort_by_key(|(index, _)| *index);
        let released = log.released.lock().unwrap().clone();
        Flow { pictures: pictures.into_iter().map(|(_, picture)| picture).collect(), hashes, released }
    }

    async fn picture(mut inbox: mpsc::Receiver<FactChanges>) -> Picture {
        let mut picture = Picture::default();
        let mut through = [None; 2];
        while let Some(changes) = inbox.recv().await {
            let through = &mut through[changes.partition.index()];
            assert!(*through <= Some(changes.through), "a partition goes forward");
            *through = Some(changes.through);
            changes.changes.into_iter().for_each(|change| picture.apply(change));
        }
        picture
    }

    #[tokio::test]
    async fn a_flow_stopped_and_started_again_ends_as_one_that_was_not() {
        let records = records(400, 200_000).new_tree(&mut TestRunner::deterministic()).unwrap().current();
        assert!(records.len() > 20, "enough to cut");
        let blocks = blocks(&records, 7, 2);
        let half = &blocks[..blocks.len() / 2];
        let last_offsets = |blocks: &[Arc<Block>]| {
            [0, 1].map(|partition| {
                let entries = blocks.iter().flat_map(|block| &block.entries).filter(|entry| entry.partition == PartitionId(partition));
                let ends = entries.map(|entry| match &entry.kind {
                    EntryKind::Events(events) => entry.first_offset.0 + events.len() as u64 - 1,
                    EntryKind::Clock => entry.first_offset.0,
                });
                ends.max()
            })
        };
        let (cut_folder, whole_folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let whole = CheckpointStore::open(whole_folder.path().to_owned(), 2).unwrap();
        let cut = CheckpointStore::open(cut_folder.path().to_owned(), 2).unwrap();
        let uncut = flow(&whole, &blocks, last_offsets(&blocks)).await;
        let first = flow(&cut, half, last_offsets(half)).await;
        assert_eq!(first.released, [half.last().unwrap().number]);
        let second = flow(&cut, &blocks, last_offsets(&blocks)).await;
        assert_eq!(second.hashes, uncut.hashes);
        assert_ne!(first.hashes, uncut.hashes);
        assert!(second.pictures == uncut.pictures, "the shards hold the same");
        assert!(uncut.pictures.iter().all(|picture| !picture.carriers.is_empty()), "both shards are used");
        // The log is still needed from the older of the two checkpoints on.
        assert_eq!(second.released, first.released);
        assert_eq!(cut.load(LIMITS).unwrap().after, Some(blocks.last().unwrap().number));
    }

    #[tokio::test]
    async fn a_record_that_cannot_be_read_is_passed_over_and_its_offset_counts() {
        let (partition, inbox) = mpsc::channel(8);
        let (shard, mut told) = mpsc::channel(8);
        let progress = Arc::new(Progress::new(1, 1));
        let mut tasks = JoinSet::new();
        let facts = PartitionState::new(PartitionId(0), LIMITS);
        tasks.spawn(partition::run(facts, inbox, vec![shard], DeadLetters::closed(), Arc::clone(&progress), Arc::new(DueTimes::new(1))));
        let records = ["d1", "d2"].map(|delivery| {
            let event = event(delivery, 1, None, Some(delivery), status(Status::Delivered));
            Record { offset: Offset(0), ingest_time: UnixMs(5), event }
        });
        let block = blocks(&records, 2, 1).remove(0);
        let EntryKind::Events(whole) = &block.entries[0].kind else { panic!("events") };
        let kind = EntryKind::Events(whole.with_noise_around());
        let block = Arc::new(Block { entries: vec![Entry { kind, ..block.entries[0].clone() }], ..(*block).clone() });
        partition.send(PartitionInput::Block { block, entry: 0 }).await.unwrap();
        let changes = told.recv().await.unwrap();
        assert_eq!((changes.changes.len(), changes.through), (2, Offset(3)));
        drop(partition);
        tasks.join_all().await;
    }

    #[tokio::test]
    async fn a_question_is_answered_from_all_that_was_dealt_before_it() {
        let (partition, inbox) = mpsc::channel(8);
        let (shard, mut told) = mpsc::channel(8);
        let progress = Arc::new(Progress::new(1, 1));
        let mut tasks = JoinSet::new();
        let facts = PartitionState::new(PartitionId(0), LIMITS);
        tasks.spawn(partition::run(facts, inbox, vec![shard], DeadLetters::closed(), progress, Arc::new(DueTimes::new(1))));
        let delivered = event("e", 1, None, Some("d"), status(Status::Delivered));
        let record = Record { offset: Offset(0), ingest_time: UnixMs(5), event: delivered };
        let block = blocks(&[record], 1, 1).remove(0);
        partition.send(PartitionInput::Block { block, entry: 0 }).await.unwrap();
        let (reply, view) = oneshot::channel();
        let (tenant, delivery) = (TenantId::parse("acme").unwrap(), DeliveryId::parse("d").unwrap());
        partition.send(PartitionInput::Delivery { tenant, delivery, reply }).await.unwrap();
        let view = view.await.unwrap().unwrap();
        assert_eq!((view.status.as_str(), view.history.len(), view.left_map), ("delivered", 1, false));
        let (reply, none) = oneshot::channel();
        let (tenant, delivery) = (TenantId::parse("globex").unwrap(), DeliveryId::parse("d").unwrap());
        partition.send(PartitionInput::Delivery { tenant, delivery, reply }).await.unwrap();
        assert_eq!(none.await.unwrap(), None, "another tenant has no such delivery");
        let (reply, stats) = oneshot::channel();
        partition.send(PartitionInput::Stats { reply }).await.unwrap();
        let PartitionStats { counts, next_due, .. } = stats.await.unwrap();
        assert_eq!((counts.deliveries, next_due), (1, Some(UnixMs(600_005))));
        assert_eq!(told.recv().await.unwrap().changes.len(), 1);
        drop(partition);
        tasks.join_all().await;
        assert!(told.recv().await.is_none());
    }
}
