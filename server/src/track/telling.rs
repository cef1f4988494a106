//! How a partition's changes come to the marker shards: each to the shard of its carrier, as one message. Makes no change.

use tokio::sync::mpsc;

use crate::model::change::{FactChange, FactChanges};
use crate::model::id::Offset;
use crate::track::state::PartitionState;

/// A marker shard is gone: the process is going down.
pub(super) struct ShardGone;

/// Tells each shard what it is to be told, also when that is nothing.
pub(super) async fn tell_through(
    state: &PartitionState,
    shards: &[mpsc::Sender<FactChanges>],
    told: &mut [Vec<FactChange>],
    through: Offset,
    announcing: bool,
) -> Result<(), ShardGone> {
    for (shard, told) in shards.iter().zip(told) {
        let changes = FactChanges { partition: state.partition(), through, log_time: state.log_time(), announcing, changes: emptied(told) };
        shard.send(changes).await.map_err(|_gone| ShardGone)?;
    }
    Ok(())
}

/// Takes what is there and leaves room for as much again: changes mostly come as many at a time as last time. Room for a flood is not kept: each partition
/// has some for each shard.
fn emptied(told: &mut Vec<FactChange>) -> Vec<FactChange> {
    const MOST_KEPT: usize = 128;
    let room = Vec::with_capacity(told.len().min(MOST_KEPT));
    std::mem::replace(told, room)
}

pub(super) fn sort_into(told: &mut [Vec<FactChange>], change: FactChange) {
    let shard = change.carrier.shard(&change.tenant, told.len());
    if let Some(told) = told.get_mut(shard) {
        told.push(change);
    }
}
