//! Lenses: what the sessions of a tenant ask to see and may see, canonical and interned, so that equal ones share their chunks. No other code
//! of the live stage looks at rights.

use std::borrow::Cow;
use std::sync::Arc;

use crate::map::cells::{Entry, LensId, Tick, status_code};
use crate::map::watcher::Interest;
use crate::model::change::Aboard;
use crate::model::id::DriverId;
use crate::model::marker::Marker;
use crate::model::scope::Scope;
use crate::model::tags::TagWish;
use crate::wire;

const ALL_STATUSES: u16 = (1 << 13) - 1;

/// A wish and a right in their one spelling. Nothing set means everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// A bit for each status code; 0 stands for idle drivers.
    statuses: u16,
    /// The drivers wished for are a scope as well, within the credential's.
    scope: Scope,
    /// Asked of one delivery, together: it is tagged with any of these, and it is at risk of being late.
    tags: TagWish,
    late_risk: bool,
    narrowed: bool,
}

impl Filter {
    /// The wish alone. None when it names what cannot exist.
    pub fn from_wire(filter: Option<&wire::Filter>) -> Option<Self> {
        let Some(filter) = filter else { return Some(Self::default()) };
        let mut statuses = 0;
        for status in &filter.statuses {
            statuses |= u32::try_from(*status).ok().filter(|code| *code <= 12).map(|code| 1_u16 << code)?;
        }
        if filter.drivers.len() > Scope::MAX_LISTED {
            return None;
        }
        let drivers = filter.drivers.iter().map(|id| DriverId::parse(id).ok()).collect::<Option<Vec<_>>>()?;
        let scope = Scope::new((!drivers.is_empty()).then_some(drivers), None, None).ok()?;
        let tags = TagWish::parse(filter.tags.iter().map(String::as_str)).ok()?;
        // All of them are as good as none.
        let statuses = if statuses == ALL_STATUSES { 0 } else { statuses };
        Some(Self { statuses, scope, tags, late_risk: filter.late_risk, narrowed: false })
    }

    /// The wish of one for whom only this exists.
    #[must_use]
    pub fn seen_through(self, credential: &Scope) -> Self {
        if credential.is_all() {
            return self;
        }
        Self { scope: self.scope.within(credential), narrowed: true, ..self }
    }

    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Whether it is not only a wish: what it leaves out does not exist for who looks through it, and is not told of by leaving or emptying.
    pub fn is_narrowed(&self) -> bool {
        self.narrowed
    }

    /// Whether it names all that can be seen.
    pub fn lists_ids(&self) -> bool {
        self.scope.drivers().is_some() || self.scope.deliveries().is_some()
    }

    /// Exact places and what is aboard may change where nothing changes that a cell shows.
    pub fn interest(&self) -> Interest {
        if !self.scope.areas().is_empty() {
            Interest::Each
        } else if self.looks_aboard() {
            Interest::Aboard
        } else {
            Interest::Shown
        }
    }

    /// Whether a marker that changed since `base` may have come in or gone out without entering or leaving its cell, wherever it stands.
    pub fn is_unsure(&self, entry: &Entry, base: Tick) -> bool {
        (self.statuses != 0 || self.looks_aboard()) && entry.status_changed > base
    }

    /// Whether it asks for more of the deliveries aboard than the status that their marker has of them.
    pub fn looks_aboard(&self) -> bool {
        self.scope.deliveries().is_some() || self.asks_for_tags() || self.late_risk
    }

    pub fn asks_for_tags(&self) -> bool {
        !self.tags.is_empty()
    }

    pub fn asks_for_late_risk(&self) -> bool {
        self.late_risk
    }

    pub fn holds_status(&self, code: u8) -> bool {
        self.statuses == 0 || self.statuses & (1 << code) != 0
    }

    /// The marker as it is seen through this; none when it is not.
    pub fn seen<'a>(&self, marker: &'a Marker) -> Option<Cow<'a, Marker>> {
        self.scope.seen(marker).filter(|seen| self.holds_status(status_code(seen)) && self.holds_aboard(seen))
    }

    fn holds_aboard(&self, marker: &Marker) -> bool {
        if self.late_risk && !marker.late_risk() {
            return false;
        }
        let holds = |aboard: &Aboard| (aboard.late_risk || !self.late_risk) && self.tags.is_met_by(aboard.attributes());
        !self.asks_for_tags() || marker.aboard().iter().any(holds)
    }
}

/// A tenant's filters in use.
#[derive(Debug, Default)]
pub struct Lenses {
    slots: Vec<Option<(Arc<Filter>, usize)>>,
    narrowed: usize,
}

