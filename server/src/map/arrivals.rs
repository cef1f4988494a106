//! Which places of the map something new arrived at, in their order, so that a search in pieces finds what goes past it. Remembers so many.

use std::collections::VecDeque;

use crate::slots::Slot;

/// Places at which a marker appeared, or took another delivery or name.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    latest: VecDeque<Slot>,
    count: u64,
}

const MOST: usize = 65_536;

impl Arrivals {
    pub(super) fn note(&mut self, slot: Slot) {
        if self.latest.len() == MOST {
            self.latest.pop_front();
        }
        self.latest.push_back(slot);
        self.count += 1;
    }

    /// How many there were ever.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Those after the first `before`; `None` when they are not all remembered.
    pub(super) fn since(&self, before: u64) -> Option<impl Iterator<Item = Slot>> {
        let wanted = usize::try_from(self.count - before).ok()?;
        let skipped = self.latest.len().checked_sub(wanted)?;
        Some(self.latest.range(skipped..).copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_tells_the_latest_or_that_it_does_not_know_them_all() {
        let mut arrivals = Arrivals::default();
        (0..3).for_each(|slot| arrivals.note(slot));
        assert_eq!(arrivals.since(1).map(Iterator::collect), Some(vec![1, 2]));
        assert_eq!(arrivals.since(3).map(Iterator::count), Some(0));
        (3..).take(MOST).for_each(|slot| arrivals.note(slot));
        assert_eq!(arrivals.since(3).map(Iterator::count), Some(MOST));
        assert!(arrivals.since(2).is_none());
    }
}
