//! Holds the way in against a log in memory. Never opens a file.

mod backpressure;
mod hung_up;
mod read_items;
mod redrive;

use std::sync::Mutex;

use proptest::prelude::{Strategy, any, prop, prop_assert_eq, prop_oneof, proptest};
use prost::Message as _;
use serde_json::{Value, json};

use super::read::{ReadItem, ReadRequest};
use super::*;
use crate::clock::ManualClock;
use crate::formats::refusal::Code;
use crate::formats::results::ItemId;
use crate::formats::{json, protobuf};
use crate::ingest::rate::Rate;
use crate::log::block::{Block, BlockNumber};
use crate::log::prepare::{Batch, Prepared};
use crate::log::record::decode::Decoder;
use crate::log::{Appended, LogReader, ReadError, record};
use crate::model::event::Event;
use crate::model::id::{Offset, PartitionId};
use crate::model::time::UnixMs;
use crate::wire;
use crate::wire::event::Payload;

const NOW: i64 = 1_790_000_000_000;
const PARTITIONS: u16 = 4;

/// Gives offsets in the order of arrival, tells duplicates, and can be made to fail.
#[derive(Debug, Default)]
struct MemoryLog {
    seen: Mutex<Vec<Event>>,
    fails: Option<AppendError>,
    /// Who appends waits for it.
    gate: Option<Arc<tokio::sync::Semaphore>>,
}

struct NoReader;

impl LogReader for NoReader {
    async fn next(&mut self) -> Result<Option<Arc<Block>>, ReadError> {
        Ok(None)
    }
}

impl EventLog for MemoryLog {
    type Reader = NoReader;

    fn partitions(&self) -> u16 {
        PARTITIONS
    }

    async fn append(&self, batch: Batch) -> Result<Vec<Appended>, AppendError> {
        if let Some(gate) = &self.gate {
            drop(gate.acquire().await);
        }
        if let Some(error) = &self.fails {
            return Err(error.clone());
        }
        let mut seen = self.seen.lock().expect("no test panics inside");
        let place = |event: Event| {
            let partition = event.partition(PARTITIONS);
            if let Some(at) = seen.iter().position(|known| known.id == event.id && known.routing_key() == event.routing_key()) {
                let offset = Offset(at as u64);
                return if seen[at].body == event.body {
                    Appended::Duplicate { partition, offset }
                } else {
                    Appended::ContentDiffers { partition, offset }
                };
            }
            seen.push(event);
            Appended::Accepted { partition, offset: Offset(seen.len() as u64 - 1) }
        };
        let event = |item: &Prepared| Decoder::default().decode(item.record(&batch.bytes)).expect("what was encoded decodes");
        Ok(batch.items.iter().map(event).map(place).collect())
    }

    async fn append_clock(&self, _partitions: Vec<PartitionId>) -> Result<(), AppendError> {
        Ok(())
    }

    fn read(&self, _after: Option<BlockNumber>) -> Result<NoReader, ReadError> {
        Ok(NoReader)
    }

    fn durable(&self) -> Option<BlockNumber> {
        None
    }

    fn release(&self, _block: BlockNumber) {}
}

fn tenant() -> TenantId {
    TenantId::parse("acme").expect("valid")
}

fn ingest(fails: Option<AppendError>) -> Ingest<MemoryLog> {
    let log = MemoryLog { fails, ..MemoryLog::default() };
    Ingest::new(Arc::new(log), Clock::Manual(ManualClock::new(UnixMs(NOW))), Limits::of_requests(100, 1 << 20), Arc::new(Attention::new(1)))
}

fn submit(ingest: &Ingest<MemoryLog>, media: MediaType, body: impl Into<Bytes>) -> Result<Answer, Refused> {
    let request = Request { tenant: tenant(), scope: Scope::ALL, media, encoding: Encoding::Identity, body: body.into() };
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(ingest.submit(request))
}

fn ping(id: &str, lat: f64) -> Value {
    json!({"event_id": id, "event_name": "location", "actor_id": "d1", "event_time": NOW, "payload": {"lat": lat, "lng": 11.9}})
}

