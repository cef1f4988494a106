//! Sessions: what each dashboard looks at, what it was sent, and what it is owed at a tick. Pure; never touches a socket.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use h3o::CellIndex;
use hashbrown::{HashMap, HashSet};

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
    by_id: HashMap<SessionId, Session>,
    tenants: HashMap<TenantId, TenantSessions>,
}

#[derive(Debug, Default)]
struct TenantSessions {
    lenses: Lenses,
    sessions: usize,
}

#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is an independent debt to the client, not a state of one machine")]
struct Session {
    tenant: TenantId,
    format: Format,
    /// A view that the next tick takes up; a newer one replaces it.
    pending: Option<Pending>,
    view: Option<ActiveView>,
    /// Cells of the view; true once the client holds the cell as of `base`.
    covered: HashMap<CellIndex, bool>,
    /// Some covered cells may not be held yet.
    any_fresh: bool,
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
        Self { epoch, settings, tick: Tick(0), by_id: HashMap::new(), tenants: HashMap::new() }
    }

    /// The tick that changes applied from now on belong to.
    pub fn applying(&self) -> Tick {
        Tick(self.tick.0 + 1)
    }

    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Admits a session and greets it, or says goodbye.
    pub fn open(&mut self, id: SessionId, tenant: TenantId, format: Format, now: UnixMs, version: &str) -> OutFrame {
        let of_tenant = self.tenants.entry(tenant.clone()).or_default();
        if of_tenant.sessions >= self.settings.max_sessions_per_tenant || self.by_id.contains_key(&id) {
            return OutFrame::bye(format, Goodbye::TooManySessions, "this tenant has as many live sessions as it may", 10_000);
        }
        of_tenant.sessions += 1;
        self.by_id.insert(id, Session::new(tenant, format, self.tick, now));
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
        let Some(session) = self.by_id.remove(&id) else { return };
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
        let session = self.by_id.get_mut(&id)?;
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
        if let Some(session) = self.by_id.get_mut(&id) {
            session.follow = (!delivery.is_empty()).then(|| Box::from(delivery));
            session.followed = Tick(0);
        }
    }

    /// True when the session waits for a tick to be sent what it missed.
    pub fn on_ack(&mut self, id: SessionId, tick: Tick, now: UnixMs) -> bool {
        let Some(session) = self.by_id.get_mut(&id) else { return false };
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
        for session in self.by_id.values_mut() {
            session.turn = session.turn_at(before, &self.settings);
        }
        let map = shared.read();
        self.share_chunks(&map, &dirty, before, now);
        self.send(&map, now, &mut frames);
        frames
    }

    fn take_up_views(&mut self, map: &mut Map, frames: &mut Frames) {
        for (id, session) in &mut self.by_id {
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
            session.change_view(*id, old.as_ref(), view, pending.resume, map);
        }
    }

    /// Cells that became occupied, or whose box grew, join the views that lie over them.
    fn absorb_appeared(&mut self, map: &mut Map) {
        for (_, map) in map.tenants_mut() {
            for key in map.take_appeared() {
                for id in map.lookers_at(key) {
                    let Some(session) = self.by_id.get_mut(&id) else { continue };
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
                let Some(session) = self.by_id.get_mut(&watcher.session) else { continue };
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
        for (id, session) in &mut self.by_id {
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
        for (id, session) in &mut self.by_id {
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
            any_fresh: false,
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

    fn change_view(&mut self, id: SessionId, old: Option<&ActiveView>, view: ActiveView, resume: Option<Resumed>, map: &mut TenantMap) {
        if let Some(old) = old {
            map.remove_viewport(id, old.level, &old.viewport);
        }
        let same_kind = old.is_some_and(|old| old.level == view.level && old.lens == view.lens);
        let mut left = std::mem::take(&mut self.covered);
        if let (Some(old), false) = (old, same_kind) {
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
        self.any_fresh = true;
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
            self.any_fresh = true;
            map.watch(CellKey { level: view.level, cell }, Watcher { session: id, lens: view.lens });
        }
    }

    /// A tick that cannot be sent: harmless when it holds nothing for this session.
    fn fall_behind(&mut self, now: UnixMs, tick: Tick) -> Option<OutFrame> {
        let owed = std::mem::take(&mut self.owed) || self.unanswered || self.missed_ticks > 0 || self.any_fresh;
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
        let followed = self.followed_since(map, now, tick);
        let lag = (self.missed_ticks > 0 && self.behind_since.is_some()).then_some(wire::Lag { behind: false, merged_ticks: self.missed_ticks });
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
        let level =
            wire::Level { h3_resolution: u32::from(u8::from(view.level.resolution())), counts: view.level.is_counts(), coarsened: view.coarsened };
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

    /// The quick look that most sessions need at most ticks.
    fn is_up_to_date(&self) -> bool {
        let news = self.any_fresh || self.unanswered || self.behind_since.is_some() || self.follow.is_some();
        self.chunks.is_empty() && self.dropped.is_empty() && !news
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
        if !std::mem::take(&mut self.any_fresh) {
            return;
        }
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use parking_lot::RwLock;
    use proptest::prelude::*;
    use prost::Message;

    use super::*;
    use crate::map::cells::{Cell, meta_of};
    use crate::model::change::{Aboard, Carrier, Marker, MarkerChange};
    use crate::model::id::{DeliveryId, DriverId, Handle};
    use crate::model::position::Position;
    use crate::model::status::{Link, Motion, Status};

    /// What a dashboard does with frames, after the comments of `waypost.proto` alone.
    #[derive(Debug, Default)]
    struct Client {
        /// handle -> (cell, lat, lng, meta, id)
        markers: BTreeMap<u64, (u64, i32, i32, u32, String)>,
        counts: BTreeMap<u64, Vec<(i32, u32)>>,
        tick: u64,
        level: u32,
        view_id: u32,
        followed: Option<wire::Enter>,
        unacked: Vec<u64>,
        checks: usize,
        bye: Option<u32>,
        behind: bool,
    }

    impl Client {
        fn apply(&mut self, bytes: &[u8]) {
            let frame = wire::Frame::decode(bytes).unwrap();
            self.bye = frame.bye.map(|bye| bye.code);
            if let Some(lag) = frame.lag {
                self.behind = lag.behind;
            }
            if frame.tick == 0 {
                return;
            }
            assert!(frame.tick > self.tick, "ticks of a session only grow");
            if frame.reset {
                self.markers.clear();
                self.counts.clear();
            }
            frame.dropped.iter().for_each(|cell| self.forget(*cell));
            for cell in &frame.cells {
                self.apply_cell(cell);
            }
            // Checksums are of the whole frame's outcome: a marker may have gone from one cell to another within it.
            for cell in &frame.cells {
                self.check(cell);
            }
            (self.tick, self.level, self.view_id) = (frame.tick, frame.level.unwrap().h3_resolution, frame.view_id);
            self.followed = frame.followed.or(self.followed.take());
            self.unacked.push(frame.tick);
            assert!(self.unacked.len() <= 2, "at most two frames are unacknowledged");
        }

        fn forget(&mut self, cell: u64) {
            self.markers.retain(|_, marker| marker.0 != cell);
            self.counts.remove(&cell);
        }

        fn apply_cell(&mut self, cell: &wire::Cell) {
            if cell.whole {
                self.forget(cell.cell);
            }
            let place = |dlat: i32, dlng: i32| {
                let lng = (i64::from(cell.origin_lng_e7) + i64::from(dlng) + 1_800_000_000).rem_euclid(3_600_000_000) - 1_800_000_000;
                (cell.origin_lat_e7 + dlat, i32::try_from(lng).unwrap())
            };
            for enter in &cell.enters {
                let (lat, lng) = place(enter.dlat_e7, enter.dlng_e7);
                self.markers.insert(enter.handle, (cell.cell, lat, lng, enter.meta, enter.id.clone()));
            }
            let moves = cell.moves.clone().unwrap_or_default();
            let mut handle = 0;
            for index in 0..moves.handle.len() {
                handle += moves.handle[index];
                let (lat, lng) = place(moves.dlat_e7[index], moves.dlng_e7[index]);
                let known = self.markers.get_mut(&handle).expect("only what is held moves");
                assert_eq!(known.0, cell.cell, "only inside its cell does a marker move");
                (known.1, known.2, known.3) = (lat, lng, moves.meta[index]);
            }
            for leave in &cell.leaves {
                if self.markers.get(&leave.handle).is_some_and(|known| known.0 == cell.cell) {
                    self.markers.remove(&leave.handle);
                }
            }
            if !cell.counts.is_empty() {
                self.counts.insert(cell.cell, cell.counts.iter().map(|count| (count.status, count.markers)).collect());
            }
        }

        fn check(&mut self, cell: &wire::Cell) {
            let (Some(entries), Some(checksum)) = (cell.entries, cell.checksum) else { return };
            let markers: Vec<_> = self.markers.iter().filter(|(_, marker)| marker.0 == cell.cell).collect();
            let counts = self.counts.get(&cell.cell).cloned().unwrap_or_default();
            assert_eq!(entries as usize, markers.len() + counts.len());
            let of_markers = markers.iter().map(|(handle, m)| chunk::checksum_of(**handle, m.1, m.2, m.3));
            let of_counts = counts.iter().map(|(status, markers)| chunk::checksum_of(u64::try_from(*status).unwrap(), 0, 0, *markers));
            assert_eq!(checksum, of_markers.chain(of_counts).fold(0, u32::wrapping_add));
            self.checks += 1;
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Put {
            number: u64,
            place: (f64, f64),
            status: usize,
            heading: bool,
            driver: u64,
        },
        Remove {
            number: u64,
        },
        View {
            place: (f64, f64),
            half: f64,
            zoom: f64,
            filter: u8,
        },
        Tick,
        Ack,
        /// The link is cut and the client comes back; with a server that started anew when `forgets`.
        Cut {
            resumes: bool,
            forgets: bool,
            away: (bool, bool),
        },
        Wait,
        Forget,
    }

    const PLACES: [(f64, f64); 3] = [(57.70, 11.97), (-16.8, 179.995), (89.99, 20.0)];

    fn place() -> impl Strategy<Value = (f64, f64)> {
        (prop_oneof![6 => Just(PLACES[0]), 2 => Just(PLACES[1]), 1 => Just(PLACES[2])], -0.02..0.02_f64, -0.03..0.03_f64)
            .prop_map(|((lat, lng), dlat, dlng)| ((lat + dlat).min(90.0), crate::map::boxes::wrapped(lng + dlng)))
    }

    fn step() -> impl Strategy<Value = Step> {
        let put = (0..30_u64, place(), 0..4_usize, any::<bool>(), 0..20_u64).prop_map(|(number, place, status, heading, driver)| Step::Put {
            number,
            place,
            status,
            heading,
            driver,
        });
        let zoom = prop_oneof![5 => Just(14.0), 3 => Just(11.0), 1 => Just(8.0), 1 => Just(5.0), 1 => Just(1.0)];
        let view = (place(), 0.002..0.03_f64, zoom, 0..5_u8).prop_map(|(place, half, zoom, filter)| Step::View { place, half, zoom, filter });
        let cut = (prop::bool::weighted(0.8), prop::bool::weighted(0.2), any::<(bool, bool)>()).prop_map(|(resumes, forgets, away)| Step::Cut {
            resumes,
            forgets,
            away,
        });
        prop_oneof![
            30 => put, 6 => (0..30_u64).prop_map(|number| Step::Remove { number }), 5 => view, 14 => Just(Step::Tick), 10 => Just(Step::Ack),
            2 => cut, 1 => Just(Step::Wait), 1 => Just(Step::Forget)
        ]
    }

    fn tenant() -> TenantId {
        TenantId::parse("acme").unwrap()
    }

    fn marker(number: u64, place: (f64, f64), status: usize, heading: bool, driver: u64) -> MarkerChange {
        let status = [None, Some(Status::Assigned), Some(Status::PickedUp), Some(Status::Arrived)][status];
        let delivery = DeliveryId::parse(&format!("P{number}")).unwrap();
        let aboard: Vec<Aboard> =
            status.into_iter().map(|status| Aboard { delivery: delivery.clone(), status, eta: None, promised_by: None }).collect();
        // Now and then the same handle stands for another id.
        let id = if driver == 0 { format!("other-{number}") } else { format!("van-{number}") };
        MarkerChange::Put(Marker {
            handle: Handle((number % 3) << 37 | number),
            tenant: tenant(),
            carrier: Carrier::Driver(DriverId::parse(&id).unwrap()),
            position: Position::from_degrees(place.0, place.1).unwrap(),
            heading_deg: heading.then_some(359.9),
            speed_mps: 7.3,
            status,
            motion: Motion::Moving,
            link: Link::Live,
            accuracy_m: None,
            aboard_count: u32::try_from(aboard.len()).unwrap(),
            aboard: Arc::from(aboard),
            fix_time: UnixMs(0),
            heard: UnixMs(0),
            changed: UnixMs(0),
        })
    }

    struct World {
        map: SharedMap,
        sessions: Sessions,
        id: u64,
        client: Client,
        view: wire::View,
        /// The view that the client's last frame echoed, by its id.
        views: BTreeMap<u32, wire::View>,
        now: UnixMs,
        settings: Settings,
    }

    impl World {
        fn new(settings: Settings) -> Self {
            let mut world = Self {
                map: Arc::new(RwLock::new(Map::default())),
                sessions: Sessions::new(77, settings.clone()),
                id: 0,
                client: Client::default(),
                view: wire::View { west: 11.0, south: 57.0, east: 12.5, north: 58.0, zoom: 14.0, filter: None, view_id: 1 },
                views: BTreeMap::new(),
                now: UnixMs(1_000),
                settings,
            };
            world.open();
            world.look();
            world
        }

        fn open(&mut self) {
            self.id += 1;
            self.client.behind = false;
            let hello = self.sessions.open(SessionId(self.id), tenant(), Format::Proto, self.now, "test");
            self.client.unacked.clear();
            self.client.bye = None;
            self.client.apply(&hello.join());
        }

        fn look(&mut self) {
            self.views.insert(self.view.view_id, self.view.clone());
            assert!(self.sessions.on_view(SessionId(self.id), &self.view).is_none());
        }

        fn tick(&mut self) {
            self.now = UnixMs(self.now.0 + 100);
            for (id, frame) in self.sessions.on_tick(&self.map, self.now) {
                assert_eq!(id, SessionId(self.id));
                self.client.apply(&frame.join());
            }
        }

        fn ack(&mut self) {
            self.client.unacked.clear();
            self.sessions.on_ack(SessionId(self.id), Tick(self.client.tick), self.now);
        }

        fn step(&mut self, step: Step) {
            let applying = self.sessions.applying();
            match step {
                Step::Put { number, place, status, heading, driver } => {
                    self.map.write().apply(marker(number, place, status, heading, driver), applying)
                }
                Step::Remove { number } => {
                    let handle = Handle((number % 3) << 37 | number);
                    let remove = MarkerChange::Remove { tenant: tenant(), handle, ended: Some(Status::Delivered), ingest_time: self.now };
                    self.map.write().apply(remove, applying);
                }
                Step::View { place: (lat, lng), half, zoom, filter } => {
                    let filter = match filter {
                        0 => Some(wire::Filter { statuses: vec![2, 5], drivers: vec![] }),
                        1 => Some(wire::Filter { statuses: vec![], drivers: (0..9).map(|n| format!("van-{n}")).collect() }),
                        _ => None,
                    };
                    let (west, east) = (crate::map::boxes::wrapped(lng - half), crate::map::boxes::wrapped(lng + half));
                    let view_id = self.view.view_id + 1;
                    self.view = wire::View { west, south: lat - half, east, north: lat + half, zoom, filter, view_id };
                    self.look();
                }
                Step::Tick => self.tick(),
                Step::Ack => self.ack(),
                Step::Cut { resumes, forgets, away } => self.cut(resumes, forgets, away),
                Step::Wait => {
                    self.now = UnixMs(self.now.0 + 4_000);
                    let mut frames = Frames::new();
                    self.sessions.on_timer(&self.map, self.now, &mut frames);
                    frames.iter().for_each(|(_, frame)| self.client.apply(&frame.join()));
                }
                Step::Forget => {
                    let horizon = self.sessions.tick;
                    self.map.write().tenant_mut(&tenant()).forget_emptied(horizon);
                }
            }
            if self.client.bye.is_some() {
                self.cut(true, false, (true, false));
            }
        }

        fn cut(&mut self, resumes: bool, forgets: bool, (ticks, empties_forgotten): (bool, bool)) {
            self.client.bye = None;
            self.sessions.close(SessionId(self.id), &self.map);
            // Things happen while the client is away, perhaps ticked, and what emptied is perhaps forgotten.
            self.step(Step::Put { number: 3, place: PLACES[0], status: 1, heading: false, driver: 1 });
            for number in 5..12 {
                self.step(Step::Remove { number });
            }
            if ticks {
                assert!(self.sessions.on_tick(&self.map, self.now).is_empty());
            }
            if empties_forgotten {
                let horizon = self.sessions.applying();
                self.map.write().tenant_mut(&tenant()).forget_emptied(horizon);
            }
            let epoch = if forgets { 5 } else { 77 };
            self.open();
            let held = self.views.get(&self.client.view_id).cloned().filter(|_| resumes && self.client.tick > 0);
            if let Some(view) = held {
                let sources = vec![wire::Source { epoch, tick: self.client.tick }];
                let resume = wire::Resume { sources, view: Some(view), level: self.client.level };
                assert!(self.sessions.on_resume(SessionId(self.id), &resume).is_none());
                self.tick();
            }
            self.look();
        }

        /// All acknowledged and ticked: the client must hold what the map holds.
        fn settle_and_compare(&mut self) {
            for _ in 0..3 {
                self.ack();
                self.tick();
            }
            assert_eq!(self.client.view_id, self.view.view_id);
            assert!(!self.client.behind);
            let session = &self.sessions.by_id[&SessionId(self.id)];
            let view = session.view.as_ref().unwrap();
            let shared = self.map.read();
            let Some(map) = shared.tenant(&tenant()) else { return };
            for cell in map.cover(view.level, &view.viewport) {
                assert_eq!(session.covered.get(&cell), Some(&true), "a covered cell is held");
            }
            let mut markers = BTreeMap::new();
            let mut counts: BTreeMap<u64, BTreeMap<i32, u32>> = BTreeMap::new();
            for (placed, cell) in (0..30_u64)
                .filter_map(|n| map.marker(Handle((n % 3) << 37 | n)))
                .flat_map(|placed| session.covered.keys().map(move |cell| (placed, *cell)))
            {
                let (m, key) = (&placed.marker, CellKey { level: view.level, cell });
                let code = m.status.map_or(0, Status::code);
                if !placed.stands_in(key) || !view.filter.holds(code, m) {
                    continue;
                }
                if view.level.is_counts() {
                    *counts.entry(u64::from(cell)).or_default().entry(i32::from(code)).or_default() += 1;
                } else {
                    let shown = view.level.shown(m.position);
                    markers.insert(
                        m.handle.0,
                        (u64::from(cell), shown.lat_e7(), shown.lng_e7(), view.level.masked(meta_of(m)), m.carrier.as_str().to_owned()),
                    );
                }
            }
            let counts: BTreeMap<u64, Vec<(i32, u32)>> = counts.into_iter().map(|(cell, counts)| (cell, counts.into_iter().collect())).collect();
            assert_eq!(self.client.markers, markers);
            assert_eq!(self.client.counts, counts);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(250))]

        #[test]
        fn the_client_holds_what_the_server_holds_after_any_walk(steps in prop::collection::vec(step(), 1..150), tight in any::<bool>()) {
            let mut settings = Settings { verify_every: std::time::Duration::from_millis(300), ..Settings::default() };
            if tight {
                (settings.max_bytes_in_flight, settings.max_cells_per_view, settings.max_markers_per_view) = (300, 6, 12);
            }
            let mut world = World::new(settings);
            for (index, step) in steps.into_iter().enumerate() {
                world.step(step);
                if index % 40 == 39 {
                    world.settle_and_compare();
                }
            }
            world.settle_and_compare();
        }
    }

    fn numbered(number: u64, east: f64) -> MarkerChange {
        let MarkerChange::Put(marker) = marker(number % 30, (57.7, 11.97 + east), 1, true, 1) else { unreachable!() };
        let carrier = Carrier::Driver(DriverId::parse(&format!("van-{number}")).unwrap());
        MarkerChange::Put(Marker { handle: Handle(number * 97 | 63 << 37), carrier, ..marker })
    }

    #[test]
    fn a_moved_marker_costs_at_most_24_bytes() {
        let mut world = World::new(Settings { max_bytes_in_flight: 1 << 20, ..Settings::default() });
        for round in 0..2_u32 {
            let applying = world.sessions.applying();
            (0..400).for_each(|number| world.map.write().apply(numbered(number, f64::from(round) * 2e-4), applying));
            let frames = world.sessions.on_tick(&world.map, world.now);
            if round == 1 {
                let bytes = frames.iter().map(|(_, frame)| frame.join().len()).sum::<usize>();
                assert!(bytes <= 400 * 24, "{bytes} bytes for 400 moved markers");
                assert!(bytes >= 400 * 8, "{bytes} bytes are too few for 400 moved markers");
            }
        }
    }

    #[test]
    fn a_dirty_cell_is_encoded_once_for_all_who_watch_it() {
        let mut world = World::new(Settings::default());
        for id in 100..110 {
            world.sessions.open(SessionId(id), tenant(), Format::Proto, world.now, "test");
            assert!(world.sessions.on_view(SessionId(id), &world.view).is_none());
        }
        for round in 0..2 {
            let applying = world.sessions.applying();
            world.map.write().apply(numbered(1, f64::from(round) * 1e-4), applying);
            let frames = world.sessions.on_tick(&world.map, world.now);
            assert_eq!(frames.len(), 11);
            let first = frames[0].1.chunks[0].as_ptr();
            assert!(frames.iter().all(|(_, frame)| frame.chunks.len() == 1 && frame.chunks[0].as_ptr() == first));
        }
    }

    #[test]
    fn a_reader_that_acknowledges_nothing_gets_two_frames_a_lag_and_a_bye() {
        let mut world = World::new(Settings::default());
        for round in 0..10 {
            let applying = world.sessions.applying();
            world.map.write().apply(numbered(1, f64::from(round) * 1e-4), applying);
            world.tick();
        }
        assert_eq!((world.client.unacked.len(), world.client.behind), (2, true));
        world.ack();
        world.tick();
        assert_eq!((world.client.unacked.len(), world.client.behind), (1, false));
        world.now = UnixMs(world.now.0 + 15_000);
        world.step(Step::Wait);
        assert!(world.id == 2, "it was sent away and came back");
    }

    #[test]
    fn what_is_followed_is_told_wherever_it_is() {
        let mut world = World::new(Settings::default());
        world.sessions.on_follow(SessionId(1), "P7");
        world.step(Step::Put { number: 7, place: (1.0, 2.0), status: 2, heading: true, driver: 1 });
        world.tick();
        let followed = world.client.followed.clone().unwrap();
        assert_eq!((followed.lat_e7, followed.lng_e7, followed.id.as_str()), (10_000_000, 20_000_000, "van-7"));
    }

    #[test]
    fn more_removals_than_a_cell_remembers_are_answered_with_the_whole_cell() {
        let mut world = World::new(Settings { max_bytes_in_flight: 1 << 20, ..Settings::default() });
        let many = Cell::MAX_REMOVALS as u64 + 50;
        let applying = world.sessions.applying();
        (0..many).for_each(|number| world.map.write().apply(numbered(number, 0.0), applying));
        world.tick();
        assert_eq!(world.client.markers.len() as u64, many);
        let applying = world.sessions.applying();
        for number in 1..many {
            let remove = MarkerChange::Remove { tenant: tenant(), handle: Handle(number * 97 | 63 << 37), ended: None, ingest_time: world.now };
            world.map.write().apply(remove, applying);
        }
        world.tick();
        assert_eq!(world.client.markers.len(), 1);
    }

    #[test]
    fn a_json_frame_says_the_same() {
        let mut world = World::new(Settings::default());
        world.sessions.open(SessionId(50), tenant(), Format::Json, world.now, "test");
        assert!(world.sessions.on_view(SessionId(50), &world.view).is_none());
        let applying = world.sessions.applying();
        world.map.write().apply(numbered(1, 0.0), applying);
        let frames = world.sessions.on_tick(&world.map, world.now);
        let joined = frames.iter().find(|(id, _)| *id == SessionId(50)).unwrap().1.join();
        let value: serde_json::Value = serde_json::from_slice(&joined).unwrap();
        assert_eq!(value["cells"][0]["enters"][0]["id"], "van-1");
        assert_eq!(value["level"]["h3_resolution"], 8);
        assert!(value["cells"][0]["cell"].as_str().unwrap().starts_with("88"));
    }

    #[test]
    fn a_tenant_has_no_more_sessions_than_it_may() {
        let mut world = World::new(Settings { max_sessions_per_tenant: 1, ..Settings::default() });
        let refused = world.sessions.open(SessionId(9), tenant(), Format::Proto, world.now, "test");
        assert_eq!(refused.close, Some(Goodbye::TooManySessions));
        world.sessions.close(SessionId(1), &world.map);
        assert_eq!(world.sessions.open(SessionId(9), tenant(), Format::Proto, world.now, "test").close, None);
    }
}
