//! What a marker needs to know of a delivery but for its pings: kept once, and shared by all who know the delivery. Never changes; what is new is another one.

use std::ops::Deref;
use std::ptr;

use super::change::Fix;
use super::id::{DeliveryId, Handle};
use super::maybe::{Maybe, MaybeMs};
use super::position::Position;
use super::short::Short;
use super::status::Status;
use super::tags::Attributes;
use super::time::UnixMs;

/// With one count, for nobody asks for terms that all others have let go: two would take another 16 bytes of each delivery.
pub type SharedTerms = triomphe::Arc<Terms>;

#[derive(Clone, Debug, PartialEq)]
pub struct Terms {
    pub delivery: DeliveryId,
    /// What a carrier is shown under that is known by this delivery alone. Another one for each carrier: two of them must never share one.
    pub handle: Short<Handle>,
    pub status: Status,
    pub pickup: Option<Position>,
    pub destination: Option<Position>,
    pub promised_by: MaybeMs,
    pub rare: Rare,
}

/// What few deliveries have. Of the others it is one empty pointer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rare(Option<Box<Known>>);

/// Never all absent, so that equal ones lie alike.
#[derive(Clone, Debug, Default, PartialEq)]
struct Known {
    reported_eta: Maybe<UnixMs>,
    attributes: Attributes,
}

impl Terms {
    /// Of a delivery of which nothing is known yet.
    pub fn new(delivery: DeliveryId, handle: Handle) -> Self {
        Self {
            delivery,
            handle: handle.into(),
            status: Status::Created,
            pickup: None,
            destination: None,
            promised_by: MaybeMs::none(),
            rare: Rare::default(),
        }
    }

    /// From a `delivery.eta` event: outranks our own estimate.
    pub fn reported_eta(&self) -> Option<UnixMs> {
        self.rare.0.as_ref().and_then(|known| known.reported_eta.get())
    }

    pub fn attributes(&self) -> &Attributes {
        self.rare.0.as_ref().map_or(&Attributes::NONE, |known| &known.attributes)
    }

    /// Has the same attributes. Of terms with themselves, as they mostly are compared, no other memory is asked.
    pub fn is_tagged_as(&self, other: &Self) -> bool {
        ptr::eq(self, other) || self.attributes() == other.attributes()
    }

    pub fn set_reported_eta(&mut self, eta: Option<UnixMs>) {
        self.rare.set(|known| known.reported_eta = eta.into());
    }

    pub fn set_attributes(&mut self, attributes: Attributes) {
        self.rare.set(|known| known.attributes = attributes);
    }
}

impl Rare {
    fn set(&mut self, change: impl FnOnce(&mut Known)) {
        let mut known = self.0.take().unwrap_or_default();
        change(&mut known);
        self.0 = (*known != Known::default()).then_some(known);
    }
}

/// What a marker needs to know of a delivery aboard (or waiting).
#[derive(Clone, Debug, PartialEq)]
pub struct Boarding {
    pub terms: SharedTerms,
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

    /// As triomphe lays it out.
    #[repr(C)]
    struct WithItsCount(usize, Terms);

    #[test]
    fn terms_are_small() {
        assert!(size_of::<Terms>() <= 56, "{}", size_of::<Terms>());
        assert!(size_of::<WithItsCount>() <= 64, "more than a piece of 64 bytes");
        assert_eq!(size_of::<SharedTerms>(), 8);
    }

    #[test]
    fn what_is_rare_and_was_taken_back_leaves_nothing() {
        let never = Terms::new(DeliveryId::parse("d").unwrap(), Handle(1));
        let mut terms = never.clone();
        let attributes = Attributes::new(vec![("size".into(), "3".into())]);
        terms.set_attributes(attributes.clone());
        terms.set_reported_eta(Some(UnixMs(7)));
        assert_eq!((terms.attributes(), terms.reported_eta()), (&attributes, Some(UnixMs(7))));
        terms.set_attributes(Attributes::default());
        assert_eq!((terms.attributes(), terms.reported_eta()), (&Attributes::default(), Some(UnixMs(7))));
        assert_ne!(terms, never);
        terms.set_reported_eta(None);
        assert_eq!(terms, never);
        assert!(terms.rare.0.is_none());
    }
}
