//! What is known of one delivery and of one driver: a join of their events, last writer wins by order key. Pure.

use std::sync::Arc;

use super::status::{StatusEvent, StatusHistory};
use crate::model::change::{Boarding, DutyFact, Fix};
use crate::model::event::{Body, Created, Event, OrderKey};
use crate::model::id::{DeliveryId, DriverId, Handle};
use crate::model::status::Status;
use crate::model::time::UnixMs;

/// Duty events kept a driver: the greatest by order key.
const MAX_DUTY_FACTS: usize = 32;

/// A value and what it was said by; a later order key replaces it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Register<T> {
    order: OrderKey,
    value: T,
}

/// A delivery's facts.
#[derive(Clone, Debug)]
pub struct DeliveryFacts {
    pub handle: Handle,
    pub last_heard: UnixMs,
    created: Option<Box<Register<Created>>>,
    /// Said by `delivery.assigned`: outranks every implied one, whenever it arrives.
    explicit: Option<Register<DriverId>>,
    /// The actor of the newest ping that names this delivery.
    implied: Option<Register<DriverId>>,
    eta: Option<Register<UnixMs>>,
    status: StatusHistory,
    fix: Option<Arc<Fix>>,
}

impl DeliveryFacts {
    pub fn new(handle: Handle) -> Self {
        let status = StatusHistory::default();
        Self { handle, last_heard: UnixMs(i64::MIN), created: None, explicit: None, implied: None, eta: None, status, fix: None }
    }

    /// Joins an event that names this delivery; true when anything is now known that was not.
    pub fn join(&mut self, event: &Event, ingest_time: UnixMs) -> bool {
        self.last_heard = self.last_heard.max(ingest_time);
        let order = event.order_key();
        match &event.body {
            Body::Location(location) => {
                let Some(actor) = &event.actor else { return false };
                if self.fix.as_ref().is_some_and(|fix| fix.order >= order) {
                    return false;
                }
                set(&mut self.implied, order.clone(), actor.clone());
                self.fix = Some(Arc::new(Fix { order, location: *location, ingest_time, actor: actor.clone() }));
                true
            }
            Body::Created(created) => {
                let said = self.say(order.clone(), Status::Created);
                let newer = self.created.as_ref().is_none_or(|known| known.order < order);
                if newer {
                    self.created = Some(Box::new(Register { order, value: created.as_ref().clone() }));
                }
                newer || said
            }
            Body::Assigned { driver } => {
                let said = self.say(order.clone(), Status::Assigned);
                set(&mut self.explicit, order, driver.clone()) || said
            }
            Body::Status(change) => {
                self.status.add(StatusEvent { order, status: change.status, reason: change.reason.clone(), proof: change.proof.clone() })
            }
            Body::Eta { eta } => set(&mut self.eta, order, *eta),
            Body::Duty { .. } | Body::Other { .. } => false,
        }
    }

    pub fn driver(&self) -> Option<&DriverId> {
        self.explicit.as_ref().or(self.implied.as_ref()).map(|register| &register.value)
    }

    pub fn is_explicitly_assigned(&self) -> bool {
        self.explicit.is_some()
    }

    pub fn status(&self) -> Status {
        self.status.current()
    }

    pub fn history(&self) -> &StatusHistory {
        &self.status
    }

    pub fn fix(&self) -> Option<&Arc<Fix>> {
        self.fix.as_ref()
    }

    pub fn created(&self) -> Option<&Created> {
        self.created.as_ref().map(|register| &register.value)
    }

    pub fn eta(&self) -> Option<UnixMs> {
        self.eta.as_ref().map(|register| register.value)
    }

    /// What the marker stage needs to know.
    pub fn boarding(&self, delivery: &DeliveryId) -> Boarding {
        let created = self.created();
        Boarding {
            delivery: delivery.clone(),
            handle: self.handle,
            status: self.status(),
            pickup: created.and_then(|created| created.pickup),
            destination: created.and_then(|created| created.destination),
            promised_by: created.and_then(|created| created.promised_by),
            reported_eta: self.eta(),
            fix: self.fix.clone(),
        }
    }

    /// The facts as text that two equal states share; handles and times of hearing are left out.
    pub fn fingerprint(&self) -> String {
        let fix = self.fix.as_ref().map(|fix| (&fix.order, fix.location, &fix.actor));
        format!("{:?}|{:?}|{:?}|{:?}|{:?}|{fix:?}", self.created, self.explicit, self.implied, self.eta, self.status)
    }

    fn say(&mut self, order: OrderKey, status: Status) -> bool {
        self.status.add(StatusEvent { order, status, reason: None, proof: None })
    }
}

/// A driver's own facts: what its events said that name no delivery.
#[derive(Clone, Debug)]
pub struct DriverFacts {
    pub handle: Handle,
    pub last_heard: UnixMs,
    fix: Option<Arc<Fix>>,
    duty: Vec<DutyFact>,
}

impl DriverFacts {
    pub fn new(handle: Handle) -> Self {
        Self { handle, last_heard: UnixMs(i64::MIN), fix: None, duty: Vec::new() }
    }

    /// Joins an event of this driver; true when anything is now known that was not.
    pub fn join(&mut self, event: &Event, driver: &DriverId, ingest_time: UnixMs) -> bool {
        self.last_heard = self.last_heard.max(ingest_time);
        let order = event.order_key();
        match &event.body {
            Body::Location(location) => {
                let newer = self.fix.as_ref().is_none_or(|fix| fix.order < order);
                if newer {
                    self.fix = Some(Arc::new(Fix { order, location: *location, ingest_time, actor: driver.clone() }));
                }
                newer
            }
            Body::Duty { on } => self.add_duty(DutyFact { order, on: *on }),
            _ => false,
        }
    }

    pub fn fix(&self) -> Option<&Arc<Fix>> {
        self.fix.as_ref()
    }

    pub fn duty(&self) -> Arc<[DutyFact]> {
        Arc::from(self.duty.as_slice())
    }

    pub fn fingerprint(&self) -> String {
        let fix = self.fix.as_ref().map(|fix| (&fix.order, fix.location));
        format!("{fix:?}|{:?}", self.duty)
    }

    fn add_duty(&mut self, fact: DutyFact) -> bool {
        let Err(place) = self.duty.binary_search_by(|known| known.order.cmp(&fact.order)) else {
            return false;
        };
        self.duty.insert(place, fact);
        if self.duty.len() > MAX_DUTY_FACTS {
            self.duty.remove(0);
        }
        true
    }
}

fn set<T>(register: &mut Option<Register<T>>, order: OrderKey, value: T) -> bool {
    let newer = register.as_ref().is_none_or(|known| known.order < order);
    if newer {
        *register = Some(Register { order, value });
    }
    newer
}
