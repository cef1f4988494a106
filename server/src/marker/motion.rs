//! How fast a carrier goes, where to, and whether at all: smoothed over event time. Never decides where it is (see `join.rs`).

use std::time::Duration;

use super::seen::Seen;
use crate::model::maybe::Maybe;
use crate::model::position::Position;
use crate::model::status::Motion;
use crate::model::time::UnixMs;

/// `stopped_below_mps < moving_above_mps`: between the two, a carrier stays what it was.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MotionSettings {
    /// Time constant of the exponential average: after this long a sample weighs 37 %.
    pub smoothing: Duration,
    pub moving_above_mps: f32,
    pub stopped_below_mps: f32,
    /// At most a minute.
    pub stopped_after: Duration,
}

impl Default for MotionSettings {
    fn default() -> Self {
        Self { smoothing: Duration::from_secs(5), moving_above_mps: 1.5, stopped_below_mps: 0.5, stopped_after: Duration::from_secs(10) }
    }
}

/// A leg shorter than this (or than the fix's accuracy) may be noise.
const LEAST_LEG_M: f32 = 5.0;
/// A fix that claims to be worse than this is believed up to here, or a phone that always says 500 m would never move.
const WORST_ACCURACY_M: f32 = 25.0;
/// A leg that is shorter still after this time says that the carrier stands.
const LONGEST_LEG: Duration = Duration::from_secs(10);
/// Faster than any delivery: the place is believed, the speed between the two is not.
const TELEPORT_MPS: f32 = 100.0;

/// What is estimated of one carrier. Follows log order, fed only with fixes newer than all before. There is one for each driver, so it is packed, and when the
/// newest fix was is known to who feeds it.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C, packed)]
pub struct Estimate {
    /// Where the present leg began; speed and heading that are not reported are measured from here.
    anchor: Position,
    speed_mps: f32,
    heading_deg: Maybe<f32>,
    /// How long before the newest fix the carrier became slow; the greatest stands for longer than that.
    slow_ms: Maybe<u16>,
    /// How long before the newest fix the leg began: `leg_ms < LONGEST_LEG`, for a longer one ends.
    leg_ms: u16,
    motion: Motion,
}

/// What a leg that just ended says.
#[derive(Clone, Copy)]
struct Leg {
    speed_mps: f32,
    took: Duration,
    heading_deg: Option<f32>,
}

impl Estimate {
    pub fn first(fix: Seen, settings: &MotionSettings) -> Self {
        let speed_mps = fix.speed_mps.get().unwrap_or(0.0);
        let motion = if speed_mps > settings.moving_above_mps { Motion::Moving } else { Motion::Stopped };
        let heading_deg = fix.heading_deg.get().filter(|_| motion == Motion::Moving);
        Self { anchor: fix.position, speed_mps, heading_deg: heading_deg.into(), slow_ms: Maybe::NONE, leg_ms: 0, motion }
    }

    /// Takes the next fix; one that is not newer than the one at `last` changes nothing. Returns when the newest of them was.
    pub fn observe(&mut self, last: UnixMs, fix: Seen, settings: &MotionSettings) -> UnixMs {
        if fix.time <= last {
            return last;
        }
        let passed = fix.time.since(last);
        let leg = if fix.speed_mps.get().is_some() && fix.heading_deg.get().is_some() {
            (self.anchor, self.leg_ms) = (fix.position, 0);
            None
        } else {
            self.end_leg(fix, passed)
        };
        match (fix.speed_mps.get(), leg) {
            (Some(reported_mps), _) => self.smooth(reported_mps, passed, settings),
            (None, Some(leg)) => self.smooth(leg.speed_mps, leg.took, settings),
            (None, None) => {}
        }
        self.judge(passed, settings);
        if self.motion == Motion::Moving {
            self.heading_deg = fix.heading_deg.get().or(leg.and_then(|leg| leg.heading_deg)).or(self.heading_deg()).into();
        }
        fix.time
    }

    pub fn speed_mps(&self) -> f32 {
        self.speed_mps
    }

    pub fn heading_deg(&self) -> Option<f32> {
        { self.heading_deg }.get()
    }

    pub fn motion(&self) -> Motion {
        self.motion
    }

    /// `passed` since the fix before.
    fn end_leg(&mut self, fix: Seen, passed: Duration) -> Option<Leg> {
        let moved_m = as_f32({ self.anchor }.distance_m(fix.position));
        let took = passed + Duration::from_millis({ self.leg_ms }.into());
        let noise_m = fix.accuracy_m.get().unwrap_or(0.0).clamp(LEAST_LEG_M, WORST_ACCURACY_M);
        if moved_m < noise_m && took < LONGEST_LEG {
            self.leg_ms = u16::try_from(took.as_millis()).expect("the longest leg is 10 s");
            return None;
        }
        let from = self.anchor;
        (self.anchor, self.leg_ms) = (fix.position, 0);
        if moved_m < noise_m {
            return Some(Leg { speed_mps: 0.0, took, heading_deg: None });
        }
        let speed_mps = moved_m / took.as_secs_f32();
        (speed_mps <= TELEPORT_MPS).then(|| Leg { speed_mps, took, heading_deg: Some(bearing_deg(from, fix.position)) })
    }

