//! The task that owns one partition's facts: applies blocks, tells the marker shards what changed, answers questions. Holds no rule of its own.

use std::sync::Arc;

use metrics::{counter, gauge};
use tokio::sync::{mpsc, oneshot};

use crate::courtesy;
use crate::dead_letters::DeadLetters;
use crate::dead_letters::letter::Letter;
use crate::log::block::{Block, EntryKind};
use crate::log::record::decode::Decoder;
use crate::log::records::{self, Records};
use crate::model::change::{FactChange, FactChanges};
use crate::model::event::Event;
use crate::model::id::{DeliveryId, DriverId, Offset, PartitionId, TenantId};
use crate::model::time::UnixMs;
use crate::progress::Progress;
use crate::track::due_times::DueTimes;
use crate::track::state::{Counts, PartitionState};
use crate::track::telling::{ShardGone, sort_into, tell_through};
use crate::track::view::{DeliveryView, DriverView};
use crate::track::{parking, snapshot};

/// Changes told in one message when everything is told anew; what blocks changed goes in one message whatever its size.
const ANNOUNCED_AT_ONCE: usize = 1024;
/// Inputs taken up in one go: what waits is applied first and told once, so a partition that lags tells less often.
const INPUTS_AT_ONCE: usize = 32;
/// Events decoded before the first of them is applied: enough for the waits of looking ahead to overlap, and few enough to stay in the core's own
/// cache with all that they are about.
const EVENTS_AT_ONCE: usize = 64;

/// What the task takes in, in this order and from one queue: so an answer holds all that was dealt before the question.
#[derive(Debug)]
pub enum PartitionInput {
    /// The entry of `block` at `entry` is this partition's.
    Block {
        block: Arc<Block>,
        entry: usize,
    },
    /// Asks for a snapshot of exactly what was dealt before. When `reply` is full the task waits: that bounds the snapshots in memory.
    Barrier {
        reply: mpsc::Sender<TakenSnapshot>,
    },
    Delivery {
        tenant: TenantId,
        delivery: DeliveryId,
        reply: oneshot::Sender<Option<DeliveryView>>,
    },
    Driver {
        tenant: TenantId,
        driver: DriverId,
        reply: oneshot::Sender<Option<DriverView>>,
    },
    StateHash {
        reply: oneshot::Sender<u64>,
    },
    Stats {
        reply: oneshot::Sender<PartitionStats>,
    },
}

/// A partition's snapshot at a barrier.
#[derive(Debug)]
pub struct TakenSnapshot {
    pub partition: PartitionId,
    pub bytes: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionStats {
    pub partition: PartitionId,
    pub counts: Counts,
    pub applied: Option<Offset>,
    pub log_time: UnixMs,
    pub next_due: Option<UnixMs>,
}

/// Announces what `state` holds, then works until `input` ends. Each shard's queue is bounded; a full one makes this task wait, and its own queue
/// in turn the dealer: never ingest.
pub async fn run(
    state: PartitionState,
    mut input: mpsc::Receiver<PartitionInput>,
    shards: Vec<mpsc::Sender<FactChanges>>,
    letters: DeadLetters,
    progress: Arc<Progress>,
    due_times: Arc<DueTimes>,
) {
    let (told, decoder) = (vec![Vec::new(); shards.len()], Decoder::default());
    let mut task = Task { told, state, decoder, shards, parked: Vec::new(), letters, progress, due_times, counted: Counts::default() };
    if task.announce().await.is_err() {
        return;
    }
    let mut taken = Vec::with_capacity(INPUTS_AT_ONCE);
    while input.recv_many(&mut taken, INPUTS_AT_ONCE).await > 0 {
        if task.take_all(&mut taken).await.is_err() {
            return;
        }
    }
}

/// An event and its place, until it is applied.
struct Decoded {
    offset: Offset,
    ingest_time: UnixMs,
    event: Event,
}

struct Task {
    state: PartitionState,
    decoder: Decoder,
    shards: Vec<mpsc::Sender<FactChanges>>,
    /// For each shard what it is to be told next.
    told: Vec<Vec<FactChange>>,
    /// Events that could not be applied, until they are handed to be kept.
    parked: Vec<Letter>,
    letters: DeadLetters,
    progress: Arc<Progress>,
    due_times: Arc<DueTimes>,
    /// What the gauges count of this partition.
    counted: Counts,
}

impl Task {
    async fn announce(&mut self) -> Result<(), ShardGone> {
        let mut announcements = self.state.announcements().peekable();
        while announcements.peek().is_some() {
            for change in announcements.by_ref().take(ANNOUNCED_AT_ONCE) {
                sort_into(&mut self.told, change);
            }
            // Only the message after these may say that all up to `applied` is told.
            tell_through(&self.state, &self.shards, &mut self.told, Offset(0), true).await?;
        }
        drop(announcements);
        self.tell().await
    }

