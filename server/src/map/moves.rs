//! How a marker comes, moves and goes: which cells it enters and leaves, which boxes grow, whom that concerns. Never answers a question.

use h3o::{CellIndex, LatLng};

use super::TenantMap;
use super::boxes::{CellBox, Indexed};
use super::cells::{Cell, CellKey, Tick};
use super::counts::Counted;
use super::ground::Grounds;
use super::levels::Level;
use super::placed::{News, Placed};
use super::removals::{Left, Removal};
use super::watcher::Interest;
use crate::model::id::Handle;
use crate::model::marker::Marker;
use crate::model::position::Position;
use crate::model::status::Status;
use crate::slots::Slot;

impl TenantMap {
    /// Puts a marker on the map, or what is new of it.
    pub(super) fn put(&mut self, marker: Marker, tick: Tick) {
        let Some(slot) = self.markers.slot(marker.handle()) else { return self.add(marker, tick) };
        let Some(placed) = self.markers.at_mut(slot) else { return };
        let (handle, position) = (marker.handle(), marker.position());
        let ground = self.grounds.at(placed.ground);
        let (before, inside) = (ground.finest, ground.inner.contains(position));
        let finest = if inside { before } else { finest_cell(position) };
        let news = placed.renew(marker, tick);
        if let Some(old) = &news.renamed {
            self.markers.forget_ids(slot, old);
            self.markers.note_ids(slot);
            self.arrivals.note(slot);
        }
        if finest == before {
            // Who stays in its finest cell stays in all above.
            for level in Level::ALL {
                self.keep(level, finest, slot, handle, &news, tick);
            }
        } else {
            self.cross(before, finest, slot, handle, &news, tick);
        }
        if !inside {
            self.make_room(finest, position, finest != before, tick);
        }
    }

    /// Lets a marker go from one finest cell to another, and likewise above where those differ.
    fn cross(&mut self, before: CellIndex, finest: CellIndex, slot: Slot, handle: Handle, news: &News, tick: Tick) {
        for level in Level::ALL {
            let (key, old_key) = (key_above(level, finest), key_above(level, before));
            if key == old_key {
                self.keep(level, finest, slot, handle, news, tick);
            } else {
                self.leave(old_key, slot, handle, news.old, Left::Cell, tick);
                self.enter(key, slot, handle, news.now, tick);
            }
        }
    }

    /// Tells the cell at one level of a change of a marker that stays in it, if it has to know.
    fn keep(&mut self, level: Level, finest: CellIndex, slot: Slot, handle: Handle, news: &News, tick: Tick) {
        match news.shown.get(level.index()) {
            Some(true) => self.touch(level, finest, handle, tick),
            Some(false) => self.touch_keen(level, finest, slot, handle, news, tick),
            None => self.recount(level, finest, news, tick),
        }
    }

    pub(super) fn remove(&mut self, handle: Handle, ended: Option<Status>, tick: Tick) {
        let Some(slot) = self.markers.slot(handle) else { return };
        let Some((finest, counted)) = self.markers.at(slot).map(|placed| (self.finest(placed), Counted::of(&placed.marker))) else { return };
        for level in Level::ALL {
            self.leave(key_above(level, finest), slot, handle, counted, Left::Map(ended), tick);
        }
        if let Some(gone) = self.markers.remove(slot) {
            self.markers.forget_ids(slot, &gone.marker);
        }
    }

    fn add(&mut self, marker: Marker, tick: Tick) {
        let (handle, position, counted) = (marker.handle(), marker.position(), Counted::of(&marker));
        let finest = finest_cell(position);
        let slot = self.markers.insert(Placed::new(marker, tick));
        self.markers.note_ids(slot);
        self.arrivals.note(slot);
        for level in Level::ALL {
            self.enter(key_above(level, finest), slot, handle, counted, tick);
        }
        self.make_room(finest, position, true, tick);
    }

    fn enter(&mut self, key: CellKey, slot: Slot, handle: Handle, counted: Counted, tick: Tick) {
        let (forgotten, grounds) = (self.forgotten, &mut self.grounds);
        let cell = self.levels[key.level.index()].cells.entry(key.cell).or_insert_with(|| Box::new(new_cell(key, grounds, tick, forgotten)));
        let index = cell.admit(slot, counted);
        if !key.level.is_counts()
            && let Some(placed) = self.markers.at_mut(slot)
        {
            placed.entered[key.level.index()] = tick.into();
            placed.shown_changed[key.level.index()] = tick.into();
            placed.index = index.unwrap_or(placed.index);
            placed.ground = cell.ground.get().unwrap_or(placed.ground);
        }
        if cell.note(Some(handle), tick) {
            self.dirty.push(key);
        }
    }

