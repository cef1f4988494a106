//! Whether a marker changed enough to be sent again. Never judges the facts: every raw event stays in the log.

use std::time::Duration;

use crate::model::coarse::CoarseHeading;
use crate::model::marker::Marker;
use crate::model::position::Position;
use crate::model::short::IngestMs;
use crate::model::status::{Link, Motion, Words};
use crate::model::time::UnixMs;

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Significance {
    pub distance_m: f32,
    pub heading_deg: f32,
    /// A newer fix counts after this time whatever it says.
    pub elapsed: Duration,
}

impl Default for Significance {
    fn default() -> Self {
        Self { distance_m: 5.0, heading_deg: 15.0, elapsed: Duration::from_secs(10) }
    }
}

/// What the map has of a marker, as far as it decides whether a change of its place or its words is worth sending. There is one for each carrier, so it is packed.
#[derive(Clone, Copy, Debug)]
#[repr(C, packed)]
pub struct Shown {
    position: Position,
    fix_time: IngestMs,
    heading: CoarseHeading,
    words: Words,
}

impl Shown {
    pub fn nothing() -> Self {
        Self {
            position: Position::from_e7(0, 0),
            fix_time: UnixMs(0).into(),
            heading: CoarseHeading::NONE,
            words: Words::of(None, Link::Live, Motion::Stopped, false),
        }
    }

    pub fn of(marker: &Marker) -> Self {
        Self {
            position: marker.position(),
            fix_time: marker.fix_time().into(),
            heading: CoarseHeading::of(marker.heading_deg()),
            words: marker.words(),
        }
    }

    pub fn position(&self) -> Position {
        self.position
    }

    pub fn fix_time(&self) -> UnixMs {
        self.fix_time.get()
    }

    pub fn link(&self) -> Link {
        self.words.link()
    }

    pub fn late_risk(&self) -> bool {
        self.words.late_risk()
    }
}

impl Significance {
    /// Whether `now` is worth sending to those who have `shown`, under the same handle and with the same list.
    pub fn differs(&self, shown: &Shown, now: &Marker) -> bool {
        shown.words != now.words() || self.moved(shown, now) || self.turned(shown, now)
    }

    fn moved(&self, shown: &Shown, now: &Marker) -> bool {
        // An earlier fix than the one shown means that the shown one does not hold any more: it has to go.
        let (fix_time, newer) = (shown.fix_time(), now.fix_time());
        if newer < fix_time || newer.since(fix_time) >= self.elapsed {
            return newer != fix_time || now.position() != shown.position();
        }
        if now.position() == shown.position() {
            return false;
        }
        let least_m = f64::from(self.least_move_m(now));
        // No way is shorter than its part along the meridian, which costs no trigonometry and mostly decides.
        shown.position().along_meridian_m(now.position()) >= least_m || shown.position().distance_m(now.position()) >= least_m
    }

    /// Inside its accuracy a standing marker only seems to move; of a moving one the smoothed speed says that it is real.
    fn least_move_m(&self, now: &Marker) -> f32 {
        match now.motion() {
            Motion::Moving => self.distance_m,
            Motion::Stopped => self.distance_m.max(now.accuracy_m().get().unwrap_or(0.0)),
        }
    }

    fn turned(&self, shown: &Shown, now: &Marker) -> bool {
        match ({ shown.heading }.degrees().get(), now.heading_deg().get()) {
            (Some(before), Some(after)) => angle_between_deg(before, after) >= self.heading_deg,
            (before, after) => before.is_some() != after.is_some(),
        }
    }
}

