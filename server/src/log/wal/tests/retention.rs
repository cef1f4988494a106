//! What goes and what stays: retired and recycled segments, late stamps, full queues, segments made ahead on a real disk.

use super::*;

fn small() -> WalOptions {
    WalOptions { max_bytes: 3 * (16 << 10), ..options() }
}

/// Everything a fold has seen is released after every few batches, so that segments are retired and recycled all along.
async fn fill_and_release(wal: &Wal<FaultyDisk>, batches: std::ops::Range<usize>) -> Places {
    let mut acknowledged = Places::new();
    for number in batches {
        let Ok(outcomes) = wal.append(batch(number * 5..number * 5 + 5)).await else { break };
        for (number, outcome) in (number * 5..).zip(outcomes) {
            let (Appended::Accepted { partition, offset } | Appended::Duplicate { partition, offset }) = outcome else {
                panic!("content never differs here: {outcome:?}");
            };
            acknowledged.insert(format!("e{number}"), vec![(partition.0, offset.0)]);
        }
        if number % 7 == 0 {
            wal.release(wal.durable().expect("blocks"));
        }
    }
    acknowledged
}

/// Closes the log and lets a fresh start retire what may go: by then every snapshot is written.
async fn settle(wal: &Wal<FaultyDisk>, disk: &FaultyDisk, options: WalOptions, clock: Clock) {
    wal.release(wal.durable().expect("blocks"));
    wal.close().await;
    let wal = Wal::open_in(disk.clone(), options, clock).expect("opens");
    wal.release(wal.durable().expect("blocks"));
    wal.close().await;
}

#[tokio::test]
async fn segments_beyond_the_size_go_once_released_and_duplicates_of_what_was_in_them_are_still_known() {
    let disk = FaultyDisk::default();
    let wal = Wal::open_in(disk.clone(), small(), clock()).expect("opens");
    fill(&wal, 300).await;
    assert!(segment::list(&disk).expect("lists").len() > 6, "nothing goes that a fold may need");
    let mut slow = wal.read(None).expect("a reader");
    slow.next().await.expect("reads").expect("a block");
    let acknowledged = fill_and_release(&wal, 300..700).await;
    // A snapshot comes only once the log has grown by its size, on a thread of its own: go on until one has let the old segments go.
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    let mut later = 0;
    while segment::list(&disk).expect("lists").len() > 5 || !disk.names().iter().any(|name| name == "spare") {
        assert!(std::time::Instant::now() < deadline, "still kept: {:?}", disk.names());
        wal.append(batch(100_000 + later..100_001 + later)).await.expect("appended");
        wal.release(wal.durable().expect("blocks"));
        later += 1;
        tokio::task::yield_now().await;
    }
    assert!(segment::list(&disk).expect("lists")[0] > BlockNumber(300));
    assert!(matches!(slow.next().await, Ok(Some(_)) | Err(ReadError::Gone { .. })));
    assert!(matches!(wal.read(Some(BlockNumber(3))), Err(ReadError::Gone { .. })));

    wal.close().await;
    let wal = Wal::open_in(disk.clone(), small(), clock()).expect("opens again");
    let again = fill_and_release(&wal, 300..700).await;
    assert_eq!(again, acknowledged, "each at its first place");
    assert_eq!(wal.stats().dedup_ids, acknowledged.len() + stored_before(300) + later);
}

/// How many different events `fill` sends.
fn stored_before(batches: usize) -> usize {
    let numbers: std::collections::BTreeSet<usize> = (0..batches).flat_map(|n| n * 5..n * 5 + 1 + n % 9).filter(|n| *n < 1500).collect();
    numbers.len()
}

#[tokio::test]
async fn a_reader_that_retention_overtakes_is_told_so() {
    let disk = FaultyDisk::default();
    let wal = Wal::open_in(disk.clone(), small(), clock()).expect("opens");
    fill(&wal, 200).await;
    let mut slow = wal.read(None).expect("a reader");
    fill_and_release(&wal, 300..700).await;
    settle(&wal, &disk, small(), clock()).await;
    assert!(matches!(slow.next().await, Err(ReadError::Gone { wanted: BlockNumber(1), .. })));
}

