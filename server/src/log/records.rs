//! The records of one entry as they stand in a block, one behind the other, each behind its length. The only code that knows how. Never reads one.

use bytes::Bytes;

use crate::log::record;
use crate::log::record::decode::Decoder;
use crate::log::record::field::DecodeError;
use crate::model::event::Event;
use crate::model::id::{Offset, PartitionId};

/// What a record's length takes up.
pub(crate) const LENGTH_BYTES: usize = 4;

/// A view of an entry's records in the bytes of their block, which it shares and keeps alive. Each is decoded where it is used.
///
/// The block's checksum has been verified and the lengths fit, or there is no `Records`. What stands in a record is proven only when it is decoded:
/// one that does not decode was written wrong, and no second reading makes it right, so who decodes passes over it (`report_unreadable`), counts
/// its offset, and goes on. A start that refused for its sake would lose the good records with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Records {
    bytes: Bytes,
    count: usize,
}

impl Records {
    /// `bytes` holds `count` records and nothing else.
    pub(crate) fn new(bytes: Bytes, count: usize) -> Self {
        debug_assert_eq!(RecordBytes(&bytes).count(), count, "whole records");
        Self { bytes, count }
    }

    pub fn len(&self) -> usize {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Each record's bytes, in the order of their offsets.
    pub fn iter(&self) -> RecordBytes<'_> {
        RecordBytes(&self.bytes)
    }

    /// Each record decoded, in the order of their offsets.
    pub fn events(&self) -> impl Iterator<Item = Result<Event, DecodeError>> {
        let mut decoder = Decoder::default();
        self.iter().map(move |record| decoder.decode(record))
    }

    #[cfg(test)]
    pub(crate) fn of(events: &[Event]) -> Self {
        let (mut bytes, mut record) = (Vec::new(), Vec::new());
        for event in events {
            record.clear();
            record::encode(event, &mut record);
            put(&mut bytes, &record, false);
        }
        Self::new(bytes.into(), events.len())
    }

    /// These, and before and after them a record that is none.
    #[cfg(test)]
    pub(crate) fn with_noise_around(&self) -> Self {
        let mut bytes = Vec::new();
        for record in std::iter::once(b"noise".as_slice()).chain(self).chain([b"".as_slice()]) {
            put(&mut bytes, record, false);
        }
        Self::new(bytes.into(), self.count + 2)
    }
}

impl<'a> IntoIterator for &'a Records {
    type Item = &'a [u8];
    type IntoIter = RecordBytes<'a>;

    fn into_iter(self) -> RecordBytes<'a> {
        self.iter()
    }
}

/// Goes from record to record in bytes whose lengths were checked.
#[derive(Clone, Debug)]
pub struct RecordBytes<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for RecordBytes<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (record, rest) = split_one(self.0)?;
        self.0 = rest;
        Some(record)
    }
}

/// Adds a record to those of an entry; `late` sets its flag in place.
pub(crate) fn put(out: &mut Vec<u8>, record: &[u8], late: bool) {
    out.extend_from_slice(&u32::try_from(record.len()).expect("a record is far shorter than 2^32").to_le_bytes());
    let start = out.len();
    out.extend_from_slice(record);
    if late {
        out[start + record::FLAGS_AT] |= record::LATE;
    }
}

/// Takes `count` records off the front; `None` when there are not as many.
pub(crate) fn split<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (all, mut rest) = (*bytes, *bytes);
    for _ in 0..count {
        (_, rest) = split_one(rest)?;
    }
    *bytes = rest;
    Some(&all[..all.len() - rest.len()])
}

/// Says of a record that it is passed over.
pub(crate) fn report_unreadable(partition: PartitionId, offset: Offset, error: &DecodeError) {
    metrics::counter!("waypost_unreadable_records_total").increment(1);
    tracing::error!(partition = partition.0, offset = offset.0, %error, "a record of the log cannot be read, though its block is whole: it is passed over");
}

fn split_one(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<LENGTH_BYTES>()?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize)
}
