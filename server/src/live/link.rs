//! What a session's link carries, told from acknowledgements alone: the kernel and every proxy on the way take bytes that the reader does not
//! have yet. Never looks at what the frames hold.
//!
//! `in_flight.len() <= max_frames_in_flight`, and no frame is added while three quarters of a window are in flight, or a quarter of the first one.

use std::collections::VecDeque;
use std::time::Duration;

use super::Settings;
use super::stamp::Stamp;
use crate::model::time::UnixMs;

/// A frame sent and not acknowledged.
#[derive(Debug)]
struct Sent {
    stamp: Stamp,
    bytes: usize,
    /// All that was acknowledged when it was sent, and since when: the delivery rate of draft-ietf-ccwg-bbr, 4.1, with frames for packets.
    acknowledged: u64,
    since: UnixMs,
    /// More was to be sent while it was under way: what it measures is the link, not what there was to say.
    saturated: bool,
}

#[derive(Debug)]
pub(super) struct Link {
    in_flight: VecDeque<Sent>,
    acknowledged: u64,
    /// When it last acknowledged, or began to owe an acknowledgement.
    progress: UnixMs,
    /// Bytes a second; unknown while it carried all there was to say.
    rate: Option<f64>,
}

/// How much may be on its way, as time: what is said now is read this much later at most. A round trip longer than this starves a link that has
/// room for more.
const QUEUE: Duration = Duration::from_millis(400);
/// A window is never less, however slow the link: half of it is a frame.
const MIN_WINDOW: usize = 2 * 1_024;

impl Link {
    pub(super) fn new(now: UnixMs) -> Self {
        Self { in_flight: VecDeque::new(), acknowledged: 0, progress: now, rate: None }
    }

    /// Bytes that may be in flight: `first_bytes_in_flight` while the rate is unknown.
    fn window(&self, settings: &Settings) -> usize {
        let wanted = self.rate.map_or(settings.first_bytes_in_flight, |rate| bytes_in(rate, QUEUE).max(MIN_WINDOW));
        wanted.min(settings.max_bytes_in_flight)
    }

    /// What the next frame may hold, if there may be one.
    pub(super) fn room(&self, settings: &Settings) -> usize {
        self.window(settings) / 2
    }

    /// Whether nothing more may be sent before something is acknowledged.
    pub(super) fn is_full(&self, settings: &Settings) -> bool {
        let bytes: usize = self.in_flight.iter().map(|sent| sent.bytes).sum();
        // A frame is a little more than its room, and while one is on its way the next is to wait behind it: else the line lies idle for a round trip.
        // On a line of which nothing is known one frame may be all that it carries in some seconds.
        let quarters = if self.rate.is_some() { 3 } else { 1 };
        self.in_flight.len() >= settings.max_frames_in_flight || bytes * 4 >= self.window(settings) * quarters
    }

    /// How long it would take to carry this; none while the rate is unknown.
    pub(super) fn time_for(&self, bytes: usize) -> Option<Duration> {
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        self.rate.and_then(|rate| Duration::try_from_secs_f64(bytes as f64 / rate).ok())
    }

    /// Something could not be sent for what is in flight.
    pub(super) fn is_saturated(&mut self) {
        self.in_flight.iter_mut().for_each(|sent| sent.saturated = true);
    }

    /// What was measured was long ago: the link may be a better one by now.
    pub(super) fn forget_rate(&mut self) {
        self.rate = None;
    }

    /// Whether something was in flight for too long without an acknowledgement.
    pub(super) fn is_stuck(&self, now: UnixMs, settings: &Settings) -> bool {
        !self.in_flight.is_empty() && now.since(self.progress) >= settings.no_progress
    }

    pub(super) fn sent(&mut self, stamp: Stamp, bytes: usize, now: UnixMs) {
        if self.in_flight.is_empty() {
            self.progress = now;
        }
        self.in_flight.push_back(Sent { stamp, bytes, acknowledged: self.acknowledged, since: self.progress, saturated: false });
    }

    pub(super) fn acknowledge(&mut self, stamp: Stamp, now: UnixMs) {
        while let Some(sent) = self.in_flight.pop_front_if(|sent| sent.stamp <= stamp) {
            self.acknowledged += sent.bytes as u64;
            self.progress = now;
            self.measure(&sent, now);
        }
    }

