//! Who wants to be told of a cell, and of what. Holds no cell.

use super::cells::{LensId, SessionId};

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
