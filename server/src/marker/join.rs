//! Joins what partitions tell of one carrier into the marker it has, if any. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::estimate::{self, Movement, Seen};
use crate::model::change::{Aboard, Boarding, Carrier, DutyFact, FactKind, Fix, Marker};
use crate::model::id::{DeliveryId, Handle, TenantId};
use crate::model::position::Position;
use crate::model::status::{Link, Motion, Status};
use crate::model::time::UnixMs;

/// Everything known of a carrier.
#[derive(Debug)]
pub struct Joined {
    /// The first handle offered; kept as long as the carrier is known.
    handle: Option<Handle>,
    own: Option<Arc<Fix>>,
    duty: Arc<[DutyFact]>,
    boarded: BTreeMap<DeliveryId, Arc<Boarding>>,
    /// The list that markers share until boarding changes.
    aboard: Option<Arc<[Aboard]>>,
    movement: Movement,
    /// The order key of the newest fix that went into `movement`.
    observed: Option<Arc<Fix>>,
    heard: UnixMs,
    shown: Option<Shown>,
}

/// What the map was told last.
#[derive(Debug)]
struct Shown {
    seen: Seen,
    status: Option<Status>,
    link: Link,
    motion: Motion,
    aboard: Arc<[Aboard]>,
}

/// What a carrier wants the map to do.
#[derive(Debug)]
pub enum Wish {
    Nothing,
    Put(Box<Marker>),
    Remove(Handle),
}

impl Default for Joined {
    fn default() -> Self {
        Self {
            handle: None,
            own: None,
            duty: Arc::from([]),
            boarded: BTreeMap::new(),
            aboard: None,
            movement: Movement::default(),
            observed: None,
            heard: UnixMs(i64::MIN),
            shown: None,
        }
    }
}

impl Joined {
    /// Takes up one fact.
    pub fn join(&mut self, kind: FactKind, ingest_time: UnixMs) {
        self.heard = self.heard.max(ingest_time);
        match kind {
            FactKind::OwnFix { fix, handle } => {
                self.handle.get_or_insert(handle);
                self.own = Some(fix);
            }
            FactKind::AboardFix { delivery, fix } => {
                if let Some(boarding) = self.boarded.get_mut(&delivery) {
                    Arc::make_mut(boarding).fix = Some(fix);
                }
            }
            FactKind::Duty { duty, handle } => {
                self.handle.get_or_insert(handle);
                self.duty = duty;
            }
            FactKind::Board(boarding) => {
                self.handle.get_or_insert(boarding.handle);
                self.boarded.insert(boarding.delivery.clone(), boarding);
                self.aboard = None;
            }
            FactKind::Alight { delivery, .. } => {
                self.boarded.remove(&delivery);
                self.aboard = None;
            }
            FactKind::Forget => {
                self.own = None;
                self.duty = Arc::from([]);
            }
        }
    }

    /// Nothing is known any more, and nothing is shown.
    pub fn is_empty(&self) -> bool {
        self.own.is_none() && self.duty.is_empty() && self.boarded.is_empty() && self.shown.is_none()
    }

    pub fn heard(&self) -> UnixMs {
        self.heard
    }

