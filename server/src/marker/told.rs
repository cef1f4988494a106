//! What the map has of a carrier, as far as that is not what the facts say: its handle and its list. Decides nothing; see `significance.rs`.

use super::entry::Entry;
use super::significance::Shown;
use crate::model::change::{Aboard, AboardList, FactKind};
use crate::model::id::Handle;
use crate::model::marker::Marker;
use crate::model::maybe::{Maybe, MaybeMs};
use crate::model::terms::SharedTerms;

/// What the map lists of a carrier, and whether it has it at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listed {
    NotShown,
    Nothing,
    /// The one aboard, as the facts have it: at risk as the marker is, and expected at `listed_eta`.
    One,
    /// What `Rare::listed` says.
    Other,
}

/// `Listed` in the lower two bits; then whether it is near a stop, as that was told last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flags(u8);

impl Flags {
    pub(super) const NONE: Self = Self(0);
    const NEAR_STOP: u8 = 4;

    pub(super) fn listed(self) -> Listed {
        match self.0 & 3 {
            0 => Listed::NotShown,
            1 => Listed::Nothing,
            2 => Listed::One,
            _ => Listed::Other,
        }
    }

    pub(super) fn set_listed(&mut self, listed: Listed) {
        self.0 = self.0 & Self::NEAR_STOP | listed as u8;
    }
}

impl Entry {
    pub(super) fn near_stop(&self) -> bool {
        self.facts.flags.0 & Flags::NEAR_STOP != 0
    }

    pub(super) fn set_near_stop(&mut self, near: bool) {
        self.facts.flags.0 = self.facts.flags.0 & !Flags::NEAR_STOP | u8::from(near) << 2;
    }

    /// What may change the list or the handle, of which the map has another until it is told.
    pub(super) fn apply_seldom(&mut self, kind: FactKind) {
        let Some(shown_handle) = self.shown_handle() else {
            self.facts.apply(kind);
            return;
        };
        let one = self.facts.one.clone().filter(|_| self.facts.flags.listed() == Listed::One);
        self.facts.apply(kind);
        if let Some(terms) = one
            && self.facts.one.as_ref().is_none_or(|now| !SharedTerms::ptr_eq(now, &terms))
        {
            self.facts.rare().listed = AboardList::of_one(Aboard { terms, late_risk: self.shown.late_risk(), eta: self.listed_eta });
            self.facts.flags.set_listed(Listed::Other);
        }
        self.note_shown_handle(shown_handle);
    }

    /// What the map has.
    pub(super) fn shown(&self) -> Option<&Shown> {
        (self.facts.flags.listed() != Listed::NotShown).then_some(&self.shown)
    }

    /// The handle by which the map has it.
    pub(super) fn shown_handle(&self) -> Option<Handle> {
        self.shown()?;
        let other = self.facts.rare.as_ref().and_then(|rare| rare.shown_handle.get());
        other.or(self.facts.handle())
    }

    fn note_shown_handle(&mut self, shown: Handle) {
        let other = if self.facts.handle() == Some(shown) { None } else { Some(shown) };
        if other.is_some() || self.facts.rare.is_some() {
            self.facts.rare().shown_handle = other.into();
            self.facts.tidy();
        }
    }

    /// What the map lists.
    pub(super) fn list_shown(&self) -> AboardList {
        match self.facts.flags.listed() {
            Listed::NotShown | Listed::Nothing => AboardList::default(),
            Listed::One => self.facts.one.as_ref().map_or_else(AboardList::default, |one| {
                AboardList::of_one(Aboard { terms: SharedTerms::clone(one), late_risk: self.shown.late_risk(), eta: self.listed_eta })
            }),
            Listed::Other => self.facts.rare.as_ref().map_or_else(AboardList::default, |rare| rare.listed.clone()),
        }
    }

    /// Notes what the map lists from now on.
    pub(super) fn note_list(&mut self, list: &AboardList) {
        let one = match (&self.facts.one, &**list) {
            (Some(one), [aboard]) if SharedTerms::ptr_eq(one, &aboard.terms) => Some(aboard.eta),
            _ => None,
        };
        let listed = if list.is_empty() { Listed::Nothing } else { one.map_or(Listed::Other, |_| Listed::One) };
        self.listed_eta = one.unwrap_or_else(MaybeMs::none);
        self.facts.flags.set_listed(listed);
        if listed == Listed::Other {
            self.facts.rare().listed = list.clone();
        } else if let Some(rare) = &mut self.facts.rare {
            rare.listed = AboardList::default();
            self.facts.tidy();
        }
    }

    /// The map has this marker now.
    pub(super) fn note_put(&mut self, marker: &Marker) {
        self.shown = Shown::of(marker);
        self.note_list(marker.aboard());
        self.note_shown_handle(marker.handle());
    }

    /// The map has it no more.
    pub(super) fn note_gone(&mut self) {
        self.note_list(&AboardList::default());
        self.facts.flags.set_listed(Listed::NotShown);
        if let Some(rare) = &mut self.facts.rare {
            rare.shown_handle = Maybe::NONE;
            self.facts.tidy();
        }
    }
}
