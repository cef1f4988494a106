//! What is asked of the map and what it answers: which deliveries are wanted, and a row for each. Does not look for them (`seek.rs`).

use super::TenantMap;
use crate::model::change::Aboard;
use crate::model::id::{DeliveryId, DriverId};
use crate::model::marker::Marker;
use crate::model::position::Position;
use crate::model::scope::Scope;
use crate::model::status::{Link, Motion, Status};
use crate::model::tags::TagWish;
use crate::model::time::UnixMs;

/// What a row must be; nothing set means all.
#[derive(Clone, Debug, Default)]
pub struct RowFilter {
    /// Any of these; empty means any at all.
    pub statuses: Vec<Status>,
    pub driver: Option<DriverId>,
    /// Of its attributes.
    pub tags: TagWish,
    /// At risk of being late.
    pub late_risk: bool,
    /// A part of the delivery's or the driver's id; letters of either case.
    pub q: Option<String>,
    /// What exists for who asks.
    pub scope: Scope,
}

/// A delivery that was met on the map, and the marker that carries it; nothing of it is copied yet.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    pub(super) delivery: &'a DeliveryId,
    status: Status,
    eta: Option<UnixMs>,
    promised_by: Option<UnixMs>,
    pub(super) marker: &'a Marker,
}

/// What is kept of a delivery that was met: as little as will be told, for it is copied while the map is held.
pub trait Kept {
    fn of(found: &Found<'_>) -> Self;
    fn delivery(&self) -> &DeliveryId;
}

/// A delivery on the map.
#[derive(Clone, Debug)]
pub struct Row {
    pub delivery: DeliveryId,
    pub status: Status,
    pub eta: Option<UnixMs>,
    pub promised_by: Option<UnixMs>,
    /// Who carries it; nobody while it waits.
    pub driver: Option<DriverId>,
    /// Where it is, as the fields from here on are of what carries it.
    pub position: Position,
    pub fix_time: UnixMs,
    pub heard: UnixMs,
    pub accuracy_m: Option<f32>,
    pub speed_mps: f32,
    pub heading_deg: Option<f32>,
    pub motion: Motion,
    pub link: Link,
}

/// Where a delivery is, and nothing else of it.
#[derive(Clone, Debug)]
pub struct Whereabouts {
    pub delivery: DeliveryId,
    pub position: Position,
}

impl Kept for Row {
    fn of(found: &Found<'_>) -> Self {
        let Found { delivery, status, eta, promised_by, marker } = *found;
        Self {
            delivery: delivery.clone(),
            status,
            eta,
            promised_by,
            driver: marker.driver().cloned(),
            position: marker.position(),
            fix_time: marker.fix_time(),
            heard: marker.heard(),
            accuracy_m: marker.accuracy_m().get(),
            speed_mps: marker.speed_mps(),
            heading_deg: marker.heading_deg().get(),
            motion: marker.motion(),
            link: marker.link(),
        }
    }

    fn delivery(&self) -> &DeliveryId {
        &self.delivery
    }
}

impl Kept for Whereabouts {
    fn of(found: &Found<'_>) -> Self {
        Self { delivery: found.delivery.clone(), position: found.marker.position() }
    }

    fn delivery(&self) -> &DeliveryId {
        &self.delivery
    }
}

impl TenantMap {
    /// The row of one delivery.
    pub fn row_of(&self, delivery: &DeliveryId) -> Option<Row> {
        let placed = self.by_delivery(delivery)?;
        on_board(&placed.marker).find(|found| found.delivery == delivery).map(|found| Row::of(&found))
    }
}

/// Each delivery that a marker lists; one that waits lists itself.
fn on_board(marker: &Marker) -> impl Iterator<Item = Found<'_>> {
    let listed = marker.aboard().iter();
    listed.map(|a| Found { delivery: &a.delivery, status: a.status, eta: a.eta.get(), promised_by: a.promised_by.get(), marker })
}

/// A filter made ready to be held against many.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) filter: RowFilter,
    part: Option<String>,
}

impl Wanted {
    pub(super) fn new(filter: RowFilter) -> Self {
        let part = filter.q.as_ref().map(|q| q.to_lowercase());
        Self { filter, part }
    }

    /// The deliveries of a marker that are wanted.
    pub(super) fn of<'m>(&self, marker: &'m Marker) -> impl Iterator<Item = Found<'m>> {
        let inside = self.filter.scope.holds_place(marker.position());
        inside.then(|| on_board(marker)).into_iter().flatten().filter(|row| self.holds(row))
    }

    fn holds(&self, row: &Found<'_>) -> bool {
        let status = self.filter.statuses.is_empty() || self.filter.statuses.contains(&row.status);
        let driver = self.filter.driver.is_none() || self.filter.driver.as_ref() == row.marker.driver();
        let named = |part: &str| has(&row.delivery.as_str(), part) || row.marker.driver().is_some_and(|id| has(&id.as_str(), part));
        let scope = &self.filter.scope;
        status
            && driver
            && scope.holds_delivery(Some(row.delivery))
            && scope.holds_driver(row.marker.driver())
            && self.part.as_deref().is_none_or(named)
            && self.holds_listed(row)
    }

    fn holds_listed(&self, row: &Found<'_>) -> bool {
        let RowFilter { tags, late_risk, .. } = &self.filter;
        let listed =
            || row.marker.aboard().binary_search_by(|aboard| aboard.delivery.cmp(row.delivery)).ok().map(|index| &row.marker.aboard()[index]);
        let holds = |aboard: &Aboard| (tags.is_empty() || tags.is_met_by(aboard.attributes())) && (aboard.late_risk || !late_risk);
        tags.is_empty() && !late_risk || listed().is_some_and(holds)
    }
}

/// Whether an id has this part, which is in small letters.
fn has(id: &str, part: &str) -> bool {
    if !id.is_ascii() {
        return id.to_lowercase().contains(part);
    }
    part.is_empty() || id.as_bytes().windows(part.len()).any(|some| some.eq_ignore_ascii_case(part.as_bytes()))
}
