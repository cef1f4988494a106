//! Events as Protobuf: an `EventBatch` of the schema of record. Each event is read alone, so that a bad one harms no neighbour.
//!
//! Units, ranges and codes as in `json`; pointers use the field names of the schema, without the batch around them (`/location/lat`).
//! An `event_time_ms` or `eta_ms` of 0 is absent. What this version does not know is kept at any level, as a fragment of the same message.

pub mod fields;
mod payload;

use std::borrow::Cow;

use super::checks::{self, Envelope};
use super::json::MAX_EVENT_BYTES;
use super::refusal::{Code, Refusal};
use super::time;
use crate::model::event::{Event, Unknown};
use crate::model::id::{MAX_ID_BYTES, TenantId};
use crate::model::time::UnixMs;
use fields::Fields;

/// An `EventBatch` whose events are still bytes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Items<'a> {
    /// At most as many as were asked for.
    pub events: Vec<&'a [u8]>,
    /// How many there are.
    pub count: usize,
    pub sent_at: Option<UnixMs>,
}

/// Splits an `EventBatch` and keeps its first `max` events.
pub fn split(body: &[u8], max: usize) -> Result<Items<'_>, Refusal> {
    let mut items = Items::default();
    let mut fields = Fields::new(body);
    while let Some(field) = fields.read()? {
        match field.tag {
            1 => {
                let event = field.bytes("/events")?;
                items.count += 1;
                if items.count <= max {
                    items.events.push(event);
                }
            }
            2 => items.sent_at = optional_time(field.int64("/sent_at_ms")?, "/sent_at_ms")?,
            _ => {}
        }
    }
    Ok(items)
}

/// The id an event claims, also when it is refused; empty when there is none to be read.
pub fn claimed_id(item: &[u8]) -> String {
    let mut fields = Fields::new(item);
    let ids = std::iter::from_fn(|| fields.read().ok().flatten()).filter(|field| field.tag == 1);
    ids.last().and_then(|id| id.text("").ok()).filter(|id| id.len() <= MAX_ID_BYTES).unwrap_or_default().to_owned()
}

/// Reads one event.
pub fn decode(item: &[u8], tenant: &TenantId) -> Result<Event, Refusal> {
    if item.len() > MAX_EVENT_BYTES {
        return Err(Refusal::new(Code::TooLarge, "", format!("an event has at most {MAX_EVENT_BYTES} bytes")));
    }
    let (mut envelope, mut name, mut event_time_ms) = (Envelope::default(), "", 0);
    let (mut payload, mut others) = (None, Vec::new());
    let mut fields = Fields::new(item);
    while let Some(field) = fields.read()? {
        match field.tag {
            1 => envelope.event_id = field.text("/event_id")?,
            2 => name = field.text("/event_name")?,
            3 => envelope.schema_version = low_half(field.varint("/schema_version")?),
            4 => envelope.tenant_id = field.text("/tenant_id")?,
            5 => envelope.actor_id = field.text("/actor_id")?,
            6 => envelope.entity_id = field.text("/entity_id")?,
            7 => event_time_ms = field.int64("/event_time_ms")?,
            10..=16 => payload = Some(merged(payload.take(), field.tag, field.bytes("/payload")?)),
            _ => fields.keep(&mut others),
        }
    }
    checks::event_name(name)?;
    envelope.event_time = optional_time(event_time_ms, "/event_time_ms")?.ok_or_else(|| Refusal::missing("/event_time_ms"))?;
    let body = payload::decode(name, payload.as_ref().map(|(tag, bytes)| (*tag, bytes.as_ref())), &mut others)?;
    let mut event = checks::event(&envelope, body, tenant)?;
    event.unknown = (!others.is_empty()).then(|| Box::new(Unknown { proto: others.into(), ..Unknown::default() }));
    Ok(event)
}

/// Of a `oneof` the last counts, and a message given twice is merged: its bytes are joined.
fn merged<'a>(known: Option<(u32, Cow<'a, [u8]>)>, tag: u32, bytes: &'a [u8]) -> (u32, Cow<'a, [u8]>) {
    match known {
        Some((before, known)) if before == tag && tag != payload::OTHER => (tag, Cow::Owned([known.as_ref(), bytes].concat())),
        _ => (tag, Cow::Borrowed(bytes)),
    }
}

/// Times as proto3 has them: 0 is absent.
fn optional_time(ms: i64, pointer: &str) -> Result<Option<UnixMs>, Refusal> {
    if ms == 0 { Ok(None) } else { required_time(ms, pointer).map(Some) }
}

fn required_time(ms: i64, pointer: &str) -> Result<UnixMs, Refusal> {
    time::from_ms(ms).ok_or_else(|| Refusal::new(Code::InvalidTime, pointer, "must lie in the years 1 to 9999"))
}

