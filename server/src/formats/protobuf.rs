//! Events as Protobuf: an `EventBatch` of the schema of record. Each event is read alone, so that a bad one harms no neighbour.

use bytes::{Buf as _, Bytes};
use prost::Message as _;
use prost::encoding::{DecodeContext, decode_key, skip_field};

use super::checks::{self, Envelope, LooseLocation};
use super::json::MAX_EVENT_BYTES;
use super::refusal::{Code, Refusal};
use crate::model::event::{Body, Created, Event, Unknown};
use crate::model::id::TenantId;
use crate::model::position::Position;
use crate::model::time::UnixMs;
use crate::wire;
use crate::wire::event::Payload;

/// An `EventBatch` whose events are still bytes.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Items {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub events: Vec<Bytes>,
    #[prost(int64, tag = "2")]
    pub sent_at_ms: i64,
}

pub fn split(body: Bytes) -> Result<Items, Refusal> {
    Items::decode(body).map_err(|error| Refusal::new(Code::MalformedProtobuf, "", error.to_string()))
}

/// The id an event claims, also when it is refused.
pub fn claimed_id(item: &Bytes) -> String {
    let id = wire::Event::decode(item.clone()).map(|event| event.event_id).unwrap_or_default();
    if id.len() <= crate::model::id::MAX_ID_BYTES { id } else { String::new() }
}

/// Reads one event.
pub fn decode(item: &Bytes, tenant: &TenantId) -> Result<Event, Refusal> {
    if item.len() > MAX_EVENT_BYTES {
        return Err(Refusal::new(Code::TooLarge, "", format!("an event has at most {MAX_EVENT_BYTES} bytes")));
    }
    let event = wire::Event::decode(item.clone()).map_err(|error| Refusal::new(Code::MalformedProtobuf, "", error.to_string()))?;
    checks::event_name(&event.event_name)?;
    if event.event_time_ms == 0 {
        return Err(Refusal::missing("/event_time_ms"));
    }
    let body = body(&event.event_name, event.payload)?;
    let envelope = Envelope {
        event_id: &event.event_id,
        tenant_id: &event.tenant_id,
        actor_id: &event.actor_id,
        entity_id: &event.entity_id,
        event_time: UnixMs(event.event_time_ms),
        schema_version: event.schema_version,
    };
    let mut decoded = checks::event(&envelope, body, tenant)?;
    decoded.unknown = unknown(item).map(|proto| Box::new(Unknown { proto, ..Unknown::default() }));
    Ok(decoded)
}

fn body(name: &str, payload: Option<Payload>) -> Result<Body, Refusal> {
    let wrong = |field: &str| Refusal::new(Code::WrongType, "/payload", format!("an event named {name} carries the field `{field}`"));
    Ok(match (name, payload) {
        ("location", Some(Payload::Location(location))) => Body::Location(checks::location(loose(&location), "/location")?),
        ("location", other) => return Err(missing_or(other, "location", wrong)),
        ("delivery.created", Some(Payload::Created(message))) => Body::Created(Box::new(created(message)?)),
        ("delivery.created", other) => return Err(missing_or(other, "created", wrong)),
        ("delivery.assigned", Some(Payload::Assigned(assigned))) => {
            Body::Assigned { driver: checks::driver(&assigned.driver_id, "/assigned/driver_id")? }
        }
        ("delivery.assigned", other) => return Err(missing_or(other, "assigned", wrong)),
        ("delivery.status", Some(Payload::Status(change))) => {
            let proof = change.proof.as_ref().map(|proof| (proof.sha256.as_str(), proof.url.as_str()));
            Body::Status(Box::new(checks::status(&change.status, &change.reason, proof, "/status")?))
        }
        ("delivery.status", other) => return Err(missing_or(other, "status", wrong)),
        ("delivery.eta", Some(Payload::Eta(eta))) => Body::Eta { eta: UnixMs(eta.eta_ms) },
        ("delivery.eta", other) => return Err(missing_or(other, "eta", wrong)),
        ("driver.duty", Some(Payload::Duty(duty))) => Body::Duty { on: duty.on },
        ("driver.duty", other) => return Err(missing_or(other, "duty", wrong)),
        (name, Some(Payload::Other(payload))) => Body::Other { name: name.into(), payload: payload.into() },
        (name, None) => Body::Other { name: name.into(), payload: Bytes::new() },
        (_, Some(_)) => return Err(wrong("other")),
    })
}

