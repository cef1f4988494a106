//! What a credential may speak of and see inside its tenant: drivers, deliveries, an area. Pure; never knows a credential.

use std::borrow::Cow;
use std::sync::Arc;

use thiserror::Error;

use super::change::{Aboard, AboardList};
use super::id::{DeliveryId, DriverId};
use super::marker::{Marker, MarkerParts};
use super::position::Position;
use super::status::Status;

/// A part of a tenant. What is bounded in two ways must lie within both; nothing bounded is everything. Cheap to clone, and free for everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Scope(Option<Arc<Bounds>>);

/// No list is no bound; an empty list lets nothing through.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Bounds {
    /// Sorted, unique.
    drivers: Option<Box<[DriverId]>>,
    deliveries: Option<Box<[DeliveryId]>>,
    /// Sorted, unique; a place must lie in each of them.
    areas: Box<[Area]>,
}

/// A box on the globe in units of 1e-7 degrees; one whose west is greater than its east crosses 180 degrees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(clippy::struct_field_names, reason = "units last in names")]
pub struct Area {
    west_e7: i32,
    south_e7: i32,
    east_e7: i32,
    north_e7: i32,
}

/// How a scope stands to the box of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overlap {
    /// Every place of it is in the scope.
    All,
    Some,
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidScope {
    #[error("at most {max} ids may be listed", max = Scope::MAX_LISTED)]
    TooManyIds,
    #[error("must be west,south,east,north in degrees: longitudes from -180 to 180, latitudes from -90 to 90, south not north of north")]
    Area,
}

const HALF_TURN_E7: i32 = 1_800_000_000;

impl Scope {
    /// No bound at all.
    pub const ALL: Self = Self(None);
    /// Drivers or deliveries of one scope.
    pub const MAX_LISTED: usize = 256;

    pub fn new(drivers: Option<Vec<DriverId>>, deliveries: Option<Vec<DeliveryId>>, area: Option<Area>) -> Result<Self, InvalidScope> {
        let listed = [drivers.as_ref().map_or(0, Vec::len), deliveries.as_ref().map_or(0, Vec::len)];
        if listed.into_iter().any(|ids| ids > Self::MAX_LISTED) {
            return Err(InvalidScope::TooManyIds);
        }
        if drivers.is_none() && deliveries.is_none() && area.is_none() {
            return Ok(Self::ALL);
        }
        let bounds = Bounds { drivers: drivers.map(sorted), deliveries: deliveries.map(sorted), areas: area.into_iter().collect() };
        Ok(Self(Some(Arc::new(bounds))))
    }

    pub fn is_all(&self) -> bool {
        self.0.is_none()
    }

    /// What lies in both.
    #[must_use]
    pub fn within(&self, outer: &Self) -> Self {
        let (Some(inner), Some(outer)) = (&self.0, &outer.0) else { return if self.is_all() { outer.clone() } else { self.clone() } };
        let areas = sorted(inner.areas.iter().chain(&outer.areas).copied().collect());
        let drivers = common(inner.drivers.as_deref(), outer.drivers.as_deref());
        Self(Some(Arc::new(Bounds { drivers, deliveries: common(inner.deliveries.as_deref(), outer.deliveries.as_deref()), areas })))
    }

    /// The only drivers in it; none: any driver may be.
    pub fn drivers(&self) -> Option<&[DriverId]> {
        self.0.as_ref()?.drivers.as_deref()
    }

    /// The one driver that it is for.
    pub fn only_driver(&self) -> Option<&DriverId> {
        match self.drivers() {
            Some([only]) => Some(only),
            _ => None,
        }
    }

    pub fn deliveries(&self) -> Option<&[DeliveryId]> {
        self.0.as_ref()?.deliveries.as_deref()
    }

    pub fn areas(&self) -> &[Area] {
        self.0.as_ref().map_or(&[], |bounds| &bounds.areas)
    }