/// A `uint32` is the low half of its varint.
fn low_half(varint: u64) -> u32 {
    u32::try_from(varint & u64::from(u32::MAX)).expect("masked to 32 bits")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, proptest};

    use prost::Message as _;

    use super::*;
    use crate::formats::json;
    use crate::model::event::Body;
    use crate::model::position::Position;
    use crate::wire;
    use crate::wire::event::Payload;

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
        assert_eq!(decode(&ping().encode_to_vec(), &tenant()), json::decode(text.as_bytes(), &tenant()));
    }

    #[test]
    fn a_field_of_a_later_version_is_kept_as_it_came() {
        let mut bytes = ping().encode_to_vec();
        bytes.extend_from_slice(&[0x98, 0x06, 0x07]);
        let event = decode(&bytes, &tenant()).expect("valid");
        assert_eq!(event.unknown.expect("kept").proto.as_ref(), [0x98, 0x06, 0x07]);
    }

    #[test]
    fn a_field_of_a_later_version_is_kept_at_any_level_and_what_is_kept_merges_back() {
        // Field 99 (a varint of 7) inside the pickup inside the delivery.
        let mut point = wire::Point { lat: 1.0, lng: 2.0 }.encode_to_vec();
        point.extend_from_slice(&[0x98, 0x06, 0x07]);
        let mut created = Vec::new();
        fields::keep_nested(1, &point, &mut created);
        let event = wire::Event {
            event_id: "e".into(),
            event_name: "delivery.created".into(),
            entity_id: "o".into(),
            event_time_ms: 1,
            ..wire::Event::default()
        };
        let mut bytes = event.encode_to_vec();
        fields::keep_nested(11, &created, &mut bytes);
        let kept = decode(&bytes, &tenant()).expect("valid").unknown.expect("kept").proto;
        assert_eq!(kept.as_ref(), [11 << 3 | 2, 5, 1 << 3 | 2, 3, 0x98, 0x06, 0x07]);
        bytes.extend_from_slice(&kept);
        let Body::Created(merged) = decode(&bytes, &tenant()).expect("valid").body else { panic!("a delivery") };
        assert_eq!(merged.pickup, Position::from_degrees(1.0, 2.0).ok());
    }

    type Change = fn(&mut wire::Event);

    #[test]
    fn each_wrong_field_is_named() {
        let cases: [(Change, Code, &str); 8] = [
            (|event| event.event_id.clear(), Code::MissingField, "/event_id"),
            (|event| event.actor_id = "x".repeat(65), Code::InvalidId, "/actor_id"),
            (|event| event.actor_id.clear(), Code::MissingField, "/actor_id"),
            (|event| event.event_time_ms = 0, Code::MissingField, "/event_time_ms"),
            (|event| event.event_time_ms = i64::MAX, Code::InvalidTime, "/event_time_ms"),
            (|event| event.tenant_id = "other".into(), Code::TenantMismatch, "/tenant_id"),
            (|event| event.payload = Some(Payload::Location(wire::Location::default())), Code::NullIsland, "/location"),
            (
                |event| event.payload = Some(Payload::Location(wire::Location { lat: 1.0, battery: Some(f32::NAN), ..wire::Location::default() })),
                Code::OutOfRange,
                "/location/battery",
            ),
        ];
        for (change, code, pointer) in cases {
            let mut event = ping();
            change(&mut event);
            let refusal = decode(&event.encode_to_vec(), &tenant()).expect_err(pointer);
            assert_eq!((refusal.code, refusal.pointer.as_str()), (code, pointer));
        }
        assert_eq!(decode(&[0x0a, 0x05, b'x'], &tenant()).expect_err("cut off").code, Code::MalformedProtobuf);
        assert_eq!(decode(&[0x08, 0x05], &tenant()).expect_err("a number").pointer, "/event_id");
        assert_eq!(claimed_id(&[0x0a, 0x01, b'x', 0xff]), "x");
    }

    #[test]
    fn more_events_than_asked_for_are_counted_and_not_kept() {
        let body = wire::EventBatch { events: vec![ping(); 20], sent_at_ms: 9 }.encode_to_vec();
        let items = split(&body, 3).expect("splits");
        assert_eq!((items.events.len(), items.count, items.sent_at), (3, 20, Some(UnixMs(9))));
    }

    #[test]
    fn a_payload_under_another_name_is_refused() {
        let mut event = ping();
        event.event_name = "driver.duty".into();
        assert_eq!(decode(&event.encode_to_vec(), &tenant()).expect_err("refused").code, Code::WrongType);
        event.payload = None;
        assert_eq!(decode(&event.encode_to_vec(), &tenant()).expect_err("refused").pointer, "/duty");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            drop(split(&bytes, 3));
            drop(decode(&bytes, &tenant()));
        }
    }
}
