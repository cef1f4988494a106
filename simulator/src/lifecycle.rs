//! The life of a delivery as its documentation has it: which status may follow which. A second implementation that checks the server's; pure.

use crate::expected::Step;

/// Of a delivery's status events only this many, the latest, are kept.
pub const MAX_STEPS: usize = 32;

/// Orders facts: event time, then event id.
pub type OrderKey = (i64, String);

/// What a status event does where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    Moves,
    /// Allowed, and the status stays: another driver took over after pickup.
    Keeps,
    Illegal,
}

/// The status after all these events, whatever order they came in, and what became of each. Without any event there is no status.
pub fn live(mut events: Vec<(OrderKey, String)>) -> (Option<String>, Vec<Step>) {
    events.sort();
    events.dedup_by(|later, earlier| later.0 == earlier.0);
    let skipped = events.len().saturating_sub(MAX_STEPS);
    let mut now: Option<String> = None;
    let mut steps = Vec::new();
    for ((time_ms, _), status) in events.into_iter().skip(skipped) {
        let effect = effect(now.as_deref(), &status);
        if effect == Effect::Moves {
            now = Some(status.clone());
        }
        steps.push(Step { status, time_ms, legal: effect != Effect::Illegal });
    }
    (now, steps)
}

pub fn is_over(status: &str) -> bool {
    matches!(status, "delivered" | "returned" | "cancelled")
}

/// How far a delivery under way has come, for the marker that carries several. A failed attempt says least.
pub fn advance(status: &str) -> Option<usize> {
    if status == "failed" { Some(0) } else { rank(status).map(|rank| rank + 1) }
}

const WAY: [&str; 8] = ["created", "assigned", "en_route_pickup", "at_pickup", "picked_up", "en_route_dropoff", "approaching", "arrived"];
const PICKED_UP: usize = 4;

fn rank(status: &str) -> Option<usize> {
    WAY.iter().position(|step| *step == status)
}

/// Forward in the list, skipping allowed, starting anywhere; `assigned` again before pickup goes back, after it only changes the driver;
/// `cancelled` from whatever is not over; `failed` leads to another attempt or a return. What is not allowed changes nothing.
fn effect(current: Option<&str>, next: &str) -> Effect {
    let Some(current) = current else { return Effect::Moves };
    let allowed = match (current, next) {
        (current, _) if is_over(current) => false,
        (_, "cancelled") => true,
        ("failed", "assigned") => return Effect::Keeps,
        ("failed", next) => matches!(next, "en_route_dropoff" | "returned"),
        (current, "assigned") if rank(current) >= Some(PICKED_UP) => return Effect::Keeps,
        (_, "delivered" | "returned" | "failed" | "assigned") => true,
        (current, next) => rank(next) > rank(current),
    };
    if allowed { Effect::Moves } else { Effect::Illegal }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lived(words: &[&str]) -> (Option<String>, Vec<bool>) {
        // Handed over backwards: the order of arrival must not matter.
        let events = (0..).zip(words).map(|(time, word)| ((time, "x".to_owned()), (*word).to_owned())).collect::<Vec<_>>();
        let (status, steps) = live(events.into_iter().rev().collect());
        (status, steps.iter().map(|step| step.legal).collect())
    }

    #[test]
    fn a_status_is_folded_in_event_order_and_illegal_steps_change_nothing() {
        let cases: [(&[&str], &str, &[bool]); 7] = [
            (&["created", "assigned", "delivered", "picked_up"], "delivered", &[true, true, true, false]),
            (&["created", "at_pickup", "assigned"], "assigned", &[true, true, true]),
            (&["picked_up", "assigned"], "picked_up", &[true, true]),
            (&["arrived", "failed", "approaching"], "failed", &[true, true, false]),
            (&["arrived", "failed", "returned", "cancelled"], "returned", &[true, true, true, false]),
            (&["en_route_dropoff", "picked_up", "cancelled"], "cancelled", &[true, false, true]),
            (&["arrived", "failed", "assigned", "en_route_dropoff"], "en_route_dropoff", &[true, true, true, true]),
        ];
        for (words, expected, legal) in cases {
            assert_eq!(lived(words), (Some(expected.to_owned()), legal.to_vec()), "{words:?}");
        }
    }

    #[test]
    fn an_event_said_twice_counts_once_and_only_the_latest_32_are_kept() {
        let event = |time: i64, word: &str| ((time, "x".to_owned()), word.to_owned());
        let (_, steps) = live(vec![event(1, "created"), event(1, "created"), event(2, "assigned")]);
        assert_eq!(steps.len(), 2);
        let (status, steps) = live((0..40).map(|time| event(time, if time == 0 { "delivered" } else { "assigned" })).collect());
        assert_eq!((status.as_deref(), steps.len(), steps[0].time_ms), (Some("assigned"), MAX_STEPS, 8));
    }
}