    pub fn holds_driver(&self, driver: Option<&DriverId>) -> bool {
        self.drivers().is_none_or(|only| driver.is_some_and(|driver| only.binary_search(driver).is_ok()))
    }

    pub fn holds_delivery(&self, delivery: Option<&DeliveryId>) -> bool {
        self.deliveries().is_none_or(|only| delivery.is_some_and(|delivery| only.binary_search(delivery).is_ok()))
    }

    pub fn holds_place(&self, place: Position) -> bool {
        self.areas().iter().all(|area| area.contains(place))
    }

    /// Whether a marker of this carrier can be seen, wherever it is: by its driver, and by what it carries.
    pub fn holds_ids(&self, marker: &Marker) -> bool {
        let carries = |only: &[DeliveryId]| marker.aboard().iter().any(|aboard| only.binary_search(&aboard.delivery).is_ok());
        self.holds_driver(marker.driver()) && self.deliveries().is_none_or(carries)
    }

    /// The marker as it is seen from here: without the deliveries that do not exist for this scope. None: it does not exist itself.
    pub fn seen<'a>(&self, marker: &'a Marker) -> Option<Cow<'a, Marker>> {
        if self.is_all() {
            return Some(Cow::Borrowed(marker));
        }
        if !self.holds_place(marker.position()) || !self.holds_ids(marker) {
            return None;
        }
        let Some(only) = self.deliveries() else { return Some(Cow::Borrowed(marker)) };
        let aboard: Vec<Aboard> = marker.aboard().iter().filter(|aboard| only.binary_search(&aboard.delivery).is_ok()).cloned().collect();
        let status = if marker.driver().is_some() { most_advanced(&aboard) } else { marker.status() };
        let aboard = AboardList::from(aboard);
        Some(Cow::Owned(Marker::of(MarkerParts { status, late_risk: aboard.late_risk(), aboard, ..marker.parts() })))
    }

    /// How the areas stand to a box that does not cross 180 degrees.
    pub fn overlap(&self, west: f64, south: f64, east: f64, north: f64) -> Overlap {
        let each = self.areas().iter().map(|area| area.overlap(west, south, east, north));
        each.fold(Overlap::All, |all, one| match (all, one) {
            (Overlap::None, _) | (_, Overlap::None) => Overlap::None,
            (Overlap::All, Overlap::All) => Overlap::All,
            _ => Overlap::Some,
        })
    }
}

/// The status that a marker has of what is aboard: of the most advanced delivery that has not ended; ties go to the least id.
fn most_advanced(aboard: &[Aboard]) -> Option<Status> {
    let open = aboard.iter().map(|aboard| aboard.status).filter(|status| !status.is_terminal());
    open.max_by_key(|status| status.advance())
}

impl Area {
    /// Takes degrees.
    pub fn new(west: f64, south: f64, east: f64, north: f64) -> Result<Self, InvalidScope> {
        let longitudes = [west, east].iter().all(|lng| (-180.0..=180.0).contains(lng));
        if !longitudes || ![south, north].iter().all(|lat| (-90.0..=90.0).contains(lat)) || south > north {
            return Err(InvalidScope::Area);
        }
        Ok(Self { west_e7: to_e7(west), south_e7: to_e7(south), east_e7: to_e7(east), north_e7: to_e7(north) })
    }

    /// Reads `west,south,east,north`.
    pub fn parse(text: &str) -> Result<Self, InvalidScope> {
        let numbers: Option<Vec<f64>> = text.split(',').map(|part| part.trim().parse().ok()).collect();
        let Some([west, south, east, north]) = numbers.as_deref() else { return Err(InvalidScope::Area) };
        Self::new(*west, *south, *east, *north)
    }

    /// West, south, east, north.
    pub fn degrees(&self) -> [f64; 4] {
        [self.west_e7, self.south_e7, self.east_e7, self.north_e7].map(|e7| f64::from(e7) / 1e7)
    }

