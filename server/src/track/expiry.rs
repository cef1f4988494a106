//! What is due when, and what remains of a delivery after its facts are gone. Time is log time, given by the caller; never reads a clock.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::ops::Range;
use std::time::Duration;

use hashbrown::HashSet;
use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::model::id::DeliveryId;
use crate::model::time::UnixMs;
use crate::slots::Slot;

/// How long a tombstone absorbs late events.
pub const TOMBSTONE_KEPT: Duration = Duration::from_hours(72);

/// Something may be due for an entity at a time. The entity decides: an entry may have been overtaken.
///
/// Packed, because there is one for each delivery that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(C, packed(4))]
pub struct Due {
    pub at: UnixMs,
    /// Where the entity lies in its roster, or lay: another one may have its place by now.
    pub slot: Slot,
}

/// The earliest first.
#[derive(Debug, Default)]
pub struct DueQueue {
    heap: BinaryHeap<Reverse<Due>>,
}

impl DueQueue {
    pub fn push(&mut self, due: Due) {
        self.heap.push(Reverse(due));
    }

    pub fn pop_due(&mut self, now: UnixMs) -> Option<Due> {
        self.next().filter(|at| *at <= now)?;
        self.heap.pop().map(|Reverse(due)| due)
    }

    pub fn next(&self) -> Option<UnixMs> {
        self.heap.peek().map(|Reverse(due)| due.at)
    }

    pub fn count(&self) -> usize {
        self.heap.len()
    }
}

/// For things that all come due some day, and mostly later than was thought: of so many places beside each other the earliest time at which one of them may be
/// due, and nothing of each. Who is there is asked when that time has come.
#[derive(Debug)]
pub struct Sweep {
    earliest: Vec<UnixMs>,
    /// Of all of them.
    next: UnixMs,
}

impl Default for Sweep {
    fn default() -> Self {
        Self { earliest: Vec::new(), next: Self::NEVER }
    }
}

impl Sweep {
    const PLACES: Slot = 1_024;
    const NEVER: UnixMs = UnixMs(i64::MAX);
    /// When it is looked again where a panic ended the look.
    const AGAIN_AFTER: Duration = Duration::from_mins(1);

    pub fn note(&mut self, Due { at, slot }: Due) {
        let piece = (slot / Self::PLACES) as usize;
        if self.earliest.len() <= piece {
            self.earliest.resize(piece + 1, Self::NEVER);
        }
        self.earliest[piece] = self.earliest[piece].min(at);
        self.next = self.next.min(at);
    }

    /// Places of which one may be due. Whoever looks there says with `looked` when the next one is.
    pub fn due(&mut self, now: UnixMs) -> Option<Range<Slot>> {
        self.next().filter(|next| *next <= now)?;
        let piece = self.earliest.iter().position(|earliest| *earliest <= now)?;
        self.set(piece, now + Self::AGAIN_AFTER);
        let first = Slot::try_from(piece).unwrap_or(Slot::MAX) * Self::PLACES;
        Some(first..first.saturating_add(Self::PLACES))
    }

    /// Of places that `due` named: the earliest time of those who stay.
    pub fn looked(&mut self, places: &Range<Slot>, earliest: Option<UnixMs>) {
        self.set((places.start / Self::PLACES) as usize, earliest.unwrap_or(Self::NEVER));
    }

    fn set(&mut self, piece: usize, earliest: UnixMs) {
        self.earliest[piece] = earliest;
        self.next = self.earliest.iter().copied().min().unwrap_or(Self::NEVER);
    }

    /// Not later than when the first of them is due.
    pub fn next(&self) -> Option<UnixMs> {
        Some(self.next).filter(|next| *next != Self::NEVER)
    }
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
    fn a_sweep_looks_where_something_may_be_due_and_nowhere_else() {
        let mut sweep = Sweep::default();
        for (at, slot) in [(50, 3), (40, 9), (70, 1_023), (60, 1_024)] {
            sweep.note(Due { at: UnixMs(at), slot });
        }
        assert_eq!((sweep.due(UnixMs(39)), sweep.next()), (None, Some(UnixMs(40))));
        let first = sweep.due(UnixMs(40)).unwrap();
        assert_eq!((&first, sweep.next()), (&(0..1_024), Some(UnixMs(60))));
        sweep.looked(&first, Some(UnixMs(50)));
        assert_eq!((sweep.due(UnixMs(60)), sweep.due(UnixMs(60)), sweep.due(UnixMs(60))), (Some(0..1_024), Some(1_024..2_048), None));
        sweep.looked(&(1_024..2_048), None);
        assert_eq!(sweep.next(), Some(UnixMs(60_060)), "nobody said what became of the look at the first ones");
        sweep.looked(&first, None);
        assert_eq!(sweep.next(), None);
    }

    #[test]
    fn what_is_due_comes_out_in_order_and_not_before_its_time() {
        let mut queue = DueQueue::default();
        for at in [5, 3, 9] {
            queue.push(Due { at: UnixMs(at), slot: 0 });
        }
        assert_eq!(queue.pop_due(UnixMs(2)), None);
        let popped: Vec<i64> = std::iter::from_fn(|| queue.pop_due(UnixMs(5))).map(|due| { due.at }.0).collect();
        assert_eq!(popped, [3, 5]);
        assert_eq!(queue.next(), Some(UnixMs(9)));
    }
}
