//! `CloudEvents` 1.0 in their three HTTP modes: structured, batched and binary. Each becomes the event that its attributes say as JSON.
//!
//! `type` is the event's name, `id` its id, `source` the actor, `subject` the delivery, `time` when it happened (absent: when it arrives), `data` the
//! payload. An id is its source's own (section 3.1.1 of their specification), and an event without a time is the same whenever it comes
//! within the window of duplicates. What else an
//! event says of itself (`specversion`, `datacontenttype`, extensions) is kept in its member `cloudevents`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::claims::Claims;
use super::json::items::{self, Item as Cut, Items};
use super::json::scan::Scanner;
use super::json::{self, MAX_EVENT_BYTES, Others};
use super::refusal::{Code, Refusal};
use super::time;
use crate::model::event::{Body, Event, Stamp};
use crate::model::id::TenantId;
use crate::model::time::UnixMs;

/// An event as one of the modes says it, every value as JSON text.
#[derive(Debug, Default)]
struct Attributes<'a> {
    id: Option<&'a str>,
    name: Option<&'a str>,
    source: Option<&'a str>,
    subject: Option<&'a str>,
    time: Option<&'a str>,
    version: Option<&'a str>,
    data: Option<&'a str>,
    /// The payload in full, when it is bytes that need not be JSON.
    bytes: Option<Vec<u8>>,
    others: Others,
}

/// What a mode calls the members of an event.
struct Words {
    attribute: &'static str,
    data: &'static str,
}

const STRUCTURED: Words = Words { attribute: "/", data: "/data" };
const BINARY: Words = Words { attribute: "/ce-", data: "" };

/// What is refused for its time is named so.
pub const TIME_AT: &str = "/time";

/// Opens a batch (`application/cloudevents-batch+json`).
pub fn open_batch(body: &[u8]) -> Result<Items<'_>, Refusal> {
    if !body.trim_ascii_start().starts_with(b"[") {
        return Err(Refusal::new(Code::MalformedJson, "", "a batch is an array"));
    }
    items::open(body)
}

/// The events of a batch, at most `max` of them, and how many there are.
pub fn decode_batch<'a>(mut items: Items<'a>, max: usize, tenant: &TenantId, now: UnixMs) -> Result<(Vec<ReadFrom<'a>>, usize), Refusal> {
    let (mut events, mut found) = (Vec::new(), 0);
    while let Some(item) = items.next(|_text| None::<((), usize)>)? {
        found += 1;
        if let Cut::Cut(item) = item
            && found <= max
        {
            events.push((decode(item, tenant, now), item));
        }
    }
    Ok((events, found))
}

/// What was read, and the bytes it was read from.
pub type ReadFrom<'a> = (Read, &'a [u8]);

/// An event or why it is none, and what it claims.
pub type Read = (Result<Event, Refusal>, Claims);

/// Reads one event in structured mode (`application/cloudevents+json`).
pub fn decode(item: &[u8], tenant: &TenantId, now: UnixMs) -> Read {
    let mut claimed = Claims::default();
    let read = structured(item).and_then(|attributes| {
        claimed = attributes.claims();
        attributes.event(&STRUCTURED, *tenant, now)
    });
    (read, claimed)
}

