//! Opening a log: check it from its snapshot to its end, rebuild what the appender must know, cut a torn tail, refuse or quarantine corruption.

use std::sync::Arc;

use super::codec::{self, HEADER_BYTES};
use super::cursor::{Cursor, Step};
use super::segment::{self, SegmentHeader};
use super::storage::{File as _, Storage};
use super::{OpenError, WalOptions, snapshot};
use crate::log::ReadError;
use crate::log::block::{Block, BlockNumber, EntryKind};
use crate::log::dedup::Dedup;
use crate::log::prepare::Batch;
use crate::model::id::Offset;
use crate::model::time::UnixMs;

/// What the appender goes on from.
pub(crate) struct Tail<S: Storage> {
    pub(crate) file: S::File,
    pub(crate) segment: SegmentHeader,
    pub(crate) file_bytes: u64,
    /// Where the next block goes.
    pub(crate) at: u64,
    /// The newest block's number and checksum; 0 in an empty log.
    pub(crate) last: BlockNumber,
    pub(crate) last_crc: u32,
    pub(crate) ingest_time: UnixMs,
    pub(crate) next_offsets: Vec<Offset>,
    pub(crate) dedup: Dedup,
    /// The block up to which a snapshot covers the dedup ids.
    pub(crate) snapshot: BlockNumber,
    pub(crate) torn: bool,
}

pub(crate) fn recover<S: Storage>(storage: &Arc<S>, options: &WalOptions) -> Result<Tail<S>, OpenError> {
    let partitions = options.partitions;
    let mut dedup = Dedup::new(partitions, options.dedup);
    let restored = snapshot::read(storage.as_ref(), partitions, &mut dedup).map_err(ReadError::Io)?;
    let (snapshot, ingest_time, next_offsets) = match restored {
        Some(restored) => (restored.block, restored.ingest_time, restored.next_offsets),
        // Offsets start at 1, so that "everything before the first event" has a number too.
        None => (BlockNumber(0), UnixMs(i64::MIN), vec![Offset(1); usize::from(partitions)]),
    };
    // The snapshot's own block is read again, so that the next one's reference to its checksum can be checked.
    let Some(cursor) = Cursor::open(storage, BlockNumber(snapshot.0.max(1)))? else {
        return start_empty(storage, options, dedup, next_offsets);
    };
    let found = cursor.segment().partitions;
    if found != partitions {
        return Err(OpenError::Partitions { found, wanted: partitions });
    }
    let mut scan = Scan { next_offsets, ingest_time, dedup, snapshot, partitions };
    let (cursor, torn) = scan.to_the_end(storage, cursor, options.repair)?;
    let (last, last_crc) = cursor.last().unwrap_or((cursor.segment().first.0 - 1, super::cursor::SKIP_CRC));
    Ok(Tail {
        segment: cursor.segment(),
        file_bytes: cursor.file_bytes(),
        at: cursor.at(),
        last: BlockNumber(last),
        last_crc,
        ingest_time: scan.ingest_time,
        next_offsets: scan.next_offsets,
        dedup: scan.dedup,
        snapshot,
        torn,
        file: cursor.into_file(),
    })
}

fn start_empty<S: Storage>(storage: &Arc<S>, options: &WalOptions, dedup: Dedup, next_offsets: Vec<Offset>) -> Result<Tail<S>, OpenError> {
    let segment = SegmentHeader { partitions: options.partitions, first: BlockNumber(1), salt: super::random_salt() };
    let file = segment::create(storage.as_ref(), segment, options.segment_bytes).map_err(ReadError::Io)?;
    let file_bytes = file.len().map_err(ReadError::Io)?;
    let (at, last, ingest_time) = (segment::HEADER_BYTES, BlockNumber(0), UnixMs(i64::MIN));
    let (last_crc, snapshot, torn) = (super::cursor::SKIP_CRC, BlockNumber(0), false);
    Ok(Tail { file, segment, file_bytes, at, last, last_crc, ingest_time, next_offsets, dedup, snapshot, torn })
}

/// What a scan gathers on its way.
struct Scan {
    next_offsets: Vec<Offset>,
    ingest_time: UnixMs,
    dedup: Dedup,
    snapshot: BlockNumber,
    partitions: u16,
}

