//! What one connection says of itself while it lives: what it waits for, and since when, in ticks of the sweep. Reads no clock and ends nothing itself.

use std::cmp::Reverse;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use tokio::sync::Notify;

/// How many ticks each thing may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// From the first byte of a request's head (or the start of the connection) to its end.
    pub head_ticks: u32,
    /// Between two requests.
    pub idle_ticks: u32,
    /// For the next `ANSWER_STEP` bytes of an answer that the socket does not take at once.
    pub answer_ticks: u32,
}

/// A peer that takes less than this in the time for an answer reads too slowly to be waited for.
const ANSWER_STEP: u32 = 64 << 10;

/// Who waits for its client for less than this keeps its place, also when all are taken: an honest head is there sooner.
const DISPENSABLE_TICKS: u32 = 4;

/// Why a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    SlowHead,
    Idle,
    StalledAnswer,
    /// All places are taken and somebody else came: who waits for a client, and least usefully, goes first.
    MadeRoom,
}

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
enum Phase {
    /// The rest of a request's head.
    Head,
    /// The first byte of the next request.
    Idle,
    /// Our answer; the body that it may need has a pace of its own.
    Busy,
    /// It is a `WebSocket` now, which has its own clock.
    Upgraded,
    /// It has been told to go.
    Cut,
}

/// Written by the connection, read by the sweep. Relaxed: a tick of delay does no harm.
#[derive(Debug)]
pub struct Pulse {
    ticks: Arc<AtomicU32>,
    /// The phase in the high half, the tick of its beginning in the low one.
    phase: AtomicU64,
    /// The tick when the socket last stopped taking bytes, plus one; 0 while it takes them.
    blocked: AtomicU32,
    /// Bytes it took since then.
    taken: AtomicU32,
    cut: Notify,
    /// Whether it rested between two requests when it was cut.
    rested: AtomicBool,
}

impl Pulse {
    /// Of a connection that has just come: its first head is due.
    pub fn new(ticks: Arc<AtomicU32>) -> Self {
        let pulse = Self {
            ticks,
            phase: AtomicU64::new(0),
            blocked: AtomicU32::new(0),
            taken: AtomicU32::new(0),
            cut: Notify::new(),
            rested: AtomicBool::new(false),
        };
        pulse.expect_head();
        pulse
    }

    /// A head is due from now on.
    pub fn expect_head(&self) {
        self.enter(Phase::Head);
    }

    /// Bytes came in.
    pub fn read(&self) {
        if self.now_in(Phase::Idle) {
            self.enter(Phase::Head);
        }
    }

    /// A request's head is there.
    pub fn began(&self) {
        self.enter(Phase::Busy);
    }

    /// The answer is ready to be written.
    pub fn answered(&self) {
        self.enter(Phase::Idle);
    }

    /// The answer made it a `WebSocket`.
    pub fn upgraded(&self) {
        self.enter(Phase::Upgraded);
    }

    /// The socket takes no more bytes for now.
    pub fn write_blocked(&self) {
        if self.blocked.load(Ordering::Relaxed) == 0 {
            self.taken.store(0, Ordering::Relaxed);
            self.blocked.store(self.ticks.load(Ordering::Relaxed).wrapping_add(1).max(1), Ordering::Relaxed);
        }
    }