/// 0..=180, whichever way round is shorter.
fn angle_between_deg(a: f32, b: f32) -> f32 {
    let turn = (a - b).rem_euclid(360.0);
    turn.min(360.0 - turn)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::change::AboardList;
    use crate::model::id::{DriverId, Handle};
    use crate::model::marker::MarkerParts;
    use crate::model::maybe::Maybe;
    use crate::model::status::Status;

    fn marker() -> MarkerParts {
        MarkerParts {
            handle: Handle(1),
            driver: Some(DriverId::parse("ann").unwrap()),
            position: Position::from_degrees(57.0, 12.0).unwrap(),
            heading_deg: Maybe::some(350.0),
            speed_mps: 3.0,
            status: None,
            motion: Motion::Moving,
            link: Link::Live,
            late_risk: false,
            accuracy_m: Maybe::some(20.0),
            aboard: AboardList::default(),
            fix_time: UnixMs(100_000),
            heard: UnixMs(100_000),
            changed: UnixMs(100_000),
        }
    }

    fn differs(rule: &Significance, shown: &MarkerParts, now: &MarkerParts) -> bool {
        rule.differs(&Shown::of(&Marker::of(shown.clone())), &Marker::of(now.clone()))
    }

    fn north(marker: &MarkerParts, metres: f64) -> MarkerParts {
        let position = Position::from_degrees(57.0 + metres / 111_195.1, 12.0).unwrap();
        MarkerParts { position, fix_time: UnixMs(101_000), ..marker.clone() }
    }

    #[test]
    fn what_is_shown_is_small_and_its_words_come_back() {
        assert!(size_of::<Shown>() <= 17, "{}", size_of::<Shown>());
        for (link, late_risk) in [(Link::Live, true), (Link::Delayed, false), (Link::Stale, true), (Link::Lost, false)] {
            let shown = Shown::of(&Marker::of(MarkerParts { link, late_risk, status: Some(Status::Cancelled), ..marker() }));
            assert_eq!((shown.link(), shown.late_risk(), shown.fix_time()), (link, late_risk, UnixMs(100_000)));
        }
    }

    #[test]
    fn five_metres_count_and_four_do_not() {
        let (rule, shown) = (Significance::default(), marker());
        assert!(!differs(&rule, &shown, &shown));
        assert!(!differs(&rule, &shown, &north(&shown, 4.0)));
        assert!(differs(&rule, &shown, &north(&shown, 5.1)));
    }

    #[test]
    fn a_standing_marker_does_not_jitter_inside_its_accuracy_until_ten_seconds_have_passed() {
        let rule = Significance::default();
        let shown = MarkerParts { motion: Motion::Stopped, ..marker() };
        assert!(!differs(&rule, &shown, &north(&shown, 15.0)));
        assert!(differs(&rule, &shown, &north(&shown, 20.1)));
        assert!(differs(&rule, &shown, &MarkerParts { fix_time: UnixMs(110_000), ..north(&shown, 1.0) }));
        assert!(!differs(&rule, &shown, &MarkerParts { fix_time: UnixMs(109_999), ..north(&shown, 1.0) }));
    }

    #[test]
    fn a_turn_counts_across_north() {
        let (rule, shown) = (Significance::default(), marker());
        assert!(!differs(&rule, &shown, &MarkerParts { heading_deg: Maybe::some(4.0), ..shown.clone() }));
        assert!(differs(&rule, &shown, &MarkerParts { heading_deg: Maybe::some(5.0), ..shown.clone() }));
        assert!(differs(&rule, &shown, &MarkerParts { heading_deg: Maybe::NONE, ..shown.clone() }));
    }

    #[test]
    fn words_count_at_once_and_so_does_a_fix_that_does_not_hold_any_more() {
        let (rule, shown) = (Significance::default(), marker());
        assert!(differs(&rule, &shown, &MarkerParts { status: Some(Status::Arrived), ..shown.clone() }));
        assert!(differs(&rule, &shown, &MarkerParts { motion: Motion::Stopped, ..shown.clone() }));
        assert!(differs(&rule, &shown, &MarkerParts { link: Link::Lost, ..shown.clone() }));
        assert!(differs(&rule, &shown, &MarkerParts { late_risk: true, ..shown.clone() }));
        assert!(differs(&rule, &shown, &MarkerParts { fix_time: UnixMs(99_000), ..shown.clone() }));
        assert!(!differs(&rule, &shown, &MarkerParts { heard: UnixMs(101_000), changed: UnixMs(101_000), ..shown.clone() }));
    }
}
