//! Events as JSON: an object, an array, a batch object or NDJSON. Reads borrowed members; keeps what it does not know.
//!
//! `event_time`, `promised_by`, `eta` and `sent_at` are RFC 3339 strings with an offset, or integers of Unix milliseconds.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::checks::{self, Envelope, LooseLocation};
use super::refusal::{Code, Refusal};
use crate::model::event::{Body, Created, Event, Unknown};
use crate::model::id::TenantId;
use crate::model::position::Position;
use crate::model::time::UnixMs;

/// Longest event taken, in bytes.
pub const MAX_EVENT_BYTES: usize = 32 << 10;

/// The items of a body, not looked into yet.
#[derive(Debug)]
pub struct Items<'a> {
    pub items: Vec<&'a str>,
    pub sent_at: Option<UnixMs>,
    /// The body was one event alone and is answered by its own code.
    pub single: bool,
}

/// Splits `application/json`: an array, `{"events": [..], "sent_at": ..}` or one event.
pub fn split(body: &str) -> Result<Items<'_>, Refusal> {
    let malformed = |error: serde_json::Error| Refusal::new(Code::MalformedJson, "", error.to_string());
    if body.trim_start().starts_with('[') {
        let items: Vec<&RawValue> = serde_json::from_str(body).map_err(malformed)?;
        return Ok(Items { items: items.into_iter().map(RawValue::get).collect(), sent_at: None, single: false });
    }
    let members: Members<'_> = serde_json::from_str(body).map_err(malformed)?;
    let Some(events) = members.get("events") else {
        return Ok(Items { items: vec![body.trim()], sent_at: None, single: true });
    };
    let items: Vec<&RawValue> = serde_json::from_str(events).map_err(|error| Refusal::new(Code::WrongType, "/events", error.to_string()))?;
    let sent_at = members.get("sent_at").map(|raw| time(raw, "/sent_at")).transpose()?;
    Ok(Items { items: items.into_iter().map(RawValue::get).collect(), sent_at, single: false })
}

/// Splits `application/x-ndjson`: one event a line, empty lines skipped.
pub fn split_lines(body: &str) -> Items<'_> {
    Items { items: body.lines().filter(|line| !line.trim().is_empty()).collect(), sent_at: None, single: false }
}

/// The id an event claims, also when it is refused, so that its sender can tell which it was.
pub fn claimed_id(item: &str) -> String {
    let members: Option<Members<'_>> = serde_json::from_str(item).ok();
    let id = members.and_then(|members| string(members.get("event_id")?, "").ok().map(Cow::into_owned));
    id.filter(|id| id.len() <= crate::model::id::MAX_ID_BYTES).unwrap_or_default()
}

/// Reads one event.
pub fn decode(item: &str, tenant: &TenantId) -> Result<Event, Refusal> {
    if item.len() > MAX_EVENT_BYTES {
        return Err(Refusal::new(Code::TooLarge, "", format!("an event has at most {MAX_EVENT_BYTES} bytes")));
    }
    let members: Members<'_> = serde_json::from_str(item).map_err(|error| Refusal::new(Code::MalformedJson, "", error.to_string()))?;
    let text = |name: &str| members.get(name).map_or(Ok(Cow::Borrowed("")), |raw| string(raw, &format!("/{name}")));
    let (event_id, tenant_id, actor_id, entity_id) = (text("event_id")?, text("tenant_id")?, text("actor_id")?, text("entity_id")?);
    let name = text("event_name")?;
    checks::event_name(&name)?;
    let event_time = time(members.get("event_time").ok_or_else(|| Refusal::missing("/event_time"))?, "/event_time")?;
    let schema_version = members.get("schema_version").map(|raw| integer(raw, "/schema_version")).transpose()?.unwrap_or(1);
    let schema_version =
        u32::try_from(schema_version).map_err(|_out| Refusal::new(Code::OutOfRange, "/schema_version", "must be from 0 to 4294967295"))?;
    let raw_payload = members.get("payload").unwrap_or("{}");
    let (body, unknown_payload) = decode_payload(&name, raw_payload)?;
    let envelope = Envelope { event_id: &event_id, tenant_id: &tenant_id, actor_id: &actor_id, entity_id: &entity_id, event_time, schema_version };
    let mut event = checks::event(&envelope, body, tenant)?;
    event.unknown = unknown(&members, unknown_payload);
    Ok(event)
}

const ENVELOPE: [&str; 8] = ["event_id", "event_name", "schema_version", "tenant_id", "actor_id", "entity_id", "event_time", "payload"];

