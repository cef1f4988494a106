//! How views are taken up: at once, each answered for itself, or with a tick. Never tells of a change that a tick shares.

use hashbrown::HashMap;

use super::{Frames, Sessions, TenantSessions};
use crate::live::pace::Turn;
use crate::live::resume::Resumed;
use crate::live::session::{Session, Wholes};
use crate::live::stamp::Stamp;
use crate::live::view::{ActiveView, PendingView};
use crate::live::{Goodbye, OutFrame, Settings};
use crate::map::cells::{SessionId, Tick};
use crate::map::{Map, SharedMap};
use crate::model::id::TenantId;
use crate::model::time::UnixMs;
use crate::wire;

impl Sessions {
    /// Takes up a view with the next answer or tick; a frame only when it is no view.
    pub fn on_view(&mut self, id: SessionId, view: &wire::View) -> Option<OutFrame> {
        self.take_up(id, view, None)
    }

    pub fn on_resume(&mut self, id: SessionId, resume: &wire::Resume) -> Option<OutFrame> {
        let ours = resume.sources.iter().find(|source| source.epoch == self.epoch).and_then(|source| Stamp(source.tick).held());
        let known = ours.filter(|tick| *tick > Tick(0) && *tick <= self.tick);
        let resumed = known.map_or(Resumed::Unknown, |base| Resumed::At { base, resolution: resume.level });
        self.take_up(id, resume.view.as_ref()?, Some(resumed))
    }

    fn take_up(&mut self, id: SessionId, view: &wire::View, resume: Option<Resumed>) -> Option<OutFrame> {
        let session = self.by_id.get_mut(&id)?;
        let Some(view) = PendingView::from_wire(view, &session.scope) else {
            return Some(OutFrame::bye(session.format, Goodbye::BadMessage, "the view has no valid box, zoom or filter", 0));
        };
        session.ask(view, resume);
        self.asking.push(id);
        None
    }

    /// Answers views between two ticks, each with all that was applied so far, and goes on with those that did not fit one frame: who pans does not
    /// wait for a tick. Only those that wait for an acknowledgement first do.
    pub fn on_views(&mut self, shared: &SharedMap, now: UnixMs) -> Frames {
        let mut frames = Frames::new();
        if self.asking.is_empty() {
            return frames;
        }
        let mut asking = std::mem::take(&mut self.asking);
        asking.sort_unstable();
        asking.dedup();
        // A frame of tick 0 has no content, by its definition.
        if self.tick == Tick(0) {
            return frames;
        }
        // Who was acknowledged, and waits for the rest of a view, changes nothing of the map.
        let has_view = |id: &&SessionId| self.by_id.get(*id).is_some_and(|session| session.pending.is_some());
        let new: Vec<SessionId> = asking.iter().filter(has_view).copied().collect();
        if !new.is_empty() {
            let mut map = shared.write();
            let Self { by_id, tenants, settings, .. } = self;
            for id in &new {
                let Some(session) = by_id.get_mut(id) else { continue };
                frames.extend(take_up_view(*id, session, tenants, &mut map, settings));
            }
        }
        let map = shared.read();
        let mut wholes: Wholes = HashMap::new();
        for id in asking {
            let Some(session) = self.by_id.get_mut(&id) else { continue };
            let Some(map) = map.tenant(&session.tenant) else { continue };
            while !session.pace.link.is_full(&self.settings) {
                // What the next tick tells again of this is absolute, so it may be told twice.
                session.turn = Turn::CatchUp;
                let Some(frame) = session.frame(map, &mut wholes, &self.settings, self.tick, now) else { break };
                frames.push((id, frame));
                if session.is_whole() {
                    break;
                }
            }
        }
        frames
    }

    pub(super) fn take_up_views(&mut self, map: &mut Map, frames: &mut Frames) {
        let Self { by_id, tenants, settings, asking, .. } = self;
        asking.clear();
        for (id, session) in by_id {
            frames.extend(take_up_view(*id, session, tenants, map, settings));
        }
    }
}

/// Gives a session the view that it asked for; a goodbye when that takes one lens too many.
fn take_up_view(
    id: SessionId,
    session: &mut Session,
    tenants: &mut HashMap<TenantId, TenantSessions>,
    map: &mut Map,
    settings: &Settings,
) -> Option<(SessionId, OutFrame)> {
    let pending = session.pending.take()?;
    let lenses = &mut tenants.entry(session.tenant).or_default().lenses;
    let Some(lens) = lenses.take(pending.filter.clone()) else {
        return Some((id, OutFrame::bye(session.format, Goodbye::BadMessage, "this tenant uses too many distinct filters or scopes", 10_000)));
    };
    let map = map.tenant_mut(&session.tenant);
    let view = ActiveView::of(&pending, lens, lenses.filter(lens), map, session.pace.penalty(), settings);
    let old = session.view.take();
    if let Some(old) = &old {
        lenses.give_back(old.lens);
    }
    // Who sees a part is not told of the rest, nor that a cell is empty now: nothing it holds can be told by difference. Nor can counts of what is
    // aboard: while nobody asked for them, their changes were not noted.
    let counts_aboard = view.level.is_counts() && view.filter.looks_aboard();
    let resume = if view.filter.is_narrowed() || counts_aboard { pending.resume.map(|_| Resumed::Unknown) } else { pending.resume };
    session.change_view(id, old.as_ref(), view, resume, map);
    None
}
