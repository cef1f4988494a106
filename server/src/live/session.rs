//! Sessions: what each dashboard looks at, what it was sent, and what it is owed at a tick. Pure; never touches a socket.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use hashbrown::{HashMap, HashSet};
use h3o::CellIndex;

use super::chunk::{self, Base, Chunk, Verify};
use super::lens::{Filter, Lenses};
use super::resume::Resumed;
use super::{Format, Goodbye, OutFrame, Settings};
use crate::map::cells::{CellKey, LensId, SessionId, Tick, Watcher};
use crate::map::levels::Level;
use crate::map::viewport::Viewport;
use crate::map::{Map, SharedMap, TenantMap};
use crate::model::id::TenantId;
use crate::model::time::UnixMs;
use crate::wire;

/// All sessions of the node and the tick they are served at.
///
/// For each session: `base <= tick`; unless it missed something, `base == tick` after each tick.
#[derive(Debug)]
pub struct Sessions {
    /// Random at each start: ticks of another epoch mean nothing here.
    epoch: u64,
    settings: Settings,
    tick: Tick,
    sessions: HashMap<SessionId, Session>,
    tenants: HashMap<TenantId, TenantSessions>,
}

#[derive(Debug, Default)]
struct TenantSessions {
    lenses: Lenses,
    sessions: usize,
}

#[derive(Debug)]
struct Session {
    tenant: TenantId,
    format: Format,
    /// A view that the next tick takes up; a newer one replaces it.
    pending: Option<Pending>,
    view: Option<ActiveView>,
    /// Cells of the view; true once the client holds the cell as of `base`.
    covered: HashMap<CellIndex, bool>,
    /// Cells that the client holds and is to forget.
    dropped: HashSet<CellIndex>,
    /// The client is to forget everything before the next frame.
    reset: bool,
    /// The view was not answered yet.
    unanswered: bool,
    /// What the client has, or has under way.
    base: Tick,
    in_flight: VecDeque<(Tick, usize)>,
    /// When it last acknowledged, or began to owe an acknowledgement.
    progress: UnixMs,
    /// Something of the tick under way is for it and cannot be sent now.
    owed: bool,
    /// Ticks whose changes it could not be sent; behind while there are any.
    missed_ticks: u32,
    behind_since: Option<UnixMs>,
    kept_up_since: UnixMs,
    /// Levels taken away from a slow link.
    penalty: usize,
    follow: Option<Box<str>>,
    followed: Tick,
    turn: Turn,
    chunks: Vec<Bytes>,
    oldest: Option<UnixMs>,
}

#[derive(Clone, Debug)]
struct Pending {
    viewport: Viewport,
    zoom: f64,
    filter: Filter,
    view_id: u32,
    resume: Option<Resumed>,
}

#[derive(Clone, Debug)]
struct ActiveView {
    viewport: Viewport,
    zoom: f64,
    lens: LensId,
    filter: Arc<Filter>,
    view_id: u32,
    level: Level,
    coarsened: bool,
}

/// What a session gets in the tick under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// It has the tick before: the shared chunks.
    Shared,
    /// It missed some: the difference since its base.
    CatchUp,
    /// Too much is unacknowledged.
    Blocked,
}

/// Frames to hand out, in order.
pub type Frames = Vec<(SessionId, OutFrame)>;

impl Sessions {
    pub fn new(epoch: u64, settings: Settings) -> Self {
        Self { epoch, settings, tick: Tick(0), sessions: HashMap::new(), tenants: HashMap::new() }
    }

    /// The tick that changes applied from now on belong to.
    pub fn applying(&self) -> Tick {
        Tick(self.tick.0 + 1)
    }

    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Admits a session and greets it, or says goodbye.
    pub fn open(&mut self, id: SessionId, tenant: TenantId, format: Format, now: UnixMs, version: &str) -> OutFrame {
        let of_tenant = self.tenants.entry(tenant.clone()).or_default();
        if of_tenant.sessions >= self.settings.max_sessions_per_tenant || self.sessions.contains_key(&id) {
            return OutFrame::bye(format, Goodbye::TooManySessions, "this tenant has as many live sessions as it may", 10_000);
        }
        of_tenant.sessions += 1;
        self.sessions.insert(id, Session::new(tenant, format, self.tick, now));
        let millis = |of: std::time::Duration| u32::try_from(of.as_millis()).unwrap_or(u32::MAX);
        let hello = wire::Hello {
            epoch: self.epoch,
            tick_ms: millis(self.settings.tick),
            ping_s: millis(self.settings.ping_every) / 1_000,
            server_version: version.to_owned(),
            server_time_ms: now.0,
        };
        OutFrame::new(format, &wire::Frame { hello: Some(hello), ..wire::Frame::default() }, Vec::new(), None)
    }

