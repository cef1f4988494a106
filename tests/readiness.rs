//! `/readyz`: a start says how far it is, a log that cannot be written says so, and what was acknowledged outlives both.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::harness::clients::{Driver, Reader};
use crate::harness::events::ping;
use crate::harness::eventually;
use crate::harness::process::{Data, ServerProcess};

fn pings(round: i64, events: i64) -> Value {
    (0..events).map(|n| ping(&format!("r{round}-{n}"), &format!("van-{}", n % 100), 1_790_000_000_000 + n, 57.7, 11.9)).collect()
}

/// The status, the header that says when to come back, and the body.
async fn ask(server: &ServerProcess, path: &str, key: &str) -> (u16, Option<String>, Value) {
    let answer = reqwest::Client::new().get(format!("{}{path}", server.url)).bearer_auth(key).send().await.expect("answers");
    let retry = answer.headers().get("retry-after").map(|value| value.to_str().expect("text").to_owned());
    (answer.status().as_u16(), retry, answer.json().await.expect("JSON"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_answers_503_with_its_progress_until_it_has_caught_up() {
    let data = Data::new();
    let server = ServerProcess::start(data.path());
    server.ready().await;
    let driver = Driver::new(&server.url, &data.ingest);
    for round in 0..40 {
        let (status, answer, _) = driver.post(&pings(round, 1000)).await;
        assert_eq!(status, 200, "{answer}");
    }
    server.kill();

    let server = ServerProcess::start(data.path());
    let mut phases = BTreeSet::new();
    let lag = eventually("it has recovered", async || {
        let (status, retry, body) = ask(&server, "/readyz", "none").await;
        if status == 200 {
            assert_eq!((body["ready"].as_bool(), retry), (Some(true), None), "{body}");
            return Some(body["lag"].clone());
        }
        assert_eq!((status, body["ready"].as_bool(), retry.as_deref()), (503, Some(false), Some("1")), "{body}");
        let phase = body["recovery"]["phase"].as_str().expect("a phase").to_owned();
        if phase == "replay" {
            let blocks = |name: &str| body["recovery"][name].as_u64().expect("a number of blocks");
            assert!(blocks("blocks_done") <= blocks("blocks_total") && blocks("blocks_total") >= 40, "{body}");
        }
        phases.insert(phase);
        // Nothing can be asked and nothing posted meanwhile; a race with the end of recovery is no failure.
        let (status, retry, body) = ask(&server, "/v1/deliveries", &data.dashboard).await;
        assert!(status == 200 || (status, retry.as_deref(), body["code"].as_str()) == (503, Some("1"), Some("recovering")), "{body}");
        let (status, body, _) = Driver::new(&server.url, &data.ingest).post(&pings(99, 1)).await;
        assert!(status == 200 || (status, body["code"].as_str()) == (503, Some("recovering")), "{body}");
        None
    })
    .await;
    assert!(!phases.is_empty(), "40,000 events are not recovered before the first question");
    assert!(lag["records"].is_u64() && lag["seconds"].is_number(), "{lag}");
    server.stop();
}

/// The file-size limit stands in for a disk that fails: a segment larger than it cannot be made.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_cannot_be_written_says_so_and_loses_nothing_acknowledged() {
    let data = Data::new();
    let limits = "trap '' XFSZ; ulimit -f 3072";
    let settings = [("WAYPOST_SEGMENT_BYTES", "1048576"), ("WAYPOST_MAX_BODY_BYTES", "8388608")];
    let server = ServerProcess::start_limited(data.path(), limits, &settings);
    server.ready().await;
    let driver = Driver::new(&server.url, &data.ingest);
    for round in 0..3 {
        let (status, answer, _) = driver.post(&pings(round, 500)).await;
        assert_eq!(status, 200, "{answer}");
    }
    // One request is one block, and this one's segment would be larger than any file may be.
    let attributes: serde_json::Map<String, Value> = (0..16).map(|n| (format!("a{n}"), json!("x".repeat(256)))).collect();
    let payload = json!({"pickup": {"lat": 57.7, "lng": 11.9}, "attributes": attributes});
    let large = |n| json!({"event_id": format!("c{n}"), "event_name": "delivery.created", "entity_id": format!("o{n}"), "event_time": 1_790_000_000_000_u64, "payload": payload});
    let (status, answer, _) = driver.post(&(0..1000).map(large).collect()).await;
    assert_eq!((status, answer["code"].as_str()), (503, Some("log_stopped")));
    let (status, answer, _) = driver.post(&pings(7, 1)).await;
    assert_eq!((status, answer["code"].as_str()), (503, Some("log_stopped")), "nothing is acknowledged any more: {answer}");

    let body = eventually("the node says that it fails", async || {
        let (status, _, body) = ask(&server, "/readyz", "none").await;
        (status == 503).then_some(body)
    })
    .await;
    assert_eq!((body["ready"].as_bool(), body["code"].as_str()), (Some(false), Some("log_poisoned")), "{body}");
    let (status, _) = Reader::new(&server.url, &data.dashboard).get("/v1/drivers/van-7", None).await;
    assert_eq!(status, 200, "what is known is still told");
    server.stop();

    let server = ServerProcess::start_limited(data.path(), "true", &settings);
    server.ready().await;
    let driver = Driver::new(&server.url, &data.ingest);
    for round in 0..3 {
        let (_, answer, _) = driver.post(&pings(round, 500)).await;
        let results = answer["results"].as_array().expect("results");
        assert!(results.iter().all(|result| result["status"] == "duplicate"), "acknowledged, so it is there");
    }
    let (status, answer, _) = driver.post(&(0..1000).map(large).collect()).await;
    assert_eq!((status, answer["results"][999]["status"].as_str()), (200, Some("accepted")), "what was refused was not stored");
    server.stop();
}
