//! A token bucket as one number: when it would be full again (the generic cell rate algorithm in its form of virtual scheduling, ITU-T I.371, annex A).
//! Pure: its owner keeps the number and knows the time.

use std::time::Duration;

/// How many events a second a bucket lets through, and how many may come ahead of that at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Between two events at the steady rate.
    interval_ns: u64,
    burst: u64,
}

/// A bucket: the moment at which it will be full. One that lies in the past is full, so a bucket that nobody uses need not be kept.
pub type FullAt = u64;

impl Rate {
    /// `per_s` from 1 to a thousand million, `burst` from 1: what is outside is brought to the nearest that is inside.
    pub fn new(per_s: u64, burst: u64) -> Self {
        Self { interval_ns: 1_000_000_000 / per_s.clamp(1, 1_000_000_000), burst: burst.max(1) }
    }

    pub fn burst(self) -> u64 {
        self.burst
    }

    /// How long an empty bucket takes to fill.
    pub fn window(self) -> Duration {
        Duration::from_nanos(self.interval_ns.saturating_mul(self.burst))
    }

    /// Takes `events` out of a bucket: when it is full afterwards, or how long it is until they fit. More than the burst fit once it is full, for
    /// else they never would; the bucket then owes what was too much.
    pub fn take(self, full_at: FullAt, now_ns: u64, events: u64) -> Result<FullAt, Duration> {
        let before = full_at.max(now_ns);
        let after = before.saturating_add(self.interval_ns.saturating_mul(events));
        let latest = now_ns.saturating_add(self.interval_ns.saturating_mul(self.burst.max(events)));
        if after <= latest { Ok(after) } else { Err(Duration::from_nanos(after - latest)) }
    }

    /// Takes `events` out of a bucket whether or not they are in it.
    pub fn charge(self, full_at: FullAt, now_ns: u64, events: u64) -> FullAt {
        full_at.max(now_ns).saturating_add(self.interval_ns.saturating_mul(events))
    }

    /// Puts `events` back that were taken out of a bucket and not used.
    pub fn give_back(self, full_at: FullAt, events: u64) -> FullAt {
        full_at.saturating_sub(self.interval_ns.saturating_mul(events))
    }

    /// How many events fit now.
    pub fn room(self, full_at: FullAt, now_ns: u64) -> u64 {
        self.burst.saturating_sub(full_at.saturating_sub(now_ns).div_ceil(self.interval_ns))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_burst_passes_and_then_the_rate_rules() {
        let rate = Rate::new(10, 100);
        let full_at = rate.take(0, SECOND, 100).expect("the burst");
        assert_eq!(rate.take(full_at, SECOND, 1), Err(Duration::from_millis(100)));
        assert_eq!(rate.room(full_at, SECOND), 0);
        let full_at = rate.take(full_at, 2 * SECOND, 10).expect("a second's worth");
        assert_eq!(rate.take(full_at, 2 * SECOND, 5), Err(Duration::from_millis(500)));
        assert_eq!((rate.room(full_at, 12 * SECOND), rate.window()), (100, Duration::from_secs(10)));
    }

    #[test]
    fn more_than_the_burst_passes_once_the_bucket_is_full_and_is_owed() {
        let rate = Rate::new(10, 100);
        let full_at = rate.take(0, SECOND, 300).expect("it is full");
        assert_eq!(rate.take(full_at, SECOND, 1), Err(Duration::from_millis(20_100)));
        assert_eq!(rate.take(full_at, SECOND, 300), Err(Duration::from_secs(30)));
        assert!(rate.take(full_at, 31 * SECOND, 300).is_ok());
    }

    proptest! {
        /// The model: a count of tokens that grows with time up to the burst.
        #[test]
        fn it_lets_through_what_a_bucket_of_tokens_does(steps in prop::collection::vec((0..3_000_u64, 1..8_u64), 1..200)) {
            let rate = Rate::new(10, 20);
            let (mut full_at, mut now_ns, mut tokens_ms) = (0, 0, 20 * 100);
            for (pause_ms, events) in steps {
                now_ns += pause_ms * 1_000_000;
                tokens_ms = (tokens_ms + pause_ms).min(20 * 100);
                let taken = rate.take(full_at, now_ns, events);
                prop_assert_eq!(rate.room(full_at, now_ns), tokens_ms / 100);
                if tokens_ms >= events * 100 {
                    tokens_ms -= events * 100;
                    full_at = taken.expect("there are tokens");
                } else {
                    prop_assert_eq!(taken, Err(Duration::from_millis(events * 100 - tokens_ms)));
                }
            }
        }
    }
}
