//! Judges the flow from log to map: how old the oldest record is that is not on the map yet, and whether something waits while nothing moves. Pure.

use std::time::Duration;

use tokio::time::Instant;

use crate::log::block::BlockNumber;

/// Something that waits while nothing moves for this long is a stall.
pub(super) const STALLED_AFTER: Duration = Duration::from_secs(10);

/// How far the flow is at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Sample {
    /// The log's newest block, read before the rest.
    pub(super) durable: Option<BlockNumber>,
    pub(super) dealt: Option<BlockNumber>,
    /// For each partition the ends of what was dealt and of what is on the map.
    pub(super) partitions: Vec<(u64, u64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Judgement {
    /// Every record older than this is on the map.
    pub(super) age: Duration,
    /// How long something has waited without anything moving, when that is too long.
    pub(super) stalled: Option<Duration>,
}

/// Remembers one mark in the flow and waits until it has passed, so memory is bounded however far behind the map is.
#[derive(Debug)]
pub(super) struct FlowWatch {
    /// What was durable at this moment is on the map.
    level_at: Instant,
    mark: Mark,
    dealer: Movement,
    partitions: Vec<Movement>,
}

#[derive(Debug)]
struct Mark {
    at: Instant,
    durable: Option<BlockNumber>,
    /// Known once all that was durable has been dealt.
    ends: Option<Vec<u64>>,
}

#[derive(Clone, Copy, Debug)]
struct Movement {
    place: u64,
    /// When it last moved or had nowhere to go.
    at: Instant,
}

impl FlowWatch {
    pub(super) fn new(now: Instant) -> Self {
        let mark = Mark { at: now, durable: None, ends: None };
        Self { level_at: now, mark, dealer: Movement { place: 0, at: now }, partitions: Vec::new() }
    }

    pub(super) fn judge(&mut self, now: Instant, sample: &Sample) -> Judgement {
        let level = sample.is_level();
        self.mark.pass_dealer(sample);
        if level || self.mark.has_passed(sample) {
            self.level_at = if level { now } else { self.mark.at };
            self.mark = Mark { at: now, durable: sample.durable, ends: None };
            self.mark.pass_dealer(sample);
        }
        Judgement { age: now.duration_since(self.level_at), stalled: self.stalled(now, sample) }
    }

    fn stalled(&mut self, now: Instant, sample: &Sample) -> Option<Duration> {
        let of = |block: Option<BlockNumber>| block.map_or(0, |block| block.0);
        self.partitions.resize(sample.partitions.len(), Movement { place: 0, at: now });
        let mut longest = self.dealer.waited(now, of(sample.dealt), of(sample.durable));
        for (movement, (dealt, mapped)) in self.partitions.iter_mut().zip(&sample.partitions) {
            longest = longest.max(movement.waited(now, *mapped, *dealt));
        }
        (longest >= STALLED_AFTER).then_some(longest)
    }
}

impl Sample {
    fn is_level(&self) -> bool {
        self.dealt >= self.durable && self.partitions.iter().all(|(dealt, mapped)| mapped >= dealt)
    }
}

impl Mark {
    fn pass_dealer(&mut self, sample: &Sample) {
        if self.ends.is_none() && sample.dealt >= self.durable {
            self.ends = Some(sample.partitions.iter().map(|(dealt, _)| *dealt).collect());
        }
    }

    fn has_passed(&self, sample: &Sample) -> bool {
        self.ends.as_ref().is_some_and(|ends| ends.iter().zip(&sample.partitions).all(|(end, (_, mapped))| mapped >= end))
    }
}

impl Movement {
    /// How long it has stood at `place` although it should go on to `end`.
    fn waited(&mut self, now: Instant, place: u64, end: u64) -> Duration {
        if place != self.place || place >= end {
            *self = Self { place, at: now };
        }
        now.duration_since(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn sample(durable: u64, dealt: u64, partitions: &[(u64, u64)]) -> Sample {
        Sample { durable: Some(BlockNumber(durable)), dealt: Some(BlockNumber(dealt)), partitions: partitions.to_vec() }
    }

    #[test]
    fn a_flow_that_is_always_a_little_behind_is_not_getting_older() {
        let start = Instant::now();
        let mut watch = FlowWatch::new(start);
        for second in 1..100 {
            let number = u64::from(second);
            let judgement = watch.judge(start + SECOND * second, &sample(number + 1, number, &[(number * 10, number * 10 - 3)]));
            assert!(judgement.age <= SECOND * 3, "{judgement:?} at {second}");
            assert_eq!(judgement.stalled, None);
        }
        let judgement = watch.judge(start + SECOND * 100, &sample(100, 100, &[(990, 990)]));
        assert_eq!(judgement, Judgement { age: Duration::ZERO, stalled: None });
    }

    #[test]
    fn one_partition_that_stands_still_is_a_stall_while_the_others_move() {
        let start = Instant::now();
        let mut watch = FlowWatch::new(start);
        for second in 0..30 {
            let number = u64::from(second) + 5;
            let judgement = watch.judge(start + SECOND * second, &sample(number, number, &[(number, number), (8, 7)]));
            assert_eq!(judgement.stalled, (second >= 10).then_some(SECOND * second));
            assert_eq!(judgement.age, SECOND * second);
        }
        let judgement = watch.judge(start + SECOND * 30, &sample(35, 35, &[(35, 35), (8, 8)]));
        assert_eq!(judgement, Judgement { age: Duration::ZERO, stalled: None });
    }

    #[test]
    fn a_dealer_that_reads_no_further_is_a_stall_and_an_idle_flow_is_none() {
        let start = Instant::now();
        let mut watch = FlowWatch::new(start);
        assert_eq!(watch.judge(start, &sample(3, 3, &[(9, 9)])).stalled, None);
        assert_eq!(watch.judge(start + SECOND * 60, &sample(3, 3, &[(9, 9)])).stalled, None, "nothing waits");
        assert_eq!(watch.judge(start + SECOND * 61, &sample(4, 3, &[(9, 9)])).stalled, None);
        assert_eq!(watch.judge(start + SECOND * 71, &sample(5, 3, &[(9, 9)])).stalled, Some(SECOND * 11));
    }
}
