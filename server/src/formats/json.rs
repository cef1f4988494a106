//! One event as JSON. Reads it in one pass, borrowing its members; keeps what this version does not know. Never splits a body (`items`).
//!
//! Shape: `{event_id, event_name, schema_version, tenant_id, actor_id, entity_id, event_time, payload}`; the payload of
//! - `location`: `lat` (-90..90) and `lng` (-180..180) in degrees WGS 84, not 0,0; `accuracy_m` (0..100000), `speed_mps` (0..1000),
//!   `heading_deg` (0..360), `altitude_m` (-12000..100000), `battery` (0..1). -1 is not a way to say "unknown": leave the member out.
//! - `delivery.created`: `pickup` and `destination` (`{lat, lng}`), `promised_by`, `recipient_ref`, `attributes` (at most 32 strings by name);
//! - `delivery.assigned`: `driver`; `delivery.status`: `status`, `reason` (required for `failed`), `proof` (`{sha256, url}`);
//! - `delivery.eta`: `eta`; `driver.duty`: `on`. A well-formed other name takes any payload.
//!
//! Times are RFC 3339 strings with an offset, or integers of Unix milliseconds. `null` counts as absent. Of a member given twice the last
//! counts. An event has at most 32 KiB and nests at most 32 deep. A refusal names its code (`refusal`) and the member by JSON pointer.

pub mod items;
mod numeral;
mod payload;
pub mod scan;

use std::borrow::Cow;

use super::checks::{self, Envelope};
use super::refusal::{Code, Refusal};
use crate::model::event::{Event, Unknown};
use crate::model::id::{MAX_ID_BYTES, TenantId};
use crate::model::time::UnixMs;
use payload::Payload;
use scan::{Name, Scanner};

/// Longest event taken, in bytes.
pub const MAX_EVENT_BYTES: usize = 32 << 10;

/// Reads one event.
pub fn decode(item: &[u8], tenant: &TenantId) -> Result<Event, Refusal> {
    if item.len() > MAX_EVENT_BYTES {
        return Err(Refusal::new(Code::TooLarge, "", format!("an event has at most {MAX_EVENT_BYTES} bytes")));
    }
    let text = std::str::from_utf8(item).map_err(|error| Refusal::new(Code::MalformedJson, "", format!("not UTF-8: {error}")))?;
    if !text.trim_ascii_start().starts_with('{') {
        return Err(Refusal::new(Code::MalformedJson, "", "an event is an object"));
    }
    let mut loose = Loose::default();
    Scanner::new(text, 0).whole_object("", |name, scanner| loose.member(&name, scanner))?;
    loose.event(*tenant)
}

/// Reads the event that `text` begins with and says how many bytes it has; nothing when there is any fault in it, which `decode` then names.
pub fn decode_first(text: &str, tenant: &TenantId) -> Option<(Event, usize)> {
    // One that is longer does not end in here, and is not read to its end.
    let text = &text[..text.floor_char_boundary(MAX_EVENT_BYTES)];
    let (mut loose, mut scanner) = (Loose::default(), Scanner::new(text, 0));
    scanner.object("", |name, scanner| loose.member(&name, scanner)).ok()??;
    let event = loose.event(*tenant).ok()?;
    Some((event, scanner.at()))
}

/// The id an event claims, also when it is refused, so that its sender can tell which it was; empty when there is none to be read.
pub fn claimed_id(item: &[u8]) -> String {
    let text = item.utf8_chunks().next().map_or("", |chunk| chunk.valid());
    let mut claimed = None;
    let read = Scanner::new(text, 0).whole_object("", |name, scanner| {
        if name.text == "event_id" {
            claimed = scanner.string("/event_id")?;
            return Ok(());
        }
        scanner.raw().map(drop)
    });
    // What stands behind the id may well be what the event is refused for.
    drop(read);
    claimed.filter(|id| id.len() <= MAX_ID_BYTES).map(Cow::into_owned).unwrap_or_default()
}

/// The members of the envelope as far as they are read.
#[derive(Debug, Default)]
struct Loose<'a> {
    event_id: Option<Cow<'a, str>>,
    event_name: Option<Cow<'a, str>>,
    tenant_id: Option<Cow<'a, str>>,
    actor_id: Option<Cow<'a, str>>,
    entity_id: Option<Cow<'a, str>>,
    schema_version: u32,
    event_time: Option<UnixMs>,
    payload: Option<Payload<'a>>,
    others: Others,
}

