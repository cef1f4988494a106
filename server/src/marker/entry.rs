//! One carrier of a shard: its facts, what is estimated of it, and what the map has of it. Never knows of other carriers.

use std::sync::Arc;
use std::time::Duration;

use super::eta::{Underway, is_late_risk, next_stop};
use super::join::{Facts, Place};
use super::motion::Estimate;
use super::settings::MarkerSettings;
use super::significance::Shown;
use crate::model::change::{Aboard, AboardList, Carrier, FactKind};
use crate::model::id::TenantId;
use crate::model::marker::{Marker, MarkerParts};
use crate::model::maybe::Maybe;
use crate::model::short::Short;
use crate::model::status::{Link, Motion};
use crate::model::terms::Boarding;
use crate::model::time::UnixMs;

/// One carrier, with the one delivery that many carry: 208 bytes, and some 12 more in the tables of `fold.rs`.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) tenant: TenantId,
    pub(super) carrier: Carrier,
    pub(super) facts: Facts,
    estimate: Option<Estimate>,
    /// What the map has.
    pub(super) shown: Option<Shown>,
    heard: Short<UnixMs>,
    /// Where in the list of dirty ones it stands.
    pub(super) dirty: Maybe<u32>,
    listed_at: Stopwatch,
    /// The bucket this entry stands in, see `due.rs`; a bucket that still names the slot after that is out of date.
    pub(super) due: Maybe<u32>,
    /// As it was told last.
    pub(super) near_stop: bool,
}

/// What became of a dirty entry.
pub(super) enum Verdict {
    Put(Marker),
    Insignificant,
    Gone,
}

impl Entry {
    pub(super) fn new(tenant: TenantId, carrier: Carrier) -> Self {
        Self {
            tenant,
            carrier,
            facts: Facts::default(),
            estimate: None,
            shown: None,
            heard: UnixMs(i64::MIN).into(),
            dirty: Maybe::NONE,
            listed_at: Stopwatch::default(),
            due: Maybe::NONE,
            near_stop: false,
        }
    }

    pub(super) fn is_of(&self, tenant: TenantId, carrier: &Carrier) -> bool {
        self.carrier == *carrier && self.tenant == tenant
    }

    /// Nothing is known of it, and nobody was told of it.
    pub(super) fn is_nothing(&self) -> bool {
        self.facts.is_empty() && self.shown.is_none() && !self.near_stop
    }

    pub(super) fn apply(&mut self, kind: FactKind, ingest_time: UnixMs, settings: &MarkerSettings) {
        if matches!(kind, FactKind::Board(_) | FactKind::Alight { .. }) {
            self.listed_at = Stopwatch::NEVER;
        }
        // What leaves does not speak.
        if !matches!(kind, FactKind::Alight { .. } | FactKind::Forget) {
            self.heard = self.heard().max(ingest_time).into();
        }
        let way = self.facts.apply(kind);
        if matches!(self.carrier, Carrier::Delivery(_)) {
            return;
        }
        if let Some(fix) = self.facts.newest_fix_of(way) {
            match &mut self.estimate {
                Some(estimate) => estimate.observe(fix, &settings.motion),
                None => self.estimate = Some(Estimate::first(fix, &settings.motion)),
            }
        } else if self.facts.is_empty() {
            self.estimate = None;
        }
    }

    /// Looks at all that a ping of this carrier will be weighed against, for `Fold::look_ahead`. What it returns says nothing.
    pub(super) fn glance(&self) -> i64 {
        let fix = self.facts.newest_fix().map_or(0, |fix| fix.order.effective_time.0 ^ i64::from(fix.position.lat_e7()));
        let shown = self.shown.as_ref().map_or(0, |shown| shown.fix_time().0 ^ i64::from(shown.position.lat_e7()));
        fix ^ shown ^ self.estimate.map_or(0, |estimate| estimate.last().0) ^ self.heard().0
    }

    pub(super) fn heard(&self) -> UnixMs {
        self.heard.get()
    }

    /// Whether deliveries came, changed, left or missed their promise since the list was made.
    pub(super) fn list_is_old(&self) -> bool {
        self.listed_at == Stopwatch::NEVER
    }

    /// Something listed missed its promise.
    pub(super) fn let_list_be_old(&mut self) {
        self.listed_at = Stopwatch::NEVER;
    }

    /// Whether a driver is close to where something aboard goes next. Of a full van any stop will do, so only the first are looked at.
    pub(super) fn is_near_stop(&self) -> bool {
        const LOOKED_AT: usize = 16;
        const NEAR_M: f64 = 500.0;
        let Some(Place::At(fix)) = self.facts.place(&self.carrier) else { return false };
        let open = self.facts.boardings().filter(|boarding| !boarding.status.is_terminal()).take(LOOKED_AT);
        open.filter_map(|boarding| next_stop(boarding)).any(|stop| fix.position.distance_m(stop) <= NEAR_M)
    }

    pub(super) fn judge(&mut self, changed: UnixMs, now: UnixMs, settings: &MarkerSettings) -> Verdict {
        let list = self.current_list(now, settings);
        let Some(marker) = self.marker(list, now, changed, settings) else { return Verdict::Gone };
        match &self.shown {
            Some(shown) if !settings.significance.differs(shown, &marker) => Verdict::Insignificant,
            _ => Verdict::Put(marker),
        }
    }

