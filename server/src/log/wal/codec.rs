//! A commit block's bytes: header, entries, records; written by the appender, read by recovery and readers. The only code that knows them.
//!
//! ```text
//! magic u32 | crc u32 over all that follows, salted | number u64 | crc of the block before u32 | length of the body u32 | ingest time i64 | entries u32
//! entry: partition u16 | kind u8 | 0 u8 | events u32 | first offset u64 | events x (length u32 | record)
//! ```
//! All little-endian. The salt is the segment's, so what a recycled file held before can never pass for a block.

use crate::log::block::{Block, BlockNumber, Entry, EntryKind};
use crate::log::record;
use crate::model::event::Event;
use crate::model::id::{Offset, PartitionId, TenantId};
use crate::model::time::UnixMs;

pub(crate) const MAGIC: [u8; 4] = *b"WPB1";
/// Stands in for a quarantined range: the same header, number = the block before the next valid one.
pub(crate) const SKIP_MAGIC: [u8; 4] = *b"WPS1";
pub(crate) const HEADER_BYTES: usize = 36;
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

/// Builds one block in a buffer that is used again and again.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    bytes: Vec<u8>,
    entries: u32,
}

impl Builder {
    pub(crate) fn start(&mut self) {
        self.bytes.clear();
        self.bytes.resize(HEADER_BYTES, 0);
        self.entries = 0;
    }

    pub(crate) fn entry(&mut self, partition: PartitionId, kind: &EntryKind, first_offset: Offset) {
        let (code, events) = match kind {
            EntryKind::Events(events) => (KIND_EVENTS, events.len()),
            EntryKind::Clock => (KIND_CLOCK, 0),
        };
        self.bytes.extend_from_slice(&partition.0.to_le_bytes());
        self.bytes.extend_from_slice(&[code, 0]);
        self.bytes.extend_from_slice(&u32::try_from(events).expect("a block holds far fewer events than 2^32").to_le_bytes());
        self.bytes.extend_from_slice(&first_offset.0.to_le_bytes());
        self.entries += 1;
    }

    /// Adds a record to the entry begun last; `late` sets its flag in place.
    pub(crate) fn record(&mut self, record: &[u8], late: bool) {
        self.bytes.extend_from_slice(&u32::try_from(record.len()).expect("a record is far shorter than 2^32").to_le_bytes());
        let start = self.bytes.len();
        self.bytes.extend_from_slice(record);
        if late {
            self.bytes[start + record::FLAGS_AT] |= record::LATE;
        }
    }

    /// Writes the header and returns the whole block and its checksum.
    pub(crate) fn finish(&mut self, number: BlockNumber, previous_crc: u32, ingest_time: UnixMs, salt: u64) -> (&[u8], u32) {
        let body = self.bytes.len() - HEADER_BYTES;
        write_header(&mut self.bytes, MAGIC, number.0, previous_crc, body, ingest_time, self.entries);
        let crc = checksum(salt, &self.bytes[8..]);
        self.bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        (&self.bytes, crc)
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

/// Decodes the body of a checked block. An error means that a block was written wrong: its checksum holds.
pub(crate) fn decode(header: &Header, body: &[u8]) -> Result<Block, String> {
    let mut rest = body;
    let mut entries = Vec::with_capacity(header.entries as usize);
    let mut tenant = None;
    for _ in 0..header.entries {
        let head = take(&mut rest, 16)?;
        let partition = PartitionId(u16::from_le_bytes([head[0], head[1]]));
        let kind = match head[2] {
            KIND_EVENTS => EntryKind::Events(decode_events(&mut rest, u32_at(head, 4), &mut tenant)?),
            KIND_CLOCK => EntryKind::Clock,
            other => return Err(format!("entry of unknown kind {other}")),
        };
        entries.push(Entry { partition, first_offset: Offset(u64_at(head, 8)), kind });
    }
    Ok(Block { number: BlockNumber(header.number), ingest_time: header.ingest_time, entries })
}

/// Events one after the other mostly share their tenant: `tenant` is the last one met, so that its text is allocated once.
fn decode_events(rest: &mut &[u8], count: u32, tenant: &mut Option<TenantId>) -> Result<Vec<Event>, String> {
    let mut events = Vec::with_capacity(count as usize);
    for _ in 0..count {
        let length = u32_at(take(rest, 4)?, 0) as usize;
        let event = record::decode_after(take(rest, length)?, tenant.as_ref()).map_err(|error| error.to_string())?;
        if tenant.as_ref() != Some(&event.tenant) {
            *tenant = Some(event.tenant);
        }
        events.push(event);
    }
    Ok(events)
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
