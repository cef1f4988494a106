//! Claims about links that carry less than happens: what is told first, and what is never lost by telling the rest later.

use std::collections::BTreeSet;
use std::time::Duration;

use super::world::{Step, World};
use super::*;

/// Room for one cell of this fleet at a time.
fn narrow() -> Settings {
    Settings { max_bytes_in_flight: 200, ..Settings::default() }
}

/// From when a frame is sent until its acknowledgement is here.
const UNDER_WAY_MS: i64 = 90;

/// Spread over many cells, each at a place of its own; `round` moves all of them within their cells or, now and then, to a neighbour's.
fn stir(world: &mut World, round: u32) {
    for number in 0..30_u32 {
        let (north, east) = (f64::from(number / 6) * 0.01, f64::from(number % 6) * 0.015);
        let far = if (number + round).is_multiple_of(7) { 0.015 } else { f64::from(round % 5) * 1e-4 };
        let place = (57.68 + north, 11.9 + east + far);
        world.step(Step::Put { number: number.into(), place, status: 1 + (round as usize) % 2, heading: false, driver: 1 });
    }
}

/// Acknowledges and ticks until all is told, and returns in how many ticks that was.
fn ticks_to_catch_up(world: &mut World) -> usize {
    (1..500)
        .find(|_| {
            world.now.0 += UNDER_WAY_MS;
            world.ack();
            world.tick();
            !world.client.behind
        })
        .expect("it catches up when nothing happens")
}

fn shown(world: &World) -> BTreeSet<u64> {
    world.client.markers.keys().copied().collect()
}

#[test]
fn a_view_that_does_not_fit_a_frame_comes_in_parts_from_its_middle_outwards() {
    let mut world = World::new(narrow());
    stir(&mut world, 0);
    world.view = wire::View { west: 11.85, south: 57.66, east: 12.05, north: 57.74, zoom: 14.0, filter: None, view_id: 2 };
    world.look();
    world.tick();
    assert!(world.client.behind, "it is told that there is more");
    let middle = |marker: &(u64, i32, i32, u32, String)| (f64::from(marker.1) / 1e7 - 57.70).hypot((f64::from(marker.2) / 1e7 - 11.95) * 0.53);
    let farthest = |world: &World| world.client.markers.values().map(middle).fold(0.0, f64::max);
    let first = farthest(&world);
    assert!(first < 0.012 && !world.client.markers.is_empty(), "{first} degrees from the middle");
    assert!(ticks_to_catch_up(&mut world) > 5);
    assert!(farthest(&world) > 0.02);
    world.settle_and_compare();
}

#[test]
fn what_is_told_in_parts_never_takes_a_marker_off_the_map_that_is_on_it() {
    // Room for a cell that appears with some in it.
    let mut world = World::new(Settings { max_bytes_in_flight: 500, ..Settings::default() });
    stir(&mut world, 0);
    ticks_to_catch_up(&mut world);
    let all = shown(&world);
    assert_eq!(all.len(), 30);
    for round in 1..200 {
        stir(&mut world, round);
        world.now.0 += UNDER_WAY_MS;
        world.ack();
        world.tick();
        assert_eq!(shown(&world), all, "in round {round}");
    }
    assert!(world.client.behind);
    ticks_to_catch_up(&mut world);
    world.settle_and_compare();
}

#[test]
fn nobody_waits_twice_as_long_for_news_of_a_cell_as_a_round_of_all_takes() {
    let mut world = World::new(narrow());
    stir_within(&mut world, 0);
    world.settle_and_compare();
    let cells: BTreeSet<u64> = world.client.markers.values().map(|marker| marker.0).collect();
    let mut told_in = std::collections::BTreeMap::new();
    let mut longest = 0;
    for round in 1..300_u32 {
        // Within their cells.
        stir_within(&mut world, round);
        let before = world.client.markers.clone();
        world.ack();
        world.tick();
        for (handle, marker) in &world.client.markers {
            if before[handle] != *marker {
                let last = told_in.insert(*handle, round).unwrap_or(0);
                longest = longest.max(round - last);
            }
        }
    }
    let round_of_all = u32::try_from(cells.len()).unwrap();
    assert!(world.client.behind && told_in.len() == 30);
    assert!(longest <= round_of_all * 2, "{longest} ticks without news; there are {round_of_all} cells");
}

