//! Keeps the deliveries nearest to a place, of those that a search meets. Looks for none itself.

use std::f64::consts::PI;

use hashbrown::HashSet;

use super::{Keep, Seek};
use crate::map::query::{Found, Kept as _, Row, RowFilter};
use crate::map::viewport::Viewport;
use crate::model::position::{EARTH_RADIUS_M, Position};

/// The deliveries nearest to a place.
#[derive(Debug)]
pub struct Nearest {
    place: Position,
    limit: usize,
    /// What is farther away is not looked for.
    within_m: f64,
    next_radius_m: f64,
    found: Vec<(f64, Row)>,
}

impl Nearest {
    const FIRST_RADIUS_M: f64 = 500.0;
    /// Found ones are sorted out when there are so many more than asked for.
    const SLACK: usize = 1_024;

    /// The nearest first, equal distances by id; each delivery once, no more than asked for.
    fn sort_out(&mut self) {
        self.found.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.delivery.cmp(&b.1.delivery)));
        let mut seen = HashSet::new();
        self.found.retain(|(_, row)| seen.insert(row.delivery.clone()));
        if self.found.len() >= self.limit {
            self.found.truncate(self.limit);
            self.within_m = self.found.last().map_or(self.within_m, |(farthest, _)| *farthest);
        }
    }
}

impl Seek<Nearest> {
    /// The `limit` deliveries nearest to a place.
    pub fn nearest(place: Position, filter: RowFilter, limit: usize) -> Self {
        let keep = Nearest { place, limit: limit.max(1), within_m: f64::INFINITY, next_radius_m: Nearest::FIRST_RADIUS_M, found: Vec::new() };
        Self::new(filter, keep)
    }

    /// With their distances in metres, the nearest first; equal distances by id.
    pub fn answer(mut self) -> Vec<(f64, Row)> {
        self.keep.sort_out();
        self.keep.found
    }
}

impl Keep for Nearest {
    fn next_box(&mut self) -> Option<Viewport> {
        self.found.clear();
        self.within_m = self.next_radius_m;
        self.next_radius_m *= 4.0;
        (self.within_m < EARTH_RADIUS_M * PI).then(|| Viewport::around(self.place, self.within_m))
    }

    fn has_all(&self) -> bool {
        self.found.len() >= self.limit
    }

    fn everywhere(&mut self) {
        self.found.clear();
        self.within_m = f64::INFINITY;
    }

    fn take(&mut self, found: &Found<'_>) {
        let distance_m = self.place.distance_m(found.marker.position());
        if distance_m > self.within_m {
            return;
        }
        self.found.push((distance_m, Row::of(found)));
        if self.found.len() >= self.limit + Self::SLACK {
            self.sort_out();
        }
    }
}
