//! How many long searches of the map a tenant has at a time: one looks, a few wait, more are refused. Searches nothing itself.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::model::id::TenantId;

/// Long searches of a tenant, with those that wait.
const MOST: usize = 16;

/// Shared by all readers. Holds a place for each tenant that searched: there are as many tenants as have a key.
#[derive(Clone, Debug, Default)]
pub struct Searches(Arc<Mutex<HashMap<TenantId, Lane>>>);

#[derive(Clone, Debug)]
struct Lane {
    /// For those that wait and the one that looks.
    places: Arc<Semaphore>,
    looking: Arc<Semaphore>,
}

/// The right to look, until it is dropped.
#[derive(Debug)]
pub struct Turn {
    _looking: OwnedSemaphorePermit,
    _place: OwnedSemaphorePermit,
}

impl Searches {
    /// Waits in line, the first first; `None` when the line is full.
    pub async fn turn(&self, tenant: TenantId) -> Option<Turn> {
        let new = || Lane { places: Arc::new(Semaphore::new(MOST)), looking: Arc::new(Semaphore::new(1)) };
        let Lane { places, looking } = self.0.lock().entry(tenant).or_insert_with(new).clone();
        let place = places.try_acquire_owned().ok()?;
        let looking = looking.acquire_owned().await.expect("it is never closed");
        Some(Turn { _looking: looking, _place: place })
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn one_looks_a_few_wait_and_another_tenant_does_not_notice() {
        let (searches, acme, globex) = (Searches::default(), TenantId::parse("acme").expect("valid"), TenantId::parse("globex").expect("valid"));
        let first = searches.turn(acme).await.expect("free");
        let mut waiting: Vec<_> = (1..MOST).map(|_| Box::pin(searches.turn(acme))).collect();
        assert!(waiting.iter_mut().all(|turn| turn.as_mut().now_or_never().is_none()));
        assert!(searches.turn(acme).now_or_never().expect("at once").is_none(), "the line is full");
        assert!(searches.turn(globex).now_or_never().expect("at once").is_some());
        drop(first);
        let second = waiting[0].as_mut().now_or_never().expect("its turn");
        assert!(second.is_some() && waiting[1].as_mut().now_or_never().is_none());
        drop(waiting);
        drop(second);
        assert!(searches.turn(acme).now_or_never().expect("free again").is_some(), "who went away left its place");
    }
}
