//! Reads blocks one after the other, across segments. Checks each and hands on its bytes; decodes no record.

use std::io;
use std::sync::Arc;

use super::codec::{self, HEADER_BYTES, Header};
use super::segment::{self, SegmentHeader};
use super::storage::{File as _, Storage};
use crate::log::ReadError;
use crate::log::block::{Block, BlockNumber};
use crate::model::time::UnixMs;

/// Bytes read at once: some hundred small blocks a system call.
const READ_AHEAD: usize = 1 << 20;

/// Stands before a block of a segment.
pub(crate) struct Cursor<S: Storage> {
    storage: Arc<S>,
    segment: SegmentHeader,
    file: S::File,
    file_bytes: u64,
    /// Where the next block starts.
    at: u64,
    buffer: Vec<u8>,
    buffer_at: u64,
    /// The number and checksum of the block before; absent at the start of a scan.
    last: Option<(u64, u32)>,
    /// The greatest ingest time so far.
    ingest_time: UnixMs,
}

/// What stands at the cursor.
#[derive(Debug)]
pub(crate) enum Step {
    Block(Header),
    /// No valid block, and this is the newest segment: the end of the log, or damage; `Cursor::at` says where.
    End,
    /// No valid block, and block `next` starts the next segment, so blocks are missing here.
    Damage {
        next: u64,
    },
}

impl<S: Storage> Cursor<S> {
    /// Stands at the start of the segment in which block `number` is or will be.
    pub(crate) fn open(storage: &Arc<S>, number: BlockNumber) -> Result<Option<Self>, ReadError> {
        let firsts = segment::list(storage.as_ref())?;
        let Some(oldest) = firsts.first().copied() else {
            return Ok(None);
        };
        let Some(first) = firsts.iter().rev().find(|first| **first <= number).copied() else {
            return Err(ReadError::Gone { wanted: number, oldest });
        };
        let (file, segment) = segment::open(storage.as_ref(), first)?;
        let file_bytes = file.len()?;
        let storage = Arc::clone(storage);
        Ok(Some(Self {
            storage,
            segment,
            file,
            file_bytes,
            at: segment::HEADER_BYTES,
            buffer: Vec::new(),
            buffer_at: 0,
            last: None,
            ingest_time: UnixMs(0),
        }))
    }

    /// Goes past the block that the last `step` found.
    pub(crate) fn pass(&mut self, header: &Header) {
        self.ingest_time = self.ingest_time.max(header.ingest_time);
        self.at += (HEADER_BYTES + header.body_bytes) as u64;
        // After a quarantined range nothing is known of the block before.
        self.last = Some((header.number, if header.skip { SKIP_CRC } else { header.crc }));
    }

    /// Finds the next block, going on to the next segment where this one ends.
    pub(crate) fn step(&mut self) -> Result<Step, ReadError> {
        loop {
            match self.block_here()? {
                Some(header) => {
                    self.check_order(&header)?;
                    return Ok(Step::Block(header));
                }
                None => match self.next_segment()? {
                    None => return Ok(Step::End),
                    Some(next) if next.0 == self.expected() => self.enter(next)?,
                    Some(next) => return Ok(Step::Damage { next: next.0 }),
                },
            }
        }
    }

    /// The block that the last `step` found, its records as they are.
    pub(crate) fn decode(&self, header: &Header) -> Result<Block, ReadError> {
        if header.skip {
            // A reader must come past a quarantined range, up to the last block that it replaces: it sees that one, empty.
            return Ok(Block { number: BlockNumber(header.number), ingest_time: self.ingest_time, entries: Vec::new() });
        }
        codec::decode(header, self.body(header)).map_err(|what| self.corrupt(what))
    }

    /// The bytes behind the header that the last `step` found.
    pub(crate) fn body(&self, header: &Header) -> &[u8] {
        &self.buffered()[HEADER_BYTES..HEADER_BYTES + header.body_bytes]
    }

    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    pub(crate) fn last(&self) -> Option<(u64, u32)> {
        self.last
    }

    pub(crate) fn segment(&self) -> SegmentHeader {
        self.segment
    }

