//! Builds events in the terms of the wire schema and writes them as JSON or Protobuf bodies. Never sends them.

use std::collections::HashMap;

use prost::Message;
use serde_json::{Map, Value, json};

use crate::geodesy::Place;
use crate::wire::event::Payload;
use crate::wire::{DeliveryAssigned, DeliveryCreated, DeliveryStatus, DriverDuty, Event, EventBatch, Location, Point};

/// How a body is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    Json,
    #[default]
    Proto,
}

impl Format {
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Proto => "application/x-protobuf",
        }
    }
}

/// Who speaks, of what, when, under which id.
#[derive(Clone, Debug, Default)]
pub struct Envelope {
    pub id: String,
    pub actor: String,
    /// Empty when the event names no delivery.
    pub delivery: String,
    pub time_ms: i64,
}

/// An event with this payload; its name follows from the payload.
pub fn event(envelope: Envelope, payload: Payload) -> Event {
    Event {
        event_id: envelope.id,
        event_name: name_of(&payload).to_owned(),
        schema_version: 1,
        actor_id: envelope.actor,
        entity_id: envelope.delivery,
        event_time_ms: envelope.time_ms,
        payload: Some(payload),
        ..Event::default()
    }
}

fn name_of(payload: &Payload) -> &'static str {
    match payload {
        Payload::Location(_) => "location",
        Payload::Created(_) => "delivery.created",
        Payload::Assigned(_) => "delivery.assigned",
        Payload::Status(_) => "delivery.status",
        Payload::Eta(_) => "delivery.eta",
        Payload::Duty(_) => "driver.duty",
        Payload::Other(_) => "sim.other",
    }
}

pub fn fix(place: Place) -> Location {
    Location { lat: place.lat, lng: place.lng, ..Location::default() }
}

pub fn created(pickup: Option<Place>, destination: Option<Place>, promised_by_ms: Option<i64>) -> Payload {
    let point = |place: Place| Point { lat: place.lat, lng: place.lng };
    Payload::Created(DeliveryCreated {
        pickup: pickup.map(point),
        destination: destination.map(point),
        promised_by_ms,
        recipient_ref: String::new(),
        attributes: HashMap::new(),
    })
}

pub fn assigned(driver: &str) -> Payload {
    Payload::Assigned(DeliveryAssigned { driver_id: driver.to_owned() })
}

pub fn status(status: &str, reason: &str) -> Payload {
    Payload::Status(DeliveryStatus { status: status.to_owned(), reason: reason.to_owned(), proof: None })
}

pub fn duty_on() -> Payload {
    Payload::Duty(DriverDuty { on: true })
}

/// An id with the layout of a version 7 UUID: its time in milliseconds, then 74 bits of `seed` and `number`. Equal input gives an equal id.
pub fn uuid_of(time_ms: i64, seed: u64, number: u64) -> String {
    let mut input = [0_u8; 16];
    input[..8].copy_from_slice(&seed.to_le_bytes());
    input[8..].copy_from_slice(&number.to_le_bytes());
    let bits = xxhash_rust::xxh3::xxh3_128(&input).to_le_bytes();
    let mut tail = [0_u8; 10];
    tail.copy_from_slice(&bits[..10]);
    uuid::Builder::from_unix_timestamp_millis(time_ms.unsigned_abs(), &tail).into_uuid().to_string()
}

/// One body for these events.
pub fn encode(events: &[Event], format: Format, sent_at_ms: i64) -> Vec<u8> {
    match format {
        Format::Proto => EventBatch { events: events.to_vec(), sent_at_ms }.encode_to_vec(),
        Format::Json => {
            let items: Vec<Value> = events.iter().map(to_json).collect();
            serde_json::to_vec(&items).expect("maps with text keys can always be written")
        }
    }
}

/// The event as the JSON object that `POST /v1/events` takes. Unset values are left out.
pub fn to_json(event: &Event) -> Value {
    let mut out = Map::new();
    out.insert("event_id".into(), json!(event.event_id));
    out.insert("event_name".into(), json!(event.event_name));
    if !event.actor_id.is_empty() {
        out.insert("actor_id".into(), json!(event.actor_id));
    }
    if !event.entity_id.is_empty() {
        out.insert("entity_id".into(), json!(event.entity_id));
    }
    out.insert("event_time".into(), json!(rfc3339(event.event_time_ms)));
    if let Some(payload) = &event.payload {
        out.insert("payload".into(), payload_json(payload));
    }
    Value::Object(out)
}

fn payload_json(payload: &Payload) -> Value {
    let mut out = Map::new();
    let point = |place: &Point| json!({ "lat": place.lat, "lng": place.lng });
    match payload {
        Payload::Location(fix) => {
            out.insert("lat".into(), json!(fix.lat));
            out.insert("lng".into(), json!(fix.lng));
            let optional = [
                ("accuracy_m", fix.accuracy_m),
                ("speed_mps", fix.speed_mps),
                ("heading_deg", fix.heading_deg),
                ("altitude_m", fix.altitude_m),
                ("battery", fix.battery),
            ];
            for (name, value) in optional {
                if let Some(value) = value {
                    out.insert(name.into(), json!(shortest(value)));
                }
            }
        }
        Payload::Created(created) => {
            if let Some(place) = &created.pickup {
                out.insert("pickup".into(), point(place));
            }
            if let Some(place) = &created.destination {
                out.insert("destination".into(), point(place));
            }
            if let Some(time) = created.promised_by_ms {
                out.insert("promised_by".into(), json!(rfc3339(time)));
            }
        }
        Payload::Assigned(assigned) => drop(out.insert("driver".into(), json!(assigned.driver_id))),
        Payload::Status(status) => {
            out.insert("status".into(), json!(status.status));
            if !status.reason.is_empty() {
                out.insert("reason".into(), json!(status.reason));
            }
        }
        Payload::Eta(eta) => drop(out.insert("eta".into(), json!(rfc3339(eta.eta_ms)))),
        Payload::Duty(duty) => drop(out.insert("on".into(), json!(duty.on))),
        Payload::Other(_) => {}
    }
    Value::Object(out)
}

/// The f64 whose shortest text is the f32's shortest text: 0.1, not 0.10000000149.
fn shortest(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}

/// RFC 3339 in UTC with milliseconds.
pub fn rfc3339(time_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(time_ms).map_or_else(|_| String::new(), |time| format!("{time:.3}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ping_is_written_with_short_numbers_and_a_utc_time() {
        let envelope = Envelope { id: "e".into(), actor: "a".into(), delivery: String::new(), time_ms: 1_212_735_600_250 };
        let mut location = fix(Place { lat: 57.7, lng: 11.9 });
        location.battery = Some(0.1);
        let text = to_json(&event(envelope, Payload::Location(location))).to_string();
        assert!(text.contains(r#""battery":0.1"#), "{text}");
        assert!(text.contains(r#""event_time":"2008-06-06T07:00:00.250Z""#), "{text}");
        assert!(!text.contains("entity_id"), "{text}");
    }

    #[test]
    fn ids_repeat_for_equal_input_and_sort_by_time() {
        assert_eq!(uuid_of(5, 1, 2), uuid_of(5, 1, 2));
        assert_ne!(uuid_of(5, 1, 2), uuid_of(5, 1, 3));
        assert!(uuid_of(1_700_000_000_000, 9, 9) < uuid_of(1_700_000_000_001, 1, 1));
    }
}
