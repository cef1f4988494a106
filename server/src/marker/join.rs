//! The facts of one carrier, joined: its handle, where it is, its status, what is aboard. Pure; never estimates, so any order of facts ends in the same join.

use std::sync::Arc;

use super::load::{Load, is_visible};
use crate::model::change::{Carrier, DutyFact, FactKind, Fix};
use crate::model::event::OrderKey;
use crate::model::id::{DeliveryId, Handle};
use crate::model::maybe::Maybe;
use crate::model::position::Position;
use crate::model::status::Status;
use crate::model::terms::Boarding;

/// What is known of one carrier. Small when nothing is aboard: there is one of these for every driver.
#[derive(Debug, Default)]
pub struct Facts {
    /// What the marker goes by: the first handle offered.
    handle: Maybe<Handle>,
    /// The driver's own, once it was offered.
    own_handle: Maybe<Handle>,
    own_fix: Option<OwnFix>,
    /// Boxed, because few ever send any.
    duty: Option<Box<Duty>>,
    load: Load,
}

/// Of a driver's own fix what is asked for again and again. Its way is weighed once, when it is the newest one that may be seen: without duty that is at once or
/// never, and with duty it is kept there.
#[derive(Debug)]
struct OwnFix {
    order: OrderKey,
    position: Position,
    accuracy_m: Maybe<f32>,
}

/// How fast and where to its sender went at a fix, as far as was said.
#[derive(Clone, Copy, Debug, Default)]
pub struct Way {
    speed_mps: Maybe<f32>,
    heading_deg: Maybe<f32>,
}

#[derive(Debug)]
struct Duty {
    /// Sorted by order key.
    facts: Arc<[DutyFact]>,
    /// Of the own fix, when it came under this duty or one before.
    way: Way,
}

/// A fix as it is looked at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seen<'a> {
    pub order: &'a OrderKey,
    pub position: Position,
    pub accuracy_m: Maybe<f32>,
    pub speed_mps: Maybe<f32>,
    pub heading_deg: Maybe<f32>,
}

impl<'a> From<&'a Fix> for Seen<'a> {
    fn from(fix: &'a Fix) -> Self {
        let Fix { order, position, accuracy_m, speed_mps, heading_deg } = fix;
        Self { order, position: *position, accuracy_m: *accuracy_m, speed_mps: *speed_mps, heading_deg: *heading_deg }
    }
}

/// Where a marker stands and how that is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Place<'a> {
    At(Seen<'a>),
    WaitingAt(Position),
}

impl Facts {
    /// Takes one more fact, and gives back the way of an own fix, which is for who weighs it now.
    pub fn apply(&mut self, kind: FactKind) -> Way {
        let mut way = Way::default();
        match kind {
            FactKind::OwnFix { fix, handle } => {
                let Fix { order, position, accuracy_m, speed_mps, heading_deg } = fix;
                self.own_fix = Some(OwnFix { order, position, accuracy_m });
                way = Way { speed_mps, heading_deg };
                if let Some(duty) = &mut self.duty {
                    duty.way = way;
                }
                self.offer_own(handle);
            }
            FactKind::AboardFix { delivery, fix } => self.load.set_fix(&delivery, fix, duty_of(self.duty.as_deref())),
            FactKind::Duty { duty, handle } => {
                match &mut self.duty {
                    Some(known) => known.facts = duty,
                    None if duty.is_empty() => {}
                    None => self.duty = Some(Box::new(Duty { facts: duty, way })),
                }
                self.offer_own(handle);
                self.recount_newest();
            }
            FactKind::Board(boarding) => self.board(boarding),
            FactKind::Alight { delivery, ended } => self.alight(&delivery, ended),
            FactKind::Heard => {}
            FactKind::Forget => {
                (self.own_fix, self.duty, self.own_handle) = (None, None, Maybe::NONE);
                self.recount_newest();
            }
        }
        if self.is_empty() {
            *self = Self::default();
        }
        way
    }

    /// True when nothing is known of the carrier any more.
    pub fn is_empty(&self) -> bool {
        self.own_fix.is_none() && self.duty().is_empty() && self.load.is_nothing()
    }

    pub fn handle(&self) -> Option<Handle> {
        self.handle.get()
    }

