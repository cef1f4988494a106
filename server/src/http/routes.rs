//! Which path leads where. No handler of more than a few lines lives here.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse as _;
use axum::routing::{get, post};
use metrics_exporter_prometheus::PrometheusHandle;

use crate::formats::problem::Problem;
use crate::http::events::{self, EventsState};
use crate::http::live::{self, LiveState};
use crate::http::read::{self, ReadState};
use crate::http::{page, problem, session};

/// Every route of the server.
pub fn router(events: EventsState, reads: ReadState, live: LiveState, metrics: Arc<PrometheusHandle>) -> Router {
    let auth = Arc::clone(&events.auth);
    Router::new()
        .route("/v1/events", post(events::post))
        .route("/readyz", get(readyz))
        .with_state(events)
        .route("/v1/deliveries", get(read::deliveries))
        .route("/v1/deliveries/nearest", get(read::nearest))
        .route("/v1/deliveries/{id}", get(read::delivery))
        .route("/v1/drivers/{id}", get(read::driver))
        .with_state(reads)
        .route("/v1/live", get(live::upgrade).with_state(live))
        .route("/v1/session", post(session::post).with_state(auth))
        .route("/metrics", get(render_metrics).with_state(metrics))
        .route("/healthz", get(async || "ok\n"))
        .route("/v1/{*rest}", axum::routing::any(no_such_route))
        .fallback(get(page::serve))
}

async fn readyz(State(events): State<EventsState>) -> Response<Body> {
    if events.ingest.get().is_some() {
        return "ready\n".into_response();
    }
    problem::respond(&Problem::new(503, "Service Unavailable", "recovering", "the log is being checked and its ids are being rebuilt"))
}

async fn render_metrics(State(metrics): State<Arc<PrometheusHandle>>) -> String {
    metrics.render()
}

async fn no_such_route() -> Response<Body> {
    let status = StatusCode::NOT_FOUND.as_u16();
    problem::respond(&Problem::new(status, "Not Found", "no_such_route", "no such route"))
}
