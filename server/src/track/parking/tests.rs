//! Panics on purpose: what stays of the event, what the others and the markers see, what is kept. Uses a store in a folder of its own.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::clock::Clock;
use crate::dead_letters::filter::Filter;
use crate::dead_letters::{Bounds, DeadLetters};
use crate::log::record::decode::Decoder;
use crate::model::event::Body;
use crate::model::id::{DeliveryId, DriverId, PartitionId, TenantId};
use crate::model::status::Status;
use crate::progress::{Progress, Stage};
use crate::track::due_times::DueTimes;
use crate::track::fault;
use crate::track::partition::{self, PartitionInput};
use crate::track::sample::{LIMITS, Picture, Record, blocks, event, location, status};
use crate::track::state::LEAVES_MAP_AFTER;

const MINUTE: i64 = 60_000;

fn assigned(id: &str, time: i64, driver: &str) -> Event {
    event(id, time, Some("office"), Some("d0"), Body::Assigned { driver: DriverId::parse(driver).unwrap() })
}

/// A state, what a marker stage holds after all it was told, and what was parked.
struct Rig {
    state: PartitionState,
    picture: Picture,
    parked: Vec<Letter>,
    offset: u64,
}

impl Rig {
    fn new() -> Self {
        Self { state: PartitionState::new(PartitionId(3), LIMITS), picture: Picture::default(), parked: Vec::new(), offset: 0 }
    }

    fn apply(&mut self, ingest_ms: i64, event: &Event) {
        self.offset += 1;
        let applied = apply(&mut self.state, Offset(self.offset), UnixMs(ingest_ms), event, &mut |change| self.picture.apply(change));
        self.parked.extend(applied.err().map(|letter| *letter));
        assert_eq!(self.state.applied(), Some(Offset(self.offset)), "the partition goes on");
    }
}

#[test]
fn a_delivery_that_changed_hands_half_way_is_aboard_one_driver_and_not_two() {
    let mut rig = Rig::new();
    rig.apply(1, &assigned("e1", 1, "ann"));
    rig.apply(2, &assigned("panic-joined-2", 2, "bob"));
    assert_eq!(rig.picture, Picture::of(&rig.state));
    let carriers: Vec<_> = rig.picture.carriers.keys().map(|(_, carrier)| carrier.clone()).collect();
    assert_eq!(carriers, [Carrier::Driver(DriverId::parse("bob").unwrap())], "what was joined before the panic counts");
    rig.apply(3, &assigned("e3", 3, "eve"));
    assert_eq!(rig.picture, Picture::of(&rig.state), "and the next event finds all in order");
    assert_eq!(rig.parked.len(), 1);
}

#[test]
fn a_delivery_that_ended_half_way_leaves_the_map_in_time_and_a_driver_is_told_of() {
    let mut rig = Rig::new();
    rig.apply(1, &event("e1", 1, None, Some("d0"), status(Status::PickedUp)));
    rig.apply(2, &event("panic-joined-2", 2, None, Some("d0"), status(Status::Delivered)));
    rig.apply(3, &event("panic-joined-3", 3, Some("ann"), None, location(57.0)));
    rig.apply(4, &event("panic-joined-4", 4, Some("ann"), None, Body::Duty { on: false }));
    assert_eq!((&rig.picture, rig.parked.len()), (&Picture::of(&rig.state), 3));
    assert!(rig.picture.carriers.values().any(|carrier| carrier.own.is_some() && carrier.duty.is_some()));
    let leaves = UnixMs(2) + LEAVES_MAP_AFTER;
    assert_eq!(rig.state.next_due(), Some(leaves));
    advance(&mut rig.state, leaves, &mut |change| rig.picture.apply(change));
    assert!(rig.picture.carriers.values().all(|carrier| carrier.aboard.is_empty()));
}

#[test]
fn the_letter_holds_the_event_its_place_and_the_words_of_the_panic_and_is_the_same_at_a_replay() {
    let at = event("panic-joined-1", 5, Some("ann"), Some("d0"), location(57.0));
    let letters = [0, 1].map(|_| {
        let mut rig = Rig::new();
        rig.apply(9, &event("e0", 4, Some("ann"), Some("d0"), location(56.0)));
        rig.apply(9, &at);
        rig.parked.remove(0)
    });
    assert_eq!(letters[0], letters[1]);
    let about = &letters[0].about;
    assert_eq!((about.reason.as_str(), about.detail.as_str()), ("apply_panic", "asked for by panic-joined-1"));
    assert_eq!(about.place, Some(Place { partition: PartitionId(3), offset: Offset(2) }));
    assert_eq!((about.claims.event_id.as_str(), about.claims.actor.as_str(), about.received), ("panic-joined-1", "ann", UnixMs(9)));
    assert_eq!(Decoder::default().decode(&letters[0].raw).expect("a record"), at);
}

#[test]
fn an_event_is_not_to_blame_for_what_was_due_before_it() {
    let mut rig = Rig::new();
    rig.apply(1, &event("e1", 1, None, Some("d0"), status(Status::Delivered)));
    rig.apply(1, &event("e2", 1, None, Some("d1"), status(Status::Delivered)));
    rig.state.panics_when_due = true;
    rig.apply(11 * MINUTE, &event("e3", 2, Some("ann"), None, location(57.0)));
    assert!(rig.parked.is_empty() && rig.state.driver(&TenantId::parse("acme").unwrap(), &DriverId::parse("ann").unwrap()).is_some());
    rig.state.panics_when_due = false;
    advance(&mut rig.state, UnixMs(12 * MINUTE), &mut |change| rig.picture.apply(change));
    let left = |id| rig.state.delivery(&TenantId::parse("acme").unwrap(), &DeliveryId::parse(id).unwrap()).map(|delivery| delivery.left);
    assert_eq!([left("d0"), left("d1")].iter().filter(|left| **left == Some(true)).count(), 1, "the other one leaves");
}

