//! Compares the markers that a live session shows with what was expected. Looks at the whole globe, in as many views as the server's limits ask for.

use std::collections::BTreeMap;

use super::compare::is_status_of;
use super::{Company, Findings};
use crate::client::Target;
use crate::expected::{Certainty, Driver, Expected, Load};
use crate::geodesy::Place;
use crate::live::{LiveError, Session};
use crate::wire::Status;

/// More markers than this are not looked at one by one.
pub const MAX_MARKERS: usize = 20_000;
/// At this zoom markers are shown as they are, unless there are too many.
const ZOOM: f64 = 16.0;
const FINEST_RESOLUTION: u32 = 8;
/// A box is cut in four at most this often.
const MAX_DEPTH: u32 = 16;
const STATUS_BITS: u32 = 0xf;

/// A marker as a dashboard would draw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    pub lat_e7: i32,
    pub lng_e7: i32,
    pub status: String,
}

/// By whether it is a driver, and id.
pub type Markers = BTreeMap<(bool, String), Shown>;

#[derive(Clone, Copy, Debug)]
struct Area {
    west: f64,
    south: f64,
    east: f64,
    north: f64,
    depth: u32,
}

/// Everything on the map.
pub async fn fetch(target: &Target) -> Result<Markers, LiveError> {
    let mut session = Session::open(target).await?;
    let mut markers = Markers::new();
    let mut areas = vec![Area { west: -180.0, south: -90.0, east: 180.0, north: 90.0, depth: 0 }];
    while let Some(area) = areas.pop() {
        let level = session.look(area.west, area.south, area.east, area.north, ZOOM).await?;
        if level.h3_resolution != FINEST_RESOLUTION && area.depth < MAX_DEPTH {
            areas.extend(area.quarters());
            continue;
        }
        for (_, marker) in session.picture().markers() {
            let status = Status::try_from((marker.meta & STATUS_BITS).cast_signed()).unwrap_or_default();
            let status = if status == Status::Unspecified { String::new() } else { status.as_str_name().to_ascii_lowercase() };
            markers.insert((marker.driver, marker.id.clone()), Shown { lat_e7: marker.lat_e7, lng_e7: marker.lng_e7, status });
        }
    }
    Ok(markers)
}

impl Area {
    fn quarters(self) -> [Self; 4] {
        let (lng, lat) = (f64::midpoint(self.west, self.east), f64::midpoint(self.south, self.north));
        let depth = self.depth + 1;
        [
            Self { east: lng, north: lat, depth, ..self },
            Self { west: lng, north: lat, depth, ..self },
            Self { east: lng, south: lat, depth, ..self },
            Self { west: lng, south: lat, depth, ..self },
        ]
    }
}

/// Every driver stands where its latest ping was; a delivery without one waits at its pickup.
pub fn judge(markers: &Markers, expected: &Expected, company: Company) -> Findings {
    let mut findings = Findings::default();
    let loads = expected.loads();
    for (id, driver) in &expected.drivers {
        let shown = markers.get(&(true, id.clone()));
        findings.compared += u64::from(shown.is_some());
        for how in of_driver(shown, driver, loads.get(id.as_str()).unwrap_or(&Load::default()), company) {
            findings.differ(format!("map: driver {id}: {how}"));
        }
    }
    let waiting = expected.deliveries.iter().filter(|(_, delivery)| delivery.driver.is_none() && delivery.certainty == Certainty::Whole);
    for (id, delivery) in waiting.filter(|(_, delivery)| !delivery.is_over()) {
        let Some(pickup) = delivery.pickup else { continue };
        let shown = markers.get(&(false, id.clone()));
        findings.compared += u64::from(shown.is_some());
        let misplaced = misplaced(shown, pickup, |at| at.is_same(pickup));
        let status = shown.filter(|shown| shown.status != delivery.status).map(|shown| miscoloured(shown, &delivery.status));
        for how in misplaced.into_iter().chain(status) {
            findings.differ(format!("map: delivery {id}: {how}"));
        }
    }
    for (_, id) in
        markers.keys().filter(|(driver, id)| if *driver { !expected.drivers.contains_key(id) } else { !expected.deliveries.contains_key(id) })
    {
        findings.beside(id, expected);
    }
    findings
}

