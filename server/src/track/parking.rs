//! Applies one event so that a panic in it stays its own: the event becomes a letter, what it left half done is set right, and the partition goes on. Holds no rule
//! of the facts.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use metrics::counter;

use crate::dead_letters::Parked;
use crate::dead_letters::letter::{Letter, Place};
use crate::formats::claims::Claims;
use crate::log::record;
use crate::log::record::decode::Decoder;
use crate::model::change::{Carrier, FactChange, FactKind};
use crate::model::event::Event;
use crate::model::id::{Handle, Offset};
use crate::model::time::UnixMs;
use crate::track::delivery::Joined;
use crate::track::expiry::Due;
use crate::track::state::{PartitionState, leaves_map_at, next_step, tell_of_delivery};

/// Joins the event at `offset`, or returns it as a letter when the fold panics over it.
///
/// That the fold was left in the middle of an event is safe because a join is made of whole steps, each of which alone is a join of something that was really
/// said: an entity is inserted with its place in the queue of what is due before anything is joined into it, and a fact is replaced by a value or not at all. So
/// the facts are those of an event that said less. What follows from facts and may be missing (a marker that changes carriers, a time to leave the map) is made
/// up for by `mend`.
pub(super) fn apply(
    state: &mut PartitionState,
    offset: Offset,
    ingest_time: UnixMs,
    event: &Event,
    tell: &mut impl FnMut(FactChange),
) -> Result<(), Box<Letter>> {
    let Err(mut panic) = caught(|| state.apply(offset, ingest_time, event, tell)) else { return Ok(()) };
    if state.applied() < Some(offset) {
        // The event was not reached: what came due before it panicked, and has left its queue by that. Nothing is due a second time.
        report_due(state);
        match caught(|| state.apply(offset, ingest_time, event, tell)) {
            Ok(()) => return Ok(()),
            Err(again) => panic = again,
        }
    }
    let place = Place { partition: state.partition(), offset };
    // An entity that cannot even be told of stays as the stages after this one know it.
    let mended = caught(|| state.mend(ingest_time, event, tell)).is_ok();
    counter!("waypost_apply_panics_total").increment(1);
    // Its words are in the letter alone: they may quote the event.
    tracing::error!(partition = place.partition.0, offset = offset.0, mended, "an event could not be applied; it is kept as a dead letter");
    Err(Box::new(letter(place, ingest_time, event, &words(panic.as_ref()))))
}

/// What became of an event that was tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Retried {
    Applied,
    /// Over it the fold panics still, with these words, which are for its letter alone.
    Panicked(String),
    /// It stands after all that is applied: the log will bring it.
    ComesByItself,
}

/// Joins an event that could not be applied once. For a state that is yet to be announced: of what follows nobody is told. An event that is joined
/// already changes nothing, so it may be tried at every start, as long as its letter is kept: a checkpoint of before may not hold it.
pub fn retry(state: &mut PartitionState, parked: &Parked) -> Retried {
    if state.applied() < Some(parked.place.offset) {
        return Retried::ComesByItself;
    }
    let event = match Decoder::default().decode(&parked.record) {
        Ok(event) => event,
        Err(error) => return Retried::Panicked(format!("its record cannot be read: {error}")),
    };
    match caught(|| state.apply(parked.place.offset, parked.ingest_time, &event, &mut drop)) {
        Ok(()) => Retried::Applied,
        Err(panic) => {
            counter!("waypost_apply_panics_total").increment(1);
            // Nobody is told, and what may be missing in the queue of what is due is armed.
            drop(caught(|| state.mend(parked.ingest_time, &event, &mut drop)));
            Retried::Panicked(words(panic.as_ref()))
        }
    }
}

/// Lets log time pass; a panic over one thing that is due leaves the others.
pub(super) fn advance(state: &mut PartitionState, log_time: UnixMs, tell: &mut impl FnMut(FactChange)) {
    if caught(|| state.advance(log_time, tell)).is_err() {
        report_due(state);
    }
}

/// The caller looks after what the panic left behind; nothing else ever sees it.
fn caught(work: impl FnOnce()) -> Result<(), Box<dyn Any + Send>> {
    catch_unwind(AssertUnwindSafe(work))
}

/// The log tells after which event it was, and where in the program a panic was is told of any. Its words are kept nowhere: there is no letter, and they may
/// quote what an event said.
fn report_due(state: &PartitionState) {
    counter!("waypost_apply_panics_total").increment(1);
    let applied = state.applied().map(|offset| offset.0);
    tracing::error!(partition = state.partition().0, applied, "something that was due could not be done; it is left out");
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without words").to_owned()
}

fn letter(place: Place, ingest_time: UnixMs, event: &Event, panic: &str) -> Letter {
    let mut record = Vec::new();
    record::encode(event, &mut record);
    let actor = event.actor.as_ref().map_or_else(String::new, |actor| actor.as_str().to_owned());
    let claims = Claims { event_id: event.id.to_string(), actor, schema_version: Some(event.schema_version) };
    Letter::parked(event.tenant, place, panic, claims, record, ingest_time)
}

impl PartitionState {
    /// Lets follow what follows from as much of `event` as was joined before the fold panicked over it.
    fn mend(&mut self, ingest_time: UnixMs, event: &Event, tell: &mut impl FnMut(FactChange)) {
        let Some(tenant) = self.tenants.known(&event.tenant) else { return };
        let name = *self.tenants.id(tenant);
        let mut tell = |carrier, kind| tell(FactChange { tenant: name, carrier, ingest_time, kind });
        let Some(id) = &event.delivery else {
            let Some(known) = event.actor.as_ref().and_then(|id| self.driver(&event.tenant, id)) else { return };
            let (order, handle, carrier) = (event.order_key(), known.driver.handle(), || Carrier::Driver(known.driver.id.clone()));
            if let Some(told) = known.duty_told().filter(|_| known.duty().iter().any(|fact| fact.order == order)) {
                tell(carrier(), told);
            }
            if let Some(fix) = known.driver.fix().filter(|fix| fix.order == order) {
                tell(carrier(), FactKind::OwnFix { fix, handle });
            }
            return;
        };
        let before = self.before.take();
        let Some(slot) = self.deliveries.slot(tenant, id) else { return };
        let Some(delivery) = self.deliveries.get_mut(slot) else { return };
        if before.as_ref().is_some_and(|before| *before != delivery.carrier()) {
            self.handles += 1;
            delivery.lend(Handle::new(self.partition, self.handles));
        }
        delivery.left = leaves_map_at(delivery).is_some_and(|at| at <= self.log_time);
        if let Some(at) = next_step(delivery) {
            self.delivery_dues.push(Due { at, slot });
        }
        tell_of_delivery(delivery, before, Joined::Facts, tell);
    }
}

#[cfg(test)]
mod tests;
