//! One event's bytes on disk: the Protobuf wire form of `StoredEvent`, the stamp first and its flags in place. The only code that knows them.
//!
//! Written by hand, without intermediate structs; read through the generated types, so that reader and schema cannot drift apart.

use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint};
use thiserror::Error;

use crate::model::event::{Body, Created, Event, Location, Proof, Stamp, StatusChange, Unknown};
use crate::model::id::{DeliveryId, DriverId, EventId, TenantId};
use crate::model::position::Position;
use crate::model::status::Status;
use crate::model::time::UnixMs;
use crate::wire;

/// Where the flags byte stands in a record: after its one-byte key.
pub(crate) const FLAGS_AT: usize = 1;
const SKEWED: u8 = 1;
pub(crate) const LATE: u8 = 2;

/// The bytes are no record of ours.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("not a stored event: {0}")]
pub struct DecodeError(String);

/// Appends the record of `event` to `out` and returns where its content (all but the stamp) starts.
pub fn encode(event: &Event, out: &mut Vec<u8>) -> usize {
    let flags = u8::from(event.stamp.skewed) * SKEWED + u8::from(event.stamp.late) * LATE;
    out.extend_from_slice(&[3 << 3, flags]);
    varint(out, 2, event.stamp.effective_time.0.cast_unsigned());
    let content = out.len();
    nested(out, 1, |out| encode_event(event, out));
    if let Some(unknown) = &event.unknown {
        bytes(out, 4, &unknown.json);
        bytes(out, 5, &unknown.proto);
    }
    content
}

fn encode_event(event: &Event, out: &mut Vec<u8>) {
    event.id.with_str(|id| bytes(out, 1, id.as_bytes()));
    bytes(out, 2, event.body.name().as_bytes());
    varint(out, 3, u64::from(event.schema_version));
    bytes(out, 4, event.tenant.as_str().as_bytes());
    bytes(out, 5, event.actor.as_ref().map_or("", |actor| actor.as_str()).as_bytes());
    bytes(out, 6, event.delivery.as_ref().map_or("", |delivery| delivery.as_str()).as_bytes());
    varint(out, 7, event.event_time.0.cast_unsigned());
    match &event.body {
        Body::Location(location) => nested(out, 10, |out| encode_location(location, out)),
        Body::Created(created) => nested(out, 11, |out| encode_created(created, out)),
        Body::Assigned { driver } => nested(out, 12, |out| bytes(out, 1, driver.as_str().as_bytes())),
        Body::Status(change) => nested(out, 13, |out| encode_status(change, out)),
        Body::Eta { eta } => nested(out, 14, |out| varint(out, 1, eta.0.cast_unsigned())),
        Body::Duty { on } => nested(out, 15, |out| varint(out, 1, u64::from(*on))),
        Body::Other { payload, .. } => present(out, 16, payload),
    }
}

fn encode_location(location: &Location, out: &mut Vec<u8>) {
    double(out, 1, location.position.lat());
    double(out, 2, location.position.lng());
    for (tag, value) in
        [(3, location.accuracy_m), (4, location.speed_mps), (5, location.heading_deg), (6, location.altitude_m), (7, location.battery)]
    {
        if let Some(value) = value {
            encode_key(tag, WireType::ThirtyTwoBit, out);
            out.extend_from_slice(&value.to_le_bytes());
        }
    }
}

fn encode_created(created: &Created, out: &mut Vec<u8>) {
    for (tag, point) in [(1, created.pickup), (2, created.destination)] {
        if let Some(point) = point {
            nested(out, tag, |out| {
                double(out, 1, point.lat());
                double(out, 2, point.lng());
            });
        }
    }
    if let Some(promised_by) = created.promised_by {
        encode_key(3, WireType::Varint, out);
        encode_varint(promised_by.0.cast_unsigned(), out);
    }
    bytes(out, 4, created.recipient_ref.as_deref().unwrap_or("").as_bytes());
    for (name, value) in &created.attributes {
        nested(out, 5, |out| {
            bytes(out, 1, name.as_bytes());
            bytes(out, 2, value.as_bytes());
        });
    }
}

fn encode_status(change: &StatusChange, out: &mut Vec<u8>) {
    bytes(out, 1, change.status.as_str().as_bytes());
    bytes(out, 2, change.reason.as_deref().unwrap_or("").as_bytes());
    if let Some(proof) = &change.proof {
        nested(out, 3, |out| {
            bytes(out, 1, proof.sha256.as_bytes());
            bytes(out, 2, proof.url.as_bytes());
        });
    }
}

