//! Readies events for the log on the caller's thread, so that the one appender only looks up, copies and checksums. Does no IO.

use std::ops::Range;

use crate::log::dedup::Candidate;
use crate::log::record;
use crate::log::record::decode::{Decoder, Skimmed};
use crate::log::record::field::DecodeError;
use crate::model::event::{Event, partition_of_joined};
use crate::model::id::{MAX_ID_BYTES, PartitionId, TenantId};
use crate::model::time::UnixMs;

/// Events on their way into the log, encoded already, in the order they came.
#[derive(Debug, Default)]
pub struct Batch {
    /// The records of all items, one after the other.
    pub(crate) bytes: Vec<u8>,
    pub(crate) items: Vec<Prepared>,
    names: Names,
}

/// What names an event, joined by zero bytes, which none of the texts can contain: `tenant 0 routing key 0 id`, and `0 actor` when the id is its own. The events of a request share a
/// tenant, whose text is written down once.
#[derive(Debug, Default)]
struct Names {
    joined: Vec<u8>,
    tenant: Option<TenantId>,
}

impl Names {
    /// The event's partition, and what makes a duplicate of it.
    fn of(&mut self, event: &Event, partitions: u16) -> (PartitionId, u128) {
        let tenant = event.tenant.as_str();
        if self.tenant != Some(event.tenant) {
            self.tenant = Some(event.tenant);
            self.joined.clear();
            self.joined.extend_from_slice(tenant.as_bytes());
            self.joined.push(0);
        }
        self.joined.truncate(tenant.len() + 1);
        self.joined.extend_from_slice(event.routing_key().as_bytes());
        let partition = partition_of_joined(&self.joined, partitions);
        self.joined.push(0);
        event.id.with_str(|id| self.joined.extend_from_slice(id.as_bytes()));
        if let Some(owner) = event.id_owner() {
            self.joined.push(0);
            self.joined.extend_from_slice(owner.as_bytes());
        }
        (partition, xxhash_rust::xxh3::xxh3_128(&self.joined))
    }
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
        Self { bytes: Vec::with_capacity(events * 160), items: Vec::with_capacity(events), names: Names::default() }
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
        let (partition, identity) = self.names.of(event, partitions);
        let candidate = Candidate {
            partition,
            identity,
            content: if event.stamp.undated { undated_content(event) } else { content(&self.bytes[content_start..]) },
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
        identity: identity(&skimmed),
        content: if skimmed.undated { undated_content(&Decoder::default().decode(record)?) } else { content(skimmed.content) },
        event_time: skimmed.event_time,
        effective_time: skimmed.effective_time,
    })
}

/// As `Names::of` has it.
fn identity(skimmed: &Skimmed<'_>) -> u128 {
    let mut joined = [0; 4 * MAX_ID_BYTES + 3];
    let mut length = 0;
    let (separator, owner) = skimmed.id_owner.map(|owner| ("\0", owner)).unwrap_or_default();
    for text in [skimmed.tenant, "\0", skimmed.routing_key, "\0", skimmed.id, separator, owner] {
        joined[length..length + text.len()].copy_from_slice(text.as_bytes());
        length += text.len();
    }
    xxhash_rust::xxh3::xxh3_128(&joined[..length])
}

/// What makes a duplicate the same event: over the record without its stamp.
fn content(bytes: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(bytes)
}

/// The same of an event whose time its sender did not give: whenever it comes.
fn undated_content(event: &Event) -> u64 {
    let mut bytes = Vec::new();
    let start = record::encode(&Event { event_time: UnixMs(0), ..event.clone() }, &mut bytes);
    content(&bytes[start..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::event::{Body, Stamp};
    use crate::model::id::{DeliveryId, DriverId, EventId};

    fn event(tenant: &str, actor: &str, delivery: Option<&str>, id: &str) -> Event {
        Event {
            id: EventId::parse(id).unwrap(),
            tenant: TenantId::parse(tenant).unwrap(),
            actor: Some(DriverId::parse(actor).unwrap()),
            delivery: delivery.map(|delivery| DeliveryId::parse(delivery).unwrap()),
            event_time: UnixMs(1_700_000_000_000),
            schema_version: 1,
            body: Body::Duty { on: true },
            stamp: Stamp { effective_time: UnixMs(1_700_000_000_000), ..Stamp::default() },
            unknown: None,
        }
    }

    fn undated(event: Event) -> Event {
        Event { stamp: Stamp { undated: true, ..event.stamp }, ..event }
    }

    fn own(event: Event) -> Event {
        Event { stamp: Stamp { of_actor: true, ..event.stamp }, ..event }
    }

    #[test]
    fn what_a_batch_finds_of_an_event_is_what_recovery_finds_of_its_record() {
        let uuid = "0190163d-8694-739b-aea5-966c26f8ad91";
        let events = [
            event("acme", "ann", None, uuid),
            event("acme", "a-driver-with-a-long-name", Some("d"), "e"),
            event("globex", "ann", None, uuid),
            event("acme", "ann", None, uuid),
            event("acme", "an", None, "n"),
            own(event("acme", "ann", Some("d"), "e")),
            own(event("acme", "bob", Some("d"), "e")),
            undated(own(event("acme", "ann", None, "e"))),
        ];
        let mut batch = Batch::default();
        for event in &events {
            batch.push(event, 64);
        }
        for (item, event) in batch.items.iter().zip(&events) {
            assert_eq!(item.candidate.partition, event.partition(64));
            let found = candidate(event.partition(64), item.record(&batch.bytes)).unwrap();
            assert_eq!(format!("{:?}", item.candidate), format!("{found:?}"));
        }
        let identities: Vec<u128> = batch.items.iter().map(|item| item.candidate.identity).collect();
        assert_eq!(identities[0], identities[3]);
        assert!((1..5).all(|index| index == 3 || identities[index] != identities[0]));
        assert!(identities[5] != identities[6] && identities[5] != identities[1], "two actors' ids of one delivery");
    }

    #[test]
    fn an_event_that_has_its_time_from_us_is_the_same_whenever_it_comes_and_another_when_it_says_something_else() {
        let later = |event: Event| Event { event_time: UnixMs(1_700_000_009_000), ..event };
        let other = |event: Event| Event { body: Body::Duty { on: false }, ..event };
        let first = || event("acme", "ann", None, "e");
        let mut batch = Batch::default();
        for event in [undated(first()), undated(later(first())), undated(other(first())), first(), later(first())] {
            batch.push(&event, 64);
        }
        let [one, again, different, dated, dated_later] = [0, 1, 2, 3, 4].map(|index| batch.items[index].candidate.content);
        assert!(one == again && one != different && dated != dated_later, "{batch:?}");
    }
}
