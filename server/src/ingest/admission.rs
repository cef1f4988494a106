//! The items of one request on their way: those that are events go to the log as a batch, each keeps its place in the answer. Never decodes.

use crate::formats::refusal::Refusal;
use crate::formats::results::{ItemId, ItemResult, Outcome, Shed};
use crate::ingest::hints::LastPing;
use crate::ingest::ledger::Closing;
use crate::ingest::pressure::{Pressure, Valve};
use crate::ingest::senders::{Run, Senders};
use crate::ingest::{authority, stamp};
use crate::log::Appended;
use crate::log::prepare::Batch;
use crate::model::event::{Body, Event, Stamp};
use crate::model::id::TenantId;
use crate::model::scope::Scope;
use crate::model::time::UnixMs;

/// Gathers a request's items.
#[derive(Debug)]
pub(super) struct Admission<'a> {
    scope: Scope,
    batch: Batch,
    items: Vec<(ItemId, Settled)>,
    arrival: Arrival<'a>,
    /// Who sent the events, for their buckets.
    runs: Vec<Run>,
    has_status: bool,
    last_ping: Option<LastPing>,
}

/// What holds for all items of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival<'a> {
    pub(super) partitions: u16,
    pub(super) sent_at: Option<UnixMs>,
    pub(super) now: UnixMs,
    /// As it was when the request came: all its items are treated alike.
    pub(super) pressure: Pressure,
    pub(super) valve: &'a Valve,
    /// The senders' of this tenant.
    pub(super) salt: u64,
}

/// What a request took out of its senders' buckets.
#[derive(Debug)]
pub(super) struct Paid {
    pub(super) tenant: TenantId,
    pub(super) events: u64,
    pub(super) runs: Vec<Run>,
}

/// What is known of an item before the log is asked.
#[derive(Debug)]
enum Settled {
    /// Nothing: it goes to the log.
    ByTheLog,
    Refused(Refusal),
    Shed(Shed),
}

/// What there is to be answered, in the order of the request. Who was refused waits for nothing.
#[derive(Debug)]
pub(super) struct Items {
    all: Vec<(ItemId, Settled)>,
    pub(super) rejected: u64,
    pub(super) shed: u64,
}

impl<'a> Admission<'a> {
    /// For about so many `events` from a credential of this scope.
    pub(super) fn new(scope: Scope, events: usize, arrival: Arrival<'a>) -> Self {
        let (batch, items) = (Batch::with_capacity(events), Vec::with_capacity(events));
        Self { scope, batch, items, arrival, runs: Vec::new(), has_status: false, last_ping: None }
    }

    /// Takes the next item. One that is no event is known by the id that it claims.
    pub(super) fn add(&mut self, read: Result<Event, Refusal>, claimed_id: impl FnOnce() -> String) {
        match read {
            Ok(event) => {
                match authority::check(&self.scope, &event).and_then(|()| stamp::stamp(event.event_time, self.arrival.sent_at, self.arrival.now)) {
                    // What its protocol has noted of it stays.
                    Ok(stamp) => self.take(Event { stamp: Stamp { undated: event.stamp.undated, of_actor: event.stamp.of_actor, ..stamp }, ..event }),
                    Err(refusal) => self.settle(ItemId::Event(event.id), Settled::Refused(refusal)),
                }
            }
            Err(refusal) => self.settle(ItemId::Claimed(claimed_id()), Settled::Refused(refusal)),
        }
    }

    fn take(&mut self, event: Event) {
        let sender = event.actor.as_ref().map(|actor| Senders::sender(self.arrival.salt, actor));
        if let Some(sender) = sender {
            match self.runs.last_mut() {
                Some(run) if run.sender == sender => run.events += 1,
                _ => self.runs.push(Run { sender, events: 1, first: u32::try_from(self.items.len()).unwrap_or(u32::MAX) }),
            }
        }
        if let Some(shed) = self.arrival.valve.sheds(self.arrival.pressure, &event, sender) {
            return self.settle(ItemId::Event(event.id), Settled::Shed(shed));
        }
        // Of a request that many drivers speak in nobody would know whom a hint is for.
        if self.runs.len() == 1 {
            LastPing::note(&mut self.last_ping, &event);
        }
        self.has_status |= matches!(event.body, Body::Status(_));
        self.batch.push(&event, self.arrival.partitions);
        self.settle(ItemId::Event(event.id), Settled::ByTheLog);
    }

    fn settle(&mut self, id: ItemId, settled: Settled) {
        self.items.push((id, settled));
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    pub(super) fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// What its senders paid for, to be given back if nothing of it is stored.
    pub(super) fn take_paid(&mut self, tenant: TenantId) -> Paid {
        Paid { tenant, events: self.items.len() as u64, runs: std::mem::take(&mut self.runs) }
    }

    /// The newest position, when all of it is of one driver.
    pub(super) fn last_ping(&self) -> Option<&LastPing> {
        self.last_ping.as_ref().filter(|_| self.runs.len() == 1)
    }

    /// Whether it holds what is never let go, at a pressure under which nothing can be taken.
    pub(super) fn must_come_again(&self) -> bool {
        self.arrival.pressure == Pressure::Full && self.has_status
    }

    pub(super) fn into_parts(self) -> (Batch, Items) {
        let count = |is: fn(&Settled) -> bool| self.items.iter().filter(|(_, settled)| is(settled)).count() as u64;
        let (rejected, shed) = match self.items.len() - self.batch.len() {
            0 => (0, 0),
            _ => (count(|settled| matches!(settled, Settled::Refused(_))), count(|settled| matches!(settled, Settled::Shed(_)))),
        };
        (self.batch, Items { all: self.items, rejected, shed })
    }
}

impl Items {
    /// Puts the log's outcomes in the places of the items that went to it.
    pub(super) fn answered(self, appended: Vec<Appended>) -> Vec<ItemResult> {
        let mut appended = appended.into_iter();
        let mut outcome = |settled| match settled {
            Settled::Refused(refusal) => Outcome::Rejected(refusal),
            Settled::Shed(shed) => Outcome::Shed(shed),
            Settled::ByTheLog => match appended.next().expect("the log answers for each item") {
                Appended::Accepted { partition, offset } => Outcome::Accepted { partition, offset },
                Appended::Duplicate { partition, offset } => Outcome::Duplicate { partition, offset, content_differs: false },
                Appended::ContentDiffers { partition, offset } => Outcome::Duplicate { partition, offset, content_differs: true },
            },
        };
        self.all.into_iter().map(|(event_id, settled)| ItemResult { event_id, outcome: outcome(settled) }).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }
}

/// What the log made of those that went to it.
pub(super) fn closing(appended: &[Appended]) -> Closing {
    let accepted = appended.iter().filter(|appended| matches!(appended, Appended::Accepted { .. })).count() as u64;
    Closing { accepted, duplicate: appended.len() as u64 - accepted }
}
