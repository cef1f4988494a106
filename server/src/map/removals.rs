//! A bounded memory of what left a cell, and when. Never knows which cell.

use super::cells::{ShortTick, Tick};
use crate::model::id::Handle;
use crate::model::short::Short;
use crate::model::status::Status;

/// What left a cell, when and how.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Removal {
    tick: ShortTick,
    handle: Short<Handle>,
    left: Left,
}

/// How a marker left a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    Cell,
    /// With the status of the delivery that ended it, when one did.
    Map(Option<Status>),
}

impl Removal {
    pub(super) fn new(handle: Handle, tick: Tick, left: Left) -> Self {
        Self { tick: tick.into(), handle: handle.into(), left }
    }

    pub fn handle(&self) -> Handle {
        self.handle.get()
    }

    pub fn tick(&self) -> Tick {
        self.tick.tick()
    }

    /// It left the map, not only the cell.
    pub fn is_gone(&self) -> bool {
        self.left != Left::Cell
    }

    pub fn ended(&self) -> Option<Status> {
        match self.left {
            Left::Cell => None,
            Left::Map(ended) => ended,
        }
    }
}

/// The latest removals. `floor <= tick of every removal kept`; every removal after `floor` is kept.
#[derive(Debug)]
pub(super) struct Removals {
    /// Once there are as many as may be, the oldest gives its place to the newest.
    ring: Vec<Removal>,
    oldest: u16,
    floor: ShortTick,
}

impl Removals {
    /// Remembered at most.
    pub(super) const MAX: usize = 256;

    pub(super) fn since(floor: Tick) -> Self {
        Self { ring: Vec::new(), oldest: 0, floor: floor.into() }
    }

    pub(super) fn remember(&mut self, removal: Removal) {
        if self.ring.len() < Self::MAX {
            if self.ring.len() == self.ring.capacity() {
                // In small steps: twice as much would stand empty in most of very many cells.
                self.ring.reserve_exact((self.ring.len() / 4).max(4).min(Self::MAX - self.ring.len()));
            }
            self.ring.push(removal);
            return;
        }
        let oldest = &mut self.ring[usize::from(self.oldest)];
        self.floor = oldest.tick;
        *oldest = removal;
        self.oldest = u16::try_from((usize::from(self.oldest) + 1) % Self::MAX).expect("less than so few");
    }

    /// Whether all that left after `base` is remembered.
    pub(super) fn reach_back_to(&self, base: Tick) -> bool {
        base >= self.floor.tick()
    }

    /// Those after `base`, the newest first.
    pub(super) fn after(&self, base: Tick) -> impl Iterator<Item = &Removal> {
        let (newer, older) = self.ring.split_at(self.oldest.into());
        newer.iter().rev().chain(older.iter().rev()).take_while(move |removal| removal.tick() > base)
    }

    pub(super) fn newest(&self) -> Tick {
        self.after(Tick(0)).next().map_or(Tick(0), Removal::tick)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removal_is_small() {
        assert_eq!((size_of::<Removal>(), size_of::<Removals>()), (12, 32));
    }

    #[test]
    fn the_latest_are_remembered_and_it_is_known_since_when() {
        let mut removals = Removals::since(Tick(3));
        assert!(removals.reach_back_to(Tick(3)) && !removals.reach_back_to(Tick(2)) && removals.newest() == Tick(0));
        let most = Removals::MAX as u64;
        for number in 0..3 * most + 7 {
            let left = if number % 2 == 0 { Left::Cell } else { Left::Map(Some(Status::Failed).filter(|_| number % 3 == 0)) };
            removals.remember(Removal::new(Handle(number), Tick(10 + number), left));
            let first = (number + 1).saturating_sub(most);
            let kept = removals.after(Tick(0)).map(|removal| (removal.handle(), removal.tick()));
            assert!(kept.eq((first..=number).rev().map(|number| (Handle(number), Tick(10 + number)))));
            assert_eq!(removals.after(Tick(9 + number)).count(), 1);
            let floor = if first == 0 { Tick(3) } else { Tick(9 + first) };
            assert!(removals.reach_back_to(floor) && !removals.reach_back_to(Tick(floor.0 - 1)));
            let newest = removals.after(Tick(0)).next().expect("it was remembered");
            assert_eq!((newest.is_gone(), newest.ended()), (left != Left::Cell, if number % 6 == 3 { Some(Status::Failed) } else { None }));
            assert_eq!(removals.newest(), Tick(10 + number));
            assert!(removals.ring.capacity() <= Removals::MAX.min(removals.ring.len() + (removals.ring.len() / 4).max(4)));
        }
    }
}