fn unknown(members: &Members<'_>, payload: Option<String>) -> Option<Box<Unknown>> {
    let mut json = members.others(&ENVELOPE);
    if let Some(payload) = payload {
        let member = format!("\"payload\":{payload}");
        json =
            Some(json.map_or_else(
                || format!("{{{member}}}"),
                |json| format!("{},{member}}}", json.strip_suffix('}').expect("an object ends with a brace")),
            ));
    }
    json.map(|json| Box::new(Unknown { json: json.into(), ..Unknown::default() }))
}

/// Reads a payload by its event's name; also returns the members that this version does not know.
fn decode_payload(name: &str, raw: &str) -> Result<(Body, Option<String>), Refusal> {
    if !matches!(name, "location" | "delivery.created" | "delivery.assigned" | "delivery.status" | "delivery.eta" | "driver.duty") {
        return Ok((Body::Other { name: name.into(), payload: raw.as_bytes().to_vec().into() }, None));
    }
    let payload: Members<'_> = serde_json::from_str(raw).map_err(|_not| Refusal::new(Code::WrongType, "/payload", "must be an object"))?;
    let known: &[&str] = match name {
        "location" => &["lat", "lng", "accuracy_m", "speed_mps", "heading_deg", "altitude_m", "battery"],
        "delivery.created" => &["pickup", "destination", "promised_by", "recipient_ref", "attributes"],
        "delivery.assigned" => &["driver"],
        "delivery.status" => &["status", "reason", "proof"],
        "delivery.eta" => &["eta"],
        _ => &["on"],
    };
    let body = match name {
        "location" => Body::Location(checks::location(loose_location(&payload)?, "/payload")?),
        "delivery.created" => Body::Created(Box::new(created(&payload)?)),
        "delivery.assigned" => {
            Body::Assigned { driver: checks::driver(&string(payload.required("driver", "/payload/driver")?, "/payload/driver")?, "/payload/driver")? }
        }
        "delivery.status" => Body::Status(Box::new(status(&payload)?)),
        "delivery.eta" => Body::Eta { eta: time(payload.required("eta", "/payload/eta")?, "/payload/eta")? },
        _ => Body::Duty { on: boolean(payload.required("on", "/payload/on")?, "/payload/on")? },
    };
    Ok((body, payload.others(known)))
}

fn loose_location(payload: &Members<'_>) -> Result<LooseLocation, Refusal> {
    let optional = |name: &str| payload.get(name).map(|raw| number(raw, &format!("/payload/{name}")).map(narrow)).transpose();
    Ok(LooseLocation {
        lat: number(payload.required("lat", "/payload/lat")?, "/payload/lat")?,
        lng: number(payload.required("lng", "/payload/lng")?, "/payload/lng")?,
        accuracy_m: optional("accuracy_m")?,
        speed_mps: optional("speed_mps")?,
        heading_deg: optional("heading_deg")?,
        altitude_m: optional("altitude_m")?,
        battery: optional("battery")?,
    })
}

fn created(payload: &Members<'_>) -> Result<Created, Refusal> {
    let point = |name: &str| payload.get(name).map(|raw| point(raw, &format!("/payload/{name}"))).transpose();
    let mut attributes = Vec::new();
    if let Some(raw) = payload.get("attributes") {
        let members: Members<'_> =
            serde_json::from_str(raw).map_err(|_not| Refusal::new(Code::WrongType, "/payload/attributes", "must be an object of strings"))?;
        for (name, value) in &members.0 {
            let value = string(value, &format!("/payload/attributes/{}", checks::escape(name)))?;
            attributes.push((name.as_ref().into(), value.as_ref().into()));
        }
    }
    let created = Created {
        pickup: point("pickup")?,
        destination: point("destination")?,
        promised_by: payload.get("promised_by").map(|raw| time(raw, "/payload/promised_by")).transpose()?,
        recipient_ref: payload.get("recipient_ref").map(|raw| string(raw, "/payload/recipient_ref")).transpose()?.map(|text| text.as_ref().into()),
        attributes,
    };
    checks::created(created, "/payload")
}

fn point(raw: &str, at: &str) -> Result<Position, Refusal> {
    let members: Members<'_> = serde_json::from_str(raw).map_err(|_not| Refusal::new(Code::WrongType, at, "must be an object with lat and lng"))?;
    let degrees = |name: &str| {
        let pointer = format!("{at}/{name}");
        number(members.required(name, &pointer)?, &pointer)
    };
    checks::position(degrees("lat")?, degrees("lng")?, at)
}

