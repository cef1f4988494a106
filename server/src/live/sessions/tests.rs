//! Claims about sessions: whatever happens, a client holds what the map holds, and nothing is encoded or queued twice.

mod client;
mod fleet;
mod follow;
mod lenses;
mod narrow;
mod returning;
mod sight;
mod world;

use h3o::{CellIndex, LatLng, Resolution};
use proptest::prelude::*;

use super::*;
use crate::map::cells::Cell;
use crate::model::change::MarkerChange;
use crate::model::id::{DeliveryId, DriverId, Handle};
use crate::model::marker::{Marker, MarkerParts};
use crate::model::scope::Area;
use fleet::{marker, tenant};
use world::{Step, World, step};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(250))]

    #[test]
    fn the_client_holds_what_the_server_holds_after_any_walk(steps in prop::collection::vec(step(), 1..150), tight in any::<bool>(), scope in scope()) {
        let mut settings = Settings { verify_every: std::time::Duration::from_millis(300), ..Settings::default() };
        if tight {
            (settings.max_bytes_in_flight, settings.max_cells_per_view, settings.max_markers_per_view) = (300, 6, 12);
        }
        let mut world = World::scoped(settings, scope);
        for (index, step) in steps.into_iter().enumerate() {
            world.step(step);
            if index % 40 == 39 {
                world.settle_and_compare();
            }
        }
        world.settle_and_compare();
    }
}

/// All, or each kind of part: of the drivers, of the deliveries, of the places, across the walk's own cells.
fn scope() -> impl Strategy<Value = Scope> {
    let drivers = || (0..30).step_by(3).map(|n| DriverId::parse(&format!("van-{n}")).unwrap()).collect();
    let deliveries = || ["P", "Q"].into_iter().flat_map(|kind| (0..12).map(move |n| DeliveryId::parse(&format!("{kind}{n}")).unwrap())).collect();
    let here = Area::new(11.96, 57.695, 11.985, 57.71).unwrap();
    let across = Area::new(179.99, -16.81, -179.99, -16.79).unwrap();
    let polar = Area::new(0.0, 57.70, 90.0, 90.0).unwrap();
    let parts = [
        Scope::ALL,
        Scope::new(Some(drivers()), None, None).unwrap(),
        Scope::new(None, Some(deliveries()), None).unwrap(),
        Scope::new(None, None, Some(here)).unwrap(),
        Scope::new(None, None, Some(across)).unwrap(),
        Scope::new(None, Some(deliveries()), Some(polar)).unwrap(),
        Scope::new(Some(drivers()), Some(deliveries()), Some(here)).unwrap(),
        Scope::new(None, None, Some(polar)).unwrap().within(&Scope::new(None, None, Some(here)).unwrap()),
        Scope::new(Some(Vec::new()), None, None).unwrap(),
    ];
    prop::sample::select(parts.to_vec())
}

fn numbered_handle(number: u64) -> Handle {
    Handle((number * 97) | (63 << 37))
}

fn numbered(number: u64, east: f64) -> MarkerChange {
    let MarkerChange::Put { tenant, marker } = marker(number % 30, (57.7, 11.97 + east), 1, true, 1) else { unreachable!() };
    let driver = Some(DriverId::parse(&format!("van-{number}")).unwrap());
    MarkerChange::Put { tenant, marker: Marker::of(MarkerParts { handle: numbered_handle(number), driver, ..marker.parts() }) }
}

#[test]
fn a_moved_marker_costs_at_most_24_bytes() {
    let mut world = World::new(Settings { first_bytes_in_flight: 1 << 20, max_bytes_in_flight: 1 << 20, ..Settings::default() });
    for round in 0..2_u32 {
        let applying = world.sessions.applying();
        (0..400).for_each(|number| world.map.write().apply(numbered(number, f64::from(round) * 2e-4), applying));
        let frames = world.sessions.on_tick(&world.map, world.now);
        if round == 1 {
            let bytes = frames.iter().map(|(_, frame)| frame.join().len()).sum::<usize>();
            assert!(bytes <= 400 * 24, "{bytes} bytes for 400 moved markers");
            assert!(bytes >= 400 * 8, "{bytes} bytes are too few for 400 moved markers");
        }
    }
}

