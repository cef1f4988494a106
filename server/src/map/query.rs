//! Questions to the map: what is inside a box, what is nearest. Answers deliveries, a row each; never changes anything.

use std::collections::BinaryHeap;

use hashbrown::HashSet;

use super::TenantMap;
use super::cells::CellKey;
use super::levels::Level;
use super::placed::Placed;
use super::viewport::Viewport;
use crate::model::change::{Carrier, Marker};
use crate::model::id::{DeliveryId, DriverId, Handle};
use crate::model::position::{EARTH_RADIUS_M, Position};
use crate::model::scope::Scope;
use crate::model::status::Status;
use crate::model::time::UnixMs;

/// What a row must be; nothing set means all.
#[derive(Clone, Debug, Default)]
pub struct RowFilter {
    /// Any of these; empty means any at all.
    pub statuses: Vec<Status>,
    pub driver: Option<DriverId>,
    /// A part of the delivery's or the driver's id; letters of either case.
    pub q: Option<String>,
    /// What exists for who asks.
    pub scope: Scope,
}

/// A delivery on the map.
#[derive(Clone, Debug)]
pub struct Row {
    pub delivery: DeliveryId,
    pub status: Status,
    pub eta: Option<UnixMs>,
    pub promised_by: Option<UnixMs>,
    /// Who carries it and where that is.
    pub marker: Box<Marker>,
}

impl Row {
    pub fn driver(&self) -> Option<&DriverId> {
        match &self.marker.carrier {
            Carrier::Driver(driver) => Some(driver),
            Carrier::Delivery(_) => None,
        }
    }

    pub fn position(&self) -> Position {
        self.marker.position
    }
}

/// Rows in the order of their delivery ids.
#[derive(Clone, Debug, Default)]
pub struct Page {
    pub rows: Vec<Row>,
    /// Where the next page begins; absent on the last one.
    pub next: Option<DeliveryId>,
}

impl TenantMap {
    /// At most `limit` deliveries inside the box (everywhere without one), after `after`, in the order of their ids.
    pub fn query(&self, viewport: Option<&Viewport>, filter: &RowFilter, limit: usize, after: Option<&DeliveryId>) -> Page {
        let limit = limit.max(1);
        let wanted = Wanted::new(filter);
        // A heap of the least ids so far, one more than asked for: that there is one more says that there is a next page.
        let mut least: BinaryHeap<ById> = BinaryHeap::with_capacity(limit.min(1_024) + 2);
        self.visit(viewport, &wanted, &mut |found| {
            let beyond = least.len() > limit && least.peek().is_some_and(|last| *found.delivery >= last.0.delivery);
            if beyond || after.is_some_and(|after| found.delivery <= after) {
                return;
            }
            least.push(ById(found.row()));
            if least.len() > limit + 1 {
                least.pop();
            }
        });
        let mut rows: Vec<Row> = least.into_sorted_vec().into_iter().map(|by_id| by_id.0).collect();
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).map(|row| row.delivery.clone());
        Page { rows, next }
    }

    /// The `limit` deliveries nearest to a place with their distances in metres, the nearest first; equal distances by id.
    pub fn nearest(&self, place: Position, filter: &RowFilter, limit: usize) -> Vec<(f64, Row)> {
        const FIRST_RADIUS_M: f64 = 500.0;
        let wanted = Wanted::new(filter);
        let mut radius_m = FIRST_RADIUS_M;
        loop {
            let mut found = Vec::new();
            let everywhere = radius_m >= EARTH_RADIUS_M * std::f64::consts::PI;
            let around = Viewport::around(place, radius_m);
            self.visit((!everywhere).then_some(&around), &wanted, &mut |near| {
                let distance_m = place.distance_m(near.marker.position);
                if everywhere || distance_m <= radius_m {
                    found.push((distance_m, near.row()));
                }
            });
            if found.len() >= limit || everywhere {
                found.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.delivery.cmp(&b.1.delivery)));
                found.truncate(limit);
                return found;
            }
            radius_m *= 4.0;
        }
    }

    /// The row of one delivery.
    pub fn row_of(&self, delivery: &str) -> Option<Row> {
        let placed = self.by_delivery(delivery)?;
        on_board(&placed.marker).find(|found| found.delivery.as_str() == delivery).map(|found| found.row())
    }

    fn visit(&self, viewport: Option<&Viewport>, wanted: &Wanted<'_>, found: &mut impl FnMut(Found<'_>)) {
        if let Some(driver) = &wanted.filter.driver {
            let placed = self.by_driver(driver.as_str());
            return placed.into_iter().for_each(|placed| emit(placed, viewport, wanted, found));
        }
        // What is listed is looked up; a list of both is of deliveries that some of the drivers carry.
        if let Some(deliveries) = wanted.filter.scope.deliveries() {
            let carriers: HashSet<Handle> =
                deliveries.iter().filter_map(|id| self.by_delivery(id.as_str())).map(|placed| placed.marker.handle).collect();
            return carriers.into_iter().filter_map(|handle| self.marker(handle)).for_each(|placed| emit(placed, viewport, wanted, found));
        }
        if let Some(drivers) = wanted.filter.scope.drivers() {
            return drivers.iter().filter_map(|id| self.by_driver(id.as_str())).for_each(|placed| emit(placed, viewport, wanted, found));
        }
        let Some(view) = viewport else {
            return self.markers.iter().for_each(|placed| emit(placed, None, wanted, found));
        };
        let mut seen = HashSet::new();
        for cell in self.cover(Level::Markers8, view) {
            if !seen.insert(cell) {
                continue;
            }
            let Some(cell) = self.cell(CellKey { level: Level::Markers8, cell }) else { continue };
            self.members(cell).for_each(|placed| emit(placed, Some(view), wanted, found));
        }
    }
}