fn status(payload: &Members<'_>) -> Result<crate::model::event::StatusChange, Refusal> {
    let text = |members: &Members<'_>, name: &str, at: &str| members.get(name).map_or(Ok(String::new()), |raw| string(raw, at).map(Cow::into_owned));
    let proof = match payload.get("proof") {
        None => None,
        Some(raw) => {
            let members: Members<'_> =
                serde_json::from_str(raw).map_err(|_not| Refusal::new(Code::WrongType, "/payload/proof", "must be an object with sha256 and url"))?;
            Some((text(&members, "sha256", "/payload/proof/sha256")?, text(&members, "url", "/payload/proof/url")?))
        }
    };
    let proof = proof.as_ref().map(|(sha256, url)| (sha256.as_str(), url.as_str()));
    checks::status(&text(payload, "status", "/payload/status")?, &text(payload, "reason", "/payload/reason")?, proof, "/payload")
}

/// The members of an object in their order, values unread. `null` counts as absent.
#[derive(Debug)]
struct Members<'a>(Vec<(Cow<'a, str>, &'a str)>);

impl<'a> Members<'a> {
    /// Of a name given twice the last counts, as in JavaScript.
    fn get(&self, name: &str) -> Option<&'a str> {
        self.0.iter().rev().find(|(known, _)| known == name).map(|(_, raw)| *raw).filter(|raw| *raw != "null")
    }

    fn required(&self, name: &str, pointer: &str) -> Result<&'a str, Refusal> {
        self.get(name).ok_or_else(|| Refusal::missing(pointer))
    }

    /// What is not among `known`, as an object's text.
    fn others(&self, known: &[&str]) -> Option<String> {
        let mut text = String::new();
        for (name, raw) in self.0.iter().filter(|(name, _)| !known.contains(&name.as_ref())) {
            text.push(if text.is_empty() { '{' } else { ',' });
            text.push_str(&serde_json::to_string(name).expect("a string is always JSON"));
            text.push(':');
            text.push_str(raw);
        }
        (!text.is_empty()).then(|| text + "}")
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Vec<(Cow<'de, str>, &'de str)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::with_capacity(8);
                while let Some(Name(name)) = map.next_key()? {
                    members.push((name, map.next_value::<&RawValue>()?.get()));
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(Object).map(Members)
    }
}

#[derive(serde::Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

fn string<'a>(raw: &'a str, pointer: &str) -> Result<Cow<'a, str>, Refusal> {
    let read: Result<Name<'a>, _> = serde_json::from_str(raw);
    read.map(|Name(text)| text).map_err(|_not| Refusal::new(Code::WrongType, pointer, "must be a string"))
}

fn number(raw: &str, pointer: &str) -> Result<f64, Refusal> {
    serde_json::from_str(raw).map_err(|_not| Refusal::new(Code::WrongType, pointer, "must be a number"))
}

fn integer(raw: &str, pointer: &str) -> Result<i64, Refusal> {
    serde_json::from_str(raw).map_err(|_not| Refusal::new(Code::WrongType, pointer, "must be an integer"))
}

fn boolean(raw: &str, pointer: &str) -> Result<bool, Refusal> {
    serde_json::from_str(raw).map_err(|_not| Refusal::new(Code::WrongType, pointer, "must be true or false"))
}

#[expect(clippy::cast_possible_truncation, reason = "seven digits are far beyond what a phone measures; what overflows is refused as out of range")]
fn narrow(number: f64) -> f32 {
    number as f32
}

