//! What was refused is kept: the raw bytes, why, and when, in a store of its own. Never decodes an event and never decides what is refused.
//!
//! Who has something to be kept waits for room in a bounded queue and then for the write: so only who sends poison is held up, and never for longer than
//! `PATIENCE`. A letter that is answered for has been written by `SQLite` in WAL mode without a sync: the end of the process loses none, a power cut may lose the
//! last moments. What finds no room, or cannot be written, is dropped and counted: the event log is the truth, and this is no part of it.

mod changes;
pub mod filter;
mod held;
pub mod letter;
mod queries;
pub mod writer;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::clock::Clock;
use crate::model::id::TenantId;
use crate::model::time::UnixMs;
use filter::{Cursor, Filter};
use letter::{About, Fault, Letter, LetterId, Place};
use queries::Read;
use writer::{Command, Parcel, Settlement, Writer};

/// How long who brings letters waits for room and for their write, together.
const PATIENCE: Duration = Duration::from_secs(1);
/// Bytes of letters that wait for the writer, at most.
const QUEUE_BYTES: usize = 8 << 20;
/// Parcels and questions that wait for the writer, at most.
const QUEUE_COMMANDS: usize = 256;
/// A parcel is closed when it is this large: so one of many letters does not wait for room for all of them.
const PARCEL_BYTES: u64 = 256 << 10;
/// Of events that could not be applied, as many bytes as a start tries again.
const PARKED_BYTES: usize = 32 << 20;
/// Who looks; the writer has a connection of its own.
const READERS: u32 = 2;
/// How long who looks waits for those who look already.
const READER_PATIENCE: Duration = Duration::from_secs(5);

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Of all tenants together. When it is passed, the oldest letters go of the tenant that holds the most: a flood of one washes away nothing of another.
    pub max_bytes: u64,
    pub max_age: Duration,
}

#[derive(Debug, Error)]
pub enum DeadLettersError {
    #[error("the store of dead letters failed")]
    Sqlite(#[from] sqlx::Error),
    #[error("the schema of the store of dead letters could not be brought up to date")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    #[error("the store of dead letters holds a row that is no letter: {0}")]
    BadRow(&'static str),
    /// The writer has ended or could not do it; it has said why.
    #[error("the store of dead letters does not write")]
    NotWritten,
}

/// The way to the store. Cheap to clone.
#[derive(Clone, Debug)]
pub struct DeadLetters {
    commands: mpsc::Sender<Command>,
    room: Arc<Semaphore>,
    pool: SqlitePool,
}

/// A letter as it is kept, without its raw bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its place in the order of arrival.
    pub cursor: Cursor,
    pub about: About,
}

/// An event of the log that could not be applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parked {
    pub tenant: TenantId,
    pub cursor: Cursor,
    pub place: Place,
    pub ingest_time: UnixMs,
    /// As it stands in the log.
    pub record: Vec<u8>,
}

/// A page of letters, and where the next one begins.
#[derive(Clone, Debug)]
pub struct Page<T> {
    pub letters: Vec<T>,
    /// `None`: there is no more.
    pub next: Option<Cursor>,
}

/// A letter that was tried again in vain, and why now.
#[derive(Clone, Debug)]
pub struct RefusedAgain<'a> {
    pub cursor: Cursor,
    pub fault: Fault<'a>,
}

impl DeadLetters {
    /// Opens the store in the folder `data`. The writer is to be run: nothing is kept before.
    pub async fn open(data: &Path, bounds: Bounds, clock: Clock) -> Result<(Self, Writer), DeadLettersError> {
        let options = SqliteConnectOptions::new()
            .filename(data.join("dead_letters.db"))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(Duration::from_secs(5));
        let pool = SqlitePoolOptions::new().max_connections(1 + READERS).acquire_timeout(READER_PATIENCE).connect_with(options).await?;
        sqlx::migrate!("./migrations-dead-letters").run(&pool).await?;
        let (commands, inbox) = mpsc::channel(QUEUE_COMMANDS);
        let writer = Writer::new(pool.acquire().await?, inbox, bounds, clock).await?;
        Ok((Self { commands, room: Arc::new(Semaphore::new(QUEUE_BYTES)), pool }, writer))
    }

    /// Keeps nothing.
    #[cfg(test)]
    pub(crate) fn closed() -> Self {
        let pool = SqlitePool::connect_lazy("sqlite::memory:").expect("an address");
        Self { commands: mpsc::channel(1).0, room: Arc::new(Semaphore::new(QUEUE_BYTES)), pool }
    }

    /// Keeps these, in their order. Returns when they are written, or when patience ends: what has found no room by then is dropped and counted.
    pub async fn keep(&self, letters: Vec<Letter>) {
        let deadline = Instant::now() + PATIENCE;
        let mut receipts = Vec::new();
        for letters in parcels(letters) {
            let count = letters.len() as u64;
            match timeout_at(deadline, self.hand_over(letters)).await {
                Ok(Some(receipt)) => receipts.push(receipt),
                Ok(None) | Err(_) => counter!("waypost_dead_letters_dropped_total").increment(count),
            }
        }
        for receipt in receipts {
            // Whether it was written is counted by the writer; who waits only wants to know that it is over.
            drop(timeout_at(deadline, receipt).await);
        }
    }

