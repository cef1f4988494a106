//! What is refused is kept as it came: who may look, in what bounds, what becomes of it when it is tried again, and what a kill leaves.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost::Message as _;
use serde_json::{Value, json};
use waypost::http::auth::Role;
use waypost::wire;

use crate::harness::clients::Operator;
use crate::harness::events::ping;
use crate::harness::eventually;
use crate::harness::process::{Data, ServerProcess, command, create_key};
use crate::harness::server::{START_MS, TestServer};

const DAY_MS: i64 = 24 * 3_600_000;

async fn operator(server: &TestServer) -> Operator {
    Operator::new(&server.url, &server.key("acme", Role::Admin).await)
}

/// The bytes of a letter as they were kept.
async fn raw(operator: &Operator, letter: &Value) -> Vec<u8> {
    let (status, shown) = operator.ask("GET", &format!("/v1/dead-letters/{}", text(letter, "id")), None).await;
    assert_eq!(status, 200, "{shown}");
    for (name, value) in letter.as_object().expect("a letter") {
        assert_eq!(&shown[name], value, "{name}");
    }
    match shown["raw_encoding"].as_str() {
        Some("base64") => STANDARD.decode(text(&shown, "raw")).expect("base64"),
        _ => text(&shown, "raw").as_bytes().to_vec(),
    }
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or("")
}

fn statuses(answer: &Value) -> Vec<&str> {
    answer["results"].as_array().expect("results").iter().map(|result| text(result, "status")).collect()
}

