//! One session: what its dashboard looks at, what it was sent, and what it is owed at a tick. Pure; knows no other session and never touches a socket.

mod compose;

use std::time::Duration;

use h3o::CellIndex;
use hashbrown::{HashMap, HashSet};

use super::chunk::Chunk;
use super::follow::Follow;
use super::held::Held;
use super::pace::{Pace, Turn};
use super::resume::Resumed;
use super::stamp::Stamp;
use super::told::Told;
use super::view::{ActiveView, PendingView};
use super::{Format, Settings};
use crate::map::TenantMap;
use crate::map::cells::{CellKey, LensId, SessionId, Tick};
use crate::model::id::{DeliveryId, Handle, TenantId};
use crate::model::scope::Scope;
use crate::model::time::UnixMs;

#[derive(Debug)]
pub(super) struct Session {
    pub(super) tenant: TenantId,
    /// What exists for its credential.
    pub(super) scope: Scope,
    pub(super) format: Format,
    /// A view that the next tick takes up; a newer one replaces it.
    pub(super) pending: Option<PendingView>,
    pub(super) view: Option<ActiveView>,
    /// What the client has of the view, or has under way.
    pub(super) held: Held,
    told: Told,
    /// Who was told alone of cells that are behind, in which they stand.
    arrived: HashMap<CellIndex, HashSet<Handle>>,
    /// Cells that the client holds and is to forget.
    dropped: HashSet<CellIndex>,
    /// The client is to forget everything before the next frame.
    reset: bool,
    /// The view was not answered yet.
    unanswered: bool,
    /// Of the last frame.
    stamp: Stamp,
    pub(super) pace: Pace,
    /// Something of the tick under way is for it and cannot be sent now.
    owed: bool,
    follow: Option<Follow>,
    pub(super) turn: Turn,
    /// The shared chunks of the tick under way.
    shared: Vec<(CellIndex, Chunk)>,
}

/// Whole cells encoded in the tick under way.
pub(super) type Wholes = HashMap<(TenantId, CellKey, LensId, Format), Option<Chunk>>;

impl Session {
    pub(super) fn new(tenant: TenantId, scope: Scope, format: Format, tick: Tick, now: UnixMs) -> Self {
        Self {
            tenant,
            scope,
            format,
            pending: None,
            view: None,
            held: Held::new(tick, now),
            told: Told::default(),
            arrived: HashMap::new(),
            dropped: HashSet::new(),
            reset: false,
            unanswered: false,
            stamp: Stamp::default(),
            pace: Pace::new(now),
            owed: false,
            follow: None,
            turn: Turn::Shared,
            shared: Vec::new(),
        }
    }

    /// Takes up a view at the next tick. `resume` says what the client holds of it.
    pub(super) fn ask(&mut self, mut view: PendingView, resume: Option<Resumed>) {
        // What a resume says of the client's cells holds only while they are untouched: before the first view of this session.
        let resume = resume.or(self.pending.take().and_then(|pending| pending.resume).map(|_| Resumed::Unknown));
        view.resume = if self.view.is_some() { resume.map(|_| Resumed::Unknown) } else { resume };
        self.pending = Some(view);
    }

    pub(super) fn follow(&mut self, delivery: Option<DeliveryId>) {
        self.follow = delivery.map(Follow::of);
    }

    /// True when it waits for a tick to be sent what it missed.
    pub(super) fn acknowledge(&mut self, stamp: Stamp, now: UnixMs) -> bool {
        self.pace.link.acknowledge(stamp, now);
        self.held.acknowledged(stamp, now);
        self.pace.missed() || self.unanswered || !self.is_whole()
    }

    /// Whether something of each cell is held, and all of it as of one tick.
    pub(super) fn is_whole(&self) -> bool {
        !self.held.lacks_cells() && self.held.is_even()
    }

    /// Whether it was not told all and there is room for more.
    pub(super) fn could_go_on(&self, settings: &Settings) -> bool {
        !self.is_whole() && self.view.is_some() && !self.pace.link.is_full(settings)
    }

