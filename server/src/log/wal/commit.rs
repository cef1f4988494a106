//! The appender: one thread, one block at a time, one fdatasync a block. Never starts a block before the one before it is durable.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use tokio::sync::{mpsc, oneshot};

use super::codec::Builder;
use super::recover::Tail;
use super::segment::{self, SegmentHeader};
use super::storage::{File as _, Storage};
use super::{Shared, WalOptions, random_salt, snapshot};
use crate::clock::Clock;
use crate::log::block::{Block, BlockNumber, Entry, EntryKind};
use crate::log::dedup::Verdict;
use crate::log::prepare::{Batch, Prepared};
use crate::log::{AppendError, Appended};
use crate::model::event::Event;
use crate::model::id::{Offset, PartitionId};

/// What a caller asks of the appender.
pub(crate) enum Command {
    Append {
        batch: Batch,
        reply: Reply<Vec<Appended>>,
    },
    Clock {
        partitions: Vec<PartitionId>,
        reply: Reply<()>,
    },
    /// Write down the dedup ids as they are now.
    Snapshot,
}

type Reply<T> = oneshot::Sender<Result<T, AppendError>>;

/// A block gathers at most this much, so that one fdatasync stays short and a block fits the smallest segment.
const MAX_BLOCK_BYTES: usize = 512 << 10;

pub(crate) struct Appender<S: Storage> {
    pub(crate) storage: Arc<S>,
    pub(crate) options: WalOptions,
    pub(crate) clock: Clock,
    pub(crate) tail: Tail<S>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) builder: Builder,
    pub(crate) snapshot_running: Arc<AtomicBool>,
}

/// A request whose outcome is known once the block is durable.
struct Pending {
    outcomes: Vec<Appended>,
    reply: Reply<Vec<Appended>>,
}

