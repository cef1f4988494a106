//! Levels of detail: which H3 resolution a zoom is shown at, and what its cells hold. Never counts anything itself.

use h3o::{CellIndex, Resolution};

use crate::model::position::Position;

/// From the finest to the coarsest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Level {
    /// Markers as they are.
    Markers8,
    /// Markers at rounded positions, without heading and speed.
    Markers6,
    /// Counts by status.
    Counts4,
    Counts2,
    Counts1,
}

/// What `benches/curves.rs` compares is built in by `WAYPOST_BUILD_FINEST`: a size that is no constant would cost each look at a cell.
const FINEST: Resolution = match option_env!("WAYPOST_BUILD_FINEST") {
    Some(resolution) => match resolution.as_bytes() {
        b"7" => Resolution::Seven,
        b"9" => Resolution::Nine,
        _ => panic!("WAYPOST_BUILD_FINEST is 7 or 9"),
    },
    None => Resolution::Eight,
};

impl Level {
    pub const ALL: [Self; 5] = [Self::Markers8, Self::Markers6, Self::Counts4, Self::Counts2, Self::Counts1];

    /// How many levels hold markers: the first ones of `ALL`.
    pub const OF_MARKERS: usize = 2;

    /// Positions of `Markers6` are rounded to this: 2e-4 degrees, 22 m.
    pub const QUANTUM_E7: i32 = 2_000;

    /// Zooms as in `MapLibre`.
    pub fn for_zoom(zoom: f64) -> Self {
        match zoom {
            zoom if zoom >= 13.0 => Self::Markers8,
            zoom if zoom >= 10.0 => Self::Markers6,
            zoom if zoom >= 7.0 => Self::Counts4,
            zoom if zoom >= 4.0 => Self::Counts2,
            _ => Self::Counts1,
        }
    }

    pub fn index(self) -> usize {
        self as usize
    }

    pub fn coarser(self) -> Option<Self> {
        Self::ALL.get(self.index() + 1).copied()
    }

    pub fn resolution(self) -> Resolution {
        match self {
            Self::Markers8 => FINEST,
            Self::Markers6 => Resolution::Six,
            Self::Counts4 => Resolution::Four,
            Self::Counts2 => Resolution::Two,
            Self::Counts1 => Resolution::One,
        }
    }

    pub fn is_counts(self) -> bool {
        self >= Self::Counts4
    }

    /// This level's cell above a cell of the finest level.
    pub fn cell_above(self, finest: CellIndex) -> CellIndex {
        finest.parent(self.resolution()).expect("every level is at most as fine as the finest")
    }

    /// The bits of a marker's `meta` as this level shows them: the coarser level of markers leaves heading and speed out, so that a turn is no
    /// change there.
    pub fn masked(self, meta: u32) -> u32 {
        if self == Self::Markers8 { meta } else { meta & 0xff00_007f }
    }

    /// The position as this level shows it.
    pub fn shown(self, position: Position) -> Position {
        if self == Self::Markers8 {
            return position;
        }
        let rounded =
            |value: i32| (value + if value < 0 { -Self::QUANTUM_E7 / 2 } else { Self::QUANTUM_E7 / 2 }) / Self::QUANTUM_E7 * Self::QUANTUM_E7;
        Position::from_e7(rounded(position.lat_e7()), rounded(position.lng_e7()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rounded_position_is_at_most_half_a_quantum_away_also_at_the_antimeridian() {
        for (lat, lng) in [(57.123_456_7, 11.987_654_3), (-89.999_99, 179.999_99), (0.000_05, -179.999_99)] {
            let exact = Position::from_degrees(lat, lng).unwrap();
            let shown = Level::Markers6.shown(exact);
            assert!((exact.lat() - shown.lat()).abs() <= 1.001e-4);
            let gap = (exact.lng() - shown.lng()).abs();
            assert!(gap <= 1.001e-4 || gap >= 360.0 - 1.001e-4, "{gap}");
        }
    }

    #[test]
    fn every_zoom_has_its_level() {
        use Level::{Counts1, Counts2, Counts4, Markers6, Markers8};
        let levels = [24.0, 13.0, 12.99, 10.0, 9.5, 7.0, 4.0, 3.9, 0.0].map(Level::for_zoom);
        assert_eq!(levels, [Markers8, Markers8, Markers6, Markers6, Counts4, Counts4, Counts2, Counts1, Counts1]);
    }
}
