//! Movement along a route: traffic, lights, and what a phone's GPS makes of it. Never decides where to go.

use rand::Rng;

use crate::geodesy::Place;
use crate::roads::Route;
use crate::wire::Location;

/// How long a courier stands at one red light, at most, in seconds.
const LONGEST_LIGHT_S: f64 = 28.0;
/// Standard deviation of the GPS error in metres, and how much of it a second later is still the same error.
const GPS_SIGMA_M: f64 = 3.0;
const GPS_MEMORY: f64 = 0.92;

#[derive(Debug)]
pub struct Drive {
    route: Option<Route>,
    done_m: f64,
    /// Index of the route point driven to.
    next: usize,
    pause_s: f64,
    /// Share of the free-flow speed that traffic allows now; wanders slowly.
    traffic: f64,
    place: Place,
    heading_deg: f64,
    speed_mps: f64,
    error_m: (f64, f64),
    battery: f64,
}

impl Drive {
    pub fn standing(place: Place, rng: &mut impl Rng) -> Self {
        Self {
            route: None,
            done_m: 0.0,
            next: 0,
            pause_s: 0.0,
            traffic: rng.random_range(0.6..1.0),
            place,
            heading_deg: 0.0,
            speed_mps: 0.0,
            error_m: (0.0, 0.0),
            battery: rng.random_range(0.35..1.0),
        }
    }

    pub fn start(&mut self, route: Route) {
        self.route = Some(route);
        self.done_m = 0.0;
        self.next = 1;
    }

    pub fn left_m(&self) -> f64 {
        self.route.as_ref().map_or(0.0, |route| route.length_m() - self.done_m)
    }

    pub fn share_done(&self) -> f64 {
        self.route.as_ref().map_or(1.0, |route| self.done_m / route.length_m().max(1.0))
    }

    /// Drives for this long; true once the end of the route is reached.
    pub fn advance(&mut self, seconds: f64, rng: &mut impl Rng) -> bool {
        let Some(route) = &self.route else { return true };
        self.traffic = (self.traffic + rng.random_range(-0.03..0.03) * seconds.sqrt()).clamp(0.45, 1.05);
        let mut left_s = seconds;
        while left_s > 0.0 {
            if self.pause_s > 0.0 {
                let waited = self.pause_s.min(left_s);
                self.pause_s -= waited;
                left_s -= waited;
                self.speed_mps = 0.0;
                continue;
            }
            let Some(point) = route.points.get(self.next) else {
                self.speed_mps = 0.0;
                self.route = None;
                return true;
            };
            let before = route.points[self.next - 1];
            let speed = (point.speed_mps * self.traffic).max(1.0);
            let needed_s = (point.from_start_m - self.done_m) / speed;
            self.speed_mps = speed;
            self.heading_deg = before.place.heading_deg(point.place);
            if needed_s > left_s {
                self.done_m += speed * left_s;
                let share = (self.done_m - before.from_start_m) / (point.from_start_m - before.from_start_m).max(1e-6);
                self.place = before.place.towards(point.place, share);
                return false;
            }
            left_s -= needed_s;
            self.done_m = point.from_start_m;
            self.place = point.place;
            self.next += 1;
            if rng.random_bool(0.025) {
                self.pause_s = rng.random_range(3.0..LONGEST_LIGHT_S);
            }
        }
        false
    }

    /// What the phone reports now: the place with an error that wanders, coordinates to the seventh decimal.
    pub fn fix(&mut self, seconds: f64, rng: &mut impl Rng) -> Location {
        if self.route.is_none() {
            self.speed_mps = 0.0;
        }
        let fresh = GPS_SIGMA_M * (1.0 - GPS_MEMORY * GPS_MEMORY).sqrt();
        self.error_m.0 = self.error_m.0 * GPS_MEMORY + fresh * normal(rng);
        self.error_m.1 = self.error_m.1 * GPS_MEMORY + fresh * normal(rng);
        self.battery = if self.battery < 0.05 { 1.0 } else { self.battery - seconds / 40_000.0 };
        let seen = self.place.moved_m(self.error_m.0, self.error_m.1);
        let round = |value: f64, scale: f64| (value * scale).round() / scale;
        Location {
            lat: round(seen.lat, 1e7),
            lng: round(seen.lng, 1e7),
            accuracy_m: Some(round(rng.random_range(4.0..9.0), 10.0) as f32),
            speed_mps: Some(round(self.speed_mps, 100.0) as f32),
            heading_deg: (self.speed_mps > 0.5).then(|| (round(self.heading_deg, 10.0) % 360.0) as f32),
            altitude_m: None,
            battery: Some(round(self.battery, 100.0) as f32),
        }
    }
}

/// A draw from the standard normal distribution (G. Box, M. Muller, 1958).
fn normal(rng: &mut impl Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.random::<f64>()).cos()
}