impl Scan {
    fn to_the_end<S: Storage>(&mut self, storage: &Arc<S>, mut cursor: Cursor<S>, repair: bool) -> Result<(Cursor<S>, bool), OpenError> {
        loop {
            match cursor.step() {
                Ok(Step::Block(header)) => {
                    if header.number > self.snapshot.0 && !header.skip {
                        self.fold(cursor.decode(&header)?);
                    }
                    cursor.pass(&header);
                }
                Ok(Step::End) => {
                    let rest = cursor.rest()?;
                    if let Some((at, next)) = next_valid(&rest, cursor.segment().salt, cursor.last().map_or(0, |(number, _)| number)) {
                        self.quarantine(storage, &cursor, at, next, repair)?;
                        continue;
                    }
                    let torn = rest.iter().any(|byte| *byte != 0);
                    let file_bytes = cursor.file_bytes();
                    if torn {
                        cut(storage, &cursor, file_bytes)?;
                    }
                    return Ok((cursor, torn));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn fold(&mut self, block: Block) {
        self.ingest_time = self.ingest_time.max(block.ingest_time);
        for entry in block.entries {
            let EntryKind::Events(events) = entry.kind else { continue };
            let mut offset = entry.first_offset;
            // The ids and content hashes of the log are computed as ingest did: one way to prepare an event.
            let mut batch = Batch::with_capacity(events.len());
            for event in events {
                batch.push(event, self.partitions);
            }
            for item in &batch.items {
                self.dedup.remember(item.candidate(), offset);
                offset.0 += 1;
            }
            self.next_offsets[entry.partition.index()] = offset;
        }
    }

    /// Without `repair` this is an error that names the place. With it the bad range is kept in a file of its own and covered by a skip block.
    fn quarantine<S: Storage>(&self, storage: &Arc<S>, cursor: &Cursor<S>, at: usize, next: u64, repair: bool) -> Result<(), OpenError> {
        let what = format!("valid blocks follow {at} bytes later, from block {next}");
        if !repair || at < HEADER_BYTES {
            return Err(cursor.corrupt(what).into());
        }
        let name = segment::name(cursor.segment().first);
        let file = storage.open(&name).map_err(ReadError::Io)?;
        let mut bad = vec![0; at];
        let place = cursor.at();
        let kept = format!("quarantine-{name}-{place}");
        let mut keep = || -> std::io::Result<()> {
            file.read_at(place, &mut bad)?;
            let copy = storage.create(&kept)?;
            copy.write_at(0, &bad)?;
            copy.sync()?;
            storage.sync_folder()?;
            file.write_at(place, &codec::skip(at, next, cursor.segment().salt))?;
            file.sync()
        };
        keep().map_err(ReadError::Io)?;
        tracing::error!(file = %storage.describe(&kept), "a corrupt part of the log was put aside: {what}");
        Ok(())
    }
}

/// A valid block after a bad one: how far behind it, and its number.
fn next_valid(rest: &[u8], salt: u64, last: u64) -> Option<(usize, u64)> {
    let starts = rest.windows(4).enumerate().filter(|(_, window)| *window == codec::MAGIC || *window == codec::SKIP_MAGIC);
    for (at, _) in starts {
        if let Some(header) = codec::check(&rest[at..], salt).filter(|header| header.number > last) {
            return Some((at, header.number));
        }
    }
    None
}

/// Zeros what a crash left behind the last valid block, before the first append.
fn cut<S: Storage>(storage: &Arc<S>, cursor: &Cursor<S>, file_bytes: u64) -> Result<(), OpenError> {
    let name = segment::name(cursor.segment().first);
    let zeroed = storage.open(&name).and_then(|file| segment::zero(&file, cursor.at(), file_bytes).and_then(|()| file.sync()));
    zeroed.map_err(ReadError::Io)?;
    metrics::counter!("waypost_log_torn_tails_total").increment(1);
    tracing::warn!(file = %storage.describe(&name), at = cursor.at(), "cut a torn tail: a block that was never acknowledged");
    Ok(())
}