    /// Shows a coarser level to a slow link and a finer one to a link that kept up. True when a view waits for a tick.
    pub(super) fn suit_the_link(&mut self, map: Option<&TenantMap>, now: UnixMs, settings: &Settings) -> bool {
        let stale_since = self.held.stale_since(self.pace.missed());
        let staleness = stale_since.map_or(Duration::ZERO, |since| now.since(since));
        let owed_bytes = map.map_or(0, |map| self.lacking_bytes(map));
        if self.pace.changes_level(staleness, owed_bytes, now, settings) {
            self.look_again();
        }
        let waits = self.follow.as_mut().is_some_and(Follow::waits);
        self.pending.is_some() || waits
    }

    /// The view that a dirty cell's shared chunk is for; none when the cell comes whole, or as a difference at a later tick.
    pub(super) fn shares(&mut self, cell: CellIndex) -> Option<&ActiveView> {
        if self.turn != Turn::Shared {
            self.owed = true;
            return None;
        }
        self.view.as_ref().filter(|_| self.held.holds(cell))
    }

    /// Takes what is new of a cell in the tick under way.
    pub(super) fn share(&mut self, cell: CellIndex, chunk: Chunk) {
        self.shared.push((cell, chunk));
    }

    pub(super) fn turn_at(&self, before: Tick, settings: &Settings) -> Turn {
        if self.pace.link.is_full(settings) {
            Turn::Blocked
        } else if self.held.base() < before || !self.held.is_even() {
            Turn::CatchUp
        } else {
            Turn::Shared
        }
    }

    /// Takes up the same view anew: its level may be another one by now.
    pub(super) fn look_again(&mut self) {
        if let (None, Some(view)) = (&self.pending, &self.view) {
            self.pending = Some(view.again());
        }
    }

    pub(super) fn change_view(&mut self, id: SessionId, old: Option<&ActiveView>, view: ActiveView, resume: Option<Resumed>, map: &mut TenantMap) {
        if let Some(old) = old {
            map.remove_viewport(id, old.level, &old.viewport);
        }
        let same_kind = old.is_some_and(|old| old.level == view.level && old.lens == view.lens);
        let mut left = self.held.take();
        if let (Some(old), false) = (old, same_kind) {
            left.drain().for_each(|(cell, _)| map.unwatch(CellKey { level: old.level, cell }, id));
            self.held.reset();
            self.arrived.clear();
            self.reset = true;
            self.dropped.clear();
            self.told.clear();
        }
        let cells: HashSet<CellIndex> = map.cover(view.level, &view.viewport).collect();
        for cell in cells {
            let held = left.remove(&cell).unwrap_or(false);
            self.held.cover(cell, held);
            map.watch(CellKey { level: view.level, cell }, view.watcher(id));
        }
        for (cell, held) in left {
            map.unwatch(CellKey { level: view.level, cell }, id);
            self.told.forget(cell);
            self.held.forget(cell);
            self.arrived.remove(&cell);
            if held {
                self.dropped.insert(cell);
            }
        }
        map.add_viewport(id, view.level, &view.viewport);
        match resume {
            Some(resumed) => self.resume(id, resumed, &view, map),
            None if old.is_none() => self.reset = true,
            None => {}
        }
        self.view = Some(view);
        self.unanswered = true;
    }

    fn resume(&mut self, id: SessionId, resumed: Resumed, view: &ActiveView, map: &mut TenantMap) {
        let Some(held) = resumed.held(view.level, &view.viewport, self.held.cells(), map) else {
            self.reset = true;
            self.told.clear();
            self.held.reset();
            return;
        };
        // One tick less than held is harmless, and makes this a catching up: what changed before the cells were watched is not shared.
        self.held.start_from(Tick(held.base.0.saturating_sub(1)));
        for cell in held.unchanged_shape {
            self.held.hold(cell);
        }
        // The rest comes whole, perhaps not with the next frame, and the view may be another one before. What the client has of it goes at once.
        self.dropped.extend(self.held.lacking());
        for cell in held.emptied {
            self.dropped.insert(cell);
            self.held.cover(cell, false);
            map.watch(CellKey { level: view.level, cell }, view.watcher(id));
        }
    }

    pub(super) fn cover(&mut self, id: SessionId, cell: CellIndex, map: &mut TenantMap) {
        let Some(view) = &self.view else { return };
        if !self.held.covers(cell) {
            self.held.cover(cell, false);
            map.watch(CellKey { level: view.level, cell }, view.watcher(id));
        }
    }
}
