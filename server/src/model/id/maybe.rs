//! An id that may be absent. Never stands for two absences.

use std::fmt;
use std::marker::PhantomData;

use super::Id;
use super::packed::Packed;

/// An id that may be absent, and takes no more room than one that is there.
#[derive(Clone, PartialEq, Eq)]
pub struct MaybeId<Id>(Id);

impl<Of> MaybeId<Id<Of>> {
    pub fn get(&self) -> Option<&Id<Of>> {
        (!self.is_none()).then_some(&self.0)
    }

    pub fn is_none(&self) -> bool {
        self.0.0 == Packed::NONE
    }
}

impl<Of> From<Option<Id<Of>>> for MaybeId<Id<Of>> {
    fn from(id: Option<Id<Of>>) -> Self {
        Self(id.unwrap_or(Id(Packed::NONE, PhantomData)))
    }
}

impl<Of> fmt::Debug for MaybeId<Id<Of>> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.get(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::super::DriverId;
    use super::*;

    #[test]
    fn an_id_that_may_be_absent_takes_no_more_room() {
        for id in ["x", "0192f0c1-2345-7abc-8def-0123456789ab", "a-name-of-more-than-15-bytes"] {
            let id = DriverId::parse(id).expect("a valid id");
            assert_eq!(MaybeId::from(Some(id.clone())).get(), Some(&id));
        }
        assert_eq!(MaybeId::<DriverId>::from(None).get(), None);
        assert_eq!(size_of::<MaybeId<DriverId>>(), 16);
    }
}