    /// Faster than thought: believed at once. Slower: only if it had enough to carry, and by halves, for one late acknowledgement may be chance.
    fn measure(&mut self, sent: &Sent, now: UnixMs) {
        let took = now.since(sent.since).max(Duration::from_millis(1));
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let rate = (self.acknowledged - sent.acknowledged) as f64 / took.as_secs_f64();
        match self.rate {
            Some(known) if rate >= known => self.rate = Some(rate),
            Some(known) if sent.saturated => self.rate = Some(f64::midpoint(known, rate)),
            None if sent.saturated => self.rate = Some(rate),
            Some(_) | None => {}
        }
    }
}

fn bytes_in(rate: f64, time: Duration) -> usize {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates; a rate is not negative")]
    let bytes = (rate * time.as_secs_f64()) as usize;
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line that carries so many bytes a second, with a round trip of its own; the reader acknowledges what has arrived.
    struct Line {
        link: Link,
        settings: Settings,
        bytes_per_s: u64,
        round_trip_ms: u64,
        busy_until: u64,
        arrivals: VecDeque<(u64, Stamp)>,
        stamp: u64,
        longest_ms: u64,
    }

    impl Line {
        fn new(bytes_per_s: u64, round_trip_ms: u64) -> Self {
            let (link, settings) = (Link::new(UnixMs(0)), Settings::default());
            Self { link, settings, bytes_per_s, round_trip_ms, busy_until: 0, arrivals: VecDeque::new(), stamp: 0, longest_ms: 0 }
        }

        /// Sends all it may for so long, having always more, and returns the bytes sent.
        fn flood(&mut self, from_ms: u64, for_ms: u64) -> u64 {
            let mut carried = 0;
            self.longest_ms = 0;
            for now in from_ms..from_ms + for_ms {
                while let Some((_, stamp)) = self.arrivals.pop_front_if(|(at, _)| *at <= now) {
                    self.link.acknowledge(stamp, UnixMs(now.cast_signed()));
                }
                while !self.link.is_full(&self.settings) {
                    let bytes = self.link.room(&self.settings) as u64;
                    self.stamp += 1;
                    self.link.sent(Stamp(self.stamp), usize::try_from(bytes).unwrap(), UnixMs(now.cast_signed()));
                    self.busy_until = self.busy_until.max(now) + bytes * 1_000 / self.bytes_per_s;
                    let arrives = self.busy_until + self.round_trip_ms;
                    self.longest_ms = self.longest_ms.max(arrives - now);
                    self.arrivals.push_back((arrives, Stamp(self.stamp)));
                    carried += bytes;
                }
                self.link.is_saturated();
            }
            carried
        }
    }

    #[test]
    fn a_slow_line_is_kept_busy_with_half_a_second_of_it_in_flight() {
        for (bytes_per_s, round_trip_ms) in [(6_250, 30), (6_250, 150), (40_000, 80)] {
            let mut line = Line::new(bytes_per_s, round_trip_ms);
            line.flood(0, 10_000);
            let carried = line.flood(10_000, 20_000);
            assert!(carried >= bytes_per_s * 20 * 8 / 10, "{carried} bytes over a line of {bytes_per_s} bytes/s, {round_trip_ms} ms");
            assert!(line.longest_ms <= 1_000, "{} ms in flight over a line of {bytes_per_s} bytes/s, {round_trip_ms} ms", line.longest_ms);
        }
    }

    #[test]
    fn a_fast_line_fills_its_window_within_some_round_trips() {
        let mut line = Line::new(10_000_000, 50);
        line.flood(0, 200);
        assert_eq!(line.link.window(&line.settings), line.settings.max_bytes_in_flight);
    }

    #[test]
    fn a_line_that_got_worse_is_noticed_and_one_that_had_little_to_carry_is_not_thought_slow() {
        let mut line = Line::new(1_000_000, 50);
        line.flood(0, 2_000);
        line.bytes_per_s = 20_000;
        line.flood(2_000, 20_000);
        line.flood(22_000, 5_000);
        assert!(line.longest_ms <= 1_000, "{} ms", line.longest_ms);

        let (mut idle, settings) = (Link::new(UnixMs(0)), Settings::default());
        for round in 0..50 {
            idle.sent(Stamp(round), 100, UnixMs(100 * round.cast_signed()));
            idle.acknowledge(Stamp(round), UnixMs(100 * round.cast_signed() + 90));
        }
        assert_eq!((idle.rate, idle.room(&settings)), (None, settings.first_bytes_in_flight / 2));
    }
}
