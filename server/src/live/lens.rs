//! Lenses: the filters of a tenant's sessions, canonical and interned, so that equal ones share their chunks. Never looks at a credential.

use std::sync::Arc;

use crate::map::cells::LensId;
use crate::model::change::{Carrier, Marker};
use crate::model::id::DriverId;
use crate::wire;

/// A filter in its one spelling. Nothing set means everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// A bit for each status code; 0 stands for idle drivers.
    statuses: u16,
    /// Sorted, unique.
    drivers: Box<[DriverId]>,
}

impl Filter {
    pub const MAX_DRIVERS: usize = 256;

    /// None when it names what cannot exist.
    pub fn from_wire(filter: Option<&wire::Filter>) -> Option<Self> {
        let Some(filter) = filter else { return Some(Self::default()) };
        if filter.drivers.len() > Self::MAX_DRIVERS {
            return None;
        }
        let mut statuses = 0;
        for status in &filter.statuses {
            statuses |= u32::try_from(*status).ok().filter(|code| *code <= 12).map(|code| 1_u16 << code)?;
        }
        let mut drivers = filter.drivers.iter().map(|id| DriverId::parse(id).ok()).collect::<Option<Vec<_>>>()?;
        drivers.sort_unstable();
        drivers.dedup();
        Some(Self { statuses, drivers: drivers.into_boxed_slice() })
    }

    pub fn is_all(&self) -> bool {
        self.statuses == 0 && self.drivers.is_empty()
    }

    /// Whether a change of status can bring a marker in or take it out.
    pub fn asks_status(&self) -> bool {
        self.statuses != 0
    }

    /// The only drivers that can match; none means any marker can.
    pub fn drivers(&self) -> Option<&[DriverId]> {
        (!self.drivers.is_empty()).then_some(&*self.drivers)
    }

    pub fn holds_status(&self, code: u8) -> bool {
        self.statuses == 0 || self.statuses & (1 << code) != 0
    }

    pub fn holds(&self, code: u8, marker: &Marker) -> bool {
        let driver = self.drivers.is_empty() || matches!(&marker.carrier, Carrier::Driver(id) if self.drivers.binary_search(id).is_ok());
        driver && self.holds_status(code)
    }
}

/// A tenant's filters in use.
#[derive(Debug, Default)]
pub struct Lenses {
    slots: Vec<Option<(Arc<Filter>, usize)>>,
}

impl Lenses {
    pub const MAX: u8 = 64;

    /// The lens of this filter, one more user of it; none when all lenses are taken.
    pub fn take(&mut self, filter: Filter) -> Option<LensId> {
        for (index, slot) in (0..Self::MAX).zip(&mut self.slots) {
            if let Some((known, users)) = slot
                && **known == filter
            {
                *users += 1;
                return Some(LensId(index));
            }
        }
        let free = (0..Self::MAX).find(|index| self.slots.get(usize::from(*index)).is_none_or(Option::is_none))?;
        let used = Some((Arc::new(filter), 1));
        match self.slots.get_mut(usize::from(free)) {
            Some(slot) => *slot = used,
            None => self.slots.push(used),
        }
        Some(LensId(free))
    }

    pub fn give_back(&mut self, lens: LensId) {
        let Some(slot) = self.slots.get_mut(usize::from(lens.0)) else { return };
        if let Some((_, users)) = slot {
            *users -= 1;
            if *users == 0 {
                *slot = None;
            }
        }
    }

    pub fn filter(&self, lens: LensId) -> Arc<Filter> {
        let slot = self.slots.get(usize::from(lens.0)).and_then(Option::as_ref);
        slot.map(|(filter, _)| Arc::clone(filter)).expect("a session holds its lens until it gives it back")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_filters_share_a_lens_and_a_free_one_is_used_again() {
        let mut lenses = Lenses::default();
        let of = |drivers: &[&str]| {
            let drivers = drivers.iter().map(|id| (*id).to_owned()).collect();
            Filter::from_wire(Some(&wire::Filter { statuses: vec![], drivers })).unwrap()
        };
        let first = lenses.take(of(&["a", "b"])).unwrap();
        assert_eq!(lenses.take(of(&["b", "a", "b"])), Some(first));
        for number in 1..64 {
            assert!(lenses.take(of(&[&format!("d{number}")])).is_some());
        }
        assert_eq!(lenses.take(of(&["one more"])), None);
        lenses.give_back(first);
        assert_eq!(lenses.take(of(&["one more"])), None);
        lenses.give_back(first);
        assert_eq!(lenses.take(of(&["one more"])), Some(first));
        assert_eq!(Filter::from_wire(Some(&wire::Filter { statuses: vec![13], drivers: vec![] })), None);
    }
}
