//! A thing on the map, as small as it can be kept: there are millions. Holds no place in a cell and no tick.

use super::change::AboardList;
use super::coarse::{CoarseAccuracy, CoarseHeading, CoarseSpeed};
use super::id::packed::IdText;
use super::id::{DeliveryId, DriverId, Handle, MaybeId};
use super::maybe::Maybe;
use super::position::Position;
use super::short::{IngestMs, Short};
use super::status::{Link, Motion, Status, Words};
use super::time::UnixMs;

/// A driver with the deliveries aboard, or a delivery that waits at its pickup.
///
/// What each move of it is weighed by stands first.
#[derive(Clone, Debug, PartialEq)]
#[repr(C)]
pub struct Marker {
    position: Position,
    heading: CoarseHeading,
    speed: CoarseSpeed,
    handle: Short<Handle>,
    words: Words,
    fix_time: IngestMs,
    heard: IngestMs,
    aboard: AboardList,
    driver: MaybeId<DriverId>,
    accuracy: CoarseAccuracy,
    changed: IngestMs,
}

/// What a marker says, each by its name.
#[derive(Clone, Debug)]
pub struct MarkerParts {
    pub handle: Handle,
    /// None: the first delivery listed waits at its pickup, and nobody has it.
    pub driver: Option<DriverId>,
    pub position: Position,
    /// 0.0..360.0, clockwise from true north; absent when unknown or stopped since the start.
    pub heading_deg: Maybe<f32>,
    /// Smoothed.
    pub speed_mps: f32,
    /// Of the delivery aboard that is most advanced and not ended (ties: the least id); none aboard: absent, the driver is idle.
    pub status: Option<Status>,
    pub motion: Motion,
    pub link: Link,
    /// Whether a listed delivery is at risk of being late.
    pub late_risk: bool,
    pub accuracy_m: Maybe<f32>,
    /// At most `Marker::MAX_LISTED`, sorted by id; of more, those that have ended are left out first.
    pub aboard: AboardList,
    /// Event time of the fix shown.
    pub fix_time: UnixMs,
    /// Ingest time of the last thing heard.
    pub heard: UnixMs,
    /// Ingest time of the oldest change that this version carries and the one before did not: for the age of a frame.
    pub changed: UnixMs,
}

impl Marker {
    /// How many deliveries a marker lists by id: more than any van carries, for who is not listed is not found by place or text.
    pub const MAX_LISTED: usize = 512;

    pub fn of(parts: MarkerParts) -> Self {
        let MarkerParts { handle, driver, position, heading_deg, speed_mps, status, motion, link, late_risk, .. } = parts;
        let MarkerParts { accuracy_m, aboard, fix_time, heard, changed, .. } = parts;
        Self {
            position,
            heading: CoarseHeading::of(heading_deg),
            speed: CoarseSpeed::of(speed_mps),
            handle: handle.into(),
            words: Words::of(status, link, motion, late_risk),
            aboard,
            driver: driver.into(),
            accuracy: CoarseAccuracy::of(accuracy_m),
            fix_time: fix_time.into(),
            heard: heard.into(),
            changed: changed.into(),
        }
    }

    pub fn parts(&self) -> MarkerParts {
        MarkerParts {
            handle: self.handle(),
            driver: self.driver().cloned(),
            position: self.position,
            heading_deg: self.heading_deg(),
            speed_mps: self.speed_mps(),
            status: self.status(),
            motion: self.motion(),
            link: self.link(),
            late_risk: self.late_risk(),
            accuracy_m: self.accuracy_m(),
            aboard: self.aboard.clone(),
            fix_time: self.fix_time(),
            heard: self.heard(),
            changed: self.changed(),
        }
    }

    pub fn handle(&self) -> Handle {
        self.handle.get()
    }

    /// None: it is a delivery that waits.
    pub fn driver(&self) -> Option<&DriverId> {
        self.driver.get()
    }

    /// The delivery that it is, when nobody has that. Each that waits lists itself.
    pub fn waiting(&self) -> Option<&DeliveryId> {
        if self.driver.is_none() { self.aboard.first().map(|aboard| &aboard.delivery) } else { None }
    }

