//! The embedded log: one lane, one appender thread, commit blocks in segment files. Never acknowledges before fdatasync has returned.

mod codec;
mod commit;
mod cursor;
#[cfg(test)]
mod faulty;
mod recover;
mod segment;
mod snapshot;
pub mod storage;

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};

use crate::clock::Clock;
use crate::log::block::{Block, BlockNumber};
use crate::log::dedup::DedupOptions;
use crate::log::prepare::Batch;
use crate::log::{AppendError, Appended, EventLog, LogReader, ReadError};
use crate::model::id::PartitionId;
use commit::{Appender, Command};
use cursor::{Cursor, Step};
use storage::{Disk, Storage};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalOptions {
    /// Of a log yet to be created; another number than an existing log's is an error.
    pub partitions: u16,
    pub segment_bytes: u64,
    /// Segments beyond this go once nothing needs them.
    pub max_bytes: u64,
    /// Recent blocks kept in memory for readers.
    pub ring_bytes: usize,
    /// Requests waiting for the appender.
    pub queue: usize,
    pub dedup: DedupOptions,
    /// Put corrupt parts aside instead of refusing to open.
    pub repair: bool,
}

impl Default for WalOptions {
    fn default() -> Self {
        Self {
            partitions: 64,
            segment_bytes: 64 << 20,
            max_bytes: 8 << 30,
            ring_bytes: 32 << 20,
            queue: 1024,
            dedup: DedupOptions::default(),
            repair: false,
        }
    }
}

#[derive(Debug, Error)]
pub enum OpenError {
    #[error("the log was created with {found} partitions, not {wanted}; the number is fixed for the life of a log")]
    Partitions { found: u16, wanted: u16 },
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("the appender thread cannot be started")]
    Thread(#[source] io::Error),
}

/// How long an append waits for a place in the queue.
const QUEUE_WAIT: Duration = Duration::from_secs(2);

/// The log of one data folder.
#[derive(Debug)]
pub struct Wal<S: Storage = Disk> {
    partitions: u16,
    storage: Arc<S>,
    shared: Arc<Shared>,
    /// Gone once the log is closing.
    commands: Mutex<Option<mpsc::Sender<Command>>>,
}

/// What the appender, the callers and the readers look at together.
#[derive(Debug)]
pub(crate) struct Shared {
    ring: Mutex<Ring>,
    ring_bytes: usize,
    durable: watch::Sender<Durable>,
    poisoned: Mutex<Option<AppendError>>,
    released: AtomicU64,
    snapshot: AtomicU64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Durable {
    last: u64,
    closed: bool,
}

#[derive(Debug, Default)]
struct Ring {
    blocks: VecDeque<(Arc<Block>, usize)>,
    bytes: usize,
}

impl Wal<Disk> {
    /// Opens the log in `folder`, creating it when there is none; recovers what a crash left.
    pub fn open(folder: &Path, options: WalOptions, clock: Clock) -> Result<Arc<Self>, OpenError> {
        let disk = Disk::new(folder).map_err(ReadError::Io)?;
        Self::open_in(disk, options, clock)
    }
}

impl<S: Storage> Wal<S> {
    pub fn open_in(storage: S, options: WalOptions, clock: Clock) -> Result<Arc<Self>, OpenError> {
        let storage = Arc::new(storage);
        let tail = recover::recover(&storage, &options)?;
        if tail.torn {
            tracing::info!(after = tail.last.0, "the log's last block was torn and is gone; it had not been acknowledged");
        }
        let shared = Arc::new(Shared {
            ring: Mutex::default(),
            ring_bytes: options.ring_bytes,
            durable: watch::Sender::new(Durable { last: tail.last.0, closed: false }),
            poisoned: Mutex::new(None),
            released: AtomicU64::new(0),
            snapshot: AtomicU64::new(tail.snapshot.0),
        });
        let (commands, receiver) = mpsc::channel(options.queue);
        let appender = Appender {
            storage: Arc::clone(&storage),
            options,
            clock,
            tail,
            shared: Arc::clone(&shared),
            builder: codec::Builder::default(),
            snapshot_running: Arc::new(AtomicBool::new(false)),
        };
        std::thread::Builder::new().name("wal".to_owned()).spawn(move || appender.run(receiver)).map_err(OpenError::Thread)?;
        Ok(Arc::new(Self { partitions: options.partitions, storage, shared, commands: Mutex::new(Some(commands)) }))
    }

