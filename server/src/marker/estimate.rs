//! What is guessed from fixes: speed, motion, heading, link, ETA, and whether a change is worth showing. Pure.

use std::time::Duration;

use crate::model::change::Fix;
use crate::model::position::Position;
use crate::model::status::{Link, Motion};
use crate::model::time::UnixMs;

/// Roads are this much longer than the great circle between two places in a city.
const ROAD_FACTOR: f64 = 1.35;
/// A driver who stands still will not stand forever: no ETA assumes less.
const SLOWEST_MPS: f64 = 4.0;
/// Weight of the newest speed.
const SMOOTHING: f32 = 0.4;

/// How a marker moves, fix by fix.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Movement {
    pub speed_mps: f32,
    pub heading_deg: Option<f32>,
    pub motion: Motion,
    last: Option<(Position, UnixMs)>,
}

impl Movement {
    /// Takes up a newer fix.
    pub fn observe(&mut self, fix: &Fix) {
        let (position, time) = (fix.location.position, fix.order.effective_time);
        let moved = self.last.map(|(before, then)| (before.distance_m(position), time.since(then).as_secs_f64(), before));
        let derived = moved.filter(|(_, seconds, _)| *seconds > 0.0).map(|(metres, seconds, _)| narrow(metres / seconds));
        let speed = fix.location.speed_mps.or(derived).unwrap_or(0.0).min(100.0);
        self.speed_mps = if self.last.is_some() { self.speed_mps + SMOOTHING * (speed - self.speed_mps) } else { speed };
        self.motion = match self.motion {
            Motion::Stopped if self.speed_mps > 1.5 => Motion::Moving,
            Motion::Moving if self.speed_mps < 0.5 => Motion::Stopped,
            same => same,
        };
        let displaced = moved.filter(|(metres, _, _)| *metres > 5.0).map(|(_, _, before)| bearing_deg(before, position));
        self.heading_deg = fix.location.heading_deg.or(displaced).or(self.heading_deg);
        self.last = Some((position, time));
    }
}

/// Initial great-circle bearing in degrees clockwise from north (Veness, "Calculate distance, bearing and more").
fn bearing_deg(from: Position, to: Position) -> f32 {
    let (lat_a, lat_b, dlng) = (from.lat().to_radians(), to.lat().to_radians(), (to.lng() - from.lng()).to_radians());
    let y = dlng.sin() * lat_b.cos();
    let x = lat_a.cos() * lat_b.sin() - lat_a.sin() * lat_b.cos() * dlng.cos();
    narrow(y.atan2(x).to_degrees().rem_euclid(360.0)) % 360.0
}

/// When a marker at `from` is expected at `to`: road-factored distance over the smoothed speed.
pub fn eta(from: Position, to: Position, speed_mps: f32, now: UnixMs) -> UnixMs {
    let seconds = from.distance_m(to) * ROAD_FACTOR / f64::from(speed_mps).max(SLOWEST_MPS);
    now + Duration::from_secs_f64(seconds)
}

/// Silence after which a link is delayed, stale, lost.
pub const LINK_LIMITS: [(Duration, Link); 3] =
    [(Duration::from_secs(30), Link::Delayed), (Duration::from_secs(120), Link::Stale), (Duration::from_secs(600), Link::Lost)];

/// The link of a marker last heard at `heard`, and when it will be worse.
pub fn link(heard: UnixMs, now: UnixMs) -> (Link, Option<UnixMs>) {
    let silence = now.since(heard);
    let next = LINK_LIMITS.iter().find(|(limit, _)| silence < *limit).map(|(limit, _)| heard + *limit);
    let link = LINK_LIMITS.iter().rev().find(|(limit, _)| silence >= *limit).map_or(Link::Live, |(_, link)| *link);
    (link, next)
}

/// A fix as it was last shown, to compare the next with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seen {
    pub position: Position,
    pub heading_deg: Option<f32>,
    pub time: UnixMs,
}

/// Whether a marker moved enough to be told: 5 m (or its accuracy, up to 30 m), 15 degrees, or 10 s.
pub fn is_significant(seen: Seen, now: Seen, accuracy_m: Option<f32>) -> bool {
    let noise_m = f64::from(accuracy_m.unwrap_or(0.0)).clamp(5.0, 30.0);
    let turned = match (seen.heading_deg, now.heading_deg) {
        (Some(a), Some(b)) => ((a - b + 540.0) % 360.0 - 180.0).abs() >= 15.0,
        (a, b) => a.is_some() != b.is_some(),
    };
    turned || now.time.since(seen.time) >= Duration::from_secs(10) || seen.position.distance_m(now.position) >= noise_m
}

#[expect(clippy::cast_possible_truncation, reason = "an estimate needs no more than seven digits")]
fn narrow(value: f64) -> f32 {
    value as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_fades_by_silence_and_says_when_it_will_be_worse() {
        let at = |seconds: i64| link(UnixMs(0), UnixMs(seconds * 1000));
        assert_eq!(at(0), (Link::Live, Some(UnixMs(30_000))));
        assert_eq!(at(30), (Link::Delayed, Some(UnixMs(120_000))));
        assert_eq!(at(120), (Link::Stale, Some(UnixMs(600_000))));
        assert_eq!(at(600), (Link::Lost, None));
    }

    #[test]
    fn a_move_below_the_accuracy_waits_and_a_turn_does_not() {
        let seen = |lat: f64, heading: f32, time: i64| Seen {
            position: Position::from_degrees(lat, 11.0).expect("valid"),
            heading_deg: Some(heading),
            time: UnixMs(time),
        };
        assert!(!is_significant(seen(57.0, 0.0, 0), seen(57.000_1, 5.0, 1000), Some(20.0)));
        assert!(is_significant(seen(57.0, 0.0, 0), seen(57.000_1, 5.0, 1000), None));
        assert!(is_significant(seen(57.0, 355.0, 0), seen(57.0, 10.0, 1000), None));
        assert!(!is_significant(seen(57.0, 355.0, 0), seen(57.0, 5.0, 1000), None));
        assert!(is_significant(seen(57.0, 0.0, 0), seen(57.0, 0.0, 10_000), None));
    }

    #[test]
    fn an_eta_is_the_road_over_the_speed() {
        let (a, b) = (Position::from_degrees(57.0, 11.0).expect("valid"), Position::from_degrees(57.009, 11.0).expect("valid"));
        let expected = a.distance_m(b) * 1.35 / 10.0;
        assert_eq!(eta(a, b, 10.0, UnixMs(0)).0, (expected * 1000.0) as i64);
    }
}
