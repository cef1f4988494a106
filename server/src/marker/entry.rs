//! One carrier of a shard: its facts, what is estimated of it, and what the map has of it. Never knows of other carriers.

use std::time::Duration;

use super::eta::{Underway, is_late_risk, next_stop};
use super::join::Facts;
use super::motion::Estimate;
use super::seen::{Place, Way};
use super::settings::MarkerSettings;
use super::significance::Shown;
use super::told::Listed;
use crate::model::change::{Aboard, AboardList, FactKind};
use crate::model::marker::{Marker, MarkerParts};
use crate::model::maybe::{Maybe, MaybeMs};
use crate::model::short::IngestMs;
use crate::model::status::{Link, Motion};
use crate::model::terms::SharedTerms;
use crate::model::time::UnixMs;

/// One carrier, with the one delivery that many carry: 120 bytes, and some 5 more in the tables of `fold.rs`.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) facts: Facts,
    /// Where in the list of dirty ones it stands.
    pub(super) dirty: Maybe<u32>,
    listed_at: Stopwatch,
    heard: IngestMs,
    /// What the map has: only while `listed` says so.
    pub(super) shown: Shown,
    estimate: Option<Estimate>,
    /// When the one delivery is expected, as the map lists it.
    pub(super) listed_eta: MaybeMs,
}

/// What became of a dirty entry.
pub(super) enum Verdict {
    /// `list_is_new`: it is another one than the map has.
    Put {
        marker: Marker,
        list_is_new: bool,
    },
    Insignificant,
    Gone,
}

impl Entry {
    pub(super) fn new(facts: Facts) -> Self {
        Self {
            facts,
            dirty: Maybe::NONE,
            listed_at: Stopwatch::default(),
            heard: UnixMs(i64::MIN).into(),
            shown: Shown::nothing(),
            estimate: None,
            listed_eta: MaybeMs::none(),
        }
    }

    /// Nothing is known of it, and nobody was told of it.
    pub(super) fn is_nothing(&self) -> bool {
        self.facts.is_empty() && self.shown().is_none() && !self.near_stop()
    }

    pub(super) fn apply(&mut self, kind: FactKind, ingest_time: UnixMs, settings: &MarkerSettings) {
        // What leaves does not speak.
        if !matches!(kind, FactKind::Alight { .. } | FactKind::Forget) {
            self.heard = self.heard().max(ingest_time).into();
        }
        let weighed = self.weighed();
        let way = match kind {
            FactKind::OwnFix { .. } | FactKind::AboardFix { .. } | FactKind::Heard => self.facts.apply(kind),
            kind => {
                if matches!(kind, FactKind::Board(_) | FactKind::Alight { .. }) {
                    self.let_list_be_old();
                }
                self.apply_seldom(kind);
                Way::default()
            }
        };
        if self.facts.driver().is_none() {
            return;
        }
        if let Some(fix) = self.facts.newest_fix_of(way) {
            let newest = if let Some(estimate) = &mut self.estimate {
                estimate.observe(weighed, fix, &settings.motion)
            } else {
                self.estimate = Some(Estimate::first(fix, &settings.motion));
                fix.time
            };
            self.note_weighed(Some(newest));
        } else if self.facts.is_empty() {
            self.estimate = None;
            self.note_weighed(None);
        } else if self.estimate.is_some() {
            self.note_weighed(Some(weighed));
        }
    }

    /// Event time of the newest fix that was weighed, if any was.
    fn weighed(&self) -> UnixMs {
        let other = self.facts.rare.as_ref().and_then(|rare| rare.weighed.get());
        other.or(self.facts.own_time()).unwrap_or(UnixMs(i64::MIN))
    }

    fn note_weighed(&mut self, newest: Option<UnixMs>) {
        let other = newest.filter(|newest| self.facts.own_time() != Some(*newest));
        if other.is_some() || self.facts.rare.is_some() {
            self.facts.rare().weighed = other.into();
            self.facts.tidy();
        }
    }

