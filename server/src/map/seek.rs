//! Looks for deliveries on the map: what is inside a box, what is nearest. What may be much is looked through in pieces, so that nobody waits long for
//! the map; never changes it.

pub mod list;
mod nearest;

use h3o::CellIndex;
use hashbrown::HashSet;

use super::TenantMap;
use super::cells::{Cell, CellKey};
use super::levels::Level;
use super::placed::Placed;
use super::query::{Found, RowFilter, Wanted};
use super::viewport::Viewport;
use crate::model::id::Handle;
use crate::model::marker::Marker;
use crate::model::position::Position;
use crate::slots::Slot;

/// A search under way. Asked with the map held, for one piece of it at a time.
///
/// A search that is over after one piece answers the map as it was at that moment. A longer one finds each delivery that is on the map from its
/// first piece to its last, also when it changes hands or place meanwhile, as it was when it was met.
#[derive(Debug)]
pub struct Seek<K> {
    wanted: Wanted,
    keep: K,
    walk: Option<Walk>,
    pieces: Pieces,
}

/// How much is looked at while the map is held.
#[derive(Clone, Copy, Debug)]
pub struct Pieces {
    /// Markers at most, in a box that is looked through at once.
    pub short: u32,
    /// Markers and what they carry, in a piece of a long search.
    pub piece: usize,
}

impl Default for Pieces {
    fn default() -> Self {
        Self { short: 4_096, piece: 4_096 }
    }
}

/// How far a search through all places has come.
#[derive(Clone, Copy, Debug)]
struct Walk {
    next: Slot,
    /// Of the arrivals on the map, those up to here have been looked at.
    since: u64,
    begun_anew: u8,
}

/// Places that are gone through between two looks at how much it was.
const STRIDE: Slot = 64;
/// Times that a walk begins anew because more arrived than is remembered.
const MOST_WALKS: u8 = 3;

/// What is looked for, and what of it was found.
pub trait Keep {
    /// A box that may hold all that is wanted, a larger one each time; what was found before is forgotten.
    fn next_box(&mut self) -> Option<Viewport>;
    /// Whether what was found in the box is all.
    fn has_all(&self) -> bool;
    /// Looks for it everywhere from here on.
    fn everywhere(&mut self);
    /// Of a delivery that is wanted.
    fn take(&mut self, found: &Found<'_>);
}

impl<K: Keep> Seek<K> {
    fn new(filter: RowFilter, keep: K) -> Self {
        Self { wanted: Wanted::new(filter), keep, walk: None, pieces: Pieces::default() }
    }

    /// Looks through one more piece of the tenant's map. True: there is nothing left to look at.
    pub fn go_on(&mut self, map: &TenantMap) -> bool {
        match self.walk {
            None => self.begin(map),
            Some(walk) => self.walk_on(map, walk),
        }
    }

    fn begin(&mut self, map: &TenantMap) -> bool {
        if let Some(named) = self.named(map) {
            for placed in named {
                self.look(placed);
            }
            return true;
        }
        while let Some(view) = self.keep.next_box() {
            let Some(cells) = self.few_cells(map, &view) else { break };
            for placed in standing_in(map, &cells, &view) {
                self.look(placed);
            }
            if self.keep.has_all() {
                return true;
            }
        }
        self.keep.everywhere();
        self.walk_on(map, Walk { next: 0, since: map.arrivals.count(), begun_anew: 1 })
    }