fn emit(placed: &Placed, viewport: Option<&Viewport>, wanted: &Wanted<'_>, found: &mut impl FnMut(Found<'_>)) {
    let at = placed.marker.position;
    if viewport.is_some_and(|view| !view.contains(at)) || !wanted.filter.scope.holds_place(at) {
        return;
    }
    on_board(&placed.marker).filter(|row| wanted.holds(row)).for_each(found);
}

/// A delivery that was met and is not copied yet.
struct Found<'a> {
    delivery: &'a DeliveryId,
    status: Status,
    eta: Option<UnixMs>,
    promised_by: Option<UnixMs>,
    marker: &'a Marker,
}

impl Found<'_> {
    fn row(&self) -> Row {
        let Self { delivery, status, eta, promised_by, marker } = *self;
        Row { delivery: delivery.clone(), status, eta, promised_by, marker: Box::new(marker.clone()) }
    }

    fn driver(&self) -> Option<&DriverId> {
        if let Carrier::Driver(driver) = &self.marker.carrier { Some(driver) } else { None }
    }
}

/// Each delivery that a marker lists; a waiting delivery is its own.
fn on_board(marker: &Marker) -> impl Iterator<Item = Found<'_>> {
    let listed = marker.aboard.iter();
    let listed = listed.map(|a| Found { delivery: &a.delivery, status: a.status, eta: a.eta, promised_by: a.promised_by, marker });
    let own = match (&marker.carrier, marker.status) {
        (Carrier::Delivery(delivery), Some(status)) if marker.aboard.iter().all(|aboard| aboard.delivery != *delivery) => {
            Some(Found { delivery, status, eta: None, promised_by: None, marker })
        }
        _ => None,
    };
    own.into_iter().chain(listed)
}

struct Wanted<'a> {
    filter: &'a RowFilter,
    part: Option<String>,
}

impl<'a> Wanted<'a> {
    fn new(filter: &'a RowFilter) -> Self {
        Self { filter, part: filter.q.as_ref().map(|q| q.to_lowercase()) }
    }

    fn holds(&self, row: &Found<'_>) -> bool {
        let status = self.filter.statuses.is_empty() || self.filter.statuses.contains(&row.status);
        let driver = self.filter.driver.is_none() || self.filter.driver.as_ref() == row.driver();
        let has = |id: &str, part: &str| id.to_lowercase().contains(part);
        let part = self.part.as_deref().is_none_or(|part| has(row.delivery.as_str(), part) || row.driver().is_some_and(|id| has(id.as_str(), part)));
        let scope = &self.filter.scope;
        status && driver && part && scope.holds_delivery(Some(row.delivery)) && scope.holds_driver(row.driver())
    }
}

struct ById(Row);

impl PartialEq for ById {
    fn eq(&self, other: &Self) -> bool {
        self.0.delivery == other.0.delivery
    }
}

impl Eq for ById {}

impl PartialOrd for ById {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ById {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.delivery.cmp(&other.0.delivery)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::cells::Tick;
    use super::super::{Map, levels::Level};
    use super::*;
    use crate::model::change::{Aboard, MarkerChange};
    use crate::model::id::TenantId;
    use crate::model::scope::Area;
    use crate::model::status::{Link, Motion};

    fn tenant() -> TenantId {
        TenantId::parse("acme").unwrap()
    }

