//! What the appender, the callers and the readers look at together: the newest blocks, how far the log is durable, what it has to say of itself.
//! Never touches the disk.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::log::AppendError;
use crate::log::block::{Block, BlockNumber, Entry};
use crate::model::time::UnixMs;

#[derive(Debug)]
pub(crate) struct Shared {
    ring: Mutex<Ring>,
    ring_bytes: usize,
    durable: watch::Sender<Durable>,
    poisoned: Mutex<Option<AppendError>>,
    stats: Mutex<WalStats>,
    block: Mutex<BlockTime>,
    released: AtomicU64,
    snapshot: AtomicU64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Durable {
    pub(crate) last: u64,
    pub(crate) closed: bool,
}

/// The log's numbers, as of its newest block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WalStats {
    /// Bytes of all segments, the newest counted as far as it is written.
    pub log_bytes: u64,
    pub segments: usize,
    /// Ingest time of the oldest block kept.
    pub oldest_block_time: Option<UnixMs>,
    pub dedup_ids: usize,
    /// Ids that had to go before their time, since the start.
    pub dedup_evicted_early: u64,
    /// All events ever appended, over all partitions.
    pub events: u64,
}

/// Of the newest block, from the first look at its events until it was durable.
#[derive(Clone, Copy, Debug)]
enum BlockTime {
    Since(Instant),
    Took { took: Duration, ended: Instant },
}

/// A block that ended longer ago says nothing of what the next one will take: a log that nobody writes to would else look slow for ever.
const BLOCK_TIME_HOLDS: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
struct Ring {
    blocks: VecDeque<(Arc<Block>, usize)>,
    bytes: usize,
}

impl Shared {
    pub(crate) fn new(ring_bytes: usize, last: BlockNumber, snapshot: BlockNumber) -> Self {
        Self {
            ring: Mutex::default(),
            ring_bytes,
            durable: watch::Sender::new(Durable { last: last.0, closed: false }),
            poisoned: Mutex::new(None),
            stats: Mutex::default(),
            block: Mutex::new(BlockTime::Took { took: Duration::ZERO, ended: Instant::now() }),
            released: AtomicU64::new(0),
            snapshot: AtomicU64::new(snapshot.0),
        }
    }

    /// Lets readers see a durable block whose records lie in a buffer of `held_bytes`.
    pub(crate) fn publish(&self, block: Arc<Block>, held_bytes: usize) {
        let last = block.number.0;
        let bytes = memory_bytes(&block, held_bytes);
        // Dropped after the lock is: freeing takes a while.
        let mut gone = Vec::new();
        {
            let mut ring = self.ring.lock();
            ring.bytes += bytes;
            ring.blocks.push_back((block, bytes));
            while ring.bytes > self.ring_bytes && ring.blocks.len() > 1 {
                let oldest = ring.blocks.pop_front().expect("more than one");
                ring.bytes -= oldest.1;
                gone.push(oldest);
            }
        }
        self.durable.send_modify(|durable| durable.last = last);
    }

    /// A block that is still in memory.
    pub(crate) fn recent(&self, number: u64) -> Option<Arc<Block>> {
        let ring = self.ring.lock();
        let first = ring.blocks.front()?.0.number.0;
        let index = usize::try_from(number.checked_sub(first)?).ok()?;
        ring.blocks.get(index).map(|(block, _)| Arc::clone(block))
    }

    pub(crate) fn begin_block(&self) {
        *self.block.lock() = BlockTime::Since(Instant::now());
    }

    pub(crate) fn end_block(&self) {
        let mut block = self.block.lock();
        if let BlockTime::Since(began) = *block {
            *block = BlockTime::Took { took: began.elapsed(), ended: Instant::now() };
        }
    }

    /// How long the block under way has taken so far, or the last one took, if that is not long ago.
    pub(crate) fn write_time(&self) -> Duration {
        match *self.block.lock() {
            BlockTime::Since(began) => began.elapsed(),
            BlockTime::Took { took, ended } if ended.elapsed() <= BLOCK_TIME_HOLDS => took,
            BlockTime::Took { .. } => Duration::ZERO,
        }
    }

    pub(crate) fn durable(&self) -> Durable {
        *self.durable.borrow()
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Durable> {
        self.durable.subscribe()
    }

    pub(crate) fn close(&self) {
        self.durable.send_modify(|durable| durable.closed = true);
    }

    /// After a failed write or fsync nobody knows what is on disk: no more acknowledgements from this process.
    pub(crate) fn poison(&self, error: &io::Error) -> AppendError {
        tracing::error!(%error, "a write to the log failed; nothing is acknowledged until a restart");
        let error = AppendError::Poisoned(Arc::from(error.to_string()));
        self.poisoned.lock().get_or_insert(error).clone()
    }

    pub(crate) fn poisoned(&self) -> Option<AppendError> {
        self.poisoned.lock().clone()
    }

    pub(crate) fn stats(&self) -> WalStats {
        *self.stats.lock()
    }

    pub(crate) fn set_stats(&self, stats: WalStats) {
        *self.stats.lock() = stats;
    }

    pub(crate) fn released(&self) -> BlockNumber {
        BlockNumber(self.released.load(Ordering::Acquire))
    }

    pub(crate) fn release(&self, block: BlockNumber) {
        self.released.fetch_max(block.0, Ordering::AcqRel);
    }

    /// The block up to which the dedup ids and offsets are on disk, outside the log.
    pub(crate) fn snapshot(&self) -> BlockNumber {
        BlockNumber(self.snapshot.load(Ordering::Acquire))
    }

    pub(crate) fn set_snapshot(&self, block: BlockNumber) {
        self.snapshot.fetch_max(block.0, Ordering::AcqRel);
    }
}

/// What a block takes up: its bytes as they were written, which its records share, and an entry a partition.
fn memory_bytes(block: &Block, held_bytes: usize) -> usize {
    held_bytes + size_of::<Block>() + block.entries.len() * size_of::<Entry>()
}
