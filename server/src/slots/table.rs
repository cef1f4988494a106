//! A table of slots by hash, of four bytes a place: the slot, and in the bits that it leaves free a part of the hash. Never knows what lies at a slot.

use super::Slot;

/// Open addressing, one place after the other: a look is mostly one line of memory, where a table with its tags beside it needs two.
///
/// A place is `EMPTY`, `GONE`, or a tag that is not zero above a slot of `slot_bits`.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// As many as a power of two, or none at all.
    places: Box<[u32]>,
    slot_bits: u32,
    live: usize,
    /// Live ones and those `GONE`.
    used: usize,
}

const EMPTY: u32 = 0;
/// Was left, and somebody further on may have been put off here.
const GONE: u32 = 1;
const LEAST_PLACES: usize = 16;
const LEAST_SLOT_BITS: u32 = 14;
/// So far a slot may be beyond those before it without a table made anew.
const SPARE_BITS: u32 = 2;

impl Table {
    // Inlined, or the waits for memory of one look would not overlap those of the next.
    #[inline]
    pub(super) fn find(&self, hash: u64, is_it: impl Fn(Slot) -> bool) -> Option<Slot> {
        self.place_of(hash, is_it).map(|at| self.slot(self.places[at]))
    }

    /// Adds a slot that is not there yet; `hash_of` is asked for the others when they have to move.
    pub(super) fn insert(&mut self, hash: u64, slot: Slot, hash_of: impl Fn(Slot) -> u64) {
        let fits = slot.checked_shr(self.slot_bits).unwrap_or(0) == 0;
        if !fits || (self.used + 1) * 16 > self.places.len() * 13 {
            self.make_room(slot, hash_of);
        }
        self.put(hash, slot);
    }

    pub(super) fn remove(&mut self, hash: u64, slot: Slot) {
        let Some(at) = self.place_of(hash, |other| other == slot) else { return };
        self.live -= 1;
        self.places[at] = GONE;
        // Nobody was put off where nothing follows.
        let (mut at, mask) = (at, self.places.len() - 1);
        if self.places[(at + 1) & mask] == EMPTY {
            while self.places[at] == GONE {
                self.places[at] = EMPTY;
                self.used -= 1;
                at = at.wrapping_sub(1) & mask;
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.live
    }

    #[inline]
    fn place_of(&self, hash: u64, is_it: impl Fn(Slot) -> bool) -> Option<usize> {
        let mask = self.places.len().checked_sub(1)?;
        let (tag, mut at) = (self.tag(hash), home(hash) & mask);
        loop {
            let place = self.places[at];
            if place == EMPTY {
                return None;
            }
            if place >> self.slot_bits == tag && is_it(self.slot(place)) {
                return Some(at);
            }
            at = (at + 1) & mask;
        }
    }

    fn put(&mut self, hash: u64, slot: Slot) {
        let mask = self.places.len() - 1;
        let mut at = home(hash) & mask;
        while self.places[at] > GONE {
            at = (at + 1) & mask;
        }
        self.used += usize::from(self.places[at] == EMPTY);
        self.live += 1;
        self.places[at] = self.tag(hash) << self.slot_bits | slot;
    }

    /// Makes the table anew: twice as large when it is full of what is live, and wide enough for `slot`. It is full a little before it has to be made anew, or where
    /// as many come as go it would be made anew for each few of them.
    fn make_room(&mut self, slot: Slot, hash_of: impl Fn(Slot) -> u64) {
        let needed = u32::BITS - slot.leading_zeros();
        assert!(needed <= WIDEST, "a thousand million things do not fit the memory of one process");
        let slot_bits = if needed <= self.slot_bits { self.slot_bits } else { needed + SPARE_BITS };
        let is_full = (self.live + 1) * 32 > self.places.len() * 25;
        let count = if is_full { (self.places.len() * 2).max(LEAST_PLACES) } else { self.places.len() };
        let next = Self { places: vec![EMPTY; count].into(), slot_bits: slot_bits.clamp(LEAST_SLOT_BITS, WIDEST), live: 0, used: 0 };
        let before = std::mem::replace(self, next);
        for place in before.places.iter().filter(|place| **place > GONE) {
            let slot = before.slot(*place);
            self.put(hash_of(slot), slot);
        }
    }

    fn slot(&self, place: u32) -> Slot {
        place & ((1 << self.slot_bits) - 1)
    }

    /// Of the hash's upper half, for the place is chosen by the lower one. Never zero.
    fn tag(&self, hash: u64) -> u32 {
        let bits = u32::BITS - self.slot_bits;
        let upper = u32::try_from(hash >> 32 & u64::from(u32::MAX)).expect("32 bits");
        (upper & ((1 << bits) - 1)).max(1)
    }
}

/// So many slots may be held that nobody has the memory for what lies there.
const WIDEST: u32 = 30;

fn home(hash: u64) -> usize {
    usize::try_from(hash & u64::from(u32::MAX)).expect("32 bits fit")
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_comes_and_goes_leaves_no_room_behind() {
        let hash_of = |slot: Slot| u64::from(slot).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut table = Table::default();
        for slot in 0..100_000 {
            table.insert(hash_of(slot), slot, hash_of);
            if slot >= 10 {
                table.remove(hash_of(slot - 10), slot - 10);
            }
        }
        assert!(table.len() == 10 && table.places.len() <= 32, "{} in {}", table.len(), table.places.len());
        assert!((0..100_000).all(|slot| table.find(hash_of(slot), |other| other == slot).is_some() == (slot >= 99_990)));
    }

    #[test]
    fn a_table_three_quarters_full_is_not_made_larger_by_what_comes_and_goes() {
        let hash_of = |slot: Slot| u64::from(slot).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(20);
        let (mut table, asked) = (Table::default(), std::cell::Cell::new(0));
        (0..51_190).for_each(|slot| table.insert(hash_of(slot), slot, hash_of));
        for slot in 51_190..250_000 {
            table.insert(hash_of(slot), slot, |slot| {
                asked.set(asked.get() + 1);
                hash_of(slot)
            });
            table.remove(hash_of(slot), slot);
        }
        let anew = asked.get() / 51_190;
        assert!(table.places.len() == 65_536 && anew < 20, "{} places, made anew {anew} times", table.places.len());
    }

    proptest! {
        /// Few hashes, so that many fall on one place and have one tag; slots of all widths.
        #[test]
        fn a_table_finds_what_a_map_holds(steps in proptest::collection::vec((0..400_u64, 0..30_u32, any::<bool>()), 1..400)) {
            let (mut table, mut model) = (Table::default(), HashMap::<Slot, u64>::new());
            for (name, width, comes) in steps {
                let hash = (name % 7) | ((name % 3) << 32) | ((name % 2) << 50);
                let slot = (1_u32 << width) - 1 + u32::try_from(name).unwrap() % (1 << width);
                if comes && !model.contains_key(&slot) {
                    table.insert(hash, slot, |slot| model[&slot]);
                    model.insert(slot, hash);
                } else if let Some(hash) = model.remove(&slot) {
                    table.remove(hash, slot);
                }
                table.remove(hash, (1 << 29) + (1 << 20));
                prop_assert_eq!(table.len(), model.len());
                prop_assert!(table.used <= table.places.len() * 13 / 16);
                for (slot, hash) in &model {
                    prop_assert_eq!(table.find(*hash, |other| other == *slot), Some(*slot));
                }
                prop_assert_eq!(table.find(hash, |_| false), None);
                prop_assert_eq!(table.find(u64::MAX, |_| true), None);
            }
        }
    }
}
