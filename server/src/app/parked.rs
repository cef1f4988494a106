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
        let (outcome, detail) = match parking::retry(state, &parked) {
            Retried::Applied => ("applied", "was applied by a later start".to_owned()),
            Retried::Panicked(words) => ("failed", words),
            Retried::ComesByItself => continue,
        };
        let (partition, offset) = (parked.place.partition.0, parked.place.offset.0);
        // Why it failed is in the letter alone: a panic's words may quote the event.
        tracing::info!(partition, offset, outcome, "an event that could not be applied was tried again");
        by_tenant.entry(parked.tenant).or_insert_with(Vec::new).push((parked.cursor, detail));
    }
    for (tenant, tried) in by_tenant {
        let fault = |detail| Fault { reason: Reason::APPLY_PANIC, pointer: "", detail };
        let noted = tried.iter().map(|(cursor, detail)| RefusedAgain { cursor: *cursor, fault: fault(detail) }).collect();
        letters.settle(tenant, Vec::new(), noted).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::clock::Clock;
    use crate::dead_letters::Bounds;
    use crate::dead_letters::filter::Filter;
    use crate::dead_letters::letter::{Letter, Place};
    use crate::formats::claims::Claims;
    use crate::log::record;
    use crate::logging::tests::said;
    use crate::model::event::Event;
    use crate::model::id::{Offset, PartitionId};
    use crate::model::time::UnixMs;
    use crate::track::sample::{LIMITS, event, location};

    fn letter(offset: u64, event: &Event) -> Letter {
        let mut record = Vec::new();
        record::encode(event, &mut record);
        let claims = Claims { event_id: event.id.to_string(), actor: "ann".to_owned(), schema_version: Some(1) };
        Letter::parked(event.tenant, Place { partition: PartitionId(3), offset: Offset(offset) }, "as it was", claims, record, UnixMs(5))
    }

    #[test]
    fn what_became_of_an_event_is_in_the_log_and_the_words_of_its_panic_are_in_its_letter_alone() {
        let said = said(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let folder = tempfile::tempdir().expect("a folder");
                let bounds = Bounds { max_bytes: 1 << 20, max_age: Duration::from_hours(1) };
                let (letters, writer) = DeadLetters::open(folder.path(), bounds, Clock::System).await.expect("opens");
                let stop = CancellationToken::new();
                let work = async {
                    let at = |id: &str, time| event(id, time, Some("ann"), None, location(57.0));
                    letters.keep(vec![letter(1, &at("e1", 1)), letter(2, &at("panic-joined-2", 2))]).await;
                    let mut state = PartitionState::new(PartitionId(3), LIMITS);
                    state.apply(Offset(3), UnixMs(5), &at("e3", 3), &mut drop);
                    retry(&letters, &mut [state]).await;
                    let page = letters.page(at("e1", 1).tenant, &Filter::default(), None, 10).await.expect("reads");
                    let details: Vec<_> = page.letters.iter().map(|kept| kept.about.detail.as_str()).collect();
                    assert_eq!(details, ["asked for by panic-joined-2", "was applied by a later start"]);
                    stop.cancel();
                };
                tokio::join!(work, writer.run(stop.clone()));
                letters.close().await;
            });
        });
        assert!(!said.contains("asked for"), "{said}");
        for (offset, outcome) in [(1, "applied"), (2, "failed")] {
            let told = |line: &str| line.contains("was tried again") && line.contains(&format!("partition=3 offset={offset} outcome=\"{outcome}\""));
            assert!(said.lines().any(told), "{offset}: {said}");
        }
    }
}
