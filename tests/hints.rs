//! A phone is told how soon its next position is wanted: sooner while somebody watches or a stop is near.

use serde_json::{Value, json};

use crate::harness::clients::Dashboard;
use crate::harness::events::{assigned, created, ping};
use crate::harness::eventually;
use crate::harness::server::TestServer;

fn hint(answer: &Value) -> (Option<u64>, Option<u64>) {
    (answer["next_interval_ms"].as_u64(), answer["min_distance_m"].as_u64())
}

#[tokio::test]
async fn who_is_watched_or_near_a_stop_is_wanted_sooner() {
    let server = TestServer::start().await;
    let (driver, at) = (server.driver(), server.now_ms());
    let mut number = 0;
    let mut ask = async |name: &str| {
        number += 1;
        let (status, answer, _) = driver.post(&json!([ping(&format!("{name}-{number}"), name, at + number, 57.7, 11.96)])).await;
        assert_eq!(status, 200);
        hint(&answer)
    };
    assert_eq!(ask("van-1").await, (Some(15_000), Some(100)), "nobody watches");

    // A delivery aboard, to be picked up right here.
    let load = json!([created("c", "order-1", at, 57.7, 11.961), assigned("a", "order-1", at + 1, "van-1")]);
    let (_, answer, _) = driver.post(&load).await;
    assert_eq!(hint(&answer), (None, None), "no position, no hint");
    eventually("near a stop", async || (ask("van-1").await == (Some(2_000), Some(10))).then_some(())).await;
    assert_eq!(ask("van-2").await, (Some(15_000), Some(100)), "who carries nothing is near no stop");

    let mut dashboard = Dashboard::open(&server.url, &server.dashboard).await;
    dashboard.look(&json!({"west": 11.9, "south": 57.6, "east": 12.1, "north": 57.8, "zoom": 14, "view_id": 1})).await;
    eventually("watched", async || (ask("van-2").await == (Some(1_000), Some(5))).then_some(())).await;
    drop(dashboard);
    eventually("nobody watches any more", async || (ask("van-2").await == (Some(15_000), Some(100))).then_some(())).await;

    let both = json!([ping("x1", "van-1", at + 900, 57.7, 11.96), ping("x2", "van-2", at + 900, 57.7, 11.96)]);
    let (_, answer, _) = driver.post(&both).await;
    assert_eq!(hint(&answer), (None, None), "a hint for two drivers is for none");
    server.stop().await;
}