    /// Waits for room; nothing when the writer has ended.
    async fn hand_over(&self, letters: Vec<Letter>) -> Option<oneshot::Receiver<()>> {
        let room = self.room_for(&letters).await?;
        let (written, receipt) = oneshot::channel();
        self.commands.send(Command::Keep(Parcel { letters, room, written })).await.ok()?;
        Some(receipt)
    }

    async fn room_for(&self, letters: &[Letter]) -> Option<OwnedSemaphorePermit> {
        let bytes: u64 = letters.iter().map(Letter::charge).sum();
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(u32::try_from(QUEUE_BYTES).unwrap_or(u32::MAX));
        Arc::clone(&self.room).acquire_many_owned(bytes).await.ok()
    }

    /// Those of `tenant` that `filter` lets through, the newest first.
    pub async fn page(&self, tenant: TenantId, filter: &Filter, before: Option<Cursor>, limit: usize) -> Result<Page<Kept>, DeadLettersError> {
        Read(&self.pool).page(tenant, filter, before, limit).await
    }

    /// One letter with its raw bytes.
    pub async fn get(&self, tenant: TenantId, id: LetterId) -> Result<Option<(Kept, Vec<u8>)>, DeadLettersError> {
        Read(&self.pool).get(tenant, id).await
    }

    /// Those of `tenant` that `filter` lets through with their raw bytes, the oldest first: at most `limit`, and no more after `bytes` of them.
    pub async fn batch(
        &self,
        tenant: TenantId,
        filter: &Filter,
        after: Option<Cursor>,
        limit: usize,
        bytes: usize,
    ) -> Result<Page<(Kept, Vec<u8>)>, DeadLettersError> {
        Read(&self.pool).batch(tenant, filter, after, limit, bytes).await
    }

    /// The events that could not be applied, of all tenants, the oldest first.
    pub async fn parked(&self) -> Result<Vec<Parked>, DeadLettersError> {
        Read(&self.pool).parked(PARKED_BYTES).await
    }

    /// Takes out what need not be kept any longer and notes what was refused again. Says how many letters were taken out.
    pub async fn settle(&self, tenant: TenantId, removed: Vec<Cursor>, again: Vec<RefusedAgain<'_>>) -> Result<u64, DeadLettersError> {
        let again = again
            .into_iter()
            .map(|RefusedAgain { cursor, fault }| (cursor, fault.reason, letter::cut(fault.pointer), letter::cut(fault.detail)))
            .collect();
        self.command(tenant, Settlement { removed, again, ..Settlement::default() }).await
    }

    /// Puts `parts` in the place of the letter that they were one, in one go: when they cannot be written it stays, and when it is gone already, taken
    /// apart or let go by somebody else, they are not written.
    pub async fn replace(&self, tenant: TenantId, whole: Cursor, parts: Vec<Letter>) -> Result<(), DeadLettersError> {
        let room = self.room_for(&parts).await.ok_or(DeadLettersError::NotWritten)?;
        let settlement = Settlement { removed: vec![whole], parts, room: Some(room), ..Settlement::default() };
        self.command(tenant, settlement).await.map(drop)
    }

    async fn command(&self, tenant: TenantId, settlement: Settlement) -> Result<u64, DeadLettersError> {
        let (done, answer) = oneshot::channel();
        self.commands.send(Command::Settle(tenant, settlement, done)).await.map_err(|_ended| DeadLettersError::NotWritten)?;
        answer.await.map_err(|_failed| DeadLettersError::NotWritten)
    }

    /// Takes one letter out; says whether there was one.
    pub async fn remove(&self, tenant: TenantId, id: LetterId) -> Result<bool, DeadLettersError> {
        let Some(cursor) = Read(&self.pool).find(tenant, id).await? else { return Ok(false) };
        Ok(self.settle(tenant, vec![cursor], Vec::new()).await? > 0)
    }

    /// Ends the store; the writer has ended before.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// Takes a request's letters apart so that none of the parts wants the whole queue for itself.
fn parcels(letters: Vec<Letter>) -> impl Iterator<Item = Vec<Letter>> {
    let mut letters = letters.into_iter().peekable();
    std::iter::from_fn(move || {
        let mut bytes = letters.peek()?.charge();
        let mut parcel: Vec<Letter> = letters.next().into_iter().collect();
        while let Some(next) = letters.next_if(|next| bytes + next.charge() <= PARCEL_BYTES) {
            bytes += next.charge();
            parcel.push(next);
        }
        Some(parcel)
    })
}

#[cfg(test)]
mod tests;