    pub fn close(&mut self, id: SessionId, map: &SharedMap) {
        let Some(session) = self.sessions.remove(&id) else { return };
        let of_tenant = self.tenants.entry(session.tenant.clone()).or_default();
        of_tenant.sessions = of_tenant.sessions.saturating_sub(1);
        if let Some(view) = &session.view {
            of_tenant.lenses.give_back(view.lens);
            let mut map = map.write();
            let map = map.tenant_mut(&session.tenant);
            map.remove_viewport(id, view.level, &view.viewport);
            for cell in session.covered.keys() {
                map.unwatch(CellKey { level: view.level, cell: *cell }, id);
            }
        }
        if of_tenant.sessions == 0 {
            self.tenants.remove(&session.tenant);
        }
    }

    /// Takes up a view at the next tick; a frame only when it is no view.
    pub fn on_view(&mut self, id: SessionId, view: &wire::View) -> Option<OutFrame> {
        self.take_up(id, view, None)
    }

    pub fn on_resume(&mut self, id: SessionId, resume: &wire::Resume) -> Option<OutFrame> {
        let known = resume.sources.iter().find(|source| source.epoch == self.epoch && source.tick <= self.tick.0 && source.tick > 0);
        let resumed = known.map_or(Resumed::Unknown, |source| Resumed::At { base: Tick(source.tick), resolution: resume.level });
        self.take_up(id, resume.view.as_ref()?, Some(resumed))
    }

    fn take_up(&mut self, id: SessionId, view: &wire::View, resume: Option<Resumed>) -> Option<OutFrame> {
        let session = self.sessions.get_mut(&id)?;
        let viewport = Viewport::new(view.west, view.south, view.east, view.north);
        let filter = Filter::from_wire(view.filter.as_ref());
        let (Ok(viewport), Some(filter), true) = (viewport, filter, view.zoom.is_finite()) else {
            return Some(OutFrame::bye(session.format, Goodbye::BadMessage, "the view has no valid box, zoom or filter", 0));
        };
        // What a resume says of the client's cells holds only while they are untouched: before the first view of this session.
        let resume = resume.or(session.pending.take().and_then(|pending| pending.resume).map(|_| Resumed::Unknown));
        let resume = if session.view.is_some() { resume.map(|_| Resumed::Unknown) } else { resume };
        session.pending = Some(Pending { viewport, zoom: view.zoom, filter, view_id: view.view_id, resume });
        None
    }

