//! The table of parsers: a name, valid samples, and what to do with an input. Mutates nothing.

use prost::Message as _;
use serde_json::json;
use waypost::ingest::body::{Encoding, expand};
use waypost::ingest::position::LogPosition;
use waypost::live::json::client_message;
use waypost::model::id::TenantId;
use waypost::wire;

use super::judges::{self, Knocking, Resuming};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    Text,
    Binary,
}

pub(super) struct Parser {
    pub(super) name: &'static str,
    pub(super) dialect: Dialect,
    pub(super) samples: Vec<Vec<u8>>,
    /// Feeds one input, and says whether it was taken; what two readers do not agree on is a panic here.
    pub(super) feed: Feed,
}

type Feed = Box<dyn Fn(&[u8]) -> bool>;

pub(super) fn text(name: &'static str, samples: Vec<Vec<u8>>, feed: impl Fn(&[u8]) -> bool + 'static) -> Parser {
    Parser { name, dialect: Dialect::Text, samples, feed: Box::new(feed) }
}

fn binary(name: &'static str, samples: Vec<Vec<u8>>, feed: impl Fn(&[u8]) -> bool + 'static) -> Parser {
    Parser { name, dialect: Dialect::Binary, samples, feed: Box::new(feed) }
}

/// For parsers of text: what is no UTF-8 never gets to them.
fn of_text(feed: impl Fn(&str) -> bool) -> impl Fn(&[u8]) -> bool {
    move |input| std::str::from_utf8(input).is_ok_and(&feed)
}

pub(super) fn all() -> Vec<Parser> {
    let (knocking, resuming, asking) = (Knocking::new(), Resuming::new(), Resuming::new());
    let keys = knocking.samples();
    let mut all = vec![
        text("JSON event", json_events(), judges::json_event),
        text("NDJSON", vec![json_events().join(&b'\n'), json_events()[0].clone()], judges::ndjson),
        text("JSON batch", json_batches(), judges::json_batch),
        text("WebSocket message, JSON", client_messages_json(), of_text(|input| client_message(input).is_some())),
        text("resume, JSON", resumes_json(), of_text(move |input| client_message(input).is_some_and(|message| resuming.judge(&message)))),
        text(
            "Waypost-Position",
            texts(&["2:9,7:3", "0:18446744073709551615", "63:1,62:2,0:0"]),
            of_text(|input| input.parse::<LogPosition>().is_ok()),
        ),
        text("query string", queries(), of_text(judges::query)),
        text("credential", keys, move |input| knocking.judge(input)),
        text("request id", texts(&["0192f0c1-2345-7abc-8def-0123456789ab", "a:b_c.d"]), judges::request_id),
        text("address in a log", texts(&["/v1/in/k/wpk_0_secret/osmand?lat=57.7&lon=11.9", "/v1/deliveries/a%20b"]), of_text(judges::struck)),
        binary("Protobuf event", proto_events(), judges::proto_event),
        binary("Protobuf batch", proto_batches(), judges::proto_batch),
        binary("WebSocket message, Protobuf", client_messages_proto(), |input| {
            wire::ClientMessage::decode(input).is_ok_and(|message| message.kind.is_some())
        }),
        binary("resume, Protobuf", client_messages_proto(), move |input| {
            wire::ClientMessage::decode(input).ok().and_then(|message| message.kind).is_some_and(|message| asking.judge(&message))
        }),
        binary("gzip body", vec![judges::gzip(&json_batches()[0]), [judges::gzip(b"[]"), judges::gzip(b" ")].concat()], |input| {
            unpacks(input, Encoding::Gzip)
        }),
        binary("zstd body", vec![judges::zstd(&json_batches()[0]), judges::zstd(&b"[ ".repeat(5_000))], |input| unpacks(input, Encoding::Zstd)),
    ];
    all.extend(super::phones::rows());
    all
}

fn unpacks(input: &[u8], encoding: Encoding) -> bool {
    const MAX: usize = 1 << 20;
    expand(input.to_vec().into(), encoding, MAX).is_ok_and(|plain| {
        assert!(plain.len() <= MAX);
        true
    })
}

