//! The markers of one tenant's map by their names: handle, driver, deliveries. Never looks into a cell.

use std::hash::BuildHasher as _;

use hashbrown::DefaultHashBuilder;
use smallvec::SmallVec;

use super::placed::Placed;
use crate::model::id::{DeliveryId, DriverId, Handle};
use crate::model::marker::Marker;
use crate::slots::{Index, KeptIndex, Slot, Slots};

/// Markers by handle, at places that do not move.
#[derive(Debug, Default)]
pub(super) struct Markers {
    hasher: DefaultHashBuilder,
    by_handle: Index,
    by_driver: Index,
    /// Markers of one delivery, as most are: its hash is found there again.
    by_sole_delivery: Index,
    /// All others.
    by_delivery: KeptIndex,
    placed: Slots<Placed>,
}

impl Markers {
    pub(super) fn len(&self) -> usize {
        self.by_handle.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_handle.is_empty()
    }

    pub(super) fn slot(&self, handle: Handle) -> Option<Slot> {
        self.by_handle.find(hash_of(handle), |slot| self.at(slot).is_some_and(|placed| placed.marker.handle() == handle))
    }

    pub(super) fn get(&self, handle: Handle) -> Option<&Placed> {
        self.at(self.slot(handle)?)
    }

    pub(super) fn at(&self, slot: Slot) -> Option<&Placed> {
        self.placed.get(slot)
    }

    pub(super) fn at_mut(&mut self, slot: Slot) -> Option<&mut Placed> {
        self.placed.get_mut(slot)
    }

    /// How many places there are, taken or free: each slot is below this.
    pub(super) fn places(&self) -> Slot {
        self.placed.places()
    }

    /// Those at so many places from this one on.
    pub(super) fn range(&self, from: Slot, count: Slot) -> impl Iterator<Item = &Placed> {
        (from..self.places().min(from.saturating_add(count))).filter_map(|slot| self.at(slot))
    }

    pub(super) fn insert(&mut self, placed: Placed) -> Slot {
        let hash = hash_of(placed.marker.handle());
        let slot = self.placed.insert(placed);
        let placed = &self.placed;
        self.by_handle.insert(hash, slot, |slot| placed.get(slot).map_or(0, |placed| hash_of(placed.marker.handle())));
        slot
    }

    pub(super) fn remove(&mut self, slot: Slot) -> Option<Placed> {
        let gone = self.placed.remove(slot)?;
        self.by_handle.remove(hash_of(gone.marker.handle()), slot);
        Some(gone)
    }
}

impl Markers {
    pub(super) fn by_driver(&self, driver: &DriverId) -> Option<&Placed> {
        self.at(self.slot_of_driver(driver)?)
    }

    /// The marker that carries a delivery or is it.
    pub(super) fn by_delivery(&self, delivery: &DeliveryId) -> Option<&Placed> {
        self.at(self.slot_of_delivery(self.delivery_hash(delivery), |slot| self.holds(slot, delivery))?)
    }

    fn slot_of_delivery(&self, hash: u64, is_it: impl Fn(Slot) -> bool) -> Option<Slot> {
        self.by_sole_delivery.find(hash, &is_it).or_else(|| self.by_delivery.find(hash, &is_it))
    }

    /// Lets a marker be found by its driver and its deliveries, and no other one by those.
    pub(super) fn note_ids(&mut self, slot: Slot) {
        let Some(marker) = self.at(slot).map(|placed| &placed.marker) else { return };
        let hashes: SmallVec<[(u64, Option<Slot>); 4]> = deliveries(marker)
            .map(|delivery| {
                let hash = self.delivery_hash(delivery);
                (hash, self.slot_of_delivery(hash, |other| other != slot && self.holds(other, delivery)))
            })
            .collect();
        let is_sole = sole_delivery(marker).is_some();
        let driver = marker.driver().map(|driver| (self.driver_hash(driver), self.slot_of_driver(driver)));
        for (hash, other) in hashes {
            if let Some(other) = other {
                self.by_sole_delivery.remove(hash, other);
                self.by_delivery.remove(hash, other);
            }
            if !is_sole {
                self.by_delivery.insert(hash, slot);
            }
        }
        if let Some((hash, other)) = driver {
            if let Some(other) = other {
                self.by_driver.remove(hash, other);
            }
            let (all, state) = (&self.placed, &self.hasher);
            let hash_of = |slot| all.get(slot).and_then(|placed| placed.marker.driver()).map_or(0, |driver| state.hash_one(driver));
            self.by_driver.insert(hash, slot, hash_of);
        }
        if is_sole {
            let (all, state) = (&self.placed, &self.hasher);
            let hash_of = |slot| all.get(slot).and_then(|placed| sole_delivery(&placed.marker)).map_or(0, |delivery| state.hash_one(delivery));
            self.by_sole_delivery.insert(hash_of(slot), slot, hash_of);
        }
    }

