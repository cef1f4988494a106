//! The finest cells as their markers need them: which one it is, and who is surely in it. Never knows who stands there.

use h3o::CellIndex;

use super::inner::InnerHexagon;
use crate::slots::{Slot, Slots};

/// A cell of the finest level.
#[derive(Debug)]
pub(super) struct Ground {
    pub(super) finest: CellIndex,
    /// Lies inside `finest`.
    pub(super) inner: InnerHexagon,
}

/// Those of the cells that there are, side by side: each marker keeps the number of its own.
#[derive(Debug, Default)]
pub(super) struct Grounds(Slots<Ground>);

impl Grounds {
    pub(super) fn add(&mut self, finest: CellIndex) -> Slot {
        self.0.insert(Ground { finest, inner: InnerHexagon::of(finest) })
    }

    pub(super) fn at(&self, slot: Slot) -> &Ground {
        self.0.get(slot).expect("a cell with markers is not forgotten")
    }

    /// When its cell is forgotten.
    pub(super) fn remove(&mut self, slot: Slot) {
        self.0.remove(slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ground_is_small() {
        assert!(size_of::<Option<Ground>>() <= 32, "{}", size_of::<Option<Ground>>());
    }
}
