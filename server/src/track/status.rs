//! The transition table of a delivery's status, and the fold over its status events sorted by order key. Pure.

use crate::model::event::{OrderKey, Proof};
use crate::model::status::Status;

/// Status events kept a delivery: the greatest by order key.
pub const MAX_STATUS_EVENTS: usize = 32;

/// One thing that was said of a delivery's status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusEvent {
    pub order: OrderKey,
    pub status: Status,
    pub reason: Option<Box<str>>,
    pub proof: Option<Proof>,
}

/// The status events of one delivery, sorted by order key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatusHistory(Vec<StatusEvent>);

impl StatusHistory {
    /// Adds an event at its place; false when it is known or older than all that are kept.
    pub fn add(&mut self, event: StatusEvent) -> bool {
        let Err(place) = self.0.binary_search_by(|known| known.order.cmp(&event.order)) else {
            return false;
        };
        if self.0.len() == MAX_STATUS_EVENTS {
            if place == 0 {
                return false;
            }
            self.0.remove(0);
            self.0.insert(place - 1, event);
        } else {
            self.0.insert(place, event);
        }
        true
    }

    /// Where the delivery stands: the fold of the table over the sorted events, illegal ones skipped. Nothing said yet: created.
    pub fn current(&self) -> Status {
        self.verdicts().fold(None, |status, (event, legal)| if legal { Some(event.status) } else { status }).unwrap_or(Status::Created)
    }

    /// Each event with its verdict. A verdict is revised when an earlier event turns up.
    pub fn verdicts(&self) -> impl Iterator<Item = (&StatusEvent, bool)> {
        let mut current = None;
        self.0.iter().map(move |event| {
            let legal = is_legal(current, event.status);
            if legal {
                current = Some(event.status);
            }
            (event, legal)
        })
    }
}

/// Whether a delivery may go from `from` (nothing said yet: `None`) to `to`.
pub fn is_legal(from: Option<Status>, to: Status) -> bool {
    use Status::{Assigned, Cancelled, EnRouteDropoff, Failed, PickedUp, Returned};
    let Some(from) = from else {
        return true;
    };
    if from.is_terminal() {
        return false;
    }
    match (from, to) {
        (_, Cancelled) => true,
        (Failed, EnRouteDropoff | Returned) => true,
        (Failed, _) => false,
        // Assigned again before pickup goes back; after pickup it only changes the driver.
        (from, Assigned) => from < PickedUp,
        // Forward in the list, skipping allowed; `failed`, `returned` and `delivered` stand at its end.
        (from, to) => to > from,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Just, Strategy, prop, prop_assert_eq, proptest};

    use super::*;
    use crate::model::id::EventId;
    use crate::model::time::UnixMs;

    #[test]
    fn every_pair_of_statuses_is_as_the_table_says() {
        // Rows: from; columns: to, in the order of Status::ALL. 1 = legal.
        let table = [
            "011111111111", // created
            "011111111111", // assigned
            "010111111111", // en_route_pickup
            "010011111111", // at_pickup
            "000001111111", // picked_up
            "000000111111", // en_route_dropoff
            "000000011111", // approaching
            "000000001111", // arrived
            "000000000000", // delivered
            "000001000011", // failed
            "000000000000", // returned
            "000000000000", // cancelled
        ];
        for (from, row) in Status::ALL.into_iter().zip(table) {
            for (to, legal) in Status::ALL.into_iter().zip(row.chars()) {
                assert_eq!(is_legal(Some(from), to), legal == '1', "{} -> {}", from.as_str(), to.as_str());
            }
        }
        assert!(Status::ALL.into_iter().all(|to| is_legal(None, to)), "starting anywhere");
    }

    fn event(time: i64, status: Status) -> StatusEvent {
        let order = OrderKey { effective_time: UnixMs(time), event_id: EventId::parse("e").expect("valid") };
        StatusEvent { order, status, reason: None, proof: None }
    }

    #[test]
    fn an_earlier_event_that_turns_up_revises_the_verdicts() {
        let mut history = StatusHistory::default();
        history.add(event(30, Status::Delivered));
        history.add(event(40, Status::Arrived));
        assert_eq!(history.current(), Status::Delivered);
        history.add(event(20, Status::Cancelled));
        assert_eq!(history.current(), Status::Cancelled);
        assert_eq!(history.verdicts().map(|(_, legal)| legal).collect::<Vec<_>>(), [true, false, false]);
    }

    proptest! {
        #[test]
        fn any_order_and_any_duplication_give_the_same_history(
            (events, shuffled) in prop::collection::vec((0_i64..60, 0_usize..12), 1..60)
                .prop_flat_map(|events| (Just(events.clone()), Just([events.clone(), events].concat()).prop_shuffle())),
        ) {
            // Two events of one order key are one event: their content is the same.
            let add = |history: &mut StatusHistory, (time, _): (i64, usize)| { history.add(event(time, Status::ALL[usize::try_from(time).expect("small") % 12])); };
            let (mut straight, mut mixed) = (StatusHistory::default(), StatusHistory::default());
            events.into_iter().for_each(|event| add(&mut straight, event));
            shuffled.into_iter().for_each(|event| add(&mut mixed, event));
            prop_assert_eq!(straight, mixed);
        }
    }
}