    /// `old` is what the marker at `slot` was until now. What went to another marker already is found there, and stays so.
    pub(super) fn forget_ids(&mut self, slot: Slot, old: &Marker) {
        match sole_delivery(old) {
            Some(delivery) => self.by_sole_delivery.remove(self.delivery_hash(delivery), slot),
            None => deliveries(old).for_each(|delivery| self.by_delivery.remove(self.hasher.hash_one(delivery), slot)),
        }
        if let Some(driver) = old.driver() {
            self.by_driver.remove(self.driver_hash(driver), slot);
        }
    }

    fn holds(&self, slot: Slot, delivery: &DeliveryId) -> bool {
        self.at(slot).is_some_and(|placed| deliveries(&placed.marker).any(|other| other == delivery))
    }

    fn slot_of_driver(&self, driver: &DriverId) -> Option<Slot> {
        let is_it = |slot| self.at(slot).is_some_and(|placed| placed.marker.driver() == Some(driver));
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

/// Those that it carries, or the one that it is: that lists itself.
fn deliveries(marker: &Marker) -> impl Iterator<Item = &DeliveryId> {
    marker.aboard().iter().map(|aboard| &aboard.delivery)
}

/// The one delivery that a marker carries or is.
fn sole_delivery(marker: &Marker) -> Option<&DeliveryId> {
    if let [only] = &marker.aboard()[..] { Some(&only.delivery) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::cells::Tick;
    use crate::model::change::Aboard;
    use crate::model::marker::MarkerParts;
    use crate::model::maybe::Maybe;
    use crate::model::position::Position;
    use crate::model::status::{Link, Motion, Status};
    use crate::model::tags::Attributes;
    use crate::model::time::UnixMs;

    fn marker(number: u64, driver: Option<DriverId>, parcels: &[u64]) -> Marker {
        let listed = parcels.iter().map(|parcel| Aboard::of(parcel_id(*parcel), Status::Assigned, false, Attributes::default()));
        Marker::of(MarkerParts {
            handle: Handle(number),
            driver,
            position: Position::from_e7(1, 1),
            heading_deg: Maybe::NONE,
            speed_mps: 0.0,
            status: None,
            motion: Motion::Stopped,
            link: Link::Live,
            late_risk: false,
            accuracy_m: Maybe::NONE,
            aboard: listed.collect::<Vec<_>>().into(),
            fix_time: UnixMs(0),
            heard: UnixMs(0),
            changed: UnixMs(0),
        })
    }

    fn parcel_id(number: u64) -> DeliveryId {
        DeliveryId::parse(&format!("P{number}")).unwrap()
    }

    #[test]
    fn a_delivery_is_found_with_who_has_it_last_whether_that_one_carries_others_or_not() {
        let mut markers = Markers::default();
        let van = |number| Some(DriverId::parse(&format!("van-{number}")).unwrap());
        let put = |markers: &mut Markers, marker: Marker| {
            let Some(slot) = markers.slot(marker.handle()) else {
                let slot = markers.insert(Placed::new(marker, Tick(1)));
                return markers.note_ids(slot);
            };
            if let Some(old) = markers.at_mut(slot).unwrap().renew(marker, Tick(1)).renamed {
                markers.forget_ids(slot, &old);
                markers.note_ids(slot);
            }
        };
        let holder = |markers: &Markers, parcel| markers.by_delivery(&parcel_id(parcel)).map(|placed| placed.marker.handle().0);
        // One each, which waits at first; then each third carries its neighbour's as well; then those go back.
        (0..3_000).for_each(|number| put(&mut markers, marker(number, None, &[number])));
        (0..3_000).for_each(|number| put(&mut markers, marker(number, van(number), &[number])));
        assert!((0..3_000).all(|number| holder(&markers, number) == Some(number)));
        (0..3_000).step_by(3).for_each(|number| put(&mut markers, marker(number, van(number), &[number, number + 1])));
        assert!((0..3_000).all(|number| holder(&markers, number) == Some(if number % 3 == 1 { number - 1 } else { number })));
        (0..3_000).step_by(3).for_each(|number| put(&mut markers, marker(number, van(number), &[number])));
        // More come, so that the tables grow over what was moved.
        (3_000..9_000).for_each(|number| put(&mut markers, marker(number, van(number), &[number])));
        assert!((0..9_000).all(|number| holder(&markers, number) == (number >= 3_000 || number % 3 != 1).then_some(number)));
        (1..3_000).step_by(3).for_each(|number| put(&mut markers, marker(number, van(number), &[])));
        (1..3_000).step_by(3).for_each(|number| put(&mut markers, marker(number, van(number), &[number])));
        assert!((0..9_000).all(|number| holder(&markers, number) == Some(number)));
    }
}