fn told(answer: &Answer) -> Vec<(&'static str, &'static str, &'static str)> {
    let text = |id: &ItemId| -> &'static str { id.with_str(str::to_owned).leak() };
    answer.results.iter().map(|result| (text(&result.event_id), result.outcome.status(), result.outcome.code())).collect()
}

#[test]
fn each_item_is_answered_in_its_place() {
    let ingest = ingest(None);
    let body = json!([ping("a", 57.7), ping("bad", 91.0), ping("a", 57.7), {"event_id": "named"}, ping("a", 58.0), ping("b", 57.8)]);
    let answer = submit(&ingest, MediaType::Json, body.to_string()).expect("answered");
    let expected = [
        ("a", "accepted", ""),
        ("bad", "rejected", "out_of_range"),
        ("a", "duplicate", ""),
        ("named", "rejected", "missing_field"),
        ("a", "duplicate", "content_differs"),
        ("b", "accepted", ""),
    ];
    assert_eq!((told(&answer).as_slice(), answer.single), (expected.as_slice(), false));
    let partition = crate::model::event::partition_of(&tenant(), "d1", PARTITIONS);
    assert_eq!(answer.position.to_string(), format!("{}:1", partition.0));
}

#[test]
fn one_event_alone_is_known_as_such_and_a_batch_of_refusals_is_still_answered() {
    let ingest = ingest(None);
    assert!(submit(&ingest, MediaType::Json, ping("a", 57.7).to_string()).expect("answered").single);
    let answer = submit(&ingest, MediaType::Json, json!([ping("b", 91.0)]).to_string()).expect("answered");
    assert_eq!((told(&answer).as_slice(), answer.single, answer.position.is_empty()), ([("b", "rejected", "out_of_range")].as_slice(), false, true));
}

#[test]
fn a_bad_line_harms_no_neighbour() {
    let mut body = format!("{}\n", ping("a", 57.7)).into_bytes();
    body.extend_from_slice(b"{\"event_id\":\"x\",\"note\":\"\xff\"}\r\n\n{\"event_id\":\"open\n");
    body.extend_from_slice(ping("b", 57.7).to_string().as_bytes());
    let answer = submit(&ingest(None), MediaType::NdJson, body).expect("answered");
    let expected = [("a", "accepted", ""), ("x", "rejected", "malformed_json"), ("", "rejected", "malformed_json"), ("b", "accepted", "")];
    assert_eq!(told(&answer), expected);
}

#[test]
fn a_batch_says_when_it_was_sent_and_a_clock_ahead_is_corrected_by_it() {
    let ingest = ingest(None);
    let mut event = ping("a", 57.7);
    event["event_time"] = json!(NOW + 3_600_000);
    let body = json!({"sent_at": NOW + 3_605_000, "events": [event.clone()]});
    submit(&ingest, MediaType::Json, body.to_string()).expect("answered");
    let stamp = ingest.log.seen.lock().expect("whole")[0].stamp;
    assert_eq!((stamp.effective_time, stamp.skewed), (UnixMs(NOW - 5_000), true));
    event["event_time"] = json!(NOW + 25 * 3_600_000);
    let bodies = [event.to_string(), json!([event]).to_string(), json!({"events": [event, event]}).to_string()];
    for (media, body) in bodies.into_iter().map(|body| (MediaType::Json, body)).chain([(MediaType::NdJson, format!("{event}\n"))]) {
        let answer = submit(&ingest, media, body).expect("answered");
        assert!(told(&answer).iter().all(|item| *item == ("a", "rejected", "time_too_far_ahead")), "{:?}", told(&answer));
    }
}

