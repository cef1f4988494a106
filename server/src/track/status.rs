//! The rules by which a delivery's status changes, and its history of status events with a verdict on each. Never learns of an order of arrival.

use std::cmp::Ordering;

use crate::model::event::{OrderKey, Proof};
use crate::model::status::Status;
use crate::model::time::UnixMs;

/// What a status event does to a delivery, judged at its place among the events sorted by order key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Legal: the delivery has this status now.
    Moves,
    /// Legal: another driver took over after pickup, the status stays.
    Keeps,
    /// The table has no such step; the status stays.
    Illegal,
}

impl Verdict {
    pub fn is_legal(self) -> bool {
        self != Self::Illegal
    }
}

/// The transition table: forward, skipping allowed, starting anywhere; `assigned` again; a failed attempt is tried again or returned; what has ended stays so.
pub fn judge(from: Option<Status>, to: Status) -> Verdict {
    let Some(from) = from else {
        return Verdict::Moves;
    };
    if from.is_terminal() {
        return Verdict::Illegal;
    }
    let picked_up = from >= Status::PickedUp;
    let legal = match to {
        Status::Assigned if picked_up => return Verdict::Keeps,
        Status::Assigned | Status::Cancelled => true,
        Status::EnRouteDropoff | Status::Returned if from == Status::Failed => true,
        // The discriminants are in the order of the list, and all that may end it come after.
        _ => from != Status::Failed && to > from,
    };
    if legal { Verdict::Moves } else { Verdict::Illegal }
}

/// One status event. Equal by what was said; when it was heard and how it was stamped is no part of the fact.
#[derive(Clone, Debug)]
pub struct StatusFact {
    pub order: OrderKey,
    pub status: Status,
    pub detail: Option<Box<StatusDetail>>,
    /// The least ingest time among its records.
    pub ingest_time: UnixMs,
    pub flags: StampFlags,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatusDetail {
    pub reason: Option<Box<str>>,
    pub proof: Option<Proof>,
}

/// What ingest thought of an event's time; for those who look at the history, never read by a fold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StampFlags {
    pub skewed: bool,
    pub late: bool,
}

impl StatusFact {
    /// Orders facts by their key; the rest only decides between two contents under one key, so that the join does not depend on which came first.
    fn rank(&self, other: &Self) -> Ordering {
        fn detail(fact: &StatusFact) -> (Option<&str>, Option<(&str, &str)>) {
            let detail = fact.detail.as_deref();
            let proof = detail.and_then(|detail| detail.proof.as_ref());
            (detail.and_then(|detail| detail.reason.as_deref()), proof.map(|proof| (&*proof.sha256, &*proof.url)))
        }
        self.order.cmp(&other.order).then_with(|| self.status.cmp(&other.status)).then_with(|| detail(self).cmp(&detail(other)))
    }
}

/// Where a delivery stands after its history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    pub status: Status,
    /// When the event that gave it this status was first heard.
    pub since: UnixMs,
}

/// A delivery's status events, sorted by order key, one a key; the greatest `MAX_KEPT`.
#[derive(Clone, Debug, Default)]
pub struct StatusHistory {
    facts: Vec<StatusFact>,
}

impl StatusHistory {
    pub const MAX_KEPT: usize = 32;

    /// Adds an event at its place; false when that changed nothing.
    pub fn insert(&mut self, fact: StatusFact) -> bool {
        match self.facts.binary_search_by(|kept| kept.order.cmp(&fact.order)) {
            Ok(at) => self.merge(at, fact),
            Err(0) if self.facts.len() == Self::MAX_KEPT => false,
            Err(at) if self.facts.len() == Self::MAX_KEPT => {
                self.facts.remove(0);
                self.facts.insert(at - 1, fact);
                true
            }
            Err(at) => {
                // Most deliveries see few status events and there are very many deliveries: room for one more, not for twice as many.
                self.facts.reserve_exact(1);
                self.facts.insert(at, fact);
                true
            }
        }
    }

    fn merge(&mut self, at: usize, fact: StatusFact) -> bool {
        let kept = &mut self.facts[at];
        let first_heard = kept.ingest_time.min(fact.ingest_time);
        let wins = fact.rank(kept).is_gt();
        if wins {
            *kept = fact;
        }
        kept.ingest_time = first_heard;
        wins
    }

    pub fn facts(&self) -> &[StatusFact] {
        &self.facts
    }

    /// Every event kept with the verdict on it, in order.
    pub fn judged(&self) -> impl Iterator<Item = (&StatusFact, Verdict)> {
        self.facts.iter().scan(None, |current, fact| {
            let verdict = judge(*current, fact.status);
            if verdict == Verdict::Moves {
                *current = Some(fact.status);
            }
            Some((fact, verdict))
        })
    }

