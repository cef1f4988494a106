//! The facts of one carrier, joined: its handle, where it is, its status, what is aboard. Pure; never estimates, so any order of facts ends in the same join.

use super::load::was_on_duty;
use super::rare::{Duty, Rare};
use super::seen::{Place, Seen, Way};
use super::told::Flags;
use crate::model::change::{Carrier, DutyFact, FactKind, Fix};
use crate::model::id::{DeliveryId, DriverId, Handle, TenantId};
use crate::model::maybe::{Maybe, Spare};
use crate::model::position::Position;
use crate::model::short::{IngestMs, Short};
use crate::model::status::Status;
use crate::model::terms::SharedTerms;
use crate::model::time::UnixMs;

/// Whose they are and what is known of it. Small: there is one of these for every driver and every delivery that waits.
#[derive(Debug)]
pub struct Facts {
    /// Of either kind.
    id: DriverId,
    /// The delivery aboard, where there is one, as many carry one at a time.
    pub(super) one: Option<SharedTerms>,
    pub(super) rare: Option<Box<Rare>>,
    tenant: TenantId,
    own_fix: OwnFix,
    /// The driver's own, once it was offered.
    own_handle: Short<Handle>,
    /// Of the entry that these facts are in, which has no room of its own for it.
    pub(super) flags: Flags,
    kind: Kind,
    goes_by: GoesBy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Driver,
    Delivery,
}

/// Whose handle the marker goes by: the first one offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum GoesBy {
    Nothing,
    Own,
    /// That of the one delivery aboard.
    One,
    /// Of a delivery that is gone, or one of many.
    Kept,
}

/// Of a driver's own fix what is asked for again and again. Its way is weighed once, when it is the newest one that may be seen: without duty that is at once or
/// never, and with duty it is kept there.
#[derive(Clone, Copy, Debug)]
#[repr(C, packed)]
struct OwnFix {
    /// The end of all times: nothing was heard of the driver itself.
    time: IngestMs,
    position: Position,
    accuracy_m: Maybe<f32>,
}

impl OwnFix {
    fn none() -> Self {
        Self { time: UnixMs::NONE.into(), position: Position::from_e7(0, 0), accuracy_m: Maybe::NONE }
    }
}

impl Facts {
    pub fn new(tenant: TenantId, carrier: &Carrier) -> Self {
        let (id, kind) = match carrier {
            Carrier::Driver(driver) => (driver.clone(), Kind::Driver),
            Carrier::Delivery(delivery) => (delivery.clone().renamed(), Kind::Delivery),
        };
        let (own_fix, own_handle) = (OwnFix::none(), Handle::NONE.into());
        Self { id, one: None, rare: None, tenant, own_fix, own_handle, flags: Flags::NONE, kind, goes_by: GoesBy::Nothing }
    }

    pub fn is_of(&self, tenant: TenantId, carrier: &Carrier) -> bool {
        let is_it = match carrier {
            Carrier::Driver(driver) => self.kind == Kind::Driver && self.id == *driver,
            Carrier::Delivery(delivery) => self.kind == Kind::Delivery && self.id.is(delivery),
        };
        is_it && self.tenant == tenant
    }

    pub fn tenant(&self) -> TenantId {
        self.tenant
    }

    pub fn carrier(&self) -> Carrier {
        match self.kind {
            Kind::Driver => Carrier::Driver(self.id.clone()),
            Kind::Delivery => Carrier::Delivery(self.id.clone().renamed()),
        }
    }

    /// None of what waits.
    pub fn driver(&self) -> Option<&DriverId> {
        (self.kind == Kind::Driver).then_some(&self.id)
    }