#[test]
fn what_is_too_many_or_unreadable_or_not_stored_is_refused_whole() {
    let many = json!(vec![0; 101]).to_string();
    for (media, body) in [(MediaType::Json, many.clone()), (MediaType::NdJson, "0\n".repeat(101)), (MediaType::Protobuf, "\n\0".repeat(101))] {
        assert!(matches!(submit(&ingest(None), media, body), Err(Refused::TooMany { found: 101, max: 100 })));
    }
    assert!(matches!(submit(&ingest(None), MediaType::Json, "[1,"), Err(Refused::Malformed(_))));
    assert!(
        matches!(submit(&ingest(None), MediaType::Protobuf, "\n\u{7f}"), Err(Refused::Malformed(refusal)) if refusal.code == Code::MalformedProtobuf)
    );
    let full = submit(&ingest(Some(AppendError::DiskFull)), MediaType::Json, ping("a", 57.7).to_string());
    assert!(matches!(full, Err(Refused::Log(AppendError::DiskFull))));
    let untouched = submit(&ingest(Some(AppendError::Overloaded)), MediaType::Json, json!([ping("a", 91.0)]).to_string());
    assert!(untouched.is_ok(), "what has nothing to store does not need the log");
}

/// An event in both encodings, of any kind, valid or nearly.
fn any_event() -> impl Strategy<Value = (Value, wire::Event)> {
    let degrees = prop_oneof![-91.0..91.0, -1e-6..1e-6, (-18_i32..=18).prop_map(|tens| f64::from(tens) * 10.0)];
    let place = (degrees.clone(), degrees.prop_map(|degrees| degrees * 2.0));
    let optional = || prop::option::of(prop_oneof![0.0_f32..1.0, -10.0_f32..400.0]);
    let text = || prop_oneof![".{0,12}", "[a-z\"/~\\\\]{1,70}"];
    let statuses = ["created", "failed", "delivered", "lost"];
    let location = (place.clone(), optional(), optional(), optional()).prop_map(|((lat, lng), accuracy_m, heading_deg, battery)| {
        let mut payload = json!({"lat": lat, "lng": lng});
        for (name, value) in [("accuracy_m", accuracy_m), ("heading_deg", heading_deg), ("battery", battery)] {
            payload[name] = value.map_or(Value::Null, |value| json!(f64::from(value)));
        }
        let location = wire::Location { lat, lng, accuracy_m, heading_deg, battery, ..wire::Location::default() };
        ("location", payload, Payload::Location(location))
    });
    let created = (prop::option::of(place), prop::option::of(1..NOW), text(), prop::collection::hash_map(text(), text(), 0..4)).prop_map(
        |(pickup, promised_by_ms, recipient_ref, attributes)| {
            let point = pickup.map(|(lat, lng)| json!({"lat": lat, "lng": lng}));
            let payload = json!({"pickup": point, "promised_by": promised_by_ms, "recipient_ref": recipient_ref, "attributes": attributes});
            let pickup = pickup.map(|(lat, lng)| wire::Point { lat, lng });
            (
                "delivery.created",
                payload,
                Payload::Created(wire::DeliveryCreated { pickup, promised_by_ms, recipient_ref, attributes, ..wire::DeliveryCreated::default() }),
            )
        },
    );
    let status = (prop::sample::select(statuses.to_vec()), text(), any::<bool>()).prop_map(|(status, reason, proven)| {
        let proof = proven.then(|| wire::Proof { sha256: "AB".repeat(32), url: "https://proof.example/1".to_owned() });
        let said = proof.as_ref().map(|proof| json!({"sha256": proof.sha256, "url": proof.url}));
        (
            "delivery.status",
            json!({"status": status, "reason": reason, "proof": said}),
            Payload::Status(wire::DeliveryStatus { status: status.to_owned(), reason, proof }),
        )
    });
    let body = prop_oneof![
        location,
        created,
        status,
        text().prop_map(|driver_id| ("delivery.assigned", json!({"driver": driver_id}), Payload::Assigned(wire::DeliveryAssigned { driver_id }))),
        (1_i64..=i64::MAX).prop_map(|eta_ms| ("delivery.eta", json!({"eta": eta_ms}), Payload::Eta(wire::DeliveryEta { eta_ms }))),
        any::<bool>().prop_map(|on| ("driver.duty", json!({"on": on}), Payload::Duty(wire::DriverDuty { on }))),
        ".{0,9}".prop_map(|text| ("door.opened", json!({"x": text}), Payload::Other(json!({"x": text}).to_string().into_bytes()))),
    ];
    (text(), text(), text(), 1..NOW, any::<u32>(), body).prop_map(|(event_id, actor_id, entity_id, event_time_ms, schema_version, (name, said, payload))| {
        let text = json!({"event_id": event_id, "event_name": name, "actor_id": actor_id, "entity_id": entity_id, "event_time": event_time_ms, "schema_version": schema_version, "payload": said});
        let event_name = name.to_owned();
        (text, wire::Event { event_id, event_name, schema_version, actor_id, entity_id, event_time_ms, payload: Some(payload), ..wire::Event::default() })
    })
}

