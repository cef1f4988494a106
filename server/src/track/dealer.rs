//! Reads the log in one pass and deals its entries to the partitions. Pulls; nothing is pushed at it, so it never holds up ingest.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::partition::PartitionInput;
use crate::log::block::{BlockNumber, EntryKind};
use crate::log::{LogReader, ReadError};
use crate::model::id::Offset;
use crate::progress::Progress;

/// Runs until the log is closed and all is dealt, or a partition is gone; `dealt` tells the newest block dealt.
pub async fn run(
    mut reader: impl LogReader,
    partitions: Vec<mpsc::Sender<PartitionInput>>,
    progress: Arc<Progress>,
    dealt: watch::Sender<Option<BlockNumber>>,
    stop: CancellationToken,
) -> Result<(), ReadError> {
    loop {
        let next = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            next = reader.next() => next?,
        };
        let Some(block) = next else {
            return Ok(());
        };
        for (index, entry) in block.entries.iter().enumerate() {
            if let EntryKind::Events(events) = &entry.kind {
                progress.set_durable(entry.partition, Offset(entry.first_offset.0 + events.len() as u64 - 1));
            }
            let input = PartitionInput::Entry { block: Arc::clone(&block), index };
            if partitions[entry.partition.index()].send(input).await.is_err() {
                return Ok(());
            }
        }
        dealt.send_replace(Some(block.number));
    }
}
