//! The beat that the stages behind the log share, so that what one hands on is not kept waiting by the next. Never waits itself.

use std::time::Duration;

use tokio::time::Instant;

/// Points in time, one length apart.
#[derive(Clone, Copy, Debug)]
pub struct Beat {
    origin: Instant,
    length: Duration,
}

impl Beat {
    /// The first point is now.
    pub fn starting_now(length: Duration) -> Self {
        Self { origin: Instant::now(), length: length.max(Duration::from_millis(1)) }
    }

    pub fn length(&self) -> Duration {
        self.length
    }

    /// The point to rest until after something was done at `now`: on the beat, and off the wished rest by half a length at most.
    pub fn after(&self, now: Instant, rest: Duration) -> Instant {
        let wanted = (now + rest).saturating_duration_since(self.origin).saturating_sub(self.length / 2);
        let until = wanted.as_nanos().div_ceil(self.length.as_nanos()) * self.length.as_nanos();
        // Nanoseconds of some 500 years fit.
        self.origin + Duration::from_nanos(u64::try_from(until).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn rests_end_on_the_beat_and_half_a_length_off_at_most() {
        let beat = Beat::starting_now(Duration::from_millis(100));
        let origin = Instant::now();
        for (at, rest, expected) in [(0, 100, 100), (30, 100, 100), (50, 100, 100), (51, 100, 200), (99, 100, 200), (10, 240, 200), (10, 241, 300)] {
            let until = beat.after(origin + Duration::from_millis(at), Duration::from_millis(rest));
            assert_eq!(until - origin, Duration::from_millis(expected), "after {at} for {rest}");
        }
        let (fast, year) = (Beat::starting_now(Duration::from_millis(1)), Duration::from_hours(24 * 365));
        assert_eq!(fast.after(origin + year, Duration::from_millis(1)), origin + year + Duration::from_millis(1), "after a year as on the first day");
    }
}
