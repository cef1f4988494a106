//! The way in: a request's body becomes events that are valid by their type, durable, and answered item by item. Knows no HTTP library.

mod admission;
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
pub mod redrive;
mod senders;
pub mod stamp;
mod unanswered;

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use thiserror::Error;
use tokio_util::task::TaskTracker;

use crate::attention::Attention;
use crate::clock::Clock;
use crate::dead_letters::DeadLetters;
use crate::dead_letters::letter::Letter;
use crate::devices::phone_book::PhoneBook;
use crate::formats::phone::app::App;
use crate::formats::postmark::Postmark;
use crate::formats::refusal::Refusal;
use crate::formats::results::ItemResult;
use crate::log::{AppendError, EventLog};
use crate::metrics::{IngestCounts, IngestTotals};
use crate::model::event::Event;
use crate::model::id::{DriverId, TenantId};
use crate::model::scope::Scope;
use crate::model::time::UnixMs;
use admission::Admission;
use body::{BodyError, Encoding};
use hints::Hint;
use ledger::{Account, Ledger};
use letters::{Origin, ReadOrigin};
use limits::{Limited, Limits};
use position::LogPosition;
use pressure::Valve;
use rate::Rate;
use senders::Senders;
use unanswered::Unanswered;

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

/// A request as the protocol of an app has read it, item by item.
#[derive(Debug)]
pub struct ReadRequest {
    pub tenant: TenantId,
    /// What of the tenant its credential may speak of.
    pub scope: Scope,
    pub app: App,
    /// A report without a time happened then.
    pub received: UnixMs,
    /// What its items were read with, besides their bytes.
    pub postmark: Postmark,
    pub items: Vec<ReadItem>,
}

/// An item that its protocol has read already.
#[derive(Debug)]
pub struct ReadItem {
    pub read: Result<Event, Refusal>,
    /// What its sender calls it; empty when it has no name.
    pub claimed_id: String,
    /// What its sender calls the event's time, as a JSON pointer.
    pub time_at: Cow<'static, str>,
    /// Whose phone it came from; absent when that was not to be found, and when its protocol knows no phones.
    pub driver: Option<DriverId>,
    /// As it came, to be kept when it is refused.
    pub raw: Bytes,
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
    limits: Limits,
    senders: Senders,
    valve: Valve,
    counts: Arc<IngestCounts>,
    ledger: Ledger,
    unanswered: TaskTracker,
    attention: Arc<Attention>,
    /// Where what is refused is kept.
    letters: Option<DeadLetters>,
    /// Whose a phone's report is that is read again.
    phone_book: Option<PhoneBook>,
}

impl<L: EventLog> Ingest<L> {
    pub fn new(log: Arc<L>, clock: Clock, limits: Limits, attention: Arc<Attention>) -> Self {
        let senders = Senders::new(limits.driver.unwrap_or(Rate::new(1, 1)));
        let (valve, counts, ledger, unanswered) = (Valve::default(), Arc::default(), Ledger::default(), TaskTracker::new());
        Self { log, clock, limits, senders, valve, counts, ledger, unanswered, attention, letters: None, phone_book: None }
    }

    /// Keeps what it refuses.
    #[must_use]
    pub fn keeping(self, letters: DeadLetters) -> Self {
        Self { letters: Some(letters), ..self }
    }

    /// Reads also phones' reports again, for who stands in this book.
    #[must_use]
    pub fn knowing(self, phone_book: PhoneBook) -> Self {
        Self { phone_book: Some(phone_book), ..self }
    }

    /// What became of the events so far.
    pub fn counts(&self) -> &IngestCounts {
        &self.counts
    }

    /// The same, tenant by tenant.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Where the pressure is set.
    pub fn valve(&self) -> &Valve {
        &self.valve
    }

