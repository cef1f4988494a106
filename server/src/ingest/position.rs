//! How far into the log a request's events stand, as the text of the `Waypost-Position` header. Pure.

use std::cmp::Reverse;
use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::model::id::{Offset, PartitionId};

/// The furthest offset in each partition, by partition: `partition:offset`, joined by commas.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogPosition(Vec<(PartitionId, Offset)>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a position is a list of partition:offset, as an answer to POST /v1/events gave it")]
pub struct InvalidPosition;

impl LogPosition {
    /// Of places in a log of so many `partitions`.
    pub fn of(partitions: u16, places: impl Iterator<Item = (PartitionId, Offset)>) -> Self {
        let mut furthest = vec![None; usize::from(partitions)];
        for (partition, offset) in places {
            let known = &mut furthest[partition.index()];
            *known = (*known).max(Some(offset));
        }
        let reached = |(partition, offset): (u16, Option<Offset>)| offset.map(|offset| (PartitionId(partition), offset));
        Self((0..partitions).zip(furthest).filter_map(reached).collect())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = (PartitionId, Offset)> {
        self.0.iter().copied()
    }
}

impl fmt::Display for LogPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut number = itoa::Buffer::new();
        for (index, (partition, offset)) in self.0.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { "," })?;
            f.write_str(number.format(partition.0))?;
            f.write_str(":")?;
            f.write_str(number.format(offset.0))?;
        }
        Ok(())
    }
}

impl FromStr for LogPosition {
    type Err = InvalidPosition;

    fn from_str(text: &str) -> Result<Self, InvalidPosition> {
        let place = |part: &str| {
            let (partition, offset) = part.split_once(':')?;
            Some((PartitionId(partition.parse().ok()?), Offset(offset.parse().ok()?)))
        };
        let places: Option<Vec<_>> = text.split(',').map(place).collect();
        let mut furthest = places.ok_or(InvalidPosition)?;
        furthest.sort_unstable_by_key(|(partition, offset)| (*partition, Reverse(*offset)));
        furthest.dedup_by_key(|(partition, _)| *partition);
        Ok(Self(furthest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_survives_its_text_and_keeps_the_furthest_offset() {
        let position = LogPosition::of(8, [(PartitionId(7), Offset(3)), (PartitionId(2), Offset(9)), (PartitionId(7), Offset(1))].into_iter());
        assert_eq!(position.to_string(), "2:9,7:3");
        assert_eq!("7:1,2:9,7:3".parse().as_ref(), Ok(&position));
        assert_eq!(position.to_string().parse(), Ok(position));
        for text in ["", "1", "1:", "x:1", "1:-1", "1:1,", "70000:1"] {
            assert_eq!(text.parse::<LogPosition>(), Err(InvalidPosition), "{text}");
        }
    }
}
