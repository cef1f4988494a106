//! `GET /readyz`: what the node says of itself, in words for people and programs. Judges nothing.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderValue, Response, StatusCode};
use axum::response::IntoResponse as _;
use serde_json::{Value, json};

use crate::readiness::{Failure, Lag, Readiness, Recovery, State as Node};

pub async fn get(State(readiness): State<Arc<Readiness>>) -> Response<Body> {
    let node = readiness.get();
    let status = if matches!(node, Node::Ready(_)) { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut response = (status, Json(words(node))).into_response();
    if status != StatusCode::OK {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

fn words(node: Node) -> Value {
    match node {
        Node::Recovering(recovery) => json!({"ready": false, "code": "recovering", "recovery": phase(recovery)}),
        Node::Ready(behind) => json!({"ready": true, "lag": lag(behind)}),
        Node::Failing(failure, behind) => json!({"ready": false, "code": failure.code(), "detail": detail(failure), "lag": lag(behind)}),
    }
}

fn phase(recovery: Recovery) -> Value {
    match recovery {
        Recovery::Log => json!({"phase": "log"}),
        Recovery::Checkpoint => json!({"phase": "checkpoint"}),
        Recovery::Replay { blocks_done, blocks_total } => json!({"phase": "replay", "blocks_done": blocks_done, "blocks_total": blocks_total}),
    }
}

fn lag(lag: Lag) -> Value {
    json!({"records": lag.records, "seconds": lag.age.as_secs_f64()})
}

fn detail(failure: Failure) -> String {
    match failure {
        Failure::LogPoisoned => "a write to the event log failed; nothing is acknowledged until a restart has recovered it".to_owned(),
        Failure::Stalled(waited) => format!("nothing was applied for {} s although something waits", waited.as_secs()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    async fn told(node: Node) -> (u16, Value) {
        let readiness = Arc::new(Readiness::default());
        readiness.set(node);
        let response = get(State(readiness)).await;
        assert_eq!(response.headers().contains_key(RETRY_AFTER), response.status() != StatusCode::OK);
        let status = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), 10_000).await.expect("a body");
        (status, serde_json::from_slice(&body).expect("JSON"))
    }

    #[tokio::test]
    async fn a_node_says_how_far_its_recovery_is_and_why_it_fails() {
        let behind = Lag { records: 3, age: Duration::from_millis(250) };
        let replay = Recovery::Replay { blocks_done: 2, blocks_total: 9 };
        let (status, body) = told(Node::Recovering(replay)).await;
        assert_eq!((status, &body["recovery"]), (503, &json!({"phase": "replay", "blocks_done": 2, "blocks_total": 9})));
        let (status, body) = told(Node::Ready(behind)).await;
        assert_eq!((status, body), (200, json!({"ready": true, "lag": {"records": 3, "seconds": 0.25}})));
        for (failure, code) in [(Failure::LogPoisoned, "log_poisoned"), (Failure::Stalled(Duration::from_secs(12)), "stalled")] {
            let (status, body) = told(Node::Failing(failure, behind)).await;
            assert_eq!((status, body["ready"].as_bool(), body["code"].as_str()), (503, Some(false), Some(code)), "{body}");
        }
    }
}