    /// Takes no more; returns when all that was taken is durable. Readers end once they have read it.
    pub async fn close(&self) {
        drop(self.commands.lock().take());
        let mut durable = self.shared.durable.subscribe();
        // The sender lives in `shared`, so this ends only by the flag.
        drop(durable.wait_for(|durable| durable.closed).await);
    }

    /// Why nothing is acknowledged any more, when that is so.
    pub fn poisoned(&self) -> Option<AppendError> {
        self.shared.poisoned()
    }

    async fn ask<T>(&self, command: Command, reply: oneshot::Receiver<Result<T, AppendError>>) -> Result<T, AppendError> {
        let commands = self.commands.lock().clone().ok_or(AppendError::Closing)?;
        match commands.send_timeout(command, QUEUE_WAIT).await {
            Ok(()) => {}
            Err(mpsc::error::SendTimeoutError::Timeout(_)) => return Err(AppendError::Overloaded),
            Err(mpsc::error::SendTimeoutError::Closed(_)) => return Err(AppendError::Closing),
        }
        drop(commands);
        reply.await.unwrap_or(Err(AppendError::Closing))
    }
}

impl<S: Storage> EventLog for Wal<S> {
    type Reader = WalReader<S>;

    fn partitions(&self) -> u16 {
        self.partitions
    }

    async fn append(&self, batch: Batch) -> Result<Vec<Appended>, AppendError> {
        let (reply, answer) = oneshot::channel();
        self.ask(Command::Append { batch, reply }, answer).await
    }

    async fn append_clock(&self, partitions: Vec<PartitionId>) -> Result<(), AppendError> {
        let (reply, answer) = oneshot::channel();
        self.ask(Command::Clock { partitions, reply }, answer).await
    }

    fn read(&self, after: Option<BlockNumber>) -> Result<WalReader<S>, ReadError> {
        let oldest = segment::list(self.storage.as_ref())?.first().copied().unwrap_or(BlockNumber(1));
        let after = after.map_or(oldest.0 - 1, |block| block.0);
        if after + 1 < oldest.0 {
            return Err(ReadError::Gone { wanted: BlockNumber(after + 1), oldest });
        }
        let (storage, shared) = (Arc::clone(&self.storage), Arc::clone(&self.shared));
        Ok(WalReader { durable: shared.durable.subscribe(), storage, shared, after, cursor: None, ready: VecDeque::new() })
    }

    fn durable(&self) -> Option<BlockNumber> {
        Some(BlockNumber(self.shared.durable.borrow().last)).filter(|block| block.0 > 0)
    }