    /// Weighs a sample by the time it stands for, so that ten pings a second count no more than one.
    fn smooth(&mut self, sample_mps: f32, took: Duration, settings: &MotionSettings) {
        let constant_s = settings.smoothing.as_secs_f32().max(0.001);
        let weight = 1.0 - (-took.as_secs_f32() / constant_s).exp();
        self.speed_mps += weight * (sample_mps - self.speed_mps);
    }

    /// `passed` since the fix before.
    fn judge(&mut self, passed: Duration, settings: &MotionSettings) {
        const LONGEST_MS: u16 = u16::MAX - 1;
        if self.speed_mps >= settings.stopped_below_mps {
            self.slow_ms = Maybe::NONE;
            if self.speed_mps > settings.moving_above_mps {
                self.motion = Motion::Moving;
            }
            return;
        }
        let passed_ms = u16::try_from(passed.as_millis()).unwrap_or(LONGEST_MS);
        let slow_ms = { self.slow_ms }.get().map_or(0, |slow_ms| slow_ms.saturating_add(passed_ms).min(LONGEST_MS));
        self.slow_ms = Maybe::some(slow_ms);
        if slow_ms == LONGEST_MS || Duration::from_millis(slow_ms.into()) >= settings.stopped_after {
            self.motion = Motion::Stopped;
        }
    }
}

/// Initial great-circle bearing, 0.0..360.0 clockwise from true north.
fn bearing_deg(from: Position, to: Position) -> f32 {
    let (lat_a, lat_b) = (from.lat().to_radians(), to.lat().to_radians());
    let turn = (to.lng() - from.lng()).to_radians();
    let east = turn.sin() * lat_b.cos();
    let north = lat_a.cos() * lat_b.sin() - lat_a.sin() * lat_b.cos() * turn.cos();
    let degrees = as_f32(east.atan2(north).to_degrees().rem_euclid(360.0));
    // 359.99999999 rounds up to 360 as an f32.
    if degrees >= 360.0 { 0.0 } else { degrees }
}

