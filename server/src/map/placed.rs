//! The markers of one tenant's map, each once, with what its cells need to know of it. Never looks into a cell.

use h3o::CellIndex;
use hashbrown::HashMap;

use super::cells::{CellKey, Entry, Tick, meta_of};
use super::levels::Level;
use crate::model::change::Marker;
use crate::model::id::Handle;
use crate::model::position::Position;
use crate::slots::{Slot, Slots};

/// A marker, where it stands, and when it last changed.
#[derive(Debug)]
pub struct Placed {
    pub marker: Marker,
    pub finest: CellIndex,
    pub changed: Tick,
    /// When its status last changed: a filtered base before this tick may or may not have it.
    pub(super) status_changed: Tick,
    /// As the finest level shows it; the coarser ones follow from it.
    pub(super) position: Position,
    pub(super) meta: u32,
    pub(super) stands: [Stand; Level::OF_MARKERS],
}

/// A marker's place in the cell of one level.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stand {
    /// When it came into the cell, or its id changed: a base before this tick does not have it.
    pub(super) entered: Tick,
    pub(super) changed: Tick,
    /// Its index among the cell's members.
    pub(super) index: u32,
}

impl Placed {
    pub(super) fn new(marker: Marker, finest: CellIndex, tick: Tick) -> Self {
        let stand = Stand { entered: tick, changed: tick, index: 0 };
        let (position, meta) = (marker.position, meta_of(&marker));
        Self { marker, finest, changed: tick, status_changed: tick, position, meta, stands: [stand; Level::OF_MARKERS] }
    }

    pub fn stands_in(&self, key: CellKey) -> bool {
        key.level.cell_above(self.finest) == key.cell
    }

    /// As the cells of a level of markers show it.
    pub fn entry(&self, level: Level) -> Entry {
        let stand = &self.stands[level.index()];
        let (position, meta) = (level.shown(self.position), level.masked(self.meta));
        Entry { position, meta, entered: stand.entered, changed: stand.changed, status_changed: self.status_changed }
    }
}

/// Markers by handle, at places that do not move.
#[derive(Debug, Default)]
pub struct Markers {
    by_handle: HashMap<Handle, Slot>,
    placed: Slots<Placed>,
}

impl Markers {
    pub fn len(&self) -> usize {
        self.by_handle.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_handle.is_empty()
    }

    pub fn slot(&self, handle: Handle) -> Option<Slot> {
        self.by_handle.get(&handle).copied()
    }

    pub fn get(&self, handle: Handle) -> Option<&Placed> {
        self.at(self.slot(handle)?)
    }

    pub fn at(&self, slot: Slot) -> Option<&Placed> {
        self.placed.get(slot)
    }

    pub(super) fn at_mut(&mut self, slot: Slot) -> Option<&mut Placed> {
        self.placed.get_mut(slot)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Placed> {
        self.placed.iter()
    }

    pub(super) fn insert(&mut self, placed: Placed) -> Slot {
        let handle = placed.marker.handle;
        let slot = self.placed.insert(placed);
        self.by_handle.insert(handle, slot);
        slot
    }

    pub(super) fn remove(&mut self, slot: Slot) -> Option<Placed> {
        let gone = self.placed.remove(slot)?;
        self.by_handle.remove(&gone.marker.handle);
        Some(gone)
    }
}