    /// Compares what is known with what was told; `changed` is the ingest time of the oldest change since then.
    pub fn settle(&mut self, tenant: &TenantId, carrier: &Carrier, now: UnixMs, changed: UnixMs) -> Wish {
        let (Some(handle), Some((position, fix))) = (self.handle, self.place(carrier)) else {
            return match (self.shown.take(), self.handle) {
                (Some(_), Some(handle)) => Wish::Remove(handle),
                _ => Wish::Nothing,
            };
        };
        if let Some(fix) = &fix
            && self.observed.as_ref().is_none_or(|observed| observed.order < fix.order)
        {
            self.movement.observe(fix);
            self.observed = Some(Arc::clone(fix));
        }
        let fix_time = fix.as_ref().map_or(self.heard, |fix| fix.order.effective_time);
        let accuracy_m = fix.as_ref().and_then(|fix| fix.location.accuracy_m);
        let seen = Seen { position, heading_deg: self.movement.heading_deg, time: fix_time };
        let (link, _) = estimate::link(self.heard, now);
        let aboard = self.listed(position);
        let status = self.status();
        let told = self.shown.as_ref().is_some_and(|shown| {
            let same = shown.status == status && shown.link == link && shown.motion == self.movement.motion && Arc::ptr_eq(&shown.aboard, &aboard);
            same && !estimate::is_significant(shown.seen, seen, accuracy_m)
        });
        if told {
            return Wish::Nothing;
        }
        self.shown = Some(Shown { seen, status, link, motion: self.movement.motion, aboard: Arc::clone(&aboard) });
        Wish::Put(Box::new(Marker {
            handle,
            tenant: tenant.clone(),
            carrier: carrier.clone(),
            position,
            heading_deg: self.movement.heading_deg,
            speed_mps: self.movement.speed_mps,
            status,
            motion: self.movement.motion,
            link,
            accuracy_m,
            aboard,
            aboard_count: u32::try_from(self.boarded.len()).unwrap_or(u32::MAX),
            fix_time,
            heard: self.heard,
            changed,
        }))
    }

    /// Where the marker stands, and by which fix; absent when it has no place or must not be shown.
    fn place(&self, carrier: &Carrier) -> Option<(Position, Option<Arc<Fix>>)> {
        if let Carrier::Delivery(delivery) = carrier {
            return self.boarded.get(delivery)?.pickup.map(|pickup| (pickup, None));
        }
        if self.duty.last().is_some_and(|fact| !fact.on) {
            return None;
        }
        let fixes = self.own.iter().chain(self.boarded.values().filter_map(|boarding| boarding.fix.as_ref()));
        let newest = fixes.filter(|fix| self.was_on_duty(fix)).max_by(|a, b| a.order.cmp(&b.order))?;
        Some((newest.location.position, Some(Arc::clone(newest))))
    }

    /// Who never sent duty is on duty.
    fn was_on_duty(&self, fix: &Fix) -> bool {
        self.duty.iter().rev().find(|fact| fact.order <= fix.order).is_none_or(|fact| fact.on)
    }

    /// Of the delivery that is most advanced and not ended; ties go to the least id.
    fn status(&self) -> Option<Status> {
        let active = self.boarded.values().map(|boarding| boarding.status).filter(|status| !status.is_terminal() && *status != Status::Failed);
        active.max().or_else(|| self.boarded.values().map(|boarding| boarding.status).max())
    }