    async fn take_all(&mut self, taken: &mut Vec<PartitionInput>) -> Result<(), ShardGone> {
        let mut applied = false;
        // Not kept from one time to the next: by then other partitions have had this core, and the allocator gives what is still in its cache.
        let mut decoded = Vec::with_capacity(taken.iter().map(events).sum::<usize>().min(EVENTS_AT_ONCE));
        for input in taken.drain(..) {
            match input {
                PartitionInput::Block { block, entry } => {
                    let entry = &block.entries[entry];
                    match &entry.kind {
                        EntryKind::Events(records) => self.take_records(records, entry.first_offset, block.ingest_time, &mut decoded),
                        EntryKind::Clock => {
                            self.apply(&mut decoded);
                            parking::advance(&mut self.state, block.ingest_time, &mut |change| sort_into(&mut self.told, change));
                        }
                    }
                    applied = true;
                }
                other => {
                    self.apply(&mut decoded);
                    // First: a snapshot must not hold that an event is done with whose letter is not kept.
                    self.keep_parked().await;
                    self.answer(other).await;
                }
            }
        }
        self.apply(&mut decoded);
        self.keep_parked().await;
        if applied { self.tell().await } else { Ok(()) }
    }

    /// Decodes an entry's records onto those that wait to be applied, and applies them whenever there are enough.
    fn take_records(&mut self, records: &Records, first_offset: Offset, ingest_time: UnixMs, decoded: &mut Vec<Decoded>) {
        for (record, offset) in records.iter().zip((first_offset.0..).map(Offset)) {
            match self.decoder.decode(record) {
                Ok(event) => decoded.push(Decoded { offset, ingest_time, event }),
                Err(error) => {
                    records::report_unreadable(self.state.partition(), offset, &error);
                    self.apply(decoded);
                    self.state.pass(offset, ingest_time, &mut |change| sort_into(&mut self.told, change));
                }
            }
            if decoded.len() == EVENTS_AT_ONCE {
                self.apply(decoded);
            }
        }
    }

    fn apply(&mut self, decoded: &mut Vec<Decoded>) {
        self.state.look_ahead(decoded.iter().map(|decoded| &decoded.event));
        // Where they lie: an event is large to move.
        for Decoded { offset, ingest_time, event } in &*decoded {
            let applied = parking::apply(&mut self.state, *offset, *ingest_time, event, &mut |change| sort_into(&mut self.told, change));
            self.parked.extend(applied.err().map(|letter| *letter));
        }
        courtesy::worked(decoded.len());
        decoded.clear();
    }

    async fn keep_parked(&mut self) {
        if !self.parked.is_empty() {
            self.letters.keep(std::mem::take(&mut self.parked)).await;
        }
    }

    async fn answer(&mut self, input: PartitionInput) {
        match input {
            PartitionInput::Block { .. } => {}
            PartitionInput::Barrier { reply } => {
                let taken = TakenSnapshot { partition: self.state.partition(), bytes: snapshot::encode(&self.state) };
                ignore_unheard(reply.send(taken).await);
            }
            PartitionInput::Delivery { tenant, delivery, reply } => {
                let found = self.state.delivery(&tenant, &delivery).map(|delivery| DeliveryView::of(tenant, delivery));
                ignore_unheard(reply.send(found));
            }
            PartitionInput::Driver { tenant, driver, reply } => {
                let found = self.state.driver(&tenant, &driver).map(|driver| DriverView::of(tenant, driver));
                ignore_unheard(reply.send(found));
            }
            PartitionInput::StateHash { reply } => ignore_unheard(reply.send(self.state.state_hash())),
            PartitionInput::Stats { reply } => ignore_unheard(reply.send(self.stats())),
        }
    }

    /// Tells each shard its changes, also when it has none, and then everyone how far the facts are.
    async fn tell(&mut self) -> Result<(), ShardGone> {
        self.due_times.set(self.state.partition(), self.state.next_due(), self.state.log_time());
        self.count();
        let Some(through) = self.state.applied() else {
            // Without a record there is nothing to tell and nothing to be through with.
            return Ok(());
        };
        tell_through(&self.state, &self.shards, &mut self.told, through, false).await?;
        self.progress.set_tracked(self.state.partition(), through);
        self.progress.tracked_now();
        Ok(())
    }

    fn count(&mut self) {
        let now = self.state.counts();
        if now != self.counted {
            for (kind, now, before) in [
                ("driver", now.drivers, self.counted.drivers),
                ("delivery", now.deliveries, self.counted.deliveries),
                ("tombstone", now.tombstones, self.counted.tombstones),
            ] {
                gauge!("waypost_entities", "kind" => kind).increment(as_f64(now) - as_f64(before));
            }
            self.counted = now;
        }
        let refused = self.state.take_refused();
        if refused > 0 {
            counter!("waypost_entity_limit_total").increment(refused);
        }
    }

    fn stats(&self) -> PartitionStats {
        PartitionStats {
            partition: self.state.partition(),
            counts: self.state.counts(),
            applied: self.state.applied(),
            log_time: self.state.log_time(),
            next_due: self.state.next_due(),
        }
    }
}

/// How many events an input brings.
fn events(input: &PartitionInput) -> usize {
    match input {
        PartitionInput::Block { block, entry } => match &block.entries[*entry].kind {
            EntryKind::Events(records) => records.len(),
            EntryKind::Clock => 0,
        },
        _ => 0,
    }
}

/// Who asked may have gone away meanwhile; that is no concern of the facts.
fn ignore_unheard<T, E>(sent: Result<T, E>) {
    drop(sent);
}

#[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52 entities")]
fn as_f64(count: usize) -> f64 {
    count as f64
}
