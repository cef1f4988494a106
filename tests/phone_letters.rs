//! What phone apps sent and was refused is tried again: read as its app meant it, for whom it was by, under the id that it had.

use std::time::Duration;

use serde_json::{Value, json};
use waypost::config::devices::UnlistedDevices;
use waypost::http::auth::Role;

use crate::harness::clients::Operator;
use crate::harness::eventually;
use crate::harness::phone::{Phone, recording};
use crate::harness::server::TestServer;

/// Accepted, duplicate, refused and skipped.
async fn redrive(operator: &Operator) -> [u64; 4] {
    let (status, counts) = operator.ask("POST", "/v1/dead-letters/redrive", Some(&json!({}))).await;
    assert_eq!(status, 200, "{counts}");
    ["accepted", "duplicate", "refused", "skipped"].map(|name| counts[name].as_u64().expect("a count"))
}

async fn put_device(operator: &Operator, device: &str, driver: &str) {
    let (status, entry) = operator.ask("PUT", &format!("/v1/devices/{device}"), Some(&json!({"driver": driver}))).await;
    assert_eq!(status, 200, "{entry}");
}

async fn totals(operator: &Operator) -> [u64; 3] {
    let (_, stats) = operator.ask("GET", "/v1/stats/ingest", None).await;
    ["accepted", "duplicate", "rejected"].map(|name| stats[name].as_u64().expect("a count"))
}

async fn is_there(server: &TestServer, driver: &str) {
    let reader = server.reader();
    eventually("the driver is on the map", async || (reader.get(&format!("/v1/drivers/{driver}"), None).await.0 == 200).then_some(())).await;
}

/// The recording from a phone whose clock is two days ahead: too far until a day has passed.
fn early(name: &str) -> String {
    recording(name).replace("2026-11-24T", "2026-11-26T").replace("17955090", "17956818")
}

const RECORDINGS: [&str; 12] = [
    "traccar-client-8",
    "traccar-client-8-form",
    "osmand-app",
    "traccar-client-9",
    "owntracks-location",
    "owntracks-transition",
    "overland-batch",
    "gpslogger-default",
    "gpslogger-all",
    "cloudevents-binary",
    "cloudevents-structured",
    "cloudevents-batch",
];

#[tokio::test]
async fn what_each_app_sent_too_early_is_taken_later_as_the_event_it_was() {
    let server = TestServer::start().await;
    let (operator, phone) = (Operator::new(&server.url, &server.key("acme", Role::Admin).await), Phone::new(&server.url, &server.ingest));
    for name in RECORDINGS {
        let reply = phone.send(&early(name)).await;
        assert!(reply.status < 500, "{name}: {reply:?}");
    }
    // Of the batches one report each is wrong whenever it comes.
    assert_eq!(redrive(&operator).await, [0, 0, 15, 0], "nothing has changed yet");
    server.clock.advance(Duration::from_hours(25));
    assert_eq!(redrive(&operator).await, [13, 0, 2, 0]);
    let left: Vec<_> = operator.letters("").await.iter().map(|letter| letter["reason"].as_str().unwrap_or("").to_owned()).collect();
    assert_eq!(left, ["out_of_range", "null_island"]);
    for driver in ["123456", "123457", "osm-1", "123458", "anna", "iphone-7", "gps-1", "gps-2", "ce-van"] {
        is_there(&server, driver).await;
    }
    let before = totals(&operator).await;
    for name in RECORDINGS {
        phone.send(&early(name)).await;
    }
    let after = totals(&operator).await;
    assert_eq!([0, 1, 2].map(|at| after[at] - before[at]), [0, 13, 2], "each had the id that it has from its phone");
    drop(operator);
    server.stop().await;
}

#[tokio::test]
async fn a_report_in_an_address_is_kept_as_it_stood_there_whatever_the_body_says() {
    let server = TestServer::start().await;
    let (operator, phone) = (Operator::new(&server.url, &server.key("acme", Role::Admin).await), Phone::new(&server.url, &server.ingest));
    let query = "id=q-1&lat=97.7&lon=11.9&timestamp=1795509000";
    for app in ["osmand", "gpslogger"] {
        let request = format!("POST /v1/in/{app}?{query} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {{KEY}}\r\nContent-Length: 5\r\n\r\nother");
        assert_eq!(phone.send(&request).await.status, 200);
    }
    for letter in operator.letters("").await {
        let (_, shown) = operator.ask("GET", &format!("/v1/dead-letters/{}", letter["id"].as_str().expect("an id")), None).await;
        assert_eq!(shown["raw"], query, "{shown}");
    }
    assert_eq!(redrive(&operator).await, [0, 0, 2, 0]);
    drop(operator);
    server.stop().await;
}

