//! What the appender does around its blocks: segments made ahead, segments retired, dedup snapshots. Never writes a block.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use super::cursor::{Cursor, Step};
use super::segment::{self, SegmentHeader};
use super::shared::Shared;
use super::snapshot;
use super::storage::{File as _, Storage};
use super::{WalOptions, random_salt};
use crate::log::ReadError;
use crate::log::block::BlockNumber;
use crate::log::dedup::Dedup;
use crate::model::id::Offset;
use crate::model::time::UnixMs;

/// A smaller segment is zeroed sooner than a thread is started.
const AHEAD_FROM_BYTES: u64 = 1 << 20;
const FORGOTTEN_AT_ONCE: u64 = 1 << 20;

pub(crate) struct Upkeep<S: Storage> {
    storage: Arc<S>,
    options: WalOptions,
    shared: Arc<Shared>,
    /// Zeroes the next segment while this one fills: tens of milliseconds that no block should wait for.
    making_spare: Option<JoinHandle<()>>,
    writing_snapshot: Option<JoinHandle<()>>,
    /// The segment before the newest, and how much of it the system has been told to forget.
    behind: Option<(S::File, u64)>,
    bytes_since_snapshot: u64,
    /// What all segments but the newest take up.
    pub(crate) older_bytes: u64,
    pub(crate) segments: usize,
    pub(crate) oldest_block_time: Option<UnixMs>,
}

impl<S: Storage> Upkeep<S> {
    pub(crate) fn new(storage: Arc<S>, options: WalOptions, shared: Arc<Shared>) -> Result<Self, ReadError> {
        let mut upkeep = Self {
            storage,
            options,
            shared,
            making_spare: None,
            writing_snapshot: None,
            behind: None,
            bytes_since_snapshot: 0,
            older_bytes: 0,
            segments: 0,
            oldest_block_time: None,
        };
        upkeep.measure()?;
        Ok(upkeep)
    }

    /// Counts a block that was written up to `at` of a segment of `file_bytes`; past its quarter, the next one is made ready.
    pub(crate) fn written(&mut self, block_bytes: usize, at: u64, file_bytes: u64, ingest_time: UnixMs) {
        self.bytes_since_snapshot += block_bytes as u64;
        self.oldest_block_time.get_or_insert(ingest_time);
        self.forget_behind(at);
        if at * 4 < file_bytes || self.making_spare.is_some() || self.options.segment_bytes < AHEAD_FROM_BYTES {
            return;
        }
        let (storage, bytes) = (Arc::clone(&self.storage), self.options.segment_bytes);
        let make = move || {
            if let Err(error) = segment::make_spare(storage.as_ref(), bytes) {
                tracing::debug!(%error, "no segment could be made ahead; it is tried again when it is needed");
            }
        };
        self.making_spare = start("wal-spare", make);
    }

    /// Takes over the file of the segment that was the newest until now.
    pub(crate) fn leave_behind(&mut self, file: S::File) {
        self.forget_behind(u64::MAX);
        self.behind = Some((file, 0));
    }

    /// Keeps as much of the log in the system's memory as one segment holds: as the newest one fills up to `at`, the one before it is forgotten up
    /// to there. Who reads what is older reads it from disk. Else the log would take all memory there is, and each page of it would be a new one.
    fn forget_behind(&mut self, at: u64) {
        if let Some((file, forgotten)) = &mut self.behind
            && at >= *forgotten + FORGOTTEN_AT_ONCE
        {
            let to = at.min(self.options.segment_bytes);
            file.forget(*forgotten..to);
            *forgotten = to;
        }
    }

    /// A new segment that starts with block `first`, with room for `bytes` bytes of blocks.
    pub(crate) fn next_segment(&mut self, first: BlockNumber, bytes: u64) -> io::Result<(S::File, SegmentHeader)> {
        wait_for(self.making_spare.take());
        let header = SegmentHeader { partitions: self.options.partitions, first, salt: random_salt(), recycled: false };
        let bytes = self.options.segment_bytes.max(bytes + segment::HEADER_BYTES);
        Ok((segment::create(self.storage.as_ref(), header, bytes)?, header))
    }