#[expect(clippy::cast_possible_truncation, reason = "metres and degrees of an estimate: seven digits are plenty")]
fn as_f32(value: f64) -> f32 {
    value as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::change::Fix;
    use crate::model::event::OrderKey;
    use crate::model::id::EventId;

    fn at(lat: f64, lng: f64, time: UnixMs) -> Fix {
        let order = OrderKey { effective_time: time, event_id: EventId::parse("e").unwrap() };
        Fix { order, position: Position::from_degrees(lat, lng).unwrap(), accuracy_m: Maybe::NONE, speed_mps: Maybe::NONE, heading_deg: Maybe::NONE }
    }

    /// With the time of the newest fix.
    #[derive(Clone, Copy, Debug, PartialEq)]
    struct Fed {
        last: UnixMs,
        estimate: Estimate,
    }

    impl Fed {
        fn first(fix: &Fix, settings: &MotionSettings) -> Self {
            Self { last: fix.order.effective_time, estimate: Estimate::first(Seen::from(fix), settings) }
        }

        fn observe(&mut self, fix: &Fix, settings: &MotionSettings) {
            self.last = self.estimate.observe(self.last, Seen::from(fix), settings);
        }
    }

    impl std::ops::Deref for Fed {
        type Target = Estimate;

        fn deref(&self) -> &Estimate {
            &self.estimate
        }
    }

    #[test]
    fn an_estimate_is_small() {
        assert!(size_of::<Option<Estimate>>() <= 21, "{}", size_of::<Option<Estimate>>());
    }

    fn a_second_later(fed: &Fed) -> UnixMs {
        fed.last + Duration::from_secs(1)
    }

    /// Feeds a fix a second for `seconds`, going east at `speed_mps` from `from_lng`, without reported speed; returns the last longitude.
    fn drive(estimate: &mut Fed, from_lng: f64, speed_mps: f64, seconds: i64) -> f64 {
        let settings = MotionSettings::default();
        let mut lng = from_lng;
        for _ in 0..seconds {
            lng += speed_mps / (111_195.08 * 57.0_f64.to_radians().cos());
            let fix = Fix { accuracy_m: Maybe::some(8.0), ..at(57.0, lng, a_second_later(estimate)) };
            estimate.observe(&fix, &settings);
        }
        lng
    }

    #[test]
    fn speed_and_heading_are_measured_when_they_are_not_reported() {
        let mut estimate = Fed::first(&at(57.0, 12.0, UnixMs(0)), &MotionSettings::default());
        assert_eq!((estimate.motion(), estimate.heading_deg()), (Motion::Stopped, None));
        drive(&mut estimate, 12.0, 10.0, 40);
        assert!((estimate.speed_mps() - 10.0).abs() < 0.3, "{estimate:?}");
        assert!((estimate.heading_deg().unwrap() - 90.0).abs() < 1.0, "{estimate:?}");
        assert_eq!(estimate.motion(), Motion::Moving);
    }

    #[test]
    fn a_carrier_stops_only_after_ten_slow_seconds_and_keeps_its_heading() {
        let mut estimate = Fed::first(&at(57.0, 12.0, UnixMs(0)), &MotionSettings::default());
        let lng = drive(&mut estimate, 12.0, 10.0, 40);
        drive(&mut estimate, lng, 0.0, 8);
        assert_eq!(estimate.motion(), Motion::Moving);
        drive(&mut estimate, lng, 0.0, 60);
        assert_eq!(estimate.motion(), Motion::Stopped);
        assert!((estimate.heading_deg().unwrap() - 90.0).abs() < 1.0);
        // The heading that a standing compass reports is not taken.
        let turned = Fix { heading_deg: Maybe::some(200.0), speed_mps: Maybe::some(0.0), ..at(57.0, lng, a_second_later(&estimate)) };
        estimate.observe(&turned, &MotionSettings::default());
        assert!((estimate.heading_deg().unwrap() - 90.0).abs() < 1.0);
    }

    #[test]
    fn between_the_two_speeds_a_carrier_stays_what_it_was() {
        let settings = MotionSettings::default();
        let reported = |speed, time| Fix { speed_mps: Maybe::some(speed), heading_deg: Maybe::some(10.0), ..at(57.0, 12.0, time) };
        let mut estimate = Fed::first(&reported(1.0, UnixMs(0)), &settings);
        let mut now = UnixMs(0);
        let mut feed = |estimate: &mut Fed, speed, seconds| {
            for _ in 0..seconds {
                now = now + Duration::from_secs(1);
                estimate.observe(&reported(speed, now), &settings);
            }
            estimate.motion()
        };
        assert_eq!(feed(&mut estimate, 1.0, 30), Motion::Stopped);
        assert_eq!(feed(&mut estimate, 8.0, 3), Motion::Moving);
        assert_eq!(feed(&mut estimate, 1.0, 60), Motion::Moving);
        assert_eq!(feed(&mut estimate, 0.0, 30), Motion::Stopped);
    }

    #[test]
    fn an_older_fix_and_a_teleport_change_no_speed() {
        let mut estimate = Fed::first(&at(57.0, 12.0, UnixMs(0)), &MotionSettings::default());
        let lng = drive(&mut estimate, 12.0, 10.0, 40);
        let before = estimate;
        estimate.observe(&at(57.0, 11.0, UnixMs(20_000)), &MotionSettings::default());
        assert_eq!(estimate, before);
        estimate.observe(&at(58.0, lng, a_second_later(&estimate)), &MotionSettings::default());
        assert!((estimate.speed_mps() - before.speed_mps()).abs() < f32::EPSILON);
        drive(&mut estimate, lng, 10.0, 1);
    }

    #[test]
    fn standing_noise_inside_the_accuracy_is_no_motion() {
        let settings = MotionSettings::default();
        let mut estimate = Fed::first(&at(57.0, 12.0, UnixMs(0)), &settings);
        for second in 1..200 {
            let off = if second % 2 == 0 { 0.000_05 } else { -0.000_03 };
            estimate.observe(&Fix { accuracy_m: Maybe::some(12.0), ..at(57.0 + off, 12.0, UnixMs(second * 1000)) }, &settings);
            assert_eq!(estimate.motion(), Motion::Stopped);
        }
    }

    #[test]
    fn bearings_point_the_right_way_also_across_the_antimeridian() {
        let place = |lat, lng| Position::from_degrees(lat, lng).unwrap();
        assert!((bearing_deg(place(10.0, 5.0), place(11.0, 5.0))).abs() < 0.01);
        assert!((bearing_deg(place(10.0, 5.0), place(9.0, 5.0)) - 180.0).abs() < 0.01);
        assert!((bearing_deg(place(0.0, 179.9), place(0.0, -179.9)) - 90.0).abs() < 0.01);
        assert!((bearing_deg(place(0.0, 1.0), place(0.0, 0.5)) - 270.0).abs() < 0.01);
    }
}