fn stir_within(world: &mut World, round: u32) {
    for number in 0..30_u32 {
        let (north, east) = (f64::from(number / 6) * 0.01, f64::from(number % 6) * 0.015);
        let place = (57.68 + north + f64::from(round % 2) * 1e-5, 11.9 + east);
        world.step(Step::Put { number: number.into(), place, status: 1, heading: false, driver: 1 });
    }
}

#[test]
fn who_is_cut_in_the_middle_of_parts_comes_back_to_what_the_server_holds() {
    for cut_after in 0..40 {
        let mut world = World::new(narrow());
        stir(&mut world, 0);
        if cut_after % 2 == 0 {
            world.settle_and_compare();
        }
        for round in 0..cut_after {
            stir(&mut world, round);
            world.ack();
            world.tick();
        }
        world.step(Step::Cut { resumes: true, forgets: false, away: (cut_after % 3 == 0, false) });
        ticks_to_catch_up(&mut world);
        world.settle_and_compare();
    }
}

#[test]
fn who_cannot_keep_up_is_shown_less_and_gets_it_back_more_slowly_each_time() {
    let settings =
        Settings { max_bytes_in_flight: 200, coarsen_after: Duration::from_secs(3), restore_after: Duration::from_secs(10), ..Settings::default() };
    let mut world = World::new(settings);
    stir(&mut world, 0);
    world.settle_and_compare();
    assert_eq!(world.client.level, 8);
    let timer = |world: &mut World| {
        let mut frames = Frames::new();
        world.sessions.on_timer(&world.map, world.now, &mut frames);
        assert!(frames.is_empty());
    };
    // Acknowledged so rarely that a round of all cells takes longer than may be.
    let mut lost = Vec::new();
    for second in 0..200_u32 {
        for tick in 0..10 {
            stir(&mut world, second * 10 + tick);
            if tick % 5 == 0 {
                world.ack();
            }
            world.tick();
        }
        timer(&mut world);
        if world.client.level == 6 && lost.is_empty() {
            lost.push(second);
        }
    }
    assert!(!lost.is_empty() && lost[0] <= 10, "{lost:?}");
    // From here on nothing moves any more.
    let mut waits = Vec::new();
    for second in 0..400_u32 {
        for _ in 0..10 {
            world.ack();
            world.tick();
        }
        timer(&mut world);
        if world.client.level == 8 {
            waits.push(second);
            break;
        }
    }
    assert!(waits.first().is_some_and(|wait| *wait >= 10), "{waits:?}");
    world.settle_and_compare();
}

#[test]
fn a_view_that_is_long_under_way_is_not_out_of_date_and_costs_no_detail() {
    let mut world = World::new(Settings::default());
    stir_within(&mut world, 0);
    world.tick();
    assert!(!world.client.unacked.is_empty());
    // One frame, four seconds on a slow line; much happens meanwhile.
    for round in 1..40 {
        stir_within(&mut world, round);
        world.tick();
    }
    let mut frames = Frames::new();
    world.sessions.on_timer(&world.map, world.now, &mut frames);
    world.settle_and_compare();
    assert_eq!(world.client.level, 8);
}

#[test]
fn cells_that_appear_all_the_time_do_not_hide_that_others_are_out_of_date() {
    let mut world = World::new(Settings::default());
    stir_within(&mut world, 0);
    ticks_to_catch_up(&mut world);
    world.ack();
    for round in 0..35_u32 {
        stir_within(&mut world, round);
        world.step(Step::Put { number: 29, place: (57.5 - f64::from(round) * 0.01, 11.9), status: 1, heading: false, driver: 1 });
        world.tick();
    }
    let mut frames = Frames::new();
    world.sessions.on_timer(&world.map, world.now, &mut frames);
    world.ack();
    world.tick();
    assert_eq!((world.client.level, frames.len()), (6, 0));
}