    /// Takes one more fact, and gives back the way of an own fix, which is for who weighs it now.
    pub fn apply(&mut self, kind: FactKind) -> Way {
        match kind {
            FactKind::OwnFix { fix, handle } => return self.take_own_fix(fix, handle),
            FactKind::AboardFix { delivery, fix } => self.set_fix(&delivery, fix),
            FactKind::Duty { duty, own_event, handle } => {
                let known = self.rare.as_mut().and_then(|rare| rare.duty.as_mut());
                match known {
                    Some(known) => (known.facts, known.own_event) = (duty, own_event),
                    None if duty.is_empty() => {}
                    None => self.rare().duty = Some(Box::new(Duty { facts: duty, own_event, way: Way::default() })),
                }
                self.offer_own(handle);
                self.recount();
            }
            FactKind::Board(boarding) => {
                let handle = self.handle().unwrap_or_else(|| boarding.handle.get());
                self.board(boarding);
                self.go_by(Some(handle));
            }
            FactKind::Alight { delivery, ended } => self.let_alight(&delivery, ended),
            FactKind::Heard => {}
            FactKind::Forget => self.forget(),
        }
        if self.is_empty() {
            self.go_by(None);
            self.own_handle = Handle::NONE.into();
            if let Some(rare) = &mut self.rare {
                rare.duty = None;
            }
        }
        self.tidy();
        Way::default()
    }

    fn take_own_fix(&mut self, fix: Fix, handle: Handle) -> Way {
        let Fix { order, position, accuracy_m, speed_mps, heading_deg } = fix;
        let way = Way { speed_mps, heading_deg };
        self.own_fix = OwnFix { time: order.effective_time.into(), position, accuracy_m };
        if let Some(duty) = self.rare.as_mut().and_then(|rare| rare.duty.as_mut()) {
            (duty.own_event, duty.way) = (order.event_id, way);
        }
        self.offer_own(handle);
        way
    }

    /// Lets the driver's own facts go, but for the handle that its marker may go by.
    fn forget(&mut self) {
        let handle = self.handle();
        (self.own_fix, self.own_handle) = (OwnFix::none(), Handle::NONE.into());
        if let Some(rare) = &mut self.rare {
            rare.duty = None;
        }
        self.go_by(handle);
        self.recount();
    }

    /// True when nothing is known of the carrier any more.
    pub fn is_empty(&self) -> bool {
        self.own_time().is_none() && self.duty().is_empty() && self.aboard_count() == 0
    }

    pub fn handle(&self) -> Option<Handle> {
        match self.goes_by {
            GoesBy::Nothing => None,
            GoesBy::Own => self.own_handle(),
            GoesBy::One => self.one.as_ref().map(|one| one.handle.get()),
            GoesBy::Kept => self.rare.as_ref().and_then(|rare| rare.kept_handle.get()),
        }
    }

    /// Where the marker stands; none when there is none to show.
    pub fn place(&self) -> Option<Place> {
        match self.kind {
            Kind::Driver => self.newest_fix().map(Place::At),
            Kind::Delivery => self.boardings().next().and_then(|waiting| waiting.pickup).map(Place::WaitingAt),
        }
    }

    /// Event time of the driver's own fix.
    pub fn own_time(&self) -> Option<UnixMs> {
        Maybe::some({ self.own_fix.time }.get()).get()
    }

    /// The newest visible fix, of one moment the own one; none while the driver is off duty. The way of an own one is mostly not known any more.
    pub fn newest_fix(&self) -> Option<Seen> {
        self.newest_fix_of(Way::default())
    }

    /// As `newest_fix`, with the way that the last fact said.
    pub fn newest_fix_of(&self, way: Way) -> Option<Seen> {
        let OwnFix { position, accuracy_m, .. } = self.own_fix;
        let time = self.own_time();
        let Some(rare) = &self.rare else {
            let Way { speed_mps, heading_deg } = way;
            return time.map(|time| Seen { time, position, accuracy_m, speed_mps, heading_deg });
        };
        let duty = rare.duty.as_deref();
        if rare.duty().last().is_some_and(|latest| !latest.on) {
            return None;
        }
        let Way { speed_mps, heading_deg } = duty.map_or(way, |duty| duty.way);
        let own = time.filter(|time| duty.is_none_or(|duty| was_on_duty(*time, &duty.own_event, &duty.facts)));
        let own = own.map(|time| Seen { time, position, accuracy_m, speed_mps, heading_deg });
        let is_newer = |aboard: &Fix| own.is_none_or(|own| aboard.order.effective_time > own.time);
        rare.newest_aboard().filter(|aboard| is_newer(aboard)).map(Seen::from).or(own)
    }

