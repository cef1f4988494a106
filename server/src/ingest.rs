//! The way in: a request's body becomes events that are valid by their type, durable, and answered item by item. Knows no HTTP library.

mod admission;
mod appending;
mod authority;
pub mod body;
mod decoding;
pub mod hints;
pub mod ledger;
mod letters;
pub mod limits;
pub mod position;
pub mod pressure;
pub mod rate;
pub mod read;
pub mod redrive;
mod senders;
pub mod stamp;
mod unanswered;

use std::sync::Arc;

use bytes::Bytes;
use thiserror::Error;
use tokio_util::task::TaskTracker;

use crate::attention::Attention;
use crate::clock::Clock;
use crate::dead_letters::DeadLetters;
use crate::devices::phone_book::PhoneBook;
use crate::formats::refusal::Refusal;
use crate::formats::results::ItemResult;
use crate::log::{AppendError, EventLog};
use crate::metrics::{IngestCounts, IngestTotals};
use crate::model::id::TenantId;
use crate::model::scope::Scope;
use admission::Admission;
use appending::Books;
use body::{BodyError, Encoding};
use hints::Hint;
use ledger::{Account, Ledger};
use letters::Origin;
use limits::{Limited, Limits};
use position::LogPosition;
use pressure::Valve;

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
    /// What of the tenant its credential may speak of.
    pub scope: Scope,
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
    /// How soon the driver should speak again; absent when the request was not of one driver's positions.
    pub hint: Option<Hint>,
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
    /// Nobody stands for any of its phones, so it is to come again. So many `devices` were looked up for it.
    #[error("{}", .refusal.detail)]
    Strangers { refusal: Refusal, events: usize, devices: usize },
    #[error("the table of devices failed; try again")]
    DeviceTable,
    #[error("more events than this {} may send: try again in {:.3} s", .0.of.name(), .0.wait.as_secs_f64())]
    Limited(Limited),
    /// It holds a status, which is never let go, and nothing can be taken.
    #[error("the node is too far behind to take anything")]
    Pressure,
    #[error(transparent)]
    Log(#[from] AppendError),
}

/// Admits requests to one log.
#[derive(Debug)]
pub struct Ingest<L> {
    log: Arc<L>,
    clock: Clock,
    valve: Valve,
    books: Arc<Books>,
    ledger: Ledger,
    unanswered: TaskTracker,
    attention: Arc<Attention>,
    /// Whose a phone's report is that is read again.
    phone_book: Option<PhoneBook>,
}

impl<L: EventLog> Ingest<L> {
    pub fn new(log: Arc<L>, clock: Clock, limits: Limits, attention: Arc<Attention>) -> Self {
        let books = Arc::new(Books::new(limits));
        let (valve, ledger, unanswered) = (Valve::default(), Ledger::default(), TaskTracker::new());
        Self { log, clock, valve, books, ledger, unanswered, attention, phone_book: None }
    }

    /// Keeps what it refuses.
    #[must_use]
    pub fn keeping(self, letters: DeadLetters) -> Self {
        Self { books: Arc::new(Books::new(self.limits().clone()).keeping(letters)), ..self }
    }

    /// Reads also phones' reports again, for who stands in this book.
    #[must_use]
    pub fn knowing(self, phone_book: PhoneBook) -> Self {
        Self { phone_book: Some(phone_book), ..self }
    }

    /// What became of the events so far.
    pub fn counts(&self) -> &IngestCounts {
        &self.books.counts
    }

    /// The same, tenant by tenant.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    pub fn limits(&self) -> &Limits {
        &self.books.limits
    }

    /// Where the pressure is set.
    pub fn valve(&self) -> &Valve {
        &self.valve
    }

    /// Decodes, validates, stamps and appends; returns when every accepted event is durable and what was refused is kept, as far as it can be. What
    /// was handed to the log is counted as it turns out, and what of it was refused is kept, also when the caller does not wait for it.
    pub async fn submit(&self, mut request: Request) -> Result<Answer, Refused> {
        let account = self.ledger.account(request.tenant);
        let mut events = 1;
        let read = self.read(&mut request, &account, &mut events);
        let origin = Origin { tenant: request.tenant, authority: request.scope.clone(), media: request.media, received: self.clock.now() };
        let (admission, single) = match read {
            Ok(read) => read,
            Err(refused) => {
                self.count_refused(&account, events);
                if let Some(letter) = origin.whole(&request, &refused) {
                    self.keep(letter).await;
                }
                return Err(refused);
            }
        };
        let hint = admission.last_ping().map(|last| last.hint(request.tenant, &self.attention));
        let body = request.body;
        let refused = move |results: &mut [ItemResult]| {
            // Most bodies hold nothing to be kept, and are not taken apart again.
            let any = results.iter().any(|result| letters::fault(&result.outcome).is_some());
            if any { origin.refused(&body, results) } else { Vec::new() }
        };
        let results = self.append_paid(request.tenant, account, admission, refused).await?;
        let position = LogPosition::of(self.log.partitions(), results.iter().filter_map(|result| result.outcome.place()));
        Ok(Answer { results, single, position, hint })
    }

    fn count_refused(&self, account: &Account, events: u64) {
        account.refuse(events);
        self.books.counts.add(IngestTotals { refused: events, ..IngestTotals::default() });
    }

    /// Reads a request, whose body is plain then, and asks whether it may come in. `events` is told how many it holds as soon as that is known.
    fn read(&self, request: &mut Request, account: &Account, events: &mut u64) -> Result<(Admission<'_>, bool), Refused> {
        let now_ns = self.clock.monotonic_ns();
        self.books.limits.check_tenant(request.tenant, account, 1, now_ns).map_err(Refused::Limited)?;
        request.body = body::expand(request.body.clone(), request.encoding, self.books.limits.max_bytes)?;
        request.encoding = Encoding::Identity;
        let (admission, single) = self.decode(request.tenant, request.scope.clone(), request.media, &request.body)?;
        *events = admission.len() as u64;
        self.admit(request.tenant, account, admission, now_ns).map(|admission| (admission, single))
    }

    /// Asks limits and pressure.
    fn admit<'a>(&self, tenant: TenantId, account: &Account, admission: Admission<'a>, now_ns: u64) -> Result<Admission<'a>, Refused> {
        // Before anything is taken out of a bucket: it comes again, and would else have paid twice.
        if admission.must_come_again() {
            return Err(Refused::Pressure);
        }
        self.books.limits.take(tenant, account, self.books.senders(), admission.len() as u64, admission.runs(), now_ns).map_err(Refused::Limited)?;
        Ok(admission)
    }
}

#[cfg(test)]
mod tests;
