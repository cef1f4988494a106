//! Tells a duplicate from a new event, where the partition is single-file. Pure: the appender asks it before each write.

pub(crate) mod ids;

use crate::model::id::{Offset, PartitionId};
use crate::model::time::UnixMs;
use ids::{Id, Ids};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DedupOptions {
    /// An id is kept until the watermark passes its event time by this much.
    pub allowed_lateness_ms: i64,
    /// The watermark is the partition's greatest effective time less this.
    pub disorder_bound_ms: i64,
    /// Ids kept at most, over all partitions; beyond it the soonest to expire go early, an eighth of each table in turn.
    pub max_ids: usize,
    /// Ids past their time are kept, too, while there are no more than this in all: a replay of an old file is still recognised.
    pub lazy_ids: usize,
}

impl Default for DedupOptions {
    fn default() -> Self {
        Self { allowed_lateness_ms: 600_000, disorder_bound_ms: 60_000, max_ids: 8 << 20, lazy_ids: 1 << 20 }
    }
}

/// What the appender needs to know of an event.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    pub partition: PartitionId,
    /// xxh3-128 of (tenant, routing key, event id), and of the actor where the id is its own.
    pub identity: u128,
    /// xxh3-64 of everything but the stamp, and but the time where the sender gave none.
    pub content: u64,
    pub event_time: UnixMs,
    pub effective_time: UnixMs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Not seen before. `late`: so old that an earlier copy may have been forgotten.
    New {
        late: bool,
    },
    Duplicate {
        offset: Offset,
    },
    ContentDiffers {
        offset: Offset,
    },
}

/// A table holds about as many ids when there are `max_ids` in all: what one block may have to wait for when it grows or is swept.
const IDS_PER_TABLE: usize = 4096;

#[derive(Debug)]
pub struct Dedup {
    options: DedupOptions,
    partitions: Vec<Partition>,
    total: usize,
    evicted_early: u64,
    /// Of each partition.
    tables: usize,
    /// The table swept last, of all partitions'.
    turn: usize,
    /// Sweeps wait until this many ids are held, so that their cost is spread over what came since the last one.
    next_sweep: usize,
}

#[derive(Debug)]
struct Partition {
    ids: Ids,
    greatest_effective: UnixMs,
}

impl Dedup {
    pub fn new(partitions: u16, options: DedupOptions) -> Self {
        let count = usize::from(partitions);
        let tables = options.max_ids.div_ceil(IDS_PER_TABLE).div_ceil(count.max(1)).next_power_of_two();
        let partition = |index| Partition { ids: Ids::new(tables, index, count), greatest_effective: UnixMs(i64::MIN / 2) };
        let (partitions, next_sweep) = ((0..count).map(partition).collect(), options.lazy_ids.min(options.max_ids));
        Self { options, partitions, total: 0, evicted_early: 0, tables, turn: 0, next_sweep }
    }

    /// Judges an event and, when it is new, remembers it at `offset`.
    pub fn judge(&mut self, candidate: Candidate, offset: Offset) -> Verdict {
        let late = self.is_late(candidate);
        let partition = &mut self.partitions[candidate.partition.index()];
        let id = self.options.id(candidate, offset);
        if let Some(known) = partition.ids.add(id) {
            let offset = Offset(known.offset);
            return if known.content == id.content { Verdict::Duplicate { offset } } else { Verdict::ContentDiffers { offset } };
        }
        partition.greatest_effective = partition.greatest_effective.max(candidate.effective_time);
        self.total += 1;
        if self.total >= self.next_sweep {
            self.sweep();
        }
        Verdict::New { late }
    }

    /// Looks for these and changes nothing: done for all before the first is judged, the waits for memory overlap.
    pub fn look_ahead(&self, candidates: impl Iterator<Item = (PartitionId, u128)>) {
        let known = candidates.filter(|(partition, identity)| self.partitions[partition.index()].ids.find(split(*identity)).is_some());
        // What is found is of no use here; without a use it would not be looked for.
        std::hint::black_box(known.count());
    }

    /// Takes an event from the log, where it stands at `offset`, while the ids are rebuilt.
    pub fn remember(&mut self, candidate: Candidate, offset: Offset) {
        let id = self.options.id(candidate, offset);
        let partition = &mut self.partitions[candidate.partition.index()];
        partition.greatest_effective = partition.greatest_effective.max(candidate.effective_time);
        match partition.ids.add(id) {
            Some(known) => *known = id,
            None => self.total += 1,
        }
    }