fn of_driver(shown: Option<&Shown>, driver: &Driver, load: &Load<'_>, company: Company) -> Vec<String> {
    if driver.certainty == Certainty::Existence || load.certainty == Certainty::Existence {
        return if shown.is_some() { Vec::new() } else { vec!["no marker".to_owned()] };
    }
    let held = |shown: &Shown| (!shown.status.is_empty()).then(|| shown.status.clone());
    let status =
        shown.filter(|shown| !is_status_of(held(shown).as_deref(), load, company)).map(|shown| miscoloured(shown, load.status.unwrap_or("")));
    misplaced(shown, driver.fix.place, |at| driver.may_stand(at)).into_iter().chain(status).collect()
}

fn misplaced(shown: Option<&Shown>, place: Place, is_right: impl Fn(Place) -> bool) -> Option<String> {
    let Some(shown) = shown else { return Some("no marker".to_owned()) };
    let at = Place { lat: f64::from(shown.lat_e7) / 1e7, lng: f64::from(shown.lng_e7) / 1e7 };
    (!is_right(at)).then(|| format!("shown at {},{}, expected at {},{}", at.lat, at.lng, place.lat, place.lng))
}

fn miscoloured(shown: &Shown, status: &str) -> String {
    format!("shown as {:?}, expected as {status:?}", shown.status)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expected::Delivery;

    fn expected() -> Expected {
        let mut expected = Expected::default();
        expected.drivers.insert("van".into(), Driver::at(Place { lat: 57.7, lng: 11.9 }));
        let carried = Delivery { status: "arrived".into(), driver: Some("van".into()), ..Delivery::default() };
        let waiting = Delivery { status: "created".into(), pickup: Some(Place { lat: 1.0, lng: 2.0 }), ..Delivery::default() };
        expected.deliveries.extend([("a".to_owned(), carried), ("w".to_owned(), waiting)]);
        expected
    }

    fn markers(changes: impl FnOnce(&mut Markers)) -> Markers {
        let mut markers = Markers::new();
        markers.insert((true, "van".into()), Shown { lat_e7: 577_000_000, lng_e7: 119_000_000, status: "arrived".into() });
        markers.insert((false, "w".into()), Shown { lat_e7: 10_000_000, lng_e7: 20_000_000, status: "created".into() });
        changes(&mut markers);
        markers
    }

    #[test]
    fn a_missing_misplaced_or_wrongly_coloured_marker_is_a_difference_and_a_strange_one_is_extra() {
        let judged = |changes: fn(&mut Markers)| judge(&markers(changes), &expected(), Company::Alone);
        assert_eq!(judged(|_| {}).differences, Vec::<String>::new());
        let van = (true, "van".to_owned());
        assert_eq!(judge(&markers(|m| drop(m.remove(&van))), &expected(), Company::Alone).differences, ["map: driver van: no marker"]);
        assert_eq!(judge(&markers(|m| m.get_mut(&van).expect("there").lat_e7 += 60), &expected(), Company::Alone).mismatched, 1);
        assert_eq!(judge(&markers(|m| m.get_mut(&van).expect("there").status.clear()), &expected(), Company::Alone).mismatched, 1);
        assert_eq!(judged(|m| drop(m.remove(&(false, "w".to_owned())))).mismatched, 1);
        let strange = judged(|m| drop(m.insert((true, "w".into()), Shown { lat_e7: 1, lng_e7: 1, status: String::new() })));
        assert_eq!((strange.mismatched, strange.extra.len()), (0, 1));
    }

    #[test]
    fn quarters_are_the_whole() {
        let area = Area { west: -180.0, south: -90.0, east: 180.0, north: 90.0, depth: 0 };
        let size = |area: &Area| (area.east - area.west) * (area.north - area.south);
        assert!((area.quarters().iter().map(size).sum::<f64>() - size(&area)).abs() < 1e-9);
    }
}
