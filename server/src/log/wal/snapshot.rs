//! The appender's memory on disk: next offsets and dedup ids as of one block, so that a start reads only the log after it. Never the truth: without it the whole log is read.

use std::io;

use super::storage::{File as _, Storage};
use crate::log::block::BlockNumber;
use crate::log::dedup::Dedup;
use crate::log::dedup::ids::Id;
use crate::model::id::{Offset, PartitionId};
use crate::model::time::UnixMs;

pub(crate) const NAME: &str = "dedup.snapshot";
const TEMPORARY: &str = "dedup.snapshot.tmp";
const MAGIC: [u8; 8] = *b"WPDEDUP\x01";
const ID_BYTES: usize = 32;

/// What a snapshot restores besides the ids.
#[derive(Debug)]
pub(crate) struct Restored {
    pub(crate) block: BlockNumber,
    pub(crate) ingest_time: UnixMs,
    pub(crate) next_offsets: Vec<Offset>,
}

pub(crate) fn encode(block: BlockNumber, ingest_time: UnixMs, next_offsets: &[Offset], dedup: &Dedup) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + next_offsets.len() * 24 + dedup.len() * ID_BYTES);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&block.0.to_le_bytes());
    out.extend_from_slice(&ingest_time.0.to_le_bytes());
    out.extend_from_slice(&(next_offsets.len() as u64).to_le_bytes());
    for (next, (greatest, count, ids)) in next_offsets.iter().zip(dedup.parts()) {
        out.extend_from_slice(&next.0.to_le_bytes());
        out.extend_from_slice(&greatest.0.to_le_bytes());
        out.extend_from_slice(&(count as u64).to_le_bytes());
        for id in ids {
            out.extend_from_slice(&id.identity[0].to_le_bytes());
            out.extend_from_slice(&id.identity[1].to_le_bytes());
            out.extend_from_slice(&id.offset.to_le_bytes());
            out.extend_from_slice(&id.content.to_le_bytes());
            out.extend_from_slice(&id.keep_until_s.to_le_bytes());
        }
    }
    let crc = crc32c::crc32c(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    out
}

/// About what `encode` returns.
pub(crate) fn size_bytes(dedup: &Dedup) -> u64 {
    (dedup.len() * ID_BYTES) as u64
}

/// Puts a snapshot that the log contradicts aside.
pub(crate) fn set_aside(storage: &impl Storage) -> io::Result<()> {
    storage.rename(NAME, "quarantine-dedup.snapshot")?;
    storage.sync_folder()
}

/// Whole or not at all: written beside, synced, renamed.
pub(crate) fn write(storage: &impl Storage, bytes: &[u8]) -> io::Result<()> {
    let file = storage.create(TEMPORARY)?;
    file.write_at(0, bytes)?;
    file.sync()?;
    storage.rename(TEMPORARY, NAME)?;
    storage.sync_folder()
}

/// Restores the newest snapshot into `dedup`; `None` when there is none or it is damaged.
pub(crate) fn read(storage: &impl Storage, partitions: u16, dedup: &mut Dedup) -> io::Result<Option<Restored>> {
    if !storage.list()?.iter().any(|name| name == NAME) {
        return Ok(None);
    }
    let file = storage.open(NAME)?;
    let mut bytes = vec![0; usize::try_from(file.len()?).expect("a snapshot fits memory")];
    file.read_at(0, &mut bytes)?;
    let restored = restore(&bytes, partitions, dedup);
    if restored.is_none() {
        tracing::warn!("the dedup snapshot is damaged; reading the whole log instead");
    }
    Ok(restored)
}

fn restore(bytes: &[u8], partitions: u16, dedup: &mut Dedup) -> Option<Restored> {
    let (content, crc) = bytes.split_last_chunk::<4>()?;
    if crc32c::crc32c(content) != u32::from_le_bytes(*crc) || content.get(..8)? != MAGIC {
        return None;
    }
    let mut words = Words(&content[8..]);
    let block = BlockNumber(words.next()?);
    let ingest_time = UnixMs(words.next()?.cast_signed());
    if words.next()? != u64::from(partitions) {
        return None;
    }
    let mut next_offsets = Vec::new();
    for partition in 0..partitions {
        next_offsets.push(Offset(words.next()?));
        let greatest = UnixMs(words.next()?.cast_signed());
        let count = usize::try_from(words.next()?).ok()?;
        let ids = words.split(count.checked_mul(ID_BYTES)?)?;
        dedup.restore(PartitionId(partition), greatest, ids.chunks_exact(ID_BYTES).map(id));
    }
    Some(Restored { block, ingest_time, next_offsets })
}

fn id(bytes: &[u8]) -> Id {
    let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    let half = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    Id { identity: [word(0), word(8)], offset: word(16), content: half(24), keep_until_s: half(28) }
}

struct Words<'a>(&'a [u8]);

impl<'a> Words<'a> {
    fn next(&mut self) -> Option<u64> {
        let (word, rest) = self.0.split_first_chunk::<8>()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*word))
    }

    fn split(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }
}