    pub fn len(&self) -> usize {
        self.total
    }

    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// How many ids had to go before their time.
    pub fn evicted_early(&self) -> u64 {
        self.evicted_early
    }

    /// For a snapshot: each partition's greatest effective time, how many ids it has, and those.
    pub(crate) fn parts(&self) -> impl Iterator<Item = (UnixMs, usize, impl Iterator<Item = &Id>)> {
        self.partitions.iter().map(|partition| (partition.greatest_effective, partition.ids.len(), partition.ids.iter()))
    }

    /// From a snapshot.
    pub(crate) fn restore(&mut self, partition: PartitionId, greatest_effective: UnixMs, ids: impl ExactSizeIterator<Item = Id>) {
        let restored = &mut self.partitions[partition.index()];
        restored.greatest_effective = greatest_effective;
        restored.ids.reserve(ids.len());
        for id in ids {
            self.total += usize::from(restored.ids.add(id).is_none());
        }
    }

    fn is_late(&self, candidate: Candidate) -> bool {
        let watermark = self.partitions[candidate.partition.index()].greatest_effective.0 - self.options.disorder_bound_ms;
        candidate.event_time.0.saturating_add(self.options.allowed_lateness_ms) < watermark
    }

    /// Drops what is past its time, of one table in turn, so that no block waits for a walk over all. At the bound that is
    /// not enough, and there what is next to expire goes early.
    fn sweep(&mut self) {
        self.sweep_next();
        while self.total >= self.options.max_ids {
            self.evict_early();
            if self.total >= self.options.max_ids {
                self.sweep_next();
            }
        }
        // Once round all tables in the time in which an eighth of the bound comes in.
        let room = (self.options.max_ids / 8 / (self.partitions.len() * self.tables)).max(1);
        self.next_sweep = (self.total + room).min(self.options.max_ids).max(self.options.lazy_ids.min(self.options.max_ids));
    }

    fn sweep_next(&mut self) {
        self.turn = (self.turn + 1) % (self.partitions.len() * self.tables);
        let partition = &mut self.partitions[self.turn / self.tables];
        let watermark_s = seconds(partition.greatest_effective.0 - self.options.disorder_bound_ms);
        let ids = partition.ids.table(self.turn % self.tables);
        let before = ids.len();
        ids.retain(|id| id.keep_until_s >= watermark_s);
        self.total -= before - ids.len();
    }

    /// Makes room for an eighth of the table in turn, soonest to expire first.
    fn evict_early(&mut self) {
        let ids = self.partitions[self.turn / self.tables].ids.table(self.turn % self.tables);
        if ids.is_empty() {
            return;
        }
        let mut times: Vec<u32> = ids.iter().map(|id| id.keep_until_s).collect();
        let goal = times.len().div_ceil(8);
        let (_, limit, _) = times.select_nth_unstable(goal - 1);
        let (limit, mut left) = (*limit, goal);
        ids.retain(|id| {
            let goes = left > 0 && id.keep_until_s <= limit;
            left -= usize::from(goes);
            !goes
        });
        self.total -= goal;
        self.evicted_early += goal as u64;
    }
}

impl DedupOptions {
    fn id(&self, candidate: Candidate, offset: Offset) -> Id {
        let keep_until_s = self.keep_until_s(candidate.event_time);
        Id { identity: split(candidate.identity), offset: offset.0, content: short(candidate.content), keep_until_s }
    }

    fn keep_until_s(&self, event_time: UnixMs) -> u32 {
        seconds(event_time.0.saturating_add(self.allowed_lateness_ms).saturating_add(999))
    }
}

fn split(identity: u128) -> [u64; 2] {
    let bytes = identity.to_le_bytes();
    let half = |range: std::ops::Range<usize>| u64::from_le_bytes(bytes[range].try_into().expect("eight bytes"));
    [half(0..8), half(8..16)]
}

#[expect(clippy::cast_possible_truncation, reason = "32 bits of a hash are enough to tell that content differs")]
fn short(content: u64) -> u32 {
    content as u32
}