#[test]
fn a_dirty_cell_is_encoded_once_for_all_who_watch_it() {
    let mut world = World::new(Settings::default());
    for id in 100..110 {
        world.sessions.open(SessionId(id), tenant(), Scope::ALL, Format::Proto, world.now, "test");
        assert!(world.sessions.on_view(SessionId(id), &world.view).is_none());
    }
    for round in 0..2 {
        let applying = world.sessions.applying();
        world.map.write().apply(numbered(1, f64::from(round) * 1e-4), applying);
        let frames = world.sessions.on_tick(&world.map, world.now);
        assert_eq!(frames.len(), 11);
        let first = frames[0].1.chunks[0].as_ptr();
        assert!(frames.iter().all(|(_, frame)| frame.chunks.len() == 1 && frame.chunks[0].as_ptr() == first));
    }
}

#[test]
fn a_reader_that_acknowledges_nothing_gets_some_frames_a_lag_and_a_bye() {
    let mut world = World::new(Settings::default());
    for round in 0..10 {
        let applying = world.sessions.applying();
        world.map.write().apply(numbered(1, f64::from(round) * 1e-4), applying);
        world.tick();
    }
    assert_eq!((world.client.unacked.len(), world.client.behind), (Settings::default().max_frames_in_flight, true));
    world.ack();
    world.tick();
    assert_eq!((world.client.unacked.len(), world.client.behind), (1, false));
    world.now = UnixMs(world.now.0 + 15_000);
    world.step(Step::Wait);
    assert!(world.id == 2, "it was sent away and came back");
}

#[test]
fn what_is_followed_is_told_wherever_it_is() {
    let mut world = World::new(Settings::default());
    world.sessions.on_follow(SessionId(1), "P7");
    world.step(Step::Put { number: 7, place: (1.0, 2.0), status: 2, heading: true, driver: 1 });
    world.tick();
    let followed = world.client.followed.clone().unwrap();
    assert_eq!((followed.lat_e7, followed.lng_e7, followed.id.as_str()), (10_000_000, 20_000_000, "van-7"));
}

/// All that a session is told of ids: in enters, of the followed, at any level.
fn told_ids(frames: &[(SessionId, OutFrame)], id: u64) -> Vec<String> {
    use prost::Message as _;
    let frames = frames.iter().filter(|(session, _)| *session == SessionId(id)).map(|(_, frame)| wire::Frame::decode(frame.join()).unwrap());
    frames.flat_map(|frame| frame.cells.into_iter().flat_map(|cell| cell.enters).chain(frame.followed)).map(|enter| enter.id).collect()
}

#[test]
fn who_sees_a_part_is_told_of_nobody_else_and_cannot_follow_him() {
    let scope = Scope::new(Some(vec![DriverId::parse("van-7").unwrap()]), None, None).unwrap();
    let mut world = World::new(Settings::default());
    world.sessions.open(SessionId(50), tenant(), scope, Format::Proto, world.now, "test");
    assert!(world.sessions.on_view(SessionId(50), &world.view).is_none());
    world.sessions.on_follow(SessionId(50), "P8");
    let mut told = Vec::new();
    for round in 0..4_u32 {
        let applying = world.sessions.applying();
        for number in [7, 8, 9] {
            world.map.write().apply(marker(number, (57.7 + f64::from(round) * 1e-3, 11.97), 2, true, 1), applying);
        }
        let frames = world.sessions.on_tick(&world.map, world.now);
        let cells: Vec<usize> = frames.iter().filter(|(session, _)| *session == SessionId(50)).map(|(_, frame)| frame.chunks.len()).collect();
        assert!(cells.iter().all(|cells| *cells <= 2), "only the cells that van-7 comes from and goes to: {cells:?}");
        told.extend(told_ids(&frames, 50));
        world.sessions.on_ack(SessionId(50), u64::MAX, world.now);
        world.sessions.on_ack(SessionId(1), u64::MAX, world.now);
    }
    assert!(!told.is_empty() && told.iter().all(|id| id == "van-7"), "{told:?}");
    world.sessions.on_follow(SessionId(50), "P7");
    let frames = world.sessions.on_tick(&world.map, world.now);
    assert_eq!(told_ids(&frames, 50), ["van-7"], "followed");
}

