//! When something is due in each partition, and how far its time is: what the partitions' tasks write and the clock keeper reads. Never reads a clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use crate::model::id::PartitionId;
use crate::model::time::UnixMs;

/// For each partition when something is due and how far its log time is; read by the clock keeper.
#[derive(Debug)]
pub struct DueTimes {
    partitions: Vec<(AtomicI64, AtomicI64)>,
    /// When something is due in a stage that hears the time of all partitions.
    listeners: Vec<Arc<AtomicI64>>,
}

impl DueTimes {
    pub fn new(partitions: u16) -> Self {
        Self { partitions: (0..partitions).map(|_| (AtomicI64::new(i64::MAX), AtomicI64::new(i64::MIN))).collect(), listeners: Vec::new() }
    }

    /// Also lets time pass when one of `listeners` says that something is due.
    #[must_use]
    pub fn with_listeners(self, listeners: Vec<Arc<AtomicI64>>) -> Self {
        Self { listeners, ..self }
    }

    pub(super) fn set(&self, partition: PartitionId, due: Option<UnixMs>, log_time: UnixMs) {
        let (due_ms, log_time_ms) = &self.partitions[partition.index()];
        due_ms.store(due.map_or(i64::MAX, |due| due.0), Ordering::Relaxed);
        log_time_ms.store(log_time.0, Ordering::Relaxed);
    }

    /// Partitions in which something is due at `now` that their log time has not come to.
    pub fn overdue(&self, now: UnixMs) -> Vec<PartitionId> {
        let overdue = self.partitions.iter().zip(0..).filter(|((due, log_time), _)| {
            let due = due.load(Ordering::Relaxed);
            due <= now.0 && log_time.load(Ordering::Relaxed) < due
        });
        let mut overdue: Vec<PartitionId> = overdue.map(|(_, index)| PartitionId(index)).collect();
        let waiting = self.listeners.iter().any(|due| due.load(Ordering::Relaxed) <= now.0);
        if waiting && overdue.is_empty() {
            // Any partition's clock will do, if it has anyone to tell: one that holds no record tells nobody.
            let speaks = self.partitions.iter().position(|(_, log_time)| log_time.load(Ordering::Relaxed) > i64::MIN);
            overdue.extend(speaks.and_then(|index| u16::try_from(index).ok()).map(PartitionId));
        }
        overdue
    }
}
