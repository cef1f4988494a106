//! `/metrics` of the real server: its numbers are the client's own.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::clients::{Dashboard, Driver};
use crate::harness::events::{assigned, created, ping, status};
use crate::harness::eventually;
use crate::harness::process::{Data, ServerProcess};

type Exposition = HashMap<String, f64>;

async fn scrape(server: &ServerProcess) -> Exposition {
    let text = reqwest::get(format!("{}/metrics", server.url)).await.expect("answers").text().await.expect("text");
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines
        .map(|line| line.rsplit_once(' ').expect("name and value"))
        .map(|(name, value)| (name.to_owned(), value.parse().expect("a number")))
        .collect()
}

fn outcomes(of: &Exposition) -> HashMap<String, u64> {
    let outcome = |name: &str| Some(name.strip_prefix("waypost_ingest_events_total{outcome=\"")?.strip_suffix("\"}")?.to_owned());
    of.iter().filter_map(|(name, value)| Some((outcome(name)?, whole(*value)))).collect()
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small count")]
fn whole(value: f64) -> u64 {
    assert!(value >= 0.0 && value.fract() <= 0.0, "{value} is no count");
    value as u64
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_numbers_of_the_exposition_are_the_clients_own_and_lag_goes_to_0() {
    let data = Data::new();
    let server = ServerProcess::start(data.path());
    server.ready().await;
    let first = scrape(&server).await;
    for name in ["ingest_qps", "ingest_error_rate", "queue_lag_seconds", "consumer_lag", "dropped_events", "dedupe_rate"] {
        assert_eq!(first.get(name), Some(&0.0), "{name} is there from the first scrape on");
    }

    let mut dashboard = Dashboard::open(&server.url, &data.dashboard).await;
    dashboard.send(&json!({"view": {"west": 11.0, "south": 57.0, "east": 13.0, "north": 58.0, "zoom": 12}})).await;
    let driver = Driver::new(&server.url, &data.ingest);
    let mut counted: HashMap<String, u64> = ["accepted", "duplicate", "rejected", "shed", "refused"].map(|outcome| (outcome.to_owned(), 0)).into();
    let at = 1_790_000_000_000;
    for round in 0..6 {
        // The last round says nothing new.
        let round = round.min(4);
        let mut batch: Vec<Value> = (0..50).map(|n| ping(&format!("p{round}-{n}"), &format!("van-{n}"), at + round * 1000, 57.7, 11.9)).collect();
        batch.push(ping(&format!("bad-{round}"), "van-1", at, 91.0, 11.9));
        batch.push(ping(&format!("null-{round}"), "van-1", at, 0.0, 0.0));
        batch.push(created("c1", "order-1", at, 57.7, 11.95));
        batch.push(assigned("a1", "order-1", at + 1, "van-3"));
        batch.push(status(&format!("s{round}"), "order-1", at + 2 + round, "picked_up"));
        let (code, answer, _) = driver.post(&Value::Array(batch)).await;
        assert_eq!(code, 200, "{answer}");
        for result in answer["results"].as_array().expect("results") {
            *counted.get_mut(result["status"].as_str().expect("a status")).expect("a known status") += 1;
        }
    }
    let (code, _, _) = driver.post(&json!([ping("x", "van-1", at, 57.7, 11.9), "no batch of one is too large for this".repeat(40_000)])).await;
    assert_eq!(code, 413);
    assert_eq!(outcomes(&scrape(&server).await), counted, "counted at once; what is cut off at the door is no event yet");
    assert!(counted.values().sum::<u64>() == 6 * 55 && counted["duplicate"] == 61, "{counted:?}");
    dashboard.frame().await;

    let told = eventually("the map is level with the log", async || {
        let told = scrape(&server).await;
        (told["consumer_lag"] <= 0.0 && told["queue_lag_seconds"] <= 0.0 && told["waypost_dedup_ids"] > 0.0).then_some(told)
    })
    .await;
    let expected = [("waypost_dedup_ids", counted["accepted"]), ("waypost_live_sessions", 1), ("waypost_log_segments", 1)];
    for (name, expected) in expected {
        assert_eq!(whole(told[name]), expected, "{name}");
    }
    let kinds = ["driver", "delivery", "tombstone"].map(|kind| told[&format!("waypost_entities{{kind=\"{kind}\"}}")]);
    assert_eq!(kinds.map(whole), [50, 1, 0]);
    assert!(told["waypost_log_bytes"] > 10_000.0 && told["waypost_log_oldest_age_seconds"] < 60.0, "{told:?}");
    assert_eq!(whole(told["waypost_ack_seconds_count"]), 6, "the acks of what was taken");
    assert!(told["waypost_fdatasync_seconds_count"] >= 5.0 && told["waypost_fdatasync_recent_seconds{quantile=\"0.99\"}"] > 0.0, "{told:?}");
    // What came with the first picture is no news, and no more is sent than is acknowledged: something has to move after it, and to be read.
    let mut step = 0_i32;
    while scrape(&server).await.get("waypost_ping_to_frame_seconds_count").is_none_or(|count| *count <= 0.0) {
        step += 1;
        assert!(step < 200, "no frame was measured");
        driver.post(&json!([ping(&format!("move-{step}"), "van-1", at + 10_000 + i64::from(step) * 1000, 57.7 + f64::from(step) / 1e3, 11.9)])).await;
        dashboard.settle().await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    server.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rates_tell_of_the_last_second_and_no_label_names_a_tenant() {
    let data = Data::new();
    let server = ServerProcess::start(data.path());
    server.ready().await;
    let driver = Driver::new(&server.url, &data.ingest);
    let bad = ping("bad", "van-1", 1_790_000_000_000, 91.0, 11.9);
    let mut number = 0;
    // Of every four events one is new, one bad and two are duplicates.
    let told = eventually("the rates are told", async || {
        number += 1;
        let event = ping(&format!("e{number}"), "van-1", 1_790_000_000_000 + number, 57.7, 11.9);
        let (code, answer, _) = driver.post(&json!([event, event, event, bad])).await;
        assert_eq!(code, 200, "{answer}");
        let told = scrape(&server).await;
        (told["ingest_qps"] > 0.0 && number > 20).then_some(told)
    })
    .await;
    assert!((told["ingest_error_rate"] - 0.25).abs() < 0.001 && (told["dedupe_rate"] - 0.5).abs() < 0.001, "{told:?}");
    assert!(told["ingest_qps"] < 2000.0, "{told:?}");
    assert!(!told.keys().any(|name| name.contains("tenant") || name.contains("acme")), "{told:?}");
    server.stop();
}
