//! A list of deliveries says the same as JSON and as Protobuf, page by page.

use prost::Message as _;
use serde_json::{Value, json};
use waypost::wire::{DeliveryOnMap, DeliveryPage, Link, Status};

use crate::harness::events::{assigned, created, ping, status};
use crate::harness::server::TestServer;

/// A feature as the message tells it, in the words of `GeoJSON`.
fn feature(page: &DeliveryPage, row: usize) -> Value {
    let degrees = |origin: i32, difference: u32| {
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        let e7 = (i64::from(origin) + i64::from(difference)) as f64;
        e7 / 1e7
    };
    let (lat, lng) = (degrees(page.origin_lat_e7, page.dlat_e7[row]), degrees(page.origin_lng_e7, page.dlng_e7[row]));
    let properties = page.properties.get(row).map_or_else(|| json!({}), |of| properties(of, lat, lng));
    json!({"type": "Feature", "id": page.id[row], "geometry": {"type": "Point", "coordinates": [lng, lat]}, "properties": properties})
}

fn properties(of: &DeliveryOnMap, lat: f64, lng: f64) -> Value {
    // As it is in the text: the shortest decimal that is this number.
    let number = |value: f32| value.to_string().parse::<f64>().expect("a number");
    let word = |name: &str| name.to_lowercase();
    json!({
        "position": {"lat": lat, "lng": lng, "time": moment(of.fix_time_ms), "accuracy_m": of.accuracy_m.map(number)},
        "status": word(of.status().as_str_name()),
        "driver": (!of.driver_id.is_empty()).then_some(&of.driver_id),
        "eta": of.eta_ms.map(moment),
        "promised_by": of.promised_by_ms.map(moment),
        "speed_mps": number(of.speed_mps),
        "heading_deg": of.heading_deg.map(number),
        "motion": if of.moving { "moving" } else { "stopped" },
        "link": word(of.link().as_str_name()),
        "heard": moment(of.heard_ms),
    })
}

fn moment(ms: i64) -> String {
    waypost::formats::time::print(waypost::model::time::UnixMs(ms))
}

#[tokio::test]
async fn a_list_says_the_same_as_json_and_as_protobuf() {
    let server = TestServer::start().await;
    let at = server.now_ms();
    let mut promised = created("e1", "order-1", at, 57.7, 11.96);
    promised["payload"]["promised_by"] = json!(at + 3_600_000);
    let mut events = vec![
        promised,
        assigned("e2", "order-1", at + 1, "van-1"),
        ping("e3", "van-1", at + 2, 57.7, 11.97),
        ping("e4", "van-1", at + 9_000, 57.7006, 11.971),
    ];
    events.extend([status("e5", "order-1", at + 9_001, "picked_up"), created("e6", "order-2", at, 57.71, 11.95)]);
    // Far from the others, and on another side of Greenwich and of the equator.
    events.extend((3..8).map(|number| created(&format!("c{number}"), &format!("order-{number}"), at, -33.4 + f64::from(number), -70.6)));
    let driver = server.driver();
    let (code, _, position) = driver.post(&json!(events)).await;
    assert_eq!(code, 200);
    let position = position.expect("a position");
    let client = reqwest::Client::new();
    let (mut pages, mut told) = (0, 0);
    for query in ["bbox=-180,-90,180,90&limit=3", "fields=id&limit=3", "bbox=11.9,57.6,12,57.8", "bbox=11.9,57.6,12,57.8&fields=id", "status=arrived"]
    {
        let mut cursor = String::new();
        loop {
            let ask = |accept: &str| {
                let address = format!("{}/v1/deliveries?{query}{cursor}", server.url);
                client.get(address).bearer_auth(&server.dashboard).header("accept", accept).header("waypost-position", &position).send()
            };
            let [json, other] = [ask("*/*").await.expect("answers"), ask("text/html").await.expect("answers")];
            assert_eq!([json.headers()["content-type"].as_bytes(), other.headers()["content-type"].as_bytes()], [b"application/json"; 2]);
            let json: Value = json.json().await.expect("JSON");
            assert_eq!(json, other.json::<Value>().await.expect("JSON"));
            let answer = ask("application/x-protobuf").await.expect("answers");
            assert_eq!((answer.status().as_u16(), answer.headers()["content-type"].as_bytes()), (200, b"application/x-protobuf".as_slice()));
            let page = DeliveryPage::decode(answer.bytes().await.expect("a body")).expect("a message");
            let features: Vec<Value> = (0..page.id.len()).map(|row| feature(&page, row)).collect();
            let next = (!page.next.is_empty()).then_some(&page.next);
            assert_eq!(json!({"type": "FeatureCollection", "features": features, "next": next}), json, "{query}{cursor}");
            (pages, told) = (pages + 1, told + features.len());
            let Some(next) = next else { break };
            cursor = format!("&cursor={next}");
        }
    }
    assert_eq!((pages, told), (3 + 3 + 1 + 1 + 1, 7 + 7 + 2 + 2));
    let answer = client.get(format!("{}/v1/deliveries?bbox=1", server.url)).bearer_auth(&server.dashboard).header("accept", "application/x-protobuf");
    let refused = answer.send().await.expect("answers");
    assert_eq!(refused.headers()["content-type"], "application/problem+json", "a refusal is a problem, whatever was asked for");
    assert_eq!((Status::Created.as_str_name(), Link::Live.as_str_name()), ("CREATED", "LIVE"));
    drop((client, driver));
    server.stop().await;
}