#[test]
fn the_recipient_of_one_delivery_sees_its_status_and_not_that_of_the_van() {
    let scope = Scope::new(None, Some(vec![DeliveryId::parse("Q7").unwrap()]), None).unwrap();
    let mut world = World::scoped(Settings::default(), scope);
    let put = |driver| Step::Put { number: 7, place: (57.7, 11.97), status: 3, heading: false, driver };
    let status = |world: &World| world.client.markers.values().map(|marker| (marker.3 & 0xf, marker.3 >> 24 & 0x7f)).collect::<Vec<_>>();
    world.step(put(3));
    world.settle_and_compare();
    assert_eq!(status(&world), [(u32::from(crate::model::status::Status::Assigned.code()), 1)]);
    // The van as a whole looks the same all the while.
    world.step(put(4));
    world.settle_and_compare();
    assert_eq!(status(&world), [(u32::from(crate::model::status::Status::PickedUp.code()), 1)]);
    world.step(put(1));
    world.settle_and_compare();
    assert_eq!(status(&world), [], "it is not aboard any more");
}

#[test]
fn who_sees_an_area_is_told_when_its_edge_is_crossed_also_where_the_cell_shows_no_change() {
    // Both places are in one cell, and rounded to one, at every level but the finest.
    let (inside, outside) = ((57.700_01, 11.97), (57.699_99, 11.97));
    for zoom in [14.0, 11.0, 8.0, 5.0, 1.0] {
        let scope = Scope::new(None, None, Some(Area::new(11.0, 57.7, 13.0, 58.0).unwrap())).unwrap();
        let mut world = World::scoped(Settings::default(), scope);
        world.view.zoom = zoom;
        world.look();
        for (place, seen) in [(outside, false), (inside, true), (outside, false), (inside, true)] {
            world.step(Step::Put { number: 1, place, status: 1, heading: false, driver: 1 });
            world.settle_and_compare();
            assert_eq!(world.client.markers.len() + world.client.counts.len(), usize::from(seen), "at zoom {zoom}");
        }
    }
}

#[test]
fn more_removals_than_a_cell_remembers_are_answered_with_the_whole_cell() {
    let mut world = World::new(Settings { first_bytes_in_flight: 1 << 20, max_bytes_in_flight: 1 << 20, ..Settings::default() });
    let many = Cell::MAX_REMOVALS as u64 + 50;
    let applying = world.sessions.applying();
    (0..many).for_each(|number| world.map.write().apply(numbered(number, 0.0), applying));
    world.tick();
    assert_eq!(world.client.markers.len() as u64, many);
    let applying = world.sessions.applying();
    for number in 1..many {
        let remove = MarkerChange::Remove { tenant: tenant(), handle: numbered_handle(number), ended: None, ingest_time: world.now };
        world.map.write().apply(remove, applying);
    }
    world.tick();
    assert_eq!(world.client.markers.len(), 1);
}

/// Two places in one cell of the coarser marker level, the second outside the box of the cell's vertices: a parent does not contain its children.
fn inside_and_poking_out() -> ((f64, f64), (f64, f64)) {
    const FAR_OUT_DEG: f64 = 3e-4;
    let degrees = |at: LatLng| (at.lat(), at.lng());
    let pokes_out = |parent: CellIndex| {
        let (lats, lngs): (Vec<f64>, Vec<f64>) = parent.boundary().iter().map(|corner| degrees(*corner)).unzip();
        let far_from =
            |value: f64, of: &[f64]| of.iter().all(|corner| value > corner + FAR_OUT_DEG) || of.iter().all(|corner| value < corner - FAR_OUT_DEG);
        let places = parent.children(Resolution::Eight).flat_map(|child| {
            let (lat, lng) = degrees(child.into());
            // A little inside its corners a place is surely in the child.
            child.boundary().iter().map(|corner| (corner.lat() * 0.95 + lat * 0.05, corner.lng() * 0.95 + lng * 0.05)).collect::<Vec<_>>()
        });
        let out = places.into_iter().find(|(lat, lng)| far_from(*lat, &lats) || far_from(*lng, &lngs));
        out.map(|out| (degrees(parent.into()), out))
    };
    let near = LatLng::new(57.7, 11.97).unwrap().to_cell(Resolution::Six);
    near.grid_disk::<Vec<_>>(5).into_iter().find_map(pokes_out).expect("some child pokes out of its parent's box")
}

