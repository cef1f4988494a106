//! Bodies made to break a reader: each is refused by the name of what is wrong with it, its neighbours are taken, and the server goes on.

use serde_json::{Value, json};

use crate::harness::DEADLINE;
use crate::harness::events::ping;
use crate::harness::server::TestServer;

/// A client that posts bytes as they are.
struct Hostile {
    client: reqwest::Client,
    url: String,
    key: String,
}

impl Hostile {
    fn of(server: &TestServer) -> Self {
        let client = reqwest::Client::builder().timeout(DEADLINE).pool_idle_timeout(None).build().expect("a client");
        Self { client, url: format!("{}/v1/events", server.url), key: server.ingest.clone() }
    }

    async fn post(&self, media: &str, encoding: Option<&str>, body: impl Into<Vec<u8>>) -> (u16, Value) {
        let mut request = self.client.post(&self.url).bearer_auth(&self.key).header("content-type", media).body(body.into());
        if let Some(encoding) = encoding {
            request = request.header("content-encoding", encoding);
        }
        let answer = request.send().await.expect("the server answers");
        (answer.status().as_u16(), answer.json().await.expect("JSON"))
    }
}

fn honest(id: &str, at_ms: i64) -> String {
    ping(id, "van-1", at_ms, 57.7, 11.9).to_string()
}

/// An event with one member or payload member in the place of the usual one.
fn with(member: &str, value: &str) -> String {
    let usual = [("event_id", "\"bad\""), ("event_name", "\"location\""), ("actor_id", "\"van-1\""), ("event_time", "1795509000000")];
    let in_payload = [("lat", "57.7"), ("lng", "11.9"), ("speed_mps", "8"), ("battery", "0.5")];
    let said = |members: &[(&str, &str)]| -> String {
        let member_of = |(name, usual): &(&str, &str)| format!("\"{name}\":{}", if *name == member { value } else { usual });
        members.iter().map(member_of).collect::<Vec<_>>().join(",")
    };
    let payload = if member == "payload" { value.to_owned() } else { format!("{{{}}}", said(&in_payload)) };
    let more = if usual.iter().chain(&in_payload).any(|(name, _)| *name == member) || member == "payload" {
        String::new()
    } else {
        format!(",\"{member}\":{value}")
    };
    format!("{{{}{more},\"payload\":{payload}}}", said(&usual))
}

/// The member, what it holds, the code and the pointer of the refusal.
fn refusals() -> Vec<(&'static str, String, &'static str, &'static str)> {
    let deep = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    vec![
        ("lat", "1e999".to_owned(), "out_of_range", "/payload/lat"),
        ("lng", "-1e999".to_owned(), "out_of_range", "/payload/lng"),
        ("lat", "9".repeat(400), "out_of_range", "/payload/lat"),
        ("speed_mps", "9".repeat(400), "out_of_range", "/payload/speed_mps"),
        ("battery", "1e39".to_owned(), "out_of_range", "/payload/battery"),
        ("lat", "NaN".to_owned(), "malformed_json", ""),
        ("lat", "Infinity".to_owned(), "malformed_json", ""),
        ("lat", "057.7".to_owned(), "malformed_json", ""),
        ("lat", "\"57.7\"".to_owned(), "wrong_type", "/payload/lat"),
        ("event_time", "9".repeat(400), "invalid_time", "/event_time"),
        ("event_time", "1e999".to_owned(), "invalid_time", "/event_time"),
        ("event_time", "\"2026-02-30T00:00:00Z\"".to_owned(), "invalid_time", "/event_time"),
        ("schema_version", "99999999999999999999".to_owned(), "out_of_range", "/schema_version"),
        ("event_id", "\"a\\u0000b\"".to_owned(), "invalid_id", "/event_id"),
        ("actor_id", "\"a\u{0}b\"".to_owned(), "malformed_json", ""),
        ("event_id", format!("\"{}\"", "x".repeat(65)), "invalid_id", "/event_id"),
        ("actor_id", format!("\"{}\"", "\u{f6}".repeat(33)), "invalid_id", "/actor_id"),
        ("event_id", "\"\\ud800\"".to_owned(), "malformed_json", ""),
        ("actor_id", "\"\\udc00\\ud800\"".to_owned(), "malformed_json", ""),
        ("event_name", format!("\"{}\"", "a".repeat(65)), "invalid_event_name", "/event_name"),
        ("tenant_id", "\"other\"".to_owned(), "tenant_mismatch", "/tenant_id"),
        ("payload", deep(40), "too_deep", ""),
        ("later", deep(40), "too_deep", ""),
        ("later", format!("\"{}\"", "x".repeat(33 << 10)), "too_large", ""),
        ("payload", "[]".to_owned(), "wrong_type", "/payload"),
    ]
}

