//! The task of one marker shard: takes facts as they come, answers questions, tells the map about once a beat. Never waits for the map: when that is slow, changes merge.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use metrics::{Counter, Gauge, counter, gauge};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::fold::Fold;
use super::settings::MarkerSettings;
use crate::attention::Attention;
use crate::beat::Beat;
use crate::courtesy;
use crate::model::change::{Carrier, ChangeParts, FactChanges, MarkerChanges};
use crate::model::id::TenantId;
use crate::model::marker::Marker;

/// `next_due` when no link has to change.
pub const NOTHING_DUE: i64 = i64::MAX;

/// How many facts are applied before the task looks at its clock and its questions again.
const MAX_CHANGES_A_TURN: usize = 8 * 1024;

/// A shard tells at most about 125,000 changes a second, unless markers would be older than `MOST_TICKS`.
const REST_AFTER_A_CHANGE: Duration = Duration::from_micros(8);
const MOST_TICKS: u32 = 6;

/// Those near a stop are told no more often: a ping that comes meanwhile gets the hint of a second ago.
const PUBLISHES_EVERY: Duration = Duration::from_secs(1);

/// A question to the shard that owns the carrier (`Carrier::shard`). Who asks bounds its queue and waits when that is full.
#[derive(Debug)]
pub struct MarkerQuery {
    pub tenant: TenantId,
    pub carrier: Carrier,
    /// Told the marker as the facts have it now.
    pub reply: oneshot::Sender<Option<Marker>>,
}

/// What a shard is and whom it tells besides the map.
#[derive(Debug)]
pub struct Shard {
    pub index: usize,
    pub settings: MarkerSettings,
    pub beat: Beat,
    /// Holds the log time (Unix milliseconds) at which a link changes if nothing more is heard, else `NOTHING_DUE`: whoever keeps the clock
    /// appends a clock record then.
    pub next_due: Arc<AtomicI64>,
    pub attention: Arc<Attention>,
}

/// Runs until `input` ends or nobody reads `output` any more. What is merged by then is sent before it ends.
pub async fn run(
    shard: Shard,
    mut input: mpsc::Receiver<FactChanges>,
    mut queries: mpsc::Receiver<MarkerQuery>,
    output: mpsc::Sender<MarkerChanges>,
) {
    let Shard { index: shard, settings, beat, next_due, attention } = shard;
    let mut fold = Fold::new(shard, settings);
    let meters = Meters::new(shard);
    let tick = sleep_until(Instant::now());
    let permit = output.reserve();
    tokio::pin!(tick, permit);
    let (mut tick_is_over, mut asked) = (true, true);
    // The map was told to expect a word, if only that there is nothing.
    let mut promised = false;
    let mut publish_at = Instant::now();
    loop {
        tokio::select! {
            received = input.recv() => match received {
                Some(facts) => apply_queued(&mut fold, facts, &mut input),
                None => break,
            },
            query = queries.recv(), if asked => match query {
                Some(query) => answer(&fold, query),
                None => asked = false,
            },
            () = &mut tick, if !tick_is_over => tick_is_over = true,
            // While the map's queue is full this waits in line, and the other branches go on merging.
            sending = &mut permit, if tick_is_over && (promised || fold.has_news()) => {
                let Ok(sending) = sending else { return };
                permit.set(output.reserve());
                promised = fold.has_news();
                if !promised {
                    sending.send(MarkerChanges { shard, applied: Vec::new(), changes: ChangeParts::default(), again: None });
                    continue;
                }
                let mut told = meters.counted(&mut fold);
                let now = Instant::now();
                let rest = beat.after(now, rest_after(told.changes.len(), beat.length()));
                told.again = Some(rest);
                sending.send(told);
                tick.as_mut().reset(rest);
                if now >= publish_at
                    && let Some(drivers) = fold.take_near_stops()
                {
                    attention.set_near_stops(shard, drivers);
                    publish_at = now + PUBLISHES_EVERY;
                }
                tick_is_over = false;
            }
        }
        next_due.store(fold.next_due().map_or(NOTHING_DUE, |at| at.0), Ordering::Release);
    }
    if fold.has_news()
        && let Ok(sending) = permit.await
    {
        sending.send(meters.counted(&mut fold));
    }
}

/// How long nothing is told after so many changes. A flood is not told at its own pace: what is merged meanwhile costs neither this shard nor
/// the map, and the page interpolates between the fixes that it gets.
fn rest_after(changes: usize, tick: Duration) -> Duration {
    let rest = REST_AFTER_A_CHANGE * u32::try_from(changes).unwrap_or(u32::MAX);
    rest.min(tick * MOST_TICKS).max(tick)
}

