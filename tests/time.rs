//! What time does, with the clock in the test's hand: links age, ended deliveries leave, clocks that run ahead are corrected or refused.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::clients::Dashboard;
use crate::harness::events::{assigned, created, ping, status};
use crate::harness::eventually;
use crate::harness::server::TestServer;

const BOX: &str = "/v1/deliveries?bbox=11.9,57.6,12.1,57.8";

fn view(number: u32) -> Value {
    json!({"west": 11.9, "south": 57.6, "east": 12.1, "north": 57.8, "zoom": 14, "view_id": number})
}

async fn watching(server: &TestServer) -> Dashboard {
    let mut dashboard = Dashboard::open(&server.url, &server.dashboard).await;
    dashboard.send(&json!({"view": view(1)})).await;
    dashboard
}

/// Reads on until some cell of a frame holds what is sought.
async fn seen<T>(dashboard: &mut Dashboard, find: impl Fn(&Value) -> Option<T>) -> T {
    loop {
        let frame = dashboard.frame().await;
        assert!(frame.get("bye").is_none(), "{frame}");
        if let Some(found) = frame["cells"].as_array().into_iter().flatten().find_map(&find) {
            return found;
        }
    }
}

fn entered<'a>(cell: &'a Value, id: &str) -> Option<&'a Value> {
    cell["enters"].as_array()?.iter().find(|enter| enter["id"] == id)
}

fn link_of(meta: &Value) -> u64 {
    meta.as_u64().expect("a number") >> 4 & 3
}

#[tokio::test]
async fn a_delivery_leaves_the_map_ten_minutes_after_its_end_and_is_still_known() {
    let server = TestServer::start().await;
    let (driver, reader, at) = (server.driver(), server.reader(), server.now_ms());
    let mut dashboard = watching(&server).await;
    let events = [
        created("e1", "waits", at, 57.70, 11.96),
        created("e2", "rides", at, 57.71, 11.97),
        ping("e3", "van-1", at, 57.72, 11.98),
        assigned("e4", "rides", at + 1, "van-1"),
        status("e5", "waits", at + 2, "cancelled"),
        status("e6", "rides", at + 2, "delivered"),
    ];
    let (_, answer, position) = driver.post(&json!(events)).await;
    let position = position.expect("accepted: {answer}");
    let handle = seen(&mut dashboard, |cell| entered(cell, "waits").map(|enter| enter["handle"].clone())).await;
    let ids = async |position: Option<&str>| {
        let (status, found) = reader.get(BOX, position).await;
        assert_eq!(status, 200, "{found}");
        let of = |feature: &Value| {
            (feature["id"].as_str().expect("an id").to_owned(), feature["properties"]["status"].as_str().expect("a status").to_owned())
        };
        found["features"].as_array().expect("features").iter().map(of).collect::<Vec<_>>()
    };
    let both = [("rides", "delivered"), ("waits", "cancelled")].map(|(id, status)| (id.to_owned(), status.to_owned()));
    assert_eq!(ids(Some(&position)).await, both, "{answer}");
    dashboard.look(&view(2)).await;

    server.clock.advance(Duration::from_mins(10) - Duration::from_millis(1));
    // The ping gives both partitions' shards the time, one millisecond too early.
    let (_, _, early) =
        driver.post(&json!([created("e7", "waits", server.now_ms(), 57.70, 11.96), ping("e8", "van-1", server.now_ms(), 57.72, 11.98)])).await;
    assert_eq!(ids(early.as_deref()).await, both, "one millisecond too early");
    dashboard.look(&view(3)).await;
    server.clock.advance(Duration::from_millis(2));
    eventually("both have left", async || ids(None).await.is_empty().then_some(())).await;
    let cancelled = 12;
    seen(&mut dashboard, |cell| {
        let leave = cell["leaves"].as_array()?.iter().find(|leave| leave["handle"] == handle)?;
        assert_eq!((leave["gone"].as_bool(), leave["ended"].as_u64()), (Some(true), Some(cancelled)), "{leave}");
        Some(())
    })
    .await;
    let (code, known) = reader.get("/v1/deliveries/rides", None).await;
    assert_eq!((code, known["status"].as_str(), known["position"].is_null()), (200, Some("delivered"), true), "{known}");
    let (code, van) = reader.get("/v1/drivers/van-1", None).await;
    assert_eq!((code, van["deliveries_count"].as_u64(), van["status"].is_null()), (200, Some(0), true), "{van}");
    server.stop().await;
}

#[tokio::test]
async fn a_silent_driver_goes_from_live_to_delayed_to_stale_to_lost() {
    let server = TestServer::start().await;
    let (driver, reader) = (server.driver(), server.reader());
    let mut dashboard = watching(&server).await;
    driver.post(&ping("e1", "van-1", server.now_ms(), 57.7, 11.97)).await;
    let enter = seen(&mut dashboard, |cell| entered(cell, "van-1").cloned()).await;
    assert_eq!(link_of(&enter["meta"]), 0);
    let mut silent = 0;
    for (word, code, after) in [("delayed", 1_u32, 31), ("stale", 2, 121), ("lost", 3, 601)] {
        dashboard.look(&view(code + 1)).await;
        server.clock.advance(Duration::from_secs(after - silent));
        silent = after;
        let meta = seen(&mut dashboard, |cell| {
            let index = cell["moves"]["handle"].as_array()?.iter().position(|handle| *handle == enter["handle"])?;
            cell["moves"]["meta"].get(index).cloned()
        })
        .await;
        assert_eq!(link_of(&meta), u64::from(code), "{word}");
        let (_, van) = reader.get("/v1/drivers/van-1", None).await;
        assert_eq!(van["link"], word, "{van}");
    }
    let (_, _, position) = driver.post(&ping("e2", "van-1", server.now_ms(), 57.7001, 11.97)).await;
    let (_, van) = reader.get("/v1/drivers/van-1", position.as_deref()).await;
    assert_eq!(van["link"], "live", "{van}");
    server.stop().await;
}

#[tokio::test]
async fn a_clock_a_day_ahead_is_refused_and_a_smaller_lead_is_corrected() {
    let server = TestServer::start().await;
    let (driver, reader, now) = (server.driver(), server.reader(), server.now_ms());
    let day = 24 * 3_600_000;
    let (code, answer, _) = driver.post(&ping("e1", "van-1", now + day + 1, 57.7, 11.97)).await;
    let result = &answer["results"][0];
    assert_eq!((code, result["code"].as_str(), result["pointer"].as_str()), (400, Some("time_too_far_ahead"), Some("/event_time")), "{answer}");
    let (code, answer, _) = driver.post(&ping("e2", "van-1", now + day, 57.7, 11.97)).await;
    assert_eq!(code, 200, "{answer}");
    // The day's lead was taken back to now, so a later honest ping is newer.
    server.clock.advance(Duration::from_secs(1));
    let (_, _, position) = driver.post(&ping("e3", "van-1", server.now_ms(), 57.75, 11.97)).await;
    let (_, van) = reader.get("/v1/drivers/van-1", position.as_deref()).await;
    assert_eq!(van["position"]["lat"].as_f64(), Some(57.75), "{van}");
    // And the corrected one was not shown as of tomorrow.
    assert_eq!(van["position"]["time"], "2026-11-24T08:30:01Z", "{van}");
    server.stop().await;
}