    /// Absent while no status event is known.
    pub fn standing(&self) -> Option<Standing> {
        let last = self.judged().filter(|(_, verdict)| *verdict == Verdict::Moves).last();
        last.map(|(fact, _)| Standing { status: fact.status, since: fact.ingest_time })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::event::OrderKey;
    use crate::model::id::EventId;

    /// Rows: from nothing, then from each status in the order of `Status::ALL`. Columns: to each. `m` moves, `k` keeps, `.` illegal.
    const TABLE: [(&str, &str); 13] = [
        //                     CASEPARTAVDFRX: created, assigned, en_route_pickup, at_pickup, picked_up, en_route_dropoff, approaching, arrived, delivered, failed, returned, cancelled
        ("nothing", "mmmmmmmmmmmm"),
        ("created", ".mmmmmmmmmmm"),
        ("assigned", ".mmmmmmmmmmm"),
        ("en_route_pickup", ".m.mmmmmmmmm"),
        ("at_pickup", ".m..mmmmmmmm"),
        ("picked_up", ".k...mmmmmmm"),
        ("en_route_dropoff", ".k....mmmmmm"),
        ("approaching", ".k.....mmmmm"),
        ("arrived", ".k......mmmm"),
        ("delivered", "............"),
        ("failed", ".k...m....mm"),
        ("returned", "............"),
        ("cancelled", "............"),
    ];

    fn fact(time: i64, id: &str, status: Status) -> StatusFact {
        let order = OrderKey { effective_time: UnixMs(time), event_id: EventId::parse(id).unwrap() };
        StatusFact { order, status, detail: None, ingest_time: UnixMs(time), flags: StampFlags::default() }
    }

    #[test]
    fn every_pair_of_statuses_is_judged_as_the_table_says() {
        for (from, row) in TABLE {
            for (to, expected) in Status::ALL.into_iter().zip(row.chars()) {
                let verdict = match judge(from.parse().ok(), to) {
                    Verdict::Moves => 'm',
                    Verdict::Keeps => 'k',
                    Verdict::Illegal => '.',
                };
                assert_eq!(verdict, expected, "{from} -> {}", to.as_str());
            }
        }
    }

    #[test]
    fn an_earlier_event_that_turns_up_revises_the_verdicts_after_it() {
        let mut history = StatusHistory::default();
        history.insert(fact(2, "b", Status::PickedUp));
        history.insert(fact(3, "c", Status::Delivered));
        assert_eq!(history.standing().unwrap().status, Status::Delivered);
        assert!(history.insert(fact(1, "a", Status::Cancelled)));
        assert_eq!(history.judged().map(|(_, verdict)| verdict.is_legal()).collect::<Vec<_>>(), [true, false, false]);
        assert_eq!(history.standing().unwrap().status, Status::Cancelled);
    }

    #[test]
    fn the_same_event_again_changes_nothing_and_two_contents_under_one_key_end_alike() {
        let mut history = StatusHistory::default();
        assert!(history.insert(fact(1, "a", Status::Created)));
        assert!(!history.insert(fact(1, "a", Status::Created)));
        assert!(history.insert(fact(1, "a", Status::Assigned)));
        assert!(!history.insert(fact(1, "a", Status::Created)));
        assert_eq!(history.facts().len(), 1);
        assert_eq!(history.standing().unwrap().status, Status::Assigned);
    }

    fn any_status() -> impl Strategy<Value = Status> {
        (0..Status::ALL.len()).prop_map(|index| Status::ALL[index])
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        /// The model: sort all events, keep the greatest 32, walk them with a table lookup.
        #[test]
        fn any_order_of_arrival_ends_as_the_sorted_walk(statuses in prop::collection::vec(any_status(), 1..60), seed in any::<u64>()) {
            let mut arrivals: Vec<(usize, Status)> = statuses.iter().copied().enumerate().collect();
            arrivals.sort_by_key(|(index, _)| (*index as u64).wrapping_mul(seed | 1).rotate_left(17));
            let mut history = StatusHistory::default();
            for (index, status) in arrivals {
                history.insert(fact(i64::try_from(index).unwrap() / 3, &format!("e{index:03}"), status));
            }
            let kept = &statuses[statuses.len().saturating_sub(32)..];
            let mut current = "nothing";
            let mut legal = Vec::new();
            for status in kept {
                let row = TABLE.iter().find(|(from, _)| *from == current).unwrap().1;
                let cell = row.chars().nth(usize::from(status.code()) - 1).unwrap();
                legal.push(cell != '.');
                if cell == 'm' {
                    current = status.as_str();
                }
            }
            prop_assert_eq!(history.judged().map(|(_, verdict)| verdict.is_legal()).collect::<Vec<_>>(), legal);
            prop_assert_eq!(history.standing().unwrap().status.as_str(), current);
        }
    }
}