    /// Of the delivery that is most advanced and not ended, the least id first. A waiting delivery shows its own, whatever it is.
    pub fn status(&self) -> Option<Status> {
        match self.kind {
            Kind::Driver => {
                self.boardings().map(|boarding| boarding.status).filter(|status| !status.is_terminal()).max_by_key(|status| status.advance())
            }
            Kind::Delivery => self.boardings().next().map(|waiting| waiting.status),
        }
    }

    pub(super) fn duty(&self) -> &[DutyFact] {
        self.rare.as_ref().map_or(&[], |rare| rare.duty())
    }

    pub(super) fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// Lets go of what nothing rare is left in.
    pub(super) fn tidy(&mut self) {
        if self.rare.as_ref().is_some_and(|rare| rare.is_nothing()) {
            self.rare = None;
        }
    }

    fn own_handle(&self) -> Option<Handle> {
        Maybe::some(self.own_handle.get()).get()
    }

    fn offer_own(&mut self, handle: Handle) {
        // With each ping it is offered again.
        if self.own_handle() == Some(handle) {
            return;
        }
        let goes_by = self.handle().unwrap_or(handle);
        self.own_handle = handle.into();
        self.go_by(Some(goes_by));
    }

    /// Whoever's handle that is by now.
    fn go_by(&mut self, handle: Option<Handle>) {
        self.goes_by = match handle {
            None => GoesBy::Nothing,
            Some(handle) if self.own_handle() == Some(handle) => GoesBy::Own,
            Some(handle) if self.one.as_ref().is_some_and(|one| one.handle.get() == handle) => GoesBy::One,
            Some(_) => GoesBy::Kept,
        };
        if self.goes_by == GoesBy::Kept {
            self.rare().kept_handle = handle.into();
        } else if let Some(rare) = &mut self.rare {
            rare.kept_handle = Maybe::NONE;
        }
    }

