//! Who looks at which cells, and whose viewports lie where a cell appears. Never knows what a session was sent.

use h3o::CellIndex;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry as Slot;
use rstar::RTree;

use super::boxes::{Indexed, Rects};
use super::cells::{CellKey, SessionId, Tick};
use super::levels::Level;
use super::viewport::Viewport;
use super::watcher::{Interest, Watcher};
use super::{LevelMap, TenantMap};

/// Distinct viewports of sessions, so that a cell that appears finds those who look at its place.
#[derive(Debug, Default)]
pub(super) struct Viewports {
    sessions: HashMap<ViewportKey, Vec<SessionId>>,
    tree: RTree<Indexed<ViewportKey>>,
}

type ViewportKey = (Level, [u64; 4]);

impl TenantMap {
    pub fn watch(&mut self, key: CellKey, watcher: Watcher) {
        let level_map = &self.levels[key.level.index()];
        let Some(cell) = level_map.cells.get(&key.cell) else { return };
        let newly = !level_map.watched.contains(&key.cell);
        // Who is the first to be told of what is aboard may come back with what it held before that was noted.
        let keener = watcher.interest > Interest::Shown && !level_map.keen.contains_key(&key.cell);
        let newest = ((newly || keener) && !key.level.is_counts())
            .then(|| self.members(cell).map(|placed| placed.newest_change(key.level)).max().unwrap_or(Tick(0)));

        let level_map = &mut self.levels[key.level.index()];
        let Some(cell) = level_map.cells.get_mut(&key.cell) else { return };
        level_map.watched.insert(key.cell);
        if newly {
            // It may have changed in the tick under way already, and would not be told of the next change in it as of the first.
            self.dirty.push(key);
        }
        if let Some(newest) = newest {
            let before = cell.changed();
            cell.wake(newest);
            if !newly && cell.changed() > before {
                self.dirty.push(key);
            }
        }
        cell.add_watcher(watcher);
        level_map.note_interest(key.cell);
    }

    pub fn unwatch(&mut self, key: CellKey, session: SessionId) {
        let level_map = &mut self.levels[key.level.index()];
        let Some(cell) = level_map.cells.get_mut(&key.cell) else { return };
        cell.remove_watcher(session);
        if cell.watchers().is_empty() {
            level_map.watched.remove(&key.cell);
        }
        level_map.note_interest(key.cell);
    }

    /// The cells that somebody looks at, of all levels.
    pub fn watched(&self) -> impl Iterator<Item = CellIndex> {
        self.levels.iter().flat_map(|level| level.watched.iter().copied())
    }

