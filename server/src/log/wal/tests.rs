//! The log against failing disks: whatever breaks, what was acknowledged is there, once, and nothing else passes for a block.

mod damage;
mod retention;

use std::collections::BTreeMap;

use super::faulty::{Fault, FaultyDisk};
use super::*;
use crate::clock::ManualClock;
use crate::log::LogReader as _;
use crate::log::block::EntryKind;
use crate::model::event::{Body, Event, Location, Stamp};
use crate::model::id::{DriverId, EventId, TenantId};
use crate::model::position::Position;
use crate::model::time::UnixMs;

fn options() -> WalOptions {
    WalOptions { partitions: 4, segment_bytes: 16 << 10, ring_bytes: 2048, ..WalOptions::default() }
}

fn clock() -> Clock {
    Clock::Manual(ManualClock::new(UnixMs(1_790_000_000_000)))
}

fn open(disk: &FaultyDisk) -> Result<Arc<Wal<FaultyDisk>>, OpenError> {
    Wal::open_in(disk.clone(), options(), clock())
}

fn event(number: usize) -> Event {
    let position = Position::from_degrees(57.7, 11.9).expect("valid");
    Event {
        id: EventId::parse(&format!("e{number}")).expect("valid"),
        tenant: TenantId::parse("acme").expect("valid"),
        actor: Some(DriverId::parse(&format!("d{}", number % 7)).expect("valid")),
        delivery: None,
        event_time: UnixMs(1_790_000_000_000 + i64::try_from(number).expect("small")),
        schema_version: 1,
        body: Body::Location(Location { position, accuracy_m: Some(5.0), speed_mps: None, heading_deg: None, altitude_m: None, battery: None }),
        stamp: Stamp { effective_time: UnixMs(1_790_000_000_000), ..Stamp::default() },
        unknown: None,
    }
}

fn batch(numbers: impl Iterator<Item = usize>) -> Batch {
    let mut batch = Batch::default();
    numbers.for_each(|number| batch.push(&event(number), 4));
    batch
}

type Places = BTreeMap<String, Vec<(u16, u64)>>;

/// Everything the log holds, as a reader sees it.
async fn stored(wal: &Wal<FaultyDisk>) -> Result<Places, ReadError> {
    let mut reader = wal.read(None)?;
    let mut places = Places::new();
    let last = wal.durable();
    while last.is_some_and(|last| reader.after < last.0) {
        let block = reader.next().await?.expect("not closed");
        for entry in &block.entries {
            let EntryKind::Events(events) = &entry.kind else { continue };
            for (index, event) in events.events().enumerate() {
                let event = event.expect("decodes");
                places.entry(event.id.to_string()).or_default().push((entry.partition.0, entry.first_offset.0 + index as u64));
            }
        }
    }
    Ok(places)
}

/// Appends batches of a few events until one is refused; returns what was acknowledged.
async fn fill(wal: &Wal<FaultyDisk>, batches: usize) -> Places {
    let mut acknowledged = Places::new();
    for number in 0..batches {
        let numbers: Vec<usize> = (number * 5..number * 5 + 1 + number % 9).collect();
        let Ok(outcomes) = wal.append(batch(numbers.iter().copied())).await else {
            break;
        };
        for (number, outcome) in numbers.into_iter().zip(outcomes) {
            let (Appended::Accepted { partition, offset } | Appended::Duplicate { partition, offset }) = outcome else {
                panic!("content never differs here: {outcome:?}");
            };
            let places = acknowledged.entry(format!("e{number}")).or_default();
            assert!(places.is_empty() || places == &[(partition.0, offset.0)], "a duplicate is told its first place");
            *places = vec![(partition.0, offset.0)];
        }
    }
    acknowledged
}

fn assert_holds(stored: &Places, acknowledged: &Places, what: &str) {
    for (id, places) in acknowledged {
        assert_eq!(stored.get(id), Some(places), "{what}: {id}");
    }
    assert!(stored.values().all(|places| places.len() == 1), "{what}: stored twice");
}

