//! The appender: one thread, one block at a time, one fdatasync a block. Never starts a block before the one before it is durable.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::WalOptions;
use super::codec::Builder;
use super::recover::Tail;
use super::segment;
use super::shared::{Shared, WalStats};
use super::storage::{File as _, Storage};
use super::upkeep::Upkeep;
use crate::clock::Clock;
use crate::log::block::{Block, BlockNumber, Entry, EntryKind};
use crate::log::dedup::Verdict;
use crate::log::prepare::{Batch, Prepared};
use crate::log::{AppendError, Appended, ReadError};
use crate::model::event::Event;
use crate::model::id::{Offset, PartitionId};

/// What a caller asks of the appender.
pub(crate) enum Command {
    Append {
        batch: Batch,
        reply: Reply<Vec<Appended>>,
        /// Its place in the queue, given back when it has been answered.
        room: OwnedSemaphorePermit,
    },
    Clock {
        partitions: Vec<PartitionId>,
        reply: Reply<()>,
    },
    /// A fold needs less of the log than before: retire what may go, and write down the dedup ids as they are now.
    Released,
}

type Reply<T> = oneshot::Sender<Result<T, AppendError>>;

/// A block gathers at most this much and one request more, so that one fdatasync stays short.
const MAX_BLOCK_BYTES: usize = 4 << 20;

pub(crate) struct Appender<S: Storage> {
    partitions: u16,
    clock: Clock,
    tail: Tail<S>,
    shared: Arc<Shared>,
    builder: Builder,
    upkeep: Upkeep<S>,
}

/// A request whose outcome is known once the block is durable.
struct Pending {
    outcomes: Vec<Appended>,
    reply: Reply<Vec<Appended>>,
    room: OwnedSemaphorePermit,
}

/// What a block will hold of one partition.
struct Gathered {
    events: Vec<Event>,
    /// Where each event's record stands: the request it came with, and its place there.
    records: Vec<(usize, Range<usize>)>,
}

/// Lets readers and `close` go on however the thread ends.
struct Closing(Arc<Shared>);

impl Drop for Closing {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.poison(&io::Error::other("the appender panicked"));
        }
        self.0.close();
    }
}

impl<S: Storage> Appender<S> {
    pub(crate) fn new(storage: Arc<S>, options: WalOptions, clock: Clock, tail: Tail<S>, shared: Arc<Shared>) -> Result<Self, ReadError> {
        let upkeep = Upkeep::new(storage, options, Arc::clone(&shared))?;
        let appender = Self { partitions: options.partitions, clock, tail, shared, builder: Builder::default(), upkeep };
        appender.report();
        Ok(appender)
    }