    fn leave(&mut self, key: CellKey, slot: Slot, handle: Handle, counted: Counted, left: Left, tick: Tick) {
        let level = key.level.index();
        let level_map = &mut self.levels[level];
        let Some(cell) = level_map.cells.get_mut(&key.cell) else { return };
        let index = self.markers.at(slot).map_or(0, |placed| placed.index);
        let follower = cell.dismiss(index, counted);
        if let Some(placed) = follower.and_then(|follower| self.markers.at_mut(follower)) {
            placed.index = index;
        }
        if !key.level.is_counts() {
            cell.remember(Removal::new(handle, tick, left));
        }
        if cell.note(None, tick) {
            self.dirty.push(key);
        }
        if cell.population() == 0 {
            if std::mem::take(&mut cell.is_indexed) {
                for rect in cell.rects() {
                    level_map.occupied.remove(&Indexed { rect, item: key.cell });
                }
            }
            level_map.emptied.insert(key.cell, tick);
        }
    }

    /// Notes for those who watch a cell that a marker changed and stays in it. Asks for no cell where nobody watches one.
    fn touch(&mut self, level: Level, finest: CellIndex, handle: Handle, tick: Tick) {
        let level_map = &mut self.levels[level.index()];
        if level_map.watched.is_empty() {
            return;
        }
        let key = key_above(level, finest);
        if level_map.watched.contains(&key.cell) && level_map.cells.get_mut(&key.cell).is_some_and(|cell| cell.note(Some(handle), tick)) {
            self.dirty.push(key);
        }
    }

    /// As `touch`, for who is told also of what the cell does not show.
    fn touch_keen(&mut self, level: Level, finest: CellIndex, slot: Slot, handle: Handle, news: &News, tick: Tick) {
        if !self.is_told(level, finest, news) {
            return;
        }
        if let Some(placed) = self.markers.at_mut(slot) {
            placed.shown_changed[level.index()] = tick.into();
        }
        self.touch(level, finest, handle, tick);
    }

    /// Whether somebody is told of this though the cell shows no change.
    fn is_told(&self, level: Level, finest: CellIndex, news: &News) -> bool {
        let keen = &self.levels[level.index()].keen;
        let most = if keen.is_empty() { None } else { keen.get(&level.cell_above(finest)) };
        most.is_some_and(|most| *most == Interest::Each || news.aboard)
    }

    /// Counts a marker that stays in a cell of counts. Another marker of the same status is no change of the counts, but lenses that name
    /// drivers have to look again; a risk of being late is counted and shown to those who ask for it alone.
    fn recount(&mut self, level: Level, finest: CellIndex, news: &News, tick: Tick) {
        let shown = !news.same_id || news.old.status != news.now.status || self.is_told(level, finest, news);
        if !shown && news.old == news.now {
            return;
        }
        let key = key_above(level, finest);
        let Some(cell) = self.levels[level.index()].cells.get_mut(&key.cell) else { return };
        cell.recount(news.old, news.now);
        if shown && cell.note(None, tick) {
            self.dirty.push(key);
        }
    }

    /// Lets the boxes of all cells above a position hold it. A cell's box holds the boxes of all occupied cells below it, so that a move
    /// inside one of those concerns nobody else.
    fn make_room(&mut self, finest: CellIndex, position: Position, entered: bool, tick: Tick) {
        let key = key_above(Level::Markers8, finest);
        let Some(grew) = self.grow(key, |cell| cell.extend(position, tick)) else { return };
        let Some(below) = self.cell(key).map(|cell| *cell.area()) else { return };
        if !grew && !entered && !below.is_polar() {
            return;
        }
        for level in &Level::ALL[1..] {
            self.grow(key_above(*level, finest), |cell| extend_over(cell, &below, position, tick));
        }
    }

    /// Lets a cell's box grow, and sees to it that an occupied cell is found under its present box. None: there is no such cell.
    fn grow(&mut self, key: CellKey, extend: impl FnOnce(&mut Cell) -> bool) -> Option<bool> {
        let level_map = &mut self.levels[key.level.index()];
        let cell = level_map.cells.get_mut(&key.cell)?;
        let before = *cell.area();
        let grew = extend(cell);
        if grew || !cell.is_indexed {
            if std::mem::replace(&mut cell.is_indexed, true) {
                for rect in before.rects() {
                    level_map.occupied.remove(&Indexed { rect, item: key.cell });
                }
            }
            for rect in cell.rects() {
                level_map.occupied.insert(Indexed { rect, item: key.cell });
            }
            level_map.emptied.remove(&key.cell);
            self.appeared.push(key);
        }
        Some(grew)
    }
}

/// Corners say nothing of a box around a pole: there each position counts, where it is and where it is shown.
fn extend_over(cell: &mut Cell, below: &CellBox, position: Position, tick: Tick) -> bool {
    if below.is_polar() {
        return cell.extend(position, tick) | cell.extend(cell.key.level.shown(position), tick);
    }
    cell.extend_over(below, tick)
}

fn new_cell(key: CellKey, grounds: &mut Grounds, tick: Tick, forgotten: Tick) -> Cell {
    let ground = (key.level == Level::Markers8).then(|| grounds.add(key.cell));
    Cell::new(key, ground.into(), tick, forgotten)
}

fn finest_cell(position: Position) -> CellIndex {
    let at = LatLng::new(position.lat(), position.lng()).expect("a position is finite");
    at.to_cell(Level::Markers8.resolution())
}

fn key_above(level: Level, finest: CellIndex) -> CellKey {
    CellKey { level, cell: level.cell_above(finest) }
}
