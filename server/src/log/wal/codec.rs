//! A commit block's bytes: header, entries, records; written by the appender, read by recovery and readers. The only code that knows them.
//!
//! ```text
//! magic u32 | crc u32 over all that follows, salted | number u64 | crc of the block before u32 | length of the body u32 | ingest time i64 | entries u32
//! entry: partition u16 | kind u8 | 0 u8 | events u32 | first offset u64 | its records, as `log/records.rs` puts them
//! ```
//! All little-endian. The salt is the segment's, so what a recycled file held before can never pass for a block.

use std::ops::Range;

use bytes::Bytes;

use crate::log::block::{Block, BlockNumber, Entry, EntryKind};
use crate::log::records::{self, RecordBytes, Records};
use crate::model::id::{Offset, PartitionId};
use crate::model::time::UnixMs;

pub(crate) const MAGIC: [u8; 4] = *b"WPB1";
/// Stands in for a quarantined range: the same header, number = the block before the next valid one.
pub(crate) const SKIP_MAGIC: [u8; 4] = *b"WPS1";
pub(crate) const HEADER_BYTES: usize = 36;
pub(crate) const ENTRY_BYTES: usize = 16;
const PAGE_BYTES: usize = 4096;
const KIND_EVENTS: u8 = 1;
const KIND_CLOCK: u8 = 2;

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) skip: bool,
    pub(crate) crc: u32,
    pub(crate) number: u64,
    pub(crate) previous_crc: u32,
    pub(crate) body_bytes: usize,
    pub(crate) ingest_time: UnixMs,
    pub(crate) entries: u32,
}

/// An entry's head, and where in the bytes around it its records stand.
#[derive(Clone, Debug)]
struct Place {
    partition: PartitionId,
    first_offset: Offset,
    kind: u8,
    events: u32,
    records: Range<usize>,
}

/// A block ready to be written: what readers will be shown shares the bytes that are written.
#[derive(Debug)]
pub(crate) struct Built {
    /// The block, and zeros up to the end of a page: a page that is written whole need not be read first.
    pub(crate) bytes: Bytes,
    pub(crate) block_bytes: usize,
    /// What the buffer takes up as long as somebody reads the block.
    pub(crate) held_bytes: usize,
    pub(crate) crc: u32,
    pub(crate) block: Block,
}

/// Builds one block. Its buffer goes to the readers with it, so each block has a fresh one, of its size and a page.
#[derive(Debug)]
pub(crate) struct Builder {
    bytes: Vec<u8>,
    places: Vec<Place>,
}

impl Builder {
    /// For `entries` entries with `record_bytes` bytes of records, their lengths included.
    pub(crate) fn new(entries: usize, record_bytes: usize) -> Self {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + entries * ENTRY_BYTES + record_bytes + PAGE_BYTES);
        bytes.resize(HEADER_BYTES, 0);
        Self { bytes, places: Vec::with_capacity(entries) }
    }

    /// Begins an entry of so many `events`; of none: a clock record.
    pub(crate) fn entry(&mut self, partition: PartitionId, events: usize, first_offset: Offset) {
        let kind = if events == 0 { KIND_CLOCK } else { KIND_EVENTS };
        let events = u32::try_from(events).expect("a block holds far fewer events than 2^32");
        self.bytes.extend_from_slice(&partition.0.to_le_bytes());
        self.bytes.extend_from_slice(&[kind, 0]);
        self.bytes.extend_from_slice(&events.to_le_bytes());
        self.bytes.extend_from_slice(&first_offset.0.to_le_bytes());
        let records = self.bytes.len()..self.bytes.len();
        self.places.push(Place { partition, first_offset, kind, events, records });
    }

    /// Adds a record to the entry begun last; `late` sets its flag in place.
    pub(crate) fn record(&mut self, record: &[u8], late: bool) {
        records::put(&mut self.bytes, record, late);
        self.places.last_mut().expect("an entry is begun first").records.end = self.bytes.len();
    }

    /// Writes the header, and zeros behind the block up to the end of its last page. `room` is where in the file the block goes, to the file's end.
    pub(crate) fn finish(self, number: BlockNumber, previous_crc: u32, ingest_time: UnixMs, salt: u64, room: Range<u64>) -> Built {
        let Self { mut bytes, places } = self;
        let body = bytes.len() - HEADER_BYTES;
        let entries = u32::try_from(places.len()).expect("one a partition");
        write_header(&mut bytes, MAGIC, number.0, previous_crc, body, ingest_time, entries);
        let crc = checksum(salt, &bytes[8..]);
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        let block_bytes = bytes.len();
        let end = room.start + block_bytes as u64;
        let padding = end.next_multiple_of(PAGE_BYTES as u64).min(room.end).saturating_sub(end);
        bytes.resize(block_bytes + usize::try_from(padding).expect("less than a page"), 0);
        let held_bytes = bytes.capacity();
        let bytes = Bytes::from(bytes);
        let entries = places.into_iter().map(|place| place.entry(&bytes)).collect();
        Built { crc, block: Block { number, ingest_time, entries }, bytes, block_bytes, held_bytes }
    }
}

