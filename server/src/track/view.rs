//! What is known of a delivery or driver as plain data for those who ask. Never formats and never hides: who shows a fix asks the duty first.

use std::sync::Arc;

use crate::model::change::DutyFact;
use crate::model::event::{OrderKey, Proof};
use crate::model::id::{DeliveryId, DriverId, Handle, TenantId};
use crate::model::position::Position;
use crate::model::status::Status;
use crate::model::tags::Attributes;
use crate::model::time::UnixMs;
use crate::track::delivery::{AssignmentKind, Delivery};
use crate::track::driver::Known;
use crate::track::ping::{DeliveryPing, Ping};
use crate::track::status::{StampFlags, StatusHistory, Verdict};

/// A delivery's facts.
#[derive(Clone, Debug, PartialEq)]
pub struct DeliveryView {
    pub tenant: TenantId,
    pub delivery: DeliveryId,
    pub handle: Handle,
    pub status: Status,
    /// When the event that gave it this status was heard; absent while no status event is known.
    pub status_since: Option<UnixMs>,
    /// Sorted by order key, the greatest 32.
    pub history: Vec<StatusView>,
    pub assignment: Option<AssignmentView>,
    /// The newest ping that names this delivery. Whether it may be shown depends on its actor's duty, which the actor's own partition knows.
    pub fix: Option<FixView>,
    pub pickup: Option<Position>,
    pub destination: Option<Position>,
    pub promised_by: Option<UnixMs>,
    pub recipient_ref: Option<Box<str>>,
    pub attributes: Attributes,
    pub reported_eta: Option<UnixMs>,
    pub last_heard: UnixMs,
    /// It has ended and is not on the map any more.
    pub left_map: bool,
}

/// One status event and what it did.
#[derive(Clone, Debug, PartialEq)]
pub struct StatusView {
    pub order: OrderKey,
    pub status: Status,
    pub verdict: Verdict,
    pub reason: Option<Box<str>>,
    pub proof: Option<Proof>,
    pub ingest_time: UnixMs,
    pub flags: StampFlags,
}

#[derive(Clone, Debug, PartialEq)]
pub struct AssignmentView {
    pub driver: DriverId,
    pub kind: AssignmentKind,
    /// The event that said or implied it.
    pub order: OrderKey,
}

#[derive(Clone, Debug, PartialEq)]
pub struct FixView {
    pub ping: Ping,
    /// The driver or tracker that sent it.
    pub actor: DriverId,
    pub flags: StampFlags,
}

/// A driver's own facts: from pings that name no delivery, and its duty.
#[derive(Clone, Debug, PartialEq)]
pub struct DriverView {
    pub tenant: TenantId,
    pub driver: DriverId,
    pub handle: Handle,
    /// The newest own ping; absent when it was sent off duty, for then nobody may see it.
    pub fix: Option<FixView>,
    pub on_duty: bool,
    /// Sorted by order key; for `duty::on_duty_at` on fixes that came with a delivery.
    pub duty: Arc<[DutyFact]>,
    pub last_heard: UnixMs,
}

impl DeliveryView {
    pub fn of(tenant: TenantId, delivery: &Delivery) -> Self {
        let said = delivery.said.open();
        let created = delivery.created(&said).map(|register| register.value).unwrap_or_default();
        let order = said.assigned.as_ref().map(|register| &register.order).or(delivery.fix.as_ref().map(|fix| &fix.ping.order));
        let assignment = delivery.assignment().zip(order);
        Self {
            tenant,
            delivery: delivery.id().clone(),
            handle: delivery.terms.handle.get(),
            status: delivery.status(),
            status_since: said.statuses.standing().map(|standing| standing.since),
            history: history(&said.statuses),
            assignment: assignment.map(|((driver, kind), order)| AssignmentView { driver, kind, order: order.clone() }),
            fix: delivery.fix.as_deref().cloned().map(|DeliveryPing { ping, actor }| FixView { ping, actor, flags: delivery.fix_flags }),
            pickup: created.pickup,
            destination: created.destination,
            promised_by: created.promised_by,
            recipient_ref: created.recipient_ref,
            attributes: created.attributes,
            reported_eta: delivery.terms.reported_eta(),
            last_heard: delivery.last_heard.get(),
            left_map: delivery.left,
        }
    }
}

fn history(statuses: &StatusHistory) -> Vec<StatusView> {
    let judged = statuses.judged().map(|(fact, verdict)| {
        let detail = fact.detail.as_deref().cloned().unwrap_or_default();
        StatusView {
            order: fact.order.clone(),
            status: fact.status,
            verdict,
            reason: detail.reason,
            proof: detail.proof,
            ingest_time: fact.ingest_time,
            flags: fact.flags,
        }
    });
    judged.collect()
}

impl DriverView {
    pub fn of(tenant: TenantId, known: Known<'_>) -> Self {
        let driver = known.driver;
        Self {
            tenant,
            driver: driver.id.clone(),
            handle: driver.handle(),
            fix: known.visible_ping().map(|ping| FixView { ping, actor: driver.id.clone(), flags: driver.fix_flags }),
            on_duty: known.on_duty(),
            duty: known.shared_duty(),
            last_heard: driver.last_heard(),
        }
    }
}