#[test]
fn the_log_tells_where_a_panic_was_and_none_of_its_words() {
    let said = crate::logging::tests::said(|| {
        let mut rig = Rig::new();
        rig.apply(1, &event("e1", 1, None, Some("d0"), status(Status::Delivered)));
        rig.apply(1, &event("panic-joined-2", 1, Some("ann"), None, location(57.0)));
        rig.state.panics_when_due = true;
        rig.apply(11 * MINUTE, &event("e3", 2, Some("ann"), None, location(57.0)));
        rig.apply(11 * MINUTE, &event("e4", 2, None, Some("d1"), status(Status::Delivered)));
        advance(&mut rig.state, UnixMs(22 * MINUTE), &mut drop);
        assert_eq!(rig.parked.len(), 1);
    });
    assert!(!said.contains("asked for"), "{said}");
    let lines: Vec<_> = said.lines().filter(|line| line.contains("ERROR")).collect();
    assert_eq!(lines.len(), 3, "{said}");
    assert!(lines[0].contains("an event could not be applied") && lines[0].contains("partition=3 offset=2"), "{said}");
    for (line, applied) in lines[1..].iter().zip(["applied=2", "applied=4"]) {
        assert!(line.contains("due") && line.contains("partition=3") && line.contains(applied), "{said}");
    }
}

#[test]
fn what_was_parked_is_applied_by_a_later_start_that_can_as_if_it_had_never_been_missing() {
    let events = |second: &str| {
        [
            event("e1", 1, Some("ann"), Some("d0"), location(57.0)),
            event(second, 5, Some("office"), Some("d0"), status(Status::Delivered)),
            event("e3", 3, Some("ann"), Some("d0"), status(Status::PickedUp)),
        ]
    };
    let mut rig = Rig::new();
    for (ingest_ms, event) in (1..).zip(events("panic-before-2")) {
        rig.apply(ingest_ms, &event);
    }
    let letter = rig.parked.remove(0);
    let mut parked = Parked {
        tenant: letter.tenant,
        cursor: "1".parse().expect("a cursor"),
        place: letter.about.place.expect("a place"),
        ingest_time: letter.about.received,
        record: letter.raw,
    };
    assert_eq!(retry(&mut rig.state, &parked), Retried::Panicked("asked for by panic-before-2".into()), "the version is the same");
    fault::mend();
    for _ in 0..2 {
        assert_eq!(retry(&mut rig.state, &parked), Retried::Applied);
    }
    let mut never_missing = Rig::new();
    for (ingest_ms, event) in (1..).zip(events("panic-before-2")) {
        never_missing.apply(ingest_ms, &event);
    }
    assert_eq!(rig.state.state_hash(), never_missing.state.state_hash());
    assert_eq!((rig.state.next_due(), rig.state.applied()), (never_missing.state.next_due(), never_missing.state.applied()));
    parked.place.offset = Offset(4);
    assert_eq!(retry(&mut rig.state, &parked), Retried::ComesByItself);
    parked.place.offset = Offset(1);
    parked.record.truncate(9);
    assert!(matches!(retry(&mut rig.state, &parked), Retried::Panicked(_)));
}

#[tokio::test]
async fn a_partition_parks_the_event_and_goes_on_and_a_snapshot_comes_after_the_letter() {
    let folder = tempfile::tempdir().expect("a folder");
    let bounds = Bounds { max_bytes: 1 << 20, max_age: Duration::from_hours(1) };
    let (letters, writer) = DeadLetters::open(folder.path(), bounds, Clock::System).await.expect("opens");
    let mut tasks = tokio::task::JoinSet::new();
    let stop = CancellationToken::new();
    tasks.spawn(writer.run(stop.clone()));
    for _ in 0..2 {
        let record = |index: u64, id: &str| Record {
            offset: Offset(index),
            ingest_time: UnixMs(5),
            event: event(id, i64::try_from(index).unwrap(), Some("ann"), None, location(57.0)),
        };
        let block = blocks(&[record(0, "e0"), record(1, "panic-joined"), record(2, "e2")], 10, 1).remove(0);
        let (shard, mut told) = mpsc::channel(8);
        let (input, inbox) = mpsc::channel(8);
        let progress = Arc::new(Progress::new(1, 1));
        let state = PartitionState::new(PartitionId(0), LIMITS);
        tasks.spawn(partition::run(state, inbox, vec![shard], letters.clone(), Arc::clone(&progress), Arc::new(DueTimes::new(1))));
        input.send(PartitionInput::Block { block, entry: 0 }).await.expect("taken");
        let (reply, mut snapshots) = mpsc::channel(1);
        input.send(PartitionInput::Barrier { reply }).await.expect("taken");
        snapshots.recv().await.expect("a snapshot");
        let page = letters.page(TenantId::parse("acme").unwrap(), &Filter::default(), None, 10).await.expect("reads");
        let places: Vec<_> = page.letters.iter().filter_map(|kept| kept.about.place).collect();
        assert_eq!(places, [Place { partition: PartitionId(0), offset: Offset(1) }], "once, also when it is replayed");
        let (reply, driver) = oneshot::channel();
        input
            .send(PartitionInput::Driver { tenant: TenantId::parse("acme").unwrap(), driver: DriverId::parse("ann").unwrap(), reply })
            .await
            .expect("taken");
        assert!(driver.await.expect("answered").is_some());
        assert!(told.recv().await.is_some() && progress.lag(Stage::Tracked) == 0);
    }
    stop.cancel();
    while let Some(ended) = tasks.join_next().await {
        ended.expect("none panicked");
    }
    letters.close().await;
}
