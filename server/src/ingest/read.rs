//! What the protocol of an app has read comes in by the same rules as any body. Never reads a byte of it.

use std::borrow::Cow;

use bytes::Bytes;

use crate::formats::claims::Claims;
use crate::formats::phone::app::App;
use crate::formats::postmark::Postmark;
use crate::formats::refusal::Refusal;
use crate::formats::results::ItemResult;
use crate::ingest::admission::Admission;
use crate::ingest::ledger::Account;
use crate::ingest::letters::{self, ReadOrigin};
use crate::ingest::position::LogPosition;
use crate::ingest::{Answer, Ingest, Refused};
use crate::log::EventLog;
use crate::model::event::Event;
use crate::model::id::{DriverId, TenantId};
use crate::model::scope::Scope;
use crate::model::time::UnixMs;

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
    /// What its sender calls it and whom it is by, as far as that was to be read.
    pub claims: Claims,
    /// What its sender calls the event's time, as a JSON pointer.
    pub time_at: Cow<'static, str>,
    /// Whose phone it came from; absent when that was not to be found, and when its protocol knows no phones.
    pub driver: Option<DriverId>,
    /// As it came, to be kept when it is refused.
    pub raw: Bytes,
}

/// What is left of an item while its event is under way.
struct Came {
    /// By whom it claims to be.
    actor: String,
    time_at: Cow<'static, str>,
    driver: Option<DriverId>,
    raw: Bytes,
}

impl<L: EventLog> Ingest<L> {
    /// Stamps and appends what a protocol of its own has read, by the same rules.
    pub async fn submit_read(&self, request: ReadRequest) -> Result<Answer, Refused> {
        let ReadRequest { tenant, scope, app, received, postmark, items } = request;
        let account = self.ledger.account(tenant);
        let events = items.len().max(1) as u64;
        let origin = ReadOrigin { tenant, authority: scope.clone(), app, received, postmark };
        let read = self.take_read(tenant, scope, items, &account);
        let (admission, came) = read.inspect_err(|_| self.count_refused(&account, events))?;
        let hint = admission.last_ping().map(|last| last.hint(tenant, &self.attention));
        let refused = move |results: &mut [ItemResult]| {
            let mut refused = Vec::new();
            for (result, Came { actor, time_at, driver, raw }) in results.iter_mut().zip(came) {
                letters::word(&mut result.outcome, time_at);
                refused.extend(origin.refused(result, driver.as_ref(), &actor, &raw));
            }
            refused
        };
        let results = self.append_paid(tenant, account, admission, refused).await?;
        let position = LogPosition::of(self.log.partitions(), results.iter().filter_map(|result| result.outcome.place()));
        Ok(Answer { results, single: false, position, hint })
    }

    /// Refuses a request of a tenant that could not have so many events more: asked before anything is done for it that costs much.
    pub fn check(&self, tenant: TenantId, events: usize) -> Result<(), Refused> {
        let account = self.ledger.account(tenant);
        self.books.limits.check_tenant(tenant, &account, events.max(1) as u64, self.clock.monotonic_ns()).map_err(Refused::Limited)
    }

    /// Counts a request, here without its items, that is refused before they are taken. A `body` that cannot be read at all is kept.
    pub async fn refuse_read(&self, request: ReadRequest, refused: &Refused, found: usize, body: &[u8]) {
        let ReadRequest { tenant, scope, app, received, postmark, .. } = request;
        let events = match refused {
            Refused::TooMany { found: events, .. } | Refused::Strangers { events, .. } => *events,
            _ => found,
        };
        let account = self.ledger.account(tenant);
        self.count_refused(&account, events.max(1) as u64);
        if let Refused::Strangers { devices, .. } = refused {
            // What is stored is paid for when it is taken. This is not, and has cost look-ups: who sends nothing else would have no limit.
            self.books.limits.charge(tenant, &account, *devices as u64, self.clock.monotonic_ns());
        }
        if let Some(letter) = (ReadOrigin { tenant, authority: scope, app, received, postmark }).whole(body, refused) {
            self.keep(letter).await;
        }
    }

    fn take_read(&self, tenant: TenantId, scope: Scope, items: Vec<ReadItem>, account: &Account) -> Result<(Admission<'_>, Vec<Came>), Refused> {
        let now_ns = self.clock.monotonic_ns();
        self.books.limits.check_tenant(tenant, account, 1, now_ns).map_err(Refused::Limited)?;
        self.check_count(items.len())?;
        let mut admission = self.admission(tenant, scope, items.len(), None);
        let mut came = Vec::with_capacity(items.len());
        for ReadItem { read, claims, time_at, driver, raw } in items {
            let Claims { event_id, actor, .. } = claims;
            admission.add(read, || event_id);
            came.push(Came { actor, time_at, driver, raw });
        }
        self.admit(tenant, account, admission, now_ns).map(|admission| (admission, came))
    }
}
