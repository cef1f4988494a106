//! How many sessions each key has open, and whether it may have one more. Knows keys by their names only.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// Bounded by the sessions that are open: a key without one is not kept.
#[derive(Debug)]
pub struct Seats {
    max_per_key: usize,
    taken: Mutex<HashMap<Arc<str>, usize>>,
}

/// A session's place; given back when dropped.
#[derive(Debug)]
pub struct Seat {
    seats: Arc<Seats>,
    key: Arc<str>,
}

impl Seats {
    pub fn new(max_per_key: usize) -> Arc<Self> {
        Arc::new(Self { max_per_key, taken: Mutex::default() })
    }

    /// None when this key has as many sessions as it may.
    pub fn take(self: &Arc<Self>, key: &Arc<str>) -> Option<Seat> {
        let mut taken = self.taken.lock();
        let open = taken.entry(Arc::clone(key)).or_default();
        if *open >= self.max_per_key {
            return None;
        }
        *open += 1;
        Some(Seat { seats: Arc::clone(self), key: Arc::clone(key) })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.taken.lock();
        if let Some(open) = taken.get_mut(&self.key) {
            *open -= 1;
            if *open == 0 {
                taken.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_as_many_seats_as_it_may_and_gives_them_back() {
        let (seats, one, other) = (Seats::new(2), Arc::from("one"), Arc::from("other"));
        let first = seats.take(&one).expect("free");
        let _second = seats.take(&one).expect("free");
        assert!(seats.take(&one).is_none());
        drop(seats.take(&other).expect("of its own"));
        drop(first);
        assert!(seats.take(&one).is_some());
        assert_eq!(seats.taken.lock().len(), 1, "a key without a session is not kept");
    }
}