proptest! {
    #[test]
    fn json_and_protobuf_of_the_same_event_are_taken_or_refused_alike((text, message) in any_event()) {
        let read = json::decode(text.to_string().as_bytes(), &tenant());
        let other = protobuf::decode(&message.encode_to_vec(), &tenant());
        prop_assert_eq!(read.as_ref().map_err(|refusal| refusal.code), other.as_ref().map_err(|refusal| refusal.code), "{}", text);
    }

    #[test]
    fn what_ingest_takes_the_log_can_read_again((text, _message) in any_event()) {
        if let Ok(event) = json::decode(text.to_string().as_bytes(), &tenant()) {
            let mut bytes = Vec::new();
            record::encode(&event, &mut bytes);
            prop_assert_eq!(Decoder::default().decode(&bytes), Ok(event), "{}", text);
        }
    }

    #[test]
    fn one_item_never_changes_what_is_said_of_the_others(bad in prop::collection::vec(any::<u8>(), 0..40), at in 0_usize..3, protobuf in any::<bool>()) {
        // A line break in the middle would make two items of it, a blank one none.
        let bad: Vec<u8> = bad.into_iter().filter(|byte| *byte != b'\n').collect();
        let good = |number: usize| ping(&format!("good-{number}"), 57.7);
        let mut items: Vec<Vec<u8>> = (0..2).map(|number| good(number).to_string().into_bytes()).collect();
        if protobuf {
            let location = Payload::Location(wire::Location { lat: 57.7, lng: 11.9, ..wire::Location::default() });
            let event = |number: usize| wire::Event { event_id: format!("good-{number}"), event_name: "location".into(), actor_id: "d1".into(), event_time_ms: NOW, payload: Some(location.clone()), ..wire::Event::default() };
            items = (0..2).map(|number| event(number).encode_to_vec()).collect();
        }
        items.insert(at, if protobuf || !bad.trim_ascii().is_empty() { bad } else { b"x".to_vec() });
        let mut batch = Vec::new();
        for item in &items {
            protobuf::fields::keep_nested(1, if item.is_empty() { b"\xff" } else { item }, &mut batch);
        }
        let (media, body) = if protobuf { (MediaType::Protobuf, batch) } else { (MediaType::NdJson, items.join(&b'\n')) };
        let answer = submit(&ingest(None), media, body).expect("answered");
        let others: Vec<_> = told(&answer).into_iter().enumerate().filter(|(index, _)| *index != at).map(|(_, told)| told).collect();
        prop_assert_eq!(others, [("good-0", "accepted", ""), ("good-1", "accepted", "")]);
    }
}

/// Positions that round to 0,0 passed once, and the log could not be read again.
#[test]
fn a_position_that_would_be_stored_as_null_island_is_refused() {
    for (lat, lng) in [(1e-9, 1e-9), (4e-8, -4e-8), (0.0, 4.9e-8)] {
        let event = json!({"event_id": "e", "event_name": "location", "actor_id": "d", "event_time": 1, "payload": {"lat": lat, "lng": lng}});
        assert_eq!(json::decode(event.to_string().as_bytes(), &tenant()).expect_err("refused").code, Code::NullIsland);
    }
}
