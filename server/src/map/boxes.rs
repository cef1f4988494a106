//! Boxes on the globe: rectangles of degrees for the R-trees and the growing box of one cell. Never asks which H3 cell a place is in.

use h3o::{CellIndex, LatLng};
use rstar::{AABB, RTreeObject};
use smallvec::SmallVec;

use crate::model::position::Position;

/// Guards a rectangle against the rounding of a longitude that was made relative and absolute again; 0.1 mm.
const PAD_DEG: f64 = 1e-9;

/// A rectangle that does not cross 180 degrees: `west <= east`, `south <= north`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rect {
    pub west: f64,
    pub south: f64,
    pub east: f64,
    pub north: f64,
}

/// One rectangle, or (rarely) two for a box across 180 degrees.
pub type Rects = SmallVec<[Rect; 1]>;

impl Rect {
    pub fn envelope(&self) -> AABB<[f64; 2]> {
        AABB::from_corners([self.west, self.south], [self.east, self.north])
    }

    pub fn intersects(&self, other: &Self) -> bool {
        self.west <= other.east && other.west <= self.east && self.south <= other.north && other.south <= self.north
    }
}

/// A rectangle in a tree, with what it stands for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Indexed<T> {
    pub rect: Rect,
    pub item: T,
}

impl<T> RTreeObject for Indexed<T> {
    type Envelope = AABB<[f64; 2]>;

    fn envelope(&self) -> Self::Envelope {
        self.rect.envelope()
    }
}

/// The box of a cell: of its vertices, extended by every position put into it, because an edge bulges beyond its vertices and a parent does
/// not contain its children. In units of 1e-7 degrees, as positions are, so nothing is rounded when boxes and positions are compared. Longitudes are
/// relative to the cell's centre, so 180 degrees is no special place until `rects`.
#[derive(Clone, Copy, Debug)]
pub struct CellBox {
    centre: Position,
    south: i32,
    north: i32,
    west_of_centre: i32,
    east_of_centre: i32,
    /// The cell holds a pole, so every longitude may be in it.
    polar: bool,
}

const POLE_E7: i32 = 900_000_000;
const HALF_TURN_E7: i32 = 1_800_000_000;

impl CellBox {
    pub fn of(cell: CellIndex) -> Self {
        let middle = LatLng::from(cell);
        let centre = Position::from_degrees(middle.lat(), middle.lng()).unwrap_or(Position::from_e7(0, 0));
        let lat = centre.lat_e7();
        let mut area = Self { centre, south: lat, north: lat, west_of_centre: 0, east_of_centre: 0, polar: false };
        for vertex in cell.boundary().iter() {
            let offset = wrapped(vertex.lng() - centre.lng());
            for (lat, offset) in [(down_e7(vertex.lat()), down_e7(offset)), (-down_e7(-vertex.lat()), -down_e7(-offset))] {
                area.include(lat, offset);
            }
        }
        let pole = if centre.lat() > 0.0 { 90.0 } else { -90.0 };
        if LatLng::new(pole, 0.0).is_ok_and(|at| at.to_cell(cell.resolution()) == cell) {
            area.polar = true;
            area.include(if pole > 0.0 { POLE_E7 } else { -POLE_E7 }, 0);
        }
        area
    }

    fn include(&mut self, lat: i32, offset: i32) {
        (self.south, self.north) = (self.south.min(lat), self.north.max(lat));
        (self.west_of_centre, self.east_of_centre) = (self.west_of_centre.min(offset), self.east_of_centre.max(offset));
    }

    /// Makes room for a position; true when the box grew. It then grows by a little more than needed, so that it grows seldom.
    pub fn extend(&mut self, position: Position) -> bool {
        let (lat, offset) = (position.lat_e7(), wrapped_e7(i64::from(position.lng_e7()) - i64::from(self.centre.lng_e7())));
        if (self.south..=self.north).contains(&lat) && (self.polar || (self.west_of_centre..=self.east_of_centre).contains(&offset)) {
            return false;
        }
        self.include(lat, offset);
        let slack_lat = (self.north - self.south) / 50;
        let slack_lng = self.east_of_centre / 50 - self.west_of_centre / 50;
        self.south = (self.south - slack_lat).max(-POLE_E7);
        self.north = (self.north + slack_lat).min(POLE_E7);
        self.west_of_centre = (self.west_of_centre - slack_lng).max(-HALF_TURN_E7);
        self.east_of_centre = (self.east_of_centre + slack_lng).min(HALF_TURN_E7);
        true
    }

    /// Makes room for all of another cell's box and `slack_e7` around it; true when the box grew. Not for a box that holds a pole: its
    /// corners say nothing of the longitudes in it.
    pub fn extend_over(&mut self, other: &Self, slack_e7: i32) -> bool {
        let (south, north) = ((other.south - slack_e7).max(-POLE_E7), (other.north + slack_e7).min(POLE_E7));
        let width = i64::from(other.east_of_centre) - i64::from(other.west_of_centre) + 2 * i64::from(slack_e7);
        let between = i64::from(other.centre.lng_e7()) - i64::from(self.centre.lng_e7());
        let west = wrapped_e7(between + i64::from(other.west_of_centre) - i64::from(slack_e7));
        // What lies right across from this centre is on both sides of it.
        let east = i32::try_from(i64::from(west) + width).ok().filter(|east| *east < HALF_TURN_E7);
        let (west, east) = east.map_or((-HALF_TURN_E7, HALF_TURN_E7), |east| (west, east));
        let wider = !self.polar && (west < self.west_of_centre || east > self.east_of_centre);
        let grew = wider || south < self.south || north > self.north;
        self.include(south, west);
        self.include(north, east);
        grew
    }

