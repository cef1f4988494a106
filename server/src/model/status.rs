//! The words for a delivery's status, and the separate words for link and motion. The rules of their change live in `track/` and `marker/`.

use std::str::FromStr;

/// Where a delivery stands. The discriminants are the wire numbers of `Status` in `waypost.proto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Status {
    Created = 1,
    Assigned = 2,
    EnRoutePickup = 3,
    AtPickup = 4,
    PickedUp = 5,
    EnRouteDropoff = 6,
    Approaching = 7,
    Arrived = 8,
    Delivered = 9,
    Failed = 10,
    Returned = 11,
    Cancelled = 12,
}

impl Status {
    pub const ALL: [Self; 12] = [
        Self::Created,
        Self::Assigned,
        Self::EnRoutePickup,
        Self::AtPickup,
        Self::PickedUp,
        Self::EnRouteDropoff,
        Self::Approaching,
        Self::Arrived,
        Self::Delivered,
        Self::Failed,
        Self::Returned,
        Self::Cancelled,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Assigned => "assigned",
            Self::EnRoutePickup => "en_route_pickup",
            Self::AtPickup => "at_pickup",
            Self::PickedUp => "picked_up",
            Self::EnRouteDropoff => "en_route_dropoff",
            Self::Approaching => "approaching",
            Self::Arrived => "arrived",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Returned => "returned",
            Self::Cancelled => "cancelled",
        }
    }

    /// True once nothing more is expected: delivered, returned, cancelled. (`failed` may still become a new attempt or a return.)
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Delivered | Self::Returned | Self::Cancelled)
    }

    /// How far a delivery has come, to choose one of several. A failed attempt is behind all that is under way: it says least about where its
    /// driver goes.
    pub fn advance(self) -> u8 {
        if self == Self::Failed { 0 } else { self.code() }
    }

    pub fn code(self) -> u8 {
        self as u8
    }

    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code).checked_sub(1)?).copied()
    }
}

impl FromStr for Status {
    type Err = UnknownStatus;

    fn from_str(text: &str) -> Result<Self, UnknownStatus> {
        Self::ALL.into_iter().find(|status| status.as_str() == text).ok_or(UnknownStatus)
    }
}

/// The text is none of the twelve statuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be one of created, assigned, en_route_pickup, at_pickup, picked_up, en_route_dropoff, approaching, arrived, delivered, failed, returned, cancelled"
)]
pub struct UnknownStatus;

/// How recently anything was heard, by ingest time. Wire numbers of `Link`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Link {
    #[default]
    Live = 0,
    Delayed = 1,
    Stale = 2,
    Lost = 3,
}

impl Link {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Delayed => "delayed",
            Self::Stale => "stale",
            Self::Lost => "lost",
        }
    }
}

/// Whether the marker moves, judged from its fixes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Motion {
    #[default]
    Stopped = 0,
    Moving = 1,
}

impl Motion {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Moving => "moving",
        }
    }
}

/// A marker's status, link, motion and risk of being late in one byte, the first three where the lowest bits of `Enter.meta` in `waypost.proto` have
/// them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Words(u8);

impl Words {
    pub fn of(status: Option<Status>, link: Link, motion: Motion, late_risk: bool) -> Self {
        Self(status.map_or(0, Status::code) | (link as u8) << 4 | (motion as u8) << 6 | u8::from(late_risk) << 7)
    }

    pub fn code(self) -> u8 {
        self.0
    }

    /// Zero: none.
    pub fn status_code(self) -> u8 {
        self.0 & 0xf
    }

    pub fn status(self) -> Option<Status> {
        Status::from_code(self.status_code())
    }

    pub fn link(self) -> Link {
        match self.0 >> 4 & 3 {
            0 => Link::Live,
            1 => Link::Delayed,
            2 => Link::Stale,
            _ => Link::Lost,
        }
    }

    pub fn motion(self) -> Motion {
        if self.0 >> 6 & 1 == 0 { Motion::Stopped } else { Motion::Moving }
    }

    pub fn late_risk(self) -> bool {
        self.0 >> 7 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_back() {
        for status in Status::ALL.into_iter().map(Some).chain([None]) {
            for link in [Link::Live, Link::Delayed, Link::Stale, Link::Lost] {
                for (motion, late_risk) in [(Motion::Stopped, true), (Motion::Moving, false)] {
                    let words = Words::of(status, link, motion, late_risk);
                    assert_eq!((words.status(), words.link(), words.motion(), words.late_risk()), (status, link, motion, late_risk));
                }
            }
        }
    }

    #[test]
    fn every_status_survives_its_text_and_its_code() {
        for status in Status::ALL {
            assert_eq!(status.as_str().parse(), Ok(status));
            assert_eq!(Status::from_code(status.code()), Some(status));
        }
        assert_eq!(Status::from_code(0), None);
        assert_eq!(Status::from_code(13), None);
        assert!("Delivered".parse::<Status>().is_err());
    }
}
