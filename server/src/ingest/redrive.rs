//! Letters are tried again: decoded anew and taken like any event of their tenant. What stands in the log then leaves the store; the rest learns its newest fault.

mod reports;

use metrics::counter;
use thiserror::Error;

use crate::dead_letters::filter::{Cursor, Filter};
use crate::dead_letters::{DeadLetters, DeadLettersError, Kept, RefusedAgain};
use crate::devices::DevicesError;
use crate::formats::results::{ItemResult, Outcome};
use crate::ingest::authority;
use crate::ingest::letters::{self, Origin};
use crate::ingest::pressure::Pressure;
use crate::ingest::{Ingest, Refused};
use crate::log::{AppendError, EventLog};
use crate::model::id::TenantId;
use crate::model::scope::Scope as Authority;
use reports::{ReadAgain, Way};

/// Letters of one append.
const LETTERS_AT_ONCE: usize = 256;
/// Raw bytes in memory at a time.
const BYTES_AT_ONCE: usize = 2 << 20;
/// Raw bytes of one call; it ends with a cursor when more are left.
const BYTES_A_CALL: usize = 32 << 20;

/// What became of the letters of one call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Redriven {
    pub accepted: u64,
    /// Stood in the log already.
    pub duplicate: u64,
    /// Stay, with their newest reason.
    pub refused: u64,
    /// Stay untouched: they cannot be read here as they are kept, or were let go under pressure that has risen meanwhile.
    pub skipped: u64,
    /// Where to go on; `None`: no letter is left that was not tried.
    pub next: Option<Cursor>,
}