#[tokio::test]
async fn a_reader_beyond_the_end_of_the_log_is_told_so() {
    let wal = open(&FaultyDisk::default()).expect("opens");
    assert!(matches!(wal.read(Some(BlockNumber(1))), Err(ReadError::Ahead { .. })));
}

#[tokio::test]
async fn segments_older_than_the_age_kept_go_once_released() {
    let disk = FaultyDisk::default();
    let manual = ManualClock::new(UnixMs(1_790_000_000_000));
    let wal = Wal::open_in(disk.clone(), options(), Clock::Manual(manual.clone())).expect("opens");
    fill(&wal, 200).await;
    let before = segment::list(&disk).expect("lists").len();
    manual.advance(Duration::from_hours(73));
    fill(&wal, 1).await;
    wal.append(batch(9000..9001)).await.expect("appended");
    settle(&wal, &disk, options(), Clock::Manual(manual)).await;
    let left = segment::list(&disk).expect("lists").len();
    assert!(left < before && left <= 2, "{before} segments became {left}");
    assert_eq!(open(&disk).expect("opens").stats().segments, left);
}

#[tokio::test]
async fn a_power_cut_while_segments_are_recycled_loses_nothing_that_was_not_released() {
    let disk = FaultyDisk::default();
    fill_and_release(&Wal::open_in(disk.clone(), small(), clock()).expect("opens"), 0..120).await;
    let calls = disk.calls();
    for seed in 0..150 {
        let disk = FaultyDisk::default();
        // Spread over the second half, where segments are retired.
        disk.fail_at(calls / 2 + seed * 7919 % (calls / 2), Fault::PowerCut);
        let wal = Wal::open_in(disk.clone(), small(), clock()).expect("opens");
        let acknowledged = fill_and_release(&wal, 0..120).await;
        wal.close().await;
        let found = disk.after_crash(seed);
        let wal = Wal::open_in(found, small(), clock()).unwrap_or_else(|error| panic!("seed {seed}: {error:?}"));
        let again = fill_and_release(&wal, 0..120).await;
        for (id, place) in &acknowledged {
            assert_eq!(again.get(id), Some(place), "seed {seed}: {id} is a duplicate of its first place");
        }
        // The releases at the end are worked off first: reading while segments go is another test.
        wal.close().await;
        let held = stored(&wal).await.expect("reads");
        assert!(held.values().all(|places| places.len() == 1), "seed {seed}: stored twice");
    }
}

#[tokio::test]
async fn requests_at_once_share_blocks_and_a_power_cut_keeps_each_that_was_answered() {
    for seed in 0..60 {
        let disk = FaultyDisk::default();
        let wal = open(&disk).expect("opens");
        disk.fail_at(disk.calls() + 1 + seed % 30, Fault::PowerCut);
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..60 {
            let wal = Arc::clone(&wal);
            tasks.spawn(async move { (number, wal.append(batch(number * 3..number * 3 + 5)).await) });
        }
        let mut acknowledged = Places::new();
        for (number, outcomes) in tasks.join_all().await {
            for (event, outcome) in (number * 3..).zip(outcomes.unwrap_or_default()) {
                let (Appended::Accepted { partition, offset } | Appended::Duplicate { partition, offset }) = outcome else {
                    panic!("content never differs here: {outcome:?}");
                };
                let place = vec![(partition.0, offset.0)];
                assert_eq!(acknowledged.entry(format!("e{event}")).or_insert(place.clone()), &place, "one place for all copies");
            }
        }
        wal.close().await;
        let wal = open(&disk.after_crash(seed)).unwrap_or_else(|error| panic!("seed {seed}: {error:?}"));
        assert_holds(&stored(&wal).await.expect("reads"), &acknowledged, &format!("seed {seed}"));
    }
}

