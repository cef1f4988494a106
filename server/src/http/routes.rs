//! Which path leads where: one list, from which both the router and the `OpenAPI` document are made. No handler of more than a few lines lives here.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::Response;
use axum::http::header::CONTENT_TYPE;
use axum::routing::{MethodRouter, any, get, post};
use axum::{Json, Router};
use bytes::Bytes;
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::json;

use crate::http::auth::Auth;
use crate::http::events::{self, EventsState};
use crate::http::live::{self, LiveState};
use crate::http::page::{self, Policy};
use crate::http::problem::{self, Kind};
use crate::http::read::{self, ReadState};
use crate::http::stats::{self, StatsState};
use crate::http::{openapi, ready, session};
use crate::readiness::Readiness;

/// Every route of the API. A new one gets its handler and its documentation by exhaustive matches, so it cannot have one without the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Route {
    Events,
    Deliveries,
    Nearest,
    Delivery,
    Driver,
    IngestStats,
    Live,
    Session,
    Config,
    OpenApi,
    Metrics,
    Healthz,
    Readyz,
}

/// What the handlers need.
#[derive(Clone, Debug)]
pub struct Routed {
    pub auth: Arc<Auth>,
    pub events: EventsState,
    pub reads: ReadState,
    pub live: LiveState,
    pub readiness: Arc<Readiness>,
    pub metrics: Arc<PrometheusHandle>,
    /// What the dashboard is told of this server's settings.
    pub style_url: Option<String>,
}

impl Route {
    pub const ALL: [Self; 13] = [
        Self::Events,
        Self::Deliveries,
        Self::Nearest,
        Self::Delivery,
        Self::Driver,
        Self::IngestStats,
        Self::Live,
        Self::Session,
        Self::Config,
        Self::OpenApi,
        Self::Metrics,
        Self::Healthz,
        Self::Readyz,
    ];

    pub fn path(self) -> &'static str {
        match self {
            Self::Events => "/v1/events",
            Self::Deliveries => "/v1/deliveries",
            Self::Nearest => "/v1/deliveries/nearest",
            Self::Delivery => "/v1/deliveries/{id}",
            Self::Driver => "/v1/drivers/{id}",
            Self::IngestStats => "/v1/stats/ingest",
            Self::Live => "/v1/live",
            Self::Session => "/v1/session",
            Self::Config => "/v1/config",
            Self::OpenApi => "/v1/openapi.json",
            Self::Metrics => "/metrics",
            Self::Healthz => "/healthz",
            Self::Readyz => "/readyz",
        }
    }

    fn handler(self, routed: &Routed) -> MethodRouter {
        match self {
            Self::Events => post(events::post).with_state(routed.events.clone()),
            Self::Deliveries => get(read::deliveries).with_state(routed.reads.clone()),
            Self::Nearest => get(read::nearest).with_state(routed.reads.clone()),
            Self::Delivery => get(read::delivery).with_state(routed.reads.clone()),
            Self::Driver => get(read::driver).with_state(routed.reads.clone()),
            Self::IngestStats => {
                let state = StatsState { auth: Arc::clone(&routed.auth), ingest: Arc::clone(&routed.events.ingest) };
                get(stats::ingest).with_state(state)
            }
            Self::Live => get(live::upgrade).with_state(routed.live.clone()),
            Self::Session => post(session::post).with_state(Arc::clone(&routed.auth)),
            Self::Config => {
                let settings = json!({"style_url": routed.style_url});
                get(async move || Json(settings))
            }
            Self::OpenApi => {
                let document = Bytes::from(openapi::document().to_json().expect("strings and numbers are always JSON"));
                get(async move || ([(CONTENT_TYPE, "application/json")], document))
            }
            Self::Metrics => get(render_metrics).with_state(Arc::clone(&routed.metrics)),
            Self::Healthz => get(async || "ok\n"),
            Self::Readyz => get(ready::get).with_state(Arc::clone(&routed.readiness)),
        }
    }
}

/// Every route of the server; what is no API is the dashboard's.
pub fn router(routed: &Routed) -> Router {
    let wrong_method = async || problem::respond(&Kind::MethodNotAllowed.says("this path knows other methods; Allow names them"));
    Route::ALL
        .into_iter()
        .fold(Router::new(), |router, route| router.route(route.path(), route.handler(routed)))
        .route("/v1/{*rest}", any(no_such_route))
        .method_not_allowed_fallback(wrong_method)
        .fallback_service(get(page::serve).with_state(Policy::new(routed.style_url.as_deref())))
}

async fn render_metrics(State(metrics): State<Arc<PrometheusHandle>>) -> String {
    metrics.render()
}

async fn no_such_route() -> Response<Body> {
    problem::respond(&Kind::NoSuchRoute.says("no such route"))
}
