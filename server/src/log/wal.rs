//! The embedded log: one lane, one appender thread, commit blocks in segment files. Never acknowledges before fdatasync has returned.

mod codec;
mod commit;
mod cursor;
pub mod reader;
mod recover;
mod repair;
mod segment;
pub mod shared;
mod snapshot;
pub mod storage;
mod upkeep;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use thiserror::Error;
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::clock::Clock;
use crate::log::block::BlockNumber;
use crate::log::dedup::DedupOptions;
use crate::log::prepare::Batch;
use crate::log::{AppendError, Appended, EventLog, ReadError};
use crate::model::id::PartitionId;
use commit::{Appender, Command};
use reader::WalReader;
use shared::{Shared, WalStats};
use storage::{Disk, Storage};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalOptions {
    /// Of a log yet to be created; another number than an existing log's is an error.
    pub partitions: u16,
    pub segment_bytes: u64,
    /// Segments beyond this go once nothing needs them.
    pub max_bytes: u64,
    /// So do segments whose blocks are all older than this.
    pub max_age: Duration,
    /// Recent blocks kept in memory for readers, as they are on disk; this many bytes with what their buffers leave free.
    pub ring_bytes: usize,
    /// Requests waiting for the appender. When there are as many, the next wait, and are refused after `QUEUE_WAIT`.
    pub queue: usize,
    /// Bytes of the records in these requests: full is treated the same.
    pub queue_bytes: usize,
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
            max_age: Duration::from_hours(72),
            ring_bytes: 32 << 20,
            queue: 1024,
            queue_bytes: 64 << 20,
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
    /// Places for the bytes of waiting requests, in KiB.
    room: Arc<Semaphore>,
    room_kib: u32,
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
        let shared = Arc::new(Shared::new(options.ring_bytes, tail.last, tail.snapshot));
        let (commands, receiver) = mpsc::channel(options.queue);
        let appender = Appender::new(Arc::clone(&storage), options, clock, tail, Arc::clone(&shared))?;
        std::thread::Builder::new().name("wal".to_owned()).spawn(move || appender.run(receiver)).map_err(OpenError::Thread)?;
        let room_kib = u32::try_from(options.queue_bytes >> 10).unwrap_or(u32::MAX >> 3).max(1);
        let room = Arc::new(Semaphore::new(room_kib as usize));
        Ok(Arc::new(Self { partitions: options.partitions, storage, shared, commands: Mutex::new(Some(commands)), room, room_kib }))
    }

    /// Takes no more; returns when all that was taken is durable. Readers end once they have read it.
    pub async fn close(&self) {
        drop(self.commands.lock().take());
        let mut durable = self.shared.subscribe();
        // The sender lives in `shared`, so this ends only by the flag.
        drop(durable.wait_for(|durable| durable.closed).await);
    }

    /// Why nothing is acknowledged any more, when that is so.
    pub fn poisoned(&self) -> Option<AppendError> {
        self.shared.poisoned()
    }

    pub fn stats(&self) -> WalStats {
        self.shared.stats()
    }

    /// What an append takes at present, without its wait for the block before.
    pub fn write_time(&self) -> Duration {
        self.shared.write_time()
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
        let kib = u32::try_from(batch.bytes.len() >> 10).unwrap_or(u32::MAX).saturating_add(1).min(self.room_kib);
        let room = tokio::time::timeout(QUEUE_WAIT, Arc::clone(&self.room).acquire_many_owned(kib)).await;
        let room = room.map_err(|_elapsed| AppendError::Overloaded)?.map_err(|_closed| AppendError::Closing)?;
        let (reply, answer) = oneshot::channel();
        // The place is given back with the command, also when this caller goes away before the answer.
        self.ask(Command::Append { batch, reply, room }, answer).await
    }

    async fn append_clock(&self, partitions: Vec<PartitionId>) -> Result<(), AppendError> {
        let (reply, answer) = oneshot::channel();
        self.ask(Command::Clock { partitions, reply }, answer).await
    }

    fn read(&self, after: Option<BlockNumber>) -> Result<WalReader<S>, ReadError> {
        WalReader::open(&self.storage, &self.shared, after)
    }

    fn durable(&self) -> Option<BlockNumber> {
        Some(BlockNumber(self.shared.durable().last)).filter(|block| block.0 > 0)
    }

    fn release(&self, block: BlockNumber) {
        self.shared.release(block);
        let commands = self.commands.lock().clone();
        if let Some(Err(error)) = commands.map(|commands| commands.try_send(Command::Released)) {
            tracing::debug!(%error, "the appender is busy; the next release asks again for a dedup snapshot");
        }
    }
}

/// Makes a segment's blocks its own: what a recycled file held before fails the checksum.
fn random_salt() -> u64 {
    rand::random()
}

#[cfg(test)]
mod faulty;
#[cfg(test)]
mod tests;