#[tokio::test]
async fn a_letter_names_its_event_and_whom_it_is_by_and_is_found_so() {
    let server = TestServer::start_with(|config| config.devices = UnlistedDevices::Strict).await;
    let (operator, phone) = (Operator::new(&server.url, &server.key("acme", Role::Admin).await), Phone::new(&server.url, &server.ingest));
    for (device, driver) in [("123456", "van-1"), ("123458", "van-2"), ("iphone-7", "van-3")] {
        put_device(&operator, device, driver).await;
    }
    phone.send(&early("traccar-client-8")).await;
    phone.send(&recording("traccar-client-9").replace("57.7089", "97.7089")).await;
    phone.send(&recording("overland-batch").replacen("iphone-7", "iphone-8", 1)).await;
    phone.replay("cloudevents-batch").await;
    phone.send(&recording("cloudevents-binary").replace("57.7089", "97.7089").replace("ce-1", "ce-9")).await;
    let mut told = Vec::new();
    for letter in operator.letters("").await {
        told.push(["event_id", "actor", "reason"].map(|name| letter[name].as_str().unwrap_or("").to_owned()));
    }
    let early_id = told.last().expect("the first")[0].clone();
    assert!(early_id.len() == 36, "derived: {told:?}");
    let expected = [
        ["ce-9", "ce-van", "out_of_range"],
        ["ce-4", "ce-van", "out_of_range"],
        ["", "van-3", "null_island"],
        ["", "iphone-8", "unknown_device"],
        ["", "van-2", "out_of_range"],
        [early_id.as_str(), "van-1", "time_too_far_ahead"],
    ];
    assert_eq!(told, expected);
    for (actor, count) in [("van-1", 1), ("iphone-8", 1), ("ce-van", 2), ("nobody", 0)] {
        assert_eq!(operator.letters(&format!("&actor={actor}")).await.len(), count, "{actor}");
    }
    drop(operator);
    server.stop().await;
}

#[tokio::test]
async fn a_report_in_a_body_whose_address_says_the_phone_is_taken_and_read_again_so() {
    let server = TestServer::start().await;
    let (operator, phone) = (Operator::new(&server.url, &server.key("acme", Role::Admin).await), Phone::new(&server.url, &server.ingest));
    let post = |at: u64| {
        let body = format!("lat=57.7&lon=11.9&timestamp={at}");
        let length = body.len();
        format!("POST /v1/in/gpslogger?id=van-7 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {{KEY}}\r\nContent-Length: {length}\r\n\r\n{body}")
    };
    let reply = phone.send(&post(1_795_509_000)).await;
    assert_eq!((reply.status, reply.header("waypost-position").is_some()), (200, true), "{reply:?}");
    is_there(&server, "van-7").await;
    assert_eq!(phone.send(&post(1_795_681_800)).await.header("waypost-refused"), Some("time_too_far_ahead /timestamp"));
    server.clock.advance(Duration::from_hours(25));
    assert_eq!(redrive(&operator).await, [1, 0, 0, 0]);
    let before = totals(&operator).await;
    phone.send(&post(1_795_681_800)).await;
    assert_eq!(totals(&operator).await[1], before[1] + 1, "it had the id that it has from its phone");
    drop(operator);
    server.stop().await;
}

#[tokio::test]
async fn a_report_is_by_whom_its_phone_was_then_and_by_whom_it_is_now_when_nobody_was_known() {
    let server = TestServer::start_with(|config| config.devices = UnlistedDevices::Strict).await;
    let (operator, phone) = (Operator::new(&server.url, &server.key("acme", Role::Admin).await), Phone::new(&server.url, &server.ingest));
    put_device(&operator, "123456", "van-1").await;
    assert_eq!(phone.send(&early("traccar-client-8")).await.status, 200);
    put_device(&operator, "123456", "van-2").await;
    // Of a batch one report is by a phone that nobody knows: it is not sent again for that one.
    put_device(&operator, "iphone-7", "van-3").await;
    let batch = recording("overland-batch").replacen("iphone-7", "iphone-8", 1);
    assert_eq!(phone.send(&batch).await.status, 200);
    assert_eq!(redrive(&operator).await, [0, 0, 3, 0]);
    let reasons: Vec<Value> = operator.letters("").await.iter().map(|letter| letter["reason"].clone()).collect();
    assert_eq!(reasons, ["null_island", "unknown_device", "time_too_far_ahead"]);

    put_device(&operator, "iphone-8", "van-4").await;
    server.clock.advance(Duration::from_hours(25));
    assert_eq!(redrive(&operator).await, [2, 0, 1, 0]);
    is_there(&server, "van-1").await;
    is_there(&server, "van-4").await;
    assert_eq!(server.reader().get("/v1/drivers/van-2", None).await.0, 404, "the phone was not his then");
    drop(operator);
    server.stop().await;
}

