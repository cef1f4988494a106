//! How well a session keeps up: what it missed, when it is told so, and the levels that it loses for it. Never looks at the map.

use std::time::Duration;

use super::Settings;
use super::link::Link;
use crate::map::levels::Level;
use crate::model::time::UnixMs;
use crate::wire;

#[derive(Debug)]
pub(super) struct Pace {
    pub(super) link: Link,
    /// Ticks whose changes it could not be sent.
    missed_ticks: u32,
    /// It was told that it is behind.
    behind: bool,
    kept_up_since: UnixMs,
    /// Levels taken away from a slow link.
    penalty: usize,
    /// How often a level had to be taken away of late: each time it waits twice as long to get it back.
    failures: u32,
}

/// What a session gets in the tick under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It has the tick before: the shared chunks.
    Shared,
    /// It missed some: the difference since its base.
    CatchUp,
    /// Too much is unacknowledged.
    Blocked,
}

/// A session that got a level back and lost it again is not tried for longer than `restore_after` times two to the power of this.
const MAX_FAILURES: u32 = 5;

impl Pace {
    pub(super) fn new(now: UnixMs) -> Self {
        Self { link: Link::new(now), missed_ticks: 0, behind: false, kept_up_since: now, penalty: 0, failures: 0 }
    }

    pub(super) fn penalty(&self) -> usize {
        self.penalty
    }

    pub(super) fn missed(&self) -> bool {
        self.missed_ticks > 0
    }

    pub(super) fn is_behind(&self) -> bool {
        self.behind
    }

    /// Counts a tick that could not be sent, or not whole; the first of them is announced.
    pub(super) fn miss(&mut self) -> Option<wire::Lag> {
        self.missed_ticks = self.missed_ticks.saturating_add(1);
        self.link.is_saturated();
        (!std::mem::replace(&mut self.behind, true)).then_some(wire::Lag { behind: true, merged_ticks: 0 })
    }

    /// All that was missed is being sent; announced when it was announced that something was.
    pub(super) fn catch_up(&mut self, now: UnixMs) -> Option<wire::Lag> {
        let merged_ticks = std::mem::take(&mut self.missed_ticks);
        if !std::mem::take(&mut self.behind) {
            return None;
        }
        self.kept_up_since = now;
        Some(wire::Lag { behind: false, merged_ticks })
    }

    /// Takes a level away from who is shown what is too old, or would wait too long for its view, and gives one back to who kept up for a while. True
    /// when it did either.
    pub(super) fn changes_level(&mut self, staleness: Duration, owed_bytes: usize, now: UnixMs, settings: &Settings) -> bool {
        let waits_long = self.link.time_for(owed_bytes).is_some_and(|time| time > settings.view_within);
        if (staleness >= settings.coarsen_after || waits_long) && self.penalty < Level::ALL.len() - 1 {
            self.penalty += 1;
            self.failures = (self.failures + 1).min(MAX_FAILURES);
            self.kept_up_since = now;
            return true;
        }
        let patience = settings.restore_after * (1 << self.failures.saturating_sub(1));
        if self.behind || now.since(self.kept_up_since) < patience {
            return false;
        }
        self.kept_up_since = now;
        if self.penalty == 0 {
            self.failures = 0;
            return false;
        }
        self.penalty -= 1;
        self.link.forget_rate();
        true
    }
}