    pub fn on_follow(&mut self, id: SessionId, delivery: &str) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.follow = (!delivery.is_empty()).then(|| Box::from(delivery));
            session.followed = Tick(0);
        }
    }

    /// True when the session waits for a tick to be sent what it missed.
    pub fn on_ack(&mut self, id: SessionId, tick: Tick, now: UnixMs) -> bool {
        let Some(session) = self.sessions.get_mut(&id) else { return false };
        while session.in_flight.front().is_some_and(|(sent, _)| *sent <= tick) {
            session.in_flight.pop_front();
            session.progress = now;
        }
        session.missed_ticks > 0 || session.unanswered
    }

    /// Ends the tick under way: what each session is owed of it. Call it when something changed, and with all changes of the tick applied.
    pub fn on_tick(&mut self, shared: &SharedMap, now: UnixMs) -> Frames {
        let before = self.tick;
        self.tick = self.applying();
        let mut frames = Frames::new();
        let dirty = {
            let mut map = shared.write();
            self.take_up_views(&mut map, &mut frames);
            self.absorb_appeared(&mut map);
            self.take_dirty(&mut map)
        };
        for session in self.sessions.values_mut() {
            session.turn = session.turn_at(before, &self.settings);
        }
        let map = shared.read();
        self.share_chunks(&map, &dirty, before, now);
        self.send(&map, now, &mut frames);
        frames
    }

    fn take_up_views(&mut self, map: &mut Map, frames: &mut Frames) {
        for (id, session) in &mut self.sessions {
            let Some(pending) = session.pending.take() else { continue };
            let lenses = &mut self.tenants.entry(session.tenant.clone()).or_default().lenses;
            let Some(lens) = lenses.take(pending.filter.clone()) else {
                frames.push((*id, OutFrame::bye(session.format, Goodbye::BadMessage, "this tenant uses too many distinct filters", 10_000)));
                continue;
            };
            let map = map.tenant_mut(&session.tenant);
            let (level, coarsened) = choose_level(map, &pending.viewport, pending.zoom, session.penalty, &self.settings);
            let view = ActiveView {
                viewport: pending.viewport,
                zoom: pending.zoom,
                lens,
                filter: lenses.filter(lens),
                view_id: pending.view_id,
                level,
                coarsened,
            };
            let old = session.view.take();
            if let Some(old) = &old {
                lenses.give_back(old.lens);
            }
            session.change_view(*id, old, view, pending.resume, map);
        }
    }

    /// Cells that became occupied, or whose box grew, join the views that lie over them.
    fn absorb_appeared(&mut self, map: &mut Map) {
        for (_, map) in map.tenants_mut() {
            for key in map.take_appeared() {
                for id in map.lookers_at(key) {
                    let Some(session) = self.sessions.get_mut(&id) else { continue };
                    session.cover(id, key.cell, map);
                    if session.covered.len() > self.settings.max_cells_per_view {
                        session.look_again();
                    }
                }
            }
        }
    }

    fn take_dirty(&self, map: &mut Map) -> Vec<(TenantId, CellKey, Verify)> {
        let every = self.settings.verify_every.as_millis() / self.settings.tick.as_millis().max(1);
        let mut dirty = Vec::new();
        for (tenant, map) in map.tenants_mut() {
            for key in map.take_dirty() {
                let Some(cell) = map.cell_mut(key) else { continue };
                let due = u128::from(self.tick.0 - cell.verified.0.min(self.tick.0)) >= every;
                if due {
                    cell.verified = self.tick;
                }
                dirty.push((tenant.clone(), key, if due { Verify::Due } else { Verify::NotDue }));
            }
        }
        dirty
    }

    /// Encodes each dirty cell once for each lens and format that somebody looks through, and hands it to all who do.
    fn share_chunks(&mut self, map: &Map, dirty: &[(TenantId, CellKey, Verify)], before: Tick, now: UnixMs) {
        for (tenant, key, verify) in dirty {
            let Some(map) = map.tenant(tenant) else { continue };
            let Some(cell) = map.cell(*key) else { continue };
            let mut encoded: Vec<((LensId, Format), Option<Chunk>)> = Vec::new();
            for watcher in &cell.watchers {
                let Some(session) = self.sessions.get_mut(&watcher.session) else { continue };
                if session.turn != Turn::Shared {
                    session.owed = true;
                    continue;
                }
                let Some(view) = session.view.as_ref().filter(|_| session.covered.get(&key.cell) == Some(&true)) else { continue };
                let form = (watcher.lens, session.format);
                let index = encoded.iter().position(|(known, _)| *known == form).unwrap_or_else(|| {
                    encoded.push((form, chunk::encode(map, cell, &view.filter, Base::At(before), *verify, now, session.format)));
                    encoded.len() - 1
                });
                if let Some(chunk) = &encoded[index].1 {
                    session.add(chunk.clone());
                }
            }
        }
    }

    fn send(&mut self, map: &Map, now: UnixMs, frames: &mut Frames) {
        let mut wholes: Wholes = HashMap::new();
        for (id, session) in &mut self.sessions {
            let tenant = map.tenant(&session.tenant);
            let frame = match session.turn {
                Turn::Blocked => session.fall_behind(now, self.tick),
                Turn::Shared | Turn::CatchUp => tenant.and_then(|map| session.frame(map, &mut wholes, self.tick, now)),
            };
            frames.extend(frame.map(|frame| (*id, frame)));
        }
    }

    /// Once a second: who makes no progress is closed, who is slow sees a coarser level, and old empty cells are forgotten.
    /// True when a tick is wanted.
    pub fn on_timer(&mut self, shared: &SharedMap, now: UnixMs, frames: &mut Frames) -> bool {
        let mut wanted = false;
        for (id, session) in &mut self.sessions {
            if !session.in_flight.is_empty() && now.since(session.progress) >= self.settings.no_progress {
                frames.push((*id, OutFrame::bye(session.format, Goodbye::NoProgress, "nothing was acknowledged for too long", 1_000)));
            }
            if session.behind_since.is_some_and(|since| now.since(since) >= self.settings.coarsen_after) && session.penalty < Level::ALL.len() - 1 {
                session.penalty += 1;
                session.behind_since = Some(now);
                session.look_again();
            } else if session.behind_since.is_none() && session.penalty > 0 && now.since(session.kept_up_since) >= self.settings.restore_after {
                session.penalty -= 1;
                session.kept_up_since = now;
                session.look_again();
            }
            wanted |= session.pending.is_some();
        }
        let kept = self.settings.emptied_kept.as_millis() / self.settings.tick.as_millis().max(1);
        let horizon = Tick(self.tick.0.saturating_sub(u64::try_from(kept).unwrap_or(u64::MAX)));
        let mut map = shared.write();
        map.tenants_mut().for_each(|(_, map)| map.forget_emptied(horizon));
        wanted
    }
}

