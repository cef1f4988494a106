//! The live map: each tenant's markers in H3 cells at five levels of detail. Pure; never encodes anything and never waits.

pub mod boxes;
pub mod cells;
pub mod levels;
pub mod query;
pub mod viewport;

use std::sync::Arc;

use h3o::{CellIndex, LatLng};
use hashbrown::HashMap;
use hashbrown::hash_map::Entry as Slot;
use parking_lot::RwLock;
use rstar::RTree;

use crate::model::change::{Carrier, Marker, MarkerChange};
use crate::model::id::{DeliveryId, DriverId, Handle, TenantId};
use crate::model::position::Position;
use crate::model::status::Status;
use boxes::Indexed;
use cells::{Cell, CellKey, Changed, Left, SessionId, Tick, Watcher, status_code};
use levels::Level;
use viewport::Viewport;

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
        self.tenants.entry(tenant.clone()).or_default()
    }

    pub fn tenants(&self) -> impl Iterator<Item = (&TenantId, &TenantMap)> {
        self.tenants.iter()
    }

    pub fn tenants_mut(&mut self) -> impl Iterator<Item = (&TenantId, &mut TenantMap)> {
        self.tenants.iter_mut()
    }

    /// Applies a change as part of `tick`.
    pub fn apply(&mut self, change: MarkerChange, tick: Tick) {
        match change {
            MarkerChange::Put(marker) => self.tenants.entry(marker.tenant.clone()).or_default().put(marker, tick),
            MarkerChange::Remove { tenant, handle, ended, .. } => {
                if let Some(map) = self.tenants.get_mut(&tenant) {
                    map.remove(handle, ended, tick);
                }
            }
        }
    }
}

/// A marker, where it stands, and when it last changed.
#[derive(Debug)]
pub struct Placed {
    pub marker: Arc<Marker>,
    finest: CellIndex,
    pub changed: Tick,
}

/// One tenant's map.
#[derive(Debug, Default)]
pub struct TenantMap {
    markers: HashMap<Handle, Placed>,
    by_delivery: HashMap<DeliveryId, Handle>,
    by_driver: HashMap<DriverId, Handle>,
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
    cells: HashMap<CellIndex, Cell>,
    /// Occupied cells by their boxes.
    occupied: RTree<Indexed<CellIndex>>,
    /// Empty cells that are kept for their history, each with the tick it emptied in.
    emptied: HashMap<CellIndex, Tick>,
}

/// Distinct viewports of sessions, so that a cell that appears finds those who look at its place.
#[derive(Debug, Default)]
struct Viewports {
    sessions: HashMap<ViewportKey, Vec<SessionId>>,
    tree: RTree<Indexed<ViewportKey>>,
}