/// A length-delimited field; left out when empty, as proto3 does.
fn bytes(out: &mut Vec<u8>, tag: u32, value: &[u8]) {
    if !value.is_empty() {
        present(out, tag, value);
    }
}

fn present(out: &mut Vec<u8>, tag: u32, value: &[u8]) {
    encode_key(tag, WireType::LengthDelimited, out);
    encode_varint(value.len() as u64, out);
    out.extend_from_slice(value);
}

fn varint(out: &mut Vec<u8>, tag: u32, value: u64) {
    if value != 0 {
        encode_key(tag, WireType::Varint, out);
        encode_varint(value, out);
    }
}

fn double(out: &mut Vec<u8>, tag: u32, value: f64) {
    encode_key(tag, WireType::SixtyFourBit, out);
    out.extend_from_slice(&value.to_le_bytes());
}

/// Writes a nested message, then its length in front: one byte was left for it, and longer messages (rare) are shifted.
fn nested(out: &mut Vec<u8>, tag: u32, write: impl FnOnce(&mut Vec<u8>)) {
    encode_key(tag, WireType::LengthDelimited, out);
    let start = out.len();
    out.push(0);
    write(out);
    let length = out.len() - start - 1;
    if let Ok(short) = u8::try_from(length)
        && short < 128
    {
        out[start] = short;
        return;
    }
    let mut prefix = Vec::with_capacity(5);
    encode_varint(length as u64, &mut prefix);
    out.splice(start..=start, prefix);
}

/// Reads a record back.
pub fn decode(record: &[u8]) -> Result<Event, DecodeError> {
    let stored = wire::StoredEvent::decode(record).map_err(|error| DecodeError(error.to_string()))?;
    let event = stored.event.ok_or_else(|| DecodeError("no event".to_owned()))?;
    let stamp = Stamp {
        effective_time: UnixMs(stored.effective_time_ms),
        skewed: stored.flags & u32::from(SKEWED) != 0,
        late: stored.flags & u32::from(LATE) != 0,
    };
    let unknown = Unknown { json: stored.unknown_json.into(), proto: stored.unknown_proto.into() };
    Ok(Event {
        id: valid(EventId::parse(&event.event_id))?,
        tenant: valid(TenantId::parse(&event.tenant_id))?,
        actor: optional(&event.actor_id, DriverId::parse)?,
        delivery: optional(&event.entity_id, DeliveryId::parse)?,
        event_time: UnixMs(event.event_time_ms),
        schema_version: event.schema_version,
        body: decode_body(event.event_name, event.payload)?,
        stamp,
        unknown: (unknown != Unknown::default()).then(|| Box::new(unknown)),
    })
}

fn decode_body(name: String, payload: Option<wire::event::Payload>) -> Result<Body, DecodeError> {
    use wire::event::Payload;
    Ok(match payload.ok_or_else(|| DecodeError("no payload".to_owned()))? {
        Payload::Location(location) => Body::Location(Location {
            position: valid(Position::from_degrees(location.lat, location.lng))?,
            accuracy_m: location.accuracy_m,
            speed_mps: location.speed_mps,
            heading_deg: location.heading_deg,
            altitude_m: location.altitude_m,
            battery: location.battery,
        }),
        Payload::Created(created) => Body::Created(Box::new(decode_created(created)?)),
        Payload::Assigned(assigned) => Body::Assigned { driver: valid(DriverId::parse(&assigned.driver_id))? },
        Payload::Status(change) => Body::Status(Box::new(StatusChange {
            status: valid(change.status.parse::<Status>())?,
            reason: text(change.reason),
            proof: change.proof.map(|proof| Proof { sha256: proof.sha256.into(), url: proof.url.into() }),
        })),
        Payload::Eta(eta) => Body::Eta { eta: UnixMs(eta.eta_ms) },
        Payload::Duty(duty) => Body::Duty { on: duty.on },
        Payload::Other(payload) => Body::Other { name: name.into(), payload: payload.into() },
    })
}

