//! Damage that no crash explains: it is refused by name, and what a repair leaves is whole. Never touches a real disk.

use super::*;
use crate::model::id::Offset;

fn repairing() -> WalOptions {
    WalOptions { repair: true, ..options() }
}

/// A closed log of several segments, and where its events stand.
async fn filled() -> (FaultyDisk, Places) {
    let disk = FaultyDisk::default();
    let wal = open(&disk).expect("opens");
    fill(&wal, 200).await;
    let places = stored(&wal).await.expect("reads");
    wal.close().await;
    assert!(segment::list(&disk).expect("lists").len() > 3, "several segments");
    (disk, places)
}

fn is_corrupt<T>(opened: &Result<T, OpenError>) -> bool {
    matches!(opened, Err(OpenError::Read(ReadError::Corrupt { .. })))
}

/// Repairs the log and returns what it holds; all of it must have stood there before, and new events must go to places never used.
async fn repaired(disk: &FaultyDisk, before: &Places) -> Places {
    assert!(is_corrupt(&open(disk)), "refused without repair");
    let wal = Wal::open_in(disk.clone(), repairing(), clock()).expect("repaired");
    let kept = stored(&wal).await.expect("reads");
    assert!(kept.iter().all(|(id, places)| before.get(id) == Some(places)), "nothing moved");
    let used: Vec<_> = before.values().flatten().copied().collect();
    let lost: Vec<usize> = (0..1008).filter(|n| before.contains_key(&format!("e{n}")) && !kept.contains_key(&format!("e{n}"))).collect();
    assert!(!lost.is_empty());
    for outcome in wal.append(batch(lost.iter().copied())).await.expect("appended") {
        let Appended::Accepted { partition, offset } = outcome else { panic!("a lost event is new again: {outcome:?}") };
        assert!(!used.contains(&(partition.0, offset.0)), "{offset:?} is given twice");
    }
    let after = stored(&wal).await.expect("reads on");
    assert_eq!(after.len(), kept.len() + lost.len());
    wal.close().await;
    let wal = open(disk).expect("repaired for good");
    assert_eq!(stored(&wal).await.expect("reads"), after);
    assert!(disk.names().iter().any(|name| name.starts_with("quarantine-")));
    kept
}

#[tokio::test]
async fn repair_reaches_a_bad_block_in_an_older_segment() {
    let (disk, before) = filled().await;
    let name = segment::name(segment::list(&disk).expect("lists")[1]);
    let bytes = disk.bytes(&name);
    let starts: Vec<usize> = bytes.windows(4).enumerate().filter(|(_, w)| *w == codec::MAGIC).map(|(at, _)| at).collect();
    for bad in [starts[3], *starts.last().expect("blocks")] {
        let copy = disk.copy();
        copy.edit(&name, |bytes| bytes[bad + 60] ^= 4);
        let kept = repaired(&copy, &before).await;
        assert!(kept.len() + 9 >= before.len(), "one block is lost and no more");
    }
}

#[tokio::test]
async fn repair_puts_a_segment_without_a_header_aside() {
    let (disk, before) = filled().await;
    let firsts = segment::list(&disk).expect("lists");
    for first in [firsts[1], *firsts.last().expect("one")] {
        let copy = disk.copy();
        copy.edit(&segment::name(first), |bytes| bytes[20] ^= 1);
        let kept = repaired(&copy, &before).await;
        assert!(kept.len() > before.len() / 2);
    }
}

/// A log whose snapshot stands at its newest block.
async fn with_snapshot() -> (FaultyDisk, Places, BlockNumber) {
    let disk = FaultyDisk::default();
    let wal = open(&disk).expect("opens");
    fill(&wal, 100).await;
    let places = stored(&wal).await.expect("reads");
    let last = wal.durable().expect("blocks");
    wal.release(last);
    wal.close().await;
    assert_eq!(wal.shared.snapshot(), last, "close waits for the snapshot");
    (disk, places, last)
}

#[tokio::test]
async fn a_log_that_lost_what_its_snapshot_saw_is_refused_and_repair_gives_no_place_twice() {
    let (disk, before, last) = with_snapshot().await;
    let newest = segment::name(*segment::list(&disk).expect("lists").last().expect("one"));
    let start = disk.bytes(&newest).windows(4).rposition(|w| w == codec::MAGIC).expect("a block");
    let shortened = disk.copy();
    shortened.edit(&newest, |bytes| bytes[start + 40] ^= 1);
    repaired(&shortened, &before).await;
    let wal = open(&shortened).expect("opens");
    assert!(wal.durable().expect("blocks") > last, "block numbers are not given twice either");

    let gone = disk.copy();
    for first in segment::list(&disk).expect("lists") {
        gone.remove(&segment::name(first)).expect("removed");
    }
    assert!(repaired(&gone, &before).await.is_empty());
}

#[tokio::test]
async fn a_damaged_snapshot_is_done_without_unless_the_logs_beginning_is_gone() {
    let (disk, before, _) = with_snapshot().await;
    disk.edit(snapshot::NAME, |bytes| bytes[99] ^= 1);
    let whole = disk.copy();
    assert_eq!(stored(&open(&whole).expect("reads the whole log")).await.expect("reads"), before);
    let first = segment::list(&disk).expect("lists")[0];
    disk.remove(&segment::name(first)).expect("removed");
    assert!(is_corrupt(&open(&disk)));
    let wal = Wal::open_in(disk.clone(), repairing(), clock()).expect("repaired");
    let greatest = before.values().flatten().map(|(_, offset)| *offset).max().expect("offsets");
    for outcome in wal.append(batch(5000..5020)).await.expect("appended") {
        assert!(matches!(outcome, Appended::Accepted { offset, .. } if offset.0 > greatest), "{outcome:?}");
    }
}

#[tokio::test]
async fn a_newer_format_is_refused_by_name() {
    let (disk, _) = filled().await;
    let name = segment::name(BlockNumber(1));
    disk.edit(&name, |bytes| {
        bytes[7] = 2;
        bytes[60..64].fill(0);
    });
    let Err(OpenError::Read(ReadError::NewerFormat { file, found: 2, supported: 1 })) = open(&disk) else { panic!("refused") };
    assert_eq!(file, name);
}

#[tokio::test]
async fn a_record_written_wrong_is_passed_over_at_the_next_start_and_its_offset_counts() {
    let disk = FaultyDisk::default();
    let wal = Wal::open_in(disk.clone(), WalOptions { partitions: 1, ..options() }, clock()).expect("opens");
    let mut batch = Batch::default();
    (0..3).for_each(|number| batch.push(&event(number), 1));
    let second = batch.items[1].range.start as usize;
    batch.bytes[second..second + 8].fill(0xff);
    wal.append(batch).await.expect("appended");
    let block = wal.read(None).expect("a reader").next().await.expect("reads").expect("a block");
    let EntryKind::Events(records) = &block.entries[0].kind else { panic!("events") };
    assert_eq!(records.events().map(|event| event.is_ok()).collect::<Vec<_>>(), [true, false, true]);
    wal.close().await;
    let wal = Wal::open_in(disk, WalOptions { partitions: 1, ..options() }, clock()).expect("opens again");
    let mut again = Batch::default();
    for number in [0, 2, 3] {
        again.push(&event(number), 1);
    }
    let at = |offset| (PartitionId(0), Offset(offset));
    let (duplicate, accepted) =
        (|(partition, offset)| Appended::Duplicate { partition, offset }, |(partition, offset)| Appended::Accepted { partition, offset });
    assert_eq!(wal.append(again).await.expect("answered"), [duplicate(at(1)), duplicate(at(3)), accepted(at(4))]);
}
