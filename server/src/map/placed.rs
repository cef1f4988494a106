//! The markers of one tenant's map, each once, with what its cells need to know of it. Never looks into a cell.

use h3o::CellIndex;
use hashbrown::HashMap;

use super::cells::{CellKey, Entry, Tick, meta_of};
use super::counts::Counted;
use super::inner::InnerHexagon;
use super::levels::Level;
use crate::model::change::{Aboard, Marker};
use crate::model::id::Handle;
use crate::slots::{Slot, Slots};

/// A marker, where it stands, and when it last changed.
///
/// What each change of a marker reads or writes stands first, in three cache lines; the last fields wait for a marker that enters a cell,
/// or for a session that looks at it.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Placed {
    pub finest: CellIndex,
    /// Lies inside `finest`.
    pub(super) inner: InnerHexagon,
    pub changed: Tick,
    /// When it last changed as each level of markers shows it.
    pub(super) shown_changed: [Tick; Level::OF_MARKERS],
    pub marker: Marker,
    /// When its status last changed, or what is aboard: a filtered base before this tick may or may not have it.
    pub(super) status_changed: Tick,
    pub(super) stands: [Stand; Level::OF_MARKERS],
}

/// A marker's place in the cell of one level.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stand {
    /// When it came into the cell, or its id changed: a base before this tick does not have it.
    pub(super) entered: Tick,
    /// Its index among the cell's members.
    pub(super) index: u32,
}

/// What was new of a marker.
#[derive(Debug)]
pub(super) struct News {
    pub(super) same_id: bool,
    pub(super) old: Counted,
    pub(super) now: Counted,
    /// Whether other deliveries are aboard, or something that a filter may ask of one of them changed.
    pub(super) aboard: bool,
    /// Whether each level of markers shows it otherwise.
    pub(super) shown: [bool; Level::OF_MARKERS],
    /// What it was, when it goes by other ids than before.
    pub(super) renamed: Option<Marker>,
}

impl Placed {
    /// Stands in no cell yet.
    pub(super) fn new(marker: Marker, finest: CellIndex, tick: Tick) -> Self {
        let stand = Stand { entered: tick, index: 0 };
        let (inner, shown_changed) = (InnerHexagon::EMPTY, [tick; Level::OF_MARKERS]);
        Self { finest, inner, changed: tick, shown_changed, marker, status_changed: tick, stands: [stand; Level::OF_MARKERS] }
    }

    pub fn stands_in(&self, key: CellKey) -> bool {
        key.level.cell_above(self.finest) == key.cell
    }

    /// Looks into each cache line that `renew` needs; what it says means nothing.
    pub(super) fn glance(&self) -> u64 {
        self.changed.0 ^ u64::from(self.marker.heading_deg.map_or(0, f32::to_bits)) ^ self.marker.fix_time.0.cast_unsigned()
    }

    /// As the cells of a level of markers show it.
    pub fn entry(&self, level: Level) -> Entry {
        let (position, meta) = (level.shown(self.marker.position), level.masked(meta_of(&self.marker)));
        let (entered, changed) = (self.stands[level.index()].entered, self.shown_changed[level.index()]);
        Entry { position, meta, entered, changed, status_changed: self.status_changed }
    }

    /// Takes up what is new of the marker, wherever it is now.
    pub(super) fn renew(&mut self, marker: Marker, tick: Tick) -> News {
        let old = &self.marker;
        let same_id = old.carrier == marker.carrier;
        let same_ids = same_id && (old.aboard.is(&marker.aboard) || same_deliveries(old, &marker));
        let (was, now) = (Counted::of(old), Counted::of(&marker));
        let (old_position, position) = (old.position, marker.position);
        let same_list = old.aboard.is(&marker.aboard);
        let aboard = !same_ids || !same_list && old.aboard.iter().zip(marker.aboard.iter()).any(|(a, b)| differ(a, b));
        let changed_meta = meta_of(old) ^ meta_of(&marker);
        let old = std::mem::replace(&mut self.marker, marker);

        self.changed = tick;
        if was != now || aboard {
            self.status_changed = tick;
        }
        let mut shown = [false; Level::OF_MARKERS];
        for (index, level) in Level::ALL.into_iter().take(Level::OF_MARKERS).enumerate() {
            shown[index] = !same_id || level.shown(old_position) != level.shown(position) || level.masked(changed_meta) != 0;
            if shown[index] {
                self.shown_changed[index] = tick;
            }
            if !same_id {
                self.stands[index].entered = tick;
            }
        }
        News { same_id, old: was, now, aboard, shown, renamed: (!same_ids).then_some(old) }
    }
}

fn same_deliveries(old: &Marker, new: &Marker) -> bool {
    old.aboard.len() == new.aboard.len() && old.aboard.iter().zip(new.aboard.iter()).all(|(a, b)| a.delivery == b.delivery)
}

/// In what a filter may ask of a delivery. What it is expected at changes with each few moves, and is asked of nobody here.
fn differ(a: &Aboard, b: &Aboard) -> bool {
    a.status != b.status || a.late_risk != b.late_risk || a.attributes != b.attributes
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

    /// How many places there are, taken or free: each slot is below this.
    pub fn places(&self) -> Slot {
        self.placed.places()
    }

    /// Those at so many places from this one on.
    pub fn range(&self, from: Slot, count: Slot) -> impl Iterator<Item = &Placed> {
        (from..self.places().min(from.saturating_add(count))).filter_map(|slot| self.at(slot))
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

#[cfg(test)]
mod tests {
    use std::mem::{offset_of, size_of};

    use super::*;

    #[test]
    fn a_glance_looks_into_each_line_that_an_update_needs() {
        let marker = offset_of!(Placed, marker);
        let seen = [offset_of!(Placed, changed), marker + offset_of!(Marker, heading_deg), marker + offset_of!(Marker, fix_time)].map(|at| at / 64);
        let needed = 0..(marker + size_of::<Marker>()).div_ceil(64);
        assert!(needed.clone().all(|line| seen.contains(&line)), "{seen:?} of {needed:?}: let `glance` look at other fields of the marker");
        assert_eq!(size_of::<Option<Placed>>(), size_of::<Placed>(), "in its slot it begins with a line");
    }
}
