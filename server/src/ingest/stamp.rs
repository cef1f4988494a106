//! The order key's time: the sender's, or a correction of it when its clock runs ahead. Pure.

use std::time::Duration;

use crate::formats::refusal::{Code, Refusal};
use crate::model::event::Stamp;
use crate::model::time::UnixMs;

/// Further ahead than this and the event is refused.
const FUTURE_LIMIT: Duration = Duration::from_hours(24);
/// Further ahead than this and the time is corrected.
const TOLERANCE: Duration = Duration::from_mins(1);

/// Stamps an event that arrives `now`, from a sender that says it sent at `sent_at` by its own clock. Old events keep their time, at any age.
pub fn stamp(event_time: UnixMs, sent_at: Option<UnixMs>, now: UnixMs) -> Result<Stamp, Refusal> {
    if event_time > now + FUTURE_LIMIT {
        return Err(Refusal::new(Code::TimeTooFarAhead, "/event_time", "is more than 24 h ahead of the server's clock"));
    }
    if event_time <= now + TOLERANCE {
        return Ok(Stamp { effective_time: event_time, ..Stamp::default() });
    }
    // A clock that ran ahead when the batch was sent ran ahead as much when the event happened.
    let corrected = sent_at.map(|sent_at| UnixMs(event_time.0.saturating_sub(sent_at.0.saturating_sub(now.0))));
    let effective_time = corrected.filter(|corrected| *corrected <= now + TOLERANCE).unwrap_or(now);
    Ok(Stamp { effective_time, skewed: true, ..Stamp::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMs = UnixMs(1_790_000_000_000);

    fn effective(event_time: i64, sent_at: Option<i64>) -> (i64, bool) {
        let stamp = stamp(UnixMs(NOW.0 + event_time), sent_at.map(|at| UnixMs(NOW.0 + at)), NOW).expect("not refused");
        (stamp.effective_time.0 - NOW.0, stamp.skewed)
    }

    #[test]
    fn a_time_within_the_tolerance_or_in_the_past_is_kept() {
        assert_eq!(effective(60_000, None), (60_000, false));
        assert_eq!(effective(-90 * 24 * 3_600_000, Some(7_200_000)), (-90 * 24 * 3_600_000, false));
    }

    #[test]
    fn a_clock_that_runs_ahead_is_corrected_by_the_time_of_sending_or_else_to_now() {
        assert_eq!(effective(3_600_000, Some(3_605_000)), (-5_000, true));
        assert_eq!(effective(3_600_000, None), (0, true));
        assert_eq!(effective(3_600_000, Some(0)), (0, true), "a correction that does not help is not used");
    }

    #[test]
    fn more_than_a_day_ahead_is_refused() {
        assert!(stamp(NOW + FUTURE_LIMIT, None, NOW).is_ok());
        let refusal = stamp(UnixMs(NOW.0 + 24 * 3_600_000 + 1), None, NOW).expect_err("refused");
        assert_eq!((refusal.code, refusal.pointer.as_str()), (Code::TimeTooFarAhead, "/event_time"));
    }
}
