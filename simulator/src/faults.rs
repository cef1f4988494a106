//! What goes wrong between a phone and a server: gaps with late upload, duplicates, disorder, wrong clocks. Seeded; never loses an event.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::wire::Event;

/// Shares are 0..1; everything 0 means a perfect world.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct FaultOptions {
    /// Share of pings at which a courier loses its connection; what it says meanwhile is uploaded late.
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    pub offline: f64,
    /// How long a courier stays offline, in seconds.
    #[arg(long, default_value_t = 60.0, value_name = "SECONDS")]
    pub offline_seconds: f64,
    /// Share of events that are sent a second time, up to 5 s later.
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    pub duplicates: f64,
    /// Share of events that are held back for up to 5 s, so that later ones overtake them.
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    pub reorder: f64,
    /// Share of couriers whose clock is wrong.
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    pub skewed: f64,
    /// How wrong a wrong clock is at most, in seconds, ahead or behind.
    #[arg(long, default_value_t = 30.0, value_name = "SECONDS")]
    pub skew_seconds: f64,
}

/// Holds what is on its way: at most what couriers say in one offline gap.
#[derive(Debug)]
pub struct Faults {
    options: FaultOptions,
    seed: u64,
    rng: ChaCha8Rng,
    offline_until: HashMap<String, i64>,
    held: BinaryHeap<Held>,
    number: u64,
}

impl Faults {
    pub fn new(options: FaultOptions, seed: u64) -> Self {
        let rng = ChaCha8Rng::seed_from_u64(seed ^ 0xfa17);
        Self { options, seed, rng, offline_until: HashMap::new(), held: BinaryHeap::new(), number: 0 }
    }

    /// Takes what happened and returns what reaches the server now, in the order in which it does.
    pub fn pass(&mut self, now_ms: i64, events: Vec<Event>) -> Vec<Event> {
        for mut event in events {
            event.event_time_ms += self.skew_ms(&event.actor_id);
            let due_ms = now_ms + self.delay_ms(now_ms, &event.actor_id);
            if self.happens(self.options.duplicates) {
                let again_ms = due_ms + self.rng.random_range(0..5_000);
                self.hold(again_ms, event.clone());
            }
            self.hold(due_ms, event);
        }
        let mut out = Vec::new();
        while self.held.peek().is_some_and(|held| held.due_ms <= now_ms) {
            out.extend(self.held.pop().map(|held| held.event));
        }
        out
    }

    /// Whatever is still held: the last upload of a run.
    pub fn rest(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.held.pop().map(|held| held.event)).collect()
    }

    fn hold(&mut self, due_ms: i64, event: Event) {
        self.number += 1;
        self.held.push(Held { due_ms, number: self.number, event });
    }

    fn happens(&mut self, share: f64) -> bool {
        share > 0.0 && self.rng.random_bool(share.min(1.0))
    }

    fn delay_ms(&mut self, now_ms: i64, actor: &str) -> i64 {
        if let Some(until) = self.offline_until.get(actor).copied() {
            if now_ms < until {
                return until - now_ms;
            }
            self.offline_until.remove(actor);
        }
        if self.happens(self.options.offline) {
            let gap_ms = (self.options.offline_seconds.max(0.0) * 1000.0) as i64;
            self.offline_until.insert(actor.to_owned(), now_ms + gap_ms);
            return gap_ms;
        }
        if self.happens(self.options.reorder) { self.rng.random_range(100..5_000) } else { 0 }
    }

    /// Constant for a courier within a run.
    fn skew_ms(&self, actor: &str) -> i64 {
        if self.options.skewed <= 0.0 {
            return 0;
        }
        let hash = xxhash_rust::xxh3::xxh3_64_with_seed(actor.as_bytes(), self.seed);
        let draw = |bits: u64| (bits & 0xffff_ffff) as f64 / f64::from(u32::MAX);
        if draw(hash) >= self.options.skewed {
            return 0;
        }
        ((draw(hash >> 32) * 2.0 - 1.0) * self.options.skew_seconds * 1000.0) as i64
    }
}

/// Ordered so that the heap's greatest is the next due; equal times keep their order.
#[derive(Debug)]
struct Held {
    due_ms: i64,
    number: u64,
    event: Event,
}

impl Ord for Held {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.due_ms, other.number).cmp(&(self.due_ms, self.number))
    }
}

impl PartialOrd for Held {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Held {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Held {}

#[cfg(test)]
mod tests {
    use super::*;

    fn pings(second: i64) -> Vec<Event> {
        (0..50)
            .map(|actor| Event {
                event_id: format!("{second}-{actor}"),
                actor_id: format!("a{actor}"),
                event_time_ms: second * 1000,
                ..Event::default()
            })
            .collect()
    }

    fn pass_all(options: FaultOptions) -> Vec<Event> {
        let mut faults = Faults::new(options, 3);
        let mut out: Vec<Event> = (0..60).flat_map(|second| faults.pass(second * 1000, pings(second))).collect();
        out.extend(faults.rest());
        out
    }

    #[test]
    fn without_faults_everything_passes_at_once_and_in_order() {
        let expected: Vec<Event> = (0..60).flat_map(pings).collect();
        assert_eq!(pass_all(FaultOptions::default()), expected);
    }

    #[test]
    fn faults_disturb_and_repeat_but_lose_nothing_and_repeat_themselves_by_seed() {
        let options = FaultOptions { offline: 0.01, offline_seconds: 10.0, duplicates: 0.1, reorder: 0.1, skewed: 0.5, skew_seconds: 30.0 };
        let out = pass_all(options);
        assert_eq!(out, pass_all(options));
        let mut ids: Vec<&str> = out.iter().map(|event| event.event_id.as_str()).collect();
        assert!(ids.len() > 3_100, "{}", ids.len());
        assert!(out.windows(2).any(|pair| pair[0].event_time_ms > pair[1].event_time_ms + 9_000));
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 3_000);
    }
}
