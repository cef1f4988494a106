//! Segment files: their names, their header, how one is made. Never looks at a block.

use std::io;

use super::storage::{File, Storage};
use crate::log::block::BlockNumber;

/// Bytes of a segment's header; the first block follows it.
pub(crate) const HEADER_BYTES: u64 = 64;
const MAGIC: [u8; 8] = *b"WPSEGM\0\x01";
const SPARE: &str = "spare";

/// What stands at the head of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) partitions: u16,
    pub(crate) first: BlockNumber,
    pub(crate) salt: u64,
}

pub(crate) fn name(first: BlockNumber) -> String {
    format!("{:020}.seg", first.0)
}

/// The segments of a folder, oldest first.
pub(crate) fn list(storage: &impl Storage) -> io::Result<Vec<BlockNumber>> {
    let mut firsts: Vec<BlockNumber> = storage.list()?.iter().filter_map(|name| name.strip_suffix(".seg")?.parse().ok()).map(BlockNumber).collect();
    firsts.sort_unstable();
    Ok(firsts)
}

/// Makes a segment of `bytes` bytes, from the spare one when there is one. It is whole and durable before it has its name.
pub(crate) fn create<S: Storage>(storage: &S, header: SegmentHeader, bytes: u64) -> io::Result<S::File> {
    let recycled = storage.list()?.iter().any(|name| name == SPARE);
    let file = if recycled { storage.open(SPARE)? } else { storage.create(SPARE)? };
    if file.len()? < bytes {
        zero(&file, file.len()?, bytes)?;
    }
    file.write_at(0, &encode(header))?;
    file.sync()?;
    storage.rename(SPARE, &name(header.first))?;
    storage.sync_folder()?;
    Ok(file)
}

/// Takes a segment out of use: it becomes the spare one, or goes when there is one already.
pub(crate) fn retire(storage: &impl Storage, first: BlockNumber) -> io::Result<()> {
    if storage.list()?.iter().any(|name| name == SPARE) {
        storage.remove(&name(first))?;
    } else {
        storage.rename(&name(first), SPARE)?;
    }
    storage.sync_folder()
}

/// Fills `from..to` with zeros. Real ones: a hole would make each later fdatasync write metadata as well.
pub(crate) fn zero(file: &impl File, from: u64, to: u64) -> io::Result<()> {
    const CHUNK: u64 = 1 << 20;
    let zeros = vec![0_u8; usize::try_from(CHUNK).expect("a MiB fits")];
    let mut at = from;
    while at < to {
        let count = usize::try_from((to - at).min(CHUNK)).expect("a MiB fits");
        file.write_at(at, &zeros[..count])?;
        at += count as u64;
    }
    Ok(())
}

fn encode(header: SegmentHeader) -> [u8; 64] {
    let mut bytes = [0; 64];
    bytes[0..8].copy_from_slice(&MAGIC);
    bytes[8..10].copy_from_slice(&header.partitions.to_le_bytes());
    bytes[16..24].copy_from_slice(&header.first.0.to_le_bytes());
    bytes[24..32].copy_from_slice(&header.salt.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..60]);
    bytes[60..64].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// Reads a header; `None` when it is none of ours or damaged.
pub(crate) fn read_header(file: &impl File) -> io::Result<Option<SegmentHeader>> {
    if file.len()? < HEADER_BYTES {
        return Ok(None);
    }
    let mut bytes = [0; 64];
    file.read_at(0, &mut bytes)?;
    let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    let crc = u32::from_le_bytes(bytes[60..64].try_into().expect("four bytes"));
    if bytes[0..8] != MAGIC || crc32c::crc32c(&bytes[..60]) != crc {
        return Ok(None);
    }
    Ok(Some(SegmentHeader { partitions: u16::from_le_bytes([bytes[8], bytes[9]]), first: BlockNumber(word(16)), salt: word(24) }))
}