#[tokio::test]
async fn what_is_wrong_is_named_and_the_neighbours_are_taken() {
    let server = TestServer::start().await;
    let hostile = Hostile::of(&server);
    for (number, (member, value, code, pointer)) in refusals().into_iter().enumerate() {
        let bad = with(member, &value);
        let [before, after] = ["before", "after"].map(|side| honest(&format!("{side}-{number}"), server.now_ms()));
        let lines = format!("{before}\n{bad}\n{after}\n").replace("before-", "line-before-").replace("after-", "line-after-");
        for (media, body) in [("application/json", format!("[{before},{bad},{after}]")), ("application/x-ndjson", lines)] {
            let (status, answer) = hostile.post(media, None, body).await;
            assert_eq!(status, 200, "{member} = {value}: {answer}");
            let results = answer["results"].as_array().expect("results");
            let statuses: Vec<_> = results.iter().map(|result| result["status"].as_str().expect("a status")).collect();
            assert_eq!(statuses, ["accepted", "rejected", "accepted"], "{member} = {value}: {answer}");
            let named = (results[1]["code"].as_str(), results[1]["pointer"].as_str().unwrap_or(""));
            assert_eq!(named, (Some(code), pointer), "{member} = {value}: {answer}");
        }
        let (status, answer) = hostile.post("application/json", None, bad).await;
        assert_eq!(status, if code == "tenant_mismatch" { 403 } else { 400 }, "{member} = {value}, alone: {answer}");
    }
    drop(hostile);
    server.stop().await;
}

#[tokio::test]
async fn bytes_that_are_no_text_are_refused_and_a_member_given_twice_is_its_last() {
    let server = TestServer::start().await;
    let hostile = Hostile::of(&server);
    let at = server.now_ms();
    for (number, broken) in [&[0xff][..], &[0xc0, 0x80], &[0xed, 0xa0, 0x80], &[0xf4, 0x90, 0x80, 0x80]].into_iter().enumerate() {
        let [head, tail] = ["[", ",{\"event_id\":\""].map(str::as_bytes);
        let event = honest(&format!("text-{number}"), at);
        let body = [head, event.as_bytes(), tail, broken, b"\"}]"].concat();
        let (status, answer) = hostile.post("application/json", None, body).await;
        assert_eq!((status, &answer["results"][0]["status"]), (200, &json!("accepted")), "{answer}");
        assert_eq!(answer["results"][1]["code"], "malformed_json", "{answer}");
    }
    let twice = honest("twice", at).replacen('{', "{\"event_id\":\"first\",\"actor_id\":\"\\u0000\",", 1);
    let (status, answer) = hostile.post("application/json", None, twice).await;
    assert_eq!((status, &answer["results"][0]["event_id"]), (200, &json!("twice")), "{answer}");
    drop(hostile);
    server.stop().await;
}

