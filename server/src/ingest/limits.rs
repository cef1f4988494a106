//! Who may send how much: a bucket a tenant and one a driver. Says no before anything is stored; remembers nothing of an event.

use std::collections::HashMap;
use std::time::Duration;

use crate::ingest::ledger::Account;
use crate::ingest::rate::Rate;
use crate::ingest::senders::{Run, Senders, Short};
use crate::model::id::TenantId;

/// Every bound of what comes in.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Events of one request.
    pub max_events: usize,
    /// Bytes of a body after decompression.
    pub max_bytes: usize,
    /// None: a driver may send as much as its tenant.
    pub driver: Option<Rate>,
    /// Of a tenant that has none of its own; none: as much as the node takes.
    pub tenant: Option<Rate>,
    pub tenants: HashMap<TenantId, Rate>,
}

/// A bucket that has not enough in it for a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limited {
    pub of: Limit,
    pub rate: Rate,
    /// Until the same request would fit.
    pub wait: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    Tenant,
    /// Of the driver whose event has this place in the request.
    Driver {
        event: u32,
    },
}

impl Limit {
    /// The name of its policy in the `RateLimit` headers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Driver { .. } => "driver",
        }
    }
}

impl Limits {
    /// Of requests alone; whoever sends may send without end.
    pub fn of_requests(max_events: usize, max_bytes: usize) -> Self {
        Self { max_events, max_bytes, driver: None, tenant: None, tenants: HashMap::new() }
    }

    fn of_tenant(&self, tenant: TenantId) -> Option<Rate> {
        // Most nodes have none that is special, and then nothing is looked up.
        let own = if self.tenants.is_empty() { None } else { self.tenants.get(&tenant).copied() };
        own.or(self.tenant)
    }

    /// Refuses a request of a tenant that could not have so many events more, before it is worked on: whoever floods costs little.
    pub(super) fn check_tenant(&self, tenant: TenantId, account: &Account, events: u64, now_ns: u64) -> Result<(), Limited> {
        let Some(rate) = self.of_tenant(tenant) else { return Ok(()) };
        let full_at = *account.bucket.lock();
        rate.take(full_at, now_ns, events).map(drop).map_err(|wait| Limited { of: Limit::Tenant, rate, wait })
    }

    /// Takes a request's events out of all buckets they count in, or out of none.
    pub(super) fn take(
        &self,
        tenant: TenantId,
        account: &Account,
        senders: Option<&Senders>,
        events: u64,
        runs: &[Run],
        now_ns: u64,
    ) -> Result<(), Limited> {
        let of_drivers = |senders: &Senders| {
            let limited = |short: Short| Limited { of: Limit::Driver { event: short.first }, rate: senders.rate(), wait: short.wait };
            senders.take(runs, now_ns).map_err(limited)
        };
        let Some(rate) = self.of_tenant(tenant) else { return senders.map_or(Ok(()), of_drivers) };
        // Held until the drivers have been asked, so that two requests never take the same.
        let mut bucket = account.bucket.lock();
        let full_at = rate.take(*bucket, now_ns, events).map_err(|wait| Limited { of: Limit::Tenant, rate, wait })?;
        senders.map_or(Ok(()), of_drivers)?;
        *bucket = full_at;
        Ok(())
    }

    /// Takes out of a tenant's bucket what has cost work already and cannot be refused any more: the bucket then owes what is not in it.
    pub(super) fn charge(&self, tenant: TenantId, account: &Account, events: u64, now_ns: u64) {
        if let Some(rate) = self.of_tenant(tenant) {
            let mut bucket = account.bucket.lock();
            *bucket = rate.charge(*bucket, now_ns, events);
        }
    }

    /// Puts back what `take` took for a request of which nothing was stored: it comes again, and would else pay twice.
    pub(super) fn give_back(&self, tenant: TenantId, account: &Account, senders: Option<&Senders>, events: u64, runs: &[Run]) {
        if let Some(rate) = self.of_tenant(tenant) {
            let mut bucket = account.bucket.lock();
            *bucket = rate.give_back(*bucket, events);
        }
        if let Some(senders) = senders {
            senders.give_back(runs);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::DriverId;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn what_a_driver_may_not_send_is_not_taken_from_its_tenant() {
        let acme = TenantId::parse("acme").unwrap();
        let (driver, tenant) = (Rate::new(10, 10), Rate::new(10, 25));
        let limits = Limits { driver: Some(driver), tenants: HashMap::from([(acme, tenant)]), ..Limits::of_requests(100, 1000) };
        let (account, senders) = (Account::default(), Senders::new(driver));
        let sender = |name: &str| Senders::sender(senders.salt(acme), &DriverId::parse(name).unwrap());
        let take = |name: &str, events: u32| {
            let run = Run { sender: sender(name), events, first: 0 };
            limits.take(acme, &account, Some(&senders), events.into(), &[run], SECOND)
        };
        take("ann", 10).expect("both have room");
        let limited = take("ann", 5).expect_err("ann has none left");
        assert_eq!(limited, Limited { of: Limit::Driver { event: 0 }, rate: driver, wait: Duration::from_millis(500) });
        take("bob", 10).expect("nothing was taken for ann");
        let limited = take("cy", 6).expect_err("the tenant has 5 left");
        assert_eq!(limited, Limited { of: Limit::Tenant, rate: tenant, wait: Duration::from_millis(100) });
        take("cy", 5).expect("nothing was taken from cy");
        assert_eq!(limits.check_tenant(acme, &account, 1, SECOND).expect_err("empty").wait, Duration::from_millis(100));
        limits.charge(acme, &account, 10, SECOND);
        assert_eq!(limits.check_tenant(acme, &account, 1, SECOND).expect_err("it owes").wait, Duration::from_millis(1_100));
        let other = TenantId::parse("globex").unwrap();
        assert_eq!(limits.check_tenant(other, &Account::default(), 1, SECOND), Ok(()));
    }
}
