//! What a cell knows of the markers in it, as its level needs it. Never looks at one.

use super::counts::{Counted, Counts};
use super::levels::Level;
use crate::slots::Slot;

#[derive(Debug)]
pub(super) enum Held {
    /// Of the finest level: where each is kept.
    Members(Vec<Slot>),
    /// Of a coarser level of markers: how many there are. Which those are the finest cells below know.
    Below(u32),
    /// Of a level of counts.
    Counts(Box<Counts>),
}

impl Held {
    pub(super) fn of(level: Level) -> Self {
        match level {
            Level::Markers8 => Self::Members(Vec::new()),
            Level::Markers6 => Self::Below(0),
            Level::Counts4 | Level::Counts2 | Level::Counts1 => Self::Counts(Box::default()),
        }
    }

    pub(super) fn markers(&self) -> u32 {
        match self {
            Self::Members(members) => u32::try_from(members.len()).unwrap_or(u32::MAX),
            Self::Below(markers) => *markers,
            Self::Counts(counts) => counts.markers(),
        }
    }

    /// Takes a marker in; says at which index it is, where there are any.
    pub(super) fn admit(&mut self, slot: Slot, counted: Counted) -> Option<u32> {
        match self {
            Self::Members(members) => {
                if members.len() == members.capacity() {
                    // In small steps: most of what twice as much has room for would stand empty in very many cells.
                    members.reserve_exact((members.len() / 4).max(4));
                }
                members.push(slot);
                return u32::try_from(members.len() - 1).ok();
            }
            Self::Below(markers) => *markers += 1,
            Self::Counts(counts) => counts.add(counted),
        }
        None
    }

    /// Takes a marker out, where there are indices that at `index`; returns the one that is at that index now.
    pub(super) fn dismiss(&mut self, index: u32, counted: Counted) -> Option<Slot> {
        match self {
            Self::Members(members) => {
                members.swap_remove(index as usize);
                return members.get(index as usize).copied();
            }
            Self::Below(markers) => *markers -= 1,
            Self::Counts(counts) => counts.remove(counted),
        }
        None
    }
}
