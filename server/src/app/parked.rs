//! Before the partitions start: events that could not be applied once are tried again, for this version may be able to. Holds no rule of the facts.

use std::collections::BTreeMap;

use crate::dead_letters::letter::{Fault, Reason};
use crate::dead_letters::{DeadLetters, DeadLettersError, RefusedAgain};
use crate::track::parking::{self, Retried};
use crate::track::state::PartitionState;

/// Tries them on states that are yet to be announced. A store that fails keeps no server from starting.
pub(super) async fn retry(letters: &DeadLetters, states: &mut [PartitionState]) {
    if let Err(error) = try_retry(letters, states).await {
        tracing::error!(error = &error as &dyn std::error::Error, "events that could not be applied are not tried again at this start");
    }
}

/// Their letters stay and say what became of them: only when a checkpoint holds an event for certain may its letter go, and age sees to that.
async fn try_retry(letters: &DeadLetters, states: &mut [PartitionState]) -> Result<(), DeadLettersError> {
    let mut by_tenant = BTreeMap::new();
    for parked in letters.parked().await? {
        let Some(state) = states.iter_mut().find(|state| state.partition() == parked.place.partition) else { continue };
        let detail = match parking::retry(state, &parked) {
            Retried::Applied => "was applied by a later start".to_owned(),
            Retried::Panicked(words) => words,
            Retried::ComesByItself => continue,
        };
        tracing::info!(
            partition = parked.place.partition.0,
            offset = parked.place.offset.0,
            detail,
            "an event that could not be applied was tried again"
        );
        by_tenant.entry(parked.tenant).or_insert_with(Vec::new).push((parked.cursor, detail));
    }
    for (tenant, tried) in by_tenant {
        let fault = |detail| Fault { reason: Reason::APPLY_PANIC, pointer: "", detail };
        let noted = tried.iter().map(|(cursor, detail)| RefusedAgain { cursor: *cursor, fault: fault(detail) }).collect();
        letters.settle(tenant, Vec::new(), noted).await?;
    }
    Ok(())
}
