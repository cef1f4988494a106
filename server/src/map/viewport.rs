//! A viewport: the box a dashboard or query looks at. Never holds what is in it.

use h3o::LatLng;
use thiserror::Error;

use super::boxes::{Rect, Rects, split, wrapped};
use crate::model::position::{EARTH_RADIUS_M, Position};

/// A box on the globe; one whose west is greater than its east crosses 180 degrees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Viewport {
    west: f64,
    south: f64,
    /// Not less than `west`; beyond 180 when the box crosses it.
    east: f64,
    north: f64,
}

/// Why four numbers are no viewport.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidViewport {
    #[error("west, south, east and north must be finite numbers of degrees, at most 540 away from 0")]
    NotFinite,
    #[error("south must not be north of north")]
    UpsideDown,
}

impl Viewport {
    /// Takes degrees. Latitudes are clamped; longitudes may be unwrapped, as a map gives them when it was panned around the globe.
    pub fn new(west: f64, south: f64, east: f64, north: f64) -> Result<Self, InvalidViewport> {
        if ![west, south, east, north].iter().all(|value| value.is_finite() && value.abs() <= 540.0 * 4.0) {
            return Err(InvalidViewport::NotFinite);
        }
        if south > north {
            return Err(InvalidViewport::UpsideDown);
        }
        let (south, north) = (south.clamp(-90.0, 90.0), north.clamp(-90.0, 90.0));
        if east - west >= 360.0 {
            return Ok(Self { west: -180.0, south, east: 180.0, north });
        }
        // Whole degrees stay exact; only what lies outside is wrapped, so a box that ends at 180 keeps its edge.
        let width = (east - west).rem_euclid(360.0);
        let width = if width == 0.0 && (east - west).abs() > 0.0 { 360.0 } else { width };
        let start = if (-180.0..=180.0).contains(&west) { west } else { wrapped(west) };
        let end = if (-180.0..=180.0).contains(&east) && east >= start { east } else { start + width };
        Ok(Self { west: start, south, east: end, north })
    }

    pub fn middle(&self) -> LatLng {
        let (lat, lng) = (f64::midpoint(self.south, self.north), f64::midpoint(self.west, self.east));
        LatLng::new(lat, wrapped(lng)).expect("finite by construction")
    }

    /// The smallest box that holds every place within `radius_m` of `centre`.
    pub fn around(centre: Position, radius_m: f64) -> Self {
        const SLACK: f64 = 1.000_001;
        let angle = (radius_m / EARTH_RADIUS_M).min(std::f64::consts::PI) * SLACK;
        let (south, north) = (centre.lat() - angle.to_degrees(), centre.lat() + angle.to_degrees());
        if south <= -90.0 || north >= 90.0 {
            return Self { west: -180.0, south: south.max(-90.0), east: 180.0, north: north.min(90.0) };
        }
        let half = (angle.sin() / centre.lat().to_radians().cos()).min(1.0).asin().to_degrees() * SLACK;
        let west = centre.lng() - half;
        let start = if west < -180.0 { west + 360.0 } else { west };
        Self { west: start, south, east: start + 2.0 * half, north }
    }

    pub fn rects(&self) -> Rects {
        split(self.west, self.east).into_iter().map(|(west, east)| Rect { west, south: self.south, east, north: self.north }).collect()
    }

    pub fn contains(&self, position: Position) -> bool {
        let (lat, lng) = (position.lat(), position.lng());
        lat >= self.south && lat <= self.north && [0.0, 360.0].iter().any(|turn| lng + turn >= self.west && lng + turn <= self.east)
    }

    pub fn intersects(&self, rects: &[Rect]) -> bool {
        self.rects().iter().any(|mine| rects.iter().any(|theirs| mine.intersects(theirs)))
    }

    /// Equal for equal viewports: what distinct viewports are told apart by.
    pub fn key(&self) -> [u64; 4] {
        [self.west, self.south, self.east, self.north].map(f64::to_bits)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(lat: f64, lng: f64) -> Position {
        Position::from_degrees(lat, lng).unwrap()
    }

    #[test]
    fn a_box_whose_west_is_east_of_its_east_crosses_180() {
        let view = Viewport::new(170.0, -10.0, -170.0, 10.0).unwrap();
        assert!(view.contains(at(1.0, 175.0)) && view.contains(at(1.0, -175.0)) && view.contains(at(1.0, 180.0)));
        assert!(!view.contains(at(1.0, 169.0)) && !view.contains(at(1.0, -169.0)) && !view.contains(at(11.0, 175.0)));
        assert_eq!(view, Viewport::new(170.0, -10.0, 190.0, 10.0).unwrap());
        assert_eq!(view.rects().len(), 2);
    }

    #[test]
    fn the_whole_world_and_what_is_no_box() {
        let world = Viewport::new(-180.0, -90.0, 180.0, 90.0).unwrap();
        assert!(world.contains(at(90.0, 180.0)) && world.contains(at(-90.0, 0.5)));
        assert_eq!(Viewport::new(f64::NAN, 0.0, 1.0, 1.0), Err(InvalidViewport::NotFinite));
        assert_eq!(Viewport::new(0.0, 2.0, 1.0, 1.0), Err(InvalidViewport::UpsideDown));
    }

    proptest! {
        #[test]
        fn the_box_around_a_place_holds_all_within_its_radius(lat in -90.0..90.0_f64, lng in -180.0..180.0_f64, other_lat in -90.0..90.0_f64, other_lng in -180.0..180.0_f64, share in 1.0..2.0_f64) {
            let (centre, other) = (at(lat, lng), at(other_lat, other_lng));
            let view = Viewport::around(centre, centre.distance_m(other) * share);
            prop_assert!(view.contains(other), "{:?}", view);
            let point = Rect { west: other.lng(), south: other.lat(), east: other.lng(), north: other.lat() };
            prop_assert!(view.intersects(&[point]));
        }
    }
}
