//! What a lens counts in a cell of counts, and where those counts stand. Never says who they are of.

use hashbrown::HashSet;

use super::lens::Filter;
use super::middle;
use crate::map::TenantMap;
use crate::map::boxes::wrapped;
use crate::map::cells::{Cell, CellKey, status_code};
use crate::map::counts::StatusCounts;
use crate::map::levels::Level;
use crate::map::placed::Placed;
use crate::model::position::Position;
use crate::model::scope::{Overlap, Scope};

#[derive(Clone, Copy, Debug)]
pub(super) struct Tally {
    pub(super) counts: StatusCounts,
    pub(super) place: Position,
}

/// Who sees all is told the cell's own counts, unless tags are asked for; a list of ids is looked up id by id, and of an area only the cells on its edge are looked into.
pub(super) fn of(map: &TenantMap, cell: &Cell, filter: &Filter) -> Tally {
    let scope = filter.scope();
    if scope.is_all() && !filter.asks_for_tags() {
        return Tally { counts: held(cell, filter), place: middle::of_counts(map, cell) };
    }
    let mut sum = Sum { filter, centre: cell.origin(), counts: StatusCounts::default(), north: 0.0, east: 0.0, markers: 0.0 };
    if let Some(deliveries) = scope.deliveries() {
        let carriers: HashSet<_> = deliveries.iter().filter_map(|id| map.by_delivery(id)).map(|placed| placed.marker.handle()).collect();
        carriers.into_iter().filter_map(|handle| map.marker(handle)).for_each(|placed| sum.add_in(map, cell.key, placed));
    } else if let Some(drivers) = scope.drivers() {
        drivers.iter().filter_map(|id| map.by_driver(id)).for_each(|placed| sum.add_in(map, cell.key, placed));
    } else {
        sum.add_cell(map, cell);
    }
    sum.tally()
}

/// How the areas of a scope lie to the box of a cell, which holds each of its markers.
pub(super) fn overlap(cell: &Cell, scope: &Scope) -> Overlap {
    if scope.areas().is_empty() {
        return Overlap::All;
    }
    let each = cell.rects().into_iter().map(|rect| scope.overlap(rect.west, rect.south, rect.east, rect.north));
    each.reduce(|all, one| if all == one { one } else { Overlap::Some }).unwrap_or(Overlap::None)
}

fn held(cell: &Cell, filter: &Filter) -> StatusCounts {
    let mut counts = StatusCounts::default();
    let all = if filter.asks_for_late_risk() { cell.counts().late() } else { cell.counts().all() };
    for (code, markers) in (0_u8..).zip(all) {
        if filter.holds_status(code) {
            counts[usize::from(code)] = markers;
        }
    }
    counts
}

struct Sum<'a> {
    filter: &'a Filter,
    centre: Position,
    counts: StatusCounts,
    north: f64,
    east: f64,
    markers: f64,
}

impl Sum<'_> {
    fn add_in(&mut self, map: &TenantMap, key: CellKey, placed: &Placed) {
        if map.stands_in(placed, key) {
            self.add(placed);
        }
    }

    fn add(&mut self, placed: &Placed) {
        let Some(seen) = self.filter.seen(&placed.marker) else { return };
        self.counts[usize::from(status_code(&seen))] += 1;
        self.weigh(seen.position(), 1.0);
    }

    /// Adds what of a cell lies in the area.
    fn add_cell(&mut self, map: &TenantMap, cell: &Cell) {
        let level = cell.key.level;
        match overlap(cell, self.filter.scope()) {
            Overlap::None => {}
            Overlap::All if level.is_counts() && !self.filter.asks_for_tags() => {
                let counts = held(cell, self.filter);
                self.counts.iter_mut().zip(counts).for_each(|(sum, markers)| *sum += markers);
                self.weigh(middle::of_counts(map, cell), counts.into_iter().map(f64::from).sum());
            }
            // A cell does not count what is tagged: the markers below it are asked.
            Overlap::All | Overlap::Some if level.is_counts() => {
                let finer = Level::ALL[level.index() - 1];
                for child in cell.key.cell.children(finer.resolution()) {
                    if let Some(child) = map.cell(CellKey { level: finer, cell: child }) {
                        self.add_cell(map, child);
                    }
                }
            }
            Overlap::All | Overlap::Some => map.members(cell).for_each(|placed| self.add(placed)),
        }
    }

    fn weigh(&mut self, place: Position, markers: f64) {
        self.north += (place.lat() - self.centre.lat()) * markers;
        self.east += wrapped(place.lng() - self.centre.lng()) * markers;
        self.markers += markers;
    }

    fn tally(self) -> Tally {
        let (lat, lng) = (self.centre.lat() + self.north / self.markers, self.centre.lng() + self.east / self.markers);
        let place = Some(self.centre).filter(|_| self.markers <= 0.0).or_else(|| Position::from_degrees(lat, wrapped(lng)).ok());
        Tally { counts: self.counts, place: place.unwrap_or(self.centre) }
    }
}
