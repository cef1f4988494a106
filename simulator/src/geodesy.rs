//! Distances and directions on the globe, as far as a city needs them. Never knows roads.

/// Metres in one degree of latitude on a sphere of mean radius 6,371,008.8 m.
pub const METRES_PER_DEGREE: f64 = 111_195.08;

/// A place in degrees (WGS 84).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    pub lat: f64,
    pub lng: f64,
}

impl Place {
    /// Metres to another place, on a plane that touches the globe between the two: right to 0.1 % within a city.
    pub fn distance_m(self, other: Self) -> f64 {
        let (north, east) = self.offset_m(other);
        north.hypot(east)
    }

    /// Degrees clockwise from true north towards another place, 0..360.
    pub fn heading_deg(self, other: Self) -> f64 {
        let (north, east) = self.offset_m(other);
        let heading = east.atan2(north).to_degrees().rem_euclid(360.0);
        if heading >= 360.0 { 0.0 } else { heading }
    }

    /// The place this many metres north and east of here.
    #[must_use]
    pub fn moved_m(self, north: f64, east: f64) -> Self {
        let lat = self.lat + north / METRES_PER_DEGREE;
        let lng = self.lng + east / (METRES_PER_DEGREE * self.lat.to_radians().cos());
        Self { lat, lng }
    }

    /// The place at `share` (0..1) of the straight way to another.
    #[must_use]
    pub fn towards(self, other: Self, share: f64) -> Self {
        Self { lat: self.lat + (other.lat - self.lat) * share, lng: self.lng + (other.lng - self.lng) * share }
    }

    fn offset_m(self, other: Self) -> (f64, f64) {
        let north = (other.lat - self.lat) * METRES_PER_DEGREE;
        let middle = f64::midpoint(self.lat, other.lat).to_radians();
        (north, (other.lng - self.lng) * METRES_PER_DEGREE * middle.cos())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_move_and_its_distance_and_heading_agree() {
        let here = Place { lat: 57.7, lng: 11.97 };
        let there = here.moved_m(300.0, 400.0);
        assert!((here.distance_m(there) - 500.0).abs() < 0.5);
        assert!((here.heading_deg(there) - 53.13).abs() < 0.1);
    }
}
