//! The unit of the log as folds see it: what one commit made durable, grouped by partition. Never knows bytes on disk.

use crate::log::records::Records;
use crate::model::id::{Offset, PartitionId};
use crate::model::time::UnixMs;

/// Numbers the commit blocks of a lane from 1, without a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockNumber(pub u64);

/// One commit: at most one entry a partition.
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    pub number: BlockNumber,
    /// Never decreases from block to block.
    pub ingest_time: UnixMs,
    pub entries: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub partition: PartitionId,
    /// The first event's offset; the others follow it one by one.
    pub first_offset: Offset,
    pub kind: EntryKind,
}

#[derive(Clone, Debug, PartialEq)]
pub enum EntryKind {
    Events(Records),
    /// Time passed and nothing arrived. Takes up no offset.
    Clock,
}