    fn marker(number: u64, position: Position) -> Marker {
        let status = Status::ALL[usize::try_from(number % 12).unwrap()];
        let delivery = DeliveryId::parse(&format!("P{number:04}")).unwrap();
        let aboard = Aboard { delivery, status, eta: None, promised_by: None };
        Marker {
            handle: Handle(number),
            tenant: tenant(),
            carrier: Carrier::Driver(DriverId::parse(&format!("van-{number}")).unwrap()),
            position,
            heading_deg: None,
            speed_mps: 0.0,
            status: Some(status),
            motion: Motion::Stopped,
            link: Link::Live,
            accuracy_m: None,
            aboard: vec![aboard].into(),
            aboard_count: 1,
            fix_time: UnixMs(0),
            heard: UnixMs(0),
            changed: UnixMs(0),
        }
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
                map.apply(MarkerChange::Put(marker(number, *position)), tick);
            } else {
                model.remove(&number);
                let remove = MarkerChange::Remove { tenant: tenant(), handle: Handle(number), ended: None, ingest_time: UnixMs(0) };
                map.apply(remove, tick);
            }
        }
        (map, model)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(150))]

        #[test]
        fn cover_query_and_nearest_equal_brute_force(steps in prop::collection::vec((0..40_u64, prop::option::weighted(0.85, place())), 1..120), views in prop::collection::vec(view(), 6)) {
            let (mut map, model) = build(&steps);
            let map = map.tenant_mut(&tenant());
            prop_assert_eq!(map.len(), model.len());
            for view in &views {
                let mut expected: Vec<String> = model.iter().filter(|(_, at)| view.contains(**at)).map(|(number, _)| format!("P{number:04}")).collect();
                expected.sort();
                let mut rows = Vec::new();
                let mut after = None;
                loop {
                    let page = map.query(Some(view), &RowFilter::default(), 3, after.as_ref());
                    rows.extend(page.rows.iter().map(|row| row.delivery.as_str().to_owned()));
                    after = page.next;
                    if after.is_none() { break; }
                }
                prop_assert_eq!(&rows, &expected);
                for level in Level::ALL {
                    let cover: HashSet<_> = map.cover(level, view).collect();
                    for (number, at) in &model {
                        let placed = map.marker(Handle(*number)).unwrap();
                        let cell = level.cell_above(placed.finest);
                        let truth = h3o::LatLng::new(at.lat(), at.lng()).unwrap().to_cell(h3o::Resolution::Eight);
                        prop_assert_eq!(placed.finest, truth);
                        if view.contains(*at) || view.contains(level.shown(*at)) {
                            prop_assert!(cover.contains(&cell), "{:?} does not cover {:?} at {:?}", view, at, level);
                        }
                    }
                    let sum: u32 = map.levels[level.index()].cells.values().map(super::super::cells::Cell::population).sum();
                    prop_assert_eq!(usize::try_from(sum).unwrap(), model.len());
                }
            }
            let from = Position::from_degrees(10.0, 179.0).unwrap();
            for place in [from, Position::from_degrees(57.7, 12.0).unwrap(), Position::from_degrees(89.9, 3.0).unwrap()] {
                let mut expected: Vec<(f64, String)> = model.iter().map(|(number, at)| (place.distance_m(*at), format!("P{number:04}"))).collect();
                expected.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.cmp(&b.1)));
                expected.truncate(4);
                let found: Vec<(f64, String)> = map.nearest(place, &RowFilter::default(), 4).into_iter().map(|(m, row)| (m, row.delivery.as_str().to_owned())).collect();
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
        assert_eq!(map.query(None, &by_status, 10, None).rows.len(), 2);
        let by_driver = RowFilter { driver: Some(DriverId::parse("van-7").unwrap()), ..RowFilter::default() };
        assert_eq!(map.query(None, &by_driver, 10, None).rows[0].delivery.as_str(), "P0007");
        let by_part = RowFilter { q: Some("VAN-1".to_owned()), ..RowFilter::default() };
        assert_eq!(map.query(None, &by_part, 50, None).rows.len(), 11);
        assert_eq!(map.row_of("P0003").unwrap().driver().unwrap().as_str(), "van-3");
        assert!(map.row_of("P0020").is_none() && map.by_driver("van-20").is_none());
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
            let rows: Vec<String> = map.query(None, &filter, 50, None).rows.iter().map(|row| row.delivery.as_str().to_owned()).collect();
            assert_eq!(rows, found, "{filter:?}");
            let mut near: Vec<String> = map.nearest(at, &filter, 50).iter().map(|(_, row)| row.delivery.as_str().to_owned()).collect();
            near.sort();
            assert_eq!(near, found, "{filter:?}");
        }
    }
}
