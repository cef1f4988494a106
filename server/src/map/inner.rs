//! The hexagon that lies inside an H3 cell, small enough to go with each marker: who is in it need not ask H3. Never asks where a position is.

use h3o::{CellIndex, LatLng};

use super::boxes::wrapped;
use crate::model::position::Position;

/// A hexagon around a cell's centre that lies inside the cell, given by the distances from its three pairs of opposite sides:
/// `|first| < 1`, `|second| < 1` and `|second - first| < 1`, for a small hexagon on the globe is a regular one, stretched and turned.
#[derive(Clone, Copy, Debug)]
pub(super) struct InnerHexagon {
    lat_e7: i32,
    lng_e7: i32,
    first: Axis,
    second: Axis,
}

/// Grows by one from the centre to a side.
#[derive(Clone, Copy, Debug)]
struct Axis {
    by_lat: f32,
    by_lng: f32,
}

impl InnerHexagon {
    /// Nobody is in it: no comparison with what is no number holds.
    pub(super) const EMPTY: Self = {
        let nowhere = Axis { by_lat: f32::NAN, by_lng: f32::NAN };
        Self { lat_e7: 0, lng_e7: 0, first: nowhere, second: nowhere }
    };

    /// Beyond this latitude a side bends too far from the straight line between its ends.
    const MAX_LAT_DEG: f64 = 80.0;
    /// Of the distance to a side. The rest, 4 m in the finest cells, is for sides that bend (3 cm at the greatest latitude) and for rounding.
    const SHARE: f64 = 0.99;

    /// Empty for what is no hexagon or lies close to a pole.
    pub(super) fn of(cell: CellIndex) -> Self {
        let middle = LatLng::from(cell);
        let boundary = cell.boundary();
        if boundary.len() != 6 || middle.lat().abs() > Self::MAX_LAT_DEG {
            return Self::EMPTY;
        }
        let centre = Position::from_degrees(middle.lat(), middle.lng()).unwrap_or(Position::from_e7(0, 0));
        let mut corners = [(0.0, 0.0); 6];
        for (corner, at) in corners.iter_mut().zip(boundary.iter()) {
            *corner = ((at.lat() - centre.lat()) * 1e7, wrapped(at.lng() - centre.lng()) * 1e7);
        }
        let sides: [(f64, f64); 6] = std::array::from_fn(|index| side_through(corners[index], corners[(index + 1) % 6]));
        let axis = |index: usize| ((sides[index].0 - sides[index + 3].0) / 2.0, (sides[index].1 - sides[index + 3].1) / 2.0);
        let (first, second) = (axis(0), axis(1));
        // How far the hexagon of these axes reaches beyond the cell's sides: as far as its corners do.
        let reach = corners_of(first, second)
            .into_iter()
            .flat_map(|corner| [corner, (-corner.0, -corner.1)])
            .flat_map(|corner| sides.map(|side| side.0 * corner.0 + side.1 * corner.1))
            .fold(1.0, f64::max);
        let shrunk = |axis: (f64, f64)| Axis { by_lat: narrowed(axis.0 * reach / Self::SHARE), by_lng: narrowed(axis.1 * reach / Self::SHARE) };
        Self { lat_e7: centre.lat_e7(), lng_e7: centre.lng_e7(), first: shrunk(first), second: shrunk(second) }
    }

    /// A position on the other side of 180 degrees counts as far away.
    #[expect(clippy::cast_precision_loss, reason = "what is near is exact, and what is far need not be")]
    pub(super) fn contains(&self, position: Position) -> bool {
        let lat = (position.lat_e7() - self.lat_e7) as f32;
        let lng = (i64::from(position.lng_e7()) - i64::from(self.lng_e7)) as f32;
        let (first, second) = (self.first.at(lat, lng), self.second.at(lat, lng));
        first.abs() < 1.0 && second.abs() < 1.0 && (second - first).abs() < 1.0
    }
}

impl Axis {
    fn at(self, lat: f32, lng: f32) -> f32 {
        self.by_lat * lat + self.by_lng * lng
    }
}

/// The line through two corners, as what is 0 at the centre and 1 on it.
fn side_through(from: (f64, f64), to: (f64, f64)) -> (f64, f64) {
    let across = from.0 * to.1 - from.1 * to.0;
    ((to.1 - from.1) / across, (from.0 - to.0) / across)
}