/// Whole cells encoded in the tick under way.
type Wholes = HashMap<(TenantId, CellKey, LensId, Format), Option<Chunk>>;

impl Session {
    fn new(tenant: TenantId, format: Format, tick: Tick, now: UnixMs) -> Self {
        Self {
            tenant,
            format,
            pending: None,
            view: None,
            covered: HashMap::new(),
            dropped: HashSet::new(),
            reset: false,
            unanswered: false,
            base: tick,
            in_flight: VecDeque::new(),
            progress: now,
            owed: false,
            missed_ticks: 0,
            behind_since: None,
            kept_up_since: now,
            penalty: 0,
            follow: None,
            followed: Tick(0),
            turn: Turn::Shared,
            chunks: Vec::new(),
            oldest: None,
        }
    }

    fn add(&mut self, chunk: Chunk) {
        self.oldest = [self.oldest, chunk.oldest].into_iter().flatten().min();
        self.chunks.push(chunk.bytes);
    }

    fn turn_at(&self, before: Tick, settings: &Settings) -> Turn {
        let bytes: usize = self.in_flight.iter().map(|(_, bytes)| bytes).sum();
        if self.in_flight.len() >= settings.max_frames_in_flight || bytes >= settings.max_bytes_in_flight {
            Turn::Blocked
        } else if self.base < before {
            Turn::CatchUp
        } else {
            Turn::Shared
        }
    }

    /// Takes up the same view anew: its level may be another one by now.
    fn look_again(&mut self) {
        if let (None, Some(view)) = (&self.pending, &self.view) {
            let filter = Filter::clone(&view.filter);
            self.pending = Some(Pending { viewport: view.viewport, zoom: view.zoom, filter, view_id: view.view_id, resume: None });
        }
    }