    pub(crate) fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    pub(crate) fn into_file(self) -> S::File {
        self.file
    }

    /// All bytes from here to the end of the segment.
    pub(crate) fn rest(&self) -> Result<Vec<u8>, ReadError> {
        let mut rest = vec![0; usize::try_from(self.file_bytes.saturating_sub(self.at)).expect("a segment fits memory")];
        self.file.read_at(self.at, &mut rest)?;
        Ok(rest)
    }

    pub(crate) fn corrupt(&self, what: String) -> ReadError {
        let file = format!("{} at byte {}", self.storage.describe(&segment::name(self.segment.first)), self.at);
        ReadError::Corrupt { after: self.last.map(|(number, _)| BlockNumber(number)), file, what }
    }

    fn block_here(&mut self) -> Result<Option<Header>, ReadError> {
        if self.buffered().len() < HEADER_BYTES {
            self.fill(HEADER_BYTES)?;
        }
        if declared_bytes(self.buffered()).is_none() && self.buffer_at != self.at {
            // What was read ahead may be older than the block: the file decides.
            self.fill(HEADER_BYTES)?;
        }
        let Some(wanted) = declared_bytes(self.buffered()) else {
            return Ok(None);
        };
        if self.at + wanted as u64 > self.file_bytes {
            return Ok(None);
        }
        if self.buffered().len() < wanted {
            self.fill(wanted)?;
        }
        if let Some(header) = codec::check(self.buffered(), self.segment.salt) {
            return Ok(Some(header));
        }
        // The same for a block that was half there when it was read ahead.
        self.fill(wanted)?;
        Ok(codec::check(self.buffered(), self.segment.salt))
    }

    fn buffered(&self) -> &[u8] {
        let skipped = self.at.checked_sub(self.buffer_at).and_then(|skipped| usize::try_from(skipped).ok());
        skipped.and_then(|skipped| self.buffer.get(skipped..)).unwrap_or(&[])
    }

    fn fill(&mut self, wanted: usize) -> Result<(), ReadError> {
        let left = usize::try_from(self.file_bytes.saturating_sub(self.at)).expect("a segment fits memory");
        self.buffer.resize(wanted.max(READ_AHEAD).min(left), 0);
        self.buffer_at = self.at;
        self.file.read_at(self.at, &mut self.buffer)?;
        Ok(())
    }

    fn check_order(&self, header: &Header) -> Result<(), ReadError> {
        let follows = match self.last {
            _ if header.skip => true,
            Some((_, crc)) => header.number == self.expected() && (header.previous_crc == crc || crc == SKIP_CRC),
            None => header.number == self.expected(),
        };
        if follows { Ok(()) } else { Err(self.corrupt(format!("block {} stands where block {} belongs", header.number, self.expected()))) }
    }

    /// The number of the block that belongs here.
    fn expected(&self) -> u64 {
        self.last.map_or(self.segment.first.0, |(number, _)| number + 1)
    }

    fn next_segment(&self) -> io::Result<Option<BlockNumber>> {
        Ok(segment::list(self.storage.as_ref())?.into_iter().find(|first| *first > self.segment.first))
    }

    fn enter(&mut self, next: BlockNumber) -> Result<(), ReadError> {
        let (file, segment) = segment::open(self.storage.as_ref(), next)?;
        self.file_bytes = file.len()?;
        self.file = file;
        self.segment = segment;
        self.at = segment::HEADER_BYTES;
        self.buffer.clear();
        Ok(())
    }
}

/// Marks "the block before was quarantined" where a checksum would stand.
pub(crate) const SKIP_CRC: u32 = 0;

fn declared_bytes(bytes: &[u8]) -> Option<usize> {
    let header = bytes.get(..HEADER_BYTES)?;
    if header[0..4] != codec::MAGIC && header[0..4] != codec::SKIP_MAGIC {
        return None;
    }
    let body = u32::from_le_bytes(header[20..24].try_into().expect("four bytes"));
    HEADER_BYTES.checked_add(usize::try_from(body).ok()?)
}