/// Applies what was received and what else waits already, so that it is merged into one message.
fn apply_queued(fold: &mut Fold, first: FactChanges, input: &mut mpsc::Receiver<FactChanges>) {
    let mut changes = first.changes.len();
    fold.apply(first);
    while changes < MAX_CHANGES_A_TURN {
        let Ok(facts) = input.try_recv() else { return };
        // A message without changes is work, too.
        let some = facts.changes.len().max(1);
        fold.apply(facts);
        courtesy::worked(some);
        changes += some;
    }
}

fn answer(fold: &Fold, MarkerQuery { tenant, carrier, reply }: MarkerQuery) {
    // Whoever asked may have given up by now; then nobody misses the answer.
    drop(reply.send(fold.marker(&tenant, &carrier)));
}

struct Meters {
    markers: Gauge,
    changes: Counter,
    suppressed: Counter,
}

impl Meters {
    fn new(shard: usize) -> Self {
        Self {
            markers: gauge!("waypost_markers", "shard" => shard.to_string()),
            changes: counter!("waypost_marker_changes_total"),
            suppressed: counter!("waypost_marker_suppressed_total"),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a gauge is an f64; counts of markers are far below 2^52")]
    fn counted(&self, fold: &mut Fold) -> MarkerChanges {
        let changes = fold.take();
        self.changes.increment(changes.changes.len() as u64);
        self.suppressed.increment(fold.take_suppressed());
        self.markers.set(fold.shown() as f64);
        changes
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::JoinHandle;
    use tokio::time::{advance, timeout};

    use super::*;
    use crate::model::change::{FactChange, FactKind, Fix, MarkerChange};
    use crate::model::event::OrderKey;
    use crate::model::id::{DriverId, EventId, Handle, Offset, PartitionId};
    use crate::model::maybe::Maybe;
    use crate::model::position::Position;
    use crate::model::status::Link;
    use crate::model::time::UnixMs;

    const TICK: Duration = Duration::from_millis(100);

    struct Rig {
        input: mpsc::Sender<FactChanges>,
        queries: mpsc::Sender<MarkerQuery>,
        output: mpsc::Receiver<MarkerChanges>,
        next_due: Arc<AtomicI64>,
        task: JoinHandle<()>,
        offset: u64,
    }

    impl Rig {
        fn start(output_capacity: usize) -> Self {
            let (input, facts) = mpsc::channel(1024);
            let (queries, asked) = mpsc::channel(8);
            let (changes, output) = mpsc::channel(output_capacity);
            let next_due = Arc::new(AtomicI64::new(NOTHING_DUE));
            let (settings, beat) = (MarkerSettings::default(), Beat::starting_now(TICK));
            let shard = Shard { index: 3, settings, beat, next_due: Arc::clone(&next_due), attention: Arc::new(Attention::new(4)) };
            #[expect(clippy::disallowed_methods, reason = "the rig waits for the task itself")]
            let task = tokio::spawn(run(shard, facts, asked, changes));
            Self { input, queries, output, next_due, task, offset: 0 }
        }

        /// Sends a ping of `driver` at `lat`, ingested at `log_time`.
        async fn ping(&mut self, driver: &str, lat: f64, log_time: i64) {
            let handle = i64::from(driver.as_bytes()[0]) << 32;
            self.send(log_time, vec![own_fix(driver, lat, log_time, handle)]).await;
        }

        async fn send(&mut self, log_time: i64, changes: Vec<FactChange>) {
            let through = Offset(self.offset);
            self.offset += 1;
            self.input
                .send(FactChanges { partition: PartitionId(7), through, log_time: UnixMs(log_time), announcing: false, changes })
                .await
                .unwrap();
        }

        /// The next message that says something; none when there is none for the tenth part of a tick.
        async fn at_once(&mut self) -> Option<MarkerChanges> {
            let next = async {
                loop {
                    let message = self.output.recv().await?;
                    if message.again.is_some() {
                        return Some(message);
                    }
                }
            };
            timeout(TICK / 10, next).await.ok().flatten()
        }

        async fn settle(&self) {
            for _ in 0..50 {
                tokio::task::yield_now().await;
            }
        }
    }

    fn acme() -> TenantId {
        TenantId::parse("acme").unwrap()
    }

    fn own_fix(driver: &str, lat: f64, log_time: i64, handle: i64) -> FactChange {
        let position = Position::from_degrees(lat, 12.0).unwrap();
        let order = OrderKey { effective_time: UnixMs(log_time), event_id: EventId::parse(&format!("e{log_time}")).unwrap() };
        let fix = Fix { order, position, accuracy_m: Maybe::NONE, speed_mps: Maybe::NONE, heading_deg: Maybe::NONE };
        let kind = FactKind::OwnFix { fix, handle: Handle(handle.unsigned_abs()) };
        FactChange { tenant: acme(), carrier: Carrier::Driver(DriverId::parse(driver).unwrap()), ingest_time: UnixMs(log_time), kind }
    }

    fn puts(message: &MarkerChanges) -> Vec<&Marker> {
        let mut markers = Vec::new();
        for change in message.changes.iter() {
            if let MarkerChange::Put { marker, .. } = change {
                markers.push(marker);
            }
        }
        markers
    }

    #[tokio::test(start_paused = true)]
    async fn a_lone_change_leaves_at_once_and_the_next_one_waits_for_the_tick() {
        let mut rig = Rig::start(8);
        rig.ping("ann", 57.0, 1_000).await;
        let first = rig.at_once().await.expect("leading edge");
        assert_eq!((first.shard, &first.applied[..]), (3, &[(PartitionId(7), Offset(0))][..]));
        assert_eq!(puts(&first)[0].changed(), UnixMs(1_000));
        rig.ping("ann", 57.1, 2_000).await;
        assert!(rig.at_once().await.is_none());
        advance(TICK).await;
        assert_eq!(puts(&rig.at_once().await.expect("the tick"))[0].position().lat_e7(), 571_000_000);
        advance(TICK * 20).await;
        rig.ping("ann", 57.2, 4_000).await;
        assert!(rig.at_once().await.is_some(), "leading edge again after a quiet tick");
    }

    #[tokio::test(start_paused = true)]
    async fn who_told_something_speaks_on_the_beat_it_promised_and_says_so_when_there_is_nothing() {
        let mut rig = Rig::start(8);
        advance(TICK / 4).await;
        rig.ping("ann", 57.0, 1_000).await;
        let promised = rig.at_once().await.expect("leading edge").again.expect("a promise");
        let farewell = rig.output.recv().await.expect("as promised");
        assert!(farewell.again.is_none() && farewell.changes.is_empty() && farewell.applied.is_empty());
        assert!(promised.elapsed() < TICK / 10, "{:?} late", promised.elapsed());
        assert!(timeout(TICK * 5, rig.output.recv()).await.is_err(), "and is silent until there is something");
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_partition_announces_is_sent_when_it_has_told_all_of_it() {
        let mut rig = Rig::start(8);
        let announced = |announcing| {
            let (partition, through, log_time) = (PartitionId(3), Offset(0), UnixMs(1_000));
            FactChanges { partition, through, log_time, announcing, changes: Vec::new() }
        };
        rig.input.send(announced(true)).await.unwrap();
        rig.ping("ann", 57.0, 1_000).await;
        assert!(rig.at_once().await.is_none());
        advance(TICK * 3).await;
        rig.ping("bob", 57.1, 1_000).await;
        assert!(rig.at_once().await.is_none());
        rig.input.send(announced(false)).await.unwrap();
        assert_eq!(puts(&rig.at_once().await.expect("all of it")).len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_gives_one_message_a_tick_with_the_latest_of_each_marker() {
        let mut rig = Rig::start(64);
        let began = Instant::now();
        let mut messages = Vec::new();
        for step in 0..1000_i32 {
            let log_time = 10_000 + i64::from(step);
            let driver = if step % 2 == 0 { "ann" } else { "bob" };
            rig.ping(driver, 50.0 + f64::from(step) / 1000.0, log_time).await;
            advance(Duration::from_millis(1)).await;
            rig.settle().await;
            while let Ok(message) = rig.output.try_recv() {
                messages.push((began.elapsed(), message));
            }
        }
        drop(rig.input);
        rig.task.await.unwrap();
        while let Some(message) = rig.output.recv().await {
            messages.push((began.elapsed(), message));
        }
        // A second, ticks of a tenth, the leading edge and what was left at the end; tokio's timer is a millisecond coarse.
        assert!((10..=12).contains(&messages.len()), "{}", messages.len());
        assert!(messages.iter().all(|(_, message)| puts(message).len() <= 2));
        let after_first = &messages[1].1;
        assert_eq!(puts(after_first).len(), 2);
        assert!(messages.windows(2).all(|pair| pair[0].1.applied[0].1 < pair[1].1.applied[0].1));
        let last = &messages.last().unwrap().1;
        assert_eq!(last.applied, [(PartitionId(7), Offset(999))]);
        let mut latest: Vec<i32> =
            messages.iter().rev().take(2).flat_map(|(_, message)| puts(message)).map(|marker| marker.position().lat_e7()).collect();
        latest.sort_unstable();
        assert!(latest.contains(&509_990_000), "{latest:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_flood_of_markers_the_next_is_told_later_and_never_later_than_six_ticks() {
        let mut rig = Rig::start(64);
        for (crowd, at, expected) in [(100_i64, 1_000_i32, TICK), (30_000, 3_000, TICK * 12 / 5), (200_000, 5_000, TICK * 6)] {
            let changes = (0..crowd).map(|number| own_fix(&format!("driver{number}"), 57.0 + f64::from(at) / 1e5, at.into(), number)).collect();
            rig.send(at.into(), changes).await;
            assert_eq!(puts(&rig.at_once().await.expect("leading edge")).len(), usize::try_from(crowd).unwrap());
            let told = Instant::now();
            rig.ping("ann", 57.0 + f64::from(at) / 1e5, i64::from(at) + 1).await;
            rig.output.recv().await.expect("the tick after it");
            let rest = told.elapsed();
            assert!(rest.abs_diff(expected) <= TICK * 6 / 10, "{rest:?} after {crowd}, not {expected:?}");
            advance(TICK * 7).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_output_merges_and_never_holds_the_input() {
        let mut rig = Rig::start(1);
        rig.ping("ann", 57.0, 1_000).await;
        rig.settle().await;
        // The one place is taken and nobody reads; the input (1,024 places) would fill up if the shard waited.
        for step in 1..=3000_i32 {
            timeout(TICK, rig.ping("ann", 57.0 + f64::from(step) / 10_000.0, 1_000 + i64::from(step))).await.expect("the input is not held up");
            if step % 100 == 0 {
                advance(TICK).await;
                rig.settle().await;
            }
        }
        let first = rig.output.recv().await.expect("the one that had a place");
        assert_eq!(puts(&first)[0].position().lat_e7(), 570_000_000);
        let merged = rig.at_once().await.expect("all the rest in one");
        assert_eq!(merged.applied, [(PartitionId(7), Offset(3000))]);
        let markers = puts(&merged);
        assert_eq!(markers.len(), 1);
        assert_eq!((markers[0].position().lat_e7(), markers[0].changed()), (573_000_000, UnixMs(1_001)));
        advance(TICK * 2).await;
        assert!(rig.at_once().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn positions_are_reported_without_changes_and_obey_the_tick() {
        let mut rig = Rig::start(8);
        rig.send(1_000, Vec::new()).await;
        let message = rig.at_once().await.expect("leading edge");
        assert!(message.changes.is_empty());
        assert_eq!(message.applied, [(PartitionId(7), Offset(0))]);
        for _ in 0..5 {
            rig.send(1_000, Vec::new()).await;
        }
        assert!(rig.at_once().await.is_none());
        advance(TICK).await;
        assert_eq!(rig.at_once().await.expect("the tick").applied, [(PartitionId(7), Offset(5))]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_link_goes_through_its_words_by_clock_records_alone() {
        let mut rig = Rig::start(8);
        rig.ping("ann", 57.0, 1_000).await;
        let mut words = vec![puts(&rig.at_once().await.unwrap())[0].link()];
        loop {
            let due = rig.next_due.load(Ordering::Acquire);
            if due == NOTHING_DUE {
                break;
            }
            advance(TICK * 2).await;
            rig.send(due - 1, Vec::new()).await;
            assert!(rig.at_once().await.unwrap().changes.is_empty(), "not before it is due");
            advance(TICK * 2).await;
            rig.send(due, Vec::new()).await;
            let message = rig.at_once().await.unwrap();
            let marker = puts(&message)[0];
            assert_eq!(marker.changed(), UnixMs(due));
            words.push(marker.link());
        }
        assert_eq!(words, [Link::Live, Link::Delayed, Link::Stale, Link::Lost]);
        advance(TICK * 2).await;
        rig.ping("ann", 57.0, 2_000_000).await;
        assert_eq!(puts(&rig.at_once().await.unwrap())[0].link(), Link::Live);
        assert_eq!(rig.next_due.load(Ordering::Acquire), 2_031_000);
    }

    #[tokio::test(start_paused = true)]
    async fn questions_are_answered_between_ticks_and_after_the_asker_left() {
        let mut rig = Rig::start(8);
        rig.ping("ann", 57.0, 1_000).await;
        rig.ping("ann", 57.000_01, 1_500).await;
        rig.settle().await;
        let (reply, answer) = oneshot::channel();
        let carrier = Carrier::Driver(DriverId::parse("ann").unwrap());
        rig.queries.send(MarkerQuery { tenant: acme(), carrier: carrier.clone(), reply }).await.unwrap();
        assert_eq!(answer.await.unwrap().unwrap().position().lat_e7(), 570_000_100);
        let (reply, answer) = oneshot::channel();
        let tenant = TenantId::parse("other").unwrap();
        rig.queries.send(MarkerQuery { tenant, carrier: carrier.clone(), reply }).await.unwrap();
        assert_eq!(answer.await.unwrap(), None);
        let (reply, answer) = oneshot::channel();
        drop(answer);
        rig.queries.send(MarkerQuery { tenant: acme(), carrier, reply }).await.unwrap();
        drop((rig.input, rig.queries));
        rig.task.await.unwrap();
    }
}
