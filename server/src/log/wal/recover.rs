//! Opening a log: check it from its snapshot to its end, rebuild what the appender must know, cut a torn tail, refuse or quarantine corruption.

use std::sync::Arc;

use super::cursor::{Cursor, SKIP_CRC, Step};
use super::segment::{self, SegmentHeader};
use super::snapshot::{self, Restored};
use super::storage::{File as _, Storage};
use super::{OpenError, WalOptions, codec, repair};
use crate::log::block::BlockNumber;
use crate::log::dedup::Dedup;
use crate::log::{ReadError, prepare, records};
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
}

pub(crate) fn recover<S: Storage>(storage: &Arc<S>, options: &WalOptions) -> Result<Tail<S>, OpenError> {
    let (oldest, mut damage) = check_headers(storage.as_ref(), options)?;
    let mut dedup = Dedup::new(options.partitions, options.dedup);
    let restored = snapshot::read(storage.as_ref(), options.partitions, &mut dedup).map_err(ReadError::Io)?;
    let mut tail = if let Some(restored) = restored {
        after_snapshot(storage, options, restored, dedup, &mut damage)?
    } else {
        if oldest.is_some_and(|oldest| oldest.0 > 1) {
            let what = "it is missing or damaged, and the log's beginning is gone: neither ids nor offsets can be rebuilt";
            refuse(storage.as_ref(), BlockNumber(0), what.to_owned(), options)?;
            damage = Some(Repaired);
        }
        Scan::new(options).run(storage, options, &mut damage)?
    };
    if damage.is_some() {
        repair::settle(storage.as_ref(), &mut tail).map_err(ReadError::Io)?;
    }
    Ok(tail)
}

fn after_snapshot<S: Storage>(
    storage: &Arc<S>,
    options: &WalOptions,
    restored: Restored,
    dedup: Dedup,
    damage: &mut Option<Repaired>,
) -> Result<Tail<S>, OpenError> {
    let Restored { block, ingest_time, next_offsets } = restored;
    let scan = Scan { next_offsets: next_offsets.clone(), ingest_time, dedup, snapshot: block };
    let tail = scan.run(storage, options, damage)?;
    if tail.last >= block {
        return Ok(tail);
    }
    let what = format!("it has seen block {}, and the log ends at block {}", block.0, tail.last.0);
    refuse(storage.as_ref(), tail.last, what, options)?;
    *damage = Some(Repaired);
    snapshot::set_aside(storage.as_ref()).map_err(ReadError::Io)?;
    let tail = Scan::new(options).run(storage, options, damage)?;
    repair::after_lost_blocks(storage, options, tail, block, ingest_time, &next_offsets)
}

/// Something was put aside: what the log still holds is not all that was ever given out.
pub(crate) struct Repaired;

/// Corruption that the snapshot shows; an error unless `repair` allows to go on without what is lost.
fn refuse(storage: &impl Storage, after: BlockNumber, what: String, options: &WalOptions) -> Result<(), OpenError> {
    let file = storage.describe(snapshot::NAME);
    tracing::error!(%file, "{what}");
    if options.repair { Ok(()) } else { Err(ReadError::Corrupt { after: Some(after), file, what }.into()) }
}

