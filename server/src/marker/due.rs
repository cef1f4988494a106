//! When a carrier has to be looked at again because nothing is heard of it: its link ages, or a promise ends. Its time is log time; changes no carrier
//! but for the bucket that it stands in.

use std::collections::BTreeMap;
use std::time::Duration;

use super::entry::Entry;
use super::settings::MarkerSettings;
use crate::model::change::Carrier;
use crate::model::maybe::Maybe;
use crate::model::status::Link;
use crate::model::time::UnixMs;
use crate::slots::Slot;

/// A promise that ends later is looked at again after this: so there are few buckets, however far apart the promises are.
const PROMISES_LOOKED_AT_EVERY: Duration = Duration::from_mins(15);

/// Buckets of carriers by seconds of log time since 1970. A carrier stands in at most one that counts; see `Entry::due`.
#[derive(Debug, Default)]
pub(super) struct Due(BTreeMap<u32, Vec<Slot>>);

impl Due {
    pub(super) fn next(&self) -> Option<UnixMs> {
        self.0.first_key_value().map(|(second, _)| UnixMs(i64::from(*second) * 1000))
    }

    /// The earliest bucket that is due, and its second.
    pub(super) fn take(&mut self, now: UnixMs) -> Option<(u32, Vec<Slot>)> {
        let first = self.0.first_entry().filter(|bucket| i64::from(*bucket.key()) <= now.0.div_euclid(1000))?;
        Some(first.remove_entry())
    }

    /// Sees to it that an entry stands in a bucket no later than the second in which its link changes if it stays silent, or `promise_ends`. A bucket
    /// that is earlier is left: when it is due, the entry is put off. So a ping that finds the link live costs nothing here.
    pub(super) fn put(&mut self, entry: &mut Entry, slot: Slot, promise_ends: Option<UnixMs>, now: UnixMs, settings: &MarkerSettings) {
        let link_changes = match entry.carrier {
            Carrier::Driver(_) => settings.link.changes_at(entry.heard(), now),
            Carrier::Delivery(_) => None,
        };
        let promise_ends = promise_ends.map(|at| at.min(now + PROMISES_LOOKED_AT_EVERY));
        let Some(at) = link_changes.into_iter().chain(promise_ends).min() else { return };
        // None is due after 2106, when the seconds do not fit.
        let Ok(second) = u32::try_from(at.0.saturating_add(999).div_euclid(1000).max(0)) else { return };
        if entry.due.get().is_none_or(|bucket| second < bucket) {
            entry.due = Maybe::some(second);
            self.0.entry(second).or_default().push(slot);
        }
    }
}

/// Nobody expects a parcel on a shelf to speak.
pub(super) fn link_of(entry: &Entry, now: UnixMs, settings: &MarkerSettings) -> Link {
    if matches!(entry.carrier, Carrier::Delivery(_)) { Link::Live } else { settings.link.link(entry.heard(), now) }
}