    fn listed(&mut self, position: Position) -> Arc<[Aboard]> {
        if let Some(aboard) = &self.aboard {
            return Arc::clone(aboard);
        }
        let (speed, heard) = (self.movement.speed_mps, self.heard);
        let one = |boarding: &Arc<Boarding>| {
            let goal = if boarding.status < Status::PickedUp { boarding.pickup } else { boarding.destination };
            let own = goal.filter(|_| !boarding.status.is_terminal()).map(|goal| estimate::eta(position, goal, speed, heard));
            Aboard {
                delivery: boarding.delivery.clone(),
                status: boarding.status,
                eta: boarding.reported_eta.or(own),
                promised_by: boarding.promised_by,
            }
        };
        let aboard: Arc<[Aboard]> = self.boarded.values().take(Marker::MAX_LISTED).map(one).collect();
        self.aboard = Some(Arc::clone(&aboard));
        aboard
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::event::{Location, OrderKey};
    use crate::model::id::{DriverId, EventId};

    fn fix(time: i64, lat: f64) -> Arc<Fix> {
        let position = Position::from_degrees(lat, 11.0).expect("valid");
        let location = Location { position, accuracy_m: None, speed_mps: None, heading_deg: None, altitude_m: None, battery: None };
        let order = OrderKey { effective_time: UnixMs(time), event_id: EventId::parse("e").expect("valid") };
        Arc::new(Fix { order, location, ingest_time: UnixMs(time), actor: DriverId::parse("d").expect("valid") })
    }

    fn board(delivery: &str, status: Status, fix: Option<Arc<Fix>>) -> FactKind {
        let delivery = DeliveryId::parse(delivery).expect("valid");
        let (pickup, destination) = (Position::from_degrees(57.0, 11.0).ok(), Position::from_degrees(57.1, 11.0).ok());
        FactKind::Board(Arc::new(Boarding { delivery, handle: Handle(7), status, pickup, destination, promised_by: None, reported_eta: None, fix }))
    }

    fn driver() -> (TenantId, Carrier) {
        (TenantId::parse("acme").expect("valid"), Carrier::Driver(DriverId::parse("d").expect("valid")))
    }

    fn settle(joined: &mut Joined, now: i64) -> Wish {
        let (tenant, carrier) = driver();
        joined.settle(&tenant, &carrier, UnixMs(now), UnixMs(now))
    }

    fn latitude(wish: &Wish) -> Option<f64> {
        if let Wish::Put(marker) = wish { Some(marker.position.lat()) } else { None }
    }

    #[test]
    fn the_newest_of_own_and_aboard_fixes_is_shown_and_an_older_one_never_moves_it_back() {
        let mut joined = Joined::default();
        joined.join(FactKind::OwnFix { fix: fix(10_000, 57.0), handle: Handle(1) }, UnixMs(10_000));
        assert_eq!(latitude(&settle(&mut joined, 10_000)), Some(57.0));
        joined.join(board("o", Status::PickedUp, Some(fix(20_000, 57.01))), UnixMs(20_000));
        assert_eq!(latitude(&settle(&mut joined, 20_000)), Some(57.01));
        joined.join(FactKind::OwnFix { fix: fix(15_000, 57.5), handle: Handle(1) }, UnixMs(21_000));
        assert!(matches!(settle(&mut joined, 21_000), Wish::Nothing));
    }

    #[test]
    fn off_duty_fixes_are_never_shown_also_when_the_duty_comes_late() {
        let mut joined = Joined::default();
        joined.join(FactKind::OwnFix { fix: fix(10_000, 57.0), handle: Handle(1) }, UnixMs(10_000));
        assert!(latitude(&settle(&mut joined, 10_000)).is_some());
        let off = DutyFact { order: OrderKey { effective_time: UnixMs(5_000), event_id: EventId::parse("x").expect("valid") }, on: false };
        let on = DutyFact { order: OrderKey { effective_time: UnixMs(30_000), event_id: EventId::parse("y").expect("valid") }, on: true };
        joined.join(FactKind::Duty { duty: Arc::from([off, on]), handle: Handle(1) }, UnixMs(31_000));
        assert!(matches!(settle(&mut joined, 31_000), Wish::Remove(Handle(1))));
        joined.join(FactKind::OwnFix { fix: fix(32_000, 57.2), handle: Handle(1) }, UnixMs(32_000));
        assert_eq!(latitude(&settle(&mut joined, 32_000)), Some(57.2));
    }

    #[test]
    fn a_delivery_that_waits_stands_at_its_pickup_until_it_is_aboard_someone() {
        let (tenant, _) = driver();
        let id = DeliveryId::parse("o").expect("valid");
        let carrier = Carrier::Delivery(id.clone());
        let mut joined = Joined::default();
        joined.join(board("o", Status::Created, None), UnixMs(1));
        let wish = joined.settle(&tenant, &carrier, UnixMs(1), UnixMs(1));
        assert_eq!(latitude(&wish), Some(57.0));
        joined.join(FactKind::Alight { delivery: id, ended: None }, UnixMs(2));
        assert!(matches!(joined.settle(&tenant, &carrier, UnixMs(2), UnixMs(2)), Wish::Remove(Handle(7))));
        assert!(joined.is_empty());
    }

    #[test]
    fn the_status_is_the_most_advanced_delivery_that_has_not_ended() {
        let mut joined = Joined::default();
        for (id, status) in [("a", Status::Delivered), ("b", Status::Assigned), ("c", Status::EnRouteDropoff)] {
            joined.join(board(id, status, Some(fix(1, 57.0))), UnixMs(1));
        }
        let Wish::Put(marker) = settle(&mut joined, 1) else { panic!("a marker") };
        assert_eq!((marker.status, marker.aboard_count, marker.aboard.len()), (Some(Status::EnRouteDropoff), 3, 3));
    }
}
