//! The live map: each tenant's markers in H3 cells at five levels of detail. Pure; never encodes anything and never waits.

mod arrivals;
pub mod boxes;
pub mod cells;
pub mod counts;
mod ground;
mod held;
mod inner;
pub mod levels;
mod markers;
mod moves;
pub mod placed;
pub mod query;
pub mod removals;
pub mod seek;
pub mod viewport;
pub mod watcher;
mod watching;

use std::sync::Arc;

use h3o::CellIndex;
use hashbrown::{HashMap, HashSet};
use parking_lot::RwLock;
use rstar::RTree;

use crate::model::change::MarkerChange;
use crate::model::id::{DeliveryId, DriverId, Handle, TenantId};
use arrivals::Arrivals;
use boxes::Indexed;
use cells::{Cell, CellKey, Tick};
use ground::Grounds;
use levels::Level;
use markers::Markers;
use placed::Placed;
use viewport::Viewport;
use watcher::Interest;
use watching::Viewports;

/// The live task is the only writer; REST reads.
pub type SharedMap = Arc<RwLock<Map>>;

/// All tenants' maps. Each stands alone: no query or cell reaches across.
#[derive(Debug, Default)]
pub struct Map {
    tenants: HashMap<TenantId, TenantMap>,
}

impl Map {
    pub fn tenant(&self, tenant: &TenantId) -> Option<&TenantMap> {
        self.tenants.get(tenant)
    }

    pub fn tenant_mut(&mut self, tenant: &TenantId) -> &mut TenantMap {
        self.tenants.entry(*tenant).or_default()
    }

    pub fn tenants(&self) -> impl Iterator<Item = (&TenantId, &TenantMap)> {
        self.tenants.iter()
    }

    pub fn tenants_mut(&mut self) -> impl Iterator<Item = (&TenantId, &mut TenantMap)> {
        self.tenants.iter_mut()
    }

    /// Looks at the markers that these changes are of, and at the cells that have to be told, and changes nothing: done for all before the
    /// first is applied, the waits for memory overlap.
    pub fn look_ahead(&self, changes: &[MarkerChange]) {
        let known = changes.iter().filter_map(|change| {
            let MarkerChange::Put { tenant, marker } = change else { return None };
            let map = self.tenants.get(tenant)?;
            let placed = map.marker(marker.handle())?;
            let (ground, finest) = (map.grounds.at(placed.ground), &map.levels[Level::Markers8.index()]);
            let told = finest.watched.contains(&ground.finest).then(|| finest.cells.get(&ground.finest)).flatten();
            Some(placed.glance(ground) ^ told.map_or(0, |cell| cell.changed().0 ^ cell.watchers().len() as u64))
        });
        // What is found is of no use here; without a use it would not be looked for.
        std::hint::black_box(known.fold(0, u64::wrapping_add));
    }

    /// Applies a change as part of `tick`.
    pub fn apply(&mut self, change: MarkerChange, tick: Tick) {
        match change {
            MarkerChange::Put { tenant, marker } => self.tenant_mut(&tenant).put(marker, tick),
            MarkerChange::Remove { tenant, handle, ended, .. } => {
                if let Some(map) = self.tenants.get_mut(&tenant) {
                    map.remove(handle, ended, tick);
                }
            }
        }
    }
}

/// One tenant's map.
#[derive(Debug, Default)]
pub struct TenantMap {
    markers: Markers,
    arrivals: Arrivals,
    grounds: Grounds,
    levels: [LevelMap; 5],
    /// Cells that somebody watches and that changed since `take_dirty`.
    dirty: Vec<CellKey>,
    /// Cells that became occupied or grew since `take_appeared`: viewports over them have to be told.
    appeared: Vec<CellKey>,
    /// Cells without a history reach back to this tick: whatever emptied before it is forgotten.
    forgotten: Tick,
    viewports: Viewports,
}

#[derive(Debug, Default)]
struct LevelMap {
    /// Boxed, for a table has room for twice as many.
    cells: HashMap<CellIndex, Box<Cell>>,
    /// Occupied cells by their boxes.
    occupied: RTree<Indexed<CellIndex>>,
    /// Empty cells that are kept for their history, each with the tick it emptied in.
    emptied: HashMap<CellIndex, Tick>,
    /// Cells that somebody watches, so that a change in any other need not look at its cell: `watched == cells whose watchers are not empty`.
    watched: HashSet<CellIndex>,
    /// Those of them with a watcher that is told of more than the cell shows, and the most that one is told of.
    keen: HashMap<CellIndex, Interest>,
}

impl TenantMap {
    /// Empty cells kept for their history before unwatched ones are forgotten, by level.
    pub const MAX_EMPTIED: usize = 4_096;

    pub fn len(&self) -> usize {
        self.markers.len()
    }

    pub fn is_empty(&self) -> bool {
        self.markers.is_empty()
    }

