//! Things kept at numbered places that do not move, in blocks, so that growing copies nothing and looking one up costs two steps. Never shrinks:
//! a place that was left is given to the next one.

mod table;

use hashbrown::HashTable;
use table::Table;

/// A place. Given anew once what it held is gone.
pub type Slot = u32;

/// A size that the allocator has, of which many fill its pages: what is missing to the next such size would lie behind each block, used by nobody.
const BLOCK_BYTES: usize = 80 * 1024;

#[derive(Debug)]
pub struct Slots<T> {
    blocks: Vec<Vec<Option<T>>>,
    free: Vec<Slot>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self { blocks: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slots<T> {
    const BLOCK: usize = BLOCK_BYTES / size_of::<Option<T>>();

    pub fn insert(&mut self, thing: T) -> Slot {
        if let Some(slot) = self.free.pop() {
            self.blocks[slot as usize / Self::BLOCK][slot as usize % Self::BLOCK] = Some(thing);
            return slot;
        }
        if self.blocks.last().is_none_or(|block| block.len() == Self::BLOCK) {
            self.blocks.push(Vec::with_capacity(Self::BLOCK));
        }
        let before = (self.blocks.len() - 1) * Self::BLOCK;
        let block = self.blocks.last_mut().expect("there is one with room");
        block.push(Some(thing));
        Slot::try_from(before + block.len() - 1).expect("2^32 things do not fit the memory of one process")
    }

    pub fn get(&self, slot: Slot) -> Option<&T> {
        self.blocks.get(slot as usize / Self::BLOCK)?.get(slot as usize % Self::BLOCK)?.as_ref()
    }

    pub fn get_mut(&mut self, slot: Slot) -> Option<&mut T> {
        self.blocks.get_mut(slot as usize / Self::BLOCK)?.get_mut(slot as usize % Self::BLOCK)?.as_mut()
    }

    pub fn remove(&mut self, slot: Slot) -> Option<T> {
        let gone = self.blocks.get_mut(slot as usize / Self::BLOCK)?.get_mut(slot as usize % Self::BLOCK)?.take()?;
        self.free.push(slot);
        Some(gone)
    }

    /// How many places there are, taken or free: each slot is below this.
    pub fn places(&self) -> Slot {
        let full = self.blocks.len().saturating_sub(1) * Self::BLOCK;
        Slot::try_from(full + self.blocks.last().map_or(0, Vec::len)).expect("each slot has a number")
    }

    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.blocks.iter().flatten().flatten()
    }

    /// With their slots.
    pub fn iter_placed(&self) -> impl Iterator<Item = (Slot, &T)> {
        (0..).zip(self.blocks.iter().flatten()).filter_map(|(slot, place)| Some((slot, place.as_ref()?)))
    }

    /// With their slots.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (Slot, &mut T)> {
        (0..).zip(self.blocks.iter_mut().flatten()).filter_map(|(slot, place)| Some((slot, place.as_mut()?)))
    }
}

/// Finds slots by a hash of what lies there, which it does not keep: a name stands once in memory, with the thing that it names.
///
/// In several tables that grow one after the other, because growing asks the hash of all that a table holds.
#[derive(Debug)]
pub struct Index {
    tables: [Table; Self::TABLES],
}

impl Default for Index {
    fn default() -> Self {
        Self { tables: std::array::from_fn(|_| Table::default()) }
    }
}

impl Index {
    /// No power of two, so that not all of them grow where one would.
    const TABLES: usize = 10;

    // Inlined, or the waits for memory of one look would not overlap those of the next.
    #[inline]
    pub fn find(&self, hash: u64, is_it: impl Fn(Slot) -> bool) -> Option<Slot> {
        self.tables[table_of(hash)].find(hash, is_it)
    }

    /// A slot that is probably the one, without a look at what lies there: for who looks at many before the first.
    #[inline]
    pub fn guess(&self, hash: u64) -> Option<Slot> {
        self.tables[table_of(hash)].find(hash, |_| true)
    }

    /// Adds a slot that is not there yet; `hash_of` is asked for those beside it.
    pub fn insert(&mut self, hash: u64, slot: Slot, hash_of: impl Fn(Slot) -> u64) {
        self.tables[table_of(hash)].insert(hash, slot, hash_of);
    }

    pub fn remove(&mut self, hash: u64, slot: Slot) {
        self.tables[table_of(hash)].remove(hash, slot);
    }

    pub fn len(&self) -> usize {
        self.tables.iter().map(Table::len).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// As `Index`, but keeps half of each hash, for places that several names lead to.
#[derive(Debug)]
pub struct KeptIndex {
    tables: [HashTable<(u32, Slot)>; Index::TABLES],
}

impl Default for KeptIndex {
    fn default() -> Self {
        Self { tables: [const { HashTable::new() }; Index::TABLES] }
    }
}

impl KeptIndex {
    pub fn find(&self, hash: u64, is_it: impl Fn(Slot) -> bool) -> Option<Slot> {
        let short = short(hash);
        self.tables[table_of(hash)].find(spread(short), |(known, slot)| *known == short && is_it(*slot)).map(|(_, slot)| *slot)
    }

    pub fn insert(&mut self, hash: u64, slot: Slot) {
        let short = short(hash);
        self.tables[table_of(hash)].insert_unique(spread(short), (short, slot), |(short, _)| spread(*short));
    }

    pub fn remove(&mut self, hash: u64, slot: Slot) {
        let short = short(hash);
        if let Ok(found) = self.tables[table_of(hash)].find_entry(spread(short), |entry| *entry == (short, slot)) {
            found.remove();
        }
    }
}

fn short(hash: u64) -> u32 {
    u32::try_from(hash >> 32).expect("the upper half of 64 bits is 32 bits")
}

/// A table's hash of a short hash: it wants its entropy in the lowest and the highest bits.
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// By bits that a table looks at neither for the place nor for the tag.
fn table_of(hash: u64) -> usize {
    usize::try_from(hash >> 48).expect("16 bits") % Index::TABLES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_found_by_the_hash_of_what_lies_there() {
        let hash_of = |slot: Slot| u64::from(slot).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut index = Index::default();
        (0..5_000).for_each(|slot| index.insert(hash_of(slot), slot, hash_of));
        index.remove(hash_of(17), 17);
        assert!((0..5_000).all(|slot| index.find(hash_of(slot), |other| other == slot) == (slot != 17).then_some(slot)));
        assert_eq!(index.len(), 4_999);
    }

    #[test]
    fn a_place_is_kept_while_others_come_and_go_and_is_then_given_anew() {
        let mut slots = Slots::default();
        let all: Vec<Slot> = (0..3_000).map(|number| slots.insert(number)).collect();
        assert_eq!(slots.remove(all[1_500]), Some(1_500));
        assert_eq!(slots.get(all[1_500]), None);
        assert_eq!(slots.remove(all[1_500]), None);
        assert_eq!(slots.insert(-1), all[1_500]);
        *slots.get_mut(all[2_999]).expect("it is there") += 1;
        assert_eq!((slots.get(all[2_999]), slots.get(all[0]), slots.get(9_999)), (Some(&3_000), Some(&0), None));
        assert_eq!((slots.iter().count(), slots.places()), (3_000, 3_000));
    }
}
