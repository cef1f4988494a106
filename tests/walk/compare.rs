//! Holds what a client has against the model, against REST and against a session that has just come. Mends nothing.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::watcher::{View, Watcher};
use super::world::{Marker, Place, World, degrees};
use crate::harness::clients::Reader;
use crate::harness::eventually;

/// A marker as a map shows it: driver or not, place, status, and the upper bits of its meta: `aboard`, which counts for drivers alone, and the risk.
type Shown = BTreeMap<String, (bool, Place, u32, u32)>;
type Counts = BTreeMap<u32, u32>;

/// What becomes of cells that a client holds empty and that lie outside its view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Empty {
    Judged,
    /// One that emptied, went out of the view and was held empty by a client that was cut then: no server knows of it, and it shows nothing, as if
    /// it were not held.
    Forgiven,
}

/// The client's cells hold exactly the model's markers, and no cell of its view is missing.
pub(super) fn model(watcher: &Watcher, world: &World, empty: Empty) -> Result<(), String> {
    let (view, level) = (watcher.view(), watcher.level);
    let markers: Vec<Marker> = world.markers().into_iter().filter(|marker| passes(view, marker)).collect();
    let mut expected: BTreeMap<u64, Shown> = BTreeMap::new();
    let mut must: BTreeSet<u64> = BTreeSet::new();
    for marker in &markers {
        let cell = marker.place.cell(level.h3_resolution);
        if contains(view, marker.place) {
            must.insert(cell);
        }
        let place = shown_at(marker.place, level.h3_resolution);
        let late_risk = marker.asked.iter().any(|(_, late_risk)| *late_risk);
        let aboard = if marker.driver { marker.aboard } else { 0 } | u32::from(late_risk) << 7;
        expected.entry(cell).or_default().insert(marker.id.clone(), (marker.driver, place, marker.status, aboard));
    }
    let held: BTreeSet<u64> = watcher.picture.cells().collect();
    if let Some(missing) = must.difference(&held).next() {
        return Err(format!("cell {missing:x} is not held; it should hold {:?}", expected[missing]));
    }
    let shows = |cell: &u64| watcher.picture.markers().any(|(_, marker)| marker.cell == *cell) || !counts_of(watcher, *cell).is_empty();
    let judged = |cell: &u64| empty == Empty::Judged || must.contains(cell) || shows(cell);
    for cell in held.iter().copied().filter(judged) {
        let expected = expected.remove(&cell).unwrap_or_default();
        if level.counts {
            same(cell, &counts_of(watcher, cell), &counts(&expected))?;
        } else {
            same(cell, &shown(watcher, cell), &expected)?;
        }
    }
    Ok(())
}

fn same<T: PartialEq + std::fmt::Debug>(cell: u64, held: &T, expected: &T) -> Result<(), String> {
    if held == expected { Ok(()) } else { Err(format!("cell {cell:x}\n    holds      {held:?}\n    and should {expected:?}")) }
}

fn shown(watcher: &Watcher, cell: u64) -> Shown {
    let of_cell = watcher.picture.markers().filter(|(_, marker)| marker.cell == cell);
    of_cell
        .map(|(_, marker)| {
            let place = Place { lat_e7: marker.lat_e7, lng_e7: half_turn(marker.lng_e7) };
            let aboard = marker.meta >> 24 & if marker.driver { 0xff } else { 0x80 };
            (marker.id.clone(), (marker.driver, place, marker.meta & 0xf, aboard))
        })
        .collect()
}

fn counts_of(watcher: &Watcher, cell: u64) -> Counts {
    watcher.picture.counts(cell).filter(|(_, markers)| *markers > 0).collect()
}

fn counts(shown: &Shown) -> Counts {
    let mut counts = Counts::new();
    for (_, _, status, _) in shown.values() {
        *counts.entry(*status).or_default() += 1;
    }
    counts
}

fn passes(view: &View, marker: &Marker) -> bool {
    let status = view.statuses.is_empty() || view.statuses.iter().any(|status| status.cast_unsigned() == marker.status);
    let driver = view.drivers.is_empty() || marker.driver && view.drivers.contains(&marker.id);
    let tagged =
        |tags: &[(&str, &str)]| view.tags.iter().any(|tag| tags.iter().any(|(name, value)| tag == name || *tag == format!("{name}={value}")));
    let asked = |(tags, late_risk): &(Vec<_>, bool)| (view.tags.is_empty() || tagged(tags)) && (*late_risk || !view.late_risk);
    status && driver && (view.tags.is_empty() && !view.late_risk || marker.asked.iter().any(asked))
}

