//! Readies events for the log on the caller's thread, so that the one appender only looks up, copies and checksums. Does no IO.

use crate::log::dedup::Candidate;
use crate::log::record;
use crate::model::event::Event;
use crate::model::id::{MAX_ID_BYTES, PartitionId};

/// Events on their way into the log, encoded already, in the order they came.
#[derive(Debug, Default)]
pub struct Batch {
    /// The records of all items, one after the other.
    pub(crate) bytes: Vec<u8>,
    pub(crate) items: Vec<Prepared>,
}

#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) partition: PartitionId,
    pub(crate) event: Event,
    /// Where its record stands in `Batch::bytes`.
    pub(crate) range: std::ops::Range<usize>,
    /// xxh3-128 of (tenant, routing key, event id): what makes a duplicate.
    pub(crate) identity: u128,
    /// xxh3-64 of the record without its stamp: what makes a duplicate the same event.
    pub(crate) content: u64,
}

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
    pub fn push(&mut self, event: Event, partitions: u16) {
        let start = self.bytes.len();
        let content_start = record::encode(&event, &mut self.bytes);
        let range = start..self.bytes.len();
        let content = xxhash_rust::xxh3::xxh3_64(&self.bytes[content_start..]);
        let partition = event.partition(partitions);
        let identity = identity(&event);
        self.items.push(Prepared { partition, event, range, identity, content });
    }
}

/// Over the texts joined by zero bytes, which none of them can contain.
fn identity(event: &Event) -> u128 {
    let mut joined = [0; 3 * MAX_ID_BYTES + 2];
    let mut length = 0;
    let mut add = |text: &[u8]| {
        joined[length..length + text.len()].copy_from_slice(text);
        length += text.len();
    };
    for text in [event.tenant.as_str(), "\0", event.routing_key(), "\0"] {
        add(text.as_bytes());
    }
    event.id.with_str(|id| add(id.as_bytes()));
    xxhash_rust::xxh3::xxh3_128(&joined[..length])
}

impl Prepared {
    pub(crate) fn candidate(&self) -> Candidate {
        Candidate {
            partition: self.partition,
            identity: self.identity,
            content: self.content,
            event_time: self.event.event_time,
            effective_time: self.event.stamp.effective_time,
        }
    }
}
