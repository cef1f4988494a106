//! One H3 cell at one level: its entries with the tick each last changed at, and a bounded memory of what left. Never knows a session's state.

use std::collections::VecDeque;

use h3o::CellIndex;
use hashbrown::HashMap;

use super::boxes::{CellBox, InnerCircle, Rects};
use super::levels::Level;
use crate::model::change::Marker;
use crate::model::id::Handle;
use crate::model::position::Position;
use crate::model::status::{Motion, Status};

/// Counts the map's ticks since the live stage started; what happens between two ticks carries the later one's number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tick(pub u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u64);

/// A tenant's interned filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LensId(pub u8);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CellKey {
    pub level: Level,
    pub cell: CellIndex,
}

/// Who wants a cell's changes, and through which filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watcher {
    pub session: SessionId,
    pub lens: LensId,
}

/// A marker as its cell shows it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Entry {
    pub position: Position,
    pub meta: u32,
    /// When it came into this cell, or its id changed: a base before this tick does not have it.
    pub entered: Tick,
    pub changed: Tick,
    /// When its status last changed: a filtered base before this tick may or may not have it.
    pub status_changed: Tick,
}

impl Entry {
    pub fn status_code(&self) -> u8 {
        u8::try_from(self.meta & 0xf).expect("four bits fit a byte")
    }
}

/// What left a cell, and when.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Removal {
    pub handle: Handle,
    pub tick: Tick,
    /// It left the map, not only the cell.
    pub gone: bool,
    pub ended: Option<Status>,
}

/// By status code; 0 counts idle drivers.
pub type StatusCounts = [u32; 13];

/// `floor <= tick of every removal kept`; every removal after `floor` is kept.
#[derive(Debug)]
pub struct Cell {
    pub key: CellKey,
    area: CellBox,
    /// As they stand in the tree of occupied cells; empty when the cell is.
    pub indexed: Rects,
    /// For the finest level only.
    pub inner: Option<InnerCircle>,
    entries: HashMap<Handle, Entry>,
    population: u32,
    counts: StatusCounts,
    removals: VecDeque<Removal>,
    /// A base before this tick cannot be answered with a difference: some removals after it are forgotten.
    floor: Tick,
    /// When the box last grew: a base before this tick may not hold the cell at all.
    pub grew: Tick,
    pub changed: Tick,
    /// What changed in the tick `changed`, so that the usual difference (since the tick before) need not look at every entry.
    touched: Vec<Handle>,
    /// When the cell's checksum was last due.
    pub verified: Tick,
    pub watchers: Vec<Watcher>,
}

impl Cell {
    /// Removals remembered by each cell.
    pub const MAX_REMOVALS: usize = 256;

    pub fn new(key: CellKey, tick: Tick, floor: Tick) -> Self {
        Self {
            key,
            area: CellBox::of(key.cell),
            indexed: Rects::new(),
            inner: (key.level == Level::Markers8).then(|| InnerCircle::of(key.cell)),
            entries: HashMap::new(),
            population: 0,
            counts: StatusCounts::default(),
            removals: VecDeque::new(),
            floor,
            grew: tick,
            changed: Tick(0),
            touched: Vec::new(),
            verified: tick,
            watchers: Vec::new(),
        }
    }

    pub fn population(&self) -> u32 {
        self.population
    }

    pub fn counts(&self) -> &StatusCounts {
        &self.counts
    }

    pub fn entry(&self, handle: Handle) -> Option<&Entry> {
        self.entries.get(&handle)
    }

    pub fn entries(&self) -> impl Iterator<Item = (Handle, &Entry)> {
        self.entries.iter().map(|(handle, entry)| (*handle, entry))
    }

    pub fn origin(&self) -> Position {
        self.area.centre()
    }

    pub fn rects(&self) -> Rects {
        self.area.rects()
    }

    pub fn extend(&mut self, position: Position, tick: Tick) -> bool {
        let grew = self.area.extend(position);
        if grew {
            self.grew = tick;
        }
        grew
    }

    /// Whether a base of this tick can be answered with a difference.
    pub fn reaches_back_to(&self, base: Tick) -> bool {
        base >= self.floor
    }

    /// Handles whose entry may have changed since `base`; some may be gone by now.
    pub fn candidates_since(&self, base: Tick) -> Vec<Handle> {
        if base.0 + 1 >= self.changed.0 {
            return if self.changed > base { self.touched.clone() } else { Vec::new() };
        }
        self.entries.iter().filter(|(_, entry)| entry.changed > base).map(|(handle, _)| *handle).collect()
    }

