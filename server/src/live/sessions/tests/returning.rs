//! Claims about those who come back after a cut.

use super::world::{Step, World};
use crate::live::Settings;
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