/// Reads every segment's header, however old: they say what log this is. Returns the oldest block kept.
fn check_headers<S: Storage>(storage: &S, options: &WalOptions) -> Result<(Option<BlockNumber>, Option<Repaired>), OpenError> {
    let firsts = segment::list(storage).map_err(ReadError::Io)?;
    let mut damage = None;
    for (index, first) in firsts.iter().enumerate() {
        match segment::open(storage, *first) {
            Ok((_, header)) if header.partitions != options.partitions => {
                return Err(OpenError::Partitions { found: header.partitions, wanted: options.partitions });
            }
            Ok(_) => {}
            Err(ReadError::Corrupt { .. }) if options.repair => {
                repair::replace_segment(storage, options, *first, firsts.get(index + 1).copied()).map_err(ReadError::Io)?;
                damage = Some(Repaired);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok((firsts.first().copied(), damage))
}

fn start_empty<S: Storage>(storage: &Arc<S>, options: &WalOptions, scan: Scan) -> Result<Tail<S>, OpenError> {
    let segment = SegmentHeader { partitions: options.partitions, first: BlockNumber(1), salt: super::random_salt(), recycled: false };
    let file = segment::create(storage.as_ref(), segment, options.segment_bytes).map_err(ReadError::Io)?;
    let file_bytes = file.len().map_err(ReadError::Io)?;
    Ok(Tail {
        file,
        segment,
        file_bytes,
        at: segment::HEADER_BYTES,
        last: BlockNumber(0),
        last_crc: SKIP_CRC,
        ingest_time: scan.ingest_time,
        next_offsets: scan.next_offsets,
        dedup: scan.dedup,
        snapshot: BlockNumber(0),
    })
}

/// What a scan gathers on its way.
struct Scan {
    next_offsets: Vec<Offset>,
    ingest_time: UnixMs,
    dedup: Dedup,
    /// Blocks up to this one are in `dedup` and `next_offsets` already.
    snapshot: BlockNumber,
}

impl Scan {
    fn new(options: &WalOptions) -> Self {
        let partitions = options.partitions;
        let dedup = Dedup::new(partitions, options.dedup);
        // Offsets start at 1, so that "everything before the first event" has a number too.
        let next_offsets = vec![Offset(1); usize::from(partitions)];
        Self { next_offsets, ingest_time: UnixMs(i64::MIN), dedup, snapshot: BlockNumber(0) }
    }

    fn run<S: Storage>(mut self, storage: &Arc<S>, options: &WalOptions, damage: &mut Option<Repaired>) -> Result<Tail<S>, OpenError> {
        let oldest = segment::list(storage.as_ref()).map_err(ReadError::Io)?.first().copied().unwrap_or(BlockNumber(1));
        // The snapshot's own block is read again, so that the next one's reference to its checksum can be checked.
        let Some(cursor) = Cursor::open(storage, self.snapshot.max(oldest))? else {
            return start_empty(storage, options, self);
        };
        let cursor = self.fold_all(storage, cursor, options.repair, damage)?;
        let (last, last_crc) = cursor.last().unwrap_or((cursor.segment().first.0 - 1, SKIP_CRC));
        Ok(Tail {
            segment: cursor.segment(),
            file_bytes: cursor.file_bytes(),
            at: cursor.at(),
            last: BlockNumber(last),
            last_crc,
            ingest_time: self.ingest_time,
            next_offsets: self.next_offsets,
            dedup: self.dedup,
            snapshot: self.snapshot,
            file: cursor.into_file(),
        })
    }

    fn fold_all<S: Storage>(
        &mut self,
        storage: &Arc<S>,
        mut cursor: Cursor<S>,
        repair: bool,
        damage: &mut Option<Repaired>,
    ) -> Result<Cursor<S>, OpenError> {
        loop {
            match cursor.step()? {
                Step::Block(header) => {
                    if header.number > self.snapshot.0 && !header.skip {
                        self.fold(&header, cursor.body(&header)).map_err(|what| cursor.corrupt(what))?;
                    }
                    cursor.pass(&header);
                }
                Step::Damage { next } => {
                    let rest = cursor.rest()?;
                    let (at, next) = next_valid(&rest, &cursor).unwrap_or((rest.len(), next));
                    quarantine(storage, &cursor, at, next, repair)?;
                    *damage = Some(Repaired);
                }
                Step::End => {
                    let rest = cursor.rest()?;
                    let Some((at, next)) = next_valid(&rest, &cursor) else {
                        if used(&rest) > 0 {
                            cut(storage, &cursor, torn(&rest, &cursor).as_ref())?;
                        }
                        return Ok(cursor);
                    };
                    quarantine(storage, &cursor, at, next, repair)?;
                    *damage = Some(Repaired);
                }
            }
        }
    }

    /// Takes the ids of a block's records from their bytes. An error means that the block was written wrong.
    fn fold(&mut self, header: &codec::Header, body: &[u8]) -> Result<(), String> {
        self.ingest_time = self.ingest_time.max(header.ingest_time);
        let mut found = Vec::new();
        for entry in codec::held(header, body) {
            let codec::Held { partition, first_offset: mut offset, records } = entry?;
            let next_offset = self.next_offsets.get_mut(partition.index()).ok_or("an entry of a partition that is not there")?;
            for record in records {
                match prepare::candidate(partition, record) {
                    Ok(candidate) => found.push((candidate, offset)),
                    Err(error) => records::report_unreadable(partition, offset, &error),
                }
                offset.0 += 1;
            }
            self.dedup.look_ahead(found.iter().map(|(candidate, _)| (candidate.partition, candidate.identity)));
            for (candidate, offset) in found.drain(..) {
                self.dedup.remember(candidate, offset);
            }
            *next_offset = offset;
        }
        Ok(())
    }
}

/// Without `repair` this is an error that names the place.
fn quarantine<S: Storage>(storage: &Arc<S>, cursor: &Cursor<S>, at: usize, next: u64, repair: bool) -> Result<(), OpenError> {
    let what = format!("a bad block; valid ones follow from block {next}, {at} bytes later or in the next segment");
    if !repair || at < codec::HEADER_BYTES {
        return Err(cursor.corrupt(what).into());
    }
    tracing::error!("{}", cursor.corrupt(what));
    Ok(repair::quarantine(storage.as_ref(), cursor.segment(), cursor.at(), at, next).map_err(ReadError::Io)?)
}

/// Bytes up to the last that is not zero, rounded up: most of a segment is zeros, and they are passed over fast.
fn used(rest: &[u8]) -> usize {
    const CHUNK: usize = 4096;
    rest.chunks(CHUNK).rposition(|chunk| chunk != &[0; CHUNK][..chunk.len()]).map_or(0, |last| ((last + 1) * CHUNK).min(rest.len()))
}

/// What a crash left of one more block.
struct Torn;

/// Whether what follows the last block is a torn one. In a recycled segment it may also be what it held before.
fn torn<S: Storage>(rest: &[u8], cursor: &Cursor<S>) -> Option<Torn> {
    let used = &rest[..used(rest)];
    let started = codec::starts_block(used, cursor.last().map_or(cursor.segment().first.0, |(number, _)| number + 1));
    (started || (!used.is_empty() && !cursor.segment().recycled)).then_some(Torn)
}

/// A valid block after a bad one: how far behind it, and its number.
fn next_valid<S: Storage>(rest: &[u8], cursor: &Cursor<S>) -> Option<(usize, u64)> {
    let rest = &rest[..used(rest)];
    let last = cursor.last().map_or(0, |(number, _)| number);
    let starts = rest.windows(4).enumerate().filter(|(_, window)| *window == codec::MAGIC || *window == codec::SKIP_MAGIC);
    for (at, _) in starts {
        if let Some(header) = codec::check(&rest[at..], cursor.segment().salt).filter(|header| header.number > last) {
            return Some((at, header.number));
        }
    }
    None
}

/// Zeros what stands behind the last valid block, before the first append.
fn cut<S: Storage>(storage: &Arc<S>, cursor: &Cursor<S>, torn: Option<&Torn>) -> Result<(), OpenError> {
    let name = segment::name(cursor.segment().first);
    let file = storage.open(&name).map_err(ReadError::Io)?;
    segment::zero(&file, cursor.at(), cursor.file_bytes()).and_then(|()| file.sync()).map_err(ReadError::Io)?;
    if torn.is_some() {
        metrics::counter!("waypost_log_torn_tails_total").increment(1);
        tracing::warn!(file = %storage.describe(&name), at = cursor.at(), "cut a torn tail: a block that was never acknowledged");
    }
    Ok(())
}
