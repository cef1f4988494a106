//! What a session asks to see, over a socket: tags, deliveries at risk of being late, and one delivery that is followed wherever it goes.

use std::time::Duration;

use serde_json::{Value, json};
use waypost::http::auth::Role;

use crate::harness::clients::{Dashboard, Driver, Operator};
use crate::harness::events::{assigned, created, ping, status};
use crate::harness::server::TestServer;

fn view(zoom: u32, filter: &Value) -> Value {
    json!({"view": {"west": 11.9, "south": 57.6, "east": 12.1, "north": 57.8, "zoom": zoom, "view_id": 1, "filter": filter}})
}

/// A dashboard with this view, which was answered.
async fn watching(server: &TestServer, key: &str, zoom: u32, filter: &Value) -> Dashboard {
    let mut dashboard = Dashboard::open(&server.url, key).await;
    dashboard.send(&view(zoom, filter)).await;
    while dashboard.frame().await["view_id"] != 1 {}
    dashboard
}

/// Reads on until a frame says what is sought.
async fn until<T>(dashboard: &mut Dashboard, find: impl Fn(&Value) -> Option<T>) -> T {
    loop {
        let frame = dashboard.frame().await;
        assert!(frame.get("bye").is_none(), "{frame}");
        if let Some(found) = find(&frame) {
            return found;
        }
    }
}

/// What is told next of the followed delivery itself: its status code, and whether it is gone.
async fn followed(dashboard: &mut Dashboard) -> (u64, bool) {
    until(dashboard, |frame| {
        let told = frame.get("followed_delivery")?;
        Some((told["status"].as_u64()?, told["gone"].as_bool()?))
    })
    .await
}

/// Reads on until the followed marker is this one, here.
async fn carried_by(dashboard: &mut Dashboard, id: &str, lat_e7: i64) {
    until(dashboard, |frame| (frame["followed"]["id"] == id && frame["followed"]["lat_e7"] == lat_e7).then_some(())).await;
}

async fn narrowed(server: &TestServer, scope: Value) -> String {
    let admin = Operator::new(&server.url, &server.key("acme", Role::Admin).await);
    let mut wanted = scope;
    wanted["role"] = json!("dashboard");
    let (code, made) = admin.ask("POST", "/v1/keys", Some(&wanted)).await;
    assert_eq!(code, 201, "{made}");
    made["key"].as_str().expect("a key").to_owned()
}

async fn post(driver: &Driver, events: Value) {
    let (code, answer, _) = driver.post(&events).await;
    assert_eq!(code, 200, "{answer}");
}

#[tokio::test]
async fn a_followed_delivery_is_told_of_from_driver_to_driver_outside_of_the_view_and_to_its_end() {
    let server = TestServer::start().await;
    let (driver, at) = (server.driver(), server.now_ms());
    let mut dashboard = watching(&server, &server.dashboard, 14, &json!({"statuses": ["arrived"]})).await;
    dashboard.send(&json!({"follow": {"delivery": "order-1"}})).await;
    assert_eq!(followed(&mut dashboard).await, (0, true), "nobody knows it yet");

    post(&driver, created("e1", "order-1", at, 48.0, 2.0)).await;
    let first = until(&mut dashboard, |frame| frame.get("followed_delivery").is_some().then(|| frame.clone())).await;
    assert_eq!((first["followed_delivery"]["status"].as_u64(), &first["followed_delivery"]["gone"]), (Some(1), &json!(false)), "{first}");
    assert_eq!((first["followed"]["id"].as_str(), first["followed"]["driver"].as_bool()), (Some("order-1"), Some(false)), "{first}");

    post(&driver, json!([ping("e2", "van-1", at + 1, 50.0, 5.0), ping("e3", "van-2", at + 1, 57.7, 11.97)])).await;
    post(&driver, assigned("e4", "order-1", at + 2, "van-1")).await;
    assert_eq!(followed(&mut dashboard).await, (2, false));
    post(&driver, ping("e5", "van-1", at + 3, 51.5, 6.5)).await;
    carried_by(&mut dashboard, "van-1", 515_000_000).await;
    post(&driver, status("e6", "order-1", at + 4, "picked_up")).await;
    assert_eq!(followed(&mut dashboard).await, (5, false));
    post(&driver, assigned("e7", "order-1", at + 5, "van-2")).await;
    carried_by(&mut dashboard, "van-2", 577_000_000).await;
    post(&driver, ping("e8", "van-2", at + 6, 59.0, 18.0)).await;
    carried_by(&mut dashboard, "van-2", 590_000_000).await;

    post(&driver, status("e9", "order-1", at + 7, "delivered")).await;
    assert_eq!(followed(&mut dashboard).await, (9, false), "ended, and for ten minutes on the map");
    dashboard.settle().await;
    server.clock.advance(Duration::from_secs(601));
    assert_eq!(followed(&mut dashboard).await, (9, true));
    post(&driver, ping("e10", "van-2", server.now_ms(), 59.1, 18.0)).await;
    dashboard.send(&json!({"follow": {"delivery": "x".repeat(65)}})).await;
    assert_eq!(dashboard.goodbye().await.1, 4004, "no delivery has such an id");
    server.stop().await;
}

