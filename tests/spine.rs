//! One ping's way through the whole server: posted, durable, on a dashboard, in REST; then killed and back.

use serde_json::{Value, json};

use crate::harness::clients::{Dashboard, Driver, Reader};
use crate::harness::eventually;
use crate::harness::process::{Data, ServerProcess, create_key};

fn ping(id: &str, driver: &str, lat: f64) -> Value {
    json!({"event_id": id, "event_name": "location", "actor_id": driver, "event_time": now_ms(), "payload": {"lat": lat, "lng": 11.97, "speed_mps": 8.2, "heading_deg": 90.37, "accuracy_m": 4.7}})
}

fn delivery(id: &str, name: &str, entity: &str, payload: &Value) -> Value {
    json!({"event_id": id, "event_name": name, "entity_id": entity, "event_time": now_ms(), "payload": payload})
}

#[expect(clippy::disallowed_methods, reason = "the events of this test carry the real time, as a phone's do")]
fn now_ms() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    u64::try_from(now.as_millis()).expect("before the year 584 million")
}

fn gothenburg() -> Value {
    json!({"view": {"west": 11.9, "south": 57.6, "east": 12.1, "north": 57.8, "zoom": 14, "view_id": 1}})
}

/// Reads frames until one enters `id`.
async fn entered(dashboard: &mut Dashboard, id: &str) {
    loop {
        let frame = dashboard.frame().await;
        let cells = frame["cells"].as_array().cloned().unwrap_or_default();
        if cells.iter().any(|cell| cell["enters"].as_array().is_some_and(|enters| enters.iter().any(|enter| enter["id"] == id))) {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ping_reaches_the_dashboard_and_rest_and_survives_sigkill() {
    let data = Data::new();
    let server = ServerProcess::start(data.path());
    server.ready().await;
    let driver = Driver::new(&server.url, &data.ingest);
    let mut dashboard = Dashboard::open(&server.url, &data.dashboard).await;
    dashboard.send(&gothenburg()).await;

    let (status, answer, position) = driver.post(&ping("e1", "van-1", 57.7)).await;
    assert_eq!((status, &answer["results"][0]["status"]), (200, &json!("accepted")), "{answer}");
    entered(&mut dashboard, "van-1").await;

    let created = json!({"pickup": {"lat": 57.70, "lng": 11.96}, "destination": {"lat": 57.71, "lng": 11.99}});
    let (_, _, _) = driver.post(&delivery("e2", "delivery.created", "order-1", &created)).await;
    let (_, _, _) = driver.post(&delivery("e3", "delivery.assigned", "order-1", &json!({"driver": "van-1"}))).await;
    let (_, _, after) = driver.post(&delivery("e4", "delivery.status", "order-1", &json!({"status": "picked_up"}))).await;

    let reader = Reader::new(&server.url, &data.dashboard);
    let (status, order) = reader.get("/v1/deliveries/order-1", after.as_deref()).await;
    assert_eq!((status, order["status"].as_str(), order["driver"].as_str()), (200, Some("picked_up"), Some("van-1")), "{order}");
    let (status, van) = reader.get("/v1/drivers/van-1", position.as_deref()).await;
    assert_eq!((status, van["position"]["lat"].as_f64()), (200, Some(57.7)), "{van}");
    let said = [&van["speed_mps"], &van["heading_deg"], &van["position"]["accuracy_m"]];
    assert_eq!(said, [&json!(8.2), &json!(90.37), &json!(4.7)], "no digits that nobody said");
    let (status, found) = reader.get("/v1/deliveries?bbox=11.9,57.6,12.1,57.8", after.as_deref()).await;
    assert_eq!((status, found["features"][0]["id"].as_str()), (200, Some("order-1")), "{found}");

    server.kill();
    let server = ServerProcess::start(data.path());
    server.ready().await;
    let reader = Reader::new(&server.url, &data.dashboard);
    eventually("the map is back", async || {
        let (_, found) = reader.get("/v1/deliveries?bbox=11.9,57.6,12.1,57.8", None).await;
        (found["features"][0]["id"] == "order-1").then_some(())
    })
    .await;
    let (_, answer, _) = Driver::new(&server.url, &data.ingest).post(&ping("e1", "van-1", 57.7)).await;
    assert!(answer["results"][0]["status"] == "duplicate", "{answer}");
    let mut dashboard = Dashboard::open(&server.url, &data.dashboard).await;
    dashboard.send(&gothenburg()).await;
    entered(&mut dashboard, "van-1").await;
    server.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_reads_or_writes_without_the_right_credential_or_across_tenants() {
    let data = Data::new();
    let stranger = create_key(data.path(), "other", "admin");
    let server = ServerProcess::start(data.path());
    server.ready().await;
    let (status, _, position) = Driver::new(&server.url, &data.ingest).post(&ping("e1", "van-1", 57.7)).await;
    assert_eq!(status, 200);
    for (key, wanted) in [(data.dashboard.as_str(), 200), (stranger.as_str(), 404), (data.ingest.as_str(), 403), ("wpk_nonsense", 401)] {
        let (status, body) = Reader::new(&server.url, key).get("/v1/drivers/van-1", position.as_deref()).await;
        assert_eq!(status, wanted, "{body}");
    }
    let (status, body, _) = Driver::new(&server.url, &data.dashboard).post(&ping("e2", "van-1", 57.7)).await;
    assert_eq!(status, 403, "{body}");
    server.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handshake_without_a_known_subprotocol_is_refused_and_so_is_a_wrong_key() {
    let data = Data::new();
    let server = ServerProcess::start(data.path());
    server.ready().await;
    let address = format!("{}/v1/live", server.url.replacen("http", "ws", 1));
    assert!(tokio_tungstenite::connect_async(&address).await.is_err(), "no subprotocol offered");
    let mut stranger = Dashboard::open(&server.url, "wpk_nonsense").await;
    let frame = stranger.frame().await;
    assert_eq!(frame["bye"]["code"], 2, "{frame}");
    server.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_takes_a_checkpoint_and_the_next_start_goes_on_from_it() {
    let data = Data::new();
    let server = ServerProcess::start(data.path());
    server.ready().await;
    let driver = Driver::new(&server.url, &data.ingest);
    driver.post(&ping("e1", "van-1", 57.7)).await;
    driver.post(&delivery("e2", "delivery.assigned", "order-1", &json!({"driver": "van-1"}))).await;
    server.stop();
    let checkpoints = std::fs::read_dir(data.path().join("checkpoints")).expect("a folder of checkpoints").count();
    assert!(checkpoints > 0, "a stop takes a checkpoint");

    let server = ServerProcess::start(data.path());
    server.ready().await;
    let (_, _, after) =
        Driver::new(&server.url, &data.ingest).post(&delivery("e3", "delivery.status", "order-1", &json!({"status": "picked_up"}))).await;
    let reader = Reader::new(&server.url, &data.dashboard);
    let (status, order) = reader.get("/v1/deliveries/order-1", after.as_deref()).await;
    assert_eq!((status, order["status"].as_str(), order["driver"].as_str()), (200, Some("picked_up"), Some("van-1")), "{order}");
    let history: Vec<_> = order["history"].as_array().expect("a history").iter().map(|event| event["status"].as_str().unwrap_or("")).collect();
    assert_eq!(history, ["assigned", "picked_up"], "what the checkpoint held and what came after it");
    assert_eq!(order["position"]["lat"].as_f64(), Some(57.7));
    server.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dashboard_that_comes_back_to_a_recovering_server_never_sees_a_part_of_the_map() {
    const DRIVERS: usize = 2_000;
    let data = Data::new();
    let server = ServerProcess::start(data.path());
    server.ready().await;
    let driver = Driver::new(&server.url, &data.ingest);
    for first in (0..DRIVERS).step_by(500) {
        let pings = (first..first + 500).map(|number| ping(&format!("e{number}"), &format!("van-{number}"), 57.7)).collect();
        assert_eq!(driver.post(&Value::Array(pings)).await.0, 200);
    }
    // Once from the log alone, and once from the checkpoint of a clean stop.
    server.kill();
    for _ in 0..2 {
        let server = ServerProcess::start(data.path());
        // It asks as soon as the port is open, as a page does that was cut off.
        let mut dashboard = eventually("admitted", async || Dashboard::try_open(&server.url, &data.dashboard).await).await;
        dashboard.send(&gothenburg()).await;
        assert!(dashboard.frame().await["hello"].is_object());
        let first = dashboard.frame().await;
        let cells = first["cells"].as_array().expect("cells");
        let seen: usize = cells.iter().filter_map(|cell| cell["enters"].as_array()).map(Vec::len).sum();
        assert_eq!((seen, first["reset"].as_bool()), (DRIVERS, Some(true)));
        server.stop();
    }
}
