//! What is said of each driver and its delivery, in the order in which it would be said. Sends nothing.

use waypost_sim::clock;
use waypost_sim::event::{Envelope, assigned, created, event, fix, uuid_of};
use waypost_sim::geodesy::Place;
use waypost_sim::wire::event::Payload;
use waypost_sim::wire::{Event, Location};

/// Created, assigned, and pings on the way.
pub(crate) const EVENTS_A_PAIR: usize = 2 + PINGS;
const PINGS: usize = 3;
/// Degrees: the square that all places lie in, as in the bench of viewports. A million are 924 in a view of 0.05 degrees.
const SQUARE_DEG: f64 = 1.645;

/// All deliveries are made and assigned before the first driver speaks, as a day begins.
pub(crate) fn events(pairs: usize) -> impl Iterator<Item = Event> {
    let now_ms = clock::now_ms();
    let made = move |number: usize| {
        let envelope = |kind: u64| Envelope {
            id: uuid_of(now_ms, kind, number as u64),
            actor: String::new(),
            delivery: uuid_of(now_ms, 7, number as u64),
            time_ms: now_ms - 60_000 + i64::try_from(kind).unwrap_or(0),
        };
        let at = place(number);
        [
            event(envelope(1), created(Some(at), Some(at.moved_m(500.0, 900.0)), Some(now_ms + 3_600_000))),
            event(envelope(2), assigned(&driver(now_ms, number))),
        ]
    };
    let pings = (0..PINGS * pairs).map(move |index| ping(driver(now_ms, index % pairs), index % pairs, index / pairs, now_ms));
    (0..pairs).flat_map(made).chain(pings)
}

/// Pings of drivers that carry nothing.
pub(crate) fn pings(drivers: usize, count: usize, name: &'static str) -> impl Iterator<Item = Event> {
    let now_ms = clock::now_ms();
    (0..count).map(move |index| ping(format!("{name}-{}", index % drivers), index % drivers, index / drivers, now_ms))
}

fn ping(actor: String, number: usize, round: usize, now_ms: i64) -> Event {
    let moved_m = f64::from(u32::try_from(round % 100).unwrap_or(0)) * 12.0;
    let time_ms = now_ms - 50_000 + i64::try_from(round).unwrap_or(0) * 10;
    let id = uuid_of(time_ms, u64::from(actor.starts_with("warm")) + 8, (number + round * 16_777_259) as u64);
    let at = Location {
        accuracy_m: Some(5.0),
        speed_mps: Some(12.0),
        heading_deg: Some(f32::from(u16::try_from(number % 360).unwrap_or(0))),
        altitude_m: Some(31.5),
        battery: Some(0.75),
        ..fix(place(number).moved_m(moved_m, 0.0))
    };
    event(Envelope { id, actor, delivery: String::new(), time_ms }, Payload::Location(at))
}

fn driver(now_ms: i64, number: usize) -> String {
    uuid_of(now_ms, 6, number as u64)
}

/// Spread evenly and in no order (the R2 sequence of M. Roberts).
fn place(number: usize) -> Place {
    #[expect(clippy::cast_precision_loss, reason = "a number of a driver in a benchmark")]
    let at = number as f64;
    let along = |step: f64| (at * step).fract() * SQUARE_DEG;
    Place { lat: 40.0 + along(0.754_877_666_246_692_7), lng: 5.0 + along(0.569_840_290_998_053_2) }
}