impl<'a> Loose<'a> {
    fn member(&mut self, name: &Name<'a>, scanner: &mut Scanner<'a>) -> Result<(), Refusal> {
        match name.text.as_ref() {
            "event_id" => self.event_id = scanner.string("/event_id")?,
            "event_name" => self.event_name = scanner.string("/event_name")?,
            "tenant_id" => self.tenant_id = scanner.string("/tenant_id")?,
            "actor_id" => self.actor_id = scanner.string("/actor_id")?,
            "entity_id" => self.entity_id = scanner.string("/entity_id")?,
            "event_time" => self.event_time = scanner.time("/event_time")?,
            "schema_version" => self.schema_version = schema_version(scanner)?,
            "payload" => self.payload = Payload::read(self.event_name.as_deref(), scanner)?,
            _ => self.others.keep(name, scanner)?,
        }
        Ok(())
    }

    /// Takes the payload and what is unknown along.
    fn event(&mut self, tenant: TenantId) -> Result<Event, Refusal> {
        let name = self.event_name.as_deref().unwrap_or("");
        checks::event_name(name)?;
        let mut others = Others::default();
        let body = payload::decode(name, self.payload.take(), &mut others)?;
        self.others.keep_nested("payload", others);
        let envelope = Envelope {
            event_id: self.event_id.as_deref().unwrap_or(""),
            tenant_id: self.tenant_id.as_deref().unwrap_or(""),
            actor_id: self.actor_id.as_deref().unwrap_or(""),
            entity_id: self.entity_id.as_deref().unwrap_or(""),
            event_time: self.event_time.ok_or_else(|| Refusal::missing("/event_time"))?,
            schema_version: self.schema_version,
        };
        let mut event = checks::event(&envelope, body, &tenant)?;
        event.unknown = std::mem::take(&mut self.others).into_object().map(|json| Box::new(Unknown { json: json.into(), ..Unknown::default() }));
        Ok(event)
    }
}

fn schema_version(scanner: &mut Scanner<'_>) -> Result<u32, Refusal> {
    let at = "/schema_version";
    let Some(raw) = scanner.value()? else { return Ok(0) };
    if !raw.bytes().all(|byte| byte == b'-' || byte.is_ascii_digit()) {
        return Err(Refusal::new(Code::WrongType, at, "must be an integer"));
    }
    raw.parse().map_err(|_out| Refusal::new(Code::OutOfRange, at, "must be from 0 to 4294967295"))
}

/// Members that this version does not know, gathered as the inside of a JSON object, spelled as they came.
#[derive(Debug, Default)]
pub(super) struct Others(String);

