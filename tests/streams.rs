//! `GET /v1/ingest`: events over a connection that is held, acknowledged batch by batch when they are durable.

use prost::Message as _;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use waypost::http::auth::Role;
use waypost::wire;

use crate::harness::events::ping;
use crate::harness::eventually;
use crate::harness::process::{Data, ServerProcess};
use crate::harness::server::TestServer;
use crate::harness::uplink::Uplink;

const JSON: &str = "waypost.ingest.v1.json";
const PROTO: &str = "waypost.ingest.v1.proto";

fn batch(number: u64, events: &[Value]) -> Value {
    json!({"batch": {"number": number, "events": events}})
}

#[tokio::test]
async fn a_batch_is_acknowledged_item_by_item_and_what_was_accepted_is_on_the_map() {
    let server = TestServer::start().await;
    let at = server.now_ms();
    let mut uplink = Uplink::open(&server.url, &server.ingest, JSON).await;
    let hello = uplink.next().await;
    assert_eq!(hello["hello"]["max_unacked_batches"], 8, "{hello}");
    assert_eq!((hello["hello"]["max_events"].as_u64(), hello["hello"]["ping_s"].as_u64()), (Some(1000), Some(25)), "{hello}");
    uplink
        .send(&batch(
            7,
            &[ping("e1", "van-1", at, 57.7, 11.97), ping("e2", "van-1", at, 0.0, 0.0), json!([[]]), ping("e1", "van-1", at, 57.7, 11.97)],
        ))
        .await;
    let ack = uplink.next().await;
    let told: Vec<_> = ack["ack"]["results"].as_array().expect("results").iter().map(|row| row["status"].as_str().expect("a status")).collect();
    assert_eq!((ack["ack"]["number"].as_u64(), told), (Some(7), vec!["accepted", "rejected", "rejected", "duplicate"]), "{ack}");
    assert_eq!(ack["ack"]["results"][1]["code"], "null_island");
    let (status, driver) = server.reader().get("/v1/drivers/van-1", ack["ack"]["position"].as_str()).await;
    assert_eq!((status, driver["position"]["lat"].as_f64()), (200, Some(57.7)), "{driver}");
    drop(uplink);
    server.stop().await;
}

#[tokio::test]
async fn the_binary_subprotocol_says_the_same() {
    let server = TestServer::start().await;
    let mut uplink = Uplink::open(&server.url, &server.ingest, PROTO).await;
    let location = wire::Location { lat: 57.7, lng: 11.97, ..wire::Location::default() };
    let event = wire::Event {
        event_id: "e1".into(),
        event_name: "location".into(),
        actor_id: "van-1".into(),
        event_time_ms: server.now_ms(),
        payload: Some(wire::event::Payload::Location(location)),
        ..wire::Event::default()
    };
    let said = |message: Message| {
        let Message::Binary(bytes) = message else { panic!("binary: {message:?}") };
        wire::StreamServerMessage::decode(bytes).expect("Protobuf").kind.expect("one of them")
    };
    let wire::stream_server_message::Kind::Hello(hello) = said(uplink.next_raw().await) else { panic!("a hello") };
    assert_eq!((hello.max_unacked_batches, hello.server_time_ms), (8, server.now_ms()));
    for status in ["accepted", "duplicate"] {
        let batch = wire::EventBatch { events: vec![event.clone()], sent_at_ms: server.now_ms() };
        let kind = wire::stream_client_message::Kind::Batch(wire::NumberedBatch { number: 1 << 40, batch: Some(batch) });
        uplink.send_raw(Message::binary(wire::StreamClientMessage { kind: Some(kind) }.encode_to_vec())).await;
        let wire::stream_server_message::Kind::Ack(ack) = said(uplink.next_raw().await) else { panic!("an ack") };
        assert_eq!((ack.number, ack.result.expect("a result").results[0].status.as_str(), ack.position.is_empty()), (1 << 40, status, false));
    }
    drop(uplink);
    server.stop().await;
}

#[tokio::test]
async fn who_may_not_post_is_refused_in_the_handshake_or_by_number() {
    let server = TestServer::start_with(|config| config.max_streams_per_key = 1).await;
    for (key, subprotocol, status) in
        [(Some(server.dashboard.as_str()), JSON, 403), (Some("wpk_nonsense"), JSON, 401), (Some(server.ingest.as_str()), "waypost.v1.json", 400)]
    {
        assert_eq!(Uplink::try_open(&server.url, key, subprotocol).await.err(), Some(status));
    }
    for key in [server.dashboard.as_str(), "wpk_nonsense"] {
        let (bye, close) = Uplink::open_by_message(&server.url, key).await.goodbye().await;
        assert_eq!((bye["code"].as_u64(), close), (Some(2), 4_002), "{bye}");
    }
    let mut eager = Uplink::try_open(&server.url, None, JSON).await.expect("upgraded");
    eager.send(&batch(1, &[])).await;
    assert_eq!(eager.goodbye().await.1, 4_004, "a batch before who it is from");

    let mut first = Uplink::open_by_message(&server.url, &server.ingest).await;
    assert!(first.next().await.get("hello").is_some());
    let (bye, close) = Uplink::open(&server.url, &server.ingest, JSON).await.goodbye().await;
    assert_eq!((bye["code"].as_u64(), bye["reconnect_in_ms"].as_u64(), close), (Some(6), Some(10_000), 4_006), "{bye}");
    drop(first);
    eventually("there is room again", async || Uplink::open(&server.url, &server.ingest, JSON).await.next().await.get("hello").map(drop)).await;
    server.stop().await;
}