fn decode_created(created: wire::DeliveryCreated) -> Result<Created, DecodeError> {
    let point = |point: Option<wire::Point>| point.map(|point| valid(Position::from_degrees(point.lat, point.lng))).transpose();
    let mut attributes: Vec<(Box<str>, Box<str>)> = created.attributes.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
    attributes.sort_unstable();
    Ok(Created {
        pickup: point(created.pickup)?,
        destination: point(created.destination)?,
        promised_by: created.promised_by_ms.map(UnixMs),
        recipient_ref: text(created.recipient_ref),
        attributes,
    })
}

fn text(text: String) -> Option<Box<str>> {
    (!text.is_empty()).then(|| text.into())
}

fn optional<T, E: std::fmt::Display>(text: &str, parse: impl FnOnce(&str) -> Result<T, E>) -> Result<Option<T>, DecodeError> {
    if text.is_empty() { Ok(None) } else { valid(parse(text)).map(Some) }
}

fn valid<T, E: std::fmt::Display>(parsed: Result<T, E>) -> Result<T, DecodeError> {
    parsed.map_err(|error| DecodeError(error.to_string()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, prop_assert_eq, proptest};

    use super::*;

    fn event(body: Body) -> Event {
        Event {
            id: EventId::parse("0192f0c1-2345-7abc-8def-0123456789ab").expect("valid"),
            tenant: TenantId::parse("acme").expect("valid"),
            actor: Some(DriverId::parse("d1").expect("valid")),
            delivery: Some(DeliveryId::parse("o1").expect("valid")),
            event_time: UnixMs(1_790_000_000_123),
            schema_version: 1,
            body,
            stamp: Stamp { effective_time: UnixMs(1_790_000_000_124), skewed: true, late: false },
            unknown: Some(Box::new(Unknown { json: "{\"a\":1}".into(), proto: b"\x98\x06\x01".as_slice().into() })),
        }
    }

    #[test]
    fn every_kind_of_event_survives_the_log() {
        let place = Position::from_degrees(57.7, 11.9).expect("valid");
        let proof = Proof { sha256: "ab".repeat(32).into(), url: "https://x".into() };
        let long = "x".repeat(300);
        let bodies = [
            Body::Location(Location {
                position: place,
                accuracy_m: Some(4.5),
                speed_mps: None,
                heading_deg: Some(0.0),
                altitude_m: None,
                battery: Some(1.0),
            }),
            Body::Created(Box::new(Created {
                pickup: Some(place),
                destination: None,
                promised_by: Some(UnixMs(0)),
                recipient_ref: Some("r".into()),
                attributes: vec![("a".into(), long.as_str().into()), ("b".into(), "".into())],
            })),
            Body::Assigned { driver: DriverId::parse("d2").expect("valid") },
            Body::Status(Box::new(StatusChange { status: Status::Failed, reason: Some("nobody home".into()), proof: Some(proof) })),
            Body::Eta { eta: UnixMs(1_790_000_900_000) },
            Body::Duty { on: false },
            Body::Other { name: "door.opened".into(), payload: "{}".into() },
        ];
        for body in bodies {
            let event = event(body);
            let mut bytes = Vec::new();
            encode(&event, &mut bytes);
            assert_eq!(decode(&bytes), Ok(event));
        }
    }

    #[test]
    fn the_stamp_stands_first_and_changes_no_content() {
        let mut other = event(Body::Duty { on: true });
        let (mut first, mut second) = (Vec::new(), Vec::new());
        let start = encode(&other, &mut first);
        other.stamp = Stamp::default();
        let second_start = encode(&other, &mut second);
        assert_eq!(first[start..], second[second_start..]);
        first[FLAGS_AT] |= LATE;
        assert!(decode(&first).expect("decodes").stamp.late);
    }

    proptest! {
        #[test]
        fn bytes_that_are_no_record_are_an_error_and_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            drop(decode(&bytes));
        }

        #[test]
        fn any_fix_survives(lat in -90.0_f64..=90.0, lng in -180.0_f64..180.0, speed in prop::option::of(0.0_f32..300.0), time in any::<i64>()) {
            let Ok(position) = Position::from_degrees(lat, lng) else { return Ok(()) };
            let mut fix = event(Body::Location(Location { position, accuracy_m: None, speed_mps: speed, heading_deg: None, altitude_m: None, battery: None }));
            fix.event_time = UnixMs(time);
            let mut bytes = Vec::new();
            encode(&fix, &mut bytes);
            prop_assert_eq!(decode(&bytes), Ok(fix));
        }
    }
}
