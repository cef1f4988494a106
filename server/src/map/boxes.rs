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
/// not contain its children. Longitudes are relative to the cell's centre, so 180 degrees is no special place until `rects`.
#[derive(Clone, Copy, Debug)]
pub struct CellBox {
    centre_lat: f64,
    centre_lng: f64,
    south: f64,
    north: f64,
    west_of_centre: f64,
    east_of_centre: f64,
    /// The cell holds a pole, so every longitude may be in it.
    polar: bool,
}

impl CellBox {
    pub fn of(cell: CellIndex) -> Self {
        let centre = LatLng::from(cell);
        let mut area = Self {
            centre_lat: centre.lat(),
            centre_lng: centre.lng(),
            south: centre.lat(),
            north: centre.lat(),
            west_of_centre: 0.0,
            east_of_centre: 0.0,
            polar: false,
        };
        for vertex in cell.boundary().iter() {
            area.include(vertex.lat(), vertex.lng());
        }
        let pole = if centre.lat() > 0.0 { 90.0 } else { -90.0 };
        if LatLng::new(pole, 0.0).is_ok_and(|at| at.to_cell(cell.resolution()) == cell) {
            area.polar = true;
            area.south = area.south.min(pole);
            area.north = area.north.max(pole);
        }
        area
    }

    fn include(&mut self, lat: f64, lng: f64) {
        let offset = wrapped(lng - self.centre_lng);
        self.south = self.south.min(lat);
        self.north = self.north.max(lat);
        self.west_of_centre = self.west_of_centre.min(offset);
        self.east_of_centre = self.east_of_centre.max(offset);
    }

    fn contains(&self, lat: f64, lng: f64) -> bool {
        let offset = wrapped(lng - self.centre_lng);
        (self.south..=self.north).contains(&lat) && (self.polar || (self.west_of_centre..=self.east_of_centre).contains(&offset))
    }

    /// Makes room for a position; true when the box grew. It then grows by a little more than needed, so that it grows seldom.
    pub fn extend(&mut self, position: Position) -> bool {
        let (lat, lng) = (position.lat(), position.lng());
        if self.contains(lat, lng) {
            return false;
        }
        self.include(lat, lng);
        let slack_lat = (self.north - self.south) / 50.0;
        let slack_lng = (self.east_of_centre - self.west_of_centre) / 50.0;
        self.south = (self.south - slack_lat).max(-90.0);
        self.north = (self.north + slack_lat).min(90.0);
        self.west_of_centre = (self.west_of_centre - slack_lng).max(-180.0);
        self.east_of_centre = (self.east_of_centre + slack_lng).min(180.0);
        true
    }

    /// Makes room for all of another cell's box and `slack_deg` around it; true when the box grew. Not for a box that holds a pole: its
    /// corners say nothing of the longitudes in it.
    pub fn extend_over(&mut self, other: &Self, slack_deg: f64) -> bool {
        let (south, north) = ((other.south - slack_deg).max(-90.0), (other.north + slack_deg).min(90.0));
        let width = other.east_of_centre - other.west_of_centre + 2.0 * slack_deg;
        let west = wrapped(other.centre_lng + other.west_of_centre - slack_deg - self.centre_lng);
        // What lies right across from this centre is on both sides of it.
        let (west, east) = if west + width >= 180.0 { (-180.0, 180.0) } else { (west, west + width) };
        let wider = !self.polar && (west < self.west_of_centre || east > self.east_of_centre);
        let grew = wider || south < self.south || north > self.north;
        (self.south, self.north) = (self.south.min(south), self.north.max(north));
        (self.west_of_centre, self.east_of_centre) = (self.west_of_centre.min(west), self.east_of_centre.max(east));
        grew
    }

    pub fn is_polar(&self) -> bool {
        self.polar
    }

    pub fn rects(&self) -> Rects {
        let (south, north) = (self.south - PAD_DEG, self.north + PAD_DEG);
        if self.polar {
            return SmallVec::from_slice(&[Rect { west: -180.0, south, east: 180.0, north }]);
        }
        let west = self.centre_lng + self.west_of_centre - PAD_DEG;
        let east = self.centre_lng + self.east_of_centre + PAD_DEG;
        split(west, east).into_iter().map(|(west, east)| Rect { west, south, east, north }).collect()
    }

    /// The cell's centre: the origin of its coordinates on the wire.
    pub fn centre(&self) -> Position {
        Position::from_degrees(self.centre_lat, self.centre_lng).unwrap_or(Position::from_e7(0, 0))
    }
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

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

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