impl Lenses {
    /// Wishes of those who see all: each makes every cell one more chunk.
    pub const MAX_WISHES: usize = 64;
    /// Lenses of those who see a part. Each recipient of a delivery has one, and it shows one marker.
    pub const MAX_NARROWED: usize = 4_096;

    /// The lens of this filter, one more user of it; none when all lenses are taken.
    pub fn take(&mut self, filter: Filter) -> Option<LensId> {
        let mut free = None;
        for (index, slot) in self.slots.iter_mut().enumerate() {
            match slot {
                Some((known, users)) if **known == filter => {
                    *users += 1;
                    return Some(lens_of(index));
                }
                Some(_) => {}
                None => free = free.or(Some(index)),
            }
        }
        let used = self.slots.iter().flatten().count();
        let full = if filter.narrowed { self.narrowed >= Self::MAX_NARROWED } else { used - self.narrowed >= Self::MAX_WISHES };
        if full {
            return None;
        }
        self.narrowed += usize::from(filter.narrowed);
        let slot = Some((Arc::new(filter), 1));
        match free {
            Some(index) => self.slots[index] = slot,
            None => self.slots.push(slot),
        }
        Some(lens_of(free.unwrap_or(self.slots.len() - 1)))
    }

    pub fn give_back(&mut self, lens: LensId) {
        let Some(slot) = self.slots.get_mut(usize::from(lens.0)) else { return };
        if let Some((filter, users)) = slot {
            *users -= 1;
            if *users == 0 {
                self.narrowed -= usize::from(filter.narrowed);
                *slot = None;
            }
        }
    }

    pub fn filter(&self, lens: LensId) -> Arc<Filter> {
        let slot = self.slots.get(usize::from(lens.0)).and_then(Option::as_ref);
        slot.map(|(filter, _)| Arc::clone(filter)).expect("a session holds its lens until it gives it back")
    }
}

fn lens_of(index: usize) -> LensId {
    LensId(u16::try_from(index).expect("both limits together fit"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_filters_share_a_lens_and_a_free_one_is_used_again() {
        let mut lenses = Lenses::default();
        let of = |drivers: &[&str]| {
            let drivers = drivers.iter().map(|id| (*id).to_owned()).collect();
            Filter::from_wire(Some(&wire::Filter { drivers, ..wire::Filter::default() })).unwrap()
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
        assert_eq!(Filter::from_wire(Some(&wire::Filter { statuses: vec![13], ..wire::Filter::default() })), None);
    }

    #[test]
    fn a_wish_has_one_spelling_and_what_is_no_tag_is_refused() {
        let of = |statuses: &[i32], tags: &[&str], late_risk| {
            let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
            Filter::from_wire(Some(&wire::Filter { statuses: statuses.to_vec(), tags, late_risk, ..wire::Filter::default() }))
        };
        assert_eq!(of(&[5, 2, 5], &["b", "a=1", "a=0"], true), of(&[2, 5], &["a=0", "b=9", "a=1", "b"], true));
        assert_eq!(of(&(0..13).collect::<Vec<_>>(), &[], false), Some(Filter::default()), "all are as good as none");
        let distinct = [of(&[], &["a"], false), of(&[], &["a="], false), of(&[], &["a"], true), of(&[], &[], true), of(&[0], &[], false)];
        assert!(distinct.iter().enumerate().all(|(index, one)| one.is_some() && !distinct[..index].contains(one)));
        let many: Vec<String> = (0..65).map(|number| number.to_string()).collect();
        for tags in [&["=x"][..], &["ok", ""], &many.iter().map(String::as_str).collect::<Vec<_>>()] {
            assert_eq!(of(&[], tags, false), None, "{tags:?}");
        }
    }

    #[test]
    fn who_sees_a_part_takes_no_lens_from_those_who_see_all_and_shares_none_with_them() {
        let drivers = |numbers: std::ops::Range<usize>| {
            let ids = numbers.map(|number| DriverId::parse(&format!("d{number}")).unwrap()).collect();
            Scope::new(Some(ids), None, None).unwrap()
        };
        let mut lenses = Lenses::default();
        for number in 0..Lenses::MAX_NARROWED {
            assert!(lenses.take(Filter::default().seen_through(&drivers(number..number + 1))).is_some());
        }
        assert_eq!(lenses.take(Filter::default().seen_through(&drivers(1..3))), None);
        let wish = Filter::from_wire(Some(&wire::Filter { drivers: vec!["d1".to_owned()], ..wire::Filter::default() })).unwrap();
        let wished = lenses.take(wish.clone()).unwrap();
        assert_eq!(lenses.filter(wished).scope(), &drivers(1..2));
        let right = lenses.take(wish.seen_through(&drivers(0..9))).expect("as that of d1 alone");
        assert!(right != wished && lenses.filter(right).is_narrowed());
    }
}
