//! The markers of one tenant's map, each once, with what its cells need to know of it. Never looks into a cell.

use std::hash::BuildHasher as _;
use std::sync::Arc;

use h3o::CellIndex;
use hashbrown::DefaultHashBuilder;
use smallvec::SmallVec;

use super::cells::{CellKey, Entry, ShortTick, Tick, meta_of};
use super::counts::Counted;
use super::inner::InnerHexagon;
use super::levels::Level;
use crate::model::change::{Aboard, Carrier, Marker};
use crate::model::id::{DeliveryId, DriverId, Handle};
use crate::slots::{Index, KeptIndex, Slot, Slots};

/// A marker, where it stands, and when it last changed.
///
/// What each change of a marker reads or writes stands first; the last fields wait for a marker that enters a cell, or for a session that looks
/// at it.
#[derive(Debug)]
#[repr(C)]
pub struct Placed {
    /// Where it is, which all who are there share.
    pub(super) ground: Arc<Ground>,
    changed: ShortTick,
    /// When its status last changed, or what is aboard: a filtered base before this tick may or may not have it.
    status_changed: ShortTick,
    /// When it last changed as each level of markers shows it.
    pub(super) shown_changed: [ShortTick; Level::OF_MARKERS],
    pub marker: Marker,
    pub(super) stands: [Stand; Level::OF_MARKERS],
}

/// A cell of the finest level, as its markers need it.
#[derive(Debug)]
pub(super) struct Ground {
    pub(super) finest: CellIndex,
    /// Lies inside `finest`.
    pub(super) inner: InnerHexagon,
}

/// A marker's place in the cell of one level.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stand {
    /// When it came into the cell, or its id changed: a base before this tick does not have it.
    pub(super) entered: ShortTick,
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
    pub(super) fn new(marker: Marker, ground: Arc<Ground>, tick: Tick) -> Self {
        let tick = ShortTick::from(tick);
        let stand = Stand { entered: tick, index: 0 };
        let (shown_changed, stands) = ([tick; Level::OF_MARKERS], [stand; Level::OF_MARKERS]);
        Self { ground, changed: tick, status_changed: tick, shown_changed, marker, stands }
    }

    pub fn changed(&self) -> Tick {
        self.changed.tick()
    }

    pub fn finest(&self) -> CellIndex {
        self.ground.finest
    }

    pub fn stands_in(&self, key: CellKey) -> bool {
        key.level.cell_above(self.finest()) == key.cell
    }

    /// When it last changed as a level of markers shows it, or in what a filter may ask.
    pub(super) fn newest_change(&self, level: Level) -> Tick {
        self.shown_changed[level.index()].tick().max(self.status_changed.tick())
    }

    /// Looks into each cache line that `renew` needs; what it says means nothing.
    pub(super) fn glance(&self) -> u64 {
        // The position is looked at first, or that would wait for the ground.
        let position = self.marker.position;
        let ground = u64::from(self.ground.inner.contains(position));
        ground ^ self.changed().0 ^ u64::from(self.marker.heading_deg.get().map_or(0, f32::to_bits))
    }

    /// As the cells of a level of markers show it.
    pub fn entry(&self, level: Level) -> Entry {
        let (position, meta) = (level.shown(self.marker.position), level.masked(meta_of(&self.marker)));
        let (entered, changed) = (self.stands[level.index()].entered.tick(), self.shown_changed[level.index()].tick());
        Entry { position, meta, entered, changed, status_changed: self.status_changed.tick() }
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
                self.stands[index].entered = tick.into();
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
    hasher: DefaultHashBuilder,
    by_handle: Index,
    by_driver: Index,
    by_delivery: KeptIndex,
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
        self.by_handle.find(hash_of(handle), |slot| self.at(slot).is_some_and(|placed| placed.marker.handle == handle))
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
        let hash = hash_of(placed.marker.handle);
        let slot = self.placed.insert(placed);
        let placed = &self.placed;
        self.by_handle.insert(hash, slot, |slot| placed.get(slot).map_or(0, |placed| hash_of(placed.marker.handle)));
        slot
    }

    pub(super) fn remove(&mut self, slot: Slot) -> Option<Placed> {
        let gone = self.placed.remove(slot)?;
        self.by_handle.remove(hash_of(gone.marker.handle), slot);
        Some(gone)
    }
}