    pub fn marker(&self, handle: Handle) -> Option<&Placed> {
        self.markers.get(handle)
    }

    /// The cell of the finest level that a marker of this map stands in.
    pub fn finest(&self, placed: &Placed) -> CellIndex {
        self.grounds.at(placed.ground).finest
    }

    pub fn stands_in(&self, placed: &Placed, key: CellKey) -> bool {
        key.level.cell_above(self.finest(placed)) == key.cell
    }

    /// The marker that carries a delivery (or is it, while it waits). A delivery beyond those that a marker lists is not found.
    pub fn by_delivery(&self, delivery: &DeliveryId) -> Option<&Placed> {
        self.markers.by_delivery(delivery)
    }

    pub fn by_driver(&self, driver: &DriverId) -> Option<&Placed> {
        self.markers.by_driver(driver)
    }

    pub fn cell(&self, key: CellKey) -> Option<&Cell> {
        self.levels[key.level.index()].cells.get(&key.cell).map(Box::as_ref)
    }

    pub fn cell_mut(&mut self, key: CellKey) -> Option<&mut Cell> {
        self.levels[key.level.index()].cells.get_mut(&key.cell).map(Box::as_mut)
    }

    /// The markers in a cell of a level of markers: those of the finest cells in it.
    pub fn members<'m>(&'m self, cell: &'m Cell) -> impl Iterator<Item = &'m Placed> {
        let (finest, level) = (Level::Markers8, cell.key.level);
        let below = (level == Level::Markers6).then(|| cell.key.cell.children(finest.resolution())).into_iter().flatten();
        let cells = (level == finest).then_some(cell).into_iter().chain(below.filter_map(move |cell| self.cell(CellKey { level: finest, cell })));
        cells.flat_map(|cell| cell.members().iter().filter_map(|slot| self.markers.at(*slot)))
    }

    /// Markers of a cell that may have changed since `base`, by handle.
    pub fn changed_since<'m>(&'m self, cell: &'m Cell, base: Tick) -> Vec<&'m Placed> {
        let mut changed: Vec<&'m Placed> = match cell.touched_since(base) {
            Some(touched) => {
                touched.iter().filter_map(|handle| self.markers.get(*handle)).filter(|placed| self.stands_in(placed, cell.key)).collect()
            }
            // What is aboard may have changed while nobody was told of that.
            None => self.members(cell).filter(|placed| placed.newest_change(cell.key.level) > base).collect(),
        };
        changed.sort_unstable_by_key(|placed| placed.marker.handle());
        changed.dedup_by_key(|placed| placed.marker.handle());
        changed
    }

    /// Occupied cells whose box meets the viewport; a cell across 180 degrees may come twice.
    pub fn cover(&self, level: Level, viewport: &Viewport) -> impl Iterator<Item = CellIndex> {
        let occupied = &self.levels[level.index()].occupied;
        viewport.rects().into_iter().flat_map(move |rect| occupied.locate_in_envelope_intersecting(rect.envelope()).map(|found| found.item))
    }

    /// Cells that emptied after `base` and whose box meets the viewport. None when history does not reach back to `base`.
    pub fn emptied_since(&self, level: Level, viewport: &Viewport, base: Tick) -> Option<Vec<CellIndex>> {
        let level_map = &self.levels[level.index()];
        let meets = |cell: &CellIndex| level_map.cells.get(cell).is_some_and(|cell| viewport.intersects(&cell.rects()));
        (base >= self.forgotten)
            .then(|| level_map.emptied.iter().filter(|(cell, tick)| **tick > base && meets(cell)).map(|(cell, _)| *cell).collect())
    }

    pub fn take_dirty(&mut self) -> Vec<CellKey> {
        std::mem::take(&mut self.dirty)
    }

    pub fn take_appeared(&mut self) -> Vec<CellKey> {
        std::mem::take(&mut self.appeared)
    }

    /// Forgets empty cells that nobody watches: all that emptied at or before `horizon`, and more when there are too many.
    pub fn forget_emptied(&mut self, horizon: Tick) {
        for level_map in &mut self.levels {
            let mut by_age: Vec<(Tick, CellIndex)> =
                level_map.emptied.iter().filter(|(cell, _)| !level_map.watched.contains(*cell)).map(|(cell, tick)| (*tick, *cell)).collect();
            by_age.sort_unstable();
            let excess = level_map.emptied.len().saturating_sub(Self::MAX_EMPTIED);
            for (index, (tick, cell)) in by_age.into_iter().enumerate() {
                if tick > horizon && index >= excess {
                    break;
                }
                level_map.emptied.remove(&cell);
                if let Some(ground) = level_map.cells.remove(&cell).and_then(|cell| cell.ground.get()) {
                    self.grounds.remove(ground);
                }
                self.forgotten = self.forgotten.max(tick);
            }
        }
    }
}
