//! The task of one marker shard: takes up facts, and at most once a tick tells the map the latest of what changed. Never queues versions.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::estimate;
use super::join::{Joined, Wish};
use crate::model::change::{Carrier, FactChange, FactChanges, FactKind, MarkerChange, MarkerChanges};
use crate::model::id::{Offset, PartitionId, TenantId};
use crate::model::status::Status;
use crate::model::time::UnixMs;

/// Messages taken up between two looks at the clock of the tick.
const MESSAGES_AT_ONCE: usize = 64;

type Key = (TenantId, Carrier);

#[derive(Debug, Default)]
struct Shard {
    carriers: HashMap<Key, Joined>,
    /// Changed since the map was told, with the oldest change and the status a delivery ended with.
    dirty: HashMap<Key, (UnixMs, Option<Status>)>,
    applied: HashMap<PartitionId, Offset>,
    /// When a link will be worse, by log time.
    fading: BTreeSet<(UnixMs, Key)>,
    log_time: Option<UnixMs>,
}

/// Runs until `input` ends or the map is gone. The first change after a quiet tick leaves at once.
pub async fn run(shard: usize, mut input: mpsc::Receiver<FactChanges>, output: mpsc::Sender<MarkerChanges>, tick: Duration) {
    let mut state = Shard::default();
    let mut due = Instant::now();
    let mut messages = Vec::with_capacity(MESSAGES_AT_ONCE);
    loop {
        tokio::select! {
            biased;
            // A full output is no reason to wait: changes merge here until there is room.
            permit = output.reserve(), if state.has_news() && Instant::now() >= due => {
                let Ok(permit) = permit else { return };
                permit.send(state.emit(shard));
                due = Instant::now() + tick;
            }
            () = tokio::time::sleep_until(due), if state.has_news() && Instant::now() < due => {}
            count = input.recv_many(&mut messages, MESSAGES_AT_ONCE) => {
                if count == 0 {
                    return;
                }
                messages.drain(..).for_each(|message| state.take_up(message));
            }
        }
    }
}

impl Shard {
    fn has_news(&self) -> bool {
        !self.applied.is_empty() || !self.dirty.is_empty()
    }

    fn take_up(&mut self, message: FactChanges) {
        self.log_time = self.log_time.max(Some(message.log_time));
        self.applied.insert(message.partition, message.through);
        for change in message.changes {
            self.join(change);
        }
        self.fade();
    }

    fn join(&mut self, change: FactChange) {
        let key = (change.tenant, change.carrier);
        let ended = if let FactKind::Alight { ended, .. } = &change.kind { *ended } else { None };
        let joined = self.carriers.entry(key.clone()).or_default();
        joined.join(change.kind, change.ingest_time);
        let dirty = self.dirty.entry(key).or_insert((change.ingest_time, None));
        dirty.0 = dirty.0.min(change.ingest_time);
        dirty.1 = ended.or(dirty.1);
    }

    /// Marks those whose link is worse by now.
    fn fade(&mut self) {
        let Some(now) = self.log_time else { return };
        while let Some((at, key)) = self.fading.pop_first() {
            if at > now {
                self.fading.insert((at, key));
                return;
            }
            if self.carriers.contains_key(&key) {
                self.dirty.entry(key).or_insert((now, None));
            }
        }
    }