#[tokio::test]
async fn what_is_appended_is_read_back_in_order_also_from_disk_and_after_reopening() {
    let disk = FaultyDisk::default();
    let wal = open(&disk).expect("opens");
    let acknowledged = fill(&wal, 200).await;
    assert!(segment::list(&disk).expect("lists").len() > 3, "several segments");
    assert_eq!(stored(&wal).await.expect("reads"), acknowledged);
    wal.close().await;
    let wal = open(&disk).expect("opens again");
    assert_eq!(stored(&wal).await.expect("reads"), acknowledged);
    let again = wal.append(batch(5..7)).await.expect("answered");
    assert!(again.iter().all(|outcome| matches!(outcome, Appended::Duplicate { .. })), "{again:?}");
}

#[tokio::test]
async fn a_reader_that_waits_sees_each_block_once_and_ends_when_the_log_closes() {
    let disk = FaultyDisk::default();
    let wal = open(&disk).expect("opens");
    let mut reader = wal.read(None).expect("a reader");
    let reading = async move {
        let mut numbers = Vec::new();
        while let Some(block) = reader.next().await.expect("reads") {
            numbers.push(block.number.0);
        }
        numbers
    };
    let writing = async {
        fill(&wal, 50).await;
        wal.close().await;
    };
    let (numbers, ()) = tokio::join!(reading, writing);
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
    assert!(!numbers.is_empty());
    assert!(matches!(wal.append(batch(0..1)).await, Err(AppendError::Closing)));
}

#[tokio::test]
async fn a_log_cut_at_any_byte_of_its_last_blocks_keeps_the_blocks_before() {
    let disk = FaultyDisk::default();
    let wal = open(&disk).expect("opens");
    let mut ends = vec![usize::try_from(segment::HEADER_BYTES).expect("small")];
    for number in 0..6 {
        wal.append(batch(number * 3..number * 3 + 3)).await.expect("appended");
        let bytes = disk.bytes(&segment::name(BlockNumber(1)));
        ends.push(bytes.iter().rposition(|byte| *byte != 0).expect("content") + 1);
    }
    for cut in ends[3]..=ends[6] {
        let copy = disk.copy();
        copy.edit(&segment::name(BlockNumber(1)), |bytes| bytes[cut..].fill(0));
        let whole = ends.iter().rposition(|end| *end <= cut).expect("the header at least");
        let wal = open(&copy).expect("a torn tail is cut");
        assert_eq!(wal.durable().map_or(0, |block| block.0), whole as u64, "cut at {cut}");
        assert_eq!(stored(&wal).await.expect("reads").len(), whole * 3);
        let outcome = wal.append(batch(900..901)).await.expect("goes on");
        assert!(matches!(outcome[0], Appended::Accepted { .. }));
    }
}

#[tokio::test]
async fn every_flipped_bit_before_the_last_block_is_detected() {
    let disk = FaultyDisk::default();
    let wal = open(&disk).expect("opens");
    fill(&wal, 60).await;
    wal.close().await;
    let newest = *segment::list(&disk).expect("lists").last().expect("one");
    for first in segment::list(&disk).expect("lists") {
        let name = segment::name(first);
        let bytes = disk.bytes(&name);
        let starts: Vec<usize> = bytes.windows(4).enumerate().filter(|(_, w)| *w == codec::MAGIC).map(|(at, _)| at).collect();
        let end = if first == newest { *starts.last().expect("a block") } else { bytes.iter().rposition(|byte| *byte != 0).expect("content") + 1 };
        for at in (0..end).filter(|at| (64..).contains(at) || *at < 34 || *at >= 60).step_by(3) {
            let copy = disk.copy();
            copy.edit(&name, |bytes| bytes[at] ^= 1 << (at % 8));
            assert!(matches!(open(&copy), Err(OpenError::Read(ReadError::Corrupt { .. }))), "{name} at {at}");
        }
    }
}

#[tokio::test]
async fn repair_puts_a_corrupt_block_aside_and_keeps_all_others() {
    let disk = FaultyDisk::default();
    let wal = open(&disk).expect("opens");
    for number in 0..6 {
        wal.append(batch(number * 3..number * 3 + 3)).await.expect("appended");
    }
    wal.close().await;
    let name = segment::name(BlockNumber(1));
    let third = disk.bytes(&name).windows(4).enumerate().filter(|(_, w)| *w == codec::MAGIC).nth(2).expect("six blocks").0;
    disk.edit(&name, |bytes| bytes[third + 50] ^= 1);
    assert!(open(&disk).is_err());
    let wal = Wal::open_in(disk.clone(), WalOptions { repair: true, ..options() }, clock()).expect("repaired");
    assert_eq!(stored(&wal).await.expect("reads").len(), 15);
    wal.close().await;
    assert!(open(&disk).is_ok(), "repaired for good");
    assert!(disk.names().iter().any(|name| name.starts_with("quarantine-")));
}