    /// What is wanted by name is looked up. A list of both is of deliveries that some of the drivers carry.
    fn named<'m>(&self, map: &'m TenantMap) -> Option<Vec<&'m Placed>> {
        let RowFilter { driver, scope, .. } = &self.wanted.filter;
        if let Some(driver) = driver {
            return Some(map.by_driver(driver).into_iter().collect());
        }
        if let Some(deliveries) = scope.deliveries() {
            let carriers: HashSet<Handle> = deliveries.iter().filter_map(|id| map.by_delivery(id)).map(|placed| placed.marker.handle()).collect();
            return Some(carriers.into_iter().filter_map(|handle| map.marker(handle)).collect());
        }
        scope.drivers().map(|drivers| drivers.iter().filter_map(|id| map.by_driver(id)).collect())
    }

    /// The cells of a box, unless they hold too much to be looked through at once.
    fn few_cells<'m>(&self, map: &'m TenantMap, view: &Viewport) -> Option<Vec<&'m Cell>> {
        // Each cell that is found holds a marker, and comes twice at most.
        let mut found: Vec<CellIndex> = map.cover(Level::Markers8, view).take(2 * self.pieces.short as usize + 1).collect();
        found.sort_unstable();
        found.dedup();
        let cells: Vec<&Cell> = found.into_iter().filter_map(|cell| map.cell(CellKey { level: Level::Markers8, cell })).collect();
        let markers: u32 = cells.iter().map(|cell| cell.population()).fold(0, u32::saturating_add);
        (markers <= self.pieces.short).then_some(cells)
    }

    fn walk_on(&mut self, map: &TenantMap, mut walk: Walk) -> bool {
        let mut looked = 0;
        while looked < self.pieces.piece && walk.next < map.markers.places() {
            for placed in map.markers.range(walk.next, STRIDE) {
                looked += self.look(placed);
            }
            walk.next += STRIDE;
        }
        let mut over = false;
        if walk.next >= map.markers.places() {
            // What went on the way from a place ahead to one behind is among those that arrived since.
            match map.arrivals.since(walk.since) {
                Some(arrived) => {
                    for slot in arrived {
                        if looked >= self.pieces.piece {
                            break;
                        }
                        looked += map.markers.at(slot).map_or(1, |placed| self.look(placed));
                        walk.since += 1;
                    }
                    over = walk.since == map.arrivals.count();
                }
                None if walk.begun_anew < MOST_WALKS => walk = Walk { next: 0, since: map.arrivals.count(), begun_anew: walk.begun_anew + 1 },
                None => over = true,
            }
        }
        self.walk = Some(walk);
        over
    }

    /// How many things that was.
    fn look(&mut self, placed: &Placed) -> usize {
        self.wanted.of(&placed.marker).for_each(|found| self.keep.take(&found));
        1 + placed.marker.aboard().len()
    }
}

