//! Where a cell's counts stand on the map: among its markers, not at its centre. Never looks at a single marker.

use crate::map::TenantMap;
use crate::map::boxes::wrapped;
use crate::map::cells::{Cell, CellKey};
use crate::map::levels::Level;
use crate::model::position::Position;

/// The mean of the centres of the next finer level's cells, weighted by their markers: off by less than such a cell, which is a few pixels
/// at the zooms of these levels. The centre of the cell itself may lie in the sea, a hundred kilometres from the only city in it.
pub(super) fn of_counts(map: &TenantMap, cell: &Cell) -> Position {
    let centre = cell.origin();
    let Some(finer) = cell.key.level.index().checked_sub(1).map(|index| Level::ALL[index]) else { return centre };
    let (mut north, mut east, mut markers) = (0.0, 0.0, 0.0);
    for child in cell.key.cell.children(finer.resolution()) {
        let Some(child) = map.cell(CellKey { level: finer, cell: child }) else { continue };
        let (at, weight) = (child.origin(), f64::from(child.population()));
        north += (at.lat() - centre.lat()) * weight;
        east += wrapped(at.lng() - centre.lng()) * weight;
        markers += weight;
    }
    if markers == 0.0 {
        return centre;
    }
    Position::from_degrees(centre.lat() + north / markers, wrapped(centre.lng() + east / markers)).unwrap_or(centre)
}