#[test]
fn a_cell_whose_box_grew_comes_whole_on_resume() {
    let (inside, poking_out) = inside_and_poking_out();
    let mut world = World::new(Settings::default());
    world.step(Step::Put { number: 20, place: inside, status: 1, heading: false, driver: 1 });
    world.settle_and_compare();
    world.step(Step::View { place: poking_out, half: 1e-4, zoom: 11.0, filter: 8 });
    world.settle_and_compare();
    assert!(world.client.markers.is_empty(), "the view is beside the cell's box");
    // While the client is away the box grows into the view: of the cell's older marker no difference speaks.
    world.step(Step::Put { number: 21, place: poking_out, status: 1, heading: false, driver: 1 });
    world.step(Step::Cut { resumes: true, forgets: false, away: (true, false) });
    world.settle_and_compare();
    let holds = |id: &str| world.client.markers.values().any(|marker| marker.4 == id);
    assert!(holds("van-20") && holds("van-21"));
}

#[test]
fn a_json_frame_says_the_same() {
    let mut world = World::new(Settings::default());
    world.sessions.open(SessionId(50), tenant(), Scope::ALL, Format::Json, world.now, "test");
    assert!(world.sessions.on_view(SessionId(50), &world.view).is_none());
    let applying = world.sessions.applying();
    world.map.write().apply(numbered(1, 0.0), applying);
    let frames = world.sessions.on_tick(&world.map, world.now);
    let joined = frames.iter().find(|(id, _)| *id == SessionId(50)).unwrap().1.join();
    let value: serde_json::Value = serde_json::from_slice(&joined).unwrap();
    assert_eq!(value["cells"][0]["enters"][0]["id"], "van-1");
    assert_eq!(value["level"]["h3_resolution"], 8);
    assert!(value["cells"][0]["cell"].as_str().unwrap().starts_with("88"));
}

#[test]
fn counts_stand_among_their_markers_and_not_at_their_cells_centre() {
    // The way across a cell of the next finer level, in degrees of latitude.
    for (zoom, near_deg) in [(8.0, 0.06), (5.0, 0.4), (2.0, 3.0)] {
        let mut world = World::new(Settings::default());
        world.sessions.open(SessionId(50), tenant(), Scope::ALL, Format::Json, world.now, "test");
        assert!(world.sessions.on_view(SessionId(50), &wire::View { zoom, ..world.view.clone() }).is_none());
        world.step(Step::Put { number: 1, place: (57.7, 11.97), status: 1, heading: false, driver: 1 });
        let frames = world.sessions.on_tick(&world.map, world.now);
        let joined = frames.iter().find(|(id, _)| *id == SessionId(50)).unwrap().1.join();
        let value: serde_json::Value = serde_json::from_slice(&joined).unwrap();
        let degrees = |name: &str| value["cells"][0][name].as_f64().unwrap() / 1e7;
        let (north, east) = (degrees("origin_lat_e7") - 57.7, degrees("origin_lng_e7") - 11.97);
        assert!(north.abs() < near_deg && east.abs() < near_deg * 2.0, "{north} and {east} degrees off at zoom {zoom}");
    }
}

#[test]
fn a_tenant_has_no_more_sessions_than_it_may() {
    let mut world = World::new(Settings { max_sessions_per_tenant: 1, ..Settings::default() });
    let refused = world.sessions.open(SessionId(9), tenant(), Scope::ALL, Format::Proto, world.now, "test");
    assert_eq!(refused.close, Some(Goodbye::TooManySessions));
    world.sessions.close(SessionId(1), &world.map);
    assert_eq!(world.sessions.open(SessionId(9), tenant(), Scope::ALL, Format::Proto, world.now, "test").close, None);
}