/// The markers of these cells that stand in the box, with all that `look` needs of them on its way into the cache.
///
/// Each lies somewhere else in memory, what it carries again somewhere else, and the text of a long id in a third place. So one thing is asked of all before the
/// next is asked of any, without a branch that hangs on the answer: then the waits overlap.
fn standing_in<'m>(map: &'m TenantMap, cells: &[&'m Cell], view: &Viewport) -> Vec<&'m Placed> {
    let mut members: Vec<(Position, &Placed)> = Vec::with_capacity(cells.iter().map(|cell| cell.population() as usize).sum());
    for cell in cells {
        members.extend(cell.members().iter().filter_map(|slot| map.markers.at(*slot)).map(|placed| (placed.marker.position(), placed)));
    }
    let inside: Vec<&Placed> = members.into_iter().filter(|(position, _)| view.contains(*position)).map(|(_, placed)| placed).collect();
    for glance in [Marker::glance_at_ids, Marker::glance_at_texts] {
        // What is found is of no use here; without a use it would not be looked for.
        std::hint::black_box(inside.iter().map(|placed| glance(&placed.marker)).fold(0, u8::wrapping_add));
    }
    inside
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::cells::Tick;
    use super::super::query::{Row, Whereabouts};
    use super::super::{Map, levels::Level};
    use super::list::{List, Page};
    use super::*;
    use crate::model::change::{Aboard, MarkerChange};
    use crate::model::id::{DeliveryId, DriverId, TenantId};
    use crate::model::marker::MarkerParts;
    use crate::model::maybe::Maybe;
    use crate::model::scope::{Area, Scope};
    use crate::model::status::{Link, Motion, Status};
    use crate::model::tags::Attributes;
    use crate::model::time::UnixMs;

    fn tenant() -> TenantId {
        TenantId::parse("acme").unwrap()
    }

    fn marker(number: u64, position: Position) -> Marker {
        let status = Status::ALL[usize::try_from(number % 12).unwrap()];
        let delivery = DeliveryId::parse(&format!("P{number:04}")).unwrap();
        let aboard = Aboard::of(delivery, status, false, Attributes::default());
        Marker::of(MarkerParts {
            handle: Handle(number),
            driver: Some(DriverId::parse(&format!("van-{number}")).unwrap()),
            position,
            heading_deg: Maybe::NONE,
            speed_mps: 0.0,
            status: Some(status),
            motion: Motion::Stopped,
            link: Link::Live,
            late_risk: false,
            accuracy_m: Maybe::NONE,
            aboard: vec![aboard].into(),
            fix_time: UnixMs(0),
            heard: UnixMs(0),
            changed: UnixMs(0),
        })
    }

    fn place() -> impl Strategy<Value = Position> {
        let city = (57.6..57.8_f64, 11.8..12.1_f64);
        let antimeridian = (-17.0..-16.0_f64, prop_oneof![179.5..180.0_f64, -180.0..-179.5_f64]);
        let pole = (prop_oneof![89.0..90.0_f64, -90.0..-89.0_f64], -180.0..180.0_f64);
        prop_oneof![3 => city, 2 => antimeridian, 2 => pole, 1 => (-90.0..90.0_f64, -180.0..180.0_f64)]
            .prop_map(|(lat, lng)| Position::from_degrees(lat, lng).unwrap())
    }

    fn view() -> impl Strategy<Value = Viewport> {
        (place(), 0.0..3.0_f64, prop_oneof![0.0..3.0_f64, 0.0..359.0_f64]).prop_map(|(centre, high, wide)| {
            let (lat, lng) = (centre.lat(), centre.lng());
            Viewport::new(lng - wide / 2.0, lat - high / 2.0, lng + wide / 2.0, lat + high / 2.0).unwrap()
        })
    }

    fn build(steps: &[(u64, Option<Position>)]) -> (Map, hashbrown::HashMap<u64, Position>) {
        let (mut map, mut model) = (Map::default(), hashbrown::HashMap::new());
        for (index, (number, position)) in steps.iter().enumerate() {
            let tick = Tick(1 + index as u64 / 10);
            let number = number % 40;
            if let Some(position) = position {
                model.insert(number, *position);
                map.apply(MarkerChange::Put { tenant: tenant(), marker: marker(number, *position) }, tick);
            } else {
                model.remove(&number);
                let remove = MarkerChange::Remove { tenant: tenant(), handle: Handle(number), ended: None, ingest_time: UnixMs(0) };
                map.apply(remove, tick);
            }
        }
        (map, model)
    }

    fn to_the_end<K: Keep>(map: &TenantMap, mut seek: Seek<K>, pieces: Pieces) -> Seek<K> {
        seek.pieces = pieces;
        while !seek.go_on(map) {}
        seek
    }

    fn list(map: &TenantMap, view: Option<Viewport>, filter: &RowFilter, limit: usize, after: Option<DeliveryId>) -> Page<Row> {
        to_the_end(map, Seek::list(view, filter.clone(), limit, after), Pieces::default()).answer()
    }

    fn nearest(map: &TenantMap, place: Position, filter: &RowFilter, limit: usize, pieces: Pieces) -> Vec<(f64, Row)> {
        to_the_end(map, Seek::nearest(place, filter.clone(), limit), pieces).answer()
    }

    /// A van with these parcels.
    fn van(number: u64, parcels: &[u64]) -> Marker {
        let at = Position::from_degrees(57.7, 11.9).unwrap();
        let aboard = parcels.iter().map(|parcel| marker(*parcel, at).aboard()[0].clone()).collect::<Vec<_>>();
        Marker::of(MarkerParts { aboard: aboard.into(), ..marker(number, at).parts() })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(150))]

        /// Parcels go from van to van, vans come and go, while a search looks through them a stride at a time.
        #[test]
        fn a_long_search_finds_each_delivery_that_was_there_all_the_while(steps in prop::collection::vec((0..400_u64, 0..60_u64, any::<bool>()), 1..300), at_once in 1..80_usize) {
            let mut map = Map::default();
            let mut carried: Vec<Vec<u64>> = (0..400).map(|van| if van >= 340 { vec![van - 340] } else { vec![] }).collect();
            let put = |map: &mut Map, number: usize, parcels: &[u64]| map.apply(MarkerChange::Put { tenant: tenant(), marker: van(number as u64, parcels) }, Tick(1));
            carried.iter().enumerate().for_each(|(number, parcels)| put(&mut map, number, parcels));
            let mut seek: Seek<List<Whereabouts>> = Seek::list(None, RowFilter::default(), 1_000, None);
            seek.pieces = Pieces { short: 0, piece: at_once };
            let mut steps = steps.into_iter();
            while !seek.go_on(map.tenant(&tenant()).unwrap()) {
                for (to, parcel, gone) in steps.by_ref().take(7) {
                    let (from, to) = (carried.iter().position(|parcels| parcels.contains(&parcel)).unwrap(), usize::try_from(to).unwrap());
                    carried[from].retain(|other| *other != parcel);
                    if gone && carried[from].is_empty() {
                        map.apply(MarkerChange::Remove { tenant: tenant(), handle: Handle(from as u64), ended: None, ingest_time: UnixMs(0) }, Tick(1));
                    } else {
                        put(&mut map, from, &carried[from]);
                    }
                    carried[to].push(parcel);
                    put(&mut map, to, &carried[to]);
                }
            }
            let found: Vec<String> = seek.answer().rows.iter().map(|row| row.delivery.as_str().to_owned()).collect();
            prop_assert_eq!(found, (0..60).map(|parcel| format!("P{parcel:04}")).collect::<Vec<_>>());
        }

        #[test]
        fn cover_query_and_nearest_equal_brute_force(steps in prop::collection::vec((0..40_u64, prop::option::weighted(0.85, place())), 1..120), views in prop::collection::vec(view(), 6), short in 0..40_u32) {
            let pieces = Pieces { short, piece: 10 };
            let (mut map, model) = build(&steps);
            let map = map.tenant_mut(&tenant());
            prop_assert_eq!(map.len(), model.len());
            for view in &views {
                let mut expected: Vec<String> = model.iter().filter(|(_, at)| view.contains(**at)).map(|(number, _)| format!("P{number:04}")).collect();
                expected.sort();
                let mut rows = Vec::new();
                let mut after = None;
                loop {
                    let page: Page<Whereabouts> = to_the_end(map, Seek::list(Some(*view), RowFilter::default(), 3, after), pieces).answer();
                    rows.extend(page.rows.iter().map(|row| row.delivery.as_str().to_owned()));
                    after = page.next;
                    if after.is_none() { break; }
                }
                prop_assert_eq!(&rows, &expected);
                for level in Level::ALL {
                    let cover: HashSet<_> = map.cover(level, view).collect();
                    for (number, at) in &model {
                        let placed = map.marker(Handle(*number)).unwrap();
                        let cell = level.cell_above(map.finest(placed));
                        let truth = h3o::LatLng::new(at.lat(), at.lng()).unwrap().to_cell(h3o::Resolution::Eight);
                        prop_assert_eq!(map.finest(placed), truth);
                        if view.contains(*at) || view.contains(level.shown(*at)) {
                            prop_assert!(cover.contains(&cell), "{:?} does not cover {:?} at {:?}", view, at, level);
                        }
                    }
                    let sum: u32 = map.levels[level.index()].cells.values().map(|cell| cell.population()).sum();
                    for cell in map.levels[level.index()].cells.values().filter(|_| !level.is_counts()) {
                        let members: Vec<bool> = map.members(cell).map(|placed| map.stands_in(placed, cell.key)).collect();
                        prop_assert_eq!(members, vec![true; cell.population() as usize]);
                    }
                    prop_assert_eq!(usize::try_from(sum).unwrap(), model.len());
                }
            }
            let from = Position::from_degrees(10.0, 179.0).unwrap();
            for place in [from, Position::from_degrees(57.7, 12.0).unwrap(), Position::from_degrees(89.9, 3.0).unwrap()] {
                let mut expected: Vec<(f64, String)> = model.iter().map(|(number, at)| (place.distance_m(*at), format!("P{number:04}"))).collect();
                expected.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.cmp(&b.1)));
                expected.truncate(4);
                let found: Vec<(f64, String)> = nearest(map, place, &RowFilter::default(), 4, pieces).into_iter().map(|(m, row)| (m, row.delivery.as_str().to_owned())).collect();
                prop_assert_eq!(found, expected);
            }
        }
    }

    #[test]
    fn filters_and_lookups_find_what_they_name() {
        let at = Position::from_degrees(57.7, 11.9).unwrap();
        let (mut map, _) = build(&(0..20).map(|number| (number, Some(at))).collect::<Vec<_>>());
        let map = map.tenant_mut(&tenant());
        let by_status = RowFilter { statuses: vec![Status::Created], ..RowFilter::default() };
        assert_eq!(list(map, None, &by_status, 10, None).rows.len(), 2);
        let by_driver = RowFilter { driver: Some(DriverId::parse("van-7").unwrap()), ..RowFilter::default() };
        assert_eq!(list(map, None, &by_driver, 10, None).rows[0].delivery.as_str(), "P0007");
        let by_part = RowFilter { q: Some("VAN-1".to_owned()), ..RowFilter::default() };
        assert_eq!(list(map, None, &by_part, 50, None).rows.len(), 11);
        assert_eq!(map.row_of(&DeliveryId::parse("P0003").unwrap()).unwrap().driver.unwrap().as_str(), "van-3");
        assert!(map.row_of(&DeliveryId::parse("P0020").unwrap()).is_none() && map.by_driver(&DriverId::parse("van-20").unwrap()).is_none());
        let ids = |ids: &[&str]| ids.iter().map(|id| DeliveryId::parse(id).unwrap()).collect();
        let vans = |ids: &[&str]| ids.iter().map(|id| DriverId::parse(id).unwrap()).collect();
        let (beside, around) = (Area::parse("12,57,13,58").unwrap(), Area::parse("11,57,12,58").unwrap());
        for (scope, found) in [
            (Scope::new(None, Some(ids(&["P0003", "P0099"])), None), vec!["P0003"]),
            (Scope::new(Some(vans(&["van-5", "van-4"])), None, None), vec!["P0004", "P0005"]),
            (Scope::new(Some(vans(&["van-5"])), Some(ids(&["P0003", "P0005"])), Some(around)), vec!["P0005"]),
            (Scope::new(Some(vans(&["van-5"])), None, Some(beside)), vec![]),
            (Scope::new(None, None, Some(beside)), vec![]),
        ] {
            let filter = RowFilter { scope: scope.unwrap(), ..RowFilter::default() };
            let rows: Vec<String> = list(map, None, &filter, 50, None).rows.iter().map(|row| row.delivery.as_str().to_owned()).collect();
            assert_eq!(rows, found, "{filter:?}");
            let mut near: Vec<String> =
                nearest(map, at, &filter, 50, Pieces::default()).iter().map(|(_, row)| row.delivery.as_str().to_owned()).collect();
            near.sort();
            assert_eq!(near, found, "{filter:?}");
        }
    }
}
