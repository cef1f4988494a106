//! An append whose caller may go away: it is waited for all the same, so that what the log took up is counted as what became of it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio_util::task::TaskTracker;

use crate::ingest::admission::{self, Items};
use crate::ingest::ledger::InFlight;
use crate::log::{AppendError, Appended};
use crate::metrics::{IngestCounts, IngestTotals};

type Outcome = Result<Vec<Appended>, AppendError>;

/// Waits for the log, and closes the ledger's account of it. Dropped before that, it goes on by itself: the log has it, and a hung-up phone
/// changes nothing of what is stored.
pub(super) struct Unanswered<F: Future<Output = Outcome> + Send + 'static> {
    open: Option<Open<F>>,
    tasks: TaskTracker,
}

struct Open<F> {
    appending: Pin<Box<F>>,
    account: Settling,
}

struct Settling {
    in_flight: InFlight,
    rejected: u64,
    shed: u64,
    counts: Arc<IngestCounts>,
}

impl<F: Future<Output = Outcome> + Send + 'static> Unanswered<F> {
    pub(super) fn new(appending: F, in_flight: InFlight, items: &Items, counts: Arc<IngestCounts>, tasks: TaskTracker) -> Self {
        let account = Settling { in_flight, rejected: items.rejected, shed: items.shed, counts };
        Self { open: Some(Open { appending: Box::pin(appending), account }), tasks }
    }
}

impl Settling {
    fn settle(self, outcome: &Outcome) {
        let Self { in_flight, rejected, shed, counts } = self;
        counts.add(match outcome {
            Ok(appended) => {
                let closing = admission::closing(appended);
                in_flight.close(closing);
                IngestTotals { accepted: closing.accepted, duplicate: closing.duplicate, rejected, shed, refused: 0 }
            }
            Err(_) => IngestTotals { refused: in_flight.refuse(rejected, shed), ..IngestTotals::default() },
        });
    }
}

impl<F: Future<Output = Outcome> + Send + 'static> Future for Unanswered<F> {
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome> {
        let this = self.get_mut();
        let open = this.open.as_mut().expect("it is not polled again once it is done");
        let Poll::Ready(outcome) = open.appending.as_mut().poll(context) else { return Poll::Pending };
        if let Some(open) = this.open.take() {
            open.account.settle(&outcome);
        }
        Poll::Ready(outcome)
    }
}

impl<F: Future<Output = Outcome> + Send + 'static> Drop for Unanswered<F> {
    fn drop(&mut self) {
        if let Some(Open { appending, account }) = self.open.take()
            && tokio::runtime::Handle::try_current().is_ok()
        {
            self.tasks.spawn(async move { account.settle(&appending.await) });
        }
    }
}