fn missing_or(payload: Option<Payload>, field: &str, wrong: impl Fn(&str) -> Refusal) -> Refusal {
    if payload.is_none() { Refusal::missing(format!("/{field}")) } else { wrong(field) }
}

fn loose(location: &wire::Location) -> LooseLocation {
    LooseLocation {
        lat: location.lat,
        lng: location.lng,
        accuracy_m: location.accuracy_m,
        speed_mps: location.speed_mps,
        heading_deg: location.heading_deg,
        altitude_m: location.altitude_m,
        battery: location.battery,
    }
}

fn created(message: wire::DeliveryCreated) -> Result<Created, Refusal> {
    let point = |point: Option<wire::Point>, at: &str| -> Result<Option<Position>, Refusal> {
        point.map(|point| checks::position(point.lat, point.lng, at)).transpose()
    };
    let created = Created {
        pickup: point(message.pickup, "/created/pickup")?,
        destination: point(message.destination, "/created/destination")?,
        promised_by: message.promised_by_ms.map(UnixMs),
        recipient_ref: Some(message.recipient_ref.into()),
        attributes: message.attributes.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
    };
    checks::created(created, "/created")
}

/// The top-level fields that this version does not know, as they came.
fn unknown(item: &Bytes) -> Option<Bytes> {
    let mut rest = item.clone();
    let mut kept = Vec::new();
    while rest.has_remaining() {
        let field = rest.clone();
        let (tag, wire_type) = decode_key(&mut rest).ok()?;
        skip_field(wire_type, tag, &mut rest, DecodeContext::default()).ok()?;
        if !matches!(tag, 1..=7 | 10..=16) {
            kept.extend_from_slice(&field[..field.len() - rest.len()]);
        }
    }
    (!kept.is_empty()).then(|| kept.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, proptest};

    use super::*;
    use crate::formats::json;

    fn tenant() -> TenantId {
        TenantId::parse("acme").expect("valid")
    }

    fn ping() -> wire::Event {
        let location = wire::Location { lat: 57.7, lng: 11.9, speed_mps: Some(8.5), ..wire::Location::default() };
        wire::Event {
            event_id: "e1".into(),
            event_name: "location".into(),
            schema_version: 1,
            actor_id: "d1".into(),
            event_time_ms: 1_790_000_000_000,
            payload: Some(Payload::Location(location)),
            ..wire::Event::default()
        }
    }

    #[test]
    fn protobuf_and_json_of_the_same_event_are_the_same_event() {
        let text = r#"{"event_id":"e1","event_name":"location","actor_id":"d1","event_time":1790000000000,"payload":{"lat":57.7,"lng":11.9,"speed_mps":8.5}}"#;
        assert_eq!(decode(&ping().encode_to_vec().into(), &tenant()), json::decode(text, &tenant()));
    }

    #[test]
    fn a_field_of_a_later_version_is_kept_as_it_came() {
        let mut bytes = ping().encode_to_vec();
        bytes.extend_from_slice(&[0x98, 0x06, 0x07]);
        let event = decode(&bytes.into(), &tenant()).expect("valid");
        assert_eq!(event.unknown.expect("kept").proto.as_ref(), [0x98, 0x06, 0x07]);
    }

    #[test]
    fn a_payload_under_another_name_is_refused() {
        let mut event = ping();
        event.event_name = "driver.duty".into();
        assert_eq!(decode(&event.encode_to_vec().into(), &tenant()).expect_err("refused").code, Code::WrongType);
        event.payload = None;
        assert_eq!(decode(&event.encode_to_vec().into(), &tenant()).expect_err("refused").pointer, "/duty");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            drop(split(bytes.clone().into()));
            drop(decode(&bytes.into(), &tenant()));
        }
    }
}
