//! Coming back: which of a client's cells can be answered with a difference. Never sends anything.
//!
//! A client names the tick of the last frame it applied and the view which that frame echoed (not a newer one that no frame answered yet).
//! It then holds what its view's cells held at that tick. A cell whose box grew since may not have been in the view at that time, and
//! comes whole; a cell that emptied since comes whole and empty, if it is still known; if the memory does not reach back, all comes anew.

use h3o::CellIndex;

use crate::map::TenantMap;
use crate::map::cells::{CellKey, Tick};
use crate::map::levels::Level;
use crate::map::viewport::Viewport;

/// What a client that comes back holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resumed {
    /// Nothing that this server can tell: another epoch, or a view it has not seen.
    Unknown,
    At {
        base: Tick,
        resolution: u32,
    },
}

/// The cells that a client holds as of `base`.
#[derive(Debug)]
pub struct Held {
    pub base: Tick,
    pub unchanged_shape: Vec<CellIndex>,
    /// Empty since: to be sent whole.
    pub emptied: Vec<CellIndex>,
}

impl Resumed {
    /// What is held of a view that covers `cells` now; none when everything has to be sent anew.
    pub fn held(self, level: Level, viewport: &Viewport, cells: impl Iterator<Item = CellIndex>, map: &TenantMap) -> Option<Held> {
        let Self::At { base, resolution } = self else { return None };
        if u32::from(u8::from(level.resolution())) != resolution {
            return None;
        }
        let emptied = map.emptied_since(level, viewport, base)?;
        let grew_before = |cell: &CellIndex| map.cell(CellKey { level, cell: *cell }).is_some_and(|cell| cell.grew() <= base);
        Some(Held { base, unchanged_shape: cells.filter(grew_before).collect(), emptied })
    }
}
