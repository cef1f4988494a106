//! One session: what its dashboard looks at, what it was sent, and what it is owed at a tick. Pure; knows no other session and never touches a socket.

use bytes::Bytes;
use h3o::CellIndex;
use hashbrown::{HashMap, HashSet};

use super::chunk::{self, Base, Chunk, Verify};
use super::follow::{Follow, News};
use super::pace::{Pace, Turn};
use super::resume::Resumed;
use super::stamp::Stamp;
use super::told::Told;
use super::view::{ActiveView, PendingView};
use super::{Format, OutFrame, Settings};
use crate::map::TenantMap;
use crate::map::cells::{CellKey, LensId, SessionId, Tick};
use crate::model::id::{DeliveryId, TenantId};
use crate::model::scope::Scope;
use crate::model::time::UnixMs;
use crate::wire;

#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is an independent debt to the client, not a state of one machine")]
pub(super) struct Session {
    pub(super) tenant: TenantId,
    /// What exists for its credential.
    pub(super) scope: Scope,
    pub(super) format: Format,
    /// A view that the next tick takes up; a newer one replaces it.
    pub(super) pending: Option<PendingView>,
    pub(super) view: Option<ActiveView>,
    /// Cells of the view; true once the client holds the cell as of `base`.
    pub(super) covered: HashMap<CellIndex, bool>,
    /// Some covered cells may not be held yet.
    any_fresh: bool,
    told: Told,
    /// Cells that the client holds and is to forget.
    dropped: HashSet<CellIndex>,
    /// The client is to forget everything before the next frame.
    reset: bool,
    /// The view was not answered yet.
    unanswered: bool,
    /// What the client has, or has under way.
    base: Tick,
    /// Of the last frame.
    stamp: Stamp,
    pub(super) pace: Pace,
    /// Something of the tick under way is for it and cannot be sent now.
    owed: bool,
    follow: Option<Follow>,
    pub(super) turn: Turn,
    chunks: Vec<Bytes>,
    oldest: Option<UnixMs>,
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
            covered: HashMap::new(),
            any_fresh: false,
            told: Told::default(),
            dropped: HashSet::new(),
            reset: false,
            unanswered: false,
            base: tick,
            stamp: Stamp::default(),
            pace: Pace::new(now),
            owed: false,
            follow: None,
            turn: Turn::Shared,
            chunks: Vec::new(),
            oldest: None,
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
        self.pace.acknowledge(stamp, now);
        self.pace.missed() || self.unanswered
    }

    /// Shows a coarser level to a slow link and a finer one to a link that kept up. True when a view waits for a tick.
    pub(super) fn suit_the_link(&mut self, now: UnixMs, settings: &Settings) -> bool {
        if self.pace.changes_level(now, settings) {
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
        self.view.as_ref().filter(|_| self.covered.get(&cell) == Some(&true))
    }

    /// Adds what is new of a cell.
    pub(super) fn add(&mut self, cell: CellIndex, chunk: Chunk) {
        if self.told.is_new(cell, &chunk) {
            self.oldest = [self.oldest, chunk.oldest].into_iter().flatten().min();
            self.chunks.push(chunk.bytes);
        }
    }

    pub(super) fn turn_at(&self, before: Tick, settings: &Settings) -> Turn {
        if self.pace.is_full(settings) {
            Turn::Blocked
        } else if self.base < before {
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
        let mut left = std::mem::take(&mut self.covered);
        if let (Some(old), false) = (old, same_kind) {
            left.drain().for_each(|(cell, _)| map.unwatch(CellKey { level: old.level, cell }, id));
            self.reset = true;
            self.dropped.clear();
            self.told.clear();
        }
        let cells: HashSet<CellIndex> = map.cover(view.level, &view.viewport).collect();
        for cell in cells {
            let held = left.remove(&cell).unwrap_or(false);
            self.covered.insert(cell, held);
            map.watch(CellKey { level: view.level, cell }, view.watcher(id));
        }
        for (cell, held) in left {
            map.unwatch(CellKey { level: view.level, cell }, id);
            self.told.forget(cell);
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
        self.any_fresh = true;
        self.unanswered = true;
    }

    fn resume(&mut self, id: SessionId, resumed: Resumed, view: &ActiveView, map: &mut TenantMap) {
        let Some(held) = resumed.held(view.level, &view.viewport, self.covered.keys().copied(), map) else {
            self.reset = true;
            self.told.clear();
            self.covered.values_mut().for_each(|held| *held = false);
            return;
        };
        // One tick less than held is harmless, and makes this a catching up: what changed before the cells were watched is not shared.
        self.base = Tick(held.base.0.saturating_sub(1));
        for cell in held.unchanged_shape {
            self.covered.insert(cell, true);
        }
        for cell in held.emptied {
            self.covered.insert(cell, false);
            map.watch(CellKey { level: view.level, cell }, view.watcher(id));
        }
    }

    pub(super) fn cover(&mut self, id: SessionId, cell: CellIndex, map: &mut TenantMap) {
        let Some(view) = &self.view else { return };
        if !self.covered.contains_key(&cell) {
            self.covered.insert(cell, false);
            self.any_fresh = true;
            map.watch(CellKey { level: view.level, cell }, view.watcher(id));
        }
    }

    /// A tick that cannot be sent: harmless when it holds nothing for this session.
    pub(super) fn fall_behind(&mut self, map: Option<&TenantMap>, now: UnixMs, tick: Tick) -> Option<OutFrame> {
        let followed = self.follow.as_ref().zip(map).is_some_and(|(follow, map)| follow.has_news(map, &self.scope));
        let owed = std::mem::take(&mut self.owed) || self.unanswered || self.pace.missed() || self.any_fresh || followed;
        if !owed {
            self.base = tick;
            return None;
        }
        let lag = self.pace.miss(now)?;
        Some(OutFrame::new(self.format, &wire::Frame { lag: Some(lag), ..wire::Frame::default() }, Vec::new(), None))
    }

    /// Everything this session lacks, as one frame; none when it lacks nothing.
    pub(super) fn frame(&mut self, map: &TenantMap, wholes: &mut Wholes, tick: Tick, now: UnixMs) -> Option<OutFrame> {
        self.owed = false;
        if self.turn == Turn::Shared && self.is_up_to_date() {
            self.base = tick;
            return None;
        }
        let view = self.view.clone()?;
        if self.turn == Turn::CatchUp {
            self.catch_up(map, &view, now);
        }
        self.add_wholes(map, &view, wholes, now);
        self.base = tick;
        let followed = self.follow.as_mut().map_or_else(News::default, |follow| follow.news(map, &self.scope, tick, now));
        let lag = self.pace.catch_up(now);
        let chunks = std::mem::take(&mut self.chunks);
        let oldest = self.oldest.take();
        let dropped = std::mem::take(&mut self.dropped);
        if chunks.is_empty() && dropped.is_empty() && followed.is_empty() && lag.is_none() && !self.unanswered {
            return None;
        }
        (self.unanswered, self.stamp) = (false, self.stamp.next_at(tick));
        let header = wire::Frame {
            tick: self.stamp.0,
            age_ms: oldest.map_or(0, |oldest| u32::try_from(now.since(oldest).as_millis()).unwrap_or(u32::MAX)),
            dropped: dropped.into_iter().map(u64::from).collect(),
            reset: std::mem::take(&mut self.reset),
            view_id: view.view_id,
            level: Some(view.level_message()),
            lag,
            followed: followed.marker,
            followed_delivery: followed.delivery,
            ..wire::Frame::default()
        };
        let frame = OutFrame::new(self.format, &header, chunks, oldest);
        self.pace.sent(self.stamp, frame.bytes_len(), now);
        Some(frame)
    }

    /// The quick look that most sessions need at most ticks.
    fn is_up_to_date(&self) -> bool {
        let news = self.any_fresh || self.unanswered || self.pace.is_behind() || self.follow.is_some();
        self.chunks.is_empty() && self.dropped.is_empty() && !news
    }

    fn catch_up(&mut self, map: &TenantMap, view: &ActiveView, now: UnixMs) {
        let held: Vec<CellIndex> = self.covered.iter().filter(|(_, held)| **held).map(|(cell, _)| *cell).collect();
        for cell in held {
            let key = CellKey { level: view.level, cell };
            let Some(cell) = map.cell(key) else { continue };
            if let Some(chunk) = chunk::encode(map, cell, &view.filter, Base::At(self.base), Verify::NotDue, now, self.format) {
                self.add(key.cell, chunk);
            }
        }
    }

    fn add_wholes(&mut self, map: &TenantMap, view: &ActiveView, wholes: &mut Wholes, now: UnixMs) {
        if !std::mem::take(&mut self.any_fresh) {
            return;
        }
        let fresh: Vec<CellIndex> = self.covered.iter().filter(|(_, held)| !**held).map(|(cell, _)| *cell).collect();
        for cell in fresh {
            self.covered.insert(cell, true);
            let key = CellKey { level: view.level, cell };
            let Some(cell) = map.cell(key) else { continue };
            let whole = wholes
                .entry((self.tenant, key, view.lens, self.format))
                .or_insert_with(|| chunk::encode(map, cell, &view.filter, Base::Nothing, Verify::Due, now, self.format));
            if let Some(chunk) = whole.clone() {
                self.add(key.cell, chunk);
            }
        }
    }
}
