//! Who wants to be told of a cell, and of what. Holds no cell.

use super::cells::{LensId, SessionId};
use crate::model::id::Handle;

/// Who wants a cell's changes, and through which filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watcher {
    pub session: SessionId,
    pub lens: LensId,
    pub interest: Interest,
}

/// Which changes of a marker that stays in a cell a watcher is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Interest {
    /// Those that the cell shows.
    Shown,
    /// And those of what is aboard: which deliveries, their statuses, attributes and risks.
    Aboard,
    /// Each: the lens looks at exact places as well.
    Each,
}

/// What a cell keeps while somebody looks at it.
#[derive(Debug, Default)]
pub(super) struct Watch {
    pub(super) watchers: Vec<Watcher>,
    /// What changed in the newest tick in which something did, so that the usual difference (since the tick before) need not look at every member.
    pub(super) touched: Vec<Handle>,
    /// Whether `touched` holds all that changed in that tick.
    pub(super) touched_is_whole: bool,
}

impl Watch {
    pub(super) fn remove(&mut self, session: SessionId) {
        self.watchers.retain(|other| other.session != session);
    }
}