    /// Sessions whose viewport at this level meets the cell's box.
    pub fn lookers_at(&self, key: CellKey) -> Vec<SessionId> {
        let Some(cell) = self.cell(key) else { return Vec::new() };
        let boxes = if cell.is_indexed { cell.rects() } else { Rects::new() };
        let mut found: Vec<SessionId> = boxes
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
}

impl LevelMap {
    fn note_interest(&mut self, cell: CellIndex) {
        let watchers = self.cells.get(&cell).map_or(&[][..], |cell| cell.watchers());
        match watchers.iter().map(|watcher| watcher.interest).max() {
            Some(most @ (Interest::Aboard | Interest::Each)) => {
                self.keen.insert(cell, most);
            }
            Some(Interest::Shown) | None => {
                self.keen.remove(&cell);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use hashbrown::HashSet;
    use proptest::prelude::*;

    use super::*;
    use crate::map::Map;
    use crate::map::cells::{Entry, LensId};
    use crate::map::placed::Placed;
    use crate::model::change::{AboardList, MarkerChange};
    use crate::model::id::{DriverId, Handle, TenantId};
    use crate::model::marker::{Marker, MarkerParts};
    use crate::model::maybe::Maybe;
    use crate::model::position::Position;
    use crate::model::status::{Link, Motion, Status};
    use crate::model::time::UnixMs;

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Put {
            number: u64,
            place: (f64, f64),
            status: usize,
        },
        Remove {
            number: u64,
        },
        /// The cell that the marker stands in, or stood in last.
        Watch {
            number: u64,
            level: usize,
            session: u64,
            lens: u16,
        },
        Unwatch {
            number: u64,
            level: usize,
            session: u64,
        },
        Forget,
        Tick,
    }

    fn step() -> impl Strategy<Value = Step> {
        let place = (57.70..57.73_f64, 11.95..12.0_f64);
        let put = (0..12_u64, place, 0..3_usize).prop_map(|(number, place, status)| Step::Put { number, place, status });
        let watch =
            (0..12_u64, 0..5_usize, 0..4_u64, 0..2_u16).prop_map(|(number, level, session, lens)| Step::Watch { number, level, session, lens });
        let unwatch = (0..12_u64, 0..5_usize, 0..4_u64).prop_map(|(number, level, session)| Step::Unwatch { number, level, session });
        let remove = (0..12_u64).prop_map(|number| Step::Remove { number });
        prop_oneof![12 => put, 3 => remove, 5 => watch, 4 => unwatch, 1 => Just(Step::Forget), 4 => Just(Step::Tick)]
    }

    fn tenant() -> TenantId {
        TenantId::parse("acme").unwrap()
    }

    fn marker(number: u64, place: (f64, f64), status: usize) -> Marker {
        Marker::of(MarkerParts {
            handle: Handle(number),
            driver: Some(DriverId::parse(&format!("van-{number}")).unwrap()),
            position: Position::from_degrees(place.0, place.1).unwrap(),
            heading_deg: Maybe::NONE,
            speed_mps: 0.0,
            status: [None, Some(Status::Assigned), Some(Status::Arrived)][status],
            motion: Motion::Stopped,
            link: Link::Live,
            late_risk: false,
            accuracy_m: Maybe::NONE,
            aboard: AboardList::default(),
            fix_time: UnixMs(0),
            heard: UnixMs(0),
            changed: UnixMs(0),
        })
    }

    /// What a watched cell of markers shows, without the ticks.
    fn shown(map: &TenantMap, key: CellKey) -> HashMap<Handle, (Position, u32)> {
        let entries = |placed: &Placed| {
            let Entry { position, meta, .. } = placed.entry(key.level);
            (placed.marker.handle(), (position, meta))
        };
        map.cell(key).map(|cell| map.members(cell).map(entries).collect()).unwrap_or_default()
    }

    fn watched(map: &TenantMap) -> Vec<CellKey> {
        let keys = |level: Level| map.levels[level.index()].watched.iter().map(move |cell| CellKey { level, cell: *cell });
        Level::ALL.into_iter().flat_map(keys).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn the_cells_known_as_watched_are_those_with_watchers_and_each_change_in_them_is_told(steps in prop::collection::vec(step(), 1..150)) {
            let mut maps = Map::default();
            let mut tick = Tick(1);
            let mut last_cell = HashMap::new();
            // Who watches what, by the steps alone; and what each cell showed when the tick began, or its watching.
            let mut model: HashMap<CellKey, HashSet<SessionId>> = HashMap::new();
            let mut before = HashMap::new();
            let mut wishes = Vec::new();
            for step in steps {
                match step {
                    Step::Put { number, place, status } => maps.apply(MarkerChange::Put { tenant: tenant(), marker: marker(number, place, status) }, tick),
                    Step::Remove { number } => {
                        maps.apply(MarkerChange::Remove { tenant: tenant(), handle: Handle(number), ended: None, ingest_time: UnixMs(0) }, tick);
                    }
                    _ => {}
                }
                let map = maps.tenant_mut(&tenant());
                for placed in map.markers.range(0, map.markers.places()) {
                    last_cell.insert(placed.marker.handle().0, map.finest(placed));
                }
                let key = |number: u64, level: usize| Some(CellKey { level: Level::ALL[level], cell: Level::ALL[level].cell_above(*last_cell.get(&number)?) });
                match step {
                    Step::Watch { number, level, session, lens } => {
                        wishes.extend(key(number, level).map(|key| (key, Watcher { session: SessionId(session), lens: LensId(lens), interest: Interest::Shown })));
                    }
                    Step::Unwatch { number, level, session } => if let Some(key) = key(number, level) {
                        map.unwatch(key, SessionId(session));
                        model.entry(key).or_default().remove(&SessionId(session));
                    },
                    Step::Forget => map.forget_emptied(tick),
                    Step::Tick => {
                        // Views are taken up when a tick's changes are all applied.
                        for (key, watcher) in wishes.drain(..) {
                            map.watch(key, watcher);
                            if map.cell(key).is_some() && model.entry(key).or_default().insert(watcher.session) && model[&key].len() == 1 {
                                before.insert(key, shown(map, key));
                            }
                        }
                        let dirty = map.take_dirty();
                        for key in watched(map).into_iter().filter(|key| !key.level.is_counts()) {
                            let now = shown(map, key);
                            prop_assert!(now == before[&key] || dirty.contains(&key), "{:?} changed and nobody was told", key);
                            let told: Vec<Handle> = map.changed_since(map.cell(key).unwrap(), Tick(tick.0 - 1)).iter().map(|placed| placed.marker.handle()).collect();
                            prop_assert!(now.iter().all(|(handle, entry)| before[&key].get(handle) == Some(entry) || told.contains(handle)));
                        }
                        tick = Tick(tick.0 + 1);
                        before = watched(map).into_iter().map(|key| (key, shown(map, key))).collect();
                    }
                    Step::Put { .. } | Step::Remove { .. } => {}
                }
                let mut known: Vec<CellKey> = watched(map);
                let mut by_cells: Vec<CellKey> = map.levels.iter().flat_map(|level| level.cells.values()).filter(|cell| !cell.watchers().is_empty()).map(|cell| cell.key).collect();
                let mut by_steps: Vec<CellKey> = model.iter().filter(|(_, sessions)| !sessions.is_empty()).map(|(key, _)| *key).collect();
                for keys in [&mut known, &mut by_cells, &mut by_steps] {
                    keys.sort_unstable_by_key(|key| (key.level, key.cell));
                }
                prop_assert_eq!(&known, &by_cells);
                prop_assert_eq!(&known, &by_steps);
            }
        }
    }
}
