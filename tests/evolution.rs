//! What version 1 sent and stored is read by today's code as it was meant, and what it did not know comes back out of the log as it came.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use prost::Message as _;
use serde_json::{Value, json};
use waypost::clock::Clock;
use waypost::live::json::client_message;
use waypost::log::block::EntryKind;
use waypost::log::wal::{Wal, WalOptions};
use waypost::log::{EventLog as _, LogReader as _};
use waypost::model::event::{Body, Event};
use waypost::model::position::Position;
use waypost::wire;
use waypost::wire::client_message::Kind;

use crate::harness::process::{Data, ServerProcess};

fn recording(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/recordings/v1").join(name)
}

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(recording(name)).expect("a recording")
}

fn expected() -> Vec<Value> {
    serde_json::from_slice(&bytes("events.expected.json")).expect("JSON")
}

/// All that the log in this folder holds, by id.
async fn log_of(folder: &Path, partitions: u16) -> Vec<Value> {
    let options = WalOptions { partitions, segment_bytes: 1 << 20, max_age: Duration::from_hours(1 << 20), ..WalOptions::default() };
    let log = Wal::open(folder, options, Clock::System).expect("opens");
    let mut reader = log.read(None).expect("all of it is kept");
    let mut events = Vec::new();
    while let Some(newest) = log.durable() {
        let block = reader.next().await.expect("readable").expect("not closed");
        for entry in &block.entries {
            if let EntryKind::Events(records) = &entry.kind {
                events.extend(records.events().map(|event| told(&event.expect("decodes"))));
            }
        }
        if block.number == newest {
            break;
        }
    }
    log.close().await;
    events.sort_by_key(|event| event["id"].as_str().expect("an id").to_owned());
    events
}

/// An event as the recording of what is expected says it.
fn told(event: &Event) -> Value {
    let unknown = event.unknown.as_deref().cloned().unwrap_or_default();
    json!({
        "id": event.id.to_string(), "name": event.body.name(), "time": event.event_time.0, "version": event.schema_version,
        "actor": event.actor.as_ref().map(ToString::to_string), "delivery": event.delivery.as_ref().map(ToString::to_string),
        "body": told_body(&event.body), "unknown_json": String::from_utf8(unknown.json.to_vec()).expect("text"), "unknown_proto": hex(&unknown.proto),
    })
}

fn told_body(body: &Body) -> Value {
    let place = |position: Option<Position>| position.map(|position| [position.lat_e7(), position.lng_e7()]);
    match body {
        Body::Location(fix) => json!({
            "lat_e7": fix.position.lat_e7(), "lng_e7": fix.position.lng_e7(), "accuracy_m": fix.accuracy_m, "speed_mps": fix.speed_mps,
            "heading_deg": fix.heading_deg, "altitude_m": fix.altitude_m, "battery": fix.battery,
        }),
        Body::Created(created) => json!({
            "pickup": place(created.pickup), "destination": place(created.destination), "promised_by": created.promised_by.map(|time| time.0),
            "recipient_ref": created.recipient_ref, "attributes": created.attributes.iter().collect::<Vec<_>>(),
        }),
        Body::Assigned { driver } => json!({"driver": driver.to_string()}),
        Body::Status(change) => json!({
            "status": change.status.as_str(), "reason": change.reason, "proof": change.proof.as_ref().map(|proof| [&proof.sha256, &proof.url]),
        }),
        Body::Eta { eta } => json!({"eta": eta.0}),
        Body::Duty { on } => json!({"on": on}),
        Body::Other { payload, .. } => match std::str::from_utf8(payload) {
            Ok(text) => json!({"payload": text}),
            Err(_) => json!({"payload_hex": hex(payload)}),
        },
    }
}

fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(nibble.into(), 16).expect("below 16");
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex")).collect()
}

/// One by one, so that a difference is seen at a glance.
fn same(found: &[Value], expected: &[Value]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found, expected, "\n{found}\n{expected}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_of_version_1_are_taken_and_what_it_did_not_know_comes_back_out_of_the_log_as_it_came() {
    let data = Data::new();
    let server = ServerProcess::start(data.path());
    server.ready().await;
    let client = reqwest::Client::new();
    for (name, media) in [("events.json", "application/json"), ("events.ndjson", "application/x-ndjson"), ("events.pb", "application/x-protobuf")] {
        let post = client
            .post(format!("{}/v1/events", server.url))
            .bearer_auth(&data.ingest)
            .header("content-type", media)
            .header("accept", "application/json");
        let answer: Value = post.body(bytes(name)).send().await.expect("answers").json().await.expect("JSON");
        let statuses: Vec<_> = answer["results"].as_array().expect("results").iter().map(|row| row["status"].as_str().unwrap_or("")).collect();
        assert_eq!(statuses, ["accepted"; 8], "{name}: {answer}");
    }
    server.stop();
    same(&log_of(&data.path().join("wal"), 64).await, &expected());
}

#[tokio::test]
async fn a_log_that_version_1_wrote_is_read_as_it_was_written() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for packed in std::fs::read_dir(recording("wal")).expect("a recording") {
        let packed = packed.expect("an entry").path();
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(std::fs::File::open(&packed).expect("readable")).read_to_end(&mut plain).expect("gzip");
        std::fs::write(folder.path().join(packed.file_stem().expect("a name")), plain).expect("written");
    }
    same(&log_of(folder.path(), 4).await, &expected());
}

#[test]
fn messages_that_dashboards_of_version_1_sent_mean_what_they_meant() {
    let view = |view_id| wire::View { west: 11.9, south: 57.6, east: 12.1, north: 57.8, zoom: 14.5, filter: None, view_id };
    let filter = wire::Filter {
        statuses: vec![wire::Status::PickedUp.into(), wire::Status::Arrived.into()],
        drivers: vec!["van-1".to_owned()],
        ..wire::Filter::default()
    };
    let resume = wire::Resume { sources: vec![wire::Source { epoch: 0xdead_beef, tick: 41 }], view: Some(view(4)), level: 8 };
    let meant = [
        Kind::Auth(wire::Auth { token: "wpk_1".to_owned() }),
        Kind::View(wire::View { filter: Some(filter), ..view(3) }),
        Kind::Follow(wire::Follow { delivery: "order-1".to_owned() }),
        Kind::Resume(resume),
        Kind::Ack(wire::Ack { tick: 300 }),
    ];
    let text = |name: &str| String::from_utf8(bytes(name)).expect("text");
    let in_json: Vec<_> = text("live.client.json").lines().map(|line| client_message(line).expect("a message")).collect();
    assert_eq!(in_json, meant);
    let in_proto = |line: &str| wire::ClientMessage::decode(unhex(line).as_slice()).expect("Protobuf").kind.expect("a kind");
    assert_eq!(text("live.client.hex").lines().map(in_proto).collect::<Vec<_>>(), meant);
}
