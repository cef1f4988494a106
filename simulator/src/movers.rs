//! Movers around the centres of cities, whose place is a function of the time: a writer that says where they are and a watcher that is shown them need
//! to agree on nothing but these settings. Pure; never asks for the time.
//!
//! Each mover goes round a circle at a constant speed, so the place that a watcher is shown tells when the ping was due that said so.

use std::f64::consts::TAU;

use thiserror::Error;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::geodesy::Place;

/// Centres of twenty cities, to a hundredth of a degree.
const CITIES: [(f64, f64); 20] = [
    (57.71, 11.97),
    (59.33, 18.07),
    (55.68, 12.57),
    (59.91, 10.75),
    (60.17, 24.94),
    (52.52, 13.40),
    (53.55, 9.99),
    (52.37, 4.90),
    (50.85, 4.35),
    (48.86, 2.35),
    (51.51, -0.13),
    (53.48, -2.24),
    (40.42, -3.70),
    (41.39, 2.17),
    (45.46, 9.19),
    (41.90, 12.50),
    (48.21, 16.37),
    (50.08, 14.44),
    (52.23, 21.01),
    (47.50, 19.04),
];

/// Fast enough that a mover that speaks five times a second still moves more each time than a map leaves out; who speaks once a second may be slower.
pub const SPEED_MPS: f64 = 40.0;
const RADII_M: std::ops::Range<f64> = 300.0..1_500.0;
const PREFIX: &str = "mover-";

/// Why settings are none.
#[derive(Debug, Error, PartialEq)]
pub enum BadMovers {
    #[error("there are 1 to 20 cities, not {0}")]
    Cities(usize),
    #[error("sigma is in degrees, from 0 to 1, not {0}")]
    Sigma(f64),
}

/// So many movers, their homes normally distributed around the centres of cities.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Movers {
    first: usize,
    cities: usize,
    sigma_deg: f64,
    seed: u64,
    speed_mps: f64,
}

/// Where a mover is and where it heads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stand {
    pub place: Place,
    /// Degrees clockwise from true north, 0..360.
    pub heading_deg: f64,
}

/// What is fixed for one mover.
#[derive(Clone, Copy, Debug)]
struct Round {
    home: Place,
    radius_m: f64,
    phase: f64,
}

impl Movers {
    /// `sigma_deg` is the standard deviation of homes in degrees of latitude, and as far from east to west in metres.
    pub fn new(cities: usize, sigma_deg: f64, seed: u64) -> Result<Self, BadMovers> {
        if !(1..=CITIES.len()).contains(&cities) {
            return Err(BadMovers::Cities(cities));
        }
        if !(0.0..=1.0).contains(&sigma_deg) {
            return Err(BadMovers::Sigma(sigma_deg));
        }
        Ok(Self { first: 0, cities, sigma_deg, seed, speed_mps: SPEED_MPS })
    }

    /// The same in other cities: the first of them is the one with this number.
    #[must_use]
    pub fn from_city(self, first: usize) -> Self {
        Self { first, ..self }
    }

    /// The same at another speed in metres a second, which is more than 0.
    #[must_use]
    pub fn at_speed(self, speed_mps: f64) -> Self {
        Self { speed_mps, ..self }
    }

    pub fn speed_mps(&self) -> f64 {
        self.speed_mps
    }

    pub fn cities(&self) -> usize {
        self.cities
    }

    /// The centre of the city with this number; beyond the last it begins again.
    pub fn centre(&self, city: usize) -> Place {
        let (lat, lng) = CITIES[(self.first + city % self.cities) % CITIES.len()];
        Place { lat, lng }
    }

    pub fn id(object: usize) -> String {
        format!("{PREFIX}{object:07}")
    }

    /// The number in a mover's id; none for anybody else.
    pub fn number_of(id: &str) -> Option<usize> {
        id.strip_prefix(PREFIX)?.parse().ok()
    }

    pub fn stand(&self, object: usize, time_ms: i64) -> Stand {
        let round = self.round(object);
        // Whole rounds are taken away in whole milliseconds first: a time in f64 has no digits left for fractions of one.
        let angle = round.phase + TAU * (time_ms as f64 / self.period_ms(&round)).fract();
        let place = round.home.moved_m(round.radius_m * angle.cos(), round.radius_m * angle.sin());
        let heading = (angle.to_degrees() + 90.0).rem_euclid(360.0);
        Stand { place, heading_deg: if heading >= 360.0 { 0.0 } else { heading } }
    }

