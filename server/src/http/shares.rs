//! How much of the server one credential may hold at a time: open sockets and requests in flight. Does not know whether a credential is valid.
//!
//! Counted by the key or token that the client presents, before it is looked up: so it costs no look-up, holds for keys, tokens and guesses alike, and needs as
//! many counts as there are sockets and no more.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use metrics::counter;
use parking_lot::Mutex;

use crate::http::problem::Kind;

#[derive(Debug)]
pub struct Shares {
    max_sockets: usize,
    max_in_flight: usize,
    /// Keyed anew in each process, so that nobody finds two credentials that share a count, and no secret is held.
    hasher: RandomState,
    /// At most one for each open socket.
    used: Mutex<HashMap<u64, Arc<Usage>>>,
}

#[derive(Debug)]
struct Usage {
    hash: u64,
    /// Changed under the lock of `used` only.
    sockets: AtomicUsize,
    in_flight: AtomicUsize,
}

/// What a socket's newest request presented. Behind a proxy requests of many credentials share a socket: it counts for the last one.
#[derive(Debug)]
pub struct SocketShare {
    shares: Arc<Shares>,
    current: Mutex<Option<Arc<Usage>>>,
}

/// A request under way.
#[derive(Debug)]
pub struct InFlight(Arc<Usage>);

impl Shares {
    pub fn new(max_sockets: usize, max_in_flight: usize) -> Arc<Self> {
        Arc::new(Self { max_sockets, max_in_flight, hasher: RandomState::new(), used: Mutex::default() })
    }

    pub fn socket(self: &Arc<Self>) -> Arc<SocketShare> {
        Arc::new(SocketShare { shares: Arc::clone(self), current: Mutex::new(None) })
    }

    /// Counts one socket more, unless there are as many as there may be.
    fn join(&self, hash: u64) -> Option<Arc<Usage>> {
        let mut used = self.used.lock();
        let usage = used.entry(hash).or_insert_with(|| Arc::new(Usage { hash, sockets: AtomicUsize::new(0), in_flight: AtomicUsize::new(0) }));
        if usage.sockets.load(Ordering::Relaxed) >= self.max_sockets {
            return None;
        }
        usage.sockets.fetch_add(1, Ordering::Relaxed);
        Some(Arc::clone(usage))
    }

    fn leave(&self, usage: &Usage) {
        let mut used = self.used.lock();
        if usage.sockets.fetch_sub(1, Ordering::Relaxed) == 1 {
            used.remove(&usage.hash);
        }
    }
}

impl SocketShare {
    /// Lets a request in that presents this credential, or says why not. Who presents none is bounded by its sockets.
    pub fn admit(&self, presented: Option<&str>) -> Result<Option<InFlight>, Kind> {
        let admitted = presented.map(|presented| self.try_admit(presented)).transpose();
        if let Err(kind) = &admitted {
            let reason = if *kind == Kind::TooManyConnections { "credential" } else { "in_flight" };
            counter!("waypost_connections_refused_total", "reason" => reason).increment(1);
        }
        admitted
    }

    fn try_admit(&self, presented: &str) -> Result<InFlight, Kind> {
        let hash = self.shares.hasher.hash_one(presented);
        let mut current = self.current.lock();
        let usage = match current.as_ref() {
            Some(usage) if usage.hash == hash => Arc::clone(usage),
            _ => {
                let joined = self.shares.join(hash).ok_or(Kind::TooManyConnections)?;
                if let Some(left) = current.replace(Arc::clone(&joined)) {
                    self.shares.leave(&left);
                }
                joined
            }
        };
        drop(current);
        let max = self.shares.max_in_flight;
        let counted = usage.in_flight.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| (count < max).then_some(count + 1));
        counted.map_err(|_full| Kind::TooManyInFlight)?;
        Ok(InFlight(usage))
    }
}

impl Drop for SocketShare {
    fn drop(&mut self) {
        if let Some(usage) = self.current.get_mut().take() {
            self.shares.leave(&usage);
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_has_its_sockets_and_another_one_its_own() {
        let shares = Shares::new(2, 10);
        let sockets = [0; 4].map(|_| shares.socket());
        for socket in &sockets[..2] {
            drop(socket.admit(Some("a")).expect("room"));
        }
        assert_eq!(sockets[2].admit(Some("a")).expect_err("a third"), Kind::TooManyConnections);
        drop(sockets[2].admit(Some("b")).expect("room"));
        drop(sockets[0].admit(Some("b")).expect("it changes sides"));
        drop(sockets[3].admit(Some("a")).expect("and makes room"));
        drop(sockets);
        assert!(shares.used.lock().is_empty(), "no socket, no count");
    }

    #[test]
    fn requests_under_way_are_bounded_over_all_sockets_of_a_credential() {
        let shares = Shares::new(10, 2);
        let sockets = [0; 3].map(|_| shares.socket());
        let first = sockets[0].admit(Some("a")).expect("room");
        let _second = sockets[1].admit(Some("a")).expect("room");
        assert_eq!(sockets[2].admit(Some("a")).expect_err("a third"), Kind::TooManyInFlight);
        assert!(sockets[2].admit(None).expect("counted by its socket alone").is_none());
        drop(first);
        assert!(sockets[2].admit(Some("a")).expect("room again").is_some());
    }
}