#[tokio::test]
async fn whole_bodies_that_cannot_be_read_are_refused_by_their_kind() {
    let server = TestServer::start().await;
    let hostile = Hostile::of(&server);
    let json = "application/json";
    let deep = 400_000;
    for (media, body, code) in [
        (json, Vec::new(), "malformed_json"),
        (json, b"\0".to_vec(), "malformed_json"),
        (json, b"\xef\xbb\xbf[]".to_vec(), "malformed_json"),
        (json, b"[".to_vec(), "malformed_json"),
        (json, b"[{},]".to_vec(), "malformed_json"),
        (json, br#"{"events":{}}"#.to_vec(), "wrong_type"),
        (json, br#"{"events":[],"sent_at":1e999}"#.to_vec(), "invalid_time"),
        ("application/x-protobuf", vec![0xff; 40], "malformed_protobuf"),
        ("application/x-protobuf", vec![0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f], "malformed_protobuf"),
    ] {
        let shown = String::from_utf8_lossy(&body).into_owned();
        let (status, problem) = hostile.post(media, None, body).await;
        assert_eq!((status, problem["code"].as_str()), (400, Some(code)), "{shown}: {problem}");
        assert!(problem["request_id"].is_string(), "{problem}");
    }
    // Nesting costs no stack, however deep it is.
    let (status, answer) = hostile.post(json, None, format!("{}{}", "[".repeat(deep), "]".repeat(deep))).await;
    assert!(status == 400 || answer["results"][0]["status"] == "rejected", "{status}: {answer}");
    let (status, answer) = hostile.post(json, None, format!("[{}", "{\"a\":".repeat(150_000))).await;
    assert!(status == 400 || answer["results"][0]["status"] == "rejected", "{status}: {answer}");
    let (status, problem) = hostile.post(json, None, vec![b' '; (1 << 20) + 1]).await;
    assert_eq!((status, problem["code"].as_str()), (413, Some("too_large")));
    let (status, problem) = hostile.post(json, None, format!("[{}]", vec!["{}"; 1001].join(","))).await;
    assert_eq!((status, problem["code"].as_str()), (413, Some("too_large")));
    assert_eq!(hostile.post(json, None, honest("alive", server.now_ms())).await.0, 200);
    drop(hostile);
    server.stop().await;
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(plain).expect("in memory");
    encoder.finish().expect("in memory")
}

/// A frame that asks for a window of 2^`log` bytes, as its header may.
fn windowed(log: u32) -> Vec<u8> {
    let mut encoder = zstd::stream::Encoder::new(Vec::new(), 1).expect("an encoder");
    encoder.window_log(log).expect("a window");
    encoder.include_contentsize(false).expect("a header");
    std::io::Write::write_all(&mut encoder, b"[]").expect("in memory");
    encoder.finish().expect("in memory")
}

#[tokio::test]
async fn bombs_cost_no_more_than_a_large_body() {
    let server = TestServer::start().await;
    let hostile = Hostile::of(&server);
    let zeros = vec![b' '; 200 << 20];
    let members = gzip(&zeros[..1 << 20]).repeat(50);
    let twice = gzip(&gzip(&zeros));
    let frames = zstd::encode_all(&zeros[..1 << 20], 3).expect("in memory").repeat(50);
    let json = "application/json";
    for (encoding, body, expected, code) in [
        ("gzip", gzip(&zeros), 413, "too_large"),
        ("zstd", zstd::encode_all(&zeros[..], 3).expect("in memory"), 413, "too_large"),
        ("gzip", members, 413, "too_large"),
        ("zstd", frames, 413, "too_large"),
        // Unpacked once, and what comes out is no JSON.
        ("gzip", twice, 400, "malformed_json"),
        ("zstd", windowed(27), 400, "malformed_encoding"),
        ("gzip", b"no gzip".to_vec(), 400, "malformed_encoding"),
        ("zstd", gzip(b"[]"), 400, "malformed_encoding"),
        ("gzip", gzip(b"[]")[..12].to_vec(), 400, "malformed_encoding"),
        ("gzip, gzip", gzip(&gzip(b"[]")), 415, "content_encoding"),
        ("br", b"[]".to_vec(), 415, "content_encoding"),
    ] {
        assert!(body.len() <= 1 << 20, "{encoding}: the bomb is small as sent: {}", body.len());
        let (status, problem) = hostile.post(json, Some(encoding), body).await;
        assert_eq!((status, problem["code"].as_str()), (expected, Some(code)), "{encoding}: {problem}");
    }
    let (status, answer) = hostile.post(json, Some("gzip"), gzip(honest("packed", server.now_ms()).as_bytes())).await;
    assert_eq!((status, &answer["results"][0]["status"]), (200, &json!("accepted")));
    let (status, _) = hostile.post(json, Some("zstd"), windowed(20)).await;
    assert_eq!(status, 200, "a window that decoders must support");
    drop((hostile, zeros));
    server.stop().await;
}
