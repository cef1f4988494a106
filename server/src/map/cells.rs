//! One H3 cell at one level: who is in it, what changed in its newest tick, and a bounded memory of what left. Never knows a session's state.

use h3o::CellIndex;

use super::boxes::{CellBox, Rects};
use super::counts::{Counted, Counts};
use super::held::Held;
use super::levels::Level;
use super::removals::{Removal, Removals};
use super::watcher::{Watch, Watcher};
use crate::model::id::Handle;
use crate::model::marker::Marker;
use crate::model::maybe::Maybe;
use crate::model::position::Position;
use crate::slots::Slot;

/// Counts the map's ticks since the live stage started; what happens between two ticks carries the later one's number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tick(pub u64);

/// A tick where there are very many: enough for thirteen years of ten a second, after which it stands still.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct ShortTick(u32);

impl From<Tick> for ShortTick {
    fn from(tick: Tick) -> Self {
        Self(u32::try_from(tick.0).unwrap_or(u32::MAX))
    }
}

impl ShortTick {
    pub(super) fn tick(self) -> Tick {
        Tick(self.0.into())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u64);

/// A tenant's interned filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LensId(pub u16);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CellKey {
    pub level: Level,
    pub cell: CellIndex,
}

/// A marker as its cell shows it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Entry {
    pub position: Position,
    pub meta: u32,
    /// When it came into this cell, or its id changed: a base before this tick does not have it.
    pub entered: Tick,
    pub changed: Tick,
    /// When its status last changed, or what is aboard: a filtered base before this tick may or may not have it.
    pub status_changed: Tick,
}

impl Entry {
    pub fn status_code(&self) -> u8 {
        u8::try_from(self.meta & 0xf).expect("four bits fit a byte")
    }
}

#[derive(Debug)]
pub struct Cell {
    pub key: CellKey,
    /// Of a cell of the finest level; goes with each marker that enters.
    pub(super) ground: Maybe<Slot>,
    /// While somebody looks at it.
    watch: Option<Box<Watch>>,
    /// Of a level of counts, or watched: when something in it last changed. What nobody looks at is not kept up to date but made so again
    /// when somebody does (`watch`).
    changed: ShortTick,
    area: CellBox,
    /// Whether its box stands in the tree of occupied cells.
    pub(super) is_indexed: bool,
    held: Held,
    removals: Removals,
    /// When the box last grew: a base before this tick may not hold the cell at all.
    grew: ShortTick,
    /// When the cell's checksum was last due.
    verified: ShortTick,
}

static NO_COUNTS: Counts = Counts::NONE;

impl Cell {
    /// Removals remembered by each cell.
    pub const MAX_REMOVALS: usize = Removals::MAX;

    pub(super) fn new(key: CellKey, ground: Maybe<Slot>, tick: Tick, floor: Tick) -> Self {
        Self {
            key,
            ground,
            watch: None,
            changed: Tick(0).into(),
            area: CellBox::of(key.cell),
            is_indexed: false,
            held: Held::of(key.level),
            removals: Removals::since(floor),
            grew: tick.into(),
            verified: tick.into(),
        }
    }

    pub fn population(&self) -> u32 {
        self.held.markers()
    }

    /// Of a cell of the finest level: where its markers are kept.
    pub(super) fn members(&self) -> &[Slot] {
        if let Held::Members(members) = &self.held { members } else { &[] }
    }

    /// Of a cell of counts.
    pub fn counts(&self) -> &Counts {
        if let Held::Counts(counts) = &self.held { counts } else { &NO_COUNTS }
    }

    pub fn origin(&self) -> Position {
        self.area.centre()
    }

    pub fn rects(&self) -> Rects {
        self.area.rects()
    }

    pub fn area(&self) -> &CellBox {
        &self.area
    }

    /// Makes room for the whole box of a cell below this one, and for its positions as this level rounds them.
    pub fn extend_over(&mut self, below: &CellBox, tick: Tick) -> bool {
        let grew = self.area.extend_over(below, Level::QUANTUM_E7);
        if grew {
            self.grew = tick.into();
        }
        grew
    }

    pub fn extend(&mut self, position: Position, tick: Tick) -> bool {
        let grew = self.area.extend(position);
        if grew {
            self.grew = tick.into();
        }
        grew
    }

    /// Of a level of counts, or watched: when something in it last changed.
    pub fn changed(&self) -> Tick {
        self.changed.tick()
    }

    /// When its box last grew.
    pub fn grew(&self) -> Tick {
        self.grew.tick()
    }

    /// When its checksum was last due.
    pub fn verified(&self) -> Tick {
        self.verified.tick()
    }

    pub fn verify(&mut self, tick: Tick) {
        self.verified = tick.into();
    }

