//! The deliveries aboard one carrier, and the newest fix that names one of them. Knows nothing of the driver's own.

use crate::model::change::{DutyFact, Fix};
use crate::model::event::OrderKey;
use crate::model::id::DeliveryId;
use crate::model::terms::Boarding;

/// Many carry one at a time, so one has its place here; nothing is as few as none of the many, so that the whole is two pointers.
#[derive(Debug)]
pub(super) enum Load {
    One(Boarding),
    Many(Option<Box<Many>>),
}

impl Default for Load {
    fn default() -> Self {
        Self::NOTHING
    }
}

/// More than one.
#[derive(Debug)]
pub(super) struct Many {
    /// Sorted by delivery; each with the newest fix that names it.
    carried: Vec<Boarding>,
    /// The newest visible fix of those in `carried`, so that a ping costs the same with 150 parcels as with one.
    newest: Option<Fix>,
}

impl Load {
    const NOTHING: Self = Self::Many(None);

    /// Sorted by delivery.
    pub(super) fn carried(&self) -> &[Boarding] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many.as_ref().map_or(&[], |many| &many.carried),
        }
    }

    pub(super) fn is_nothing(&self) -> bool {
        matches!(self, Self::Many(None))
    }

    /// The newest fix that was sent on duty.
    pub(super) fn newest(&self, duty: &[DutyFact]) -> Option<&Fix> {
        match self {
            Self::One(one) => one.fix.as_deref().filter(|fix| is_visible(&fix.order, duty)),
            Self::Many(many) => many.as_ref()?.newest.as_ref(),
        }
    }

    /// Takes a delivery aboard, or what is new of it.
    pub(super) fn board(&mut self, boarding: Boarding, duty: &[DutyFact]) {
        match self {
            Self::One(one) if one.delivery != boarding.delivery => {}
            Self::Many(None) | Self::One(_) => {
                *self = Self::One(boarding);
                return;
            }
            Self::Many(Some(many)) => return many.board(boarding, duty),
        }
        if let Self::One(one) = std::mem::take(self) {
            let mut many = Many { carried: vec![one], newest: None };
            many.recount(duty);
            many.board(boarding, duty);
            *self = Self::Many(Some(Box::new(many)));
        }
    }

    pub(super) fn set_fix(&mut self, delivery: &DeliveryId, fix: Fix, duty: &[DutyFact]) {
        match self {
            Self::One(one) if one.delivery == *delivery => drop(replace(&mut one.fix, fix)),
            Self::Many(None) | Self::One(_) => {}
            Self::Many(Some(many)) => many.set_fix(delivery, fix, duty),
        }
    }

    /// Lets a delivery go; none when it was not aboard.
    pub(super) fn alight(&mut self, delivery: &DeliveryId, duty: &[DutyFact]) -> Option<Boarding> {
        let gone = match self {
            Self::One(one) if one.delivery == *delivery => match std::mem::take(self) {
                Self::One(one) => return Some(one),
                Self::Many(_) => return None,
            },
            Self::Many(None) | Self::One(_) => return None,
            Self::Many(Some(many)) => many.alight(delivery, duty)?,
        };
        if let Self::Many(Some(many)) = self
            && many.carried.len() == 1
        {
            *self = many.carried.pop().map_or(Self::NOTHING, Self::One);
        }
        Some(gone)
    }

    /// The driver's duty is another than was known.
    pub(super) fn recount(&mut self, duty: &[DutyFact]) {
        if let Self::Many(Some(many)) = self {
            many.recount(duty);
        }
    }
}

impl Many {
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
    let said = duty.partition_point(|fact| fact.order <= *fix);
    said == 0 || duty[said - 1].on
}