/// One item of each kind of fault, spelled as no encoder of ours would, and the reason it is refused for.
fn poison() -> Vec<(&'static str, String)> {
    let item = |id: &str, rest: &str| format!("{{ \"event_id\" :\"{id}\",\"actor_id\":\"van-9\",\n \"schema_version\":7, {rest}}}");
    let at = START_MS;
    vec![
        ("malformed_json", "{\"event_id\":\"p0\",\"event_time\":nope}".to_owned()),
        ("malformed_json", "  7 ".trim().to_owned()),
        ("missing_field", item("p2", r#""event_name":"location","event_time":1"#)),
        ("wrong_type", item("p3", &format!(r#""event_name":"location","event_time":{at},"payload":[]"#))),
        ("invalid_id", item("p4", &format!(r#""event_name":"delivery.eta","entity_id":"a\u0001","event_time":{at},"payload":{{"eta":1}}"#))),
        ("invalid_event_name", item("p5", &format!(r#""event_name":"Nobody Knows","event_time":{at}"#))),
        ("out_of_range", item("p6", &format!(r#""event_name":"location","event_time":{at},"payload":{{"lat":91,"lng":1e0}}"#))),
        ("null_island", item("p7", &format!(r#""event_name":"location","event_time":{at},"payload":{{"lat":0,"lng":-0.0}}"#))),
        ("invalid_time", item("p8", r#""event_name":"location","event_time":"noon","payload":{"lat":1,"lng":1}"#)),
        ("time_too_far_ahead", item("p9", &format!(r#""event_name":"location","event_time":{},"payload":{{"lat":1,"lng":1}}"#, at + 2 * DAY_MS))),
        (
            "unknown_status",
            item("p10", &format!(r#""event_name":"delivery.status","entity_id":"o","event_time":{at},"payload":{{"status":"lost"}}"#)),
        ),
        ("tenant_mismatch", item("p11", &format!(r#""tenant_id":"globex","event_name":"x.y","event_time":{at}"#))),
        ("too_large", item("p12", &format!(r#""note":"{}""#, "ä".repeat(20_000)))),
        ("too_deep", item("p13", &format!(r#""x":{}{}"#, "[".repeat(40), "]".repeat(40)))),
        (
            "content_differs",
            item("good-0", &format!(r#""event_name":"location","event_time":{at},"payload":{{"lat":2,"lng":2}}"#)).replace("van-9", "van-1"),
        ),
    ]
}

#[tokio::test]
async fn poison_of_every_kind_is_kept_byte_for_byte_and_harms_no_neighbour() {
    let server = TestServer::start().await;
    let operator = operator(&server).await;
    let poison = poison();
    let good = |number: usize| ping(&format!("good-{number}"), "van-1", START_MS + i64::try_from(number).expect("few"), 57.7, 11.9).to_string();
    let mut items = vec![good(0)];
    for (number, (_, item)) in poison.iter().enumerate() {
        items.extend([item.clone(), good(number + 1)]);
    }
    let (status, answer) = operator.post_bytes("application/json", format!(" [ {} ] ", items.join(" ,\n")).as_bytes()).await;
    assert_eq!(status, 200, "{answer}");
    let statuses = statuses(&answer);
    assert!(statuses.iter().step_by(2).all(|status| *status == "accepted"), "{statuses:?}");
    let mut letters = operator.letters("").await;
    letters.reverse();
    assert_eq!(letters.len(), poison.len(), "{letters:?}");
    for (letter, (reason, item)) in letters.iter().zip(&poison) {
        let kept = raw(&operator, letter).await;
        let whole = item.len() <= 32 << 10;
        assert_eq!((text(letter, "reason"), letter["bytes"].as_u64()), (*reason, Some(item.len() as u64)), "{letter}");
        assert!(if whole { kept == item.as_bytes() } else { kept == item.as_bytes()[..32 << 10] }, "{reason}: {}", String::from_utf8_lossy(&kept));
        assert_eq!((text(letter, "protocol"), text(letter, "scope"), text(letter, "received")), ("json", "event", "2026-11-24T08:30:00Z"));
    }
    let told = |index: usize| (text(&letters[index], "event_id"), text(&letters[index], "actor"), letters[index]["schema_version"].as_u64());
    assert_eq!([told(0), told(1), told(7)], [("p0", "", None), ("", "", None), ("p7", "van-9", Some(7))]);
    assert_eq!((text(&letters[7], "pointer"), text(&letters[2], "pointer")), ("/payload", "/payload/lat"));
    assert_eq!(operator.letters(&format!("&since={START_MS}&until=2026-11-24T08:30:00.001Z")).await.len(), poison.len());
    assert_eq!(operator.letters(&format!("&since={}", START_MS + 1)).await.len(), 0);
    drop(operator);
    server.stop().await;
}

#[tokio::test]
async fn lines_messages_and_whole_bodies_are_kept_as_what_they_are() {
    let server = TestServer::start().await;
    let operator = operator(&server).await;
    let bad_line = b"{\"event_id\":\"l1\",\"note\":\"\xff\"}";
    let lines = [ping("g1", "van-1", START_MS, 57.7, 11.9).to_string().as_bytes(), bad_line, b"nothing"].join(b"\n".as_slice());
    let (status, answer) = operator.post_bytes("application/x-ndjson", &lines).await;
    assert_eq!((status, statuses(&answer)), (200, vec!["accepted", "rejected", "rejected"]));

    let event =
        wire::Event { event_id: "m1".into(), actor_id: "van-2".into(), event_name: "location".into(), schema_version: 2, ..wire::Event::default() };
    let (status, answer) = operator
        .post_bytes("application/x-protobuf", &wire::EventBatch { events: vec![event.clone()], ..wire::EventBatch::default() }.encode_to_vec())
        .await;
    assert_eq!((status, statuses(&answer)), (200, vec!["rejected"]));

    let bodies = [("application/json", b"[{\"event_id\":\"lost\"},".as_slice()), ("application/x-protobuf", b"\x0a\xff".as_slice())];
    for (media, body) in bodies {
        assert_eq!(operator.post_bytes(media, body).await.0, 400);
    }
    let packed = operator.post_packed("gzip", b"no gzip").await;
    assert_eq!((packed.0, text(&packed.1, "code")), (400, "malformed_encoding"));
    let mut letters = operator.letters("").await;
    letters.reverse();
    let told: Vec<_> = letters.iter().map(|letter| (text(letter, "protocol"), text(letter, "scope"), text(letter, "event_id"))).collect();
    let expected = [
        ("ndjson", "event", "l1"),
        ("ndjson", "event", ""),
        ("protobuf", "event", "m1"),
        ("json", "body", ""),
        ("protobuf", "body", ""),
        ("gzip", "body", ""),
    ];
    assert_eq!(told, expected);
    assert_eq!(raw(&operator, &letters[0]).await, bad_line);
    assert_eq!(raw(&operator, &letters[2]).await, event.encode_to_vec());
    for (letter, body) in letters[3..].iter().zip(bodies.map(|(_, body)| body).into_iter().chain([b"no gzip".as_slice()])) {
        assert_eq!(raw(&operator, letter).await, body);
    }
    let (_, counts) = operator.ask("POST", "/v1/dead-letters/redrive", Some(&json!({}))).await;
    assert_eq!((&counts["refused"], &counts["skipped"]), (&json!(5), &json!(1)), "nobody knows what is packed there");
    let reasons: Vec<_> = operator.letters("&protocol=protobuf").await.iter().map(|letter| text(letter, "reason").to_owned()).collect();
    assert_eq!(reasons, ["malformed_protobuf", "missing_field"]);
    assert_eq!(operator.letters("&actor=van-2").await.len(), 1);
    drop(operator);
    server.stop().await;
}

#[tokio::test]
async fn nobody_sees_another_tenants_letters_and_only_who_operates_sees_any() {
    let server = TestServer::start().await;
    let (ours, theirs) = (operator(&server).await, Operator::new(&server.url, &server.key("globex", Role::Admin).await));
    ours.post_bytes("application/json", b"[7]").await;
    let letter = ours.letters("").await.remove(0);
    let one = format!("/v1/dead-letters/{}", text(&letter, "id"));
    assert!(theirs.letters("").await.is_empty());
    for method in ["GET", "DELETE"] {
        let (status, problem) = theirs.ask(method, &one, None).await;
        assert_eq!((status, text(&problem, "code")), (404, "not_found"), "{method}");
    }
    let (status, counts) = theirs.ask("POST", "/v1/dead-letters/redrive", Some(&json!({"ids": [letter["id"]]}))).await;
    assert_eq!((status, &counts["refused"], &counts["more"]), (200, &json!(0), &json!(false)));
    for key in [&server.ingest, &server.dashboard] {
        let other = Operator::new(&server.url, key);
        for (method, path) in [("GET", "/v1/dead-letters"), ("GET", one.as_str()), ("DELETE", one.as_str()), ("POST", "/v1/dead-letters/redrive")] {
            let body = json!({});
            let (status, problem) = other.ask(method, path, (method == "POST").then_some(&body)).await;
            assert_eq!((status, text(&problem, "code")), (403, "role"), "{method} {path}");
        }
    }
    assert_eq!(ours.letters("").await, [letter], "nobody has touched it");
    assert_eq!(ours.ask("DELETE", &one, None).await.0, 204);
    assert_eq!((ours.ask("DELETE", &one, None).await.0, ours.letters("").await.len()), (404, 0));
    drop((ours, theirs));
    server.stop().await;
}

#[tokio::test]
async fn what_is_asked_wrongly_is_refused_by_the_name_of_the_field() {
    let server = TestServer::start().await;
    let operator = operator(&server).await;
    for (query, pointer) in [("limit=0", "/limit"), ("since=noon", "/since"), ("until=1e3", "/until"), ("cursor=x", "/cursor"), ("reasn=x", "/")] {
        let (status, problem) = operator.ask("GET", &format!("/v1/dead-letters?{query}"), None).await;
        assert_eq!((status, text(&problem, "pointer")), (400, pointer), "{problem}");
    }
    for (body, pointer) in
        [(json!({"ids": ["x"]}), "/ids/0"), (json!({"limit": 1001}), "/limit"), (json!({"since": "2026-11-24"}), "/since"), (json!({"x": 1}), "")]
    {
        let (status, problem) = operator.ask("POST", "/v1/dead-letters/redrive", Some(&body)).await;
        assert_eq!((status, text(&problem, "pointer")), (400, pointer), "{problem}");
    }
    assert_eq!(operator.ask("GET", "/v1/dead-letters/none", None).await.0, 400);
    drop(operator);
    server.stop().await;
}

#[tokio::test]
async fn what_was_refused_for_a_cause_that_is_gone_is_taken_once_and_its_copy_is_a_duplicate() {
    let server = TestServer::start().await;
    let operator = operator(&server).await;
    let early = ping("e1", "van-1", START_MS + 30 * 3_600_000, 57.7, 11.9);
    for _ in 0..2 {
        assert_eq!(operator.post_bytes("application/json", json!([early]).to_string().as_bytes()).await.0, 200);
    }
    let hopeless = ping("e2", "van-1", START_MS, 0.0, 0.0);
    operator.post_bytes("application/json", format!("[{hopeless}]").as_bytes()).await;
    operator.post_bytes("application/json", format!("[{early},").as_bytes()).await;
    let redrive = async |body: Value| {
        let (status, counts) = operator.ask("POST", "/v1/dead-letters/redrive", Some(&body)).await;
        assert_eq!(status, 200, "{counts}");
        ["accepted", "duplicate", "refused", "skipped"].map(|name| counts[name].as_u64().expect("a count"))
    };
    assert_eq!(redrive(json!({})).await, [0, 0, 4, 0], "nothing has changed yet");
    let letters = operator.letters("").await;
    assert!(letters.iter().all(|letter| letter["tries"] == 1 && letter["tried"] == "2026-11-24T08:30:00Z"), "{letters:?}");

    server.clock.advance(Duration::from_hours(7));
    assert_eq!(redrive(json!({"reason": "time_too_far_ahead"})).await, [1, 1, 0, 0]);
    assert_eq!(redrive(json!({"reason": "time_too_far_ahead"})).await, [0; 4], "they have left");
    let (_, answer) = operator.post_bytes("application/json", early.to_string().as_bytes()).await;
    assert_eq!(statuses(&answer), ["duplicate"], "a redriven event is deduplicated as any");
    let reader = server.reader();
    eventually("the driver is on the map", async || (reader.get("/v1/drivers/van-1", None).await.0 == 200).then_some(())).await;
    let left: Vec<_> = operator.letters("").await.iter().map(|letter| (text(letter, "reason").to_owned(), letter["tries"].as_u64())).collect();
    assert_eq!(left, [("malformed_json".to_owned(), Some(1)), ("null_island".to_owned(), Some(1))]);
    drop((operator, reader));
    server.stop().await;
}

#[tokio::test]
async fn a_redrive_lends_a_narrowed_sender_nothing_of_the_rights_of_who_tries_it() {
    let server = TestServer::start().await;
    let operator = operator(&server).await;
    let (status, made) = operator.ask("POST", "/v1/keys", Some(&json!({"role": "ingest", "name": "van-1", "drivers": ["van-1"]}))).await;
    assert_eq!(status, 201, "{made}");
    let phone = Operator::new(&server.url, text(&made, "key"));
    let early = |id: &str, driver: &str| ping(id, driver, START_MS + 30 * 3_600_000, 57.7, 11.9);
    let events = json!([early("own", "van-1"), early("spoofed", "van-2"), ping("also-spoofed", "van-2", START_MS, 57.7, 11.9)]);
    assert_eq!(statuses(&phone.post_bytes("application/json", events.to_string().as_bytes()).await.1), ["rejected"; 3]);
    server.clock.advance(Duration::from_hours(7));
    let (_, counts) = operator.ask("POST", "/v1/dead-letters/redrive", Some(&json!({}))).await;
    assert_eq!((&counts["accepted"], &counts["refused"]), (&json!(1), &json!(2)), "{counts}");
    assert!(operator.letters("").await.iter().all(|letter| text(letter, "reason") == "out_of_scope"));
    drop((operator, phone));
    server.stop().await;
}

#[tokio::test]
async fn a_redrive_of_many_goes_call_by_call_past_those_that_stay() {
    let server = TestServer::start().await;
    let operator = operator(&server).await;
    let mut events: Vec<Value> = (0..6).map(|number| ping(&format!("bad-{number}"), "van-1", START_MS, 0.0, 0.0)).collect();
    events.extend((0..6).map(|number| ping(&format!("early-{number}"), "van-1", START_MS + 30 * 3_600_000 + number, 57.7, 11.9)));
    operator.post_bytes("application/json", json!(events).to_string().as_bytes()).await;
    server.clock.advance(Duration::from_hours(7));
    let (mut cursor, mut calls, mut accepted) = (Value::Null, 0, 0);
    loop {
        let mut body = json!({"limit": 5});
        if cursor.is_string() {
            body["cursor"] = cursor;
        }
        let (_, counts) = operator.ask("POST", "/v1/dead-letters/redrive", Some(&body)).await;
        (calls, accepted) = (calls + 1, accepted + counts["accepted"].as_u64().expect("a count"));
        if counts["more"] == false {
            break;
        }
        cursor = counts["next"].clone();
    }
    assert_eq!((calls, accepted, operator.letters("").await.len()), (3, 6, 6));
    drop(operator);
    server.stop().await;
}

#[tokio::test]
async fn what_is_kept_has_a_bound_of_bytes_and_of_age() {
    let server = TestServer::start_with(|config| (config.dead_letters_max_bytes, config.dead_letters_max_age_h) = (4 << 20, 1)).await;
    let operator = operator(&server).await;
    let note = "x".repeat(30_000);
    for round in 0..8 {
        let events: Vec<Value> = (0..20).map(|number| json!({"event_id": format!("{}", round * 20 + number), "note": note})).collect();
        assert_eq!(operator.post_bytes("application/json", json!(events).to_string().as_bytes()).await.0, 200);
    }
    let letters = operator.letters("").await;
    let ids: Vec<u64> = letters.iter().map(|letter| text(letter, "event_id").parse().expect("a number")).collect();
    assert!((130..=137).contains(&ids.len()), "4 MiB of letters of 30,000 bytes: {}", ids.len());
    assert_eq!(ids, (0..160).rev().take(ids.len()).collect::<Vec<_>>(), "the newest");
    server.clock.advance(Duration::from_mins(61));
    eventually("all have gone", async || operator.letters("").await.is_empty().then_some(())).await;
    drop(operator);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_is_kept_through_a_kill_and_the_command_line_tries_it_again() {
    let data = Data::new();
    let key = create_key(data.path(), "acme", "admin");
    let server = ServerProcess::start(data.path());
    server.ready().await;
    let operator = Operator::new(&server.url, &key);
    for round in 0..40 {
        let events: Vec<Value> = (0..25).map(|number| ping(&format!("bad-{round}-{number}"), "van-1", 1_790_000_000_000, 0.0, 0.0)).collect();
        assert_eq!(operator.post_bytes("application/json", json!(events).to_string().as_bytes()).await.0, 200);
    }
    server.kill();
    let server = ServerProcess::start(data.path());
    server.ready().await;
    let at = ["--url", &server.url, "--key", &key];
    let listed = command(&[&["dead-letters", "list", "--limit", "5000", "--json"], &at[..]].concat());
    let listed: Vec<Value> = serde_json::from_str(&listed).expect("JSON");
    let ids: std::collections::BTreeSet<&str> = listed.iter().map(|letter| text(letter, "event_id")).collect();
    assert_eq!((ids.len(), listed.len()), (1000, 1000), "each that was answered, once");

    let id = text(&listed[0], "id");
    let shown = command(&[&["dead-letters", "show", id], &at[..]].concat());
    assert!(shown.contains("null_island") && shown.contains("\"bad-39-24\""), "{shown}");
    let table = command(&[&["dead-letters", "list", "--limit", "3"], &at[..]].concat());
    assert!(table.lines().count() == 5 && table.starts_with("ID ") && table.contains("there are more"), "{table}");
    let one = command(&[&["dead-letters", "redrive", "--id", id], &at[..]].concat());
    assert_eq!(one, "accepted 0, duplicate 0, refused again 1, skipped 0\n");
    let all = command(&[&["dead-letters", "redrive", "--reason", "null_island", "--json"], &at[..]].concat());
    assert_eq!(serde_json::from_str::<Value>(&all).expect("JSON"), json!({"accepted": 0, "duplicate": 0, "refused": 1000, "skipped": 0}));
    let metrics = reqwest::get(format!("{}/metrics", server.url)).await.expect("answers").text().await.expect("text");
    for line in ["waypost_dead_letters 1000", "waypost_dead_letters_redriven_total{outcome=\"refused\"} 1001", "waypost_dead_letters_dropped_total 0"]
    {
        assert!(metrics.lines().any(|told| told == line), "{line} in\n{metrics}");
    }
    server.stop();
}
