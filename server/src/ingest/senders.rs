//! A token bucket for each driver that sent something lately. Knows drivers by their hashes alone, and forgets whose bucket is full.

use std::time::Duration;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use parking_lot::Mutex;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::ingest::rate::{FullAt, Rate};
use crate::model::id::{DriverId, TenantId};

/// A driver of a tenant, as its bucket is found. Two whose hashes meet share a bucket, one pair among four thousand million.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sender(u64);

impl Sender {
    pub(super) fn key(self) -> u64 {
        self.0
    }
}

/// So many events of a request, one after the other, from one driver; `first` is the place of the first of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) sender: Sender,
    pub(super) events: u32,
    pub(super) first: u32,
}

/// A bucket that has not enough in it: the place of the first event that did not fit, and how long until it would.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Short {
    pub(super) first: u32,
    pub(super) wait: Duration,
}

/// The buckets. Bounded by the drivers that sent within the time in which a bucket fills.
#[derive(Debug)]
pub(super) struct Senders {
    rate: Rate,
    seed: u64,
    buckets: Mutex<Buckets>,
}

#[derive(Debug)]
struct Buckets {
    /// Many, so that none is large: one that has to grow is swept first, while a request waits.
    tables: Vec<HashTable<(u64, FullAt)>>,
    /// What was taken for the request under way, with the bucket as it was before.
    taken: Vec<(u64, FullAt)>,
}

const TABLES: usize = 64;

impl Senders {
    pub(super) fn new(rate: Rate) -> Self {
        let buckets = Buckets { tables: vec![HashTable::new(); TABLES], taken: Vec::new() };
        Self { rate, seed: rand::random(), buckets: Mutex::new(buckets) }
    }

    pub(super) fn rate(&self) -> Rate {
        self.rate
    }

    /// Told apart from all others of this tenant by its `salt`.
    pub(super) fn sender(salt: u64, driver: &DriverId) -> Sender {
        Sender(xxh3_64_with_seed(driver.as_str().as_bytes(), salt))
    }

    /// What the senders of a tenant are hashed with; not to be guessed from outside.
    pub(super) fn salt(&self, tenant: TenantId) -> u64 {
        xxh3_64_with_seed(tenant.as_str().as_bytes(), self.seed)
    }

    /// Takes every run out of its driver's bucket, or nothing at all when one of them does not fit.
    pub(super) fn take(&self, runs: &[Run], now_ns: u64) -> Result<(), Short> {
        let mut buckets = self.buckets.lock();
        buckets.look_ahead(runs);
        for run in runs {
            if let Err(wait) = buckets.take(self.rate, *run, now_ns) {
                buckets.give_back();
                return Err(Short { first: run.first, wait });
            }
        }
        buckets.taken.clear();
        Ok(())
    }

    /// Puts back what was taken for a request of which nothing was stored. A bucket that was forgotten meanwhile is full.
    pub(super) fn give_back(&self, runs: &[Run]) {
        let mut buckets = self.buckets.lock();
        for Run { sender: Sender(hash), events, .. } in runs {
            if let Some(bucket) = buckets.tables[table_of(*hash)].find_mut(*hash, |known| known.0 == *hash) {
                bucket.1 = self.rate.give_back(bucket.1, u64::from(*events));
            }
        }
    }
}

impl Buckets {
    /// Looks for all before the first is changed: the waits for memory overlap.
    fn look_ahead(&self, runs: &[Run]) {
        let seen = runs.iter().filter(|run| self.tables[table_of(run.sender.0)].find(run.sender.0, |known| known.0 == run.sender.0).is_some());
        std::hint::black_box(seen.count());
    }

    fn take(&mut self, rate: Rate, run: Run, now_ns: u64) -> Result<(), Duration> {
        let hash = run.sender.0;
        let table = &mut self.tables[table_of(hash)];
        if table.len() == table.capacity() {
            // Full buckets are as good as none. Where most are not, the table grows at once, or each of the next would have it swept again.
            table.retain(|(_, full_at)| *full_at > now_ns);
            if table.len() * 4 >= table.capacity() * 3 {
                table.reserve(table.capacity() - table.len() + 1, |known| known.0);
            }
        }
        let (before, place) = match table.entry(hash, |known| known.0 == hash, |known| known.0) {
            Entry::Occupied(known) => (known.get().1, known.into_mut()),
            Entry::Vacant(place) => (0, place.insert((hash, 0)).into_mut()),
        };
        place.1 = rate.take(before, now_ns, u64::from(run.events))?;
        self.taken.push((hash, before));
        Ok(())
    }

    /// The newest first: a driver may have been taken from twice.
    fn give_back(&mut self) {
        while let Some((hash, before)) = self.taken.pop() {
            if let Some(bucket) = self.tables[table_of(hash)].find_mut(hash, |known| known.0 == hash) {
                bucket.1 = before;
            }
        }
    }
}

/// By bits that the table itself looks at last.
fn table_of(hash: u64) -> usize {
    usize::try_from(hash >> 32).unwrap_or(0) % TABLES
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn run(sender: u64, events: u32, first: u32) -> Run {
        Run { sender: Sender(sender.wrapping_mul(0x9E37_79B9_7F4A_7C15)), events, first }
    }

    #[test]
    fn a_request_takes_from_all_its_drivers_or_from_none() {
        let senders = Senders::new(Rate::new(10, 100));
        senders.take(&[run(1, 60, 0), run(2, 100, 60)], SECOND).expect("both fit");
        let short = senders.take(&[run(1, 30, 0), run(3, 1, 30), run(1, 20, 31), run(2, 1, 51)], SECOND).expect_err("the first has 40 left");
        assert_eq!(short, Short { first: 31, wait: Duration::from_secs(1) });
        senders.take(&[run(1, 40, 0)], SECOND).expect("nothing was taken by what was refused");
        let short = senders.take(&[run(1, 1, 0)], SECOND).expect_err("it is empty now");
        assert_eq!(short.wait, Duration::from_millis(100));
        senders.take(&[run(1, 100, 0)], 11 * SECOND).expect("full again after ten seconds");
    }

    #[test]
    fn drivers_whose_buckets_are_full_are_forgotten() {
        let senders = Senders::new(Rate::new(10, 100));
        for second in 0..100 {
            let runs: Vec<Run> = (0..1_000).map(|driver| run(second * 1_000 + driver, 1, 0)).collect();
            senders.take(&runs, (second + 1) * SECOND).expect("each fits");
        }
        let kept: usize = senders.buckets.lock().tables.iter().map(HashTable::len).sum();
        assert!(kept < 8_000, "{kept} of 100,000");
    }

    #[test]
    fn drivers_of_two_tenants_have_buckets_of_their_own() {
        let senders = Senders::new(Rate::new(10, 100));
        let driver = DriverId::parse("ann").unwrap();
        let [acme, globex] = ["acme", "globex"].map(|tenant| Senders::sender(senders.salt(TenantId::parse(tenant).unwrap()), &driver));
        assert_ne!(acme, globex);
        assert_eq!(acme, Senders::sender(senders.salt(TenantId::parse("acme").unwrap()), &driver));
    }
}
