//! What a session's client holds of the cells of its view, each as of which tick, and what it is owed first. Encodes nothing and never sends.

use h3o::CellIndex;
use hashbrown::HashMap;

use super::stamp::Stamp;
use crate::map::TenantMap;
use crate::map::cells::{CellKey, Tick};
use crate::map::levels::Level;
use crate::model::time::UnixMs;

/// A tick, and when it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment {
    pub(super) tick: Tick,
    pub(super) at: UnixMs,
}

/// A cell is covered if it is in `behind`, and then held, as of earlier than `base`.
#[derive(Debug)]
pub(super) struct Held {
    /// Cells of the view; true once the client holds the cell, or has it under way.
    covered: HashMap<CellIndex, bool>,
    /// Some covered cells may not be held yet.
    any_fresh: bool,
    /// As of when the cells are held, all but those behind.
    base: Moment,
    /// What the last frames had no room for.
    behind: HashMap<CellIndex, Moment>,
    /// A view that was taken up has cells that were never told. Not so for those that appear in it later.
    is_new: bool,
    /// Since when something of each cell of the view is held, as was acknowledged.
    whole_since: UnixMs,
    /// The frame after which it is, while that is on its way: what it carries is not out of date for the time that it takes.
    whole_after: Option<Stamp>,
}

impl Held {
    pub(super) fn new(tick: Tick, now: UnixMs) -> Self {
        let base = Moment { tick, at: now };
        Self { covered: HashMap::new(), any_fresh: false, base, behind: HashMap::new(), is_new: false, whole_since: now, whole_after: None }
    }

    pub(super) fn cells(&self) -> impl Iterator<Item = CellIndex> {
        self.covered.keys().copied()
    }

    pub(super) fn len(&self) -> usize {
        self.covered.len()
    }

    pub(super) fn covers(&self, cell: CellIndex) -> bool {
        self.covered.contains_key(&cell)
    }

    pub(super) fn holds(&self, cell: CellIndex) -> bool {
        self.covered.get(&cell) == Some(&true)
    }

    /// As of when it holds a cell.
    pub(super) fn base(&self) -> Tick {
        self.base.tick
    }

    /// Whether it lacks a cell of its view.
    pub(super) fn lacks_cells(&self) -> bool {
        self.any_fresh
    }

    /// Whether each cell is held as of one and the same tick.
    pub(super) fn is_even(&self) -> bool {
        self.behind.is_empty()
    }

    /// As of when everything held is held at least; none while a cell is lacking.
    pub(super) fn floor(&self) -> Option<Tick> {
        let behind = self.behind.values().map(|moment| moment.tick);
        (!self.any_fresh).then(|| behind.fold(self.base.tick, Tick::min))
    }

    /// Since when the oldest of what is held is out of date. A view that is still being told is not out of date.
    pub(super) fn stale_since(&self, missed: bool) -> Option<UnixMs> {
        let oldest = self.behind.values().map(|moment| moment.at).chain(missed.then_some(self.base.at)).min();
        oldest.filter(|_| !self.is_new && self.whole_after.is_none()).map(|at| at.max(self.whole_since))
    }

    /// Gives out the cells of a view that goes.
    pub(super) fn take(&mut self) -> HashMap<CellIndex, bool> {
        self.is_new = true;
        std::mem::take(&mut self.covered)
    }

    /// Covers a cell, held already or not.
    pub(super) fn cover(&mut self, cell: CellIndex, held: bool) {
        self.covered.insert(cell, held);
        self.any_fresh |= !held;
    }

    pub(super) fn forget(&mut self, cell: CellIndex) {
        self.behind.remove(&cell);
    }

    /// Nothing is held any more.
    pub(super) fn reset(&mut self) {
        self.behind.clear();
        self.covered.values_mut().for_each(|held| *held = false);
        self.any_fresh = true;
    }

    /// What is held is held as of `tick`, though it was not said on this connection.
    pub(super) fn start_from(&mut self, tick: Tick) {
        self.base.tick = tick;
    }

    /// Told everything up to `tick`, except for what is behind.
    pub(super) fn told(&mut self, tick: Tick, now: UnixMs) {
        self.base = Moment { tick, at: now };
    }

    pub(super) fn lacking(&self) -> Vec<CellIndex> {
        self.covered.iter().filter(|(_, held)| !**held).map(|(cell, _)| *cell).collect()
    }

    pub(super) fn hold(&mut self, cell: CellIndex) {
        self.covered.insert(cell, true);
    }

    /// Whether cells are lacking still, as one look found.
    pub(super) fn lacks(&mut self, any: bool) {
        self.any_fresh = any;
    }

    /// A frame was sent, perhaps the last of a new view.
    pub(super) fn sent(&mut self, stamp: Stamp) {
        if self.is_new && !self.any_fresh {
            (self.is_new, self.whole_after) = (false, Some(stamp));
        }
    }

    pub(super) fn acknowledged(&mut self, stamp: Stamp, now: UnixMs) {
        if self.whole_after.is_some_and(|whole| whole <= stamp) {
            (self.whole_after, self.whole_since) = (None, now);
        }
    }

    /// The held cells that changed since they were told, the oldest first. Nothing is behind from here on: what cannot be told is to be given back.
    pub(super) fn take_outdated(&mut self, map: &TenantMap, level: Level) -> Vec<(CellIndex, Moment)> {
        let held = self.covered.iter().filter(|(_, held)| **held).map(|(cell, _)| *cell);
        let mut outdated: Vec<_> = held
            .filter_map(|cell| {
                let base = self.behind.get(&cell).copied().unwrap_or(self.base);
                let changed = map.cell(CellKey { level, cell })?.changed();
                (changed > base.tick).then_some((cell, base))
            })
            .collect();
        outdated.sort_unstable_by_key(|(_, base)| *base);
        self.behind.clear();
        outdated
    }

    pub(super) fn is_lacking(&self, cell: CellIndex) -> bool {
        self.covered.get(&cell) == Some(&false)
    }

    /// A cell that was not told.
    pub(super) fn leave_behind(&mut self, cell: CellIndex, base: Moment) {
        self.behind.insert(cell, base);
    }
}
