//! What a narrowed session was told of cells of counts: when others come and go in one, it is not to notice. Encodes nothing.

use h3o::CellIndex;
use hashbrown::HashMap;

use super::chunk::{Chunk, Tally};

/// The checksum of the counts last told of each cell; of a cell of which nothing was told, or last that it is empty, there is none. Bounded by the
/// cells of a view.
#[derive(Debug, Default)]
pub(super) struct Told(HashMap<CellIndex, u32>);

impl Told {
    /// Notes a chunk of `cell`, and says whether it tells anything new. What is not counted for a narrowed session always does.
    pub(super) fn is_new(&mut self, cell: CellIndex, chunk: &Chunk) -> bool {
        let Some(Tally { is_empty, checksum }) = chunk.tally else { return true };
        let before = if is_empty { self.0.remove(&cell) } else { self.0.insert(cell, checksum) };
        before != (!is_empty).then_some(checksum)
    }

    pub(super) fn forget(&mut self, cell: CellIndex) {
        self.0.remove(&cell);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}
