//! Claims about those who come back after a cut.

use super::fleet::tenant;
use super::world::{Step, World};
use crate::live::{Format, Settings};
use crate::map::cells::SessionId;
use crate::model::scope::Scope;
use crate::wire;

#[test]
fn who_left_while_a_cell_was_empty_is_told_its_origin_though_nothing_in_it_is_for_them_yet() {
    let put = |status| Step::Put { number: 3, place: (57.70, 11.97), status, heading: false, driver: 1 };
    let mut world = World::new(Settings::default());
    // The client first looks when the cell is empty already, for what is picked up alone.
    world.step(put(1));
    world.step(Step::Remove { number: 3 });
    world.view.filter = Some(wire::Filter { statuses: vec![5], ..wire::Filter::default() });
    world.look();
    world.tick();
    world.ack();
    // While it is away the same marker comes back, not picked up yet.
    world.step(Step::Cut { resumes: true, forgets: false, away: (true, false) });
    world.tick();
    world.ack();
    world.step(put(2));
    world.tick();
    world.settle_and_compare();
    assert_eq!(world.client.markers.len(), 1);
}

#[test]
fn coming_back_after_a_long_time_costs_no_more_than_coming_anew() {
    let put = |number: u64, round: u32| {
        // To and fro between two cells.
        let place =
            (57.70 + f64::from(u32::try_from(number).unwrap()) * 1e-4, if (u64::from(round) + number).is_multiple_of(2) { 11.97 } else { 11.99 });
        Step::Put { number, place, status: 2, heading: true, driver: 1 }
    };
    let mut world = World::new(Settings::default());
    (0..30).for_each(|number| world.step(put(number, 0)));
    world.settle_and_compare();
    let source = wire::Source { epoch: 77, tick: world.client.tick };
    for round in 1..8 {
        (0..30).for_each(|number| world.step(put(number, round)));
        world.ack();
        world.tick();
    }
    let mut bytes = |id: u64, sources: Vec<wire::Source>| {
        world.sessions.open(SessionId(id), tenant(), Scope::ALL, Format::Proto, world.now, "test");
        let resume = wire::Resume { sources, view: Some(world.view.clone()), level: 8 };
        assert!(world.sessions.on_resume(SessionId(id), &resume).is_none());
        let frames = world.sessions.on_views(&world.map, world.now);
        frames.iter().map(|(_, frame)| frame.bytes_len()).sum::<usize>()
    };
    let (by_resume, anew) = (bytes(50, vec![source]), bytes(51, Vec::new()));
    assert!(by_resume > 0);
    // But for a byte or two of its header.
    assert!(by_resume <= anew + 8, "{by_resume} bytes by resume, {anew} anew");
}