fn contains(view: &View, place: Place) -> bool {
    let (lat, lng) = (degrees(place.lat_e7), degrees(place.lng_e7));
    let between = if view.west <= view.east { view.west <= lng && lng <= view.east } else { view.west <= lng || lng <= view.east };
    between && view.south <= lat && lat <= view.north
}

/// The coarser level of markers rounds to 2e-4 degrees.
fn shown_at(place: Place, resolution: u32) -> Place {
    #[expect(clippy::cast_possible_truncation, reason = "a rounded coordinate fits where the coordinate did")]
    let round = |e7: i32| ((f64::from(e7) / 2000.0).round() * 2000.0) as i32;
    if resolution == 8 { place } else { Place { lat_e7: round(place.lat_e7), lng_e7: half_turn(round(place.lng_e7)) } }
}

/// 180 degrees east are 180 degrees west.
fn half_turn(lng_e7: i32) -> i32 {
    if lng_e7 == 1_800_000_000 { -1_800_000_000 } else { lng_e7 }
}

/// A session that has just come holds the same, to the last bit. What ages by itself may change between the two looks, so they are repeated.
pub(super) async fn fresh(watcher: &mut Watcher, fresh: &mut Watcher) -> Result<(), String> {
    let mut difference = Ok(());
    for _ in 0..5 {
        watcher.catch_up().await?;
        fresh.catch_up().await?;
        if watcher.level != fresh.level {
            // A slow link is shown less: there is nothing to compare.
            return Ok(());
        }
        let cells: BTreeSet<u64> = fresh.picture.cells().chain(watcher.picture.cells()).collect();
        difference = cells.into_iter().try_for_each(|cell| same(cell, &whole(watcher, cell), &whole(fresh, cell)));
        if difference.is_ok() {
            break;
        }
    }
    difference
}

/// A cell to the last bit: markers by handle, and counts.
type Whole = (BTreeMap<u64, (String, i32, i32, u32)>, Counts);

fn whole(watcher: &Watcher, cell: u64) -> Whole {
    let of_cell = watcher.picture.markers().filter(|(_, marker)| marker.cell == cell);
    let markers = of_cell.map(|(handle, marker)| (handle, (marker.id.clone(), marker.lat_e7, marker.lng_e7, marker.meta))).collect();
    (markers, counts_of(watcher, cell))
}

/// REST lists the model's deliveries inside the view's box.
pub(super) async fn rest(reader: &Reader, world: &World, view: &View, position: Option<&str>) -> Result<(), String> {
    let path = format!("/v1/deliveries?limit=10000&bbox={},{},{},{}", view.west, view.south, view.east, view.north);
    let (status, found) = reader.get(&path, position).await;
    let expected = world.deliveries().into_iter().filter(|(_, (place, _))| contains(view, *place)).collect();
    if status != 200 {
        return Err(format!("REST answers {status}: {found}"));
    }
    let found = listed(&found);
    if found == expected { Ok(()) } else { Err(format!("REST lists {found:?}\n    and should {expected:?}")) }
}

/// Time passes in the log within a second of the clock's.
pub(super) async fn rest_eventually(reader: &Reader, world: &World) {
    eventually("what has ended leaves REST", async || {
        let (_, found) = reader.get("/v1/deliveries?limit=10000", None).await;
        (listed(&found) == world.deliveries()).then_some(())
    })
    .await;
}

fn listed(found: &Value) -> BTreeMap<String, (Place, String)> {
    #[expect(clippy::cast_possible_truncation, reason = "a coordinate in 1e-7 degrees is 32 bits")]
    let e7 = |value: &Value| (value.as_f64().expect("a number") * 1e7).round() as i32;
    let of = |feature: &Value| {
        let coordinates = &feature["geometry"]["coordinates"];
        let place = Place { lat_e7: e7(&coordinates[1]), lng_e7: e7(&coordinates[0]) };
        (feature["id"].as_str().expect("an id").to_owned(), (place, feature["properties"]["status"].as_str().expect("a status").to_owned()))
    };
    found["features"].as_array().into_iter().flatten().map(of).collect()
}