    /// Everything the map does not know yet.
    fn emit(&mut self, shard: usize) -> MarkerChanges {
        let now = self.log_time.unwrap_or_default();
        let mut changes = Vec::with_capacity(self.dirty.len());
        for (key, (changed, ended)) in self.dirty.drain() {
            let Some(joined) = self.carriers.get_mut(&key) else {
                continue;
            };
            match joined.settle(&key.0, &key.1, now, changed) {
                Wish::Nothing => metrics::counter!("waypost_marker_suppressed_total").increment(1),
                Wish::Put(marker) => changes.push(MarkerChange::Put(Arc::from(marker))),
                Wish::Remove(handle) => changes.push(MarkerChange::Remove { tenant: key.0.clone(), handle, ended, ingest_time: changed }),
            }
            if joined.is_empty() {
                self.carriers.remove(&key);
            } else if let (_, Some(worse)) = estimate::link(joined.heard(), now) {
                self.fading.insert((worse, key));
            }
        }
        MarkerChanges { shard, applied: self.applied.drain().collect(), changes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::change::Fix;
    use crate::model::event::{Location, OrderKey};
    use crate::model::id::{DriverId, EventId, Handle};
    use crate::model::position::Position;
    use crate::model::status::Link;

    fn ping(time: i64, lat: f64) -> FactChanges {
        let actor = DriverId::parse("d").expect("valid");
        let position = Position::from_degrees(lat, 11.0).expect("valid");
        let location = Location { position, accuracy_m: None, speed_mps: None, heading_deg: None, altitude_m: None, battery: None };
        let order = OrderKey { effective_time: UnixMs(time), event_id: EventId::parse("e").expect("valid") };
        let fix = Arc::new(Fix { order, location, ingest_time: UnixMs(time), actor: actor.clone() });
        let tenant = TenantId::parse("acme").expect("valid");
        let kind = FactKind::OwnFix { fix, handle: Handle(1) };
        let changes = vec![FactChange { tenant, carrier: Carrier::Driver(actor), ingest_time: UnixMs(time), kind }];
        FactChanges { partition: PartitionId(0), through: Offset(time.unsigned_abs()), log_time: UnixMs(time), changes }
    }

    fn clock(time: i64) -> FactChanges {
        FactChanges { changes: Vec::new(), ..ping(time, 57.0) }
    }

    fn start() -> (mpsc::Sender<FactChanges>, mpsc::Receiver<MarkerChanges>, tokio::task::JoinHandle<()>) {
        let (facts, input) = mpsc::channel(1024);
        let (output, markers) = mpsc::channel(1);
        #[expect(clippy::disallowed_methods, reason = "the handle is kept by the test")]
        let task = tokio::spawn(run(0, input, output, Duration::from_millis(100)));
        (facts, markers, task)
    }

    #[tokio::test(start_paused = true)]
    async fn a_lone_change_leaves_at_once_and_a_flood_is_one_message_a_tick_with_the_latest() {
        let (facts, mut markers, _task) = start();
        let begun = Instant::now();
        facts.send(ping(1, 57.0)).await.expect("sent");
        assert_eq!(markers.recv().await.expect("a message").changes.len(), 1);
        assert_eq!(begun.elapsed(), Duration::ZERO);
        for number in 2..200 {
            facts.send(ping(number, 57.0 + number as f64 * 0.01)).await.expect("sent");
        }
        let message = markers.recv().await.expect("a message");
        assert_eq!(begun.elapsed().as_millis(), 100);
        let MarkerChange::Put(marker) = &message.changes[0] else { panic!("a marker") };
        assert_eq!((message.changes.len(), marker.fix_time, marker.changed), (1, UnixMs(199), UnixMs(2)));
        assert_eq!(message.applied, [(PartitionId(0), Offset(199))]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_link_fades_with_log_time_alone() {
        let (facts, mut markers, _task) = start();
        facts.send(ping(0, 57.0)).await.expect("sent");
        markers.recv().await.expect("appears");
        for (time, link) in [(30_000, Link::Delayed), (120_000, Link::Stale), (600_000, Link::Lost)] {
            facts.send(clock(time)).await.expect("sent");
            let message = markers.recv().await.expect("a message");
            let MarkerChange::Put(marker) = &message.changes[0] else { panic!("a marker") };
            assert_eq!(marker.link, link);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_output_merges_and_the_shard_ends_with_its_input() {
        let (facts, mut markers, task) = start();
        for number in 1..50 {
            facts.send(ping(number, 57.0 + number as f64 * 0.01)).await.expect("sent");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(markers.recv().await.expect("the first").applied, [(PartitionId(0), Offset(1))]);
        assert_eq!(markers.recv().await.expect("all others").applied, [(PartitionId(0), Offset(49))]);
        drop(facts);
        task.await.expect("ends");
    }
}
