//! The way in: a request's body becomes events that are valid by their type, durable, and answered item by item. Knows no HTTP library.

mod admission;
pub mod body;
pub mod position;
pub mod stamp;

use std::sync::Arc;

use bytes::Bytes;
use thiserror::Error;

use crate::clock::Clock;
use crate::formats::json::items::{self, Item};
use crate::formats::refusal::Refusal;
use crate::formats::results::{ItemResult, Outcome};
use crate::formats::{json, protobuf};
use crate::log::{AppendError, EventLog};
use crate::metrics::{IngestCounts, IngestTotals};
use crate::model::id::TenantId;
use crate::model::time::UnixMs;
use admission::Admission;
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
        let (admission, single) = match request.media {
            MediaType::Protobuf => (self.read_protobuf(request.tenant, &body)?, false),
            MediaType::Json | MediaType::NdJson => self.read_json(request.tenant, request.media, &body)?,
        };
        *events = admission.len() as u64;
        let (batch, items) = admission.into_parts();
        let appended = if batch.is_empty() { Vec::new() } else { self.log.append(batch).await? };
        let results = items.answered(appended);
        let position = LogPosition::of(self.log.partitions(), results.iter().filter_map(|result| result.outcome.place()));
        Ok(Answer { results, single, position })
    }

    fn read_protobuf(&self, tenant: TenantId, body: &[u8]) -> Result<Admission, Refused> {
        let items = protobuf::split(body, self.limits.max_events).map_err(Refused::Malformed)?;
        self.check_count(items.count)?;
        let mut admission = self.admission(items.events.len(), items.sent_at);
        for item in items.events {
            admission.add(protobuf::decode(item, &tenant), || protobuf::claimed_id(item));
        }
        Ok(admission)
    }

    /// Also says whether the body is one event alone.
    fn read_json(&self, tenant: TenantId, media: MediaType, body: &[u8]) -> Result<(Admission, bool), Refused> {
        /// Of a usual event, about: how many there are is not known beforehand.
        const EVENT_BYTES: usize = 200;
        let mut items = if media == MediaType::NdJson { items::open_lines(body) } else { items::open(body).map_err(Refused::Malformed)? };
        let (single, max) = (items.is_single(), self.limits.max_events);
        let mut admission = self.admission((body.len() / EVENT_BYTES + 1).min(max), items.sent_at);
        let mut found = 0;
        // Those beyond the limit are counted and not read.
        while let Some(item) = items.next(|text| if found < max { json::decode_first(text, &tenant) } else { None }).map_err(Refused::Malformed)? {
            found += 1;
            match item {
                _ if found > max => {}
                Item::Read(event) => admission.add(Ok(event), String::new),
                Item::Cut(item) => admission.add(json::decode(item, &tenant), || json::claimed_id(item)),
            }
        }
        self.check_count(found)?;
        Ok((admission, single))
    }

    fn admission(&self, events: usize, sent_at: Option<UnixMs>) -> Admission {
        Admission::new(events, self.log.partitions(), sent_at, self.clock.now())
    }

    fn check_count(&self, found: usize) -> Result<(), Refused> {
        let max = self.limits.max_events;
        if found > max { Err(Refused::TooMany { found, max }) } else { Ok(()) }
    }
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
