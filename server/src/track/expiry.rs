//! What is due when, and what remains of a delivery after its facts are gone. Time is log time, given by the caller; never reads a clock.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::time::Duration;

use hashbrown::HashSet;
use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::model::id::DeliveryId;
use crate::model::time::UnixMs;
use crate::slots::Slot;

/// How long a tombstone absorbs late events.
pub const TOMBSTONE_KEPT: Duration = Duration::from_hours(72);

/// Something may be due for an entity at a time. The entity decides: an entry may have been overtaken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    pub at: UnixMs,
    /// Where the entity lies in its roster, or lay: another one may have its place by now.
    pub slot: Slot,
}

/// The earliest first.
#[derive(Debug, Default)]
pub struct DueQueue {
    /// None is empty.
    eras: BTreeMap<i64, BinaryHeap<Reverse<InEra>>>,
    count: usize,
}

/// The lower half of the time, and the slot: there is one for each driver. The upper half, an era of 50 days, is known by the heap.
type InEra = (u32, Slot);

impl DueQueue {
    pub fn push(&mut self, due: Due) {
        let (era, low) = halves(due.at);
        self.eras.entry(era).or_default().push(Reverse((low, due.slot)));
        self.count += 1;
    }

    pub fn pop_due(&mut self, now: UnixMs) -> Option<Due> {
        let mut first = self.eras.first_entry()?;
        let (era, Reverse((low, _))) = (*first.key(), first.get().peek()?);
        let at = whole(era, *low);
        if at > now {
            return None;
        }
        let Reverse((_, slot)) = first.get_mut().pop()?;
        self.count -= 1;
        if first.get().is_empty() {
            first.remove();
        }
        Some(Due { at, slot })
    }

    pub fn next(&self) -> Option<UnixMs> {
        let (era, heap) = self.eras.first_key_value()?;
        heap.peek().map(|Reverse((low, _))| whole(*era, *low))
    }

    pub fn count(&self) -> usize {
        self.count
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the lower half is what is wanted")]
fn halves(at: UnixMs) -> (i64, u32) {
    (at.0 >> 32, at.0 as u32)
}

fn whole(era: i64, low: u32) -> UnixMs {
    UnixMs(era << 32 | i64::from(low))
}

/// 16 bytes of an id's hash: enough that no two ids of a partition share it.
pub type IdHash = [u64; 2];

/// Deliveries that have left memory: their late events are absorbed. At most `max`; beyond it the oldest goes early.
#[derive(Debug)]
pub struct Tombstones {
    max: usize,
    known: HashSet<IdHash>,
    /// Oldest first: log time does not decrease and each is kept equally long.
    by_age: VecDeque<(UnixMs, IdHash)>,
}

impl Tombstones {
    pub fn new(max: usize) -> Self {
        Self { max, known: HashSet::new(), by_age: VecDeque::new() }
    }

    /// Buries an id at `log_time`.
    pub fn add(&mut self, tenant: u32, id: &DeliveryId, log_time: UnixMs) {
        self.restore(log_time, id_hash(tenant, &id.as_str()));
    }

    pub fn restore(&mut self, buried: UnixMs, hash: IdHash) {
        if self.known.insert(hash) {
            self.by_age.push_back((buried, hash));
        }
        if self.by_age.len() > self.max {
            self.pop_oldest();
        }
    }

    pub fn absorbs(&self, tenant: u32, id: &DeliveryId) -> bool {
        !self.known.is_empty() && self.known.contains(&id_hash(tenant, &id.as_str()))
    }

    pub fn expire(&mut self, log_time: UnixMs) {
        while self.by_age.front().is_some_and(|(buried, _)| *buried + TOMBSTONE_KEPT <= log_time) {
            self.pop_oldest();
        }
    }

    fn pop_oldest(&mut self) {
        if let Some((_, hash)) = self.by_age.pop_front() {
            self.known.remove(&hash);
        }
    }

    /// Oldest first, each with when it was buried.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &(UnixMs, IdHash)> {
        self.by_age.iter()
    }

    pub fn count(&self) -> usize {
        self.by_age.len()
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the two halves are what is wanted")]
fn id_hash(tenant: u32, id: &str) -> IdHash {
    let hash = xxh3_128_with_seed(id.as_bytes(), u64::from(tenant));
    [(hash >> 64) as u64, hash as u64]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tombstone_absorbs_for_72_hours_and_the_oldest_goes_first_when_there_are_too_many() {
        let mut tombstones = Tombstones::new(2);
        let id = |text| DeliveryId::parse(text).unwrap();
        let hour = |hours: u64| UnixMs(0) + Duration::from_hours(hours);
        tombstones.add(0, &id("a"), hour(0));
        tombstones.add(0, &id("b"), hour(1));
        assert!(tombstones.absorbs(0, &id("a")) && !tombstones.absorbs(1, &id("a")));
        tombstones.add(0, &id("c"), hour(2));
        assert!(!tombstones.absorbs(0, &id("a")) && tombstones.absorbs(0, &id("c")));
        tombstones.expire(hour(73));
        assert!(!tombstones.absorbs(0, &id("b")) && tombstones.absorbs(0, &id("c")));
    }

    #[test]
    fn what_is_due_comes_out_in_order_and_not_before_its_time() {
        let mut queue = DueQueue::default();
        let far = 3 << 33;
        for at in [5, far, 3, 9, -7] {
            queue.push(Due { at: UnixMs(at), slot: 0 });
        }
        assert_eq!(queue.pop_due(UnixMs(-8)), None);
        let popped: Vec<i64> = std::iter::from_fn(|| queue.pop_due(UnixMs(5))).map(|due| due.at.0).collect();
        assert_eq!(popped, [-7, 3, 5]);
        assert_eq!((queue.next(), queue.count()), (Some(UnixMs(9)), 2));
        assert_eq!((queue.pop_due(UnixMs(9)).map(|due| due.at), queue.next()), (Some(UnixMs(9)), Some(UnixMs(far))));
        assert_eq!((queue.pop_due(UnixMs(far - 1)), queue.pop_due(UnixMs(far))), (None, Some(Due { at: UnixMs(far), slot: 0 })));
    }
}