#[tokio::test]
async fn an_error_at_any_call_loses_nothing_acknowledged_and_stores_nothing_twice() {
    let disk = FaultyDisk::default();
    let wal = open(&disk).expect("opens");
    fill(&wal, 40).await;
    let calls = disk.calls();
    assert!(calls > 50);
    for fault in [Fault::Eio, Fault::ShortWrite, Fault::NoSpace] {
        for call in 1..=calls {
            let disk = FaultyDisk::default();
            disk.fail_at(call, fault);
            let acknowledged = match open(&disk) {
                Ok(wal) => {
                    let acknowledged = fill(&wal, 40).await;
                    wal.close().await;
                    acknowledged
                }
                Err(_) => Places::new(),
            };
            let wal = open(&disk.copy()).expect("recovers");
            fill(&wal, 40).await;
            assert_holds(&stored(&wal).await.expect("reads"), &acknowledged, &format!("{fault:?} at call {call}"));
        }
    }
}

#[tokio::test]
async fn a_full_disk_refuses_and_the_lane_goes_on_when_there_is_room_again() {
    let disk = FaultyDisk::default();
    let wal = open(&disk).expect("opens");
    disk.set_full(true);
    let mut number = 0;
    let refused = loop {
        number += 1;
        match wal.append(batch(number..=number)).await {
            Ok(_) => assert!(number < 1000, "a segment's own bytes end"),
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, AppendError::DiskFull), "{refused:?}");
    assert!(number > 10, "a segment's own bytes are there already, however full the disk");
    disk.set_full(false);
    let again = wal.append(batch(number..=number)).await.expect("there is room again");
    assert!(matches!(again[0], Appended::Accepted { .. }), "nothing of the refused one was kept: {again:?}");
}

#[tokio::test]
async fn a_power_cut_at_any_moment_with_any_unsynced_pages_lost_loses_nothing_acknowledged() {
    let seeds = if std::env::var_os("WAYPOST_SOAK").is_some() { 20_000 } else { 500 };
    let disk = FaultyDisk::default();
    fill(&open(&disk).expect("opens"), 40).await;
    let calls = disk.calls();
    for seed in 0..seeds {
        let disk = FaultyDisk::default();
        disk.fail_at(1 + seed % calls, Fault::PowerCut);
        let acknowledged = match open(&disk) {
            Ok(wal) => fill(&wal, 40).await,
            Err(_) => Places::new(),
        };
        let found = disk.after_crash(seed);
        let wal = open(&found).unwrap_or_else(|error| panic!("seed {seed}: {error:?}"));
        assert_holds(&stored(&wal).await.expect("reads"), &acknowledged, &format!("seed {seed}"));
        fill(&wal, 40).await;
        assert_holds(&stored(&wal).await.expect("reads"), &acknowledged, &format!("seed {seed}, sent again"));
    }
}

#[tokio::test]
async fn a_dedup_snapshot_spares_the_reading_and_changes_no_answer() {
    let disk = FaultyDisk::default();
    let wal = open(&disk).expect("opens");
    let acknowledged = fill(&wal, 30).await;
    let before = wal.durable().expect("blocks");
    wal.release(before);
    wal.append(batch(5000..5001)).await.expect("appended");
    wal.close().await;
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while wal.shared.snapshot().0 == 0 {
        assert!(std::time::Instant::now() < deadline, "the snapshot is written");
        std::thread::yield_now();
    }
    let wal = open(&disk).expect("opens");
    assert!(wal.shared.snapshot() >= before);
    assert_eq!(fill(&wal, 30).await, acknowledged, "all duplicates at their first places");
}

#[tokio::test]
async fn another_number_of_partitions_is_refused() {
    let disk = FaultyDisk::default();
    drop(open(&disk).expect("opens"));
    let error = Wal::open_in(disk, WalOptions { partitions: 8, ..options() }, clock()).expect_err("refused");
    assert!(matches!(error, OpenError::Partitions { found: 4, wanted: 8 }));
}