type ViewportKey = (Level, [u64; 4]);

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
        self.markers.get(&handle)
    }

    /// The marker that carries a delivery (or is it, while it waits). A delivery beyond those that a marker lists is not found.
    pub fn by_delivery(&self, delivery: &str) -> Option<&Placed> {
        self.markers.get(self.by_delivery.get(delivery)?)
    }

    pub fn by_driver(&self, driver: &str) -> Option<&Placed> {
        self.markers.get(self.by_driver.get(driver)?)
    }

    pub fn cell(&self, key: CellKey) -> Option<&Cell> {
        self.levels[key.level.index()].cells.get(&key.cell)
    }

    pub fn cell_mut(&mut self, key: CellKey) -> Option<&mut Cell> {
        self.levels[key.level.index()].cells.get_mut(&key.cell)
    }

    /// Whether a marker stands in this cell.
    pub fn stands_in(placed: &Placed, key: CellKey) -> bool {
        key.level.cell_above(placed.finest) == key.cell
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

    /// Sessions whose viewport at this level meets the cell's box.
    pub fn lookers_at(&self, key: CellKey) -> Vec<SessionId> {
        let Some(cell) = self.cell(key) else { return Vec::new() };
        let mut found: Vec<SessionId> = cell
            .indexed
            .iter()
            .flat_map(|rect| self.viewports.tree.locate_in_envelope_intersecting(rect.envelope()))
            .filter(|view| view.item.0 == key.level)
            .flat_map(|view| self.viewports.sessions.get(&view.item).into_iter().flatten().copied())
            .collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    pub fn add_viewport(&mut self, session: SessionId, level: Level, viewport: &Viewport) {
        let key = (level, viewport.key());
        let sessions = self.viewports.sessions.entry(key).or_default();
        if sessions.is_empty() {
            for rect in viewport.rects() {
                self.viewports.tree.insert(Indexed { rect, item: key });
            }
        }
        sessions.push(session);
    }

    pub fn remove_viewport(&mut self, session: SessionId, level: Level, viewport: &Viewport) {
        let key = (level, viewport.key());
        let Slot::Occupied(mut slot) = self.viewports.sessions.entry(key) else { return };
        slot.get_mut().retain(|other| *other != session);
        if slot.get().is_empty() {
            slot.remove();
            for rect in viewport.rects() {
                self.viewports.tree.remove(&Indexed { rect, item: key });
            }
        }
    }

    pub fn watch(&mut self, key: CellKey, watcher: Watcher) {
        if let Some(cell) = self.cell_mut(key) {
            cell.watchers.retain(|other| other.session != watcher.session);
            cell.watchers.push(watcher);
        }
    }

    pub fn unwatch(&mut self, key: CellKey, session: SessionId) {
        if let Some(cell) = self.cell_mut(key) {
            cell.watchers.retain(|other| other.session != session);
        }
    }

    fn put(&mut self, marker: Arc<Marker>, tick: Tick) {
        let old = self.markers.remove(&marker.handle);
        let finest = self.finest_cell(marker.position, old.as_ref().map(|old| old.finest));
        self.reindex(old.as_ref().map(|old| &*old.marker), Some(&marker));
        let same_id = old.as_ref().is_some_and(|old| old.marker.carrier == marker.carrier);
        let old_status = old.as_ref().map(|old| status_code(&old.marker));
        for level in Level::ALL {
            let cell = CellKey { level, cell: level.cell_above(finest) };
            let old_cell = old.as_ref().map(|old| CellKey { level, cell: level.cell_above(old.finest) });
            match old_cell {
                Some(old_cell) if old_cell == cell => self.put_in(cell, &marker, same_id, old_status, tick),
                _ => {
                    if let (Some(old_cell), Some(status)) = (old_cell, old_status) {
                        self.take_from(old_cell, marker.handle, status, Left::Cell, tick);
                    }
                    self.put_in(cell, &marker, false, None, tick);
                }
            }
        }
        self.markers.insert(marker.handle, Placed { marker, finest, changed: tick });
    }

    fn remove(&mut self, handle: Handle, ended: Option<Status>, tick: Tick) {
        let Some(old) = self.markers.remove(&handle) else { return };
        self.reindex(Some(&old.marker), None);
        for level in Level::ALL {
            let cell = CellKey { level, cell: level.cell_above(old.finest) };
            self.take_from(cell, handle, status_code(&old.marker), Left::Map(ended), tick);
        }
    }

    /// Asks H3 only when the position is outside the inner circle of the cell it was last in.
    fn finest_cell(&self, position: Position, last: Option<CellIndex>) -> CellIndex {
        let cells = &self.levels[Level::Markers8.index()].cells;
        let still = |cell: &CellIndex| cells.get(cell).and_then(|cell| cell.inner).is_some_and(|inner| inner.contains(position));
        last.filter(still).unwrap_or_else(|| {
            let at = LatLng::new(position.lat(), position.lng()).expect("a position is finite");
            at.to_cell(Level::Markers8.resolution())
        })
    }

    fn put_in(&mut self, key: CellKey, marker: &Marker, same_id: bool, old_status: Option<u8>, tick: Tick) {
        let forgotten = self.forgotten;
        let level_map = &mut self.levels[key.level.index()];
        let cell = level_map.cells.entry(key.cell).or_insert_with(|| Cell::new(key, tick, forgotten));
        let was_changed = cell.changed;
        if cell.put(marker, same_id, old_status, tick) == Changed::Nothing && !same_id {
            cell.note(tick);
        }
        let shown = key.level.shown(marker.position);
        // Both calls must happen: what is shown and where it is may lie on different sides of the box.
        let grew = cell.extend(marker.position, tick) | cell.extend(shown, tick);
        if grew || cell.indexed.is_empty() {
            for rect in cell.indexed.drain(..) {
                level_map.occupied.remove(&Indexed { rect, item: key.cell });
            }
            cell.indexed = cell.rects();
            for rect in &cell.indexed {
                level_map.occupied.insert(Indexed { rect: *rect, item: key.cell });
            }
            level_map.emptied.remove(&key.cell);
            self.appeared.push(key);
        }
        if was_changed < tick && cell.changed == tick && !cell.watchers.is_empty() {
            self.dirty.push(key);
        }
    }

    fn take_from(&mut self, key: CellKey, handle: Handle, status: u8, left: Left, tick: Tick) {
        let level_map = &mut self.levels[key.level.index()];
        let Some(cell) = level_map.cells.get_mut(&key.cell) else { return };
        let was_changed = cell.changed;
        cell.remove(handle, status, left, tick);
        if was_changed < tick && cell.changed == tick && !cell.watchers.is_empty() {
            self.dirty.push(key);
        }
        if cell.population() == 0 {
            for rect in cell.indexed.drain(..) {
                level_map.occupied.remove(&Indexed { rect, item: key.cell });
            }
            level_map.emptied.insert(key.cell, tick);
        }
    }

    /// Forgets empty cells that nobody watches: all that emptied at or before `horizon`, and more when there are too many.
    pub fn forget_emptied(&mut self, horizon: Tick) {
        for level_map in &mut self.levels {
            let mut by_age: Vec<(Tick, CellIndex)> = level_map
                .emptied
                .iter()
                .filter(|(cell, _)| level_map.cells.get(*cell).is_none_or(|cell| cell.watchers.is_empty()))
                .map(|(cell, tick)| (*tick, *cell))
                .collect();
            by_age.sort_unstable();
            let excess = level_map.emptied.len().saturating_sub(Self::MAX_EMPTIED);
            for (index, (tick, cell)) in by_age.into_iter().enumerate() {
                if tick > horizon && index >= excess {
                    break;
                }
                level_map.emptied.remove(&cell);
                level_map.cells.remove(&cell);
                self.forgotten = self.forgotten.max(tick);
            }
        }
    }

    fn reindex(&mut self, old: Option<&Marker>, new: Option<&Marker>) {
        if let (Some(old), Some(new)) = (old, new)
            && old.carrier == new.carrier
            && (Arc::ptr_eq(&old.aboard, &new.aboard) || same_deliveries(old, new))
        {
            return;
        }
        if let Some(old) = old {
            for delivery in deliveries(old) {
                // The delivery may have gone to another marker already, in whose name it then stands.
                if self.by_delivery.get(delivery) == Some(&old.handle) {
                    self.by_delivery.remove(delivery);
                }
            }
            if let Carrier::Driver(driver) = &old.carrier
                && self.by_driver.get(driver) == Some(&old.handle)
            {
                self.by_driver.remove(driver);
            }
        }
        if let Some(new) = new {
            for delivery in deliveries(new) {
                self.by_delivery.insert(delivery.clone(), new.handle);
            }
            if let Carrier::Driver(driver) = &new.carrier {
                self.by_driver.insert(driver.clone(), new.handle);
            }
        }
    }
}

fn same_deliveries(old: &Marker, new: &Marker) -> bool {
    old.aboard.len() == new.aboard.len() && old.aboard.iter().zip(new.aboard.iter()).all(|(a, b)| a.delivery == b.delivery)
}

fn deliveries(marker: &Marker) -> impl Iterator<Item = &DeliveryId> {
    let own = match &marker.carrier {
        Carrier::Delivery(delivery) => Some(delivery),
        Carrier::Driver(_) => None,
    };
    own.into_iter().chain(marker.aboard.iter().map(|aboard| &aboard.delivery))
}