    pub fn is_polar(&self) -> bool {
        self.polar
    }

    pub fn rects(&self) -> Rects {
        let (south, north) = (f64::from(self.south) / 1e7 - PAD_DEG, f64::from(self.north) / 1e7 + PAD_DEG);
        if self.polar {
            return SmallVec::from_slice(&[Rect { west: -180.0, south, east: 180.0, north }]);
        }
        let lng = |offset: i32| (f64::from(self.centre.lng_e7()) + f64::from(offset)) / 1e7;
        let (west, east) = (lng(self.west_of_centre) - PAD_DEG, lng(self.east_of_centre) + PAD_DEG);
        split(west, east).into_iter().map(|(west, east)| Rect { west, south, east, north }).collect()
    }

    /// The cell's centre: the origin of its coordinates on the wire.
    pub fn centre(&self) -> Position {
        self.centre
    }
}

/// The greatest unit that is not above.
#[expect(clippy::cast_possible_truncation, reason = "at most half a turn, which fits")]
fn down_e7(degrees: f64) -> i32 {
    (degrees * 1e7).floor() as i32
}

/// A difference of longitudes the short way round.
pub fn wrapped_e7(difference: i64) -> i32 {
    const TURN: i64 = 2 * HALF_TURN_E7 as i64;
    let short = (difference + TURN / 2).rem_euclid(TURN) - TURN / 2;
    i32::try_from(short).expect("half a turn fits an i32")
}

/// Longitude or difference of longitudes, in -180..180.
pub fn wrapped(degrees: f64) -> f64 {
    (degrees + 180.0).rem_euclid(360.0) - 180.0
}

/// Cuts an interval of longitudes that may reach beyond 180 degrees on either side into intervals that do not.
pub fn split(west: f64, east: f64) -> SmallVec<[(f64, f64); 2]> {
    if east - west >= 360.0 {
        SmallVec::from_slice(&[(-180.0, 180.0)])
    } else if west < -180.0 {
        SmallVec::from_slice(&[(west + 360.0, 180.0), (-180.0, east)])
    } else if east > 180.0 {
        SmallVec::from_slice(&[(west, 180.0), (-180.0, east - 360.0)])
    } else if east >= 180.0 {
        // The eastern edge of the map is the western one: a position at 180 degrees is stored at -180.
        SmallVec::from_slice(&[(west, 180.0), (-180.0, -180.0)])
    } else {
        SmallVec::from_slice(&[(west, east)])
    }
}

#[cfg(test)]
mod tests {
    use h3o::Resolution;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_box_is_small() {
        assert_eq!(size_of::<CellBox>(), 28);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        /// Near by, right across the globe, and across 180 degrees.
        #[test]
        #[expect(clippy::cast_possible_truncation, reason = "between two that fit")]
        fn a_box_extended_over_another_has_room_for_what_has_room_in_that(place in (-80.0..80.0_f64, -180.0..180.0_f64), other in (-80.0..80.0_f64, -180.0..180.0_f64), near in any::<bool>(), share in (0.0..1.0_f64, 0.0..1.0_f64)) {
            let other = if near { (place.0 + other.0 / 800.0, wrapped(place.1 + other.1 / 1_800.0)) } else { other };
            let cell = |(lat, lng), resolution| CellBox::of(LatLng::new(lat, lng).unwrap().to_cell(resolution));
            let (mut above, mut below) = (cell(place, Resolution::Six), cell(other, Resolution::Eight));
            below.extend(Position::from_degrees(other.0, other.1).unwrap());
            above.extend_over(&below, 2_000);
            prop_assert!(!above.extend_over(&below, 2_000), "it has grown");
            let between = |from: i32, to: i32, share: f64| from + ((f64::from(to) - f64::from(from)) * share).round() as i32;
            let (lat, offset) = (between(below.south, below.north, share.0), between(below.west_of_centre, below.east_of_centre, share.1));
            let inside = Position::from_e7(lat, wrapped_e7(i64::from(below.centre.lng_e7()) + i64::from(offset)));
            prop_assert!(!below.extend(inside) && !above.extend(inside), "{inside:?} {below:?} {above:?}");
            let point = Rect { west: inside.lng(), south: inside.lat(), east: inside.lng(), north: inside.lat() };
            prop_assert!(above.rects().iter().any(|rect| rect.intersects(&point)));
        }

        #[test]
        fn a_box_holds_every_position_put_into_it(lat in prop_oneof![-90.0..90.0_f64, 89.0..90.0_f64], lng in prop_oneof![-180.0..180.0_f64, 179.9..180.0_f64]) {
            for resolution in [Resolution::Eight, Resolution::Four, Resolution::One] {
                let position = Position::from_degrees(lat, lng).unwrap();
                let mut area = CellBox::of(LatLng::new(lat, lng).unwrap().to_cell(resolution));
                area.extend(position);
                let point = Rect { west: position.lng(), south: position.lat(), east: position.lng(), north: position.lat() };
                prop_assert!(area.rects().iter().any(|rect| rect.intersects(&point)), "{:?}", area);
            }
        }
    }
}