    /// Segments that no fold and no restart needs any more, and that are beyond the size or age kept, go.
    pub(crate) fn retire_old(&mut self, now: UnixMs) {
        if let Err(error) = self.try_retire_old(now).and_then(|()| self.measure()) {
            tracing::warn!(%error, "an old segment could not be taken out of use");
        }
    }

    fn try_retire_old(&self, now: UnixMs) -> Result<(), ReadError> {
        let needed_from = self.shared.released().min(self.shared.snapshot()).0 + 1;
        let kept = usize::try_from(self.options.max_bytes / self.options.segment_bytes.max(1)).unwrap_or(usize::MAX).max(1);
        let firsts = segment::list(self.storage.as_ref())?;
        let mut left = firsts.len();
        for pair in firsts.windows(2) {
            let beyond = left > kept || self.block_time(pair[1])?.is_some_and(|time| time + self.options.max_age < now);
            if pair[1].0 > needed_from || !beyond {
                break;
            }
            segment::retire(self.storage.as_ref(), pair[0], self.options.segment_bytes)?;
            left -= 1;
        }
        Ok(())
    }

    /// When the first block of this segment was written: all blocks of the one before it are at least as old.
    fn block_time(&self, first: BlockNumber) -> Result<Option<UnixMs>, ReadError> {
        let Some(mut cursor) = Cursor::open(&self.storage, first)? else {
            return Ok(None);
        };
        Ok(match cursor.step()? {
            Step::Block(header) if !header.skip => Some(header.ingest_time),
            _ => None,
        })
    }

    fn measure(&mut self) -> Result<(), ReadError> {
        let firsts = segment::list(self.storage.as_ref())?;
        self.segments = firsts.len();
        self.older_bytes = 0;
        for first in firsts.iter().rev().skip(1) {
            self.older_bytes += self.storage.open(&segment::name(*first))?.len()?;
        }
        self.oldest_block_time = match firsts.first() {
            Some(first) => self.block_time(*first)?,
            None => None,
        };
        Ok(())
    }

    /// Copies the ids now and writes them on a thread of their own: the next block does not wait. Only once the log has grown by as much as
    /// the snapshot takes up, so that snapshots never cost more than the log itself.
    pub(crate) fn snapshot(&mut self, block: BlockNumber, ingest_time: UnixMs, next_offsets: &[Offset], dedup: &Dedup) {
        let running = self.writing_snapshot.as_ref().is_some_and(|writing| !writing.is_finished());
        if running || self.bytes_since_snapshot < snapshot::size_bytes(dedup) {
            return;
        }
        self.bytes_since_snapshot = 0;
        let bytes = snapshot::encode(block, ingest_time, next_offsets, dedup);
        let (storage, shared) = (Arc::clone(&self.storage), Arc::clone(&self.shared));
        let write = move || match snapshot::write(storage.as_ref(), &bytes) {
            Ok(()) => shared.set_snapshot(block),
            Err(error) => tracing::warn!(%error, "the dedup snapshot could not be written; a restart will read more of the log"),
        };
        self.writing_snapshot = start("wal-snapshot", write);
    }

    /// Waits for what is still being written.
    pub(crate) fn finish(&mut self) {
        wait_for(self.making_spare.take());
        wait_for(self.writing_snapshot.take());
    }
}

fn start(name: &str, work: impl FnOnce() + Send + 'static) -> Option<JoinHandle<()>> {
    let started = std::thread::Builder::new().name(name.to_owned()).spawn(work);
    started.inspect_err(|error| tracing::warn!(%error, name, "a thread of the log could not be started")).ok()
}

fn wait_for(thread: Option<JoinHandle<()>>) {
    if thread.is_some_and(|thread| thread.join().is_err()) {
        tracing::error!("a thread of the log panicked");
    }
}
