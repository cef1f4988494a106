//! The newest ping of a driver or delivery: what is kept of it, and which of two stands. Never knows whether it may be shown.

use std::cmp::Ordering;

use crate::model::change::Fix;
use crate::model::event::{Event, Location, OrderKey};
use crate::model::id::DriverId;
use crate::model::maybe::Maybe;
use crate::model::position::Position;

/// A ping's place in the order, and what it says.
#[derive(Clone, Debug, PartialEq)]
pub struct Ping {
    pub order: OrderKey,
    pub(super) spot: Spot,
}

/// What a ping says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spot {
    position: Position,
    accuracy_m: Maybe<f32>,
    speed_mps: Maybe<f32>,
    heading_deg: Maybe<f32>,
    altitude_m: Maybe<f32>,
    battery: Maybe<f32>,
}

/// A ping that names a delivery, and the driver or tracker that sent it.
#[derive(Clone, Debug, PartialEq)]
pub struct DeliveryPing {
    pub ping: Ping,
    pub actor: DriverId,
}

impl Ping {
    pub(super) fn of(event: &Event, location: &Location) -> Self {
        Self { order: event.order_key(), spot: Spot::of(location) }
    }

    pub fn location(&self) -> Location {
        self.spot.location()
    }

    pub(super) fn compare(&self, event: &Event, location: &Location) -> Ordering {
        self.spot.compare(&self.order, event, location)
    }

    /// As the marker stage needs it.
    pub fn fix(&self) -> Fix {
        self.spot.fix(&self.order)
    }
}

impl Spot {
    pub(super) fn of(location: &Location) -> Self {
        let Location { position, accuracy_m, speed_mps, heading_deg, altitude_m, battery } = *location;
        Self {
            position,
            accuracy_m: accuracy_m.into(),
            speed_mps: speed_mps.into(),
            heading_deg: heading_deg.into(),
            altitude_m: altitude_m.into(),
            battery: battery.into(),
        }
    }

    fn location(&self) -> Location {
        Location {
            position: self.position,
            accuracy_m: self.accuracy_m.get(),
            speed_mps: self.speed_mps.get(),
            heading_deg: self.heading_deg.get(),
            altitude_m: self.altitude_m.get(),
            battery: self.battery.get(),
        }
    }

    /// The ping that says this and has that place in the order, against the ping that `event` is: by order key, and under one key by content, so that the first
    /// to come does not decide.
    pub(super) fn compare(&self, order: &OrderKey, event: &Event, location: &Location) -> Ordering {
        let by_key = order.effective_time.cmp(&event.stamp.effective_time).then_with(|| order.event_id.cmp(&event.id));
        by_key.then_with(|| location_rank(&self.location()).cmp(&location_rank(location)))
    }

    pub(super) fn fix(&self, order: &OrderKey) -> Fix {
        Fix::of(order.clone(), &self.location())
    }
}

pub(super) fn position_rank(position: Position) -> (i32, i32) {
    (position.lat_e7(), position.lng_e7())
}

fn location_rank(location: &Location) -> ((i32, i32), [Option<u32>; 5]) {
    let Location { position, accuracy_m, speed_mps, heading_deg, altitude_m, battery } = location;
    (position_rank(*position), [accuracy_m, speed_mps, heading_deg, altitude_m, battery].map(|value| value.map(f32::to_bits)))
}
