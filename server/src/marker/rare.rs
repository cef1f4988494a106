//! What only some carriers have, behind one pointer, so that the many others pay eight bytes for all of it. Never knows what they all have.

use std::sync::Arc;

use super::load::{Many, is_visible};
use super::seen::Way;
use crate::model::change::{AboardList, DutyFact, Fix};
use crate::model::id::{EventId, Handle};
use crate::model::maybe::{Maybe, MaybeMs};

/// Boxes in a box: who has one of these things mostly has no other.
#[derive(Debug, Default)]
pub(super) struct Rare {
    pub(super) duty: Option<Box<Duty>>,
    /// The newest fix that names the one delivery aboard.
    pub(super) fix: Option<Box<Fix>>,
    pub(super) many: Option<Box<Many>>,
    /// What the map lists, when that is not the one delivery aboard as it is known now.
    pub(super) listed: AboardList,
    /// What the marker goes by, when that is nobody's who is aboard alone.
    pub(super) kept_handle: Maybe<Handle>,
    /// What the map's marker goes by, when that is another handle than what it goes by now.
    pub(super) shown_handle: Maybe<Handle>,
    /// Event time of the newest fix that was weighed, when that is not the driver's own.
    pub(super) weighed: MaybeMs,
}

#[derive(Debug)]
pub(super) struct Duty {
    /// Sorted by order key.
    pub(super) facts: Arc<[DutyFact]>,
    /// Of the own fix, for when it was sent at the very moment of a duty event.
    pub(super) own_event: EventId,
    /// Of the own fix, when it came under this duty or one before.
    pub(super) way: Way,
}

impl Rare {
    pub(super) fn is_nothing(&self) -> bool {
        let Self { duty, fix, many, listed, kept_handle, shown_handle, weighed } = self;
        let no_boxes = duty.is_none() && fix.is_none() && many.is_none();
        no_boxes && listed.is_empty() && kept_handle.is_none() && shown_handle.is_none() && weighed.get().is_none()
    }

    pub(super) fn duty(&self) -> &[DutyFact] {
        self.duty.as_ref().map_or(&[], |duty| &duty.facts)
    }

    /// The newest fix that names a delivery aboard and was sent on duty.
    pub(super) fn newest_aboard(&self) -> Option<&Fix> {
        match &self.many {
            Some(many) => many.newest(),
            None => self.fix.as_deref().filter(|fix| is_visible(&fix.order, self.duty())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_rare_is_small_all_the_same() {
        assert!(size_of::<Rare>() <= 64, "{}", size_of::<Rare>());
        assert!(Rare::default().is_nothing());
    }
}