impl Place {
    fn entry(self, bytes: &Bytes) -> Entry {
        let Self { partition, first_offset, kind, events, records } = self;
        let kind = if kind == KIND_CLOCK { EntryKind::Clock } else { EntryKind::Events(Records::new(bytes.slice(records), events as usize)) };
        Entry { partition, first_offset, kind }
    }
}

/// A block that covers `range_bytes` of corrupt ones, so that reading goes on at the next valid block, `next`.
pub(crate) fn skip(range_bytes: usize, next: u64, salt: u64) -> Vec<u8> {
    let mut bytes = vec![0; range_bytes];
    write_header(&mut bytes, SKIP_MAGIC, next - 1, 0, range_bytes - HEADER_BYTES, UnixMs(0), 0);
    let crc = checksum(salt, &bytes[8..]);
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn write_header(bytes: &mut [u8], magic: [u8; 4], number: u64, previous_crc: u32, body: usize, ingest_time: UnixMs, entries: u32) {
    bytes[0..4].copy_from_slice(&magic);
    bytes[8..16].copy_from_slice(&number.to_le_bytes());
    bytes[16..20].copy_from_slice(&previous_crc.to_le_bytes());
    bytes[20..24].copy_from_slice(&u32::try_from(body).expect("a segment is below 4 GiB").to_le_bytes());
    bytes[24..32].copy_from_slice(&ingest_time.0.to_le_bytes());
    bytes[32..36].copy_from_slice(&entries.to_le_bytes());
}

/// Reads a header and checks the whole block behind it; `None` when it is none, or torn.
pub(crate) fn check(bytes: &[u8], salt: u64) -> Option<Header> {
    let header = bytes.get(..HEADER_BYTES)?;
    let skip = header[0..4] == SKIP_MAGIC;
    if !skip && header[0..4] != MAGIC {
        return None;
    }
    let body_bytes = usize::try_from(u32_at(header, 20)).ok()?;
    let crc = u32_at(header, 4);
    let checked = bytes.get(8..HEADER_BYTES + body_bytes)?;
    (checksum(salt, checked) == crc).then(|| Header {
        skip,
        crc,
        number: u64_at(header, 8),
        previous_crc: u32_at(header, 16),
        body_bytes,
        ingest_time: UnixMs(u64_at(header, 24).cast_signed()),
        entries: u32_at(header, 32),
    })
}

/// Whether bytes begin as block `number` does, whatever became of the rest.
pub(crate) fn starts_block(bytes: &[u8], number: u64) -> bool {
    bytes.get(..HEADER_BYTES).is_some_and(|header| header[0..4] == MAGIC && u64_at(header, 8) == number)
}

/// The block of a checked header and its body. An error means that the block was written wrong: its checksum holds.
pub(crate) fn decode(header: &Header, body: &[u8]) -> Result<Block, String> {
    let bytes = Bytes::copy_from_slice(body);
    let entries = Places { body, rest: body, left: header.entries }.map(|place| place.map(|place| place.entry(&bytes))).collect::<Result<_, _>>()?;
    Ok(Block { number: BlockNumber(header.number), ingest_time: header.ingest_time, entries })
}

/// What recovery asks of an entry of events.
pub(crate) struct Held<'a> {
    pub(crate) partition: PartitionId,
    pub(crate) first_offset: Offset,
    pub(crate) records: RecordBytes<'a>,
}

/// The entries of events of a checked block, where they were read.
pub(crate) fn held<'a>(header: &Header, body: &'a [u8]) -> impl Iterator<Item = Result<Held<'a>, String>> {
    let places = Places { body, rest: body, left: header.entries };
    let held = |place: Place| Held { partition: place.partition, first_offset: place.first_offset, records: RecordBytes(&body[place.records]) };
    places.filter(|place| place.as_ref().is_ok_and(|place| place.kind == KIND_EVENTS) || place.is_err()).map(move |place| place.map(held))
}

/// Goes from entry to entry of a body.
struct Places<'a> {
    body: &'a [u8],
    rest: &'a [u8],
    left: u32,
}

impl Iterator for Places<'_> {
    type Item = Result<Place, String>;

    fn next(&mut self) -> Option<Result<Place, String>> {
        self.left = self.left.checked_sub(1)?;
        Some(self.read())
    }
}

impl Places<'_> {
    fn read(&mut self) -> Result<Place, String> {
        let head = take(&mut self.rest, ENTRY_BYTES)?;
        let (partition, kind, events) = (PartitionId(u16::from_le_bytes([head[0], head[1]])), head[2], u32_at(head, 4));
        let start = self.body.len() - self.rest.len();
        match kind {
            KIND_EVENTS => drop(records::split(&mut self.rest, events as usize).ok_or("an entry that ends early")?),
            KIND_CLOCK => {}
            other => return Err(format!("entry of unknown kind {other}")),
        }
        let records = start..self.body.len() - self.rest.len();
        Ok(Place { partition, first_offset: Offset(u64_at(head, 8)), kind, events, records })
    }
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Result<&'a [u8], String> {
    let (taken, left) = rest.split_at_checked(count).ok_or("a body that ends early")?;
    *rest = left;
    Ok(taken)
}

/// crc32c continued from the salt, so that two segments never agree on what is a block.
fn checksum(salt: u64, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&salt.to_le_bytes()), bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
