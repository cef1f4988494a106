//! The event log: the only truth. What is appended is durable before it is answered, and each event stands in it once. Never interprets an event.

pub mod block;
pub mod dedup;
pub mod prepare;
pub mod record;
pub mod records;
pub mod wal;

use std::sync::Arc;

use thiserror::Error;

use crate::model::id::{Offset, PartitionId};
use block::{Block, BlockNumber};
use prepare::Batch;

/// A durable log of events in `partitions()` partitions. One writer a partition; any number of readers, each with its own cursor.
pub trait EventLog: Send + Sync + 'static {
    type Reader: LogReader;

    fn partitions(&self) -> u16;

    /// Appends what of `batch` is new and answers, item by item in the order given, when all of it is durable. Nothing is stored on an error.
    fn append(&self, batch: Batch) -> impl Future<Output = Result<Vec<Appended>, AppendError>> + Send;

    /// Asks for a clock record in each of these partitions, so that folds see time pass when nothing arrives.
    fn append_clock(&self, partitions: Vec<PartitionId>) -> impl Future<Output = Result<(), AppendError>> + Send;

    /// Reads every block after `after` (from the oldest one kept when absent), then waits for new ones.
    fn read(&self, after: Option<BlockNumber>) -> Result<Self::Reader, ReadError>;

    /// The newest durable block; absent in an empty log.
    fn durable(&self) -> Option<BlockNumber>;

    /// No fold needs blocks up to and including `block` any more; they may go once past the limits of retention.
    fn release(&self, block: BlockNumber);
}

/// A cursor. Blocks come in order and without a gap.
pub trait LogReader: Send + 'static {
    /// The next block, from memory when it is recent; waits for one when there is none. `None`: the log has been closed and all is read.
    fn next(&mut self) -> impl Future<Output = Result<Option<Arc<Block>>, ReadError>> + Send;
}

/// What became of one item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    Accepted {
        partition: PartitionId,
        offset: Offset,
    },
    /// The same event stands at this offset already.
    Duplicate {
        partition: PartitionId,
        offset: Offset,
    },
    /// The id stands at this offset already, with other content. Nothing was stored.
    ContentDiffers {
        partition: PartitionId,
        offset: Offset,
    },
}

#[derive(Clone, Debug, Error)]
pub enum AppendError {
    #[error("the log's queue is full")]
    Overloaded,
    #[error("no space left for the log")]
    DiskFull,
    /// A write or fsync failed; nothing more is acknowledged until a restart has recovered the log.
    #[error("the log stopped after a failed write: {0}")]
    Poisoned(Arc<str>),
    #[error("the log is closing")]
    Closing,
}

#[derive(Debug, Error)]
pub enum ReadError {
    #[error("block {wanted:?} is not kept any more; the oldest is {oldest:?}")]
    Gone { wanted: BlockNumber, oldest: BlockNumber },
    /// The caller's checkpoint has seen blocks that the log lost.
    #[error("the log ends at block {last:?}, before block {after:?}")]
    Ahead { after: BlockNumber, last: BlockNumber },
    #[error("corrupt block after {after:?} in {file}: {what}")]
    Corrupt { after: Option<BlockNumber>, file: String, what: String },
    #[error("{file} has format {found}; this version reads up to {supported}")]
    NewerFormat { file: String, found: u8, supported: u8 },
    #[error("reading the log failed")]
    Io(#[from] std::io::Error),
}
