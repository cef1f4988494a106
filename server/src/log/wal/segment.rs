//! Segment files: their names, their header, how one is made. Never looks at a block.

use std::io;

use super::storage::{File, Storage};
use crate::log::ReadError;
use crate::log::block::BlockNumber;

/// Bytes of a segment's header; the first block follows it.
pub(crate) const HEADER_BYTES: u64 = 64;
const MAGIC: [u8; 7] = *b"WPSEGM\0";
const FORMAT: u8 = 1;
const SPARE: &str = "spare";
const UNFINISHED_SPARE: &str = "spare.tmp";

/// What stands at the head of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) partitions: u16,
    pub(crate) first: BlockNumber,
    pub(crate) salt: u64,
    /// Holds blocks of another life behind its own, under another salt.
    pub(crate) recycled: bool,
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
    make_spare(storage, bytes)?;
    let file = storage.open(SPARE)?;
    // A fresh spare is zeros; a retired one begins with a header.
    let mut begin = [0; 8];
    file.read_at(0, &mut begin)?;
    let header = SegmentHeader { recycled: begin != [0; 8], ..header };
    file.write_at(0, &encode(header))?;
    file.sync()?;
    storage.rename(SPARE, &name(header.first))?;
    storage.sync_folder()?;
    Ok(file)
}

/// What zeros are written from: not memory of its own, which would have to be cleared first.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// What is synced in one go of a segment that is made ahead.
const SPARE_PIECE_BYTES: u64 = 1 << 20;

/// Sees to it that there is a spare segment of at least `bytes` bytes: a retired one, or one of zeros.
pub(crate) fn make_spare(storage: &impl Storage, bytes: u64) -> io::Result<()> {
    if storage.list()?.iter().any(|name| name == SPARE) && storage.open(SPARE)?.len()? >= bytes {
        return Ok(());
    }
    let file = storage.create(UNFINISHED_SPARE)?;
    // Piece by piece: a block that is synced meanwhile waits behind one of them, not behind the whole segment.
    let mut at = 0;
    while at < bytes {
        let to = bytes.min(at + SPARE_PIECE_BYTES);
        zero(&file, at, to)?;
        file.sync()?;
        // Blocks are written in whole pages, so the zeros are not read before a restart; and the next piece takes the memory of this one.
        file.forget(at..to);
        at = to;
    }
    storage.rename(UNFINISHED_SPARE, SPARE)
}

/// Takes a segment out of use: it becomes the spare one, or goes when there is one already or it has grown beyond `bytes`.
pub(crate) fn retire(storage: &impl Storage, first: BlockNumber, bytes: u64) -> io::Result<()> {
    let name = name(first);
    let spared = storage.list()?.iter().any(|name| name == SPARE);
    if spared || storage.open(&name)?.len()? > bytes {
        storage.remove(&name)?;
    } else {
        storage.rename(&name, SPARE)?;
    }
    storage.sync_folder()
}

/// Fills `from..to` with zeros. Real ones: a hole would make each later fdatasync write metadata as well.
pub(crate) fn zero(file: &impl File, from: u64, to: u64) -> io::Result<()> {
    let mut at = from;
    while at < to {
        let count = (to - at).min(ZEROS.len() as u64);
        file.write_at(at, &ZEROS[..usize::try_from(count).expect("no more than there are zeros")])?;
        at += count;
    }
    Ok(())
}

fn encode(header: SegmentHeader) -> [u8; 64] {
    let mut bytes = [0; 64];
    bytes[0..7].copy_from_slice(&MAGIC);
    bytes[7] = FORMAT;
    bytes[8..10].copy_from_slice(&header.partitions.to_le_bytes());
    bytes[10] = u8::from(header.recycled);
    bytes[16..24].copy_from_slice(&header.first.0.to_le_bytes());
    bytes[24..32].copy_from_slice(&header.salt.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..60]);
    bytes[60..64].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// What stands where a header belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderRead {
    Whole(SegmentHeader),
    /// Written by a later version of this program.
    Newer(u8),
    Damaged,
}

pub(crate) fn read_header(file: &impl File) -> io::Result<HeaderRead> {
    if file.len()? < HEADER_BYTES {
        return Ok(HeaderRead::Damaged);
    }
    let mut bytes = [0; 64];
    file.read_at(0, &mut bytes)?;
    let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    let crc = u32::from_le_bytes(bytes[60..64].try_into().expect("four bytes"));
    let header = SegmentHeader {
        partitions: u16::from_le_bytes([bytes[8], bytes[9]]),
        first: BlockNumber(word(16)),
        salt: word(24),
        recycled: bytes[10] == 1,
    };
    if bytes[..60] == encode(header)[..60] && crc32c::crc32c(&bytes[..60]) == crc {
        return Ok(HeaderRead::Whole(header));
    }
    // A flipped bit in the format's number makes no newer format: then the rest is whole.
    let flipped = encode(header)[60..64] == bytes[60..64];
    Ok(if bytes[0..7] == MAGIC && bytes[7] > FORMAT && !flipped { HeaderRead::Newer(bytes[7]) } else { HeaderRead::Damaged })
}

/// Opens a segment that must be whole.
pub(crate) fn open<S: Storage>(storage: &S, first: BlockNumber) -> Result<(S::File, SegmentHeader), ReadError> {
    let name = name(first);
    let file = storage.open(&name)?;
    let file_name = storage.describe(&name);
    match read_header(&file)? {
        HeaderRead::Whole(header) if header.first == first => Ok((file, header)),
        HeaderRead::Newer(found) => Err(ReadError::NewerFormat { file: file_name, found, supported: FORMAT }),
        _ => Err(ReadError::Corrupt { after: None, file: file_name, what: "the segment's header is damaged".to_owned() }),
    }
}
