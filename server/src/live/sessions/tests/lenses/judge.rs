//! Holds what an onlooker is told, and what it holds in the end, against what it may see. Moves nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::{Onlooker, Seen, Thing, Wish, counts, ended};
use crate::model::status::Status;
use crate::wire;

impl Onlooker {
    fn wish(&self) -> &Wish {
        &self.views[&self.client.view_id].1
    }

    fn may_see(&self, things: &BTreeMap<u64, Thing>, handle: u64, id: &str, meta: u32, what: &str) {
        let thing = things.get(&handle).unwrap_or_else(|| panic!("{what} of {handle}, which is not there"));
        let seen = thing.seen_as_wished(&self.right, self.wish());
        assert_eq!((Some(Seen::of_meta(meta)), id), (seen, thing.id()), "{what} of {thing:?} to {:?} with {:?}", self.right, self.wish());
    }

    /// Each single thing that a frame says must be allowed at the moment when it is said.
    pub(super) fn judge(&mut self, frame: &wire::Frame, things: &BTreeMap<u64, Thing>) {
        let resolution = frame.level.unwrap().h3_resolution;
        for cell in &frame.cells {
            for enter in &cell.enters {
                self.may_see(things, enter.handle, &enter.id, enter.meta, "an enter");
            }
            let mut low = 0;
            for moved in cell.moves.chunks(5) {
                low += moved[0];
                let handle = moved[1] << 37 | low;
                self.may_see(things, handle, things[&handle].id(), u32::try_from(moved[4]).unwrap(), "a move");
            }
            let told = |leave: &wire::Leave| leave.ended != 0;
            assert!(self.right.is_all() || !cell.leaves.iter().any(told), "who sees a part is told a bare number: {cell:?}");
            if frame.level.unwrap().counts {
                let told: BTreeMap<i32, u32> = cell.counts.iter().map(|count| (count.status, count.markers)).collect();
                let may = counts(things.values(), cell.cell, resolution, &self.right, self.wish());
                assert_eq!(told, may, "counts to {:?} with {:?}", self.right, self.wish());
            }
        }
        if let Some(enter) = &frame.followed {
            let thing = things.get(&enter.handle).expect("what is followed is there");
            assert!(thing.carries(&self.right, &self.follows).is_some(), "{thing:?} for {} to {:?}", self.follows, self.right);
            assert_eq!((Some(Seen::of_meta(enter.meta)), enter.id.as_str()), (thing.seen(&self.right), thing.id()));
        }
        if let Some(told) = &frame.followed_delivery {
            self.judge_followed(told, things);
        }
    }

    fn judge_followed(&mut self, told: &wire::FollowedDelivery, things: &BTreeMap<u64, Thing>) {
        assert_eq!(told.delivery, self.follows);
        let mut carried = things.values().filter_map(|thing| thing.carries(&self.right, &self.follows));
        if told.gone {
            let before = self.followed.as_ref().map_or(0, |before| before.status);
            let ended = Status::from_code(u8::try_from(before).unwrap()).is_some_and(ended);
            assert_eq!(told.status, if ended { before } else { 0 }, "no more than it knew");
        } else {
            let says = |status: Status, late_risk| (told.status, told.late_risk) == (i32::from(status as u8), late_risk);
            assert!(carried.any(|parcel| says(parcel.status, parcel.late_risk)), "{told:?} to {:?}", self.right);
        }
        self.followed = Some(told.clone());
    }

    pub(super) fn compare(&self, things: &BTreeMap<u64, Thing>) {
        let (view, wish) = &self.views[&self.client.view_id];
        let inside = |thing: &&Thing| (view.west..=view.east).contains(&thing.place.1) && (view.south..=view.north).contains(&thing.place.0);
        let shown = || things.iter().filter(|(_, thing)| thing.seen_as_wished(&self.right, wish).is_some());
        let who = || format!("to {:?} with {wish:?} at level {}", self.right, self.client.level);
        if self.client.level >= 6 {
            for (handle, (_, _, _, meta, id)) in &self.client.markers {
                self.may_see(things, *handle, id, *meta, "an entry");
            }
            for (handle, thing) in shown().filter(|(_, thing)| inside(thing)) {
                assert!(self.client.markers.contains_key(handle), "{thing:?} is missing {}", who());
            }
        } else {
            let must: BTreeSet<u64> = shown().filter(|(_, thing)| inside(thing)).map(|(_, thing)| thing.cell(self.client.level)).collect();
            for cell in must.iter().chain(self.client.counts.keys()) {
                let held: BTreeMap<i32, u32> = self.client.counts.get(cell).into_iter().flatten().copied().collect();
                assert_eq!(held, counts(things.values(), *cell, self.client.level, &self.right, wish), "in {cell:x} {}", who());
            }
        }
        self.compare_followed(things);
    }

    fn compare_followed(&self, things: &BTreeMap<u64, Thing>) {
        if self.follows.is_empty() {
            assert!(self.followed.is_none());
            return;
        }
        let told = self.followed.as_ref().expect("each follow is answered");
        let carrier = things.values().find_map(|thing| Some((thing, thing.carries(&self.right, &self.follows)?)));
        let Some((thing, parcel)) = carrier else {
            assert!(told.gone, "{told:?}, and nobody has it for {:?}", self.right);
            return;
        };
        assert_eq!((told.gone, told.status, told.late_risk), (false, i32::from(parcel.status as u8), parcel.late_risk), "{told:?}");
        let marker = self.client.followed.as_ref().expect("what is there has a marker");
        assert_eq!((marker.id.as_str(), Some(Seen::of_meta(marker.meta))), (thing.id(), thing.seen(&self.right)));
    }
}
