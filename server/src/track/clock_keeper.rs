//! Lets log time pass where nothing arrives: asks the log for clock records in partitions where something is due. Never touches a state.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::log::{AppendError, EventLog};
use crate::track::due_times::DueTimes;

/// At most one clock record a partition in this time.
const EVERY: Duration = Duration::from_secs(1);

/// Runs until `stop` or until the log takes nothing any more.
pub async fn run<L: EventLog>(log: Arc<L>, due_times: Arc<DueTimes>, clock: Clock, stop: CancellationToken) {
    let mut seconds = tokio::time::interval(EVERY);
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = seconds.tick() => {}
        }
        let overdue = due_times.overdue(clock.now());
        if overdue.is_empty() {
            continue;
        }
        match log.append_clock(overdue).await {
            Ok(()) => {}
            // What is due stays due: the next second asks again.
            Err(error @ (AppendError::Overloaded | AppendError::DiskFull)) => tracing::debug!(%error, "no clock record this second"),
            Err(AppendError::Poisoned(_) | AppendError::Closing) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::model::id::PartitionId;
    use crate::model::time::UnixMs;
    use crate::track::sample::NotingLog;

    #[tokio::test(start_paused = true)]
    async fn a_clock_record_is_asked_for_once_a_second_while_something_is_overdue_and_only_there() {
        let (log, due_times, clock, stop) =
            (Arc::new(NotingLog::default()), Arc::new(DueTimes::new(2)), ManualClock::new(UnixMs(100)), CancellationToken::new());
        due_times.set(PartitionId(1), Some(UnixMs(2000)), UnixMs(50));
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(run(Arc::clone(&log), Arc::clone(&due_times), Clock::Manual(clock.clone()), stop.clone()));
        tokio::time::sleep(Duration::from_millis(3500)).await;
        assert!(log.clocks.lock().unwrap().is_empty(), "nothing is due yet");
        clock.advance(Duration::from_millis(1900));
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(*log.clocks.lock().unwrap(), [[PartitionId(1)], [PartitionId(1)]]);
        due_times.set(PartitionId(1), None, UnixMs(2000));
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(log.clocks.lock().unwrap().len(), 2);
        stop.cancel();
        tasks.join_next().await.unwrap().unwrap();
    }
}