    /// Decodes, validates, stamps and appends; returns when every accepted event is durable and what was refused is kept, as far as it can be. What
    /// the log has taken up is counted as it turns out also when the caller does not wait for it.
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
                    self.keep(|| vec![letter]).await;
                }
                return Err(refused);
            }
        };
        let hint = admission.last_ping().map(|last| last.hint(request.tenant, &self.attention));
        let results = self.append(account, admission).await?;
        self.keep_refused(&origin, &request.body, &results).await;
        let position = LogPosition::of(self.log.partitions(), results.iter().filter_map(|result| result.outcome.place()));
        Ok(Answer { results, single, position, hint })
    }

    /// Stamps and appends what a protocol of its own has read, by the same rules.
    pub async fn submit_read(&self, request: ReadRequest) -> Result<Answer, Refused> {
        let ReadRequest { tenant, scope, app, received, postmark, items } = request;
        let account = self.ledger.account(tenant);
        let events = items.len().max(1) as u64;
        let came: Vec<_> = items.iter().map(|item| (item.time_at.clone(), item.driver.clone(), item.raw.clone())).collect();
        let origin = ReadOrigin { tenant, authority: scope.clone(), app, received, postmark };
        let read = self.take_read(tenant, scope, items, &account);
        let admission = read.inspect_err(|_| self.count_refused(&account, events))?;
        let hint = admission.last_ping().map(|last| last.hint(tenant, &self.attention));
        let mut results = self.append(account, admission).await?;
        let mut refused = Vec::new();
        for (result, (time_at, driver, raw)) in results.iter_mut().zip(came) {
            letters::word(&mut result.outcome, time_at);
            refused.extend(origin.refused(result, driver.as_ref(), &raw));
        }
        if !refused.is_empty() {
            self.keep(|| refused).await;
        }
        let position = LogPosition::of(self.log.partitions(), results.iter().filter_map(|result| result.outcome.place()));
        Ok(Answer { results, single: false, position, hint })
    }

    fn count_refused(&self, account: &Account, events: u64) {
        account.refuse(events);
        self.counts.add(IngestTotals { refused: events, ..IngestTotals::default() });
    }

    fn take_read(&self, tenant: TenantId, scope: Scope, items: Vec<ReadItem>, account: &Account) -> Result<Admission<'_>, Refused> {
        let now_ns = self.clock.monotonic_ns();
        self.limits.check_tenant(tenant, account, now_ns).map_err(Refused::Limited)?;
        self.check_count(items.len())?;
        let mut admission = self.admission(tenant, scope, items.len(), None);
        for item in items {
            admission.add(item.read, || item.claimed_id);
        }
        self.admit(tenant, account, admission, now_ns)
    }

    async fn append(&self, account: Arc<Account>, admission: Admission<'_>) -> Result<Vec<ItemResult>, AppendError> {
        let (batch, items) = admission.into_parts();
        let in_flight = account.receive(items.len() as u64, items.rejected, items.shed);
        let log = Arc::clone(&self.log);
        let appending = async move { if batch.is_empty() { Ok(Vec::new()) } else { log.append(batch).await } };
        let appended = Unanswered::new(appending, in_flight, &items, Arc::clone(&self.counts), self.unanswered.clone()).await?;
        Ok(items.answered(appended))
    }

    /// Only when the answer is known: what was not stored at all comes again, and is not to be kept twice.
    async fn keep_refused(&self, origin: &Origin, body: &[u8], results: &[ItemResult]) {
        if results.iter().any(|result| letters::fault(&result.outcome).is_some()) {
            self.keep(|| origin.refused(body, results)).await;
        }
    }

    /// In a task of its own: what was refused is kept also when its sender hangs up.
    async fn keep(&self, refused: impl FnOnce() -> Vec<Letter>) {
        if let Some(letters) = self.letters.clone() {
            let refused = refused();
            self.unanswered.spawn(async move { letters.keep(refused).await }).await.ok();
        }
    }

    /// Reads a request, whose body is plain then, and asks whether it may come in. `events` is told how many it holds as soon as that is known.
    fn read(&self, request: &mut Request, account: &Account, events: &mut u64) -> Result<(Admission<'_>, bool), Refused> {
        let now_ns = self.clock.monotonic_ns();
        self.limits.check_tenant(request.tenant, account, now_ns).map_err(Refused::Limited)?;
        request.body = body::expand(request.body.clone(), request.encoding, self.limits.max_bytes)?;
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
        let senders = self.limits.driver.is_some().then_some(&self.senders);
        self.limits.take(tenant, account, senders, admission.len() as u64, admission.runs(), now_ns).map_err(Refused::Limited)?;
        Ok(admission)
    }
}

#[cfg(test)]
mod tests;