/// Three of the corners; the others are opposite.
fn corners_of(first: (f64, f64), second: (f64, f64)) -> [(f64, f64); 3] {
    let across = first.0 * second.1 - first.1 * second.0;
    [(1.0, 0.0), (1.0, 1.0), (0.0, 1.0)]
        .map(|(on_first, on_second)| ((on_first * second.1 - on_second * first.1) / across, (on_second * first.0 - on_first * second.0) / across))
}

#[expect(clippy::cast_possible_truncation, reason = "its rounding is a ten-thousandth of what `SHARE` leaves")]
fn narrowed(value: f64) -> f32 {
    value as f32
}

#[cfg(test)]
mod tests {
    use h3o::Resolution;
    use proptest::prelude::*;

    use super::*;

    fn cell_at(position: Position) -> CellIndex {
        LatLng::new(position.lat(), position.lng()).unwrap().to_cell(Resolution::Eight)
    }

    /// The null island is no position; its neighbour is.
    fn at(lat: f64, lng: f64) -> Position {
        Position::from_degrees(lat, lng).unwrap_or(Position::from_e7(1, 1))
    }

    /// Anywhere, at the poles, at the antimeridian, and at the vertices of the icosahedron, where cells are bent most.
    fn place() -> impl Strategy<Value = (f64, f64)> {
        let anywhere = (-90.0..90.0_f64, -180.0..180.0_f64);
        let antimeridian = (-85.0..85.0_f64, prop_oneof![179.99..180.0_f64, -180.0..-179.99_f64]);
        let pole = (prop_oneof![79.0..90.0_f64, -90.0..-79.0_f64], -180.0..180.0_f64);
        let vertex = (0..12_usize, -0.5..0.5_f64, -0.5..0.5_f64).prop_map(|(index, lat, lng)| {
            let pentagon = LatLng::from(Resolution::Eight.pentagons().nth(index).unwrap());
            (pentagon.lat() + lat, wrapped(pentagon.lng() + lng))
        });
        prop_oneof![4 => anywhere, 2 => antimeridian, 2 => pole, 2 => vertex]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn the_outermost_positions_in_an_inner_hexagon_are_in_its_cell((lat, lng) in place(), headings in prop::collection::vec(0.0..360.0_f64, 20)) {
            let cell = cell_at(at(lat, lng));
            let (inner, centre) = (InnerHexagon::of(cell), LatLng::from(cell));
            for heading in headings {
                let (sin, cos) = heading.to_radians().sin_cos();
                let away = |degrees: f64| {
                    let lng = centre.lng() + degrees * sin / centre.lat().to_radians().cos().max(1e-3);
                    at((centre.lat() + degrees * cos).clamp(-90.0, 90.0), wrapped(lng))
                };
                let (mut within, mut beyond) = (0.0, 0.02);
                for _ in 0..20 {
                    let between = f64::midpoint(within, beyond);
                    if inner.contains(away(between)) { within = between } else { beyond = between }
                }
                prop_assert!(!inner.contains(away(within)) || cell_at(away(within)) == cell, "{:?} is outside of {:?}", away(within), cell);
            }
        }
    }

    #[test]
    fn nearly_all_of_a_cell_is_in_its_inner_hexagon() {
        for (lat, lng) in [(57.7, 11.97), (-36.85, 174.76), (1.35, 103.82), (69.65, 18.96), (-54.8, -68.3)] {
            let cell = cell_at(at(lat, lng));
            let (inner, centre) = (InnerHexagon::of(cell), LatLng::from(cell));
            for corner in cell.boundary().iter() {
                let toward = |share: f64| {
                    let (lat, lng) = (share * (corner.lat() - centre.lat()), share * wrapped(corner.lng() - centre.lng()));
                    at(centre.lat() + lat, wrapped(centre.lng() + lng))
                };
                assert!(inner.contains(toward(0.97)) && !inner.contains(toward(0.995)), "{cell:?}");
            }
        }
    }

    #[test]
    fn nobody_is_in_an_empty_one() {
        assert!(!InnerHexagon::EMPTY.contains(Position::from_e7(0, 0)));
        let pole = cell_at(at(90.0, 0.0));
        assert!(!InnerHexagon::of(pole).contains(at(90.0, 0.0)));
    }
}
