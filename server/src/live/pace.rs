//! How well a session's link keeps up: what is unacknowledged, what it missed, and the levels that it loses for it. Never looks at the map.
//!
//! `in_flight <= max_frames_in_flight`, and behind only while something was missed.

use std::collections::VecDeque;

use super::Settings;
use super::stamp::Stamp;
use crate::map::levels::Level;
use crate::model::time::UnixMs;
use crate::wire;

#[derive(Debug)]
pub(super) struct Pace {
    /// Frames sent and not acknowledged, with their bytes.
    in_flight: VecDeque<(Stamp, usize)>,
    /// When it last acknowledged, or began to owe an acknowledgement.
    progress: UnixMs,
    /// Ticks whose changes it could not be sent; behind while there are any.
    missed_ticks: u32,
    behind_since: Option<UnixMs>,
    kept_up_since: UnixMs,
    /// Levels taken away from a slow link.
    penalty: usize,
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

impl Pace {
    pub(super) fn new(now: UnixMs) -> Self {
        Self { in_flight: VecDeque::new(), progress: now, missed_ticks: 0, behind_since: None, kept_up_since: now, penalty: 0 }
    }

    pub(super) fn penalty(&self) -> usize {
        self.penalty
    }

    pub(super) fn missed(&self) -> bool {
        self.missed_ticks > 0
    }

    pub(super) fn is_behind(&self) -> bool {
        self.behind_since.is_some()
    }

    /// Whether nothing more may be sent before something is acknowledged.
    pub(super) fn is_full(&self, settings: &Settings) -> bool {
        let bytes: usize = self.in_flight.iter().map(|(_, bytes)| bytes).sum();
        self.in_flight.len() >= settings.max_frames_in_flight || bytes >= settings.max_bytes_in_flight
    }

    /// Whether something was in flight for too long without an acknowledgement.
    pub(super) fn is_stuck(&self, now: UnixMs, settings: &Settings) -> bool {
        !self.in_flight.is_empty() && now.since(self.progress) >= settings.no_progress
    }

    pub(super) fn sent(&mut self, stamp: Stamp, bytes: usize, now: UnixMs) {
        if self.in_flight.is_empty() {
            self.progress = now;
        }
        self.in_flight.push_back((stamp, bytes));
    }

    pub(super) fn acknowledge(&mut self, stamp: Stamp, now: UnixMs) {
        while self.in_flight.front().is_some_and(|(sent, _)| *sent <= stamp) {
            self.in_flight.pop_front();
            self.progress = now;
        }
    }

    /// Counts a tick that could not be sent; the first of them is announced.
    pub(super) fn miss(&mut self, now: UnixMs) -> Option<wire::Lag> {
        self.missed_ticks = self.missed_ticks.saturating_add(1);
        if self.is_behind() {
            return None;
        }
        self.behind_since = Some(now);
        Some(wire::Lag { behind: true, merged_ticks: 0 })
    }

    /// All that was missed is being sent; announced when it was announced that something was.
    pub(super) fn catch_up(&mut self, now: UnixMs) -> Option<wire::Lag> {
        let merged_ticks = std::mem::take(&mut self.missed_ticks);
        self.behind_since.take()?;
        self.kept_up_since = now;
        (merged_ticks > 0).then_some(wire::Lag { behind: false, merged_ticks })
    }

    /// Takes a level away when it has been behind for a while, and gives one back when it kept up. True when it did either.
    pub(super) fn changes_level(&mut self, now: UnixMs, settings: &Settings) -> bool {
        if self.behind_since.is_some_and(|since| now.since(since) >= settings.coarsen_after) && self.penalty < Level::ALL.len() - 1 {
            self.penalty += 1;
            self.behind_since = Some(now);
            true
        } else if self.behind_since.is_none() && self.penalty > 0 && now.since(self.kept_up_since) >= settings.restore_after {
            self.penalty -= 1;
            self.kept_up_since = now;
            true
        } else {
            false
        }
    }
}