    /// Looks at all that a ping of this carrier will be weighed against, for `Fold::look_ahead`. What it returns says nothing.
    pub(super) fn glance(&self) -> i64 {
        self.facts.own_time().map_or(0, |time| time.0) ^ self.shown.fix_time().0 ^ self.listed_eta.get().map_or(0, |eta| eta.0)
    }

    /// And at what is aboard, for when it is settled.
    pub(super) fn glance_at_all(&self) -> i64 {
        self.glance() ^ self.facts.one.as_ref().map_or(0, |one| i64::from(one.status.code()))
    }

    pub(super) fn heard(&self) -> UnixMs {
        self.heard.get()
    }

    /// Whether deliveries came, changed, left or missed their promise since the list was made.
    pub(super) fn list_is_old(&self) -> bool {
        self.listed_at == Stopwatch::NEVER
    }

    /// Something is aboard, came, left or missed its promise.
    pub(super) fn let_list_be_old(&mut self) {
        self.listed_at = Stopwatch::NEVER;
    }

    /// Whether a driver is close to where something aboard goes next. Of a full van any stop will do, so only the first are looked at.
    pub(super) fn is_near_stop(&self) -> bool {
        const LOOKED_AT: usize = 16;
        const NEAR_M: f64 = 500.0;
        let Some(Place::At(fix)) = self.facts.place() else { return false };
        let open = self.facts.boardings().filter(|boarding| !boarding.status.is_terminal()).take(LOOKED_AT);
        open.filter_map(|boarding| next_stop(boarding)).any(|stop| fix.position.distance_m(stop) <= NEAR_M)
    }

    pub(super) fn judge(&mut self, changed: UnixMs, now: UnixMs, settings: &MarkerSettings) -> Verdict {
        let (list, list_is_new) = self.current_list(now, settings);
        let Some(marker) = self.marker(list, list_is_new, now, changed, settings) else { return Verdict::Gone };
        let same = !list_is_new && self.shown_handle() == Some(marker.handle());
        match self.shown() {
            Some(shown) if same && !settings.significance.differs(shown, &marker) => Verdict::Insignificant,
            _ => Verdict::Put { marker, list_is_new },
        }
    }

    /// The list the map has, unless it says something else by now: made anew when a delivery came, changed or left, and now and then for the estimates. And
    /// whether it is another one.
    fn current_list(&mut self, now: UnixMs, settings: &MarkerSettings) -> (AboardList, bool) {
        let listed = self.facts.flags.listed();
        if self.facts.aboard_count() == 0 {
            return (AboardList::default(), listed != Listed::Nothing);
        }
        let before = self.list_shown();
        if listed != Listed::NotShown && !self.list_is_old() && self.listed_at.until(now) < settings.eta.refresh {
            return (before, false);
        }
        let list = self.list(now, settings);
        self.listed_at = Stopwatch::at(now);
        let says_the_same = list.count() == before.count()
            && list.len() == before.len()
            && list.iter().zip(before.iter()).all(|(a, b)| is_close(a, b, settings.eta.tolerance));
        if !says_the_same {
            return (list, true);
        }
        // In other words, perhaps, of which none is on the map: from now on these are what it lists.
        if listed == Listed::Other
            && let (Some(one), [before]) = (&self.facts.one, &*before)
        {
            let same = AboardList::of_one(Aboard { terms: SharedTerms::clone(one), late_risk: before.late_risk, eta: before.eta });
            self.note_list(&same);
            return (same, false);
        }
        (before, false)
    }

    /// The first moment at which something listed misses its promise, if nothing more is heard.
    pub(super) fn promise_ends_at(&self) -> Option<UnixMs> {
        let list = self.list_shown();
        let open = list.iter().filter(|aboard| !aboard.late_risk && !aboard.status.is_terminal());
        open.filter_map(|aboard| aboard.promised_by.get()).min().map(|promised_by| promised_by + Duration::from_millis(1))
    }