    /// Where the marker stands; none when there is none to show.
    pub fn place(&self, carrier: &Carrier) -> Option<Place<'_>> {
        match carrier {
            Carrier::Driver(_) => self.newest_fix().map(Place::At),
            Carrier::Delivery(_) => self.boardings().next().and_then(|waiting| waiting.pickup).map(Place::WaitingAt),
        }
    }

    /// The newest visible fix by order key; none while the driver is off duty. The way of an own one is mostly not known any more.
    pub fn newest_fix(&self) -> Option<Seen<'_>> {
        self.newest_fix_of(Way::default())
    }

    /// As `newest_fix`, with the way that the last fact said.
    pub fn newest_fix_of(&self, way: Way) -> Option<Seen<'_>> {
        let duty = self.duty();
        if duty.last().is_some_and(|latest| !latest.on) {
            return None;
        }
        let own = self.own_fix.as_ref().filter(|fix| is_visible(&fix.order, duty));
        let aboard = self.load.newest(duty).map(Seen::from);
        match (own, aboard) {
            (Some(own), Some(aboard)) if *aboard.order > own.order => Some(aboard),
            (Some(OwnFix { order, position, accuracy_m }), _) => {
                let Way { speed_mps, heading_deg } = self.duty.as_ref().map_or(way, |duty| duty.way);
                Some(Seen { order, position: *position, accuracy_m: *accuracy_m, speed_mps, heading_deg })
            }
            (None, aboard) => aboard,
        }
    }

    /// Of the delivery that is most advanced and not ended, the least id first. A waiting delivery shows its own, whatever it is.
    pub fn status(&self, carrier: &Carrier) -> Option<Status> {
        match carrier {
            Carrier::Driver(_) => {
                self.boardings().map(|boarding| boarding.status).filter(|status| !status.is_terminal()).max_by_key(|status| status.advance())
            }
            Carrier::Delivery(_) => self.boardings().next().map(|waiting| waiting.status),
        }
    }

    /// The deliveries aboard, sorted by id.
    pub fn boardings(&self) -> impl Iterator<Item = &Boarding> {
        self.carried().iter()
    }

    pub fn aboard_count(&self) -> usize {
        self.carried().len()
    }

    fn carried(&self) -> &[Boarding] {
        self.load.carried()
    }

    fn duty(&self) -> &[DutyFact] {
        duty_of(self.duty.as_deref())
    }

    fn offer_own(&mut self, handle: Handle) {
        self.own_handle = Maybe::some(handle);
        self.offer(handle);
    }

    fn offer(&mut self, handle: Handle) {
        if self.handle.is_none() {
            self.handle = Maybe::some(handle);
        }
    }

    fn board(&mut self, boarding: Boarding) {
        self.offer(boarding.handle.get());
        self.load.board(boarding, duty_of(self.duty.as_deref()));
    }

    fn alight(&mut self, delivery: &DeliveryId, ended: Option<Status>) {
        let Some(gone) = self.load.alight(delivery, duty_of(self.duty.as_deref())) else { return };
        // A delivery that another carrier has now takes its handle along: no two markers may go by one handle.
        let lent = self.handle == Maybe::some(gone.handle.get()) && self.own_handle != self.handle;
        if lent && ended.is_none() {
            let next = self.load.carried().first().map(|carried| carried.handle.get());
            self.handle = self.own_handle.get().or(next).into();
        }
    }

    fn recount_newest(&mut self) {
        self.load.recount(duty_of(self.duty.as_deref()));
    }
}