#[derive(Debug, Error)]
pub enum RedriveError {
    #[error(transparent)]
    Store(#[from] DeadLettersError),
    #[error(transparent)]
    Devices(#[from] DevicesError),
    #[error(transparent)]
    Log(#[from] AppendError),
    /// What waits in the store can wait longer, and must not be let go.
    #[error("the node is under pressure: try again when it is less")]
    Pressure,
    /// This node keeps no letters.
    #[error("no letters are kept")]
    NoStore,
}

/// What became of one letter.
enum Fate {
    Accepted,
    Duplicate,
    /// Stays, for this refusal or because it differs from what stands in the log.
    Refused(Outcome),
    Skipped,
    /// A body that can be taken apart now: what was refused of it stands in its place already. It counts as the best that became of an item.
    TakenApart(Count),
}

/// As what a letter is counted.
#[derive(Clone, Copy)]
enum Count {
    Accepted,
    Duplicate,
    Refused,
    Skipped,
}

impl<L: EventLog> Ingest<L> {
    /// Tries the letters of `tenant` that `filter` lets through, the oldest first and at most `limit`. No rate limits it: what comes again came once
    /// already.
    pub async fn redrive(&self, tenant: TenantId, filter: &Filter, after: Option<Cursor>, limit: usize) -> Result<Redriven, RedriveError> {
        let store = self.books.letters.as_ref().ok_or(RedriveError::NoStore)?;
        let (mut total, mut letters_left, mut bytes_left) = (Redriven { next: after, ..Redriven::default() }, limit, BYTES_A_CALL);
        loop {
            if self.valve.pressure() != Pressure::None {
                return Err(RedriveError::Pressure);
            }
            let page = store.batch(tenant, filter, total.next, letters_left.min(LETTERS_AT_ONCE), bytes_left.min(BYTES_AT_ONCE)).await?;
            total.next = page.next;
            letters_left -= page.letters.len().min(letters_left);
            bytes_left -= page.letters.iter().map(|(_, raw)| raw.len()).sum::<usize>().min(bytes_left);
            self.redrive_page(store, tenant, &page.letters, &mut total).await?;
            if page.next.is_none() || letters_left == 0 || bytes_left == 0 {
                break;
            }
        }
        Ok(total)
    }

    pub(super) async fn redrive_page(
        &self,
        store: &DeadLetters,
        tenant: TenantId,
        letters: &[(Kept, Vec<u8>)],
        total: &mut Redriven,
    ) -> Result<(), RedriveError> {
        let fates = self.fates(store, tenant, letters).await?;
        let (mut removed, mut again) = (Vec::new(), Vec::new());
        for ((kept, _), fate) in letters.iter().zip(&fates) {
            total.count(fate.count());
            match fate {
                Fate::Accepted | Fate::Duplicate => removed.push(kept.cursor),
                Fate::Refused(outcome) => again.extend(letters::fault(outcome).map(|fault| RefusedAgain { cursor: kept.cursor, fault })),
                Fate::Skipped | Fate::TakenApart(_) => {}
            }
        }
        // When this process ends before that is written, a letter is tried twice: it is a duplicate then.
        if removed.len() + again.len() > 0 {
            store.settle(tenant, removed, again).await?;
        }
        Ok(())
    }

    /// In the order of the letters.
    async fn fates(&self, store: &DeadLetters, tenant: TenantId, letters: &[(Kept, Vec<u8>)]) -> Result<Vec<Fate>, RedriveError> {
        let mut fates: Vec<Fate> = letters.iter().map(|_letter| Fate::Skipped).collect();
        let (mut admission, mut tried) = (self.admission(tenant, Authority::default(), letters.len(), None), Vec::with_capacity(letters.len()));
        for (index, (kept, raw)) in letters.iter().enumerate() {
            let again = match (Way::of(kept, raw), &self.phone_book) {
                (Some(Way::Event(media)), _) => Some(ReadAgain::event(media, raw, tenant)),
                (Some(Way::Report(app, postmark)), Some(book)) => ReadAgain::report(book, app, postmark, (kept, raw), tenant).await?,
                (Some(Way::Body(media)), _) => {
                    let origin = Origin { tenant, authority: kept.about.authority.clone(), media, received: kept.about.received };
                    fates[index] = self.fate_of_body(store, &origin, kept.cursor, raw).await?;
                    None
                }
                (Some(Way::Report(..)), None) | (None, _) => None,
            };
            if let Some(ReadAgain { read, time_at }) = again {
                // Who tries it again may say more than who sent it, and lends it nothing of that.
                let allowed = read.and_then(|event| authority::check(&kept.about.authority, &event).map(|()| event));
                admission.add(allowed, String::new);
                tried.push((index, time_at));
            }
        }
        let results = self.append(self.ledger.account(tenant), admission).await?;
        for ((index, time_at), ItemResult { mut outcome, .. }) in tried.into_iter().zip(results) {
            letters::word(&mut outcome, time_at);
            fates[index] = match outcome {
                Outcome::Accepted { .. } => Fate::Accepted,
                Outcome::Duplicate { content_differs: false, .. } => Fate::Duplicate,
                Outcome::Shed(_) => Fate::Skipped,
                refused => Fate::Refused(refused),
            };
        }
        Ok(fates)
    }

    async fn fate_of_body(&self, store: &DeadLetters, origin: &Origin, cursor: Cursor, body: &[u8]) -> Result<Fate, RedriveError> {
        let admission = match self.decode(origin.tenant, origin.authority.clone(), origin.media, body) {
            Ok((admission, _single)) => admission,
            Err(Refused::Malformed(refusal)) => return Ok(Fate::Refused(Outcome::Rejected(refusal))),
            Err(_) => return Ok(Fate::Skipped),
        };
        let results = self.append(self.ledger.account(origin.tenant), admission).await?;
        let any = |wanted: fn(&Outcome) -> bool| results.iter().any(|result| wanted(&result.outcome));
        let refused = results.iter().filter(|result| letters::fault(&result.outcome).is_some()).count();
        let parts = if refused > 0 { origin.refused(body, &results) } else { Vec::new() };
        // What was let go comes again with the whole body, and what was refused beside it as well. Nothing of it is given up, either, that is no letter.
        if any(|outcome| matches!(outcome, Outcome::Shed(_))) || parts.len() < refused {
            return Ok(Fate::Skipped);
        }
        store.replace(origin.tenant, cursor, parts).await?;
        Ok(Fate::TakenApart(if any(|outcome| matches!(outcome, Outcome::Accepted { .. })) {
            Count::Accepted
        } else if any(|outcome| matches!(outcome, Outcome::Duplicate { content_differs: false, .. })) {
            Count::Duplicate
        } else {
            Count::Refused
        }))
    }
}

impl Redriven {
    fn count(&mut self, count: Count) {
        let (counted, outcome) = match count {
            Count::Accepted => (&mut self.accepted, "accepted"),
            Count::Duplicate => (&mut self.duplicate, "duplicate"),
            Count::Refused => (&mut self.refused, "refused"),
            Count::Skipped => (&mut self.skipped, "skipped"),
        };
        *counted += 1;
        counter!("waypost_dead_letters_redriven_total", "outcome" => outcome).increment(1);
    }
}

impl Fate {
    fn count(&self) -> Count {
        match self {
            Self::Accepted => Count::Accepted,
            Self::Duplicate => Count::Duplicate,
            Self::Refused(_) => Count::Refused,
            Self::Skipped => Count::Skipped,
            Self::TakenApart(count) => *count,
        }
    }
}
