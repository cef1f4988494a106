//! What is let go when more comes than can be worked off, and in which order. Decides for one event; who measures the pressure lives elsewhere (`app/pressure.rs`).

use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, Ordering};

use parking_lot::Mutex;

use crate::formats::results::Shed;
use crate::ingest::senders::Sender;
use crate::model::event::{Body, Event};
use crate::model::id::EventId;

/// How far behind the node is: each step lets go of what the one before it does, and of more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Pressure {
    #[default]
    None,
    /// Of a driver's pings that lie within one second of event time the first is enough.
    Repeats,
    Pings,
    AllButStatus,
    /// Nothing more can be taken. What says a status is never let go, so its request is refused whole and comes again.
    Full,
}

impl Pressure {
    pub const ALL: [Self; 5] = [Self::None, Self::Repeats, Self::Pings, Self::AllButStatus, Self::Full];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Repeats => "repeats",
            Self::Pings => "pings",
            Self::AllButStatus => "all_but_status",
            Self::Full => "full",
        }
    }
}

/// The pressure as it was measured last, and what it makes of an event.
#[derive(Debug, Default)]
pub struct Valve {
    pressure: AtomicU8,
    /// The second of event time of each driver's last ping that was let through; kept only while it is asked for.
    last_pings: Mutex<HashMap<u64, (i64, EventId)>>,
}

/// Drivers whose last ping is remembered; beyond it all are forgotten, and each may ping once more.
const MAX_REMEMBERED: usize = 1 << 20;

impl Valve {
    pub fn pressure(&self) -> Pressure {
        Pressure::ALL[usize::from(self.pressure.load(Ordering::Relaxed)) % Pressure::ALL.len()]
    }

    pub fn set(&self, pressure: Pressure) {
        let before = self.pressure.swap(pressure as u8, Ordering::Relaxed);
        if pressure == Pressure::None && before != 0 {
            *self.last_pings.lock() = HashMap::new();
        }
    }

    /// Why this event of `sender` is let go under `pressure`, if it is.
    pub(super) fn sheds(&self, pressure: Pressure, event: &Event, sender: Option<Sender>) -> Option<Shed> {
        if pressure == Pressure::None {
            return None;
        }
        match &event.body {
            // With it goes the proof.
            Body::Status(_) => None,
            Body::Location(_) if pressure >= Pressure::Pings => Some(Shed::Ping),
            Body::Location(_) => sender.filter(|sender| self.is_repeated(*sender, event)).map(|_| Shed::RepeatedPing),
            _ if pressure >= Pressure::AllButStatus => Some(Shed::NoStatus),
            _ => None,
        }
    }

    /// The very ping that was let through before is none: its request may have been refused after that, and comes again.
    fn is_repeated(&self, sender: Sender, event: &Event) -> bool {
        let second = event.event_time.0.div_euclid(1000);
        let mut last_pings = self.last_pings.lock();
        if last_pings.len() >= MAX_REMEMBERED {
            last_pings.clear();
        }
        match last_pings.get(&sender.key()) {
            Some((last, id)) if *last == second => *id != event.id,
            _ => {
                last_pings.insert(sender.key(), (second, event.id.clone()));
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::senders::Senders;
    use crate::model::event::{Location, Stamp, StatusChange};
    use crate::model::id::{DriverId, TenantId};
    use crate::model::position::Position;
    use crate::model::status::Status;
    use crate::model::time::UnixMs;

    /// Each by an id of its own.
    fn event(body: Body, at_ms: i64) -> Event {
        static NUMBER: AtomicU8 = AtomicU8::new(0);
        Event {
            id: EventId::parse(&format!("e{}", NUMBER.fetch_add(1, Ordering::Relaxed))).unwrap(),
            tenant: TenantId::parse("acme").unwrap(),
            actor: Some(DriverId::parse("ann").unwrap()),
            delivery: None,
            event_time: UnixMs(at_ms),
            schema_version: 1,
            body,
            stamp: Stamp::default(),
            unknown: None,
        }
    }

    fn ping(at_ms: i64) -> Event {
        let position = Position::from_degrees(57.0, 11.0).unwrap();
        event(Body::Location(Location { position, accuracy_m: None, speed_mps: None, heading_deg: None, altitude_m: None, battery: None }), at_ms)
    }

    #[test]
    fn each_step_lets_go_of_more_and_none_of_a_status() {
        let status = event(Body::Status(Box::new(StatusChange { status: Status::Delivered, reason: None, proof: None })), 0);
        let duty = event(Body::Duty { on: true }, 0);
        let sheds = |pressure| {
            let valve = Valve::default();
            [&ping(0), &ping(0), &duty, &status].map(|event| valve.sheds(pressure, event, Some(Senders::sender(1, event.actor.as_ref().unwrap()))))
        };
        assert_eq!(sheds(Pressure::None), [None; 4]);
        assert_eq!(sheds(Pressure::Repeats), [None, Some(Shed::RepeatedPing), None, None]);
        assert_eq!(sheds(Pressure::Pings), [Some(Shed::Ping), Some(Shed::Ping), None, None]);
        for pressure in [Pressure::AllButStatus, Pressure::Full] {
            assert_eq!(sheds(pressure), [Some(Shed::Ping), Some(Shed::Ping), Some(Shed::NoStatus), None]);
        }
    }

    #[test]
    fn the_first_ping_of_each_second_of_each_driver_passes() {
        let valve = Valve::default();
        let [ann, bob] = ["ann", "bob"].map(|name| Some(Senders::sender(1, &DriverId::parse(name).unwrap())));
        let sheds = |at_ms, sender| valve.sheds(Pressure::Repeats, &ping(at_ms), sender).is_some();
        let told =
            [(0, ann), (999, ann), (500, bob), (1_000, ann), (1_001, ann), (-1, ann), (-1_000, ann)].map(|(at_ms, sender)| sheds(at_ms, sender));
        assert_eq!(told, [false, true, false, false, true, false, true]);
        let first = ping(5_000);
        let again = [&first, &first, &ping(5_000), &first].map(|event| valve.sheds(Pressure::Repeats, event, ann).is_some());
        assert_eq!(again, [false, false, true, false], "what comes again because its request was refused is no repetition");
        valve.set(Pressure::Repeats);
        valve.set(Pressure::None);
        assert!(valve.last_pings.lock().is_empty());
        assert_eq!(valve.pressure(), Pressure::None);
    }
}