#[tokio::test]
async fn what_leaves_a_sessions_scope_is_gone_for_it_and_its_end_is_not_told() {
    let server = TestServer::start().await;
    let (driver, at) = (server.driver(), server.now_ms());
    let events = [
        created("e1", "order-1", at, 57.7, 11.96),
        ping("e2", "van-1", at, 57.7, 11.97),
        ping("e3", "van-2", at, 57.71, 11.98),
        assigned("e4", "order-1", at + 1, "van-1"),
    ];
    post(&driver, json!(events)).await;
    let (of_van, of_other) = (narrowed(&server, json!({"drivers": ["van-1"]})).await, narrowed(&server, json!({"deliveries": ["order-2"]})).await);
    let (mut of_van, mut of_other) = (watching(&server, &of_van, 14, &Value::Null).await, watching(&server, &of_other, 14, &Value::Null).await);
    for dashboard in [&mut of_van, &mut of_other] {
        dashboard.send(&json!({"follow": {"delivery": "order-1"}})).await;
    }
    assert_eq!(followed(&mut of_van).await, (2, false));
    assert_eq!(followed(&mut of_other).await, (0, true), "it does not exist for this one");
    post(&driver, assigned("e5", "order-1", at + 2, "van-2")).await;
    assert_eq!(followed(&mut of_van).await, (0, true));
    // What becomes of it there is not told here: what is heard next is that it came back.
    post(&driver, status("e6", "order-1", at + 3, "picked_up")).await;
    post(&driver, assigned("e7", "order-1", at + 4, "van-1")).await;
    assert_eq!(followed(&mut of_van).await, (5, false));
    drop((of_van, of_other));
    server.stop().await;
}

/// `delivery.created` with attributes and a promise.
fn promised(id: &str, delivery: &str, at_ms: i64, attributes: &Value, promised_by_ms: i64) -> Value {
    let mut event = created(id, delivery, at_ms, 57.7, 11.96);
    event["payload"]["attributes"] = attributes.clone();
    event["payload"]["promised_by"] = json!(promised_by_ms);
    event
}

/// The ids that enter next, with the upper bits of their meta.
async fn enters(dashboard: &mut Dashboard) -> Vec<(String, u64)> {
    until(dashboard, |frame| {
        let cells = frame["cells"].as_array()?.iter();
        let enters = cells.flat_map(|cell| cell["enters"].as_array().into_iter().flatten());
        let told = |enter: &Value| (enter["id"].as_str().expect("an id").to_owned(), enter["meta"].as_u64().expect("a number") >> 24);
        Some(enters.map(told).collect::<Vec<_>>()).filter(|enters| !enters.is_empty())
    })
    .await
}

async fn leaves(dashboard: &mut Dashboard) {
    let some = |cell: &Value| cell["leaves"].as_array().is_some_and(|leaves| !leaves.is_empty());
    until(dashboard, |frame| frame["cells"].as_array()?.iter().any(some).then_some(())).await;
}

async fn counts(dashboard: &mut Dashboard, expected: &Value) {
    until(dashboard, |frame| frame["cells"].as_array()?.iter().any(|cell| cell.get("counts") == expected.as_array().map(|_| expected)).then_some(()))
        .await;
}

