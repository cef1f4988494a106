//! The deliveries aboard one carrier, and the newest fix that names one of them. Knows nothing of the driver's own.

use super::join::Facts;
use crate::model::change::{DutyFact, Fix};
use crate::model::event::OrderKey;
use crate::model::id::{DeliveryId, EventId};
use crate::model::terms::{Boarding, SharedTerms};
use crate::model::time::UnixMs;

/// More than one.
#[derive(Debug)]
pub(super) struct Many {
    /// Sorted by delivery; each with the newest fix that names it.
    carried: Vec<Boarding>,
    /// The newest visible fix of those in `carried`, so that a ping costs the same with 150 parcels as with one.
    newest: Option<Fix>,
}

/// One has its place with the carrier, its fix among what is rare; more are `Many`.
impl Facts {
    /// The deliveries aboard, sorted by id.
    pub fn boardings(&self) -> impl Iterator<Item = &SharedTerms> {
        let many = self.many().map_or(&[][..], |many| &many.carried);
        self.one.iter().chain(many.iter().map(|carried| &carried.terms))
    }

    pub fn aboard_count(&self) -> usize {
        self.many().map_or(usize::from(self.one.is_some()), |many| many.carried.len())
    }

    pub(super) fn many(&self) -> Option<&Many> {
        self.rare.as_ref()?.many.as_deref()
    }

    /// Takes a delivery aboard, or what is new of it.
    pub(super) fn board(&mut self, boarding: Boarding) {
        let Facts { one, rare, .. } = self;
        if let Some(rare) = rare
            && let Some(many) = rare.many.as_mut()
        {
            let duty = rare.duty.as_ref().map_or(&[][..], |duty| &duty.facts);
            return many.board(boarding, duty);
        }
        match one.take_if(|one| one.delivery != boarding.delivery) {
            None => {
                let Boarding { terms, fix } = boarding;
                *one = Some(terms);
                if fix.is_some() || rare.as_ref().is_some_and(|rare| rare.fix.is_some()) {
                    rare.get_or_insert_default().fix = fix;
                }
            }
            Some(terms) => {
                let rare = rare.get_or_insert_default();
                let mut many = Many { carried: vec![Boarding { terms, fix: rare.fix.take() }], newest: None };
                many.recount(rare.duty());
                many.board(boarding, rare.duty());
                rare.many = Some(Box::new(many));
            }
        }
    }

    pub(super) fn set_fix(&mut self, delivery: &DeliveryId, fix: Fix) {
        let is_the_one = self.one.as_ref().is_some_and(|one| one.delivery == *delivery);
        if is_the_one {
            replace(&mut self.rare().fix, fix);
        } else if let Some(rare) = &mut self.rare
            && let Some(many) = rare.many.as_mut()
        {
            let duty = rare.duty.as_ref().map_or(&[][..], |duty| &duty.facts);
            many.set_fix(delivery, fix, duty);
        }
    }

    /// Lets a delivery go; none when it was not aboard.
    pub(super) fn alight(&mut self, delivery: &DeliveryId) -> Option<SharedTerms> {
        if let Some(one) = self.one.take_if(|one| one.delivery == *delivery) {
            if let Some(rare) = &mut self.rare {
                rare.fix = None;
            }
            return Some(one);
        }
        let rare = self.rare.as_mut()?;
        let duty = rare.duty.as_ref().map_or(&[][..], |duty| &duty.facts);
        let many = rare.many.as_mut()?;
        let gone = many.alight(delivery, duty)?;
        if many.carried.len() == 1
            && let Some(Boarding { terms, fix }) = many.carried.pop()
        {
            (rare.many, rare.fix) = (None, fix);
            self.one = Some(terms);
        }
        Some(gone.terms)
    }

    /// The driver's duty is another than was known.
    pub(super) fn recount(&mut self) {
        if let Some(rare) = &mut self.rare
            && let Some(many) = rare.many.as_mut()
        {
            many.recount(rare.duty.as_ref().map_or(&[][..], |duty| &duty.facts));
        }
    }
}

impl Many {
    pub(super) fn newest(&self) -> Option<&Fix> {
        self.newest.as_ref()
    }

    fn board(&mut self, boarding: Boarding, duty: &[DutyFact]) {
        let fix = boarding.fix.clone();
        let before = match self.find(&boarding.delivery) {
            Ok(index) => std::mem::replace(&mut self.carried[index], boarding).fix,
            Err(index) => {
                self.carried.insert(index, boarding);
                None
            }
        };
        self.renew(before.as_deref(), fix.map(|fix| *fix), duty);
    }

    fn set_fix(&mut self, delivery: &DeliveryId, fix: Fix, duty: &[DutyFact]) {
        let Ok(index) = self.find(delivery) else { return };
        let before = replace(&mut self.carried[index].fix, fix.clone());
        self.renew(before.as_ref(), Some(fix), duty);
    }

    fn alight(&mut self, delivery: &DeliveryId, duty: &[DutyFact]) -> Option<Boarding> {
        let index = self.find(delivery).ok()?;
        let gone = self.carried.remove(index);
        self.renew(gone.fix.as_deref(), None, duty);
        Some(gone)
    }

    fn find(&self, delivery: &DeliveryId) -> Result<usize, usize> {
        self.carried.binary_search_by(|carried| carried.delivery.cmp(delivery))
    }

    /// Keeps `newest` true after one delivery's fix went from `before` to `after`; looks at all of them only when the newest itself went back.
    fn renew(&mut self, before: Option<&Fix>, after: Option<Fix>, duty: &[DutyFact]) {
        let after = after.filter(|fix| is_visible(&fix.order, duty));
        let was_newest = matches!((before, &self.newest), (Some(before), Some(newest)) if before.order == newest.order);
        let leads = |fix: &Fix| self.newest.as_ref().is_none_or(|newest| fix.order >= newest.order);
        match after {
            Some(fix) if leads(&fix) => self.newest = Some(fix),
            _ if was_newest => self.recount(duty),
            _ => {}
        }
    }

    fn recount(&mut self, duty: &[DutyFact]) {
        let fixes = self.carried.iter().filter_map(|carried| carried.fix.as_deref());
        self.newest = fixes.filter(|fix| is_visible(&fix.order, duty)).max_by(|a, b| a.order.cmp(&b.order)).cloned();
    }
}

/// In the place of the one before, which is returned: these come with each ping.
fn replace(kept: &mut Option<Box<Fix>>, fix: Fix) -> Option<Fix> {
    if let Some(kept) = kept {
        return Some(std::mem::replace(&mut **kept, fix));
    }
    *kept = Some(Box::new(fix));
    None
}

/// On duty at the moment of the fix. Who had said nothing yet was on duty.
pub(super) fn is_visible(fix: &OrderKey, duty: &[DutyFact]) -> bool {
    was_on_duty(fix.effective_time, &fix.event_id, duty)
}

/// As `is_visible`, for who has the two halves of an order key apart.
pub(super) fn was_on_duty(time: UnixMs, event: &EventId, duty: &[DutyFact]) -> bool {
    let said = duty.partition_point(|fact| (fact.order.effective_time, &fact.order.event_id) <= (time, event));
    said == 0 || duty[said - 1].on
}
