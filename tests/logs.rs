//! What the log says and what it never says: under a mixed load at info and at debug no key, no token and no position is in it, whatever way it came.

use std::path::Path;

use serde_json::{Value, json};

use crate::harness::clients::{Dashboard, Driver};
use crate::harness::events::{created, ping, status};
use crate::harness::eventually;
use crate::harness::process::{Data, ServerProcess};

/// Latitudes and longitudes whose digits stand nowhere else, each as it is written in degrees; the log may hold them in no unit.
const PLACES: [(f64, f64); 4] =
    [(57.712_345_1, 11.987_654_3), (57.723_456_7, 11.976_543_2), (57.734_567_8, 11.965_432_1), (57.745_678_9, 11.954_321_9)];

/// Everything that was sent and may not be told.
fn secrets(data: &Data, others: &[&str]) -> Vec<String> {
    let mut secrets: Vec<String> = others.iter().map(|other| (*other).to_owned()).collect();
    for key in [&data.ingest, &data.dashboard] {
        secrets.push(key.clone());
        secrets.push(key.splitn(3, '_').nth(2).expect("the secret part").to_owned());
    }
    for (lat, lng) in PLACES {
        for degrees in [lat, lng] {
            let written = degrees.to_string();
            // Also rounded to a street, and as the fixed-point number that it becomes.
            secrets.push(written[..7].to_owned());
            secrets.push(written.replace('.', "")[..7].to_owned());
        }
    }
    secrets
}

/// Asks in every way there is, right and wrong.
async fn mixed_load(server: &ServerProcess, data: &Data) {
    let [first, second, third, fourth] = PLACES;
    let at = 1_790_000_000_000;
    let driver = Driver::new(&server.url, &data.ingest);
    let mut bad = ping("bad", "van-1", at, first.0, first.1);
    bad["payload"]["speed_mps"] = json!(format!("{}", second.0));
    let batch = json!([
        ping("e1", "van-1", at, first.0, first.1),
        created("e2", "order-1", at, second.0, second.1),
        status("e3", "order-1", at, "nonsense"),
        bad,
        ping("e4", "van-1", at, first.0 * 10.0, first.1)
    ]);
    assert_eq!(driver.post(&batch).await.0, 200);

    let client = reqwest::Client::builder().build().expect("a client");
    let (url, key) = (&server.url, &data.dashboard);
    let bbox = format!("bbox={},{},{},{}", fourth.1, third.0, third.1, fourth.0);
    let paths = [
        format!("/v1/deliveries?{bbox}"),
        format!("/v1/deliveries?{bbox}&limit=nonsense"),
        format!("/v1/deliveries/nearest?lat={}&lng={}", second.0, second.1),
        format!("/v1/deliveries/nearest?lat={}&lng=x", second.0),
        format!("/v1/deliveries/{key}"),
        format!("/v1/in/k/{}/osmand?id=7&lat={}&lon={}", data.ingest, third.0, third.1),
        format!("/v1/in/k/{}?lat={}", data.ingest, third.0),
        format!("/{}", data.ingest),
        format!("/v1/deliveries?token={key}&{key}"),
        "/v1/drivers/van-1".to_owned(),
        "/".to_owned(),
    ];
    for path in &paths {
        for token in [Some(key.as_str()), Some("eyJhbGciOiJub25lIn0.c2VjcmV0LWNsYWlt."), None] {
            let mut request = client.get(format!("{url}{path}")).header("x-request-id", "asked-1");
            if let Some(token) = token {
                request = request.bearer_auth(token);
            }
            let answer = request.send().await.expect("answers");
            assert_eq!(answer.headers()["x-request-id"], "asked-1");
        }
    }
    drop(client.get(format!("{url}/v1/drivers/van-1")).basic_auth("van-1", Some(key)).send().await.expect("answers"));
    let ticket = client.post(format!("{url}/v1/session")).json(&json!({"ticket": "dGlja2V0LXRpY2tldA"})).send().await.expect("answers");
    assert_eq!(ticket.status(), 401);
    let broken = format!("{{\"lat\": {}, \"key\": \"{key}\"", first.0);
    let media = ["application/json", "application/x-ndjson", "application/x-protobuf", key];
    for media in media {
        let post = client.post(format!("{url}/v1/events")).bearer_auth(&data.ingest).header("content-type", media).body(broken.clone());
        drop(post.send().await.expect("answers"));
    }
    let mut dashboard = Dashboard::open(url, key).await;
    dashboard.send(&json!({"view": {"west": fourth.1, "south": third.0, "east": third.1, "north": fourth.0, "zoom": 14.0}})).await;
    assert!(dashboard.frame().await.get("hello").is_some());
    dashboard.send(&json!({"view": {"west": format!("{}", fourth.1), "token": key}})).await;
    let (bye, _) = dashboard.goodbye().await;
    assert_eq!(bye["code"], 4, "{bye}");
    drop(Dashboard::try_open(url, "not-a-key-but-secret-all-the-same").await);
}

