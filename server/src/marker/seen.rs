//! A fix as the marker stage looks at it, and where it lets a marker stand. Keeps nothing.

use crate::model::change::Fix;
use crate::model::maybe::Maybe;
use crate::model::position::Position;
use crate::model::time::UnixMs;

/// How fast and where to its sender went at a fix, as far as was said.
#[derive(Clone, Copy, Debug, Default)]
pub struct Way {
    pub(super) speed_mps: Maybe<f32>,
    pub(super) heading_deg: Maybe<f32>,
}

/// A fix as it is looked at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seen {
    /// Its event time.
    pub time: UnixMs,
    pub position: Position,
    pub accuracy_m: Maybe<f32>,
    pub speed_mps: Maybe<f32>,
    pub heading_deg: Maybe<f32>,
}

impl From<&Fix> for Seen {
    fn from(fix: &Fix) -> Self {
        let Fix { order, position, accuracy_m, speed_mps, heading_deg } = fix;
        Self { time: order.effective_time, position: *position, accuracy_m: *accuracy_m, speed_mps: *speed_mps, heading_deg: *heading_deg }
    }
}

/// Where a marker stands and how that is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Place {
    At(Seen),
    WaitingAt(Position),
}