fn time(raw: &str, pointer: &str) -> Result<UnixMs, Refusal> {
    let invalid = || Refusal::new(Code::InvalidTime, pointer, "must be an RFC 3339 time with an offset, or an integer of Unix milliseconds");
    if !raw.starts_with('"') {
        return serde_json::from_str(raw).map(UnixMs).map_err(|_not| invalid());
    }
    let parsed: jiff::Timestamp = string(raw, pointer)?.parse().map_err(|_not| invalid())?;
    Ok(UnixMs(parsed.as_millisecond()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, proptest};

    use super::*;

    fn tenant() -> TenantId {
        TenantId::parse("acme").expect("valid")
    }

    fn ping(payload: &str) -> String {
        format!(r#"{{"event_id":"e1","event_name":"location","actor_id":"d1","event_time":"2026-11-24T09:30:00.123+01:00","payload":{payload}}}"#)
    }

    #[test]
    fn a_ping_is_read_with_its_unknown_members_kept() {
        let text = r#"{"event_id":"e1","event_name":"location","x":[1,{"y":null}],"actor_id":"d\u0031","event_time":1790000000000,"payload":{"lat":57.7,"lng":11.9,"heading_deg":360,"sat":7}}"#;
        let event = decode(text, &tenant()).expect("valid");
        assert_eq!(event.actor.as_ref().map(|actor| actor.as_str()), Some("d1"));
        assert_eq!(event.event_time, UnixMs(1_790_000_000_000));
        let unknown = event.unknown.expect("kept");
        let kept: serde_json::Value = serde_json::from_slice(&unknown.json).expect("JSON");
        assert_eq!(kept, serde_json::json!({"x": [1, {"y": null}], "payload": {"sat": 7}}));
        let Body::Location(location) = event.body else { panic!("a location") };
        assert_eq!(location.heading_deg, Some(0.0));
    }

    #[test]
    fn a_time_with_an_offset_is_utc_inside() {
        assert_eq!(decode(&ping(r#"{"lat":1,"lng":1}"#), &tenant()).expect("valid").event_time, UnixMs(1_795_509_000_123));
    }

    #[test]
    fn each_wrong_field_is_named() {
        let cases = [
            (ping(r#"{"lat":0,"lng":0}"#), Code::NullIsland, "/payload"),
            (ping(r#"{"lat":91,"lng":0}"#), Code::OutOfRange, "/payload/lat"),
            (ping(r#"{"lat":1,"lng":"2"}"#), Code::WrongType, "/payload/lng"),
            (ping(r#"{"lat":1}"#), Code::MissingField, "/payload/lng"),
            (ping(r#"{"lat":1,"lng":1,"speed_mps":-1}"#), Code::OutOfRange, "/payload/speed_mps"),
            (ping(r#"{"lat":1,"lng":1,"battery":1e99}"#), Code::OutOfRange, "/payload/battery"),
            (ping("[]"), Code::WrongType, "/payload"),
            (ping("{}").replace("\"actor_id\":\"d1\",", "").replace("{}", r#"{"lat":1,"lng":1}"#), Code::MissingField, "/actor_id"),
            (ping(r#"{"lat":1,"lng":1}"#).replace("+01:00", ""), Code::InvalidTime, "/event_time"),
            (ping(r#"{"lat":1,"lng":1}"#).replace("\"e1\"", "\"\""), Code::MissingField, "/event_id"),
            (ping(r#"{"lat":1,"lng":1}"#).replace("\"e1\"", "7"), Code::WrongType, "/event_id"),
            (ping(r#"{"lat":1,"lng":1}"#).replace("\"location\"", "\"Loc ation\""), Code::InvalidEventName, "/event_name"),
            (ping(r#"{"lat":1,"lng":1}"#).replace("\"actor_id\"", "\"tenant_id\":\"other\",\"actor_id\""), Code::TenantMismatch, "/tenant_id"),
            ("{".to_owned(), Code::MalformedJson, ""),
            (format!("\"{}\"", "x".repeat(MAX_EVENT_BYTES)), Code::TooLarge, ""),
        ];
        for (text, code, pointer) in cases {
            let refusal = decode(&text, &tenant()).expect_err(&text);
            assert_eq!((refusal.code, refusal.pointer.as_str()), (code, pointer), "{text}");
        }
    }

    #[test]
    fn a_status_wants_a_known_word_and_a_failure_its_reason() {
        let status = |payload: &str| {
            decode(&format!(r#"{{"event_id":"e","event_name":"delivery.status","entity_id":"o","event_time":1,"payload":{payload}}}"#), &tenant())
        };
        assert_eq!(status(r#"{"status":"lost"}"#).expect_err("unknown").code, Code::UnknownStatus);
        assert_eq!(status(r#"{"status":"failed"}"#).expect_err("no reason").pointer, "/payload/reason");
        assert!(status(r#"{"status":"failed","reason":"nobody home"}"#).is_ok());
        assert_eq!(status(r#"{"status":"delivered","proof":{"sha256":"zz","url":"u"}}"#).expect_err("no hash").pointer, "/payload/proof/sha256");
    }

    #[test]
    fn an_unknown_name_is_kept_whole() {
        let event = decode(r#"{"event_id":"e","event_name":"door.opened","event_time":1,"payload":[1,2]}"#, &tenant()).expect("kept");
        assert_eq!(event.body, Body::Other { name: "door.opened".into(), payload: "[1,2]".into() });
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,200}", bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            drop(split(&text).map(|items| items.items.len()));
            drop(decode(&text, &tenant()));
            drop(decode(&ping(&text), &tenant()));
            drop(decode(&String::from_utf8_lossy(&bytes), &tenant()));
        }
    }
}
