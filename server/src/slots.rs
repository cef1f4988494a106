//! Things kept at numbered places that do not move, in blocks, so that growing copies nothing and looking one up costs two steps. Never shrinks:
//! a place that was left is given to the next one.

/// A place. Given anew once what it held is gone.
pub type Slot = u32;

const BLOCK: usize = 1_024;

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
    pub fn insert(&mut self, thing: T) -> Slot {
        if let Some(slot) = self.free.pop() {
            self.blocks[slot as usize / BLOCK][slot as usize % BLOCK] = Some(thing);
            return slot;
        }
        if self.blocks.last().is_none_or(|block| block.len() == BLOCK) {
            self.blocks.push(Vec::with_capacity(BLOCK));
        }
        let before = (self.blocks.len() - 1) * BLOCK;
        let block = self.blocks.last_mut().expect("there is one with room");
        block.push(Some(thing));
        Slot::try_from(before + block.len() - 1).expect("2^32 things do not fit the memory of one process")
    }

    pub fn get(&self, slot: Slot) -> Option<&T> {
        self.blocks.get(slot as usize / BLOCK)?.get(slot as usize % BLOCK)?.as_ref()
    }

    pub fn get_mut(&mut self, slot: Slot) -> Option<&mut T> {
        self.blocks.get_mut(slot as usize / BLOCK)?.get_mut(slot as usize % BLOCK)?.as_mut()
    }

    pub fn remove(&mut self, slot: Slot) -> Option<T> {
        let gone = self.blocks.get_mut(slot as usize / BLOCK)?.get_mut(slot as usize % BLOCK)?.take()?;
        self.free.push(slot);
        Some(gone)
    }

    /// How many places there are, taken or free: each slot is below this.
    pub fn places(&self) -> Slot {
        let full = self.blocks.len().saturating_sub(1) * BLOCK;
        Slot::try_from(full + self.blocks.last().map_or(0, Vec::len)).expect("each slot has a number")
    }

    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.blocks.iter().flatten().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
