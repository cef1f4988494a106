//! The ids of one partition, in many small tables that grow one after the other. Knows nothing of time; its owner says what goes.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

/// 32 bytes; with the room that tables keep free 50 to 75 over all of them, and the allocator rounds up: `dedup_max_ids` times 90 bytes is the memory
/// to plan for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Id {
    pub(crate) identity: [u64; 2],
    pub(crate) offset: u64,
    pub(crate) content: u32,
    /// Unix seconds, rounded up: until the watermark is past it the id must be kept.
    pub(crate) keep_until_s: u32,
}

/// Ids found by their identity. A table that grows moves all it holds while a block waits, and tables that fill alike grow at the same time: so
/// each holds few, and each grows at a fill of its own, between three quarters and the whole of its room.
#[derive(Debug)]
pub(super) struct Ids {
    tables: Vec<Table>,
}

#[derive(Debug)]
struct Table {
    ids: HashTable<Id>,
    /// Of its room, the parts in 65536 at which it grows.
    grows_at_fill: usize,
    /// The number of ids at which that fill is reached.
    grows_at: usize,
}

impl Ids {
    /// The ids of one partition of `partitions`, in `tables` tables, a power of two.
    pub(super) fn new(tables: usize, partition: usize, partitions: usize) -> Self {
        debug_assert!(tables.is_power_of_two(), "a table is picked by bits");
        let all = tables * partitions;
        let table = |index| Table { ids: HashTable::new(), grows_at_fill: 0xC000 + 0x4000 * (index * partitions + partition) / all, grows_at: 0 };
        Self { tables: (0..tables).map(table).collect() }
    }

    // Inlined, or the waits for memory of one look would not overlap those of the next: half of the cost.
    #[inline]
    pub(super) fn find(&self, identity: [u64; 2]) -> Option<&Id> {
        self.tables[self.table_of(identity)].ids.find(identity[0], |known| known.identity == identity)
    }

    /// Adds `id`, unless one of the same identity is there: then that is returned.
    #[inline]
    pub(super) fn add(&mut self, id: Id) -> Option<&mut Id> {
        let index = self.table_of(id.identity);
        let table = &mut self.tables[index];
        if table.ids.len() >= table.grows_at {
            table.grow();
        }
        match table.ids.entry(id.identity[0], |known| known.identity == id.identity, |known| known.identity[0]) {
            Entry::Occupied(known) => Some(known.into_mut()),
            Entry::Vacant(place) => {
                place.insert(id);
                None
            }
        }
    }

    /// Makes room for as many ids as a snapshot holds.
    pub(super) fn reserve(&mut self, ids: usize) {
        let each = ids / self.tables.len();
        self.tables.iter_mut().for_each(|table| table.ids.reserve(each, |known| known.identity[0]));
    }

    pub(super) fn len(&self) -> usize {
        self.tables.iter().map(|table| table.ids.len()).sum()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Id> {
        self.tables.iter().flat_map(|table| &table.ids)
    }

    /// The ids of table `index` of these.
    pub(super) fn table(&mut self, index: usize) -> &mut HashTable<Id> {
        &mut self.tables[index].ids
    }

    /// By the half of the identity that the table itself does not hash by.
    fn table_of(&self, identity: [u64; 2]) -> usize {
        #[expect(clippy::cast_possible_truncation, reason = "the low bits are all that is asked")]
        let low = identity[1] as usize;
        low & (self.tables.len() - 1)
    }
}

impl Table {
    #[cold]
    fn grow(&mut self) {
        let fill = |room: usize| (room * self.grows_at_fill) >> 16;
        if self.ids.len() >= fill(self.ids.capacity()) {
            self.ids.reserve(self.ids.capacity() - self.ids.len() + 1, |known| known.identity[0]);
        }
        self.grows_at = fill(self.ids.capacity()).max(self.ids.len() + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> Id {
        let mix = |salt: u64| xxhash_rust::xxh3::xxh3_64_with_seed(&number.to_le_bytes(), salt);
        Id { identity: [mix(1), mix(2)], offset: number, content: 0, keep_until_s: 0 }
    }

    #[test]
    fn every_id_added_is_found_once_through_all_growth() {
        let mut ids = Ids::new(8, 1, 3);
        for number in 0..20_000 {
            assert_eq!(ids.add(id(number)), None);
            assert_eq!(ids.add(id(number)), Some(&mut id(number)));
        }
        assert_eq!(ids.len(), 20_000);
        assert!((0..20_000).all(|number| ids.find(id(number).identity) == Some(&id(number))));
        assert_eq!(ids.find(id(20_000).identity), None);
        assert_eq!(ids.iter().count(), 20_000);
    }

    #[test]
    fn tables_that_fill_alike_grow_one_after_the_other() {
        let mut partitions: Vec<Ids> = (0..4).map(|partition| Ids::new(16, partition, 4)).collect();
        let rooms = |partitions: &[Ids]| partitions.iter().flat_map(|ids| &ids.tables).map(|table| table.ids.capacity()).collect::<Vec<_>>();
        let mut grown_at = Vec::new();
        let mut before = rooms(&partitions);
        for number in 0..64 * 1792_u64 {
            partitions[usize::try_from(number % 4).expect("small")].add(id(number));
            if number % 64 == 0 {
                let now = rooms(&partitions);
                grown_at.extend(now.iter().zip(&before).filter(|(now, before)| now > before && **before == 896).map(|_| number));
                before = now;
            }
        }
        assert_eq!(grown_at.len(), 64, "each has grown past 896");
        let most = grown_at.chunk_by(|a, b| a == b).map(<[u64]>::len).max();
        assert!(most <= Some(3), "{most:?} of 64 at once");
        let (first, last) = (grown_at[0], grown_at[63]);
        assert!(last - first > 64 * 896 / 5, "between {first} and {last}");
    }
}