    /// The last time not after `before_ms` at which the mover was at this place of its round, in milliseconds with fractions; right to a millisecond
    /// for places that are rounded to 1e-7 degrees. None for a place off its round.
    pub fn time_at(&self, object: usize, place: Place, before_ms: f64) -> Option<f64> {
        let round = self.round(object);
        let north = (place.lat - round.home.lat) * crate::geodesy::METRES_PER_DEGREE;
        let east = (place.lng - round.home.lng) * crate::geodesy::METRES_PER_DEGREE * round.home.lat.to_radians().cos();
        if (north.hypot(east) - round.radius_m).abs() > 0.5 {
            return None;
        }
        let share = ((east.atan2(north) - round.phase) / TAU).rem_euclid(1.0);
        let period_ms = self.period_ms(&round);
        let since = ((before_ms / period_ms).fract() - share).rem_euclid(1.0);
        // Just ahead of `before_ms` by the rounding of a place is not a whole round ago.
        let since = if since > 1.0 - 1e-4 { 0.0 } else { since };
        Some(before_ms - since * period_ms)
    }

    fn period_ms(&self, round: &Round) -> f64 {
        TAU * round.radius_m / self.speed_mps * 1e3
    }

    fn round(&self, object: usize) -> Round {
        let hash = |salt: u64| xxh3_64_with_seed(&object.to_le_bytes(), self.seed.wrapping_add(salt));
        let share = |bits: u64| (bits >> 11) as f64 / (1_u64 << 53) as f64;
        let centre = self.centre(object);
        // A normally distributed pair from two uniform ones (Box and Muller 1958).
        let (spread, turn) = ((-2.0 * (1.0 - share(hash(1))).ln()).sqrt(), share(hash(2)) * TAU);
        let sigma_m = self.sigma_deg * crate::geodesy::METRES_PER_DEGREE;
        let home = centre.moved_m(spread * turn.cos() * sigma_m, spread * turn.sin() * sigma_m);
        let radius_m = RADII_M.start + share(hash(3)) * (RADII_M.end - RADII_M.start);
        Round { home, radius_m, phase: share(hash(4)) * TAU }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn settings_outside_their_ranges_are_named() {
        assert_eq!(Movers::new(21, 0.05, 1), Err(BadMovers::Cities(21)));
        assert_eq!(Movers::new(0, 0.05, 1), Err(BadMovers::Cities(0)));
        assert_eq!(Movers::new(20, 1.5, 1), Err(BadMovers::Sigma(1.5)));
        assert_eq!((Movers::number_of("mover-0000012"), Movers::number_of("van-1")), (Some(12), None));
    }

    #[test]
    fn homes_spread_around_their_cities_as_told() {
        let movers = Movers::new(20, 0.05, 1).expect("valid");
        let all: Vec<f64> = (0..4_000).map(|object| movers.round(object).home.lat - movers.centre(object).lat).collect();
        let sigma = (all.iter().map(|off| off * off).sum::<f64>() / all.len() as f64).sqrt();
        assert!((sigma - 0.05).abs() < 0.003, "{sigma}");
    }

    proptest! {
        #[test]
        fn a_place_as_the_wire_rounds_it_tells_its_time(object in 0_usize..100_000, seed in 0_u64..9, time_ms in 1_700_000_000_000_i64..1_900_000_000_000, late_ms in 0.0..20_000.0_f64) {
            let movers = Movers::new(20, 0.05, seed).expect("valid");
            let Stand { place, .. } = movers.stand(object, time_ms);
            let rounded = Place { lat: (place.lat * 1e7).round() / 1e7, lng: (place.lng * 1e7).round() / 1e7 };
            let told = movers.time_at(object, rounded, time_ms as f64 + late_ms).expect("on its round");
            prop_assert!((told - time_ms as f64).abs() < 1.0, "{} ms off", told - time_ms as f64);
            let later = movers.stand(object, time_ms + 100).place;
            prop_assert!((place.distance_m(later) - SPEED_MPS / 10.0).abs() < 0.05);
            prop_assert_eq!(movers.time_at(object, rounded.moved_m(9.0, 9.0).moved_m(3_000.0, 0.0), time_ms as f64), None);
        }
    }
}