    /// The socket took this many bytes.
    pub fn wrote(&self, bytes: usize) {
        if self.blocked.load(Ordering::Relaxed) == 0 {
            return;
        }
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        if self.taken.load(Ordering::Relaxed).saturating_add(bytes) >= ANSWER_STEP {
            self.blocked.store(self.ticks.load(Ordering::Relaxed).wrapping_add(1).max(1), Ordering::Relaxed);
            self.taken.store(0, Ordering::Relaxed);
        } else {
            self.taken.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// The socket took all there was. What the connection waits for now, it waits for from here on.
    pub fn flushed(&self) {
        if self.blocked.swap(0, Ordering::Relaxed) != 0 {
            let (phase, _) = split(self.phase.load(Ordering::Relaxed));
            if phase == Phase::Idle as u32 || phase == Phase::Head as u32 {
                self.phase.store(join(phase, self.ticks.load(Ordering::Relaxed)), Ordering::Relaxed);
            }
        }
    }

    /// Resolves when the sweep has cut this connection: `true` when it rested, so that a request which came in this very moment is still answered.
    pub async fn was_cut(&self) -> bool {
        self.cut.notified().await;
        self.rested.load(Ordering::Relaxed)
    }

    /// How dispensable the connection is when all places are taken, the most first; none when it is at work, or has not waited for long.
    pub fn dispensable(&self, now: u32) -> Option<(u32, Reverse<u32>)> {
        let (phase, since) = split(self.phase.load(Ordering::Relaxed));
        let waited = elapsed(since, now);
        let waits = phase == Phase::Head as u32 || phase == Phase::Idle as u32;
        (waits && waited >= DISPENSABLE_TICKS).then_some((phase, Reverse(waited)))
    }

    /// Tells a connection that waits for its client to go; `false` when it has got work meanwhile.
    pub fn make_room(&self, now: u32) -> bool {
        self.dispensable(now).is_some() && self.tell_to_go(self.phase.load(Ordering::Relaxed), now)
    }

    /// Tells a connection that is over its time to go, once, and says why.
    pub fn judge(&self, now: u32, patience: &Patience) -> Option<Cut> {
        let held = self.phase.load(Ordering::Relaxed);
        let (phase, since) = split(held);
        if phase == Phase::Upgraded as u32 || phase == Phase::Cut as u32 {
            return None;
        }
        let blocked = self.blocked.load(Ordering::Relaxed);
        let verdict = if blocked != 0 {
            (elapsed(blocked.wrapping_sub(1), now) >= patience.answer_ticks).then_some(Cut::StalledAnswer)
        } else if phase == Phase::Head as u32 {
            (elapsed(since, now) >= patience.head_ticks).then_some(Cut::SlowHead)
        } else if phase == Phase::Idle as u32 {
            (elapsed(since, now) >= patience.idle_ticks).then_some(Cut::Idle)
        } else {
            None
        };
        verdict.filter(|_| self.tell_to_go(held, now))
    }

    /// Whoever moved on in this very moment is not cut.
    fn tell_to_go(&self, held: u64, now: u32) -> bool {
        let told = self.phase.compare_exchange(held, join(Phase::Cut as u32, now), Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if told {
            self.rested.store(split(held).0 == Phase::Idle as u32, Ordering::Relaxed);
            self.cut.notify_one();
        }
        told
    }

    fn enter(&self, phase: Phase) {
        self.phase.store(join(phase as u32, self.ticks.load(Ordering::Relaxed)), Ordering::Relaxed);
    }

    fn now_in(&self, phase: Phase) -> bool {
        split(self.phase.load(Ordering::Relaxed)).0 == phase as u32
    }
}

impl Cut {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SlowHead => "slow_head",
            Self::Idle => "idle",
            Self::StalledAnswer => "stalled_answer",
            Self::MadeRoom => "made_room",
        }
    }
}

fn join(phase: u32, tick: u32) -> u64 {
    u64::from(phase) << 32 | u64::from(tick)
}

fn split(joined: u64) -> (u32, u32) {
    let half = |bits: u64| u32::try_from(bits & u64::from(u32::MAX)).unwrap_or_default();
    (half(joined >> 32), half(joined))
}

/// Ticks wrap after 34 years of them; a pulse that is a tick ahead of the sweep has waited for none.
fn elapsed(since: u32, now: u32) -> u32 {
    let ticks = now.wrapping_sub(since);
    if ticks > u32::MAX / 2 { 0 } else { ticks }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience { head_ticks: 4, idle_ticks: 12, answer_ticks: 8 };

    fn pulse() -> (Pulse, impl Fn(&Pulse, u32) -> Option<Cut>) {
        let ticks = Arc::new(AtomicU32::new(0));
        let judge = {
            let ticks = Arc::clone(&ticks);
            move |pulse: &Pulse, now| {
                ticks.store(now, Ordering::Relaxed);
                pulse.judge(now, &PATIENCE)
            }
        };
        (Pulse::new(ticks), judge)
    }

    #[test]
    fn bytes_of_a_head_that_drip_do_not_prolong_its_time() {
        let (pulse, judge) = pulse();
        for now in 1..4 {
            pulse.read();
            pulse.flushed();
            assert_eq!(judge(&pulse, now), None);
        }
        assert_eq!(judge(&pulse, 4), Some(Cut::SlowHead));
        assert_eq!(judge(&pulse, 5), None, "once");
    }

    #[test]
    fn between_requests_there_is_more_time_and_the_first_byte_ends_it() {
        let (pulse, judge) = pulse();
        pulse.began();
        assert_eq!(judge(&pulse, 100), None, "our own time is not the client's fault");
        pulse.answered();
        assert_eq!(judge(&pulse, 111), None);
        pulse.read();
        assert_eq!(judge(&pulse, 114), None);
        assert_eq!(judge(&pulse, 115), Some(Cut::SlowHead));
    }

    #[test]
    fn an_idle_connection_goes_in_the_end_and_a_web_socket_stays() {
        let (pulse, judge) = pulse();
        pulse.began();
        pulse.answered();
        assert_eq!(judge(&pulse, 12), Some(Cut::Idle));
        let (pulse, judge) = self::pulse();
        pulse.upgraded();
        assert_eq!(judge(&pulse, 10_000), None);
    }

    #[test]
    fn when_room_is_short_slow_heads_go_before_those_who_rest_and_who_is_at_work_stays() {
        let pulses = [0; 4].map(|_| pulse().0);
        pulses[0].began();
        pulses[1].answered();
        pulses[3].upgraded();
        let order = |now| pulses.each_ref().map(|pulse| pulse.dispensable(now));
        assert_eq!(order(3), [None; 4], "nobody is sent away at once");
        let [work, rest, head, socket] = order(4);
        assert!(work.is_none() && socket.is_none() && head.is_some() && head < rest, "{head:?} {rest:?}");
        assert!(pulses[2].make_room(4) && !pulses[2].make_room(5) && !pulses[0].make_room(5));
    }

    #[test]
    fn an_answer_that_nobody_reads_is_given_up_and_one_that_is_read_slowly_is_not() {
        let (pulse, judge) = pulse();
        pulse.began();
        pulse.answered();
        pulse.write_blocked();
        for now in (7..70).step_by(7) {
            assert_eq!(judge(&pulse, now), None);
            pulse.wrote(70 << 10);
            pulse.write_blocked();
        }
        pulse.wrote(1);
        assert_eq!(judge(&pulse, 63 + 8), Some(Cut::StalledAnswer));
    }

    #[test]
    fn after_a_slow_answer_the_time_between_requests_begins_anew() {
        let (pulse, judge) = pulse();
        pulse.began();
        pulse.answered();
        pulse.write_blocked();
        assert_eq!(judge(&pulse, 7), None);
        pulse.wrote(100);
        pulse.flushed();
        assert_eq!(judge(&pulse, 18), None);
        assert_eq!(judge(&pulse, 19), Some(Cut::Idle));
    }
}