#[tokio::test]
async fn a_credential_speaks_only_of_its_own_and_no_longer_than_it_is_good() {
    let server = TestServer::start().await;
    let (admin, client, keys) = (server.key("acme", Role::Admin).await, reqwest::Client::new(), format!("{}/v1/keys", server.url));
    let made = client.post(&keys).bearer_auth(&admin).json(&json!({"role": "ingest", "name": "van", "drivers": ["van-1"]}));
    let made: Value = made.send().await.expect("answers").json().await.expect("JSON");
    let mut uplink = Uplink::open(&server.url, made["key"].as_str().expect("a key"), JSON).await;
    assert!(uplink.next().await.get("hello").is_some());
    let at = server.now_ms();
    uplink.send(&batch(1, &[ping("e1", "van-1", at, 57.7, 11.97), ping("e2", "van-2", at, 57.7, 11.97)])).await;
    let ack = uplink.next().await;
    let told: Vec<_> = ack["ack"]["results"].as_array().expect("results").iter().map(|row| row["code"].as_str().unwrap_or("")).collect();
    assert_eq!(told, ["", "out_of_scope"], "{ack}");
    let revoked = client.delete(format!("{keys}/{}", made["id"].as_str().expect("an id"))).bearer_auth(&admin).send().await.expect("answers");
    assert!(revoked.status().is_success());
    let (bye, close) = uplink.goodbye().await;
    assert_eq!((bye["code"].as_u64(), close), (Some(8), 4_008), "{bye}");
    drop((uplink, client));
    server.stop().await;
}

#[tokio::test]
async fn a_batch_that_is_refused_whole_is_told_and_the_connection_goes_on() {
    let server = TestServer::start_with(|config| {
        config.max_events = 2;
        config.max_body_bytes = 2000;
    })
    .await;
    let at = server.now_ms();
    let mut uplink = Uplink::open(&server.url, &server.ingest, JSON).await;
    assert_eq!(uplink.next().await["hello"]["max_bytes"], 2000);
    let events = [1, 2, 3].map(|n| ping(&format!("e{n}"), "van-1", at, 57.7, 11.97));
    uplink.send(&batch(1, &events)).await;
    let ack = uplink.next().await;
    assert_eq!((ack["ack"]["refused"]["code"].as_str(), ack["ack"]["refused"]["retry_in_ms"].as_u64()), (Some("too_large"), Some(0)), "{ack}");
    uplink.send(&batch(2, &events[..2])).await;
    assert_eq!(uplink.next().await["ack"]["results"][1]["status"], "accepted");
    uplink.send(&json!({"batch": {"number": 3, "events": ["x".repeat(2000)]}})).await;
    assert_eq!(uplink.goodbye().await.1, 4_009);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_answers_what_was_read_and_everything_acknowledged_is_there_after_it() {
    let data = Data::new();
    let server = ServerProcess::start(data.path());
    server.ready().await;
    let mut uplink = Uplink::open(&server.url, &data.ingest, JSON).await;
    assert!(uplink.next().await.get("hello").is_some());
    let event = |n: u64| ping(&format!("e{n}"), "van-1", 1_790_000_000_000, 57.7, 11.97);
    let mut acknowledged = 0;
    for number in 1..=50 {
        uplink.send(&batch(number, &[event(number)])).await;
    }
    server.terminate();
    let bye = loop {
        let message = uplink.next().await;
        if message.get("bye").is_some() {
            break message;
        }
        acknowledged += 1;
        assert_eq!(
            (message["ack"]["number"].as_u64(), message["ack"]["results"][0]["status"].as_str()),
            (Some(acknowledged), Some("accepted")),
            "{message}"
        );
    };
    assert_eq!(bye["bye"]["code"], 1, "{bye}");
    server.ended();

    let server = ServerProcess::start(data.path());
    server.ready().await;
    let mut uplink = Uplink::open(&server.url, &data.ingest, JSON).await;
    assert!(uplink.next().await.get("hello").is_some());
    for number in 1..=acknowledged {
        uplink.send(&batch(number, &[event(number)])).await;
        let ack = uplink.next().await;
        assert_eq!(ack["ack"]["results"][0]["status"], "duplicate", "{ack}");
    }
    drop(uplink);
    server.stop();
}