    pub fn contains(&self, place: Position) -> bool {
        let lng = place.lng_e7();
        let inside = |lng| {
            if self.west_e7 <= self.east_e7 { (self.west_e7..=self.east_e7).contains(&lng) } else { lng >= self.west_e7 || lng <= self.east_e7 }
        };
        // A place at 180 degrees is kept as one at -180.
        (self.south_e7..=self.north_e7).contains(&place.lat_e7()) && (inside(lng) || lng == -HALF_TURN_E7 && inside(HALF_TURN_E7))
    }

    fn overlap(&self, west: f64, south: f64, east: f64, north: f64) -> Overlap {
        let [my_west, my_south, my_east, my_north] = self.degrees();
        let parts = if my_west <= my_east { vec![(my_west, my_east)] } else { vec![(my_west, 180.0), (-180.0, my_east)] };
        let high = if south > my_north || north < my_south {
            Overlap::None
        } else if south >= my_south && north <= my_north {
            Overlap::All
        } else {
            Overlap::Some
        };
        let wide = if parts.iter().any(|(from, to)| west >= *from && east <= *to) {
            Overlap::All
        } else if parts.iter().any(|(from, to)| west <= *to && east >= *from) || west <= -180.0 {
            Overlap::Some
        } else {
            Overlap::None
        };
        match (high, wide) {
            (Overlap::None, _) | (_, Overlap::None) => Overlap::None,
            (Overlap::All, Overlap::All) => Overlap::All,
            _ => Overlap::Some,
        }
    }
}

fn sorted<T: Ord>(mut ids: Vec<T>) -> Box<[T]> {
    ids.sort_unstable();
    ids.dedup();
    ids.into_boxed_slice()
}