/// Reads one event in binary mode: `headers` are those that begin with `ce-`, without that, in lower case.
pub fn decode_binary<'a>(headers: impl Iterator<Item = (&'a str, &'a str)>, json: bool, body: &[u8], tenant: &TenantId, now: UnixMs) -> Read {
    let quoted: Vec<(&str, String)> = headers.map(|(name, value)| (name, serde_json::Value::from(percent_decoded(value)).to_string())).collect();
    let mut attributes = Attributes::default();
    let mut claimed = Claims::default();
    let mut kept = String::from("{");
    for (name, value) in &quoted {
        let member = match *name {
            "id" => &mut attributes.id,
            "type" => &mut attributes.name,
            "source" => &mut attributes.source,
            "subject" => &mut attributes.subject,
            "time" => &mut attributes.time,
            "specversion" => &mut attributes.version,
            _ => {
                kept.push_str(if kept.len() > 1 { "," } else { "" });
                kept.push_str(&serde_json::Value::from(*name).to_string());
                kept.push(':');
                kept.push_str(value);
                continue;
            }
        };
        *member = Some(value);
    }
    kept.push('}');
    let read = others_of(&kept).and_then(|others| {
        attributes.others = others;
        claimed = attributes.claims();
        if body.len() > MAX_EVENT_BYTES {
            return Err(too_large());
        }
        if json && !body.trim_ascii().is_empty() {
            // It is put among the members of another text below, so it must be one value and nothing else.
            attributes.data = Some(as_json(body).ok_or_else(|| Refusal::new(Code::MalformedJson, "", "the data is not JSON"))?);
        } else if !json && !body.is_empty() {
            attributes.bytes = Some(body.to_vec());
        }
        attributes.event(&BINARY, *tenant, now)
    });
    (read, claimed)
}

fn others_of(object: &str) -> Result<Others, Refusal> {
    let mut others = Others::default();
    Scanner::new(object, 1).whole_object("", |name, scanner| others.keep(&name, scanner))?;
    Ok(others)
}

fn structured(item: &[u8]) -> Result<Attributes<'_>, Refusal> {
    if item.len() > MAX_EVENT_BYTES {
        return Err(too_large());
    }
    let text = std::str::from_utf8(item).map_err(|error| Refusal::new(Code::MalformedJson, "", format!("not UTF-8: {error}")))?;
    if !text.trim_ascii_start().starts_with('{') {
        return Err(Refusal::new(Code::MalformedJson, "", "an event is an object"));
    }
    let mut attributes = Attributes::default();
    Scanner::new(text, 0).whole_object("", |name, scanner| {
        let member = match name.text.as_ref() {
            "id" => &mut attributes.id,
            "type" => &mut attributes.name,
            "source" => &mut attributes.source,
            "subject" => &mut attributes.subject,
            "time" => &mut attributes.time,
            "specversion" => &mut attributes.version,
            "data" => &mut attributes.data,
            "data_base64" => {
                let encoded = scanner.string("/data_base64")?;
                let wrong = |_encoding| Refusal::new(Code::WrongType, "/data_base64", "must be Base64");
                attributes.bytes = encoded.map(|encoded| STANDARD.decode(encoded.as_bytes()).map_err(wrong)).transpose()?;
                return Ok(());
            }
            _ => return attributes.others.keep(&name, scanner),
        };
        *member = scanner.value()?;
        Ok(())
    })?;
    Ok(attributes)
}

impl Attributes<'_> {
    fn claims(&self) -> Claims {
        let text = |value: Option<&str>| value.map(plain).unwrap_or_default();
        Claims { event_id: text(self.id), actor: text(self.source), schema_version: None }
    }

    /// Says the same as an event of ours and reads that, so that every rule of ours is one.
    fn event(mut self, words: &Words, tenant: TenantId, now: UnixMs) -> Result<Event, Refusal> {
        let version = self.version.map(plain).ok_or_else(|| Refusal::missing(words.of("specversion")))?;
        if version != "1.0" {
            return Err(Refusal::new(Code::OutOfRange, words.of("specversion"), "must be 1.0"));
        }
        self.others.add("\"specversion\"", "\"1.0\"");
        let name = self.name.map(plain).unwrap_or_default();
        let payload = self.bytes.take();
        // Bytes that are JSON are a payload like any other.
        let data = self.data.or_else(|| payload.as_deref().and_then(as_json));
        let raw_bytes = data.is_none() && payload.is_some();
        let now = format!("\"{}\"", time::print(now));
        let mut said = Others::default();
        let members = [
            ("\"event_id\"", self.id),
            ("\"event_name\"", self.name),
            ("\"actor_id\"", self.source),
            ("\"entity_id\"", self.subject),
            ("\"event_time\"", self.time.or(Some(now.as_str()))),
            ("\"payload\"", data),
        ];
        for (member, value) in members {
            if let Some(value) = value {
                said.add(member, value);
            }
        }
        said.keep_nested("cloudevents", self.others);
        let said = said.into_object().unwrap_or_default();
        let mut event = json::decode(said.as_bytes(), &tenant).map_err(|refusal| words.worded(refusal))?;
        event.stamp = Stamp { undated: self.time.is_none(), of_actor: true, ..event.stamp };
        if let Some(bytes) = payload.filter(|_bytes| raw_bytes) {
            let Body::Other { payload, .. } = &mut event.body else {
                return Err(Refusal::new(Code::WrongType, words.data, format!("the payload of {name} must be JSON")));
            };
            *payload = bytes.into();
        }
        Ok(event)
    }
}

