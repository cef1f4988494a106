//! How far each stage is into each partition: lag as a number, and the wait behind "read your writes". Never holds anything up.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use crate::model::id::{Offset, PartitionId};

/// Shared by all stages. For each partition: `mapped <= tracked <= durable`, each counted as "offsets below this are done".
#[derive(Debug)]
pub struct Progress {
    partitions: Vec<PartitionProgress>,
    /// Counts the map's ticks; wakes those who wait for a position.
    mapped_changed: watch::Sender<u64>,
    tracked_changed: watch::Sender<u64>,
}

#[derive(Debug)]
struct PartitionProgress {
    durable: AtomicU64,
    tracked: AtomicU64,
    /// One for each marker shard: the map has all of that shard's changes below this.
    mapped: Vec<AtomicU64>,
}

/// How far a reader wants the flow to have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The facts: what `/deliveries/{id}` answers from.
    Tracked,
    /// The markers on the map: what every viewport answers from.
    Mapped,
}

impl Progress {
    pub fn new(partitions: u16, marker_shards: usize) -> Self {
        let partition = || PartitionProgress {
            durable: AtomicU64::new(0),
            tracked: AtomicU64::new(0),
            mapped: (0..marker_shards).map(|_| AtomicU64::new(0)).collect(),
        };
        Self {
            partitions: (0..partitions).map(|_| partition()).collect(),
            mapped_changed: watch::Sender::new(0),
            tracked_changed: watch::Sender::new(0),
        }
    }

    pub fn partitions(&self) -> usize {
        self.partitions.len()
    }

    /// Says that every offset up to and including `last` is durable.
    pub fn set_durable(&self, partition: PartitionId, last: Offset) {
        self.partitions[partition.index()].durable.fetch_max(last.0 + 1, Ordering::Release);
    }

    pub fn set_tracked(&self, partition: PartitionId, last: Offset) {
        self.partitions[partition.index()].tracked.fetch_max(last.0 + 1, Ordering::Release);
    }

    /// Wakes those who wait for `Stage::Tracked`; call once after a batch of `set_tracked`.
    pub fn tracked_now(&self) {
        self.tracked_changed.send_modify(|ticks| *ticks += 1);
    }

    pub fn set_mapped(&self, partition: PartitionId, shard: usize, last: Offset) {
        self.partitions[partition.index()].mapped[shard].fetch_max(last.0 + 1, Ordering::Release);
    }

    /// Wakes those who wait for `Stage::Mapped`; call once a tick.
    pub fn mapped_now(&self) {
        self.mapped_changed.send_modify(|ticks| *ticks += 1);
    }

    /// Records that are durable and not yet in `stage`, over all partitions.
    pub fn lag(&self, stage: Stage) -> u64 {
        self.partitions.iter().map(|p| p.durable.load(Ordering::Acquire).saturating_sub(p.reached(stage))).sum()
    }

    /// For each partition the ends of what was dealt and of what is on the map.
    pub fn ends(&self) -> impl Iterator<Item = (u64, u64)> {
        self.partitions.iter().map(|of| (of.durable.load(Ordering::Acquire), of.reached(Stage::Mapped)))
    }

    /// Waits until `stage` has applied all that is durable now; what becomes durable meanwhile is not waited for.
    pub async fn level(&self, stage: Stage) {
        let durable: Vec<u64> = self.partitions.iter().map(|p| p.durable.load(Ordering::Acquire)).collect();
        let is_level = |_: &u64| self.partitions.iter().zip(&durable).all(|(p, durable)| p.reached(stage) >= *durable);
        drop(self.changes_of(stage).wait_for(is_level).await.expect("the sender is in self"));
    }

    /// Waits until `stage` has applied `offset`; false when `timeout` passed first.
    pub async fn wait(&self, stage: Stage, partition: PartitionId, offset: Offset, timeout: Duration) -> bool {
        let Some(of) = self.partitions.get(partition.index()) else {
            return false;
        };
        let mut changed = self.changes_of(stage);
        let reached = changed.wait_for(|_| of.reached(stage) > offset.0);
        tokio::time::timeout(timeout, reached).await.is_ok_and(|waited| waited.is_ok())
    }

    fn changes_of(&self, stage: Stage) -> watch::Receiver<u64> {
        match stage {
            Stage::Tracked => self.tracked_changed.subscribe(),
            Stage::Mapped => self.mapped_changed.subscribe(),
        }
    }
}

impl PartitionProgress {
    fn reached(&self, stage: Stage) -> u64 {
        match stage {
            Stage::Tracked => self.tracked.load(Ordering::Acquire),
            Stage::Mapped => self.mapped.iter().map(|shard| shard.load(Ordering::Acquire)).min().unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_when_every_shard_has_mapped_the_offset() {
        let progress = Progress::new(2, 2);
        let waiting = progress.wait(Stage::Mapped, PartitionId(1), Offset(5), Duration::from_secs(2));
        tokio::pin!(waiting);
        assert!(futures_util::poll!(&mut waiting).is_pending());
        progress.set_durable(PartitionId(1), Offset(5));
        progress.set_mapped(PartitionId(1), 0, Offset(5));
        progress.mapped_now();
        assert_eq!(progress.lag(Stage::Mapped), 6);
        progress.set_mapped(PartitionId(1), 1, Offset(9));
        progress.mapped_now();
        assert!(waiting.await);
        assert_eq!(progress.lag(Stage::Mapped), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_map_is_level_once_every_shard_has_mapped_what_was_durable_at_the_question() {
        let progress = Progress::new(2, 2);
        progress.set_durable(PartitionId(0), Offset(7));
        let level = progress.level(Stage::Mapped);
        tokio::pin!(level);
        assert!(futures_util::poll!(&mut level).is_pending());
        progress.set_durable(PartitionId(1), Offset(0));
        progress.set_mapped(PartitionId(0), 0, Offset(7));
        progress.mapped_now();
        assert!(futures_util::poll!(&mut level).is_pending(), "the other shard has not");
        progress.set_mapped(PartitionId(0), 1, Offset(7));
        progress.mapped_now();
        level.await;
        assert_eq!(progress.lag(Stage::Mapped), 1, "what came meanwhile is not waited for");
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_gives_up_at_its_timeout_and_for_a_partition_that_is_none() {
        let progress = Progress::new(1, 1);
        assert!(!progress.wait(Stage::Tracked, PartitionId(0), Offset(0), Duration::from_secs(2)).await);
        assert!(!progress.wait(Stage::Tracked, PartitionId(1), Offset(0), Duration::from_secs(2)).await);
    }
}
