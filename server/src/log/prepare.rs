//! Readies events for the log on the caller's thread, so that the one appender only looks up, copies and checksums. Does no IO.

use std::ops::Range;

use crate::log::dedup::Candidate;
use crate::log::record;
use crate::log::record::decode::Skimmed;
use crate::log::record::field::DecodeError;
use crate::model::event::Event;
use crate::model::id::{MAX_ID_BYTES, PartitionId};

/// Events on their way into the log, encoded already, in the order they came.
#[derive(Debug, Default)]
pub struct Batch {
    /// The records of all items, one after the other.
    pub(crate) bytes: Vec<u8>,
    pub(crate) items: Vec<Prepared>,
}

/// One item, its record aside: small, for the appender looks at each of them more than once.
#[derive(Clone, Debug)]
pub(crate) struct Prepared {
    pub(crate) candidate: Candidate,
    /// Where its record stands in `Batch::bytes`.
    pub(crate) range: Range<u32>,
}

impl Prepared {
    pub(crate) fn record<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        &bytes[self.range.start as usize..self.range.end as usize]
    }
}

const _: () = assert!(size_of::<Prepared>() <= 64);

impl Batch {
    pub fn with_capacity(events: usize) -> Self {
        Self { bytes: Vec::with_capacity(events * 160), items: Vec::with_capacity(events) }
    }

    pub fn len(&self) -> usize {
        self.items.len()
    }

    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Adds one event for the log's `partitions` partitions.
    pub fn push(&mut self, event: &Event, partitions: u16) {
        let start = self.bytes.len();
        let content_start = record::encode(event, &mut self.bytes);
        let place = |at: usize| u32::try_from(at).expect("a request is far shorter than 4 GiB");
        let candidate = Candidate {
            partition: event.partition(partitions),
            identity: event.id.with_str(|id| identity(event.tenant.as_str(), event.routing_key(), id)),
            content: content(&self.bytes[content_start..]),
            event_time: event.event_time,
            effective_time: event.stamp.effective_time,
        };
        self.items.push(Prepared { candidate, range: place(start)..place(self.bytes.len()) });
    }
}

/// What `Batch::push` found when this record of `partition` was prepared, from its bytes in the log.
pub(crate) fn candidate(partition: PartitionId, record: &[u8]) -> Result<Candidate, DecodeError> {
    let skimmed = Skimmed::read(record)?;
    Ok(Candidate {
        partition,
        identity: identity(skimmed.tenant, skimmed.routing_key, skimmed.id),
        content: content(skimmed.content),
        event_time: skimmed.event_time,
        effective_time: skimmed.effective_time,
    })
}

/// What makes a duplicate: over the texts joined by zero bytes, which none of them can contain.
fn identity(tenant: &str, routing_key: &str, id: &str) -> u128 {
    let mut joined = [0; 3 * MAX_ID_BYTES + 2];
    let mut length = 0;
    for text in [tenant, "\0", routing_key, "\0", id] {
        joined[length..length + text.len()].copy_from_slice(text.as_bytes());
        length += text.len();
    }
    xxhash_rust::xxh3::xxh3_128(&joined[..length])
}

/// What makes a duplicate the same event: over the record without its stamp.
fn content(bytes: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(bytes)
}
