//! The task of one partition: applies its entries in offset order and tells the marker shards. The only one that touches its facts.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tokio::sync::{mpsc, oneshot};

use super::state::PartitionState;
use crate::log::block::{Block, EntryKind};
use crate::model::change::{FactChange, FactChanges};
use crate::model::event::{Created, Proof};
use crate::model::id::{DeliveryId, DriverId, Offset, PartitionId, TenantId};
use crate::model::status::Status;
use crate::model::time::UnixMs;
use crate::progress::Progress;

/// What a partition is handed. Its inbox is bounded; when it is full the dealer waits.
#[derive(Debug)]
pub enum PartitionInput {
    /// The entry of this block that is the partition's.
    Entry {
        block: Arc<Block>,
        index: usize,
    },
    Delivery {
        tenant: TenantId,
        delivery: DeliveryId,
        reply: oneshot::Sender<Option<DeliveryView>>,
    },
}

/// A delivery's facts as REST shows them.
#[derive(Clone, Debug, PartialEq)]
pub struct DeliveryView {
    pub status: Status,
    pub driver: Option<DriverId>,
    pub explicitly_assigned: bool,
    pub created: Option<Created>,
    pub reported_eta: Option<UnixMs>,
    pub history: Vec<StatusView>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct StatusView {
    pub status: Status,
    pub time: UnixMs,
    pub legal: bool,
    pub reason: Option<Box<str>>,
    pub proof: Option<Proof>,
}

/// What a partition's task works with.
#[derive(Debug)]
pub struct Parts {
    pub partition: PartitionId,
    pub shards: Vec<mpsc::Sender<FactChanges>>,
    pub progress: Arc<Progress>,
    /// When something is due, for the clock keeper: Unix milliseconds, `i64::MAX` for never.
    pub due: Arc<AtomicI64>,
}

/// Runs until `input` ends, or the marker stage is gone.
pub async fn run(mut state: PartitionState, mut input: mpsc::Receiver<PartitionInput>, parts: Parts) {
    while let Some(next) = input.recv().await {
        match next {
            PartitionInput::Entry { block, index } => {
                let told = apply(&mut state, &block, index, &parts);
                for (shard, changes) in parts.shards.iter().zip(told) {
                    if shard.send(changes).await.is_err() {
                        return;
                    }
                }
                parts.due.store(state.next_due().map_or(i64::MAX, |due| due.0), Ordering::Release);
                parts.progress.tracked_now();
            }
            PartitionInput::Delivery { tenant, delivery, reply } => {
                // Whoever asked may have gone; then nobody wants the answer.
                drop(reply.send(view(&state, &tenant, &delivery)));
            }
        }
    }
}

/// Applies one entry; returns what each shard must hear, also when that is only how far the partition is.
fn apply(state: &mut PartitionState, block: &Block, index: usize, parts: &Parts) -> Vec<FactChanges> {
    let entry = &block.entries[index];
    let mut changes = Vec::new();
    state.advance(block.ingest_time, &mut changes);
    let mut through = Offset(entry.first_offset.0.saturating_sub(1));
    if let EntryKind::Events(events) = &entry.kind {
        for event in events {
            state.apply(event, block.ingest_time, &mut changes);
        }
        through = Offset(entry.first_offset.0 + events.len() as u64 - 1);
        parts.progress.set_tracked(parts.partition, through);
    }
    let told = |changes| FactChanges { partition: parts.partition, through, log_time: state.log_time(), changes };
    split(changes, parts.shards.len()).into_iter().map(told).collect()
}

fn split(changes: Vec<FactChange>, shards: usize) -> Vec<Vec<FactChange>> {
    let mut by_shard: Vec<Vec<FactChange>> = (0..shards).map(|_| Vec::new()).collect();
    for change in changes {
        by_shard[change.carrier.shard(&change.tenant, shards)].push(change);
    }
    by_shard
}

fn view(state: &PartitionState, tenant: &TenantId, delivery: &DeliveryId) -> Option<DeliveryView> {
    let facts = state.delivery(tenant, delivery.as_str())?;
    let said = |(event, legal): (&super::status::StatusEvent, bool)| StatusView {
        status: event.status,
        time: event.order.effective_time,
        legal,
        reason: event.reason.clone(),
        proof: event.proof.clone(),
    };
    Some(DeliveryView {
        status: facts.status(),
        driver: facts.driver().cloned(),
        explicitly_assigned: facts.is_explicitly_assigned(),
        created: facts.created().cloned(),
        reported_eta: facts.eta(),
        history: facts.history().verdicts().map(said).collect(),
    })
}