    /// The id of what it stands for.
    pub fn name(&self) -> IdText<'_> {
        let waiting = || self.waiting().map_or(IdText::EMPTY, DeliveryId::as_str);
        self.driver().map_or_else(waiting, DriverId::as_str)
    }

    /// Whether both stand for the same.
    pub fn is_of_same(&self, other: &Self) -> bool {
        self.driver == other.driver && (!self.driver.is_none() || self.waiting() == other.waiting())
    }

    /// Looks at where the ids of the marker lie, for who looks at many before the first. What it returns says nothing.
    pub fn glance_at_ids(&self) -> u8 {
        let delivery = self.aboard.first().map_or(0, |aboard| aboard.delivery.glance());
        delivery ^ u8::from(self.driver.is_none())
    }

    /// And then at where the text of its first delivery lies, when that is somewhere else.
    pub fn glance_at_texts(&self) -> u8 {
        self.aboard.first().map_or(0, |aboard| aboard.delivery.glance_at_text())
    }

    pub fn position(&self) -> Position {
        self.position
    }

    pub fn heading_deg(&self) -> Maybe<f32> {
        self.heading.degrees()
    }

    pub fn speed_mps(&self) -> f32 {
        self.speed.mps()
    }

    pub fn words(&self) -> Words {
        self.words
    }

    pub fn status(&self) -> Option<Status> {
        self.words.status()
    }

    pub fn motion(&self) -> Motion {
        self.words.motion()
    }

    pub fn link(&self) -> Link {
        self.words.link()
    }

    pub fn late_risk(&self) -> bool {
        self.words.late_risk()
    }

    pub fn accuracy_m(&self) -> Maybe<f32> {
        self.accuracy.metres()
    }

    pub fn aboard(&self) -> &AboardList {
        &self.aboard
    }

    /// How many there are, also beyond those listed.
    pub fn aboard_count(&self) -> u32 {
        self.aboard.count()
    }

    pub fn fix_time(&self) -> UnixMs {
        self.fix_time.get()
    }

    pub fn heard(&self) -> UnixMs {
        self.heard.get()
    }

    pub fn changed(&self) -> UnixMs {
        self.changed.get()
    }
}

#[cfg(test)]
impl Marker {
    /// Where its position and its accuracy lie, for who looks into each line that it takes.
    pub(crate) const OFFSETS: [usize; 2] = [std::mem::offset_of!(Self, position), std::mem::offset_of!(Self, accuracy)];
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::change::Aboard;
    use crate::model::tags::Attributes;

    fn waiting(id: &str) -> MarkerParts {
        let delivery = DeliveryId::parse(id).unwrap();
        MarkerParts {
            handle: Handle(1 << 52 | 7),
            driver: None,
            position: Position::from_e7(-1, 2),
            heading_deg: Maybe::some(1.5),
            speed_mps: 2.5,
            status: Some(Status::Cancelled),
            motion: Motion::Moving,
            link: Link::Lost,
            late_risk: true,
            accuracy_m: Maybe::some(3.5),
            aboard: vec![Aboard::of(delivery, Status::Cancelled, true, Attributes::default())].into(),
            fix_time: UnixMs(-62_135_596_800_000),
            heard: UnixMs(i64::MIN),
            changed: UnixMs(1_800_000_000_123),
        }
    }

    #[test]
    fn a_marker_is_small_and_says_what_it_was_made_of() {
        assert!(size_of::<Marker>() <= 72, "{}", size_of::<Marker>());
        let parts = waiting("d");
        let marker = Marker::of(parts.clone());
        assert_eq!(format!("{:?}", marker.parts()), format!("{parts:?}"));
        assert_eq!((marker.handle(), marker.position(), marker.speed_mps().to_bits()), (parts.handle, parts.position, parts.speed_mps.to_bits()));
        assert_eq!((marker.aboard_count(), marker.aboard(), marker.words().code()), (1, &parts.aboard, 0b1111_1100));
    }

    #[test]
    fn it_stands_for_its_driver_or_for_the_delivery_that_waits() {
        let (one, other) = (waiting("d"), waiting("e"));
        let van = |id: &str| Marker::of(MarkerParts { driver: Some(DriverId::parse(id).unwrap()), ..one.clone() });
        assert_eq!((&*van("v").name(), &*Marker::of(one.clone()).name()), ("v", "d"));
        assert!(van("v").waiting().is_none() && Marker::of(one.clone()).driver().is_none());
        assert!(van("v").is_of_same(&van("v")) && !van("v").is_of_same(&van("w")) && !van("v").is_of_same(&Marker::of(one.clone())));
        let elsewhere = Marker::of(MarkerParts { position: Position::from_e7(3, 4), ..one.clone() });
        assert!(Marker::of(one.clone()).is_of_same(&elsewhere) && !Marker::of(one).is_of_same(&Marker::of(other)));
    }
}