    /// Runs until every sender is gone.
    pub(crate) fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let closing = Closing(Arc::clone(&self.shared));
        let mut queue = VecDeque::new();
        while let Some(first) = commands.blocking_recv() {
            queue.push_back(first);
            while !queue.is_empty() {
                // Everything that queued while the last block was synced is one block.
                while let Ok(next) = commands.try_recv() {
                    queue.push_back(next);
                }
                self.commit(&mut queue);
            }
        }
        self.upkeep.finish();
        drop(closing);
    }

    /// Takes from the queue what fits one block, makes it durable and answers.
    fn commit(&mut self, queue: &mut VecDeque<Command>) {
        let Taken { batches, clocks, released } = take_fitting(queue);
        if let Some(error) = self.shared.poisoned() {
            return refuse(batches, clocks, &error);
        }
        let bytes: usize = batches.iter().map(|(batch, ..)| batch.bytes.len() + batch.items.len() * 24).sum::<usize>() + 1024;
        match self.make_room(bytes as u64 + u64::from(self.partitions) * 16) {
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
        let mut gathered = self.rooms(&batches);
        let mut pending = Vec::with_capacity(batches.len());
        let mut buffers = Vec::with_capacity(batches.len());
        for (batch, reply, room) in batches {
            self.tail.dedup.look_ahead(batch.items.iter().map(|item| (item.partition, item.identity)));
            let outcomes = batch.items.into_iter().map(|item| self.judge(item, buffers.len(), &mut gathered)).collect();
            buffers.push(batch.bytes);
            pending.push(Pending { outcomes, reply, room });
        }
        let written = self.write_block(gathered, &buffers, &clocks);
        answer(pending, clocks, &written);
        if released && written.is_ok() {
            self.upkeep.snapshot(self.tail.last, self.tail.ingest_time, &self.tail.next_offsets, &self.tail.dedup);
            self.upkeep.retire_old(self.tail.ingest_time);
            self.report();
        }
    }

    /// An empty place for each partition, with room for all that these requests have for it.
    fn rooms(&self, batches: &[Request]) -> Vec<Gathered> {
        let mut counts = vec![0_usize; usize::from(self.partitions)];
        for item in batches.iter().flat_map(|(batch, ..)| &batch.items) {
            counts[item.partition.index()] += 1;
        }
        let room = |count| Gathered { events: Vec::with_capacity(count), records: Vec::with_capacity(count) };
        counts.into_iter().map(room).collect()
    }

    fn judge(&mut self, item: Prepared, request: usize, gathered: &mut [Gathered]) -> Appended {
        let partition = item.partition;
        let gathered = &mut gathered[partition.index()];
        let offset = Offset(self.tail.next_offsets[partition.index()].0 + gathered.events.len() as u64);
        match self.tail.dedup.judge(item.candidate(), offset) {
            Verdict::New { late } => {
                let mut event = item.event;
                event.stamp.late = late;
                gathered.events.push(event);
                gathered.records.push((request, item.range));
                Appended::Accepted { partition, offset }
            }
            Verdict::Duplicate { offset } => Appended::Duplicate { partition, offset },
            Verdict::ContentDiffers { offset } => Appended::ContentDiffers { partition, offset },
        }
    }

    /// Writes and syncs one block, then lets readers see it. Nothing to write is durable at once.
    fn write_block(&mut self, gathered: Vec<Gathered>, buffers: &[Vec<u8>], clocks: &[(Vec<PartitionId>, Reply<()>)]) -> Result<(), AppendError> {
        let number = BlockNumber(self.tail.last.0 + 1);
        let ingest_time = self.clock.now().max(self.tail.ingest_time);
        self.builder.start();
        let mut block = Block { number, ingest_time, entries: Vec::new() };
        for (index, gathered) in (0_u16..).zip(gathered) {
            let partition = PartitionId(index);
            let clocked = clocks.iter().any(|(partitions, _)| partitions.contains(&partition));
            if gathered.events.is_empty() && !clocked {
                continue;
            }
            block.entries.push(self.add_entry(partition, gathered, buffers));
        }
        if block.entries.is_empty() {
            return Ok(());
        }
        let (bytes, crc) = self.builder.finish(number, self.tail.last_crc, ingest_time, self.tail.segment.salt);
        let written = bytes.len();
        let file = &self.tail.file;
        let synced = file.write_at(self.tail.at, bytes).and_then(|()| {
            let started = Instant::now();
            file.sync()?;
            let took = started.elapsed().as_secs_f64();
            metrics::histogram!("waypost_fdatasync_seconds").record(took);
            metrics::histogram!("waypost_fdatasync_recent_seconds").record(took);
            Ok(())
        });
        synced.map_err(|error| self.shared.poison(&error))?;
        self.tail.at += written as u64;
        self.tail.last = number;
        self.tail.last_crc = crc;
        self.tail.ingest_time = ingest_time;
        self.shared.publish(Arc::new(block), written);
        self.upkeep.written(written, self.tail.at, self.tail.file_bytes, ingest_time);
        self.report();
        Ok(())
    }

    fn report(&self) {
        let dedup = &self.tail.dedup;
        let stats = WalStats {
            log_bytes: self.upkeep.older_bytes + self.tail.at,
            segments: self.upkeep.segments,
            oldest_block_time: self.upkeep.oldest_block_time,
            dedup_ids: dedup.len(),
            dedup_evicted_early: dedup.evicted_early(),
            events: self.tail.next_offsets.iter().map(|next| next.0).sum(),
        };
        self.shared.set_stats(stats);
    }

    fn add_entry(&mut self, partition: PartitionId, gathered: Gathered, buffers: &[Vec<u8>]) -> Entry {
        let first_offset = self.tail.next_offsets[partition.index()];
        self.tail.next_offsets[partition.index()].0 += gathered.events.len() as u64;
        let kind = if gathered.events.is_empty() { EntryKind::Clock } else { EntryKind::Events(gathered.events) };
        self.builder.entry(partition, &kind, first_offset);
        if let EntryKind::Events(events) = &kind {
            for (event, (request, range)) in events.iter().zip(gathered.records) {
                self.builder.record(&buffers[request][range], event.stamp.late);
            }
        }
        Entry { partition, first_offset, kind }
    }

    /// Goes on to a new segment when this one has too little room left.
    fn make_room(&mut self, bytes: u64) -> io::Result<()> {
        if self.tail.at + bytes <= self.tail.file_bytes {
            return Ok(());
        }
        let (file, header) = self.upkeep.next_segment(BlockNumber(self.tail.last.0 + 1), bytes)?;
        self.tail.file_bytes = file.len()?;
        self.tail.file = file;
        self.tail.segment = header;
        self.tail.at = segment::HEADER_BYTES;
        self.upkeep.retire_old(self.tail.ingest_time);
        Ok(())
    }
}

type Request = (Batch, Reply<Vec<Appended>>, OwnedSemaphorePermit);

/// What one block answers.
#[derive(Default)]
struct Taken {
    batches: Vec<Request>,
    clocks: Vec<(Vec<PartitionId>, Reply<()>)>,
    released: bool,
}

fn take_fitting(queue: &mut VecDeque<Command>) -> Taken {
    let (mut taken, mut bytes) = (Taken::default(), 0);
    while bytes < MAX_BLOCK_BYTES {
        match queue.pop_front() {
            None => break,
            Some(Command::Append { batch, reply, room }) => {
                bytes += batch.bytes.len();
                taken.batches.push((batch, reply, room));
            }
            Some(Command::Clock { partitions, reply }) => taken.clocks.push((partitions, reply)),
            Some(Command::Released) => taken.released = true,
        }
    }
    taken
}

fn answer(pending: Vec<Pending>, clocks: Vec<(Vec<PartitionId>, Reply<()>)>, written: &Result<(), AppendError>) {
    for request in pending {
        // A caller that went away needs no answer: what it sent is durable all the same.
        drop(request.reply.send(written.clone().map(|()| request.outcomes)));
        drop(request.room);
    }
    for (_, reply) in clocks {
        drop(reply.send(written.clone()));
    }
}

fn refuse(batches: Vec<Request>, clocks: Vec<(Vec<PartitionId>, Reply<()>)>, error: &AppendError) {
    for (_, reply, _) in batches {
        drop(reply.send(Err(error.clone())));
    }
    for (_, reply) in clocks {
        drop(reply.send(Err(error.clone())));
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