impl<S: Storage> Appender<S> {
    /// Runs until every sender is gone.
    pub(crate) fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut queue = VecDeque::new();
        while let Some(first) = commands.blocking_recv() {
            queue.push_back(first);
            while let Ok(next) = commands.try_recv() {
                queue.push_back(next);
            }
            while !queue.is_empty() {
                self.commit(&mut queue);
            }
        }
        self.shared.close();
    }

    /// Takes from the queue what fits one block, makes it durable and answers.
    fn commit(&mut self, queue: &mut VecDeque<Command>) {
        let (batches, clocks, want_snapshot) = take_fitting(queue);
        if let Some(error) = self.shared.poisoned() {
            return refuse(batches, clocks, &error);
        }
        let bytes: usize = batches.iter().map(|(batch, _)| batch.bytes.len() + batch.items.len() * 24).sum::<usize>() + clocks.len() * 4096 + 1024;
        match self.make_room(bytes as u64 + u64::from(self.options.partitions) * 16) {
            Ok(()) => {}
            Err(error) if is_full(&error) => {
                tracing::error!(%error, "no space left for the log: events are refused until there is");
                return refuse(batches, clocks, &AppendError::DiskFull);
            }
            Err(error) => {
                let error = self.shared.poison(&error);
                return refuse(batches, clocks, &error);
            }
        }
        let mut entries: Vec<Vec<(Event, std::ops::Range<usize>, usize)>> = Vec::new();
        entries.resize_with(usize::from(self.options.partitions), Vec::new);
        let mut pending = Vec::with_capacity(batches.len());
        let mut buffers = Vec::with_capacity(batches.len());
        for (batch, reply) in batches {
            let outcomes = batch.items.into_iter().map(|item| self.judge(item, buffers.len(), &mut entries)).collect();
            buffers.push(batch.bytes);
            pending.push(Pending { outcomes, reply });
        }
        let written = self.write_block(entries, &buffers, &clocks);
        answer(pending, clocks, &written);
        if want_snapshot && written.is_ok() {
            self.snapshot();
        }
    }

    fn judge(&mut self, item: Prepared, buffer: usize, entries: &mut [Vec<(Event, std::ops::Range<usize>, usize)>]) -> Appended {
        let partition = item.partition;
        let entry = &mut entries[partition.index()];
        let offset = Offset(self.tail.next_offsets[partition.index()].0 + entry.len() as u64);
        match self.tail.dedup.judge(item.candidate(), offset) {
            Verdict::New { late } => {
                let mut event = item.event;
                event.stamp.late = late;
                entry.push((event, item.range, buffer));
                Appended::Accepted { partition, offset }
            }
            Verdict::Duplicate { offset } => Appended::Duplicate { partition, offset },
            Verdict::ContentDiffers { offset } => Appended::ContentDiffers { partition, offset },
        }
    }

    /// Writes and syncs one block, then lets readers see it. Nothing to write is durable at once.
    fn write_block(
        &mut self,
        entries: Vec<Vec<(Event, std::ops::Range<usize>, usize)>>,
        buffers: &[Vec<u8>],
        clocks: &[(Vec<PartitionId>, Reply<()>)],
    ) -> Result<(), AppendError> {
        let number = BlockNumber(self.tail.last.0 + 1);
        let ingest_time = self.clock.now().max(self.tail.ingest_time);
        self.builder.start();
        let mut block = Block { number, ingest_time, entries: Vec::new() };
        for (index, records) in (0_u16..).zip(entries) {
            let partition = PartitionId(index);
            let clocked = clocks.iter().any(|(partitions, _)| partitions.contains(&partition));
            if records.is_empty() && !clocked {
                continue;
            }
            block.entries.push(self.add_entry(partition, records, buffers));
        }
        if block.entries.is_empty() {
            return Ok(());
        }
        let (bytes, crc) = self.builder.finish(number, self.tail.last_crc, ingest_time, self.tail.segment.salt);
        let written = bytes.len();
        let started = Instant::now();
        let synced = self.tail.file.write_at(self.tail.at, bytes).and_then(|()| self.tail.file.sync());
        metrics::histogram!("waypost_fdatasync_seconds").record(started.elapsed().as_secs_f64());
        synced.map_err(|error| self.shared.poison(&error))?;
        self.tail.at += written as u64;
        self.tail.last = number;
        self.tail.last_crc = crc;
        self.tail.ingest_time = ingest_time;
        self.shared.publish(Arc::new(block), written);
        metrics::gauge!("waypost_dedup_ids").set(u32::try_from(self.tail.dedup.len()).unwrap_or(u32::MAX));
        Ok(())
    }

    fn add_entry(&mut self, partition: PartitionId, records: Vec<(Event, std::ops::Range<usize>, usize)>, buffers: &[Vec<u8>]) -> Entry {
        let first_offset = self.tail.next_offsets[partition.index()];
        self.tail.next_offsets[partition.index()].0 += records.len() as u64;
        let (events, places): (Vec<Event>, Vec<_>) = records.into_iter().map(|(event, range, buffer)| (event, (range, buffer))).unzip();
        let kind = if events.is_empty() { EntryKind::Clock } else { EntryKind::Events(events) };
        self.builder.entry(partition, &kind, first_offset);
        if let EntryKind::Events(events) = &kind {
            for (event, (range, buffer)) in events.iter().zip(places) {
                self.builder.record(&buffers[buffer][range], event.stamp.late);
            }
        }
        Entry { partition, first_offset, kind }
    }

    /// Goes on to a new segment when this one has too little room left.
    fn make_room(&mut self, bytes: u64) -> io::Result<()> {
        if self.tail.at + bytes <= self.tail.file_bytes {
            return Ok(());
        }
        let header = SegmentHeader { partitions: self.options.partitions, first: BlockNumber(self.tail.last.0 + 1), salt: random_salt() };
        let file = segment::create(self.storage.as_ref(), header, self.options.segment_bytes.max(bytes + segment::HEADER_BYTES))?;
        self.tail.file_bytes = file.len()?;
        self.tail.file = file;
        self.tail.segment = header;
        self.tail.at = segment::HEADER_BYTES;
        self.retire_old();
        Ok(())
    }

    /// Segments that no fold and no restart needs any more, and that are beyond the size kept, go.
    fn retire_old(&self) {
        let needed_from = self.shared.released().min(self.shared.snapshot()).0 + 1;
        let kept = usize::try_from(self.options.max_bytes / self.options.segment_bytes.max(1)).unwrap_or(usize::MAX).max(1);
        let retire = || -> io::Result<()> {
            let firsts = segment::list(self.storage.as_ref())?;
            let surplus = firsts.len().saturating_sub(kept);
            for pair in firsts.windows(2).take(surplus) {
                if pair[1].0 <= needed_from {
                    segment::retire(self.storage.as_ref(), pair[0])?;
                }
            }
            metrics::gauge!("waypost_log_segments").set(u32::try_from(firsts.len()).unwrap_or(u32::MAX));
            Ok(())
        };
        if let Err(error) = retire() {
            tracing::warn!(%error, "an old segment could not be taken out of use");
        }
    }

    /// Copies the ids now and writes them on a thread of their own: the next block does not wait.
    fn snapshot(&self) {
        if self.snapshot_running.swap(true, Ordering::AcqRel) {
            return;
        }
        let block = self.tail.last;
        let bytes = snapshot::encode(block, self.tail.ingest_time, &self.tail.next_offsets, &self.tail.dedup);
        let (storage, shared, running) = (Arc::clone(&self.storage), Arc::clone(&self.shared), Arc::clone(&self.snapshot_running));
        let write = move || {
            match snapshot::write(storage.as_ref(), &bytes) {
                Ok(()) => shared.set_snapshot(block),
                Err(error) => tracing::warn!(%error, "the dedup snapshot could not be written; a restart will read more of the log"),
            }
            running.store(false, Ordering::Release);
        };
        if let Err(error) = std::thread::Builder::new().name("wal-snapshot".to_owned()).spawn(write) {
            tracing::warn!(%error, "no thread for the dedup snapshot");
            self.snapshot_running.store(false, Ordering::Release);
        }
    }
}

type Taken = (Vec<(Batch, Reply<Vec<Appended>>)>, Vec<(Vec<PartitionId>, Reply<()>)>, bool);

fn take_fitting(queue: &mut VecDeque<Command>) -> Taken {
    let (mut batches, mut clocks, mut want_snapshot, mut bytes) = (Vec::new(), Vec::new(), false, 0);
    while bytes < MAX_BLOCK_BYTES {
        match queue.pop_front() {
            None => break,
            Some(Command::Append { batch, reply }) => {
                bytes += batch.bytes.len();
                batches.push((batch, reply));
            }
            Some(Command::Clock { partitions, reply }) => clocks.push((partitions, reply)),
            Some(Command::Snapshot) => want_snapshot = true,
        }
    }
    (batches, clocks, want_snapshot)
}

fn answer(pending: Vec<Pending>, clocks: Vec<(Vec<PartitionId>, Reply<()>)>, written: &Result<(), AppendError>) {
    for request in pending {
        // A caller that went away needs no answer: what it sent is durable all the same.
        drop(request.reply.send(written.clone().map(|()| request.outcomes)));
    }
    for (_, reply) in clocks {
        drop(reply.send(written.clone()));
    }
}

fn refuse(batches: Vec<(Batch, Reply<Vec<Appended>>)>, clocks: Vec<(Vec<PartitionId>, Reply<()>)>, error: &AppendError) {
    for (_, reply) in batches {
        drop(reply.send(Err(error.clone())));
    }
    for (_, reply) in clocks {
        drop(reply.send(Err(error.clone())));
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