impl Markers {
    pub fn by_driver(&self, driver: &DriverId) -> Option<&Placed> {
        self.at(self.slot_of_driver(driver)?)
    }

    /// The marker that carries a delivery or is it.
    pub fn by_delivery(&self, delivery: &DeliveryId) -> Option<&Placed> {
        self.at(self.by_delivery.find(self.delivery_hash(delivery), |slot| self.holds(slot, delivery))?)
    }

    /// Lets a marker be found by its driver and its deliveries, and no other one by those.
    pub(super) fn note_ids(&mut self, slot: Slot) {
        let Some(marker) = self.at(slot).map(|placed| &placed.marker) else { return };
        let hashes: SmallVec<[(u64, Option<Slot>); 4]> = deliveries(marker)
            .map(|delivery| {
                let hash = self.delivery_hash(delivery);
                (hash, self.by_delivery.find(hash, |other| other != slot && self.holds(other, delivery)))
            })
            .collect();
        let driver = if let Carrier::Driver(driver) = &marker.carrier { Some((self.driver_hash(driver), self.slot_of_driver(driver))) } else { None };
        for (hash, other) in hashes {
            if let Some(other) = other {
                self.by_delivery.remove(hash, other);
            }
            self.by_delivery.insert(hash, slot);
        }
        if let Some((hash, other)) = driver {
            if let Some(other) = other {
                self.by_driver.remove(hash, other);
            }
            let (all, state) = (&self.placed, &self.hasher);
            self.by_driver.insert(hash, slot, |slot| match all.get(slot).map(|placed| &placed.marker.carrier) {
                Some(Carrier::Driver(driver)) => state.hash_one(driver),
                _ => 0,
            });
        }
    }

    /// `old` is what the marker at `slot` was until now. What went to another marker already is found there, and stays so.
    pub(super) fn forget_ids(&mut self, slot: Slot, old: &Marker) {
        for delivery in deliveries(old) {
            self.by_delivery.remove(self.delivery_hash(delivery), slot);
        }
        if let Carrier::Driver(driver) = &old.carrier {
            self.by_driver.remove(self.driver_hash(driver), slot);
        }
    }

    fn holds(&self, slot: Slot, delivery: &DeliveryId) -> bool {
        self.at(slot).is_some_and(|placed| deliveries(&placed.marker).any(|other| other == delivery))
    }

    fn slot_of_driver(&self, driver: &DriverId) -> Option<Slot> {
        let is_it = |slot| matches!(self.at(slot).map(|placed| &placed.marker.carrier), Some(Carrier::Driver(other)) if other == driver);
        self.by_driver.find(self.driver_hash(driver), is_it)
    }

    fn driver_hash(&self, driver: &DriverId) -> u64 {
        self.hasher.hash_one(driver)
    }

    fn delivery_hash(&self, delivery: &DeliveryId) -> u64 {
        self.hasher.hash_one(delivery)
    }
}

/// The partition is in a handle's upper bits alone, and a table looks at the lowest of its hash.
fn hash_of(handle: Handle) -> u64 {
    let product = handle.0.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    product ^ product >> 32
}

fn deliveries(marker: &Marker) -> impl Iterator<Item = &DeliveryId> {
    let own = match &marker.carrier {
        Carrier::Delivery(delivery) => Some(delivery),
        Carrier::Driver(_) => None,
    };
    own.into_iter().chain(marker.aboard.iter().map(|aboard| &aboard.delivery))
}

#[cfg(test)]
mod tests {
    use std::mem::{offset_of, size_of};

    use super::*;

    #[test]
    fn a_marker_is_small_and_a_glance_looks_into_each_line_that_an_update_needs() {
        const LINE: usize = 64;
        let marker = offset_of!(Placed, marker);
        let mut seen = [offset_of!(Placed, changed), marker + offset_of!(Marker, position), marker + offset_of!(Marker, heading_deg)];
        seen.sort_unstable();
        let end = marker + size_of::<Marker>();
        assert!(seen[0] < LINE && seen.windows(2).all(|two| two[1] - two[0] <= LINE) && end - seen[2] <= LINE, "{seen:?} of {end}");
        assert_eq!(size_of::<Option<Placed>>(), size_of::<Placed>());
        assert!(size_of::<Placed>() <= 144, "{}", size_of::<Placed>());
    }
}
