//! One sequential pass over the log that deals each block's entries to the partitions' tasks. Never looks into an event.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};

use crate::log::block::{Block, BlockNumber, EntryKind};
use crate::log::{LogReader, ReadError};
use crate::model::id::Offset;
use crate::progress::Progress;
use crate::track::partition::{PartitionInput, TakenSnapshot};

/// Asks for a snapshot of every partition at one position of the lane.
#[derive(Debug)]
pub struct BarrierRequest {
    /// Where the partitions send theirs; a full queue makes them wait.
    pub snapshots: mpsc::Sender<TakenSnapshot>,
    /// Told the position, before any snapshot arrives: all blocks up to it are in the snapshots, none after it. Absent: no block was read yet.
    pub position: oneshot::Sender<Option<BlockNumber>>,
}

/// A partition's task is gone, so the process is going down; or the log could not be read.
#[derive(Debug, thiserror::Error)]
pub enum DealError {
    #[error("the task of partition {0} ended early")]
    PartitionGone(usize),
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Deals what `reader` gives until it ends, after `dealt` (what the checkpoint covered). Then still serves barriers until their queue ends, so
/// that a last checkpoint covers everything. A full queue of one partition makes all wait: they stay near one position, and the log keeps the rest.
pub async fn run<R: LogReader>(
    mut reader: R,
    dealt: Option<BlockNumber>,
    partitions: Vec<mpsc::Sender<PartitionInput>>,
    mut barriers: mpsc::Receiver<BarrierRequest>,
    progress: Arc<Progress>,
    newest: watch::Sender<Option<BlockNumber>>,
) -> Result<(), DealError> {
    newest.send_replace(dealt);
    let mut dealer = Dealer { partitions, dealt, progress, newest };
    let mut asking = true;
    loop {
        // One read is kept going across barriers: dropping it half-way could lose its block.
        let next = reader.next();
        tokio::pin!(next);
        let block = loop {
            tokio::select! {
                block = &mut next => break block?,
                request = barriers.recv(), if asking => match request {
                    Some(request) => dealer.put_barrier(request).await?,
                    None => asking = false,
                },
            }
        };
        match block {
            Some(block) => dealer.deal(block).await?,
            None => break,
        }
    }
    while let Some(request) = barriers.recv().await {
        dealer.put_barrier(request).await?;
    }
    Ok(())
}

struct Dealer {
    partitions: Vec<mpsc::Sender<PartitionInput>>,
    dealt: Option<BlockNumber>,
    progress: Arc<Progress>,
    /// Tells the newest block dealt, for whoever waits for recovery to end.
    newest: watch::Sender<Option<BlockNumber>>,
}

impl Dealer {
    async fn deal(&mut self, block: Arc<Block>) -> Result<(), DealError> {
        let expected = self.dealt.map_or(1, |dealt| dealt.0 + 1);
        if block.number.0 != expected {
            // The facts go on without what is lost: a map with a hole serves better than none.
            metrics::counter!("waypost_blocks_missing_total").increment(block.number.0.saturating_sub(expected));
            tracing::error!(expected, found = block.number.0, "blocks of the log are missing between the checkpoint and what the log still has");
        }
        for (entry, of) in block.entries.iter().enumerate() {
            let index = of.partition.index();
            if let EntryKind::Events(events) = &of.kind {
                self.progress.set_durable(of.partition, Offset((of.first_offset.0 + events.len() as u64).saturating_sub(1)));
            }
            let inbox = self.partitions.get(index).ok_or(DealError::PartitionGone(index))?;
            let input = PartitionInput::Block { block: Arc::clone(&block), entry };
            inbox.send(input).await.map_err(|_gone| DealError::PartitionGone(index))?;
        }
        self.dealt = Some(block.number);
        self.newest.send_replace(self.dealt);
        Ok(())
    }

    /// Between two blocks, so the inboxes all hold the same blocks before it.
    async fn put_barrier(&mut self, request: BarrierRequest) -> Result<(), DealError> {
        if request.position.send(self.dealt).is_err() {
            // Whoever asked gave up.
            return Ok(());
        }
        for (index, inbox) in self.partitions.iter().enumerate() {
            let barrier = PartitionInput::Barrier { reply: request.snapshots.clone() };
            inbox.send(barrier).await.map_err(|_gone| DealError::PartitionGone(index))?;
        }
        Ok(())
    }
}
