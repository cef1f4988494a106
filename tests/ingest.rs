//! `POST /v1/events`: who may, what is said of each item, what survives.

use serde_json::{Value, json};

use crate::harness::clients::Driver;
use crate::harness::process::{Data, ServerProcess};
use crate::harness::server::TestServer;

fn ping(id: &str, driver: &str, lat: f64) -> Value {
    json!({"event_id": id, "event_name": "location", "actor_id": driver, "event_time": 1_790_000_000_000_u64, "payload": {"lat": lat, "lng": 11.97}})
}

#[tokio::test]
async fn nobody_writes_without_the_right_credential() {
    let server = TestServer::start().await;
    for (key, status, code) in [(server.dashboard.as_str(), 403, "role"), ("wpk_nonsense", 401, "credential_unknown")] {
        let (got, body, _) = Driver::new(&server.url, key).post(&ping("e1", "van-1", 57.7)).await;
        assert_eq!((got, body["code"].as_str()), (status, Some(code)), "{body}");
    }
    let (status, body, _) = Driver::new(&server.url, &server.ingest).post(&ping("e1", "van-1", 57.7)).await;
    assert_eq!((status, body["results"][0]["status"].as_str()), (200, Some("accepted")), "{body}");
    server.stop().await;
}

#[tokio::test]
async fn one_bad_event_is_named_and_harms_no_neighbour() {
    let server = TestServer::start().await;
    let mut bad = ping("bad", "van-2", 0.0);
    bad["payload"]["lng"] = json!(0);
    let driver = Driver::new(&server.url, &server.ingest);
    let (status, answer, position) = driver.post(&json!([ping("a", "van-2", 57.7), bad, ping("b", "van-2", 57.8), 7])).await;
    let results = answer["results"].as_array().expect("results");
    let word = |result: &Value, name: &str| result[name].as_str().unwrap_or("").to_owned();
    let told: Vec<_> = results.iter().map(|result| (word(result, "event_id"), word(result, "status"), word(result, "code"))).collect();
    let told: Vec<_> = told.iter().map(|(id, status, code)| (id.as_str(), status.as_str(), code.as_str())).collect();
    let expected = [("a", "accepted", ""), ("bad", "rejected", "null_island"), ("b", "accepted", ""), ("", "rejected", "malformed_json")];
    assert_eq!((status, told.as_slice()), (200, expected.as_slice()), "{answer}");
    assert_eq!(results[1]["pointer"], "/payload");
    assert!(position.is_some(), "the answer carries Waypost-Position");

    let mut alone = ping("c", "van-2", 57.7);
    alone["payload"]["lat"] = json!(91);
    let (status, answer, _) = driver.post(&alone).await;
    assert_eq!((status, answer["results"][0]["pointer"].as_str()), (400, Some("/payload/lat")), "one event alone has its own status: {answer}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_duplicate_is_told_its_first_place_also_after_a_restart_and_other_content_is_named() {
    let data = Data::new();
    let server = ServerProcess::start(data.path());
    server.ready().await;
    let (_, first, _) = Driver::new(&server.url, &data.ingest).post(&ping("e1", "van-1", 57.7)).await;
    server.stop();
    let server = ServerProcess::start(data.path());
    server.ready().await;
    let driver = Driver::new(&server.url, &data.ingest);
    let (status, again, _) = driver.post(&ping("e1", "van-1", 57.7)).await;
    assert_eq!((status, again["results"][0]["status"].as_str()), (200, Some("duplicate")), "{again}");
    assert_eq!(again["results"][0]["offset"], first["results"][0]["offset"]);
    let (status, other, _) = driver.post(&ping("e1", "van-1", 58.0)).await;
    assert_eq!((status, other["results"][0]["code"].as_str()), (409, Some("content_differs")), "{other}");
    server.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_server_on_the_same_folder_is_told_who_holds_it() {
    let data = Data::new();
    let server = ServerProcess::start(data.path());
    server.ready().await;
    let refused = ServerProcess::refused(data.path());
    assert!(refused.contains("is in use by process"), "{refused}");
    server.stop();
}