/// Whole Unix seconds, held inside 1970 to 2106.
fn seconds(ms: i64) -> u32 {
    u32::try_from((ms / 1000).max(0)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};

    use super::*;

    fn candidate(identity: u128, content: u64, time: i64) -> Candidate {
        Candidate { partition: PartitionId(0), identity, content, event_time: UnixMs(time), effective_time: UnixMs(time) }
    }

    #[test]
    fn the_same_event_is_a_duplicate_at_its_first_offset_and_other_content_differs() {
        let mut dedup = Dedup::new(1, DedupOptions::default());
        assert_eq!(dedup.judge(candidate(1, 7, 1000), Offset(5)), Verdict::New { late: false });
        assert_eq!(dedup.judge(candidate(1, 7, 1000), Offset(6)), Verdict::Duplicate { offset: Offset(5) });
        assert_eq!(dedup.judge(candidate(1, 8, 1000), Offset(6)), Verdict::ContentDiffers { offset: Offset(5) });
        assert_eq!(dedup.len(), 1);
    }

    #[test]
    fn an_event_older_than_the_window_is_late() {
        let mut dedup = Dedup::new(1, DedupOptions::default());
        dedup.judge(candidate(1, 0, 1_000_000_000), Offset(0));
        let edge = 1_000_000_000 - 660_000;
        assert_eq!(dedup.judge(candidate(2, 0, edge), Offset(1)), Verdict::New { late: false });
        assert_eq!(dedup.judge(candidate(3, 0, edge - 1), Offset(2)), Verdict::New { late: true });
    }

    #[test]
    fn the_bound_holds_and_early_eviction_is_counted() {
        let mut dedup = Dedup::new(2, DedupOptions { max_ids: 64, lazy_ids: 16, ..DedupOptions::default() });
        for n in 0..1000_u32 {
            dedup.judge(candidate(u128::from(n) * 0x1_0000_0001, 0, i64::from(n)), Offset(u64::from(n)));
            assert!(dedup.len() <= 64);
        }
        assert!(dedup.evicted_early() > 0);
    }

    fn options() -> DedupOptions {
        DedupOptions { lazy_ids: 16, max_ids: 4096, ..DedupOptions::default() }
    }

    proptest! {
        /// Against a model that keeps every id for ever: what the window still covers is answered as the model does, what it does not may be
        /// forgotten, and `late` is said of exactly those that the window does not cover.
        #[test]
        fn it_forgets_only_what_is_past_the_window(events in prop::collection::vec((0_u16..3, 0_u128..60, 0_u64..3, 0_i64..4_000_000), 1..400)) {
            let mut dedup = Dedup::new(3, options());
            let mut model = std::collections::HashMap::new();
            let mut greatest = [i64::MIN / 2; 3];
            for (index, (partition, id, content, time)) in events.into_iter().enumerate() {
                let offset = Offset(index as u64);
                let candidate = Candidate { partition: PartitionId(partition), ..candidate(id, content, time) };
                let watermark = greatest[usize::from(partition)] - options().disorder_bound_ms;
                match dedup.judge(candidate, offset) {
                    Verdict::New { late } => {
                        prop_assert_eq!(late, time + options().allowed_lateness_ms < watermark);
                        if let Some((_, _, first_time)) = model.insert((partition, id), (content, offset, time)) {
                            prop_assert!(first_time + options().allowed_lateness_ms < watermark, "forgotten too early");
                        }
                        let greatest = &mut greatest[usize::from(partition)];
                        *greatest = time.max(*greatest);
                    }
                    Verdict::Duplicate { offset } => {
                        let (first, at, _) = model[&(partition, id)];
                        prop_assert_eq!((first, at), (content, offset));
                    }
                    Verdict::ContentDiffers { offset } => {
                        let (first, at, _) = model[&(partition, id)];
                        prop_assert!(first != content && at == offset);
                    }
                }
            }
            prop_assert_eq!(dedup.evicted_early(), 0);
        }

        /// Inside the window the answer is exactly a map's, whatever was swept meanwhile.
        #[test]
        fn inside_the_window_it_answers_as_a_map_does(events in prop::collection::vec((0_u128..200, 0_u64..3, 0_i64..500_000, any::<bool>()), 1..400)) {
            let mut dedup = Dedup::new(1, DedupOptions { lazy_ids: 4, ..DedupOptions::default() });
            let mut model = std::collections::HashMap::new();
            for (index, (id, content, time, _)) in events.into_iter().enumerate() {
                let offset = Offset(index as u64);
                let expected = match model.get(&id) {
                    None => { model.insert(id, (content, offset)); Verdict::New { late: false } }
                    Some((first, at)) if *first == content => Verdict::Duplicate { offset: *at },
                    Some((_, at)) => Verdict::ContentDiffers { offset: *at },
                };
                prop_assert_eq!(dedup.judge(candidate(id, content, time), offset), expected);
            }
        }
    }
}
