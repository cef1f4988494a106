//! Events as a phone or a back office sends them. Says only what a test asks for.

use serde_json::{Value, json};

pub(crate) fn ping(id: &str, driver: &str, at_ms: i64, lat: f64, lng: f64) -> Value {
    let payload = json!({"lat": lat, "lng": lng, "speed_mps": 8.0, "heading_deg": 90.0});
    json!({"event_id": id, "event_name": "location", "actor_id": driver, "event_time": at_ms, "payload": payload})
}

/// `delivery.created`, waiting at its pickup.
pub(crate) fn created(id: &str, delivery: &str, at_ms: i64, lat: f64, lng: f64) -> Value {
    let payload = json!({"pickup": {"lat": lat, "lng": lng}, "destination": {"lat": lat + 0.01, "lng": lng}});
    about(id, "delivery.created", delivery, at_ms, &payload)
}

pub(crate) fn assigned(id: &str, delivery: &str, at_ms: i64, driver: &str) -> Value {
    about(id, "delivery.assigned", delivery, at_ms, &json!({"driver": driver}))
}

pub(crate) fn status(id: &str, delivery: &str, at_ms: i64, status: &str) -> Value {
    let payload = if status == "failed" { json!({"status": status, "reason": "nobody there"}) } else { json!({"status": status}) };
    about(id, "delivery.status", delivery, at_ms, &payload)
}

pub(crate) fn duty(id: &str, driver: &str, at_ms: i64, on: &str) -> Value {
    json!({"event_id": id, "event_name": "driver.duty", "actor_id": driver, "event_time": at_ms, "payload": {"on": on == "on"}})
}

fn about(id: &str, name: &str, delivery: &str, at_ms: i64, payload: &Value) -> Value {
    json!({"event_id": id, "event_name": name, "entity_id": delivery, "event_time": at_ms, "payload": payload})
}
