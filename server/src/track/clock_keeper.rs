//! Has the log tell the time when something is due and nothing arrives, so that folds never read a clock. At most one record a second and partition.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::log::EventLog;
use crate::model::id::PartitionId;

/// Runs until `stop`. `due` holds when something is due (Unix milliseconds), for each partition and then for whoever listens to all of them: those are
/// told by any partition's clock, and get the first one's.
pub async fn run<L: EventLog>(log: Arc<L>, due: Vec<Arc<AtomicI64>>, clock: Clock, stop: CancellationToken) {
    let mut second = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = second.tick() => {}
        }
        let now = clock.now().0;
        let partitions = log.partitions();
        let overdue = (0_u16..).zip(&due).filter(|(_, due)| due.load(Ordering::Acquire) <= now);
        let mut overdue: Vec<PartitionId> = overdue.map(|(index, _)| PartitionId(if index < partitions { index } else { 0 })).collect();
        overdue.sort_unstable();
        overdue.dedup();
        if overdue.is_empty() {
            continue;
        }
        if let Err(error) = log.append_clock(overdue).await {
            tracing::warn!(%error, "time could not be written to the log; what is due waits");
        }
    }
}
