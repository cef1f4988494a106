//! The appender: one thread, one block at a time, one fdatasync a block. Never starts a block before the one before it is durable.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::WalOptions;
use super::codec::{Builder, Built};
use super::recover::Tail;
use super::segment;
use super::shared::{Shared, WalStats};
use super::storage::{File as _, Storage};
use super::upkeep::Upkeep;
use crate::clock::Clock;
use crate::log::block::BlockNumber;
use crate::log::dedup::Verdict;
use crate::log::prepare::{Batch, Prepared};
use crate::log::records::LENGTH_BYTES;
use crate::log::{AppendError, Appended, ReadError};
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
    gathered: Gathered,
    upkeep: Upkeep<S>,
}

/// A request whose outcome is known once the block is durable.
struct Pending {
    outcomes: Vec<Appended>,
    reply: Reply<Vec<Appended>>,
    room: OwnedSemaphorePermit,
}

/// What the next block will hold. Used again and again, so that its room is there already.
#[derive(Default)]
struct Gathered {
    /// The new items of each partition, in the order they came.
    partitions: Vec<Vec<Kept>>,
    /// What their records take up, with their lengths.
    record_bytes: usize,
}

/// A new item: the request it came with, its place there, and what was found of it.
#[derive(Clone, Copy)]
struct Kept {
    request: u32,
    item: u32,
    late: bool,
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
        let gathered = Gathered { partitions: vec![Vec::new(); usize::from(options.partitions)], record_bytes: 0 };
        let appender = Self { partitions: options.partitions, clock, tail, shared, gathered, upkeep };
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
                self.shared.begin_block();
                self.commit(&mut queue);
                self.shared.end_block();
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
        let mut pending = Vec::with_capacity(batches.len());
        let mut judged = Vec::with_capacity(batches.len());
        for (request, (batch, reply, room)) in (0..).zip(batches) {
            self.tail.dedup.look_ahead(batch.items.iter().map(|item| (item.candidate.partition, item.candidate.identity)));
            let outcomes = (0..).zip(&batch.items).map(|(number, item)| self.judge(item, request, number)).collect();
            judged.push(batch);
            pending.push(Pending { outcomes, reply, room });
        }
        let written = self.write_block(&judged, &clocks);
        answer(pending, clocks, &written);
        if released && written.is_ok() {
            self.upkeep.snapshot(self.tail.last, self.tail.ingest_time, &self.tail.next_offsets, &self.tail.dedup);
            self.upkeep.retire_old(self.tail.ingest_time);
            self.report();
        }
    }

    fn judge(&mut self, item: &Prepared, request: u32, number: u32) -> Appended {
        let partition = item.candidate.partition;
        let kept = &mut self.gathered.partitions[partition.index()];
        let offset = Offset(self.tail.next_offsets[partition.index()].0 + kept.len() as u64);
        match self.tail.dedup.judge(item.candidate, offset) {
            Verdict::New { late } => {
                kept.push(Kept { request, item: number, late });
                self.gathered.record_bytes += item.range.len() + LENGTH_BYTES;
                Appended::Accepted { partition, offset }
            }
            Verdict::Duplicate { offset } => Appended::Duplicate { partition, offset },
            Verdict::ContentDiffers { offset } => Appended::ContentDiffers { partition, offset },
        }
    }

    /// Puts what was gathered into a block, partition by partition; `None`: there is nothing to write.
    fn build(&mut self, judged: &[Batch], clocks: &[(Vec<PartitionId>, Reply<()>)]) -> Option<Built> {
        let clocked = |partition| clocks.iter().any(|(partitions, _)| partitions.contains(&partition));
        let entries = (0..self.partitions).map(PartitionId);
        let entries: Vec<_> = entries.filter(|partition| !self.gathered.partitions[partition.index()].is_empty() || clocked(*partition)).collect();
        let mut builder = Builder::new(entries.len(), std::mem::take(&mut self.gathered.record_bytes));
        for partition in &entries {
            let kept = &mut self.gathered.partitions[partition.index()];
            let next_offset = &mut self.tail.next_offsets[partition.index()];
            builder.entry(*partition, kept.len(), *next_offset);
            next_offset.0 += kept.len() as u64;
            for Kept { request, item, late } in kept.drain(..) {
                let batch = &judged[request as usize];
                builder.record(batch.items[item as usize].record(&batch.bytes), late);
            }
        }
        let (number, ingest_time) = (BlockNumber(self.tail.last.0 + 1), self.clock.now().max(self.tail.ingest_time));
        (!entries.is_empty())
            .then(|| builder.finish(number, self.tail.last_crc, ingest_time, self.tail.segment.salt, self.tail.at..self.tail.file_bytes))
    }

    /// Writes and syncs one block, then lets readers see it. Nothing to write is durable at once.
    fn write_block(&mut self, judged: &[Batch], clocks: &[(Vec<PartitionId>, Reply<()>)]) -> Result<(), AppendError> {
        let Some(Built { bytes, block_bytes: written, held_bytes, crc, block }) = self.build(judged, clocks) else {
            return Ok(());
        };
        let file = &self.tail.file;
        let synced = file.write_at(self.tail.at, &bytes).and_then(|()| {
            let started = Instant::now();
            file.sync()?;
            let took = started.elapsed().as_secs_f64();
            metrics::histogram!("waypost_fdatasync_seconds").record(took);
            metrics::histogram!("waypost_fdatasync_recent_seconds").record(took);
            Ok(())
        });
        synced.map_err(|error| self.shared.poison(&error))?;
        self.tail.at += written as u64;
        self.tail.last = block.number;
        self.tail.last_crc = crc;
        let ingest_time = block.ingest_time;
        self.tail.ingest_time = ingest_time;
        self.shared.publish(Arc::new(block), held_bytes);
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

    /// Goes on to a new segment when this one has too little room left.
    fn make_room(&mut self, bytes: u64) -> io::Result<()> {
        if self.tail.at + bytes <= self.tail.file_bytes {
            return Ok(());
        }
        let (file, header) = self.upkeep.next_segment(BlockNumber(self.tail.last.0 + 1), bytes)?;
        self.tail.file_bytes = file.len()?;
        self.upkeep.leave_behind(std::mem::replace(&mut self.tail.file, file));
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