impl Words {
    fn of(&self, attribute: &str) -> String {
        format!("{}{attribute}", self.attribute)
    }

    fn worded(&self, refusal: Refusal) -> Refusal {
        let pointer = match refusal.pointer.as_str() {
            "/event_id" => self.of("id"),
            "/event_name" => self.of("type"),
            "/actor_id" => self.of("source"),
            "/entity_id" => self.of("subject"),
            "/event_time" => self.of("time"),
            other => other.strip_prefix("/payload").map_or_else(|| other.to_owned(), |inside| format!("{}{inside}", self.data)),
        };
        Refusal { pointer, ..refusal }
    }
}

fn too_large() -> Refusal {
    Refusal::new(Code::TooLarge, "", format!("an event has at most {MAX_EVENT_BYTES} bytes"))
}

/// The text of one JSON value, if that is what the bytes are.
fn as_json(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?.trim_ascii();
    let mut scanner = Scanner::new(text, 1);
    scanner.raw().and_then(|_value| scanner.end()).ok()?;
    Some(text)
}

/// The text of a JSON string; empty when it is none.
fn plain(raw: &str) -> String {
    Scanner::new(raw, 0).string("").ok().flatten().map(std::borrow::Cow::into_owned).unwrap_or_default()
}

/// A header's value may hold what is not plain ASCII percent-encoded (HTTP binding, section 3.1.3.2).
fn percent_decoded(value: &str) -> String {
    let (mut bytes, mut rest) = (Vec::with_capacity(value.len()), value.as_bytes());
    while let Some((byte, after)) = rest.split_first() {
        let escaped = after.get(..2).filter(|_digits| *byte == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        let decoded = escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(decoded.unwrap_or(*byte));
        rest = if decoded.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::phone::tests::{NOW, tenant};

    const PING: &str = r#"{"specversion":"1.0","id":"e1","type":"location","source":"van-7","subject":"order-1","time":"2026-11-24T08:30:00Z",
        "datacontenttype":"application/json","traceparent":"00-ab","data":{"lat":57.7089,"lng":11.9746,"sat":7}}"#;

    fn same() -> Event {
        let text = r#"{"event_id":"e1","event_name":"location","actor_id":"van-7","entity_id":"order-1","event_time":"2026-11-24T08:30:00Z",
            "payload":{"lat":57.7089,"lng":11.9746,"sat":7},"cloudevents":{"datacontenttype":"application/json","traceparent":"00-ab","specversion":"1.0"}}"#;
        let event = json::decode(text.as_bytes(), &tenant()).expect("valid");
        Event { stamp: Stamp { of_actor: true, ..event.stamp }, ..event }
    }

    fn sorted(event: Event) -> (Event, serde_json::Value) {
        let unknown = event.unknown.as_ref().map(|unknown| serde_json::from_slice(&unknown.json).expect("JSON")).unwrap_or_default();
        (Event { unknown: None, ..event }, unknown)
    }

    #[test]
    fn a_structured_event_is_the_event_that_json_gives() {
        let (read, claimed) = decode(PING.as_bytes(), &tenant(), NOW);
        assert_eq!(
            (sorted(read.expect("valid")), claimed),
            (sorted(same()), Claims { event_id: "e1".to_owned(), actor: "van-7".to_owned(), schema_version: None })
        );
    }

    #[test]
    fn a_binary_event_is_the_same_event() {
        let headers = [
            ("id", "e1"),
            ("type", "location"),
            ("source", "van-7"),
            ("subject", "order%2D1"),
            ("time", "2026-11-24T08:30:00Z"),
            ("specversion", "1.0"),
            ("datacontenttype", "application/json"),
            ("traceparent", "00-ab"),
        ];
        let body = br#" {"lat":57.7089,"lng":11.9746,"sat":7} "#;
        let (read, claimed) = decode_binary(headers.into_iter(), true, body, &tenant(), NOW);
        assert_eq!(
            (sorted(read.expect("valid")), claimed),
            (sorted(same()), Claims { event_id: "e1".to_owned(), actor: "van-7".to_owned(), schema_version: None })
        );
    }

    #[test]
    fn data_cannot_say_what_only_the_attributes_may() {
        let headers = [("id", "e1"), ("type", "location"), ("source", "van-7"), ("specversion", "1.0")];
        let body = br#"{"lat":57.7,"lng":11.9},"actor_id":"van-8""#;
        let (read, _) = decode_binary(headers.into_iter(), true, body, &tenant(), NOW);
        assert_eq!(read.expect_err("refused").code, Code::MalformedJson);
    }

    #[test]
    fn a_time_that_is_absent_is_now_and_bytes_are_a_payload_of_what_is_not_ours() {
        let event = |text: &str| decode(text.as_bytes(), &tenant(), NOW).0;
        let door = r#"{"specversion":"1.0","id":"e1","type":"door.opened","source":"van-7","data_base64":"AP8="}"#;
        let read = event(door).expect("kept");
        assert_eq!((read.event_time, &read.body), (NOW, &Body::Other { name: "door.opened".into(), payload: vec![0, 255].into() }));
        let json = event(&door.replace("AP8=", "eyJhIjoxfQ==")).expect("kept");
        assert_eq!(json.body, Body::Other { name: "door.opened".into(), payload: br#"{"a":1}"#.to_vec().into() });
        let refused = event(&door.replace("door.opened", "driver.duty")).expect_err("no JSON");
        assert_eq!(refused.pointer, "/data/on", "nothing of ours stands in it");
    }

    #[test]
    fn each_wrong_attribute_is_named_as_the_mode_names_it() {
        let cases = [
            ("\"id\":\"e1\",", "", Code::MissingField, "/id"),
            ("\"location\"", "\"Location\"", Code::InvalidEventName, "/type"),
            ("\"source\":\"van-7\",", "", Code::MissingField, "/source"),
            ("\"order-1\"", "7", Code::WrongType, "/subject"),
            ("08:30:00Z", "08:30", Code::InvalidTime, "/time"),
            ("57.7089", "97", Code::OutOfRange, "/data/lat"),
            ("\"1.0\"", "\"0.3\"", Code::OutOfRange, "/specversion"),
            ("\"specversion\":\"1.0\",", "", Code::MissingField, "/specversion"),
            ("\"data\":", "\"data_base64\":\"?\",\"x\":", Code::WrongType, "/data_base64"),
        ];
        for (from, to, code, pointer) in cases {
            let text = PING.replace(from, to);
            assert_ne!(text, PING);
            let refused = decode(text.as_bytes(), &tenant(), NOW).0.expect_err(to);
            assert_eq!((refused.code, refused.pointer.as_str()), (code, pointer), "{to}");
        }
        let headers = [("id", "e1"), ("type", "location"), ("source", "van-7"), ("time", "noon"), ("specversion", "1.0")];
        let (read, _) = decode_binary(headers.into_iter(), true, br#"{"lat":1,"lng":1}"#, &tenant(), NOW);
        assert_eq!(read.expect_err("refused").pointer, "/ce-time");
    }

    #[test]
    fn a_batch_is_read_item_by_item_and_those_beyond_the_limit_are_counted() {
        let body = format!("[{PING},7,{PING}]");
        let (events, found) = decode_batch(open_batch(body.as_bytes()).expect("opens"), 2, &tenant(), NOW).expect("splits");
        assert_eq!((events[0].0.0.is_ok(), events[1].0.0.is_ok(), events.len(), found), (true, false, 2, 3));
        assert!(open_batch(PING.as_bytes()).is_err());
    }
}