    fn change_view(&mut self, id: SessionId, old: Option<ActiveView>, view: ActiveView, resume: Option<Resumed>, map: &mut TenantMap) {
        if let Some(old) = &old {
            map.remove_viewport(id, old.level, &old.viewport);
        }
        let same_kind = old.as_ref().is_some_and(|old| old.level == view.level && old.lens == view.lens);
        let mut left = std::mem::take(&mut self.covered);
        if let (Some(old), false) = (&old, same_kind) {
            left.drain().for_each(|(cell, _)| map.unwatch(CellKey { level: old.level, cell }, id));
            self.reset = true;
            self.dropped.clear();
        }
        let cells: HashSet<CellIndex> = map.cover(view.level, &view.viewport).collect();
        for cell in cells {
            let held = left.remove(&cell).unwrap_or(false);
            self.covered.insert(cell, held);
            map.watch(CellKey { level: view.level, cell }, Watcher { session: id, lens: view.lens });
        }
        for (cell, held) in left {
            map.unwatch(CellKey { level: view.level, cell }, id);
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
        let Some(held) = resumed.held(view.level, &view.viewport, self.covered.keys().copied(), map) else {
            self.reset = true;
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
            map.watch(CellKey { level: view.level, cell }, Watcher { session: id, lens: view.lens });
        }
    }

    fn cover(&mut self, id: SessionId, cell: CellIndex, map: &mut TenantMap) {
        let Some(view) = &self.view else { return };
        if !self.covered.contains_key(&cell) {
            self.covered.insert(cell, false);
            map.watch(CellKey { level: view.level, cell }, Watcher { session: id, lens: view.lens });
        }
    }

    /// A tick that cannot be sent: harmless when it holds nothing for this session.
    fn fall_behind(&mut self, now: UnixMs, tick: Tick) -> Option<OutFrame> {
        let owed = std::mem::take(&mut self.owed) || self.unanswered || self.missed_ticks > 0 || self.covered.values().any(|held| !held);
        if !owed {
            self.base = tick;
            return None;
        }
        self.missed_ticks = self.missed_ticks.saturating_add(1);
        if self.behind_since.is_some() {
            return None;
        }
        self.behind_since = Some(now);
        let lag = wire::Lag { behind: true, merged_ticks: 0 };
        Some(OutFrame::new(self.format, &wire::Frame { lag: Some(lag), ..wire::Frame::default() }, Vec::new(), None))
    }

    /// Everything this session lacks, as one frame; none when it lacks nothing.
    fn frame(&mut self, map: &TenantMap, wholes: &mut Wholes, tick: Tick, now: UnixMs) -> Option<OutFrame> {
        self.owed = false;
        let view = self.view.clone()?;
        if self.turn == Turn::CatchUp {
            self.catch_up(map, &view, now);
        }
        self.add_wholes(map, &view, wholes, now);
        self.base = tick;
        let followed = self.followed_since(map, now, tick);
        let lag = (self.missed_ticks > 0 && self.behind_since.is_some()).then(|| wire::Lag { behind: false, merged_ticks: self.missed_ticks });
        let chunks = std::mem::take(&mut self.chunks);
        let oldest = self.oldest.take();
        let dropped = std::mem::take(&mut self.dropped);
        self.missed_ticks = 0;
        if self.behind_since.take().is_some() {
            self.kept_up_since = now;
        }
        if chunks.is_empty() && dropped.is_empty() && followed.is_none() && lag.is_none() && !self.unanswered {
            return None;
        }
        self.unanswered = false;
        let level = wire::Level {
            h3_resolution: u32::from(u8::from(view.level.resolution())),
            counts: view.level.is_counts(),
            coarsened: view.coarsened,
        };
        let header = wire::Frame {
            tick: tick.0,
            age_ms: oldest.map_or(0, |oldest| u32::try_from(now.since(oldest).as_millis()).unwrap_or(u32::MAX)),
            dropped: dropped.into_iter().map(u64::from).collect(),
            reset: std::mem::take(&mut self.reset),
            view_id: view.view_id,
            level: Some(level),
            lag,
            followed,
            ..wire::Frame::default()
        };
        let frame = OutFrame::new(self.format, &header, chunks, oldest);
        if self.in_flight.is_empty() {
            self.progress = now;
        }
        self.in_flight.push_back((tick, frame.bytes_len()));
        Some(frame)
    }

    fn catch_up(&mut self, map: &TenantMap, view: &ActiveView, now: UnixMs) {
        let held: Vec<CellIndex> = self.covered.iter().filter(|(_, held)| **held).map(|(cell, _)| *cell).collect();
        for cell in held {
            let Some(cell) = map.cell(CellKey { level: view.level, cell }) else { continue };
            if let Some(chunk) = chunk::encode(map, cell, &view.filter, Base::At(self.base), Verify::NotDue, now, self.format) {
                self.add(chunk);
            }
        }
    }

    fn add_wholes(&mut self, map: &TenantMap, view: &ActiveView, wholes: &mut Wholes, now: UnixMs) {
        let fresh: Vec<CellIndex> = self.covered.iter().filter(|(_, held)| !**held).map(|(cell, _)| *cell).collect();
        for cell in fresh {
            self.covered.insert(cell, true);
            let key = CellKey { level: view.level, cell };
            let Some(cell) = map.cell(key) else { continue };
            let whole = wholes
                .entry((self.tenant.clone(), key, view.lens, self.format))
                .or_insert_with(|| chunk::encode(map, cell, &view.filter, Base::Nothing, Verify::Due, now, self.format));
            if let Some(chunk) = whole.clone() {
                self.add(chunk);
            }
        }
    }

    fn followed_since(&mut self, map: &TenantMap, now: UnixMs, tick: Tick) -> Option<wire::Enter> {
        let placed = map.by_delivery(self.follow.as_deref()?).filter(|placed| placed.changed > self.followed)?;
        self.followed = tick;
        Some(chunk::followed(&placed.marker, now))
    }
}

/// The finest level that the zoom asks for and the limits allow, and whether a limit forbade a finer one.
fn choose_level(map: &TenantMap, viewport: &Viewport, zoom: f64, penalty: usize, settings: &Settings) -> (Level, bool) {
    let wanted = Level::for_zoom(zoom);
    let mut level = wanted;
    for _ in 0..penalty {
        level = level.coarser().unwrap_or(level);
    }
    while let Some(coarser) = level.coarser() {
        if fits(map, level, viewport, settings) {
            break;
        }
        level = coarser;
    }
    (level, level != wanted)
}

fn fits(map: &TenantMap, level: Level, viewport: &Viewport, settings: &Settings) -> bool {
    let (mut cells, mut markers) = (HashSet::new(), 0_usize);
    for cell in map.cover(level, viewport) {
        if cells.insert(cell) && !level.is_counts() {
            markers += map.cell(CellKey { level, cell }).map_or(0, |cell| cell.population() as usize);
        }
        if cells.len() > settings.max_cells_per_view || markers > settings.max_markers_per_view {
            return false;
        }
    }
    true
}
