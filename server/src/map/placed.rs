//! A marker of the map, with what its cells need to know of it. Never looks into a cell.

use super::cells::{Entry, ShortTick, Tick, meta_of};
use super::counts::Counted;
use super::ground::Ground;
use super::levels::Level;
use crate::model::change::Aboard;
use crate::model::marker::Marker;
use crate::slots::Slot;

/// A marker, where it stands, and when it last changed.
///
/// What each change of a marker reads or writes stands first; the last fields wait for a marker that enters a cell, or for a session that looks
/// at it.
#[derive(Debug)]
#[repr(C)]
pub struct Placed {
    /// Where it is.
    pub(super) ground: Slot,
    changed: ShortTick,
    /// When its status last changed, or what is aboard: a filtered base before this tick may or may not have it.
    status_changed: ShortTick,
    /// When it last changed as each level of markers shows it.
    pub(super) shown_changed: [ShortTick; Level::OF_MARKERS],
    /// Its index among the members of its finest cell.
    pub(super) index: u32,
    pub marker: Marker,
    /// When it came into the cell of each level, or its id changed: a base before this tick does not have it.
    pub(super) entered: [ShortTick; Level::OF_MARKERS],
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
    pub(super) fn new(marker: Marker, tick: Tick) -> Self {
        let tick = ShortTick::from(tick);
        let each = [tick; Level::OF_MARKERS];
        Self { ground: 0, changed: tick, status_changed: tick, shown_changed: each, index: 0, marker, entered: each }
    }

    pub fn changed(&self) -> Tick {
        self.changed.tick()
    }

    /// When it last changed as a level of markers shows it, or in what a filter may ask.
    pub(super) fn newest_change(&self, level: Level) -> Tick {
        self.shown_changed[level.index()].tick().max(self.status_changed.tick())
    }

    /// Looks into each cache line that `renew` needs, and at its ground; what it says means nothing.
    pub(super) fn glance(&self, ground: &Ground) -> u64 {
        let ground = u64::from(ground.inner.contains(self.marker.position()));
        ground ^ self.changed().0 ^ u64::from(self.marker.accuracy_m().get().map_or(0, f32::to_bits))
    }

    /// As the cells of a level of markers show it.
    pub fn entry(&self, level: Level) -> Entry {
        let (position, meta) = (level.shown(self.marker.position()), level.masked(meta_of(&self.marker)));
        let (entered, changed) = (self.entered[level.index()].tick(), self.shown_changed[level.index()].tick());
        Entry { position, meta, entered, changed, status_changed: self.status_changed.tick() }
    }

    /// Takes up what is new of the marker, wherever it is now.
    pub(super) fn renew(&mut self, marker: Marker, tick: Tick) -> News {
        let old = &self.marker;
        let same_id = old.is_of_same(&marker);
        let same_ids = same_id && (old.aboard().is(marker.aboard()) || same_deliveries(old, &marker));
        let (was, now) = (Counted::of(old), Counted::of(&marker));
        let (old_position, position) = (old.position(), marker.position());
        let same_list = old.aboard().is(marker.aboard());
        let aboard = !same_ids || !same_list && old.aboard().iter().zip(marker.aboard().iter()).any(|(a, b)| differ(a, b));
        let changed_meta = meta_of(old) ^ meta_of(&marker);
        let old = std::mem::replace(&mut self.marker, marker);

        self.changed = tick.into();
        if was != now || aboard {
            self.status_changed = tick.into();
        }
        let mut shown = [false; Level::OF_MARKERS];
        for (index, level) in Level::ALL.into_iter().take(Level::OF_MARKERS).enumerate() {
            shown[index] = !same_id || level.shown(old_position) != level.shown(position) || level.masked(changed_meta) != 0;
            if shown[index] {
                self.shown_changed[index] = tick.into();
            }
            if !same_id {
                self.entered[index] = tick.into();
            }
        }
        News { same_id, old: was, now, aboard, shown, renamed: (!same_ids).then_some(old) }
    }
}

fn same_deliveries(old: &Marker, new: &Marker) -> bool {
    old.aboard().len() == new.aboard().len() && old.aboard().iter().zip(new.aboard().iter()).all(|(a, b)| a.delivery == b.delivery)
}

/// In what a filter may ask of a delivery. What it is expected at changes with each few moves, and is asked of nobody here.
fn differ(a: &Aboard, b: &Aboard) -> bool {
    a.status != b.status || a.late_risk != b.late_risk || !a.is_tagged_as(b)
}

#[cfg(test)]
mod tests {
    use std::mem::{offset_of, size_of};

    use super::*;

    #[test]
    fn a_marker_is_small_and_a_glance_looks_into_each_line_that_an_update_needs() {
        const LINE: usize = 64;
        let marker = offset_of!(Placed, marker);
        let mut seen = [offset_of!(Placed, changed), marker + Marker::OFFSETS[0], marker + Marker::OFFSETS[1]];
        seen.sort_unstable();
        let end = marker + size_of::<Marker>();
        assert!(seen[0] < LINE && seen.windows(2).all(|two| two[1] - two[0] <= LINE) && end - seen[2] <= LINE, "{seen:?} of {end}");
        assert_eq!(size_of::<Option<Placed>>(), size_of::<Placed>());
        assert!(size_of::<Placed>() <= 104, "{}", size_of::<Placed>());
    }
}
