//! Who was on duty when: the duty events of the few drivers that send any, a join of them. Never decides what is shown.

use std::sync::Arc;

use hashbrown::HashMap;

use crate::model::change::DutyFact;
use crate::model::event::OrderKey;
use crate::slots::Slot;

/// Duty events kept of a driver, the greatest by order key.
pub const MAX_DUTY_FACTS: usize = 32;

/// The duty of drivers by their slots, beside them: of the very many who never sent any nothing is kept. Whoever removes a driver removes its duty.
#[derive(Debug, Default)]
pub struct Duties(HashMap<Slot, Duty>);

/// Sorted by order key, one a key.
pub type Duty = Arc<[DutyFact]>;

impl Duties {
    pub fn get(&self, slot: Slot) -> Option<&Duty> {
        self.0.get(&slot)
    }

    /// Adds a duty event, and says what is known then; nothing when that changed nothing.
    pub fn join(&mut self, slot: Slot, fact: DutyFact) -> Option<&Duty> {
        let mut duty = self.get(slot).map_or_else(Vec::new, |duty| duty.to_vec());
        match duty.binary_search_by(|kept| kept.order.cmp(&fact.order)) {
            // Two contents under one key: "off" stays, for it hides.
            Ok(at) if duty[at].on && !fact.on => duty[at] = fact,
            Ok(_) => return None,
            Err(0) if duty.len() == MAX_DUTY_FACTS => return None,
            Err(at) => {
                duty.insert(at, fact);
                if duty.len() > MAX_DUTY_FACTS {
                    duty.remove(0);
                }
            }
        }
        self.restore(slot, duty);
        self.get(slot)
    }

    /// Keeps what was kept before, in a snapshot.
    pub fn restore(&mut self, slot: Slot, duty: Vec<DutyFact>) {
        if !duty.is_empty() {
            self.0.insert(slot, duty.into());
        }
    }

    pub fn remove(&mut self, slot: Slot) {
        self.0.remove(&slot);
    }
}

/// Whether a driver was on duty at `moment`: as the last duty event before it says; who sent none before was on duty.
pub fn on_duty_at(duty: &[DutyFact], moment: &OrderKey) -> bool {
    let before = duty.partition_point(|fact| fact.order <= *moment);
    before == 0 || duty[before - 1].on
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::id::EventId;
    use crate::model::time::UnixMs;

    fn fact(time: i64, on: bool) -> DutyFact {
        DutyFact { order: OrderKey { effective_time: UnixMs(time), event_id: EventId::parse(&format!("e{time:04}")).unwrap() }, on }
    }

    #[test]
    fn who_removed_a_driver_finds_no_duty_in_its_place() {
        let mut duties = Duties::default();
        assert!(duties.join(7, fact(1, false)).is_some() && duties.join(7, fact(1, false)).is_none());
        assert!(duties.get(6).is_none());
        duties.remove(7);
        assert!(duties.get(7).is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// The model: sort all duty events, keep the greatest 32, and read off the last at or before the moment.
        #[test]
        fn any_order_of_duty_events_ends_as_the_sorted_list(on in prop::collection::vec(any::<bool>(), 1..50), order in any::<u64>(), moment in 0_i64..120) {
            let sorted: Vec<(i64, bool)> = (0..).map(|index| 2 * index).zip(on).collect();
            let mut arrivals = sorted.clone();
            arrivals.sort_by_key(|(time, _)| time.cast_unsigned().wrapping_mul(order | 1).rotate_left(9));
            let mut duties = Duties::default();
            for (time, on) in arrivals.iter().chain(&arrivals) {
                duties.join(3, fact(*time, *on));
            }
            let duty = duties.get(3).unwrap();
            let kept = &sorted[sorted.len().saturating_sub(32)..];
            prop_assert_eq!(duty.iter().map(|fact| (fact.order.effective_time.0, fact.on)).collect::<Vec<_>>(), kept);
            let expected = kept.iter().rev().find(|(time, _)| *time <= moment).is_none_or(|(_, on)| *on);
            let at = OrderKey { effective_time: UnixMs(moment), event_id: EventId::parse("zzzz").unwrap() };
            prop_assert_eq!(on_duty_at(duty, &at), expected);
        }
    }
}
