//! The way from an admitted request to its answer: what goes to the log is counted as it turns out, and what of it was refused is kept, whether or not
//! its sender waits for that. Never decodes and never admits.

use std::sync::Arc;

use crate::dead_letters::DeadLetters;
use crate::dead_letters::letter::Letter;
use crate::formats::results::ItemResult;
use crate::ingest::Ingest;
use crate::ingest::admission::{self, Admission, Paid};
use crate::ingest::ledger::{Account, InFlight};
use crate::ingest::limits::Limits;
use crate::ingest::rate::Rate;
use crate::ingest::senders::Senders;
use crate::ingest::unanswered::Unanswered;
use crate::log::{AppendError, Appended, EventLog};
use crate::metrics::{IngestCounts, IngestTotals};
use crate::model::id::TenantId;

/// Where it is written down what became of requests, and who may send how much.
#[derive(Debug)]
pub(super) struct Books {
    pub(super) limits: Limits,
    senders: Senders,
    pub(super) counts: IngestCounts,
    /// Where what is refused is kept.
    pub(super) letters: Option<DeadLetters>,
}

/// The account of a request that is under way.
struct Settling {
    in_flight: InFlight,
    rejected: u64,
    shed: u64,
    /// To be given back if nothing is stored, whether or not its sender waits for that.
    paid: Option<Paid>,
}

impl Books {
    pub(super) fn new(limits: Limits) -> Self {
        let senders = Senders::new(limits.driver.unwrap_or(Rate::new(1, 1)));
        Self { limits, senders, counts: IngestCounts::default(), letters: None }
    }

    pub(super) fn keeping(self, letters: DeadLetters) -> Self {
        Self { letters: Some(letters), ..self }
    }

    /// The drivers' buckets, if they have any.
    pub(super) fn senders(&self) -> Option<&Senders> {
        self.limits.driver.is_some().then_some(&self.senders)
    }

    /// What the senders of a tenant are hashed with.
    pub(super) fn salt(&self, tenant: TenantId) -> u64 {
        self.senders.salt(tenant)
    }
}

impl<L: EventLog> Ingest<L> {
    /// Appends what was admitted and paid for.
    pub(super) async fn append_paid(
        &self,
        tenant: TenantId,
        account: Arc<Account>,
        mut admission: Admission<'_>,
        refused: impl FnOnce(&mut [ItemResult]) -> Vec<Letter> + Send + 'static,
    ) -> Result<Vec<ItemResult>, AppendError> {
        let paid = Some(admission.take_paid(tenant));
        self.append_keeping(account, admission, paid, refused).await
    }

    /// Appends what nobody pays for.
    pub(super) async fn append(&self, account: Arc<Account>, admission: Admission<'_>) -> Result<Vec<ItemResult>, AppendError> {
        self.append_keeping(account, admission, None, |_results| Vec::new()).await
    }

    /// Also words the results and keeps what `refused` makes of them. Only when the answer is known: what was not stored at all comes again, and is not
    /// to be kept twice.
    async fn append_keeping(
        &self,
        account: Arc<Account>,
        admission: Admission<'_>,
        paid: Option<Paid>,
        refused: impl FnOnce(&mut [ItemResult]) -> Vec<Letter> + Send + 'static,
    ) -> Result<Vec<ItemResult>, AppendError> {
        let (batch, items) = admission.into_parts();
        let (rejected, shed) = (items.rejected, items.shed);
        let settling = Settling { in_flight: account.receive(items.len() as u64, rejected, shed), rejected, shed, paid };
        let (log, books) = (Arc::clone(&self.log), Arc::clone(&self.books));
        let appending = async move {
            let appended = if batch.is_empty() { Ok(Vec::new()) } else { log.append(batch).await };
            settling.settle(&appended, &books);
            let mut results = items.answered(appended?);
            let refused = refused(&mut results);
            if let (Some(letters), false) = (&books.letters, refused.is_empty()) {
                // In a box: those who have nothing to be kept do not carry it along.
                Box::pin(letters.keep(refused)).await;
            }
            Ok(results)
        };
        Unanswered::new(appending, self.unanswered.clone()).await
    }

    /// In a task of its own: what was refused is kept also when its sender hangs up.
    pub(super) async fn keep(&self, letter: Letter) {
        if let Some(letters) = self.books.letters.clone() {
            self.unanswered.spawn(async move { letters.keep(vec![letter]).await }).await.ok();
        }
    }
}

impl Settling {
    fn settle(self, outcome: &Result<Vec<Appended>, AppendError>, books: &Books) {
        let Self { in_flight, rejected, shed, paid } = self;
        if let (Err(_), Some(Paid { tenant, events, runs })) = (outcome, paid) {
            books.limits.give_back(tenant, in_flight.account(), books.senders(), events, &runs);
        }
        books.counts.add(match outcome {
            Ok(appended) => {
                let closing = admission::closing(appended);
                in_flight.close(closing);
                IngestTotals { accepted: closing.accepted, duplicate: closing.duplicate, rejected, shed, refused: 0 }
            }
            Err(_) => IngestTotals { refused: in_flight.refuse(rejected, shed), ..IngestTotals::default() },
        });
    }
}