#[tokio::test]
async fn an_event_older_than_the_window_is_late_in_memory_and_on_disk() {
    let disk = FaultyDisk::default();
    let wal = open(&disk).expect("opens");
    wal.append(batch(7..8)).await.expect("appended");
    let mut old = event(14);
    old.event_time = UnixMs(1_790_000_000_000 - 661_000);
    let mut late = Batch::default();
    late.push(&old, 4);
    wal.append(late).await.expect("appended");
    let from_memory = wal.read(Some(BlockNumber(1))).expect("a reader").next().await.expect("reads").expect("a block");
    wal.close().await;
    let wal = open(&disk).expect("opens");
    let from_disk = wal.read(Some(BlockNumber(1))).expect("a reader").next().await.expect("reads").expect("a block");
    assert_eq!(from_memory, from_disk);
    let EntryKind::Events(events) = &from_disk.entries[0].kind else { panic!("events") };
    assert!(events.events().all(|event| event.expect("decodes").stamp.late));
}

#[tokio::test]
async fn a_clock_record_passes_time_and_takes_no_offset() {
    let disk = FaultyDisk::default();
    let manual = ManualClock::new(UnixMs(1000));
    let wal = Wal::open_in(disk, options(), Clock::Manual(manual.clone())).expect("opens");
    manual.advance(Duration::from_secs(5));
    wal.append_clock(vec![PartitionId(1), PartitionId(3)]).await.expect("appended");
    let block = wal.read(None).expect("a reader").next().await.expect("reads").expect("a block");
    assert_eq!(block.ingest_time, UnixMs(6000));
    let entries: Vec<_> = block.entries.iter().map(|entry| (entry.partition.0, entry.kind == EntryKind::Clock, entry.first_offset.0)).collect();
    assert_eq!(entries, [(1, true, 1), (3, true, 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_refuses_after_a_while_and_forgets_nothing_it_took() {
    let disk = FaultyDisk::default();
    let wal = Wal::open_in(disk.clone(), WalOptions { queue_bytes: 1 << 10, ..options() }, clock()).expect("opens");
    let stalled = disk.stall();
    let mut first = tokio::task::JoinSet::new();
    first.spawn({
        let wal = Arc::clone(&wal);
        async move { wal.append(batch(0..1)).await }
    });
    tokio::task::yield_now().await;
    assert!(matches!(wal.append(batch(1..2)).await, Err(AppendError::Overloaded)));
    drop(stalled);
    tokio::time::resume();
    assert!(matches!(first.join_next().await.expect("one").expect("no panic").expect("durable")[0], Appended::Accepted { .. }));
    assert!(wal.append(batch(1..2)).await.is_ok());
}

#[tokio::test]
async fn segments_on_a_real_disk_are_made_ahead_and_filled_one_after_the_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = WalOptions { partitions: 4, segment_bytes: 1 << 20, ring_bytes: 1 << 16, ..WalOptions::default() };
    let wal = Wal::open(folder.path(), options, clock()).expect("opens");
    for number in 0..30 {
        wal.append(batch(number * 1000..number * 1000 + 1000)).await.expect("appended");
    }
    let last = wal.durable().expect("blocks");
    let mut reader = wal.read(None).expect("a reader");
    let mut events = 0;
    while reader.after < last.0 {
        for entry in &reader.next().await.expect("reads").expect("a block").entries {
            events += if let EntryKind::Events(events) = &entry.kind { events.len() } else { 0 };
        }
    }
    assert_eq!(events, 30_000);
    assert!(wal.stats().segments >= 3);
    wal.close().await;
    let wal = Wal::open(folder.path(), options, clock()).expect("opens again");
    assert_eq!(wal.durable(), Some(last));
}

#[tokio::test]
async fn small_blocks_count_in_memory_as_what_they_hold_and_not_as_what_they_say() {
    let options = WalOptions { segment_bytes: 1 << 20, ring_bytes: 16 * 4096, ..options() };
    let wal = Wal::open_in(FaultyDisk::default(), options, clock()).expect("opens");
    for number in 0..40 {
        wal.append(batch(number..=number)).await.expect("appended");
    }
    // Each is some 200 bytes in a buffer of more than a page.
    assert!(wal.shared.recent(40).is_some() && wal.shared.recent(24).is_none());
    wal.close().await;
}
