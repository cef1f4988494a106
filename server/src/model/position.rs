//! A place on the globe, valid by construction. Never projects and never indexes.

use std::fmt;
use std::num::NonZeroI32;

use thiserror::Error;

/// Mean radius of the Earth in metres (IUGG R1), as every great-circle distance here uses it.
pub const EARTH_RADIUS_M: f64 = 6_371_008.8;

/// WGS 84 coordinates in units of 1e-7 degrees: 11 mm at the equator. Latitude -90..=90, longitude -180..180 (180 is stored as -180).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Position {
    /// Its highest bit the other way round: so it is never zero, and a position that may be absent takes no more room than one that is there.
    lat: NonZeroI32,
    lng_e7: i32,
}

/// Why two numbers are no position that Waypost accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidPosition {
    #[error("latitude must be a number from -90 to 90 degrees")]
    Latitude,
    #[error("longitude must be a number from -180 to 180 degrees")]
    Longitude,
    /// What a phone without a fix sends; see FEATURES of any tracker.
    #[error("0,0 is what a device without a fix sends, not a place where anything is delivered")]
    NullIsland,
}

impl Position {
    /// Takes degrees. Refuses what is not finite, out of range, or 0,0 to the seventh decimal.
    pub fn from_degrees(lat: f64, lng: f64) -> Result<Self, InvalidPosition> {
        if !(-90.0..=90.0).contains(&lat) {
            return Err(InvalidPosition::Latitude);
        }
        if !(-180.0..=180.0).contains(&lng) {
            return Err(InvalidPosition::Longitude);
        }
        // Judged as it is stored: what rounds to 0,0 could never be read back.
        let position = Self::from_e7(to_e7(lat), to_e7(lng));
        if position.lat_e7() == 0 && position.lng_e7 == 0 {
            return Err(InvalidPosition::NullIsland);
        }
        Ok(position)
    }

    /// Takes fixed-point values that are in range already: from our own log, or computed. Clamps latitude, wraps longitude.
    pub fn from_e7(lat_e7: i32, lng_e7: i32) -> Self {
        const HALF_TURN: i32 = 1_800_000_000;
        let lng_e7 = match lng_e7 {
            lng if lng >= HALF_TURN => lng - HALF_TURN - HALF_TURN,
            lng if lng < -HALF_TURN => lng + HALF_TURN + HALF_TURN,
            lng => lng,
        };
        let lat = NonZeroI32::new(lat_e7.clamp(-900_000_000, 900_000_000) ^ i32::MIN);
        Self { lat: lat.expect("no latitude is the least number of all"), lng_e7 }
    }

    pub fn lat_e7(self) -> i32 {
        self.lat.get() ^ i32::MIN
    }

    pub fn lng_e7(self) -> i32 {
        self.lng_e7
    }

    pub fn lat(self) -> f64 {
        f64::from(self.lat_e7()) / 1e7
    }

    pub fn lng(self) -> f64 {
        f64::from(self.lng_e7) / 1e7
    }

    /// How far the parallels of both are from each other, in metres: at most `distance_m`.
    pub fn along_meridian_m(self, other: Self) -> f64 {
        const METRES_PER_E7: f64 = EARTH_RADIUS_M * std::f64::consts::PI / 180.0 / 1e7;
        f64::from(self.lat_e7().abs_diff(other.lat_e7())) * METRES_PER_E7
    }

    /// Great-circle distance in metres by the haversine formula (R. W. Sinnott, "Virtues of the Haversine", 1984).
    pub fn distance_m(self, other: Self) -> f64 {
        let (lat_a, lat_b) = (self.lat().to_radians(), other.lat().to_radians());
        let half_lat = (lat_b - lat_a) / 2.0;
        let half_lng = (other.lng() - self.lng()).to_radians() / 2.0;
        let h = half_lat.sin().powi(2) + lat_a.cos() * lat_b.cos() * half_lng.sin().powi(2);
        2.0 * EARTH_RADIUS_M * h.sqrt().min(1.0).asin()
    }
}

#[expect(clippy::missing_fields_in_debug, reason = "what it keeps is these two, in other words")]
impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Position").field("lat_e7", &self.lat_e7()).field("lng_e7", &self.lng_e7).finish()
    }
}

#[expect(clippy::cast_possible_truncation, reason = "callers checked the range, 180e7 fits an i32")]
fn to_e7(degrees: f64) -> i32 {
    (degrees * 1e7).round() as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn degrees_are_kept_to_the_seventh_decimal() {
        let position = Position::from_degrees(57.708_870_1, -11.974_560_9).expect("a valid position");
        assert_eq!((position.lat_e7(), position.lng_e7()), (577_088_701, -119_745_609));
    }

    #[test]
    fn a_position_that_may_be_absent_takes_no_more_room() {
        assert_eq!(size_of::<Option<Position>>(), 8);
    }

    #[test]
    fn what_is_no_place_is_refused_by_name() {
        assert_eq!(Position::from_degrees(f64::NAN, 1.0), Err(InvalidPosition::Latitude));
        assert_eq!(Position::from_degrees(90.1, 1.0), Err(InvalidPosition::Latitude));
        assert_eq!(Position::from_degrees(1.0, f64::INFINITY), Err(InvalidPosition::Longitude));
        assert_eq!(Position::from_degrees(0.0, -0.0), Err(InvalidPosition::NullIsland));
        assert_eq!(Position::from_degrees(1e-9, -1e-9), Err(InvalidPosition::NullIsland), "it would be stored as 0,0");
        assert!(Position::from_degrees(0.0, 0.1).is_ok());
    }

    #[test]
    fn the_antimeridian_has_one_spelling() {
        assert_eq!(Position::from_degrees(1.0, 180.0), Position::from_degrees(1.0, -180.0));
    }

    #[test]
    fn the_way_along_the_meridian_is_never_longer_than_the_whole() {
        let from = Position::from_degrees(57.0, 12.0).expect("valid");
        for (lat, lng) in [(57.001, 12.0), (56.0, 12.0), (57.0, 13.0), (57.000_05, 12.000_01), (-57.0, -12.0), (89.9, 179.0)] {
            let to = Position::from_degrees(lat, lng).expect("valid");
            let (part, whole) = (from.along_meridian_m(to), from.distance_m(to));
            assert!(part <= whole + 1e-3, "{part} of {whole}");
            assert!(from.lng_e7() != to.lng_e7() || (part - whole).abs() < 1e-3, "{part} is all of {whole}");
        }
    }

    #[test]
    fn a_distance_across_the_antimeridian_is_the_short_one() {
        let west = Position::from_degrees(0.0, 179.95).expect("valid");
        let east = Position::from_degrees(0.0, -179.95).expect("valid");
        assert!((west.distance_m(east) - 11_119.5).abs() < 1.0);
    }
}
