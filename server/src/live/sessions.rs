//! All sessions of the node and the tick that serves them: shared chunks to those who are level, the difference to those who are not. Pure;
//! never touches a socket.

mod views;

use hashbrown::HashMap;

use super::chunk::{self, Base, Chunk, Verify};
use super::lens::Lenses;
use super::pace::Turn;
use super::session::{Session, Wholes};
use super::stamp::Stamp;
use super::{Format, Goodbye, OutFrame, Settings};
use crate::attention::Watched;
use crate::map::cells::{CellKey, LensId, SessionId, Tick};
use crate::map::{Map, SharedMap};
use crate::model::id::{DeliveryId, TenantId};
use crate::model::scope::Scope;
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
    /// Those whose views came since the last answer; bounded by what is taken up between two looks at the time.
    asking: Vec<SessionId>,
    /// At the last tick somebody was not told all and has room for more.
    unfinished: bool,
}

#[derive(Debug, Default)]
struct TenantSessions {
    lenses: Lenses,
    sessions: usize,
}

/// Frames to hand out, in order.
pub type Frames = Vec<(SessionId, OutFrame)>;

impl Sessions {
    pub fn new(epoch: u64, settings: Settings) -> Self {
        Self { epoch, settings, tick: Tick(0), by_id: HashMap::new(), tenants: HashMap::new(), asking: Vec::new(), unfinished: false }
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
    pub fn open(&mut self, id: SessionId, tenant: TenantId, scope: Scope, format: Format, now: UnixMs, version: &str) -> OutFrame {
        let of_tenant = self.tenants.entry(tenant).or_default();
        if of_tenant.sessions >= self.settings.max_sessions_per_tenant || self.by_id.contains_key(&id) {
            return OutFrame::bye(format, Goodbye::TooManySessions, "this tenant has as many live sessions as it may", 10_000);
        }
        of_tenant.sessions += 1;
        self.by_id.insert(id, Session::new(tenant, scope, format, self.tick, now));
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
        let of_tenant = self.tenants.entry(session.tenant).or_default();
        of_tenant.sessions = of_tenant.sessions.saturating_sub(1);
        if let Some(view) = &session.view {
            of_tenant.lenses.give_back(view.lens);
            let mut map = map.write();
            let map = map.tenant_mut(&session.tenant);
            map.remove_viewport(id, view.level, &view.viewport);
            for cell in session.held.cells() {
                map.unwatch(CellKey { level: view.level, cell }, id);
            }
        }
        if of_tenant.sessions == 0 {
            self.tenants.remove(&session.tenant);
        }
    }

    /// A frame only when no delivery can be called so. An empty id ends it.
    pub fn on_follow(&mut self, id: SessionId, delivery: &str) -> Option<OutFrame> {
        let session = self.by_id.get_mut(&id)?;
        let Ok(wanted) = (!delivery.is_empty()).then(|| DeliveryId::parse(delivery)).transpose() else {
            return Some(OutFrame::bye(session.format, Goodbye::BadMessage, "no delivery has such an id", 0));
        };
        session.follow(wanted);
        None
    }

    /// True when the session waits for a tick to be sent what it missed. What did not fit a frame does not wait for that: a slow line would lie idle.
    pub fn on_ack(&mut self, id: SessionId, tick: u64, now: UnixMs) -> bool {
        let Some(session) = self.by_id.get_mut(&id) else { return false };
        let waits = session.acknowledge(Stamp(tick), now);
        if !session.is_whole() {
            self.asking.push(id);
        }
        waits
    }

    /// Whether the last tick left something untold that could be told at the next, whatever happens until then.
    pub fn is_unfinished(&self) -> bool {
        self.unfinished
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

    /// Cells that became occupied, or whose box grew, join the views that lie over them.
    fn absorb_appeared(&mut self, map: &mut Map) {
        for (_, map) in map.tenants_mut() {
            for key in map.take_appeared() {
                for id in map.lookers_at(key) {
                    let Some(session) = self.by_id.get_mut(&id) else { continue };
                    session.cover(id, key.cell, map);
                    if session.held.len() > self.settings.max_cells_per_view {
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
                let due = u128::from(self.tick.0 - cell.verified().0.min(self.tick.0)) >= every;
                if due {
                    cell.verify(self.tick);
                }
                dirty.push((*tenant, key, if due { Verify::Due } else { Verify::NotDue }));
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
            for watcher in cell.watchers() {
                let Some(session) = self.by_id.get_mut(&watcher.session) else { continue };
                let form = (watcher.lens, session.format);
                let Some(view) = session.shares(key.cell) else { continue };
                let index = encoded.iter().position(|(known, _)| *known == form).unwrap_or_else(|| {
                    encoded.push((form, chunk::encode(map, cell, &view.filter, Base::Told(before), *verify, now, form.1)));
                    encoded.len() - 1
                });
                if let Some(chunk) = &encoded[index].1 {
                    session.share(key.cell, chunk.clone());
                }
            }
        }
    }

    fn send(&mut self, map: &Map, now: UnixMs, frames: &mut Frames) {
        let mut wholes: Wholes = HashMap::new();
        self.unfinished = false;
        for (id, session) in &mut self.by_id {
            let tenant = map.tenant(&session.tenant);
            let frame = match session.turn {
                Turn::Blocked => session.fall_behind(tenant, now, self.tick),
                Turn::Shared | Turn::CatchUp => tenant.and_then(|map| session.frame(map, &mut wholes, &self.settings, self.tick, now)),
            };
            self.unfinished |= session.could_go_on(&self.settings);
            frames.extend(frame.map(|frame| (*id, frame)));
        }
    }

    /// Once a second: who makes no progress is closed, who is slow sees a coarser level, and old empty cells are forgotten.
    /// True when a tick is wanted.
    pub fn on_timer(&mut self, map: &SharedMap, now: UnixMs, frames: &mut Frames) -> bool {
        let mut wanted = false;
        let shared = map.read();
        for (id, session) in &mut self.by_id {
            if session.pace.link.is_stuck(now, &self.settings) {
                frames.push((*id, OutFrame::bye(session.format, Goodbye::NoProgress, "nothing was acknowledged for too long", 1_000)));
            }
            wanted |= session.suit_the_link(shared.tenant(&session.tenant), now, &self.settings);
        }
        drop(shared);
        let kept = self.settings.emptied_kept.as_millis() / self.settings.tick.as_millis().max(1);
        let horizon = Tick(self.tick.0.saturating_sub(u64::try_from(kept).unwrap_or(u64::MAX)));
        let mut map = map.write();
        map.tenants_mut().for_each(|(_, map)| map.forget_emptied(horizon));
        wanted
    }
}

impl Sessions {
    /// The cells that sessions look at now, as far as they are occupied.
    pub fn watched(&self, shared: &SharedMap) -> Watched {
        let mut watched = Watched::default();
        // Nobody here, nobody to be asked of the map.
        if !self.by_id.is_empty() {
            shared.read().tenants().for_each(|(tenant, map)| watched.add(*tenant, map.watched().map(u64::from)));
        }
        watched
    }
}

#[cfg(test)]
mod tests;
