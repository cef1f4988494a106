//! The numbers of a session's frames on the wire (`Frame.tick`, `Ack.tick`, `Source.tick`): they only grow, and tell the tick. Never counts ticks itself.

use crate::map::cells::Tick;

/// A tick, and how many frames of it came before: between two ticks a view is answered with a frame of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Stamp(pub(super) u64);

impl Stamp {
    /// A session may change its view some twenty times a second; what goes beyond this in one tick borrows from the next.
    const FRAME_BITS: u32 = 8;

    pub(super) fn tick(self) -> Tick {
        Tick(self.0 >> Self::FRAME_BITS)
    }

    /// Of the next frame, which holds the map as of `tick` at least.
    #[must_use]
    pub(super) fn next_at(self, tick: Tick) -> Self {
        Self((tick.0 << Self::FRAME_BITS).max(self.0 + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_grow_and_tell_their_tick() {
        let first = Stamp::default().next_at(Tick(7));
        let second = first.next_at(Tick(7));
        let third = second.next_at(Tick(8));
        assert!(first < second && second < third);
        assert_eq!([first, second, third].map(Stamp::tick), [Tick(7), Tick(7), Tick(8)]);
    }
}
