//! The delivery that a session follows wherever it is: what its client was told of it, and what it is owed. Never looks at a view.

use std::borrow::Cow;

use super::enter;
use crate::map::TenantMap;
use crate::map::cells::Tick;
use crate::model::id::DeliveryId;
use crate::model::marker::Marker;
use crate::model::scope::Scope;
use crate::model::status::Status;
use crate::model::time::UnixMs;
use crate::wire;

#[derive(Debug)]
pub(super) struct Follow {
    delivery: DeliveryId,
    /// Up to which tick the client was told of the marker.
    told: Tick,
    last: Option<Told>,
    /// How often the timer came by since it could not be found any more. A delivery that goes from one driver to another may be with neither for some ticks.
    missing: Option<u8>,
}

/// What the client was told last of the delivery itself.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Told {
    status: Option<Status>,
    late_risk: bool,
    eta: Option<UnixMs>,
    promised_by: Option<UnixMs>,
    gone: bool,
}

/// What a frame says of what is followed.
#[derive(Debug, Default)]
pub(super) struct News {
    pub(super) marker: Option<wire::Enter>,
    pub(super) delivery: Option<wire::FollowedDelivery>,
}

impl News {
    pub(super) fn is_empty(&self) -> bool {
        self.marker.is_none() && self.delivery.is_none()
    }
}

/// A second at least.
const MISSING_FOR: u8 = 2;

impl Follow {
    pub(super) fn of(delivery: DeliveryId) -> Self {
        Self { delivery, told: Tick(0), last: None, missing: None }
    }

    /// Whether `news` would say anything.
    pub(super) fn has_news(&self, map: &TenantMap, scope: &Scope) -> bool {
        match self.find(map, scope) {
            Some((changed, _)) => changed > self.told || self.is_gone(),
            None => self.may_be_given_up() || self.missing.is_none() && !self.is_gone(),
        }
    }

    /// What the client was not told yet, which it is told by this.
    pub(super) fn news(&mut self, map: &TenantMap, scope: &Scope, tick: Tick, now: UnixMs) -> News {
        let Some((changed, marker)) = self.find(map, scope) else { return self.miss() };
        self.missing = None;
        if changed <= self.told && !self.is_gone() {
            return News::default();
        }
        self.told = tick;
        let told = Told::of(&self.delivery, &marker);
        News { marker: Some(enter::followed(&marker, now)), delivery: self.tell(told) }
    }

    /// The timer came by. True when a tick is wanted: it is not looked for any longer.
    pub(super) fn waits(&mut self) -> bool {
        if let Some(rounds) = &mut self.missing {
            *rounds = rounds.saturating_add(1);
        }
        self.may_be_given_up()
    }

    /// The marker that carries it, or that it is, as far as it exists for the credential, and when that last changed. Whether it exists for others
    /// makes no difference to what is told.
    fn find<'m>(&self, map: &'m TenantMap, scope: &Scope) -> Option<(Tick, Cow<'m, Marker>)> {
        let placed = map.by_delivery(&self.delivery).filter(|_| scope.holds_delivery(Some(&self.delivery)))?;
        Some((placed.changed(), scope.seen(&placed.marker)?))
    }

    fn miss(&mut self) -> News {
        if self.is_gone() {
            return News::default();
        }
        if !self.may_be_given_up() {
            self.missing.get_or_insert(0);
            return News::default();
        }
        self.missing = None;
        let ended = self.last.and_then(|last| last.status).filter(|status| status.is_terminal());
        let gone = Told { status: ended, late_risk: false, eta: None, promised_by: None, gone: true };
        News { marker: None, delivery: self.tell(gone) }
    }

    fn is_gone(&self) -> bool {
        self.last.is_some_and(|last| last.gone)
    }

    /// What was never found, or has ended, comes to no other driver.
    fn may_be_given_up(&self) -> bool {
        let over = self.last.is_none_or(|last| last.status.is_some_and(Status::is_terminal));
        !self.is_gone() && (over || self.missing.is_some_and(|rounds| rounds >= MISSING_FOR))
    }

    fn tell(&mut self, told: Told) -> Option<wire::FollowedDelivery> {
        if self.last == Some(told) {
            return None;
        }
        self.last = Some(told);
        let Told { status, late_risk, eta, promised_by, gone } = told;
        Some(wire::FollowedDelivery {
            delivery: self.delivery.as_str().to_owned(),
            status: status.map_or(0, |status| i32::from(status.code())),
            late_risk,
            eta_ms: eta.map(|eta| eta.0),
            promised_by_ms: promised_by.map(|promised_by| promised_by.0),
            gone,
        })
    }
}

impl Told {
    fn of(delivery: &DeliveryId, marker: &Marker) -> Self {
        let listed = marker.aboard().iter().find(|aboard| aboard.delivery == *delivery);
        Self {
            status: listed.map_or(marker.status(), |aboard| Some(aboard.status)),
            late_risk: listed.is_some_and(|aboard| aboard.late_risk),
            eta: listed.and_then(|aboard| aboard.eta.get()),
            promised_by: listed.and_then(|aboard| aboard.promised_by.get()),
            gone: false,
        }
    }
}