pub(super) fn tenant() -> TenantId {
    TenantId::parse("acme").expect("valid")
}

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn json_events() -> Vec<Vec<u8>> {
    let at = 1_790_000_000_000_i64;
    let events = [
        json!({"event_id": "e1", "event_name": "location", "actor_id": "van-1", "entity_id": "order-1", "event_time": at, "schema_version": 1,
               "payload": {"lat": 57.7089, "lng": 11.9746, "accuracy_m": 4.5, "speed_mps": 8.2, "heading_deg": 90, "altitude_m": -3, "battery": 0.5}}),
        json!({"event_id": "0192f0c1-2345-7abc-8def-0123456789ab", "event_name": "location", "actor_id": "f\u{f6}rare", "event_time": "2026-09-21T14:13:20.5+02:00",
               "payload": {"lat": -33.9, "lng": 151.2}, "later": {"a": [1, {"b": null}], "text": "\u{1f69a} \"x\" \\ \u{7f}"}}),
        json!({"event_id": "e2", "event_name": "delivery.created", "tenant_id": "acme", "entity_id": "order-1", "event_time": at,
               "payload": {"pickup": {"lat": 57.7, "lng": 11.9}, "destination": {"lat": 57.8, "lng": 12.0}, "promised_by": "2026-09-21T14:13:20Z",
                           "recipient_ref": "r-1", "attributes": {"floor": "3", "door": "B"}}}),
        json!({"event_id": "e3", "event_name": "delivery.assigned", "entity_id": "order-1", "event_time": at, "payload": {"driver": "van-1"}}),
        json!({"event_id": "e4", "event_name": "delivery.status", "entity_id": "order-1", "event_time": at,
               "payload": {"status": "failed", "reason": "nobody there", "proof": {"sha256": "ab".repeat(32), "url": "https://example.org/p"}}}),
        json!({"event_id": "e5", "event_name": "delivery.eta", "entity_id": "order-1", "event_time": at, "payload": {"eta": at + 600_000}}),
        json!({"event_id": "e6", "event_name": "driver.duty", "actor_id": "van-1", "event_time": at, "payload": {"on": false}}),
        json!({"event_id": "e7", "event_name": "van.door.opened", "actor_id": "van-1", "event_time": at, "payload": ["any", 1.5e3]}),
    ];
    events.iter().map(|event| event.to_string().into_bytes()).collect()
}

fn json_batches() -> Vec<Vec<u8>> {
    let joined = json_events().join(&b","[..]);
    let array = [b"[", &joined[..], b"]"].concat();
    let object = [b"{\"sent_at\": 1790000000000, \"events\": ", &array[..], b"}"].concat();
    vec![array, object, json_events()[0].clone()]
}

fn proto_events() -> Vec<Vec<u8>> {
    use wire::event::Payload;
    let place = |lat, lng| wire::Point { lat, lng };
    let event = |name: &str, payload| wire::Event {
        event_id: "e1".into(),
        event_name: name.into(),
        schema_version: 1,
        actor_id: "van-1".into(),
        entity_id: "order-1".into(),
        event_time_ms: 1_790_000_000_000,
        payload: Some(payload),
        ..wire::Event::default()
    };
    let location = wire::Location { lat: 57.7, lng: 11.9, speed_mps: Some(8.5), battery: Some(0.5), ..wire::Location::default() };
    let created = wire::DeliveryCreated { pickup: Some(place(57.7, 11.9)), destination: Some(place(57.8, 12.0)), ..wire::DeliveryCreated::default() };
    let events = [event("location", Payload::Location(location)), event("delivery.created", Payload::Created(created))];
    events.iter().map(wire::Event::encode_to_vec).collect()
}

fn proto_batches() -> Vec<Vec<u8>> {
    let events: Vec<_> = proto_events().iter().map(|event| wire::Event::decode(&event[..]).expect("a sample")).collect();
    vec![
        wire::EventBatch { events: [events.clone(), events.clone()].concat(), sent_at_ms: 1_790_000_000_000 }.encode_to_vec(),
        wire::EventBatch { events, sent_at_ms: 0 }.encode_to_vec(),
    ]
}

fn view_json() -> serde_json::Value {
    json!({"west": 11.9, "south": 57.6, "east": 12.1, "north": 57.8, "zoom": 14, "view_id": 7,
           "filter": {"statuses": ["created", 3], "drivers": ["van-1"]}})
}

fn client_messages_json() -> Vec<Vec<u8>> {
    let messages = [
        json!({"auth": {"token": "wpk_0011223344556677_c2VjcmV0"}}),
        json!({"view": view_json()}),
        json!({"follow": {"delivery": "order-1"}}),
        json!({"ack": {"tick": 17}}),
    ];
    let mut messages: Vec<_> = messages.iter().map(|message| message.to_string().into_bytes()).collect();
    messages.extend(resumes_json());
    messages
}

/// A token names an epoch of this process, or of another one.
fn resumes_json() -> Vec<Vec<u8>> {
    let resume = |epoch: String, tick, level| json!({"resume": {"sources": [{"epoch": epoch, "tick": tick}], "level": level, "view": view_json()}});
    [resume(format!("{:x}", judges::EPOCH), 1, 8), resume("1".to_owned(), 9, 6)].iter().map(|message| message.to_string().into_bytes()).collect()
}

fn client_messages_proto() -> Vec<Vec<u8>> {
    let of_json = |message: &Vec<u8>| client_message(std::str::from_utf8(message).expect("a sample")).expect("a sample");
    client_messages_json().iter().map(|message| wire::ClientMessage { kind: Some(of_json(message)) }.encode_to_vec()).collect()
}

fn queries() -> Vec<Vec<u8>> {
    texts(&[
        "bbox=11.9,57.6,12.1,57.8&status=created,assigned&driver=van-1&q=order&limit=10&cursor=order-1&fields=id",
        "lat=57.7&lng=11.9&limit=3",
        "bbox=170,-10,-170,10&q=a%20b%C3%B6",
    ])
}
