//! What became of each tenant's events: every item that was decoded stands in exactly one column, at any moment. Decides nothing.

use std::sync::Arc;

use dashmap::DashMap;
use parking_lot::Mutex;

use crate::ingest::rate::FullAt;
use crate::model::id::TenantId;

/// One tenant's items since the start: `received = accepted + duplicate + rejected + shed + in_flight`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Decoded, of requests that are answered item by item.
    pub received: u64,
    pub accepted: u64,
    pub duplicate: u64,
    /// The caller's fault, one by one.
    pub rejected: u64,
    /// Let go by policy.
    pub shed: u64,
    /// On their way to the log or from it.
    pub in_flight: u64,
    /// Of requests that were refused whole (401 to 507): nothing of them was stored, and they are not in `received`. A request that cannot be
    /// read counts as one.
    pub refused: u64,
}

/// Every tenant's account. Bounded by the tenants that have a credential.
#[derive(Debug, Default)]
pub struct Ledger(DashMap<TenantId, Arc<Account>>);

/// A tenant's items, and its own token bucket.
#[derive(Debug, Default)]
pub struct Account {
    totals: Mutex<Totals>,
    pub(super) bucket: Mutex<FullAt>,
}

/// What became of the items of one request that went to the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Closing {
    pub(super) accepted: u64,
    pub(super) duplicate: u64,
}

/// A request's items from when they were decoded to when they are answered: they are in flight as long as this lives.
#[derive(Debug)]
pub(super) struct InFlight {
    account: Arc<Account>,
    items: u64,
}

impl Ledger {
    pub fn account(&self, tenant: TenantId) -> Arc<Account> {
        if let Some(account) = self.0.get(&tenant) {
            return Arc::clone(&account);
        }
        Arc::clone(&self.0.entry(tenant).or_default())
    }

    pub fn totals(&self, tenant: TenantId) -> Totals {
        self.0.get(&tenant).map(|account| account.totals()).unwrap_or_default()
    }
}

impl Account {
    pub fn totals(&self) -> Totals {
        *self.totals.lock()
    }

    /// A request of so many items was refused whole.
    pub(super) fn refuse(&self, items: u64) {
        self.totals.lock().refused += items;
    }

    /// `items` were decoded, of which some are answered without the log.
    pub(super) fn receive(self: Arc<Self>, items: u64, rejected: u64, shed: u64) -> InFlight {
        let in_flight = items - rejected - shed;
        {
            let mut totals = self.totals.lock();
            totals.received += items;
            totals.rejected += rejected;
            totals.shed += shed;
            totals.in_flight += in_flight;
        }
        InFlight { account: self, items: in_flight }
    }
}

impl InFlight {
    pub(super) fn account(&self) -> &Account {
        &self.account
    }

    pub(super) fn close(mut self, closing: Closing) {
        let mut totals = self.account.totals.lock();
        debug_assert_eq!(closing.accepted + closing.duplicate, self.items, "the log answers for each item");
        totals.in_flight -= std::mem::take(&mut self.items);
        totals.accepted += closing.accepted;
        totals.duplicate += closing.duplicate;
        drop(totals);
    }

    /// The log refused all of it, so the request is refused whole: `items` with what was answered without the log.
    pub(super) fn refuse(mut self, rejected: u64, shed: u64) -> u64 {
        let mut totals = self.account.totals.lock();
        let in_flight = std::mem::take(&mut self.items);
        let all = in_flight + rejected + shed;
        totals.in_flight -= in_flight;
        totals.received -= all;
        totals.rejected -= rejected;
        totals.shed -= shed;
        totals.refused += all;
        drop(totals);
        all
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        // Only a panic gets here with items left: then nobody knows what became of them, and the caller will ask again.
        if self.items > 0 {
            let mut totals = self.account.totals.lock();
            totals.in_flight -= self.items;
            totals.received -= self.items;
            totals.refused += self.items;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adds_up(totals: &Totals) -> bool {
        totals.received == totals.accepted + totals.duplicate + totals.rejected + totals.shed + totals.in_flight
    }

    #[test]
    fn the_columns_add_up_at_every_moment() {
        let ledger = Ledger::default();
        let tenant = TenantId::parse("acme").unwrap();
        let first = ledger.account(tenant).receive(10, 2, 1);
        let second = ledger.account(tenant).receive(5, 1, 0);
        let totals = ledger.totals(tenant);
        assert_eq!((totals.received, totals.in_flight, totals.rejected, totals.shed), (15, 11, 3, 1));
        first.close(Closing { accepted: 4, duplicate: 3 });
        assert!(adds_up(&ledger.totals(tenant)));
        assert_eq!(second.refuse(1, 0), 5);
        ledger.account(tenant).refuse(1);
        let totals = ledger.totals(tenant);
        let expected = Totals { received: 10, accepted: 4, duplicate: 3, rejected: 2, shed: 1, in_flight: 0, refused: 6 };
        assert_eq!(totals, expected);
        drop(ledger.account(tenant).receive(3, 0, 0));
        assert_eq!(ledger.totals(tenant), Totals { refused: 9, ..expected });
        assert_eq!(ledger.totals(TenantId::parse("globex").unwrap()), Totals::default());
    }
}
