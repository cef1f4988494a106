//! What a session looks at: the view it asked for, the one it has, and the level of detail that the limits allow. Never sends anything.

use std::sync::Arc;

use hashbrown::HashSet;

use super::Settings;
use super::lens::Filter;
use super::resume::Resumed;
use crate::map::TenantMap;
use crate::map::cells::{CellKey, LensId, SessionId};
use crate::map::levels::Level;
use crate::map::viewport::Viewport;
use crate::map::watcher::Watcher;
use crate::model::scope::Scope;
use crate::wire;

/// A view that the next tick takes up.
#[derive(Clone, Debug)]
pub(super) struct PendingView {
    pub(super) viewport: Viewport,
    zoom: f64,
    pub(super) filter: Filter,
    view_id: u32,
    /// Set when the client says that it holds something of this view.
    pub(super) resume: Option<Resumed>,
}

impl PendingView {
    /// Seen through what the credential may see. None when it has no valid box, zoom or filter.
    pub(super) fn from_wire(view: &wire::View, scope: &Scope) -> Option<Self> {
        let viewport = Viewport::new(view.west, view.south, view.east, view.north).ok()?;
        let filter = Filter::from_wire(view.filter.as_ref())?.seen_through(scope);
        view.zoom.is_finite().then_some(Self { viewport, zoom: view.zoom, filter, view_id: view.view_id, resume: None })
    }
}

/// The view that a session has.
#[derive(Clone, Debug)]
pub(super) struct ActiveView {
    pub(super) viewport: Viewport,
    zoom: f64,
    pub(super) lens: LensId,
    pub(super) filter: Arc<Filter>,
    pub(super) view_id: u32,
    pub(super) level: Level,
    /// A limit or a slow link forbade the level that the zoom asks for.
    coarsened: bool,
}

impl ActiveView {
    /// `penalty` is how many levels a slow link has lost.
    pub(super) fn of(pending: &PendingView, lens: LensId, filter: Arc<Filter>, map: &TenantMap, penalty: usize, settings: &Settings) -> Self {
        let PendingView { viewport, zoom, view_id, .. } = *pending;
        let wanted = Level::for_zoom(zoom);
        let level = finest_allowed(map, &viewport, &filter, wanted, penalty, settings);
        Self { viewport, zoom, lens, filter, view_id, level, coarsened: level != wanted }
    }

    /// The same view, to be taken up anew.
    pub(super) fn again(&self) -> PendingView {
        PendingView { viewport: self.viewport, zoom: self.zoom, filter: Filter::clone(&self.filter), view_id: self.view_id, resume: None }
    }

    pub(super) fn watcher(&self, session: SessionId) -> Watcher {
        Watcher { session, lens: self.lens, interest: self.filter.interest() }
    }

    pub(super) fn level_message(&self) -> wire::Level {
        let h3_resolution = u32::from(u8::from(self.level.resolution()));
        wire::Level { h3_resolution, counts: self.level.is_counts(), coarsened: self.coarsened }
    }
}

/// The finest level that is no finer than `wanted` and that the limits allow.
fn finest_allowed(map: &TenantMap, viewport: &Viewport, filter: &Filter, wanted: Level, penalty: usize, settings: &Settings) -> Level {
    let mut level = wanted;
    for _ in 0..penalty {
        level = level.coarser().unwrap_or(level);
    }
    while let Some(coarser) = level.coarser() {
        if fits(map, level, viewport, filter, settings) {
            break;
        }
        level = coarser;
    }
    level
}

fn fits(map: &TenantMap, level: Level, viewport: &Viewport, filter: &Filter, settings: &Settings) -> bool {
    // A list of ids is shorter than the limit, however many others are there.
    let counted = !level.is_counts() && !filter.lists_ids();
    let (mut cells, mut markers) = (HashSet::new(), 0_usize);
    for cell in map.cover(level, viewport) {
        if cells.insert(cell) && counted {
            markers += map.cell(CellKey { level, cell }).map_or(0, |cell| cell.population() as usize);
        }
        if cells.len() > settings.max_cells_per_view || markers > settings.max_markers_per_view {
            return false;
        }
    }
    true
}