    /// The list the map has, unless it says something else by now: made anew when a delivery came, changed or left, and now and then for the estimates.
    fn current_list(&mut self, now: UnixMs, settings: &MarkerSettings) -> AboardList {
        if self.facts.aboard_count() == 0 {
            return AboardList::default();
        }
        let nothing = AboardList::default();
        let before = self.shown.as_ref().map_or(&nothing, |shown| &shown.aboard);
        if self.shown.is_some() && !self.list_is_old() && self.listed_at.until(now) < settings.eta.refresh {
            return before.clone();
        }
        let list = self.list(now, settings);
        let says_the_same = list.count() == before.count()
            && list.len() == before.len()
            && list.iter().zip(before.iter()).all(|(a, b)| is_close(a, b, settings.eta.tolerance));
        let list = if says_the_same { before.clone() } else { list };
        self.listed_at = Stopwatch::at(now);
        list
    }

    /// The first moment at which something listed misses its promise, if nothing more is heard.
    pub(super) fn promise_ends_at(&self) -> Option<UnixMs> {
        let open = self.shown.iter().flat_map(|shown| shown.aboard.iter()).filter(|aboard| !aboard.late_risk && !aboard.status.is_terminal());
        open.filter_map(|aboard| aboard.promised_by.get()).min().map(|promised_by| promised_by + Duration::from_millis(1))
    }

    pub(super) fn list(&self, now: UnixMs, settings: &MarkerSettings) -> AboardList {
        const AT_MOST: usize = Marker::MAX_LISTED;
        let speed_mps = self.estimate.map_or(0.0, |estimate| estimate.speed_mps());
        let underway = match self.facts.place(&self.carrier) {
            Some(Place::At(fix)) => Some(Underway { position: fix.position, speed_mps, at: fix.order.effective_time }),
            Some(Place::WaitingAt(_)) | None => None,
        };
        let count = self.facts.aboard_count();
        let open = self.facts.boardings().filter(|boarding| !boarding.status.is_terminal()).count();
        // What has ended stands on the map for a while yet, but never in the place of what is under way.
        let (mut open_room, mut ended_room) = (AT_MOST, if count <= AT_MOST { count } else { AT_MOST.saturating_sub(open) });
        let fits = |boarding: &&Boarding| {
            let room = if boarding.status.is_terminal() { &mut ended_room } else { &mut open_room };
            let fits = *room > 0;
            *room -= usize::from(fits);
            fits
        };
        let listed = self.facts.boardings().filter(fits).map(|boarding| {
            let eta = settings.eta.eta(boarding, underway);
            Aboard { terms: Arc::clone(&boarding.terms), late_risk: is_late_risk(boarding, eta, now), eta: eta.into() }
        });
        AboardList::of(listed.collect(), count)
    }

    pub(super) fn marker(&self, aboard: AboardList, now: UnixMs, changed: UnixMs, settings: &MarkerSettings) -> Option<Marker> {
        let handle = self.facts.handle()?;
        let (position, accuracy_m, fix_time, link) = match self.facts.place(&self.carrier)? {
            Place::At(fix) => (fix.position, fix.accuracy_m, fix.order.effective_time, settings.link.link(self.heard(), now)),
            Place::WaitingAt(pickup) => (pickup, Maybe::NONE, self.heard(), Link::Live),
        };
        let late_risk = match &self.shown {
            Some(shown) if shown.aboard.is(&aboard) => shown.late_risk(),
            _ => aboard.late_risk(),
        };
        let driver = if let Carrier::Driver(driver) = &self.carrier { Some(driver.clone()) } else { None };
        Some(Marker::of(MarkerParts {
            handle,
            driver,
            position,
            heading_deg: self.estimate.and_then(|estimate| estimate.heading_deg()).into(),
            speed_mps: self.estimate.map_or(0.0, |estimate| estimate.speed_mps()),
            status: self.facts.status(&self.carrier),
            motion: self.estimate.map_or(Motion::Stopped, |estimate| estimate.motion()),
            link,
            late_risk,
            accuracy_m,
            aboard,
            fix_time,
            heard: self.heard(),
            changed,
        }))
    }
}

/// A moment of which no more is asked than how long ago it was, in the lower half of its milliseconds: it begins anew after 49 days, far longer than a
/// list is kept without a look at it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Stopwatch(u32);

impl Stopwatch {
    const NEVER: Self = Self(u32::MAX);

    /// To the millisecond, but for the one whose number stands for none.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the lower half is what is wanted")]
    fn at(moment: UnixMs) -> Self {
        Self((moment.0 as u32).min(u32::MAX - 1))
    }

    fn until(self, now: UnixMs) -> Duration {
        Duration::from_millis(Self::at(now).0.wrapping_sub(self.0).into())
    }
}

/// The same but for an estimate that moved by less than `tolerance`.
fn is_close(a: &Aboard, b: &Aboard, tolerance: Duration) -> bool {
    let close_eta = match (a.eta.get(), b.eta.get()) {
        (Some(a), Some(b)) => a.since(b).max(b.since(a)) < tolerance,
        (a, b) => a == b,
    };
    let says_the_same = a.status == b.status && a.late_risk == b.late_risk && a.attributes == b.attributes && a.promised_by == b.promised_by;
    close_eta && a.delivery == b.delivery && says_the_same
}