    fn release(&self, block: BlockNumber) {
        self.shared.released.fetch_max(block.0, Ordering::AcqRel);
        let commands = self.commands.lock().clone();
        if let Some(Err(error)) = commands.map(|commands| commands.try_send(Command::Snapshot)) {
            tracing::debug!(%error, "the appender is busy; the next checkpoint will ask again for a dedup snapshot");
        }
    }
}

/// A reader of the log: from memory where the block is recent, else from disk.
pub struct WalReader<S: Storage = Disk> {
    storage: Arc<S>,
    shared: Arc<Shared>,
    durable: watch::Receiver<Durable>,
    after: u64,
    /// Stands where disk reading left off; dropped once the ring has caught up.
    cursor: Option<Cursor<S>>,
    ready: VecDeque<Arc<Block>>,
}

/// Blocks decoded in one go off the async threads.
const DISK_BLOCKS: usize = 64;

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

impl<S: Storage> WalReader<S> {
    async fn read_disk(&mut self, durable: u64) -> Result<(), ReadError> {
        let (cursor, storage, after) = (self.cursor.take(), Arc::clone(&self.storage), self.after);
        let read = move || read_blocks(cursor, &storage, after, durable);
        let (cursor, blocks) = tokio::task::spawn_blocking(read).await.map_err(|error| ReadError::Io(io::Error::other(error)))??;
        self.cursor = Some(cursor);
        self.ready = blocks;
        Ok(())
    }
}

type DiskRead<S> = (Cursor<S>, VecDeque<Arc<Block>>);

fn read_blocks<S: Storage>(cursor: Option<Cursor<S>>, storage: &Arc<S>, after: u64, durable: u64) -> Result<DiskRead<S>, ReadError> {
    let mut cursor = match cursor {
        Some(cursor) => cursor,
        None => {
            Cursor::open(storage, BlockNumber(after + 1))?.ok_or(ReadError::Gone { wanted: BlockNumber(after + 1), oldest: BlockNumber(durable) })?
        }
    };
    let mut blocks = VecDeque::with_capacity(DISK_BLOCKS);
    while blocks.len() < DISK_BLOCKS {
        match cursor.step()? {
            Step::Block(header) if header.number > durable => break,
            Step::Block(header) => {
                if header.number > after && !header.skip {
                    blocks.push_back(Arc::new(cursor.decode(&header)?));
                }
                cursor.pass(&header);
            }
            Step::End if blocks.is_empty() => return Err(cursor.corrupt(format!("block {} is not where it was written", after + 1))),
            Step::End => break,
        }
        if blocks.back().is_some_and(|block| block.number.0 >= durable) {
            break;
        }
    }
    Ok((cursor, blocks))
}

impl Shared {
    /// Lets readers see a durable block.
    fn publish(&self, block: Arc<Block>, bytes: usize) {
        let last = block.number.0;
        {
            let mut ring = self.ring.lock();
            ring.bytes += bytes;
            ring.blocks.push_back((block, bytes));
            while ring.bytes > self.ring_bytes && ring.blocks.len() > 1 {
                let (_, gone) = ring.blocks.pop_front().expect("more than one");
                ring.bytes -= gone;
            }
        }
        self.durable.send_modify(|durable| durable.last = last);
    }

    fn recent(&self, number: u64) -> Option<Arc<Block>> {
        let ring = self.ring.lock();
        let first = ring.blocks.front()?.0.number.0;
        let index = usize::try_from(number.checked_sub(first)?).ok()?;
        ring.blocks.get(index).map(|(block, _)| Arc::clone(block))
    }

    fn close(&self) {
        self.durable.send_modify(|durable| durable.closed = true);
    }

    /// After a failed write or fsync nobody knows what is on disk: no more acknowledgements from this process.
    fn poison(&self, error: &io::Error) -> AppendError {
        tracing::error!(%error, "a write to the log failed; nothing is acknowledged until a restart");
        let error = AppendError::Poisoned(Arc::from(error.to_string()));
        self.poisoned.lock().get_or_insert(error).clone()
    }

    fn poisoned(&self) -> Option<AppendError> {
        self.poisoned.lock().clone()
    }

    fn released(&self) -> BlockNumber {
        BlockNumber(self.released.load(Ordering::Acquire))
    }

    fn snapshot(&self) -> BlockNumber {
        BlockNumber(self.snapshot.load(Ordering::Acquire))
    }

    fn set_snapshot(&self, block: BlockNumber) {
        self.snapshot.fetch_max(block.0, Ordering::AcqRel);
    }
}

/// Makes a segment's blocks its own: what a recycled file held before fails the checksum.
fn random_salt() -> u64 {
    rand::random()
}

#[cfg(test)]
mod tests;