    fn let_alight(&mut self, delivery: &DeliveryId, ended: Option<Status>) {
        let handle = self.handle();
        let Some(gone) = self.alight(delivery) else { return };
        // A delivery that another carrier has now takes its handle along: no two markers may go by one handle.
        let lent = handle == Some(gone.handle.get()) && self.own_handle() != handle;
        let next =
            if lent && ended.is_none() { self.own_handle().or_else(|| self.boardings().next().map(|carried| carried.handle.get())) } else { handle };
        self.go_by(next);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::marker::motion::{Estimate, MotionSettings};
    use crate::model::event::OrderKey;
    use crate::model::id::EventId;
    use crate::model::terms::{Boarding, Terms};
    use crate::model::time::UnixMs;

    fn event(id: u8) -> EventId {
        EventId::parse(&format!("e{id}")).unwrap()
    }

    fn fix(time: i64, id: u8) -> Fix {
        let position = Position::from_degrees(50.0 + f64::from(id) / 100.0, f64::from(i32::try_from(time).unwrap()) / 1000.0).unwrap();
        let order = OrderKey { effective_time: UnixMs(time), event_id: event(id) };
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
        facts.iter().map(|&(time, on)| DutyFact { order: OrderKey { effective_time: UnixMs(time), event_id: event(1) }, on }).collect()
    }

    /// Of a driver whose own fix has this name.
    fn on_duty(facts: &[(i64, bool)], own: u8) -> FactKind {
        FactKind::Duty { duty: duty(facts), own_event: event(own), handle: Handle(1) }
    }

    fn acme() -> TenantId {
        TenantId::parse("acme").unwrap()
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
            let aboard = self.aboard.values().filter_map(|it| it.fix.as_deref()).filter(|fix| self.on_duty(fix)).max_by(|a, b| a.order.cmp(&b.order));
            let own = self.own.as_ref().filter(|fix| self.on_duty(fix));
            // Of one moment the last of them, which is the own one.
            aboard.into_iter().chain(own).max_by_key(|fix| fix.order.effective_time).cloned()
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

    fn observe(fed: &mut Option<(UnixMs, Estimate)>, fix: Option<Seen>, nothing_is_known: bool) {
        let settings = MotionSettings::default();
        match (fix, fed) {
            (Some(fix), Some((last, estimate))) => *last = estimate.observe(*last, fix, &settings),
            (Some(fix), fed) => *fed = Some((fix.time, Estimate::first(fix, &settings))),
            (None, fed) if nothing_is_known => *fed = None,
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
                .prop_map(|facts| on_duty(&facts.into_iter().collect::<Vec<_>>(), 0)),
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
            let (mut facts, mut brute) = (Facts::new(acme(), &driver()), Brute::default());
            // Fed with what is kept of a fix, and with all of it.
            let (mut estimate, mut expected_estimate) = (None, None);
            for mut kind in kinds {
                // As a partition does, which knows the own fix.
                if let (FactKind::Duty { own_event, .. }, Some(own)) = (&mut kind, &brute.own) {
                    own_event.clone_from(&own.order.event_id);
                }
                let way = facts.apply(kind.clone());
                brute.apply(kind);
                // Equal order keys are one event, so one position: which of its copies is held does not matter.
                let expected = brute.newest();
                let told = |seen: Option<Seen>| seen.map(|seen| (seen.time, seen.position, seen.accuracy_m));
                prop_assert_eq!(told(facts.newest_fix()), told(expected.as_ref().map(Seen::from)));
                prop_assert_eq!(facts.place(), facts.newest_fix().map(Place::At));
                observe(&mut estimate, facts.newest_fix_of(way), facts.is_empty());
                observe(&mut expected_estimate, expected.as_ref().map(Seen::from), facts.is_empty());
                prop_assert_eq!(estimate, expected_estimate);
                prop_assert_eq!(facts.status(), brute.status());
                prop_assert!(facts.boardings().eq(brute.aboard.values().map(|it| &it.terms)));
                prop_assert_eq!(facts.aboard_count(), brute.aboard.len());
                prop_assert_eq!(facts.is_empty(), brute.own.is_none() && brute.duty.is_empty() && brute.aboard.is_empty());
                prop_assert_eq!(facts.handle().is_none(), facts.is_empty());
            }
        }
    }

    #[test]
    fn a_fix_inside_an_off_duty_interval_is_never_shown() {
        let mut facts = Facts::new(acme(), &driver());
        facts.apply(FactKind::Board(boarding(1, Status::PickedUp, Some(fix(10, 1)))));
        facts.apply(FactKind::OwnFix { fix: fix(25, 1), handle: Handle(1) });
        facts.apply(on_duty(&[(20, false), (30, true)], 1));
        assert_eq!(facts.newest_fix().unwrap().time, UnixMs(10));
        facts.apply(FactKind::AboardFix { delivery: delivery(1), fix: fix(35, 1) });
        assert_eq!(facts.newest_fix().unwrap().time, UnixMs(35));
        facts.apply(on_duty(&[(20, false)], 1));
        assert_eq!(facts.newest_fix(), None);
        facts.apply(on_duty(&[], 1));
        assert_eq!(facts.newest_fix().unwrap().time, UnixMs(35));
    }

    #[test]
    fn the_first_handle_offered_stays_while_the_carrier_is_known() {
        let mut facts = Facts::new(acme(), &driver());
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
        let mut facts = Facts::new(acme(), &driver());
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
        let waiting = |number| Facts::new(acme(), &Carrier::Delivery(delivery(number)));
        let mut facts = waiting(2);
        facts.apply(FactKind::Board(boarding(2, Status::Cancelled, Some(fix(1, 1)))));
        assert_eq!(facts.place(), Some(Place::WaitingAt(Position::from_degrees(10.0, 2.0).unwrap())));
        assert_eq!(facts.status(), Some(Status::Cancelled));
        let mut nowhere = waiting(3);
        nowhere.apply(FactKind::Board(boarding(3, Status::Created, None)));
        assert_eq!(nowhere.place(), None);
    }
}