#[tokio::test]
async fn a_report_says_no_more_than_its_sender_might_whoever_tries_it_again() {
    let server = TestServer::start().await;
    let operator = Operator::new(&server.url, &server.key("acme", Role::Admin).await);
    let (status, made) = operator.ask("POST", "/v1/keys", Some(&json!({"role": "ingest", "name": "van-1", "drivers": ["van-1"]}))).await;
    assert_eq!(status, 201, "{made}");
    let phone = Phone::new(&server.url, made["key"].as_str().expect("a key"));
    // An unlisted phone is the key's one driver's, also when it is tried again.
    assert_eq!(phone.send(&early("traccar-client-8")).await.status, 200);
    put_device(&operator, "123458", "van-2").await;
    for name in ["traccar-client-9", "cloudevents-binary"] {
        phone.replay(name).await;
    }
    server.clock.advance(Duration::from_hours(25));
    assert_eq!(redrive(&operator).await, [1, 0, 2, 0]);
    is_there(&server, "van-1").await;
    let left = operator.letters("").await;
    assert!(left.len() == 2 && left.iter().all(|letter| letter["reason"] == "out_of_scope"), "{left:?}");
    assert_eq!(server.reader().get("/v1/drivers/van-2", None).await.0, 404);
    // Whose it was is what it was refused for: once that is mended, it is by whom the phone is now.
    put_device(&operator, "123458", "van-1").await;
    assert_eq!(redrive(&operator).await, [1, 0, 1, 0]);
    drop(operator);
    server.stop().await;
}

#[tokio::test]
async fn a_body_that_cannot_be_read_is_kept_and_what_is_refused_whole_is_counted() {
    let server = TestServer::start_with(|config| config.devices = UnlistedDevices::Strict).await;
    let (operator, phone) = (Operator::new(&server.url, &server.key("acme", Role::Admin).await), Phone::new(&server.url, &server.ingest));
    let refused = async || operator.ask("GET", "/v1/stats/ingest", None).await.1["refused"].as_u64().expect("a count");
    let post = |app: &str, headers: &str, body: &str| {
        let length = body.len();
        format!("POST /v1/in/{app} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {{KEY}}\r\n{headers}Content-Length: {length}\r\n\r\n{body}")
    };
    let many = |item: &str| vec![item; 1001].join(",");
    let cases = [
        (post("overland", "", "{\"locations\":[{\"type\":"), 400, 1),
        (post("cloudevents", "Content-Type: application/cloudevents-batch+json\r\n", "{}"), 400, 1),
        (post("owntracks", "Content-Encoding: gzip\r\n", "nonsense"), 400, 1),
        (post("overland", "", &format!("{{\"locations\":[{}]}}", many("{}"))), 413, 1001),
        (post("cloudevents", "Content-Type: application/cloudevents-batch+json\r\n", &format!("[{}]", many("{}"))), 413, 1001),
        (recording("overland-batch"), 404, 3),
        (recording("traccar-client-8"), 400, 1),
    ];
    let mut sum = refused().await;
    for (request, status, events) in cases {
        let reply = phone.send(&request).await;
        assert_eq!(reply.status, status, "{reply:?}");
        sum += events;
        assert_eq!(refused().await, sum, "{reply:?}");
    }
    let told: Vec<_> = operator.letters("").await.iter().map(|letter| format!("{} {}", letter["protocol"], letter["reason"])).collect();
    assert_eq!(told, [r#""gzip" "malformed_encoding""#, r#""cloudevents" "malformed_json""#, r#""overland" "malformed_json""#]);
    assert_eq!(redrive(&operator).await, [0, 0, 0, 3], "it cannot be read again either");
    drop(operator);
    server.stop().await;
}