    pub(super) fn list(&self, now: UnixMs, settings: &MarkerSettings) -> AboardList {
        const AT_MOST: usize = Marker::MAX_LISTED;
        let speed_mps = self.estimate.map_or(0.0, |estimate| estimate.speed_mps());
        let underway = match self.facts.place() {
            Some(Place::At(fix)) => Some(Underway { position: fix.position, speed_mps, at: fix.time }),
            Some(Place::WaitingAt(_)) | None => None,
        };
        let count = self.facts.aboard_count();
        let open = self.facts.boardings().filter(|boarding| !boarding.status.is_terminal()).count();
        // What has ended stands on the map for a while yet, but never in the place of what is under way.
        let (mut open_room, mut ended_room) = (AT_MOST, if count <= AT_MOST { count } else { AT_MOST.saturating_sub(open) });
        let fits = |terms: &&SharedTerms| {
            let room = if terms.status.is_terminal() { &mut ended_room } else { &mut open_room };
            let fits = *room > 0;
            *room -= usize::from(fits);
            fits
        };
        let listed = self.facts.boardings().filter(fits).map(|terms| {
            let eta = settings.eta.eta(terms, underway);
            Aboard { terms: SharedTerms::clone(terms), late_risk: is_late_risk(terms, eta, now), eta: eta.into() }
        });
        AboardList::of(listed.collect(), count)
    }

    /// As the facts have it, with this list.
    pub(super) fn marker(&self, aboard: AboardList, list_is_new: bool, now: UnixMs, changed: UnixMs, settings: &MarkerSettings) -> Option<Marker> {
        let handle = self.facts.handle()?;
        let (position, accuracy_m, fix_time, link) = match self.facts.place()? {
            Place::At(fix) => (fix.position, fix.accuracy_m, fix.time, settings.link.link(self.heard(), now)),
            Place::WaitingAt(pickup) => (pickup, Maybe::NONE, self.heard(), Link::Live),
        };
        let late_risk = match self.shown() {
            Some(shown) if !list_is_new => shown.late_risk(),
            _ => aboard.late_risk(),
        };
        Some(Marker::of(MarkerParts {
            handle,
            driver: self.facts.driver().cloned(),
            position,
            heading_deg: self.estimate.and_then(|estimate| estimate.heading_deg()).into(),
            speed_mps: self.estimate.map_or(0.0, |estimate| estimate.speed_mps()),
            status: self.facts.status(),
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

/// A moment of which no more is asked than how long ago it was, in a byte of its seconds: it begins anew after four minutes, far longer than a list is kept
/// of a carrier that speaks. Of one that was silent for so long the list may be taken for younger than it is, and is then looked at a little later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Stopwatch(u8);

impl Stopwatch {
    const NEVER: Self = Self(u8::MAX);

    #[expect(clippy::cast_possible_truncation, reason = "the rest of the division is less than a byte")]
    fn at(moment: UnixMs) -> Self {
        Self(moment.0.div_euclid(1000).rem_euclid(i64::from(u8::MAX)) as u8)
    }

    fn until(self, now: UnixMs) -> Duration {
        let (now, then) = (u64::from(Self::at(now).0), u64::from(self.0));
        Duration::from_secs(if now < then { now + u64::from(u8::MAX) - then } else { now - then })
    }
}

/// The same but for an estimate that moved by less than `tolerance`.
fn is_close(a: &Aboard, b: &Aboard, tolerance: Duration) -> bool {
    let close_eta = match (a.eta.get(), b.eta.get()) {
        (Some(a), Some(b)) => a.since(b).max(b.since(a)) < tolerance,
        (a, b) => a == b,
    };
    let says_the_same = a.status == b.status && a.late_risk == b.late_risk && a.is_tagged_as(b) && a.promised_by == b.promised_by;
    close_eta && a.delivery == b.delivery && says_the_same
}
