//! When carriers have to be looked at again because nothing is heard of them: their links age, or a promise ends. Its time is log time; changes no carrier.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use super::entry::Entry;
use super::settings::MarkerSettings;
use crate::model::maybe::Maybe;
use crate::model::status::Link;
use crate::model::time::UnixMs;
use crate::slots::Slot;

/// A promise that ends later is looked at again after this: so there are few buckets, however far apart the promises are.
const PROMISES_LOOKED_AT_EVERY: Duration = Duration::from_mins(15);

/// Carriers that lie beside each other are looked at together, for all of them have to be some day, and mostly later than was thought: so of each nothing is
/// kept here.
#[derive(Debug, Default)]
pub(super) struct Due {
    /// Groups of carriers by seconds of log time since 1970.
    buckets: BTreeMap<u32, Vec<u32>>,
    /// The bucket that each group stands in; one that names the group after that is out of date.
    earliest: Vec<Maybe<u32>>,
}

impl Due {
    const GROUP: Slot = 32;

    pub(super) fn next(&self) -> Option<UnixMs> {
        self.buckets.first_key_value().map(|(second, _)| UnixMs(i64::from(*second) * 1000))
    }

    /// Of the earliest bucket that is due the places to look at. Whoever does says with `put` when that is next.
    pub(super) fn take(&mut self, now: UnixMs) -> Option<impl Iterator<Item = Range<Slot>> + use<>> {
        let first = self.buckets.first_entry().filter(|bucket| i64::from(*bucket.key()) <= now.0.div_euclid(1000))?;
        let (second, mut groups) = first.remove_entry();
        groups.retain(|group| self.earliest[*group as usize] == Maybe::some(second));
        for group in &groups {
            self.earliest[*group as usize] = Maybe::NONE;
        }
        Some(groups.into_iter().map(|group| group * Self::GROUP..(group + 1).saturating_mul(Self::GROUP)))
    }

    /// Sees to it that the group of an entry stands in a bucket no later than the second in which its link changes if it stays silent, or `promise_ends`. A
    /// bucket that is earlier is left: when it is due, the group is put off. So a ping that finds the link live costs nothing here.
    pub(super) fn put(&mut self, entry: &Entry, slot: Slot, promise_ends: Option<UnixMs>, now: UnixMs, settings: &MarkerSettings) {
        let link_changes = if entry.facts.driver().is_some() { settings.link.changes_at(entry.heard(), now) } else { None };
        let promise_ends = promise_ends.map(|at| at.min(now + PROMISES_LOOKED_AT_EVERY));
        let Some(at) = link_changes.into_iter().chain(promise_ends).min() else { return };
        // None is due after 2106, when the seconds do not fit.
        let Ok(second) = u32::try_from(at.0.saturating_add(999).div_euclid(1000).max(0)) else { return };
        let group = slot / Self::GROUP;
        if self.earliest.len() <= group as usize {
            self.earliest.resize(group as usize + 1, Maybe::NONE);
        }
        let earliest = &mut self.earliest[group as usize];
        if earliest.get().is_none_or(|bucket| second < bucket) {
            *earliest = Maybe::some(second);
            self.buckets.entry(second).or_default().push(group);
        }
    }
}

/// Nobody expects a parcel on a shelf to speak.
pub(super) fn link_of(entry: &Entry, now: UnixMs, settings: &MarkerSettings) -> Link {
    if entry.facts.driver().is_some() { settings.link.link(entry.heard(), now) } else { Link::Live }
}