impl Others {
    pub(super) fn keep<'a>(&mut self, name: &Name<'a>, scanner: &mut Scanner<'a>) -> Result<(), Refusal> {
        let value = scanner.raw()?;
        self.add(name.raw, value);
        Ok(())
    }

    /// Keeps what was unknown inside the known member `name`.
    pub(super) fn keep_nested(&mut self, name: &str, inner: Self) {
        if let Some(object) = inner.into_object() {
            self.add(&format!("\"{name}\""), &object);
        }
    }

    /// `name` in its quotes, `value` as JSON text.
    pub(super) fn add(&mut self, name: &str, value: &str) {
        if !self.0.is_empty() {
            self.0.push(',');
        }
        self.0.push_str(name);
        self.0.push(':');
        self.0.push_str(value);
    }

    pub(super) fn into_object(self) -> Option<String> {
        (!self.0.is_empty()).then(|| format!("{{{}}}", self.0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, proptest};

    use super::*;
    use crate::model::event::Body;
    use crate::model::tags::Attributes;

    fn tenant() -> TenantId {
        TenantId::parse("acme").expect("valid")
    }

    fn ping(payload: &str) -> String {
        format!(r#"{{"event_id":"e1","event_name":"location","actor_id":"d1","event_time":"2026-11-24T09:30:00.123+01:00","payload":{payload}}}"#)
    }

    #[test]
    fn a_ping_is_read_with_its_unknown_members_kept() {
        let text = r#"{"event_id":"e1","event_name":"location","x":[1,{"y":null}],"actor_id":"d\u0031","event_time":1790000000000,"payload":{"lat":57.7,"lng":11.9,"heading_deg":360,"sat":7}}"#;
        let event = decode(text.as_bytes(), &tenant()).expect("valid");
        assert_eq!(event.actor.as_ref().map(ToString::to_string).as_deref(), Some("d1"));
        assert_eq!(event.event_time, UnixMs(1_790_000_000_000));
        let unknown = event.unknown.expect("kept");
        let kept: serde_json::Value = serde_json::from_slice(&unknown.json).expect("JSON");
        assert_eq!(kept, serde_json::json!({"x": [1, {"y": null}], "payload": {"sat": 7}}));
        let Body::Location(location) = event.body else { panic!("a location") };
        assert_eq!(location.heading_deg, Some(0.0));
    }

    #[test]
    fn a_time_with_an_offset_is_utc_inside() {
        assert_eq!(decode(ping(r#"{"lat":1,"lng":1}"#).as_bytes(), &tenant()).expect("valid").event_time, UnixMs(1_795_509_000_123));
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
            let refusal = decode(text.as_bytes(), &tenant()).expect_err(&text);
            assert_eq!((refusal.code, refusal.pointer.as_str()), (code, pointer), "{text}");
        }
    }

    #[test]
    fn a_status_wants_a_known_word_and_a_failure_its_reason() {
        let status = |payload: &str| {
            decode(
                format!(r#"{{"event_id":"e","event_name":"delivery.status","entity_id":"o","event_time":1,"payload":{payload}}}"#).as_bytes(),
                &tenant(),
            )
        };
        assert_eq!(status(r#"{"status":"lost"}"#).expect_err("unknown").code, Code::UnknownStatus);
        assert_eq!(status(r#"{"status":"failed"}"#).expect_err("no reason").pointer, "/payload/reason");
        assert!(status(r#"{"status":"failed","reason":"nobody home"}"#).is_ok());
        assert_eq!(status(r#"{"status":"delivered","proof":{"sha256":"zz","url":"u"}}"#).expect_err("no hash").pointer, "/payload/proof/sha256");
    }

    #[test]
    fn a_delivery_is_read_whole_and_its_wrong_fields_are_named() {
        let created = |payload: &str| {
            decode(
                format!(r#"{{"event_id":"e","event_name":"delivery.created","entity_id":"o","event_time":1,"payload":{payload}}}"#).as_bytes(),
                &tenant(),
            )
        };
        let event = created(
            r#"{"pickup":{"lat":1,"lng":2,"floor":3},"promised_by":"1970-01-01T00:00:01Z","recipient_ref":"r","attributes":{"b":"2","a":"1","b":"3"}}"#,
        );
        let event = event.expect("valid");
        assert_eq!(event.unknown.expect("kept").json, r#"{"payload":{"pickup":{"floor":3}}}"#);
        let Body::Created(read) = event.body else { panic!("a delivery") };
        assert_eq!((read.promised_by, read.recipient_ref.as_deref()), (Some(UnixMs(1000)), Some("r")));
        assert_eq!(read.attributes, Attributes::new(vec![("a".into(), "1".into()), ("b".into(), "3".into())]));
        let many: Vec<_> = (0..33).map(|n| format!("\"{n}\":\"\"")).collect();
        for (payload, code, pointer) in [
            (r#"{"pickup":{"lat":1}}"#.to_owned(), Code::MissingField, "/payload/pickup/lng"),
            (r#"{"destination":{"lat":0,"lng":0.00000001}}"#.to_owned(), Code::NullIsland, "/payload/destination"),
            (r#"{"destination":7}"#.to_owned(), Code::WrongType, "/payload/destination"),
            (r#"{"promised_by":1e400}"#.to_owned(), Code::InvalidTime, "/payload/promised_by"),
            (format!("{{\"recipient_ref\":\"{}\"}}", "x".repeat(257)), Code::TooLarge, "/payload/recipient_ref"),
            (r#"{"attributes":{"a/b~":1}}"#.to_owned(), Code::WrongType, "/payload/attributes/a~1b~0"),
            (format!("{{\"attributes\":{{\"{}\":\"\"}}}}", "x".repeat(65)), Code::TooLarge, "/payload/attributes"),
            (format!("{{\"attributes\":{{{}}}}}", many.join(",")), Code::TooManyAttributes, "/payload/attributes"),
            (format!("{{\"x\":{}{}}}", "[".repeat(31), "]".repeat(31)), Code::TooDeep, ""),
        ] {
            let refusal = created(&payload).expect_err(&payload);
            assert_eq!((refusal.code, refusal.pointer.as_str()), (code, pointer), "{payload}");
        }
        assert!(created(&format!("{{\"x\":{}{}}}", "[".repeat(30), "]".repeat(30))).is_ok());
    }

    #[test]
    fn a_refused_event_is_known_by_the_id_it_claims() {
        for (item, id) in [
            (b"{\"event_id\":\"e1\",\"event_time\":nope".as_slice(), "e1"),
            (b"{\"x\":\"\xff\",\"event_id\":\"e1\"}", ""),
            (b"{\"event_id\":\"e1\",\"x\":\"\xff\"}", "e1"),
            (b"{\"event_id\":7}", ""),
            (b"7", ""),
        ] {
            assert_eq!(claimed_id(item), id, "{}", String::from_utf8_lossy(item));
        }
    }

    #[test]
    fn an_unknown_name_is_kept_whole() {
        let event = decode(br#"{"event_id":"e","event_name":"door.opened","event_time":1,"payload":[1,2]}"#, &tenant()).expect("kept");
        assert_eq!(event.body, Body::Other { name: "door.opened".into(), payload: "[1,2]".into() });
    }

    /// An event at the start of `text` is the one that it is alone.
    fn decoded_first_as_alone(text: &str) -> Option<usize> {
        let (event, length) = decode_first(text, &tenant())?;
        assert_eq!(Ok(event), decode(&text.as_bytes()[..length], &tenant()), "{text}");
        Some(length)
    }

    #[test]
    fn an_event_is_the_same_read_first_of_many_or_alone() {
        let good = ping(r#"{"lat":1,"sat":[7],"lng":1,"battery":null}"#);
        assert_eq!(decoded_first_as_alone(&format!("{good} , {good}]")), Some(good.len()));
        let again = [
            good.replace("\"payload\"", "\"payload\":null,\"payload\""),
            good.replace("\"payload\"", "\"payload\":{\"lat\":\"x\",\"y\":1},\"payload\""),
            good.replace("\"payload\"", "\"payload\":{\"lat\":1,\"lng\":1,\"z\":2},\"payload\""),
            good.replace("}}", "},\"event_name\":\"door.opened\"}"),
            good.replace("\"event_name\":\"location\",", "").replace("}}", "},\"event_name\":\"location\"}"),
        ];
        for text in again.iter().filter(|text| **text != good) {
            assert_eq!(decoded_first_as_alone(text), Some(text.len()), "{text}");
        }
        let bad = [
            ping("{}"),
            good.replace("}}", "},}"),
            good.replace("\"location\"", "\"Location\""),
            format!("{good}{}", " ").replace("}}", &format!("}}{}}}", " ".repeat(MAX_EVENT_BYTES))),
        ];
        for text in &bad {
            assert_eq!(decoded_first_as_alone(text), None, "{text}");
            assert!(decode(text.as_bytes(), &tenant()).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_event_is_the_same_read_first_of_many_or_alone(members in prop::collection::vec(prop::sample::select(vec![
            r#""event_id":"e1""#, r#""event_name":"location""#, r#""event_name":"driver.duty""#, r#""actor_id":"d1""#, r#""event_time":1"#,
            r#""payload":{"lat":1,"lng":2}"#, r#""payload":{"on":true}"#, r#""payload":{"lat":1,"lng":2,"on":false,"x":{}}"#, r#""payload":{"lat":"1"}"#,
            r#""payload":null"#, r#""payload":7"#, r#""payload":{"lat":1,,"lng":2}"#, r#""x":1"#,
        ]), 0..9)) {
            let text = format!(r#"{{"event_id":"e1","event_name":"location","actor_id":"d1","event_time":1,{}}}"#, members.join(","));
            if decoded_first_as_alone(&text).is_none() {
                assert!(decode(text.as_bytes(), &tenant()).is_err(), "{text}");
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,200}", bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            drop(decode(text.as_bytes(), &tenant()));
            decoded_first_as_alone(&text);
            drop(decode(ping(&text).as_bytes(), &tenant()));
            drop(decode(&bytes, &tenant()));
            claimed_id(&bytes);
        }
    }
}
