//! What `--repair` does to a damaged log: damage is put aside into files of its own and its place is skipped. Never throws bytes away, never makes
//! an offset or a block number stand for something else.

use std::io;
use std::sync::Arc;

use super::codec;
use super::cursor::SKIP_CRC;
use super::recover::Tail;
use super::segment::{self, SegmentHeader};
use super::storage::{File as _, Storage};
use super::{OpenError, WalOptions, random_salt, snapshot};
use crate::log::ReadError;
use crate::log::block::BlockNumber;
use crate::model::id::Offset;
use crate::model::time::UnixMs;

/// Far more events than a partition ever held: added to offsets that nobody knows any more. Leaves room for some thousand repairs below 2^53.
const OFFSET_LEAP: u64 = 1 << 40;
/// Far more blocks than one segment holds.
const BLOCK_LEAP: u64 = 1 << 32;

/// Copies `bytes` bad bytes from `at` on into a file of their own and covers them by a skip block that ends before block `next`.
pub(crate) fn quarantine(storage: &impl Storage, segment: SegmentHeader, at: u64, bytes: usize, next: u64) -> io::Result<()> {
    let name = segment::name(segment.first);
    let kept = format!("quarantine-{name}-{at}");
    let file = storage.open(&name)?;
    let mut bad = vec![0; bytes];
    file.read_at(at, &mut bad)?;
    let copy = storage.create(&kept)?;
    copy.write_at(0, &bad)?;
    copy.sync()?;
    storage.sync_folder()?;
    file.write_at(at, &codec::skip(bytes, next, segment.salt))?;
    file.sync()?;
    tracing::error!(file = %storage.describe(&kept), "put a corrupt part of the log aside");
    Ok(())
}

/// Puts a segment without a readable header aside, and one that skips its blocks in its place.
pub(crate) fn replace_segment(storage: &impl Storage, options: &WalOptions, first: BlockNumber, next: Option<BlockNumber>) -> io::Result<()> {
    let name = segment::name(first);
    let kept = format!("quarantine-{name}");
    storage.rename(&name, &kept)?;
    let header = SegmentHeader { partitions: options.partitions, first, salt: random_salt(), recycled: false };
    let file = segment::create(storage, header, options.segment_bytes)?;
    let next = next.map_or(first.0 + BLOCK_LEAP, |next| next.0);
    file.write_at(segment::HEADER_BYTES, &codec::skip(codec::HEADER_BYTES, next, header.salt))?;
    file.sync()?;
    tracing::error!(file = %storage.describe(&kept), "put a segment with a damaged header aside");
    Ok(())
}

/// The log lost blocks that a snapshot had seen: goes on after them, so that no number and no offset is given twice. Their events are new again.
pub(crate) fn after_lost_blocks<S: Storage>(
    storage: &Arc<S>,
    options: &WalOptions,
    mut tail: Tail<S>,
    seen: BlockNumber,
    seen_time: UnixMs,
    seen_offsets: &[Offset],
) -> Result<Tail<S>, OpenError> {
    for (next, seen) in tail.next_offsets.iter_mut().zip(seen_offsets) {
        *next = (*next).max(*seen);
    }
    tail.ingest_time = tail.ingest_time.max(seen_time);
    skip_to(storage, options, &mut tail, seen).map_err(ReadError::Io)?;
    Ok(tail)
}

fn skip_to<S: Storage>(storage: &Arc<S>, options: &WalOptions, tail: &mut Tail<S>, seen: BlockNumber) -> io::Result<()> {
    let fits = tail.at + codec::HEADER_BYTES as u64 <= tail.file_bytes;
    if !fits {
        let header = SegmentHeader { partitions: options.partitions, first: BlockNumber(tail.last.0 + 1), salt: random_salt(), recycled: false };
        tail.file = segment::create(storage.as_ref(), header, options.segment_bytes)?;
        tail.file_bytes = tail.file.len()?;
        tail.segment = header;
        tail.at = segment::HEADER_BYTES;
    }
    tail.file.write_at(tail.at, &codec::skip(codec::HEADER_BYTES, seen.0 + 1, tail.segment.salt))?;
    tail.file.sync()?;
    tail.at += codec::HEADER_BYTES as u64;
    tail.last = seen;
    tail.last_crc = SKIP_CRC;
    Ok(())
}

/// The last step of every repair. Offsets that only the damage knew must not be given again, so all go on far beyond, and a snapshot keeps that.
pub(crate) fn settle<S: Storage>(storage: &S, tail: &mut Tail<S>) -> io::Result<()> {
    let greatest = tail.next_offsets.iter().map(|next| next.0).max().unwrap_or(1);
    tail.next_offsets.fill(Offset(greatest + OFFSET_LEAP));
    tail.snapshot = tail.last;
    snapshot::write(storage, &snapshot::encode(tail.last, tail.ingest_time, &tail.next_offsets, &tail.dedup))
}