fn duty_of(duty: Option<&Duty>) -> &[DutyFact] {
    duty.map_or(&[], |duty| &duty.facts)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::marker::motion::{Estimate, MotionSettings};
    use crate::model::id::{DriverId, EventId};
    use crate::model::terms::{SharedTerms, Terms};
    use crate::model::time::UnixMs;

    fn fix(time: i64, id: u8) -> Fix {
        let position = Position::from_degrees(50.0 + f64::from(id) / 100.0, f64::from(i32::try_from(time).unwrap()) / 1000.0).unwrap();
        let order = OrderKey { effective_time: UnixMs(time), event_id: EventId::parse(&format!("e{id}")).unwrap() };
        let speed_mps = (id > 0).then(|| f32::from(i16::try_from(time).unwrap()) / 4.0).into();
        Fix { order, position, accuracy_m: Maybe::some(f32::from(id)), speed_mps, heading_deg: (id > 1).then_some(90.0).into() }
    }

    fn delivery(number: u8) -> DeliveryId {
        DeliveryId::parse(&format!("d{number}")).unwrap()
    }

    fn boarding(number: u8, status: Status, fix: Option<Fix>) -> Boarding {
        let pickup = (number != 3).then(|| Position::from_degrees(10.0, f64::from(number)).unwrap());
        let handle = Handle(100 + u64::from(number));
        let terms = Terms { status, pickup, ..Terms::new(delivery(number), handle) };
        Boarding { terms: SharedTerms::new(terms), fix: fix.map(Box::new) }
    }

    fn duty(facts: &[(i64, bool)]) -> Arc<[DutyFact]> {
        facts
            .iter()
            .map(|&(time, on)| DutyFact { order: OrderKey { effective_time: UnixMs(time), event_id: EventId::parse("a").unwrap() }, on })
            .collect()
    }

    fn driver() -> Carrier {
        Carrier::Driver(DriverId::parse("ann").unwrap())
    }

    /// The facts as plain maps, joined by looking at all of them.
    #[derive(Default)]
    struct Brute {
        own: Option<Fix>,
        duty: Vec<DutyFact>,
        aboard: BTreeMap<DeliveryId, Boarding>,
    }

    impl Brute {
        fn apply(&mut self, kind: FactKind) {
            match kind {
                FactKind::OwnFix { fix, .. } => self.own = Some(fix),
                FactKind::AboardFix { delivery, fix } => {
                    if let Some(it) = self.aboard.get_mut(&delivery) {
                        it.fix = Some(Box::new(fix));
                    }
                }
                FactKind::Duty { duty, .. } => self.duty = duty.to_vec(),
                FactKind::Board(boarding) => {
                    self.aboard.insert(boarding.delivery.clone(), boarding);
                }
                FactKind::Alight { delivery, .. } => {
                    self.aboard.remove(&delivery);
                }
                FactKind::Heard => {}
                FactKind::Forget => (self.own, self.duty) = (None, Vec::new()),
            }
        }

        fn on_duty(&self, fix: &Fix) -> bool {
            self.duty.iter().rfind(|fact| fact.order <= fix.order).is_none_or(|fact| fact.on)
        }

        fn newest(&self) -> Option<Fix> {
            if self.duty.last().is_some_and(|fact| !fact.on) {
                return None;
            }
            let all = self.own.iter().chain(self.aboard.values().filter_map(|it| it.fix.as_deref()));
            all.filter(|fix| self.on_duty(fix)).max_by(|a, b| a.order.cmp(&b.order)).cloned()
        }

        fn status(&self) -> Option<Status> {
            let mut best: Option<Status> = None;
            for boarding in self.aboard.values() {
                let open = !matches!(boarding.status, Status::Delivered | Status::Returned | Status::Cancelled);
                let ahead = best.is_none_or(|best| best == Status::Failed || (boarding.status != Status::Failed && boarding.status > best));
                if open && ahead {
                    best = Some(boarding.status);
                }
            }
            best
        }
    }

    fn observe(estimate: &mut Option<Estimate>, fix: Option<Seen<'_>>, nothing_is_known: bool) {
        let settings = MotionSettings::default();
        match (fix, estimate) {
            (Some(fix), Some(estimate)) => estimate.observe(fix, &settings),
            (Some(fix), estimate) => *estimate = Some(Estimate::first(fix, &settings)),
            (None, estimate) if nothing_is_known => *estimate = None,
            (None, _) => {}
        }
    }

    fn any_fix() -> impl Strategy<Value = Fix> {
        (1..40_i64, 0..3_u8).prop_map(|(time, id)| fix(time, id))
    }

    fn any_kind() -> impl Strategy<Value = FactKind> {
        let status = (0..12_usize).prop_map(|index| Status::ALL[index]);
        prop_oneof![
            3 => any_fix().prop_map(|fix| FactKind::OwnFix { fix, handle: Handle(1) }),
            4 => (0..5_u8, any_fix()).prop_map(|(number, fix)| FactKind::AboardFix { delivery: delivery(number), fix }),
            1 => proptest::collection::btree_map(1..40_i64, any::<bool>(), 0..4)
                .prop_map(|facts| FactKind::Duty { duty: duty(&facts.into_iter().collect::<Vec<_>>()), handle: Handle(1) }),
            4 => (0..5_u8, status, proptest::option::of(any_fix())).prop_map(|(number, status, fix)| FactKind::Board(boarding(number, status, fix))),
            2 => (0..5_u8, any::<bool>())
                .prop_map(|(number, over)| FactKind::Alight { delivery: delivery(number), ended: over.then_some(Status::Delivered) }),
            1 => Just(FactKind::Forget),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn the_join_equals_a_brute_force_join(kinds in proptest::collection::vec(any_kind(), 1..60)) {
            let (mut facts, mut brute) = (Facts::default(), Brute::default());
            // Fed with what is kept of a fix, and with all of it.
            let (mut estimate, mut expected_estimate) = (None, None);
            for kind in kinds {
                let way = facts.apply(kind.clone());
                brute.apply(kind);
                // Equal order keys are one event, so one position: which of its copies is held does not matter.
                let expected = brute.newest();
                let told = |seen: Option<Seen<'_>>| seen.map(|seen| (seen.order.clone(), seen.position, seen.accuracy_m));
                prop_assert_eq!(told(facts.newest_fix()), told(expected.as_ref().map(Seen::from)));
                prop_assert_eq!(facts.place(&driver()), facts.newest_fix().map(Place::At));
                observe(&mut estimate, facts.newest_fix_of(way), facts.is_empty());
                observe(&mut expected_estimate, expected.as_ref().map(Seen::from), facts.is_empty());
                prop_assert_eq!(estimate, expected_estimate);
                prop_assert_eq!(facts.status(&driver()), brute.status());
                prop_assert!(facts.boardings().eq(brute.aboard.values()));
                prop_assert_eq!(facts.aboard_count(), brute.aboard.len());
                prop_assert_eq!(facts.is_empty(), brute.own.is_none() && brute.duty.is_empty() && brute.aboard.is_empty());
                prop_assert_eq!(facts.handle().is_none(), facts.is_empty());
            }
        }
    }

    #[test]
    fn a_fix_inside_an_off_duty_interval_is_never_shown() {
        let mut facts = Facts::default();
        facts.apply(FactKind::Board(boarding(1, Status::PickedUp, Some(fix(10, 1)))));
        facts.apply(FactKind::OwnFix { fix: fix(25, 1), handle: Handle(1) });
        facts.apply(FactKind::Duty { duty: duty(&[(20, false), (30, true)]), handle: Handle(1) });
        assert_eq!(facts.newest_fix().unwrap().order.effective_time, UnixMs(10));
        facts.apply(FactKind::AboardFix { delivery: delivery(1), fix: fix(35, 1) });
        assert_eq!(facts.newest_fix().unwrap().order.effective_time, UnixMs(35));
        facts.apply(FactKind::Duty { duty: duty(&[(20, false)]), handle: Handle(1) });
        assert_eq!(facts.newest_fix(), None);
        facts.apply(FactKind::Duty { duty: duty(&[]), handle: Handle(1) });
        assert_eq!(facts.newest_fix().unwrap().order.effective_time, UnixMs(35));
    }

    #[test]
    fn the_first_handle_offered_stays_while_the_carrier_is_known() {
        let mut facts = Facts::default();
        facts.apply(FactKind::Board(boarding(1, Status::PickedUp, None)));
        facts.apply(FactKind::Board(boarding(0, Status::PickedUp, None)));
        facts.apply(FactKind::OwnFix { fix: fix(1, 1), handle: Handle(1) });
        assert_eq!(facts.handle(), Some(Handle(101)));
        facts.apply(FactKind::Alight { delivery: delivery(1), ended: Some(Status::Delivered) });
        assert_eq!(facts.handle(), Some(Handle(101)));
        facts.apply(FactKind::Forget);
        facts.apply(FactKind::Alight { delivery: delivery(0), ended: Some(Status::Delivered) });
        assert_eq!(facts.handle(), None);
    }

    #[test]
    fn a_delivery_that_goes_to_another_carrier_takes_its_handle_along() {
        let mut facts = Facts::default();
        facts.apply(FactKind::Board(boarding(1, Status::PickedUp, None)));
        facts.apply(FactKind::Board(boarding(2, Status::PickedUp, None)));
        facts.apply(FactKind::Alight { delivery: delivery(1), ended: None });
        assert_eq!(facts.handle(), Some(Handle(102)));
        facts.apply(FactKind::OwnFix { fix: fix(1, 1), handle: Handle(1) });
        facts.apply(FactKind::Alight { delivery: delivery(2), ended: None });
        assert_eq!(facts.handle(), Some(Handle(1)));
    }

    #[test]
    fn a_waiting_delivery_stands_at_its_pickup_with_its_own_status() {
        let mut facts = Facts::default();
        let carrier = |number| Carrier::Delivery(delivery(number));
        facts.apply(FactKind::Board(boarding(2, Status::Cancelled, Some(fix(1, 1)))));
        assert_eq!(facts.place(&carrier(2)), Some(Place::WaitingAt(Position::from_degrees(10.0, 2.0).unwrap())));
        assert_eq!(facts.status(&carrier(2)), Some(Status::Cancelled));
        let mut nowhere = Facts::default();
        nowhere.apply(FactKind::Board(boarding(3, Status::Created, None)));
        assert_eq!(nowhere.place(&carrier(3)), None);
    }
}
