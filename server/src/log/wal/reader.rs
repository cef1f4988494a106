//! A reader of the log: from memory where the block is recent, else from disk, off the async threads. Never holds up the appender.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use tokio::sync::watch;

use super::cursor::{Cursor, Step};
use super::segment;
use super::shared::{Durable, Shared};
use super::storage::{Disk, Storage};
use crate::log::block::{Block, BlockNumber};
use crate::log::{LogReader, ReadError};

/// Blocks read in one go at most, and the bytes after which a go ends.
const DISK_BLOCKS: usize = 64;
const DISK_BYTES: usize = 4 << 20;

/// A cursor of one fold. Dropping the future of `next` loses no block.
pub struct WalReader<S: Storage = Disk> {
    storage: Arc<S>,
    shared: Arc<Shared>,
    durable: watch::Receiver<Durable>,
    pub(super) after: u64,
    /// Stands where disk reading left off; dropped once the ring has caught up.
    cursor: Option<Cursor<S>>,
    ready: VecDeque<Arc<Block>>,
}

impl<S: Storage> WalReader<S> {
    /// Stands before the block that follows `after`, or before the oldest one.
    pub(super) fn open(storage: &Arc<S>, shared: &Arc<Shared>, after: Option<BlockNumber>) -> Result<Self, ReadError> {
        let oldest = segment::list(storage.as_ref())?.first().copied().unwrap_or(BlockNumber(1));
        let durable = shared.subscribe();
        let last = durable.borrow().last;
        let after = after.map_or(oldest.0 - 1, |block| block.0);
        if after + 1 < oldest.0 {
            return Err(ReadError::Gone { wanted: BlockNumber(after + 1), oldest });
        }
        if after > last {
            return Err(ReadError::Ahead { after: BlockNumber(after), last: BlockNumber(last) });
        }
        Ok(Self { storage: Arc::clone(storage), shared: Arc::clone(shared), durable, after, cursor: None, ready: VecDeque::new() })
    }

    async fn read_disk(&mut self, durable: u64) -> Result<(), ReadError> {
        let (cursor, storage, after) = (self.cursor.take(), Arc::clone(&self.storage), self.after);
        let read = move || {
            let blocks = read_blocks(cursor, &storage, after, durable);
            blocks.map_err(|error| gone_meanwhile(storage.as_ref(), after).unwrap_or(error))
        };
        let (cursor, blocks) = tokio::task::spawn_blocking(read).await.map_err(|error| ReadError::Io(io::Error::other(error)))??;
        self.cursor = Some(cursor);
        self.ready = blocks;
        Ok(())
    }
}

impl<S: Storage> LogReader for WalReader<S> {
    async fn next(&mut self) -> Result<Option<Arc<Block>>, ReadError> {
        loop {
            if let Some(block) = self.ready.pop_front().or_else(|| self.shared.recent(self.after + 1)) {
                self.after = block.number.0;
                return Ok(Some(block));
            }
            let durable = *self.durable.borrow_and_update();
            if self.after < durable.last {
                self.read_disk(durable.last).await?;
            } else if durable.closed || self.durable.changed().await.is_err() {
                return Ok(None);
            } else {
                self.cursor = None;
            }
        }
    }
}

type DiskRead<S> = (Cursor<S>, VecDeque<Arc<Block>>);

/// Reads some of the blocks in `after + 1 ..= durable`.
fn read_blocks<S: Storage>(cursor: Option<Cursor<S>>, storage: &Arc<S>, after: u64, durable: u64) -> Result<DiskRead<S>, ReadError> {
    let mut cursor = match cursor {
        Some(cursor) => cursor,
        None => {
            Cursor::open(storage, BlockNumber(after + 1))?.ok_or(ReadError::Gone { wanted: BlockNumber(after + 1), oldest: BlockNumber(durable) })?
        }
    };
    let (mut blocks, mut bytes, mut reached) = (VecDeque::new(), 0, after);
    while blocks.len() < DISK_BLOCKS && bytes < DISK_BYTES && reached < durable {
        match cursor.step()? {
            Step::Block(header) if header.number > durable => break,
            Step::Block(header) => {
                if header.number > after {
                    blocks.push_back(Arc::new(cursor.decode(&header)?));
                    bytes += header.body_bytes;
                }
                reached = reached.max(header.number);
                cursor.pass(&header);
            }
            // Blocks that are durable are there, so this is damage; what was read before it is good and comes first.
            Step::Damage { .. } | Step::End if blocks.is_empty() => {
                return Err(cursor.corrupt(format!("block {} is not where it was written", reached + 1)));
            }
            Step::Damage { .. } | Step::End => break,
        }
    }
    Ok((cursor, blocks))
}

/// A segment that retention took while it was read looks damaged, and is not.
fn gone_meanwhile(storage: &impl Storage, after: u64) -> Option<ReadError> {
    let oldest = segment::list(storage).ok()?.first().copied()?;
    (after + 1 < oldest.0).then_some(ReadError::Gone { wanted: BlockNumber(after + 1), oldest })
}