#[tokio::test]
async fn a_filter_by_tags_shows_who_carries_one_and_follows_its_attributes() {
    let server = TestServer::start().await;
    let (driver, at) = (server.driver(), server.now_ms());
    let (later, filter) = (at + 9_000_000, json!({"tags": ["size=xl", "cold"]}));
    let mut near = watching(&server, &server.dashboard, 14, &filter).await;
    let mut far = watching(&server, &server.dashboard, 5, &filter).await;
    let small = [promised("e1", "order-1", at, &json!({"size": "s"}), later), promised("e2", "order-2", at, &json!({"size": "xl"}), later)];
    post(&driver, json!(small)).await;
    assert_eq!(enters(&mut near).await, [("order-2".to_owned(), 1)]);
    counts(&mut far, &json!([{"status": 1, "markers": 1}])).await;
    post(&driver, json!([ping("e3", "van-1", at, 57.7, 11.97), assigned("e4", "order-1", at + 1, "van-1")])).await;
    // The van looks the same to who asks for nothing.
    post(&driver, promised("e5", "order-1", at + 2, &json!({"size": "s", "cold": "yes"}), later)).await;
    assert_eq!(enters(&mut near).await, [("van-1".to_owned(), 1)]);
    counts(&mut far, &json!([{"status": 1, "markers": 1}, {"status": 2, "markers": 1}])).await;
    post(&driver, promised("e6", "order-1", at + 3, &json!({}), later)).await;
    leaves(&mut near).await;
    counts(&mut far, &json!([{"status": 1, "markers": 1}])).await;
    for (path, code, ids) in [
        ("tag=size=xl", 200, vec!["order-2"]),
        ("tag=cold,size", 200, vec!["order-2"]),
        ("tag=cold", 200, vec![]),
        ("tag=size&late_risk=true", 200, vec![]),
        ("tag=size&late_risk=false", 200, vec!["order-2"]),
        ("tag=", 400, vec![]),
        ("tag=a,=b", 400, vec![]),
        ("late_risk=1", 400, vec![]),
    ] {
        let (answered, found) = server.reader().get(&format!("/v1/deliveries?{path}"), None).await;
        let listed: Vec<_> = found["features"].as_array().into_iter().flatten().filter_map(|feature| feature["id"].as_str()).collect();
        assert_eq!((answered, listed), (code, ids), "{path}: {found}");
    }
    for wrong in [json!({"tags": ["=x"]}), json!({"tags": "cold"}), json!({"late_risk": 1})] {
        let mut refused = Dashboard::open(&server.url, &server.dashboard).await;
        refused.send(&view(14, &wrong)).await;
        assert_eq!(refused.goodbye().await.1, 4004, "{wrong}");
    }
    drop((near, far));
    server.stop().await;
}

#[tokio::test]
async fn a_filter_by_risk_shows_what_misses_its_promise_by_the_time_of_the_log_until_it_ends() {
    let server = TestServer::start().await;
    let (driver, at) = (server.driver(), server.now_ms());
    let filter = json!({"late_risk": true});
    let mut near = watching(&server, &server.dashboard, 14, &filter).await;
    let mut far = watching(&server, &server.dashboard, 5, &filter).await;
    let mut all = watching(&server, &server.dashboard, 14, &Value::Null).await;
    let promises = [promised("e1", "soon", at, &json!({}), at + 60_000), promised("e2", "later", at, &json!({}), at + 9_000_000)];
    let (code, answer, position) = driver.post(&json!(promises)).await;
    assert_eq!(code, 200, "{answer}");
    assert_eq!(server.reader().get("/v1/deliveries", position.as_deref()).await.0, 200, "all of it is on the map, and told");
    // Who owes an acknowledgement when the clock jumps is sent away.
    for dashboard in [&mut near, &mut far, &mut all] {
        dashboard.settle().await;
    }
    server.clock.advance(Duration::from_secs(62));
    assert_eq!(enters(&mut near).await, [("soon".to_owned(), 128 | 1)], "bit 31, and one aboard");
    counts(&mut far, &json!([{"status": 1, "markers": 1}])).await;
    until(&mut all, |frame| {
        let metas = frame["cells"].as_array()?.iter().find_map(|cell| cell["moves"]["meta"].as_array())?;
        metas.iter().any(|meta| meta.as_u64().is_some_and(|meta| meta >> 31 == 1)).then_some(())
    })
    .await;
    // Reported to come far too late: at risk long before its promise ends.
    let eta = json!({"event_id": "e3", "event_name": "delivery.eta", "entity_id": "later", "event_time": at + 1, "payload": {"eta": at + 9_000_001}});
    post(&driver, eta).await;
    assert_eq!(enters(&mut near).await, [("later".to_owned(), 128 | 1)]);
    let (code, found) = server.reader().get("/v1/deliveries?late_risk=true", None).await;
    assert_eq!((code, found["features"].as_array().map(Vec::len)), (200, Some(2)), "{found}");
    counts(&mut far, &json!([{"status": 1, "markers": 2}])).await;
    post(&driver, json!([status("e4", "soon", at + 2, "cancelled"), status("e5", "later", at + 2, "cancelled")])).await;
    leaves(&mut near).await;
    drop((near, far, all));
    server.stop().await;
}
