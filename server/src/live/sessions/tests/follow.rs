//! Claims about a followed delivery: its client learns where it is, what became of it, and that it cannot be seen any more.

use super::fleet::tenant;
use super::world::{Step, World};
use crate::live::{Goodbye, Settings};
use crate::map::cells::SessionId;
use crate::model::change::MarkerChange;
use crate::model::id::Handle;
use crate::model::status::Status;
use crate::wire;

/// `P7` is `picked_up` aboard `van-7`, which shows the same.
fn aboard(place: (f64, f64)) -> Step {
    Step::Put { number: 7, place, status: 2, heading: true, driver: 1 }
}

/// What is told of the delivery itself in the next tick.
fn told(world: &mut World) -> Option<wire::FollowedDelivery> {
    use prost::Message as _;
    world.now.0 += 100;
    let frames = world.sessions.on_tick(&world.map, world.now);
    let frames: Vec<_> = frames.iter().map(|(_, frame)| wire::Frame::decode(frame.join()).unwrap()).collect();
    for frame in &frames {
        world.sessions.on_ack(SessionId(1), frame.tick, world.now);
    }
    frames.into_iter().find_map(|frame| frame.followed_delivery)
}

fn gone(world: &mut World) {
    let applying = world.sessions.applying();
    let remove = MarkerChange::Remove { tenant: tenant(), handle: Handle((7 % 3) << 37 | 7), ended: Some(Status::Delivered), ingest_time: world.now };
    world.map.write().apply(remove, applying);
}

/// The timer comes by; true when it wants a tick.
fn timer(world: &mut World) -> bool {
    world.sessions.on_timer(&world.map, world.now, &mut Vec::new())
}

#[test]
fn what_cannot_be_found_is_gone_at_once_and_what_is_between_two_drivers_a_second_later() {
    let mut world = World::new(Settings::default());
    assert!(world.sessions.on_follow(SessionId(1), "P7").is_none());
    assert!(told(&mut world).is_some_and(|told| told.gone && told.status == 0 && told.delivery == "P7"));
    assert!(told(&mut world).is_none(), "once");
    world.step(aboard((57.7, 11.97)));
    let picked_up = i32::from(Status::PickedUp as u8);
    assert!(told(&mut world).is_some_and(|told| !told.gone && told.status == picked_up));
    gone(&mut world);
    assert!(told(&mut world).is_none());
    assert!(!timer(&mut world));
    world.step(aboard((1.0, 2.0)));
    assert!(told(&mut world).is_none(), "it is what it was");
    gone(&mut world);
    assert!(told(&mut world).is_none());
    assert_eq!([timer(&mut world), timer(&mut world)], [false, true], "nothing else need happen for it to be told");
    assert!(told(&mut world).is_some_and(|told| told.gone && told.status == 0));
}

#[test]
fn what_a_blocked_session_missed_of_what_it_follows_is_sent_when_it_acknowledges() {
    let mut world = World::new(Settings::default());
    assert!(world.sessions.on_follow(SessionId(1), "P7").is_none());
    // Far outside of its view.
    let steps = u32::try_from(Settings::default().max_frames_in_flight).unwrap() + 2;
    for step in 0..steps {
        world.step(aboard((f64::from(step), 2.0)));
        world.now.0 += 100;
        world.sessions.on_tick(&world.map, world.now);
    }
    assert!(world.sessions.on_ack(SessionId(1), u64::MAX, world.now), "a tick is wanted");
    world.tick();
    assert_eq!(world.client.followed.as_ref().map(|followed| followed.lat_e7), Some((i32::try_from(steps).unwrap() - 1) * 10_000_000));
}

#[test]
fn who_follows_what_cannot_be_a_delivery_is_sent_away() {
    let mut world = World::new(Settings::default());
    assert!(world.sessions.on_follow(SessionId(1), "").is_none());
    let refused = world.sessions.on_follow(SessionId(1), &"x".repeat(65)).unwrap();
    assert_eq!(refused.close, Some(Goodbye::BadMessage));
}