async fn run(log: &Path, level: &str, format: &str) -> String {
    let data = Data::new();
    let server = ServerProcess::start_logged(data.path(), &[("WAYPOST_LOG", level), ("WAYPOST_LOG_FORMAT", format)], log);
    server.ready().await;
    mixed_load(&server, &data).await;
    server.stop();
    let said = std::fs::read_to_string(log).expect("a log");
    let told = ["c2VjcmV0LWNsYWlt", "dGlja2V0LXRpY2tldA", "not-a-key-but-secret"];
    for secret in secrets(&data, &told) {
        let line = said.lines().find(|line| line.contains(&secret));
        assert!(line.is_none(), "at {level} the log tells {secret}: {line:?}");
    }
    said
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_and_no_position_is_in_the_log_at_info_and_at_debug() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let log = folder.path().join("log");
    let quiet = run(&log, "info", "pretty").await;
    assert!(quiet.contains("ready") && !quiet.contains("/v1/"), "no line a request at info:\n{quiet}");
    let loud = run(&log, "debug", "pretty").await;
    let answered = |words: &str| loud.lines().any(|line| line.contains("answered") && line.contains(words));
    assert!(answered("/v1/in/k/***/osmand?id=***&lat=***&lon=***") && answered("/v1/drivers/van-1") && answered("request_id=asked-1"), "{loud}");
    let whole = run(&log, "debug", "json").await;
    let lines: Vec<Value> = whole.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect();
    let line = lines.iter().find(|line| line["address"] == "/v1/drivers/van-1" && line["status"] == 200).expect("a line a request");
    assert_eq!((line["method"].as_str(), line["request_id"].as_str(), line["level"].as_str()), (Some("GET"), Some("asked-1"), Some("DEBUG")));
    assert!(line["micros"].is_u64() && line["timestamp"].is_string(), "{line}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_and_its_problem_name_the_request_by_an_id_of_the_servers_when_it_brought_none_that_is_sane() {
    let data = Data::new();
    let server = ServerProcess::start(data.path());
    server.ready().await;
    let client = reqwest::Client::new();
    let mut seen = Vec::new();
    for given in [None, Some("two words"), Some(&*"x".repeat(65))] {
        let mut request = client.get(format!("{}/v1/no/such", server.url));
        if let Some(given) = given {
            request = request.header("x-request-id", given);
        }
        let answer = request.send().await.expect("answers");
        let id = answer.headers()["x-request-id"].to_str().expect("text").to_owned();
        let problem: Value = answer.json().await.expect("a problem");
        assert_eq!(problem["request_id"], id.as_str());
        assert!(id.len() <= 40 && Some(id.as_str()) != given, "{id}");
        seen.push(id);
    }
    seen.dedup();
    assert_eq!(seen.len(), 3, "each has its own");
    eventually("and it is served on", async || client.get(format!("{}/healthz", server.url)).send().await.ok().map(drop)).await;
    server.stop();
}
