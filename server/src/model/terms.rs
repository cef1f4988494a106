//! What a marker needs to know of a delivery but for its pings: kept once, and shared by all who know the delivery. Never changes; what is new is another one.

use std::ops::Deref;
use std::sync::Arc;

use super::change::Fix;
use super::id::{DeliveryId, Handle};
use super::maybe::{Maybe, MaybeMs};
use super::position::Position;
use super::status::Status;
use super::tags::Attributes;
use super::time::UnixMs;

#[derive(Clone, Debug, PartialEq)]
pub struct Terms {
    pub delivery: DeliveryId,
    /// What a carrier is shown under that is known by this delivery alone. Another one for each carrier: two of them must never share one.
    pub handle: Handle,
    pub status: Status,
    pub pickup: Option<Position>,
    pub destination: Option<Position>,
    pub promised_by: MaybeMs,
    /// From a `delivery.eta` event: outranks our own estimate.
    pub reported_eta: Maybe<UnixMs>,
    pub attributes: Attributes,
}

impl Terms {
    /// Of a delivery of which nothing is known yet.
    pub fn new(delivery: DeliveryId, handle: Handle) -> Self {
        Self {
            delivery,
            handle,
            status: Status::Created,
            pickup: None,
            destination: None,
            promised_by: MaybeMs::none(),
            reported_eta: Maybe::NONE,
            attributes: Attributes::default(),
        }
    }
}

/// What a marker needs to know of a delivery aboard (or waiting).
#[derive(Clone, Debug, PartialEq)]
pub struct Boarding {
    pub terms: Arc<Terms>,
    /// The newest ping that names this delivery.
    pub fix: Option<Box<Fix>>,
}

impl Deref for Boarding {
    type Target = Terms;

    fn deref(&self) -> &Terms {
        &self.terms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_are_small() {
        assert!(size_of::<Terms>() <= 64, "{}", size_of::<Terms>());
    }
}
