//! The numbers of a session's frames on the wire (`Frame.tick`, `Ack.tick`, `Source.tick`): they only grow, and tell the tick. Never counts ticks itself.

use crate::map::cells::Tick;

/// A tick, how many frames of it came before (between two ticks a view is answered with a frame of its own), and whether this is the client's to come
/// back with: it is not while cells of its view are not told yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Stamp(pub(super) u64);

impl Stamp {
    const FRAME_BITS: u32 = 8;
    const HOLDS_ALL: u64 = 1;

    pub(super) fn tick(self) -> Tick {
        Tick(self.0 >> Self::FRAME_BITS)
    }

    /// The tick as of which its frame leaves the client at least, cell by cell; none when there are cells of which it has nothing.
    pub(super) fn held(self) -> Option<Tick> {
        (self.0 & Self::HOLDS_ALL != 0).then_some(self.tick())
    }

    /// Of the next frame, after which everything is held as of `floor` at least. A frame beyond those that a tick has numbers for borrows from the next
    /// tick, and then holds nothing for certain.
    #[must_use]
    pub(super) fn next_at(self, tick: Tick, floor: Option<Tick>) -> Self {
        let first = floor.unwrap_or(tick).0 << Self::FRAME_BITS;
        let number = (self.0 & !Self::HOLDS_ALL).saturating_add(2).max(first);
        let holds_all = floor.is_some_and(|floor| number >> Self::FRAME_BITS <= floor.0);
        Self(if holds_all { number | Self::HOLDS_ALL } else { number })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_grow_and_tell_their_tick() {
        let first = Stamp::default().next_at(Tick(7), Some(Tick(7)));
        let second = first.next_at(Tick(7), None);
        let third = second.next_at(Tick(8), Some(Tick(8)));
        assert!(first < second && second < third);
        assert_eq!([first, second, third].map(Stamp::tick), [Tick(7), Tick(7), Tick(8)]);
        assert_eq!([first, second, third].map(Stamp::held), [Some(Tick(7)), None, Some(Tick(8))]);
    }

    #[test]
    fn a_stamp_never_claims_more_than_is_held() {
        let mut stamp = Stamp::default().next_at(Tick(9), Some(Tick(9)));
        for _ in 0..1_000 {
            let next = stamp.next_at(Tick(12), Some(Tick(10)));
            assert!(next > stamp && next.held().is_none_or(|held| held <= Tick(10)));
            stamp = next;
        }
        assert_eq!(stamp.next_at(Tick(100), Some(Tick(100))).held(), Some(Tick(100)));
    }
}