    /// Removals since `base`, the newest first; what came back since is among them.
    pub fn removals_since(&self, base: Tick) -> impl Iterator<Item = &Removal> {
        self.removals.iter().rev().take_while(move |removal| removal.tick > base)
    }

    /// Notes a change in `tick`; true for the first one of the tick.
    fn touch(&mut self, tick: Tick) -> bool {
        let first = self.changed < tick;
        if first {
            self.touched.clear();
            self.changed = tick;
        }
        first
    }

    /// Puts or replaces what the cell shows of a marker; says whether that changed anything, and whether it was the first change of the tick.
    pub fn put(&mut self, marker: &Marker, same_id: bool, old_status: Option<u8>, tick: Tick) -> Changed {
        if self.key.level.is_counts() {
            return self.count(old_status, Some(status_code(marker)), tick);
        }
        let (position, meta) = (self.key.level.shown(marker.position), meta_of(marker, self.key.level));
        let Some(entry) = self.entries.get(&marker.handle) else {
            self.touched_later(marker.handle, tick);
            self.entries.insert(marker.handle, Entry { position, meta, entered: tick, changed: tick, status_changed: tick });
            self.population += 1;
            return Changed::Something;
        };
        if same_id && entry.position == position && entry.meta == meta {
            return Changed::Nothing;
        }
        if entry.changed < tick || self.changed < tick {
            self.touched_later(marker.handle, tick);
        }
        let entry = self.entries.get_mut(&marker.handle).expect("it was there a few lines ago");
        if (entry.meta ^ meta) & 0xf != 0 {
            entry.status_changed = tick;
        }
        if !same_id {
            entry.entered = tick;
        }
        (entry.position, entry.meta, entry.changed) = (position, meta, tick);
        Changed::Something
    }

    fn touched_later(&mut self, handle: Handle, tick: Tick) {
        self.touch(tick);
        self.touched.push(handle);
    }

    /// Takes a marker out. `old_status` is what it counted as.
    pub fn remove(&mut self, handle: Handle, old_status: u8, left: Left, tick: Tick) -> Changed {
        if self.key.level.is_counts() {
            return self.count(Some(old_status), None, tick);
        }
        if self.entries.remove(&handle).is_none() {
            return Changed::Nothing;
        }
        self.population -= 1;
        self.touch(tick);
        if self.removals.len() == Self::MAX_REMOVALS
            && let Some(forgotten) = self.removals.pop_front()
        {
            self.floor = forgotten.tick;
        }
        let (gone, ended) = match left {
            Left::Cell => (false, None),
            Left::Map(ended) => (true, ended),
        };
        self.removals.push_back(Removal { handle, tick, gone, ended });
        Changed::Something
    }

    fn count(&mut self, from: Option<u8>, to: Option<u8>, tick: Tick) -> Changed {
        if from == to {
            return Changed::Nothing;
        }
        if let Some(from) = from {
            self.counts[usize::from(from)] -= 1;
            self.population -= 1;
        }
        if let Some(to) = to {
            self.counts[usize::from(to)] += 1;
            self.population += 1;
        }
        self.touch(tick);
        Changed::Something
    }

    /// Notes a change that the counts do not show: another marker of the same status. Needed by lenses that name drivers.
    pub fn note(&mut self, tick: Tick) {
        self.touch(tick);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    Nothing,
    Something,
}

/// How a marker left a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    Cell,
    Map(Option<Status>),
}

pub fn status_code(marker: &Marker) -> u8 {
    marker.status.map_or(0, Status::code)
}

/// The bits of `Moves.meta` in `waypost.proto`. The coarser marker level leaves heading and speed out, so that a turn is no change there.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to a byte before the cast, and the cast saturates")]
pub fn meta_of(marker: &Marker, level: Level) -> u32 {
    let mut meta = u32::from(status_code(marker)) | u32::from(marker.link as u8) << 4;
    meta |= u32::from(marker.motion == Motion::Moving) << 6;
    meta |= marker.aboard_count.min(255) << 24;
    if level == Level::Markers8 {
        if let Some(heading) = marker.heading_deg {
            let step = (heading / 360.0 * 256.0).round().rem_euclid(256.0) as u8;
            meta |= 1 << 7 | u32::from(step) << 8;
        }
        meta |= u32::from((marker.speed_mps * 2.0).round().clamp(0.0, 255.0) as u8) << 16;
    }
    meta
}
