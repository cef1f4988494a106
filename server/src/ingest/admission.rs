//! The items of one request on their way: those that are events go to the log as a batch, each keeps its place in the answer. Never decodes.

use crate::formats::refusal::Refusal;
use crate::formats::results::{ItemId, ItemResult, Outcome};
use crate::ingest::stamp;
use crate::log::Appended;
use crate::log::prepare::Batch;
use crate::model::event::Event;
use crate::model::time::UnixMs;

/// Gathers a request's items.
#[derive(Debug)]
pub(super) struct Admission {
    batch: Batch,
    items: Items,
    partitions: u16,
    sent_at: Option<UnixMs>,
    now: UnixMs,
}

/// What there is to be answered, in the order of the request. Who was refused waits for nothing.
#[derive(Debug)]
pub(super) struct Items(Vec<(ItemId, Option<Refusal>)>);

impl Admission {
    /// For about so many `events` that arrive `now`.
    pub(super) fn new(events: usize, partitions: u16, sent_at: Option<UnixMs>, now: UnixMs) -> Self {
        Self { batch: Batch::with_capacity(events), items: Items(Vec::with_capacity(events)), partitions, sent_at, now }
    }

    /// Takes the next item. One that is no event is known by the id that it claims.
    pub(super) fn add(&mut self, read: Result<Event, Refusal>, claimed_id: impl FnOnce() -> String) {
        match read {
            Ok(event) => match stamp::stamp(event.event_time, self.sent_at, self.now) {
                Ok(stamp) => self.take(Event { stamp, ..event }),
                Err(refusal) => self.refuse(ItemId::Event(event.id), refusal),
            },
            Err(refusal) => self.refuse(ItemId::Claimed(claimed_id()), refusal),
        }
    }

    fn take(&mut self, event: Event) {
        self.batch.push(&event, self.partitions);
        self.items.0.push((ItemId::Event(event.id), None));
    }

    fn refuse(&mut self, id: ItemId, refusal: Refusal) {
        self.items.0.push((id, Some(refusal)));
    }

    pub(super) fn len(&self) -> usize {
        self.items.0.len()
    }

    pub(super) fn into_parts(self) -> (Batch, Items) {
        (self.batch, self.items)
    }
}

impl Items {
    /// Puts the log's outcomes in the places of the items that went to it.
    pub(super) fn answered(self, appended: Vec<Appended>) -> Vec<ItemResult> {
        let mut appended = appended.into_iter();
        let mut outcome = |refusal| match refusal {
            Some(refusal) => Outcome::Rejected(refusal),
            None => match appended.next().expect("the log answers for each item") {
                Appended::Accepted { partition, offset } => Outcome::Accepted { partition, offset },
                Appended::Duplicate { partition, offset } => Outcome::Duplicate { partition, offset, content_differs: false },
                Appended::ContentDiffers { partition, offset } => Outcome::Duplicate { partition, offset, content_differs: true },
            },
        };
        self.0.into_iter().map(|(event_id, refusal)| ItemResult { event_id, outcome: outcome(refusal) }).collect()
    }
}