    /// Whether a base of this tick can be answered with a difference: no removal after it is forgotten.
    pub fn reaches_back_to(&self, base: Tick) -> bool {
        self.removals.reach_back_to(base)
    }

    /// The handles that may have changed since `base`, when they are at hand; some may be gone by now. None: all members have to be asked.
    pub fn touched_since(&self, base: Tick) -> Option<&[Handle]> {
        if self.changed() <= base {
            return Some(&[]);
        }
        let watch = self.watch.as_ref().filter(|watch| watch.touched_is_whole && base.0 + 1 >= self.changed().0)?;
        Some(&watch.touched)
    }

    /// Removals since `base`, the newest first; what came back since is among them.
    pub fn removals_since(&self, base: Tick) -> impl Iterator<Item = &Removal> {
        self.removals.after(base)
    }

    pub fn watchers(&self) -> &[Watcher] {
        self.watch.as_ref().map_or(&[], |watch| &watch.watchers)
    }

    /// Adds a watcher, in the place of what its session was before.
    pub(super) fn add_watcher(&mut self, watcher: Watcher) {
        let watch = self.watch.get_or_insert_default();
        watch.remove(watcher.session);
        watch.watchers.push(watcher);
    }

    pub(super) fn remove_watcher(&mut self, session: SessionId) {
        if let Some(watch) = &mut self.watch {
            watch.remove(session);
            self.watch.take_if(|watch| watch.watchers.is_empty());
        }
    }

    /// Notes a change in `tick`; true for the first one of the tick that somebody wants to see.
    pub fn note(&mut self, handle: Option<Handle>, tick: Tick) -> bool {
        if self.watch.is_none() && !self.key.level.is_counts() {
            return false;
        }
        let first = self.changed() < tick;
        self.changed = if first { tick.into() } else { self.changed };
        let Some(watch) = &mut self.watch else { return false };
        if first {
            watch.touched.clear();
            watch.touched_is_whole = true;
        }
        watch.touched.extend(handle);
        first
    }

    /// Begins to keep up to date what nobody looked at: `newest` is the last change of its members.
    pub fn wake(&mut self, newest: Tick) {
        self.changed = self.changed().max(newest).max(self.removals.newest()).into();
        if let Some(watch) = &mut self.watch {
            watch.touched_is_whole = false;
        }
    }

    /// Takes a marker in; says at which index it is, where there are any.
    pub(super) fn admit(&mut self, slot: Slot, counted: Counted) -> Option<u32> {
        self.held.admit(slot, counted)
    }

    /// Takes a marker out; returns the one that is at its index now.
    pub(super) fn dismiss(&mut self, index: u32, counted: Counted) -> Option<Slot> {
        self.held.dismiss(index, counted)
    }

    /// Counts a marker that stays under something else.
    pub(super) fn recount(&mut self, old: Counted, now: Counted) {
        if let Held::Counts(counts) = &mut self.held {
            counts.remove(old);
            counts.add(now);
        }
    }

    /// Remembers what left.
    pub fn remember(&mut self, removal: Removal) {
        self.removals.remember(removal);
    }
}

pub fn status_code(marker: &Marker) -> u8 {
    marker.words().status_code()
}

/// The bits of `Enter.meta` in `waypost.proto`, as the finest level shows them.
pub fn meta_of(marker: &Marker) -> u32 {
    let words = marker.words();
    let mut meta = u32::from(words.code() & 0x7f) | u32::from(words.late_risk()) << 31 | marker.aboard_count().min(127) << 24;
    if let Some(heading) = marker.heading_deg().get() {
        meta |= 1 << 7 | (rounded(heading / 360.0 * 256.0) & 0xff) << 8;
    }
    meta | rounded(marker.speed_mps() * 2.0).min(255) << 16
}

/// The nearest whole number, a half upwards, for what is not negative; a few instructions where `f32::round` is a call.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "the cast saturates, and small ones are exact"
)]
fn rounded(value: f32) -> u32 {
    let whole = value as u32;
    whole.saturating_add(u32::from(value - whole as f32 >= 0.5))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_cell_that_nobody_watches_is_small() {
        assert!(size_of::<Cell>() <= 128, "{}", size_of::<Cell>());
    }

    proptest! {
        #[test]
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "as the cast of a rounded value saturates")]
        fn rounding_says_what_the_maths_library_says(value in prop_oneof![0.0..300.0_f32, (0..600_u16).prop_map(|halves| f32::from(halves) / 2.0), Just(f32::MAX)]) {
            prop_assert_eq!(rounded(value), value.round() as u32);
            prop_assert_eq!(rounded(value.next_down().max(0.0)), value.next_down().max(0.0).round() as u32);
        }
    }
}