fn common<T: Ord + Clone>(inner: Option<&[T]>, outer: Option<&[T]>) -> Option<Box<[T]>> {
    match (inner, outer) {
        (Some(inner), Some(outer)) => Some(inner.iter().filter(|id| outer.binary_search(id).is_ok()).cloned().collect()),
        (only, None) | (None, only) => only.map(Box::from),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the range was checked, 180e7 fits an i32")]
fn to_e7(degrees: f64) -> i32 {
    (degrees * 1e7).round() as i32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::id::Handle;
    use crate::model::maybe::Maybe;
    use crate::model::status::{Link, Motion};
    use crate::model::tags::Attributes;
    use crate::model::time::UnixMs;

    fn drivers(ids: &[&str]) -> Scope {
        Scope::new(Some(ids.iter().map(|id| DriverId::parse(id).expect("valid")).collect()), None, None).expect("few")
    }

    fn deliveries(ids: &[&str]) -> Scope {
        Scope::new(None, Some(ids.iter().map(|id| DeliveryId::parse(id).expect("valid")).collect()), None).expect("few")
    }

    fn area(text: &str) -> Scope {
        Scope::new(None, None, Some(Area::parse(text).expect("a box"))).expect("few")
    }

    fn van(aboard: &[(&str, Status)]) -> MarkerParts {
        let listed = aboard.iter().map(|(id, status)| Aboard::of(DeliveryId::parse(id).expect("valid"), *status, false, Attributes::default()));
        MarkerParts {
            handle: Handle(1),
            driver: Some(DriverId::parse("van").expect("valid")),
            position: Position::from_degrees(57.7, 11.9).expect("valid"),
            heading_deg: Maybe::NONE,
            speed_mps: 0.0,
            status: Some(Status::Arrived),
            motion: Motion::Stopped,
            link: Link::Live,
            late_risk: false,
            accuracy_m: Maybe::NONE,
            aboard: AboardList::of(listed.collect(), 150),
            fix_time: UnixMs(0),
            heard: UnixMs(0),
            changed: UnixMs(0),
        }
    }

    #[test]
    fn what_lies_in_both_lies_in_each_and_two_lists_without_a_common_id_let_nothing_through() {
        let (ab, bc) = (drivers(&["b", "a"]), drivers(&["c", "b"]));
        assert_eq!(ab.within(&bc), drivers(&["b"]));
        assert_eq!(ab.within(&Scope::ALL), ab);
        assert_eq!(Scope::ALL.within(&ab), ab);
        let nobody = drivers(&["a"]).within(&drivers(&["b"]));
        assert!(!nobody.is_all() && !nobody.holds_driver(Some(&DriverId::parse("a").expect("valid"))));
        let both = ab.within(&deliveries(&["p"])).within(&area("11,57,12,58"));
        assert_eq!((both.drivers().map(<[_]>::len), both.deliveries().map(<[_]>::len), both.areas().len()), (Some(2), Some(1), 1));
        assert_eq!(both.within(&both), both);
        let many = (0..257).map(|n| DriverId::parse(&n.to_string()).expect("valid")).collect();
        assert_eq!(Scope::new(Some(many), None, None), Err(InvalidScope::TooManyIds));
    }

    #[test]
    fn a_van_is_seen_with_the_deliveries_in_scope_alone() {
        let marker = Marker::of(van(&[("mine", Status::PickedUp), ("other", Status::Arrived)]));
        let seen = deliveries(&["mine", "elsewhere"]).seen(&marker).expect("it carries mine");
        assert_eq!((seen.status(), seen.aboard_count(), seen.aboard().len()), (Some(Status::PickedUp), 1, 1));
        assert_eq!(seen.aboard()[0].delivery.as_str(), "mine");
        assert!(deliveries(&["elsewhere"]).seen(&marker).is_none());
        assert!(drivers(&["other"]).seen(&marker).is_none() && area("12,57,13,58").seen(&marker).is_none());
        assert_eq!(drivers(&["van"]).seen(&marker).as_deref(), Some(&marker));
        let waiting = Marker::of(MarkerParts { driver: None, ..van(&[("mine", Status::Created)]) });
        assert!(deliveries(&["mine"]).seen(&waiting).is_some() && drivers(&["van"]).seen(&waiting).is_none());
    }

    #[test]
    fn what_is_no_area_is_refused_and_one_across_180_degrees_holds_both_sides() {
        for text in ["", "1,2,3", "1,2,3,x", "-181,0,1,1", "0,2,1,1", "0,0,NaN,1", "0,-91,1,1", "1,2,3,4,5"] {
            assert_eq!(Area::parse(text), Err(InvalidScope::Area), "{text}");
        }
        let across = Area::parse("170,-10,-170,10").expect("a box");
        let at = |lng| Position::from_degrees(1.0, lng).expect("valid");
        assert!([175.0, -175.0, 180.0, 170.0].into_iter().all(|lng| across.contains(at(lng))));
        assert!(![169.0, -169.0, 0.0].into_iter().any(|lng| across.contains(at(lng))));
        assert!(Area::parse("170,-10,180,10").expect("a box").contains(at(180.0)));
    }

    proptest! {
        #[test]
        fn a_box_is_all_in_an_area_only_with_each_of_its_places(bounds in prop::array::uniform4(-180.0..180.0_f64), box_of in (-179.0..179.0_f64, 0.0..2.0_f64, -89.0..89.0_f64, 0.0..2.0_f64), share in (0.0..1.0_f64, 0.0..1.0_f64)) {
            let [west, east, a, b] = bounds;
            let scope = Scope::new(None, None, Some(Area::new(west, a.min(b) / 2.0, east, a.max(b) / 2.0).expect("in range"))).expect("few");
            let (left, width, low, height) = box_of;
            let (right, top) = ((left + width).min(180.0), (low + height).min(90.0));
            let inside = Position::from_degrees(low + (top - low) * share.1, left + (right - left) * share.0).expect("valid");
            match scope.overlap(left, low, right, top) {
                Overlap::All => prop_assert!(scope.holds_place(inside)),
                Overlap::None => prop_assert!(!scope.holds_place(inside)),
                Overlap::Some => {}
            }
        }
    }
}
