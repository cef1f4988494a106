//! The way in: a request's body becomes events that are valid by their type, durable, and answered item by item. Knows no HTTP library.

pub mod body;
pub mod position;
pub mod stamp;

use std::sync::Arc;

use bytes::Bytes;
use thiserror::Error;

use crate::clock::Clock;
use crate::formats::json::items::{split, split_lines};
use crate::formats::refusal::Refusal;
use crate::formats::results::{ItemId, ItemResult, Outcome};
use crate::formats::{json, protobuf};
use crate::log::prepare::Batch;
use crate::log::{AppendError, Appended, EventLog};
use crate::metrics::{IngestCounts, IngestTotals};
use crate::model::event::Event;
use crate::model::id::TenantId;
use crate::model::time::UnixMs;
use body::{BodyError, Encoding};
use position::LogPosition;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Events of one request.
    pub max_events: usize,
    /// Bytes of a body after decompression.
    pub max_bytes: usize,
}

/// How a request says its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaType {
    Json,
    NdJson,
    Protobuf,
}

/// A request as the shell hands it on: authorised to a tenant, nothing of it looked at.
#[derive(Clone, Debug)]
pub struct Request {
    pub tenant: TenantId,
    pub media: MediaType,
    pub encoding: Encoding,
    pub body: Bytes,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub results: Vec<ItemResult>,
    /// The body was one event alone: the request's status is the event's.
    pub single: bool,
    /// The furthest place in each partition, for reading one's own writes.
    pub position: LogPosition,
}

/// The whole request is refused and nothing of it was stored.
#[derive(Debug, Error)]
pub enum Refused {
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error("the body cannot be read: {0}")]
    Malformed(Refusal),
    #[error("at most {max} events a request, not {found}")]
    TooMany { found: usize, max: usize },
    #[error(transparent)]
    Log(#[from] AppendError),
}

/// Admits requests to one log.
#[derive(Debug)]
pub struct Ingest<L> {
    log: Arc<L>,
    clock: Clock,
    limits: Limits,
    counts: IngestCounts,
}

/// An item on its way: an event and the index of its answer, or a refusal.
type Read = Result<Event, (String, Refusal)>;

impl<L: EventLog> Ingest<L> {
    pub fn new(log: Arc<L>, clock: Clock, limits: Limits) -> Self {
        Self { log, clock, limits, counts: IngestCounts::default() }
    }

    /// What became of the events so far.
    pub fn counts(&self) -> &IngestCounts {
        &self.counts
    }

    /// Decodes, validates, stamps and appends; returns when every accepted event is durable.
    pub async fn submit(&self, request: Request) -> Result<Answer, Refused> {
        let mut events = 1;
        let submitted = self.try_submit(request, &mut events).await;
        self.counts.add(match &submitted {
            Ok(answer) => count(&answer.results),
            Err(_) => IngestTotals { refused: events, ..IngestTotals::default() },
        });
        submitted
    }

    /// `events` is told how many the request holds as soon as that is known.
    async fn try_submit(&self, request: Request, events: &mut u64) -> Result<Answer, Refused> {
        let body = body::expand(request.body, request.encoding, self.limits.max_bytes)?;
        let (read, single) = self.read(&request.tenant, request.media, &body)?;
        *events = read.len() as u64;
        let mut batch = Batch::with_capacity(read.len());
        let mut results = Vec::with_capacity(read.len());
        for item in read {
            results.push(match item {
                Ok(event) => {
                    batch.push(&event, self.log.partitions());
                    (ItemId::Event(event.id), None)
                }
                Err((event_id, refusal)) => (ItemId::Claimed(event_id), Some(refusal)),
            });
        }
        let appended = if batch.is_empty() { Vec::new() } else { self.log.append(batch).await? };
        let results = merge(results, appended);
        let position = LogPosition::of(results.iter().filter_map(|result| result.outcome.place()));
        Ok(Answer { results, single, position })
    }

    fn read(&self, tenant: &TenantId, media: MediaType, body: &[u8]) -> Result<(Vec<Read>, bool), Refused> {
        let (now, max) = (self.clock.now(), self.limits.max_events);
        if media == MediaType::Protobuf {
            let items = protobuf::split(body, max).map_err(Refused::Malformed)?;
            self.check_count(items.count)?;
            let one =
                |item: &&[u8]| stamped(protobuf::decode(item, tenant), items.sent_at, now).map_err(|refusal| (protobuf::claimed_id(item), refusal));
            return Ok((items.events.iter().map(one).collect(), false));
        }
        let items = if media == MediaType::NdJson { split_lines(body, max) } else { split(body, max).map_err(Refused::Malformed)? };
        self.check_count(items.count)?;
        let one = |item: &&[u8]| stamped(json::decode(item, tenant), items.sent_at, now).map_err(|refusal| (json::claimed_id(item), refusal));
        Ok((items.items.iter().map(one).collect(), items.single))
    }

    fn check_count(&self, found: usize) -> Result<(), Refused> {
        let max = self.limits.max_events;
        if found > max { Err(Refused::TooMany { found, max }) } else { Ok(()) }
    }
}

fn stamped(event: Result<Event, Refusal>, sent_at: Option<UnixMs>, now: UnixMs) -> Result<Event, Refusal> {
    let mut event = event?;
    event.stamp = stamp::stamp(event.event_time, sent_at, now)?;
    Ok(event)
}

/// Puts the log's outcomes in the places of the items that went to it.
fn merge(items: Vec<(ItemId, Option<Refusal>)>, appended: Vec<Appended>) -> Vec<ItemResult> {
    let mut appended = appended.into_iter();
    let mut outcome = |refusal| match refusal {
        Some(refusal) => Outcome::Rejected(refusal),
        None => match appended.next().expect("the log answers for each item") {
            Appended::Accepted { partition, offset } => Outcome::Accepted { partition, offset },
            Appended::Duplicate { partition, offset } => Outcome::Duplicate { partition, offset, content_differs: false },
            Appended::ContentDiffers { partition, offset } => Outcome::Duplicate { partition, offset, content_differs: true },
        },
    };
    items.into_iter().map(|(event_id, refusal)| ItemResult { event_id, outcome: outcome(refusal) }).collect()
}

fn count(results: &[ItemResult]) -> IngestTotals {
    let mut totals = IngestTotals::default();
    for result in results {
        match result.outcome {
            Outcome::Accepted { .. } => totals.accepted += 1,
            Outcome::Duplicate { .. } => totals.duplicate += 1,
            Outcome::Rejected(_) => totals.rejected += 1,
        }
    }
    totals
}

#[cfg(test)]
mod tests;
