//! Which path leads where: one list, from which both the router and the `OpenAPI` document are made. No handler of more than a few lines lives here.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::Response;
use axum::http::header::CONTENT_TYPE;
use axum::routing::{MethodRouter, any, delete, get, post, put};
use axum::{Json, Router};
use bytes::Bytes;
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::json;

use crate::formats::phone::app::App;
use crate::http::auth::{Access, Auth};
use crate::http::credentials::{self, CredentialState};
use crate::http::dead_letters::{self, DeadLettersState};
use crate::http::devices::{self, DevicesState};
use crate::http::events::{self, EventsState};
use crate::http::gate::{self, Rule};
use crate::http::live::{self, LiveState};
use crate::http::origins::Origins;
use crate::http::page::{self, Policy};
use crate::http::phones::{self, PhonesState};
use crate::http::problem::{self, Kind};
use crate::http::read::{self, ReadState};
use crate::http::stats::{self, StatsState};
use crate::http::stream::{self, StreamState};
use crate::http::{openapi, ready, session};
use crate::readiness::Readiness;

/// Every route of the API: a method of a path. A new one gets its handler, its rule and its documentation by exhaustive matches, so it cannot have one
/// without the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Route {
    Events,
    /// What an app posts, and what the simplest ones put into the address of a GET.
    Phone(App),
    PhoneGet(App),
    /// The same with the key in the address.
    PhoneByKey(App),
    PhoneGetByKey(App),
    Devices,
    Device,
    PutDevice,
    DeleteDevice,
    Stream,
    Deliveries,
    Nearest,
    Delivery,
    Driver,
    IngestStats,
    DeadLetters,
    Redrive,
    DeadLetter,
    RemoveDeadLetter,
    Live,
    Session,
    Keys,
    CreateKey,
    RevokeKey,
    RotateKey,
    Tickets,
    RevokeToken,
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
    pub credentials: CredentialState,
    pub events: EventsState,
    pub dead_letters: DeadLettersState,
    pub phones: PhonesState,
    pub devices: DevicesState,
    pub stream: StreamState,
    pub reads: ReadState,
    pub live: LiveState,
    pub origins: Origins,
    pub readiness: Arc<Readiness>,
    pub metrics: Arc<PrometheusHandle>,
    /// What the dashboard is told of this server's settings.
    pub style_url: Option<String>,
}

impl Route {
    pub const ALL: [Self; 44] = [
        Self::Events,
        Self::Phone(App::OsmAnd),
        Self::Phone(App::Traccar),
        Self::Phone(App::OwnTracks),
        Self::Phone(App::Overland),
        Self::Phone(App::GpsLogger),
        Self::Phone(App::CloudEvents),
        Self::PhoneGet(App::OsmAnd),
        Self::PhoneGet(App::GpsLogger),
        Self::PhoneByKey(App::OsmAnd),
        Self::PhoneByKey(App::Traccar),
        Self::PhoneByKey(App::OwnTracks),
        Self::PhoneByKey(App::Overland),
        Self::PhoneByKey(App::GpsLogger),
        Self::PhoneByKey(App::CloudEvents),
        Self::PhoneGetByKey(App::OsmAnd),
        Self::PhoneGetByKey(App::GpsLogger),
        Self::Devices,
        Self::Device,
        Self::PutDevice,
        Self::DeleteDevice,
        Self::Stream,
        Self::Deliveries,
        Self::Nearest,
        Self::Delivery,
        Self::Driver,
        Self::IngestStats,
        Self::DeadLetters,
        Self::Redrive,
        Self::DeadLetter,
        Self::RemoveDeadLetter,
        Self::Live,
        Self::Session,
        Self::Keys,
        Self::CreateKey,
        Self::RevokeKey,
        Self::RotateKey,
        Self::Tickets,
        Self::RevokeToken,
        Self::Config,
        Self::OpenApi,
        Self::Metrics,
        Self::Healthz,
        Self::Readyz,
    ];

    pub fn path(self) -> &'static str {
        match self {
            Self::Events => "/v1/events",
            Self::Phone(app) | Self::PhoneGet(app) => app.path(),
            Self::PhoneByKey(app) | Self::PhoneGetByKey(app) => app.path_with_key(),
            Self::Devices => "/v1/devices",
            Self::Device | Self::PutDevice | Self::DeleteDevice => "/v1/devices/{device}",
            Self::Stream => "/v1/ingest",
            Self::Deliveries => "/v1/deliveries",
            Self::Nearest => "/v1/deliveries/nearest",
            Self::Delivery => "/v1/deliveries/{id}",
            Self::Driver => "/v1/drivers/{id}",
            Self::IngestStats => "/v1/stats/ingest",
            Self::DeadLetters => "/v1/dead-letters",
            Self::Redrive => "/v1/dead-letters/redrive",
            Self::DeadLetter | Self::RemoveDeadLetter => "/v1/dead-letters/{id}",
            Self::Live => "/v1/live",
            Self::Session => "/v1/session",
            Self::Keys | Self::CreateKey => "/v1/keys",
            Self::RevokeKey => "/v1/keys/{id}",
            Self::RotateKey => "/v1/keys/{id}/rotate",
            Self::Tickets => "/v1/tickets",
            Self::RevokeToken => "/v1/tokens/revoke",
            Self::Config => "/v1/config",
            Self::OpenApi => "/v1/openapi.json",
            Self::Metrics => "/metrics",
            Self::Healthz => "/healthz",
            Self::Readyz => "/readyz",
        }
    }

    /// Who may come in. What the document says of it is made from this as well.
    pub fn rule(self) -> Rule {
        match self {
            Self::Events => Rule::Credential(Access::Write),
            Self::Phone(_) | Self::PhoneGet(_) => Rule::Phone(Access::Write),
            Self::PhoneByKey(_) | Self::PhoneGetByKey(_) => Rule::KeyInAddress(Access::Write),
            Self::Devices
            | Self::Device
            | Self::PutDevice
            | Self::DeleteDevice
            | Self::IngestStats
            | Self::DeadLetters
            | Self::Redrive
            | Self::DeadLetter
            | Self::RemoveDeadLetter => Rule::Credential(Access::Operate),
            Self::Deliveries | Self::Nearest | Self::Delivery | Self::Driver => Rule::Credential(Access::Read),
            Self::Stream => Rule::FirstMessage(Access::Write),
            Self::Live => Rule::FirstMessage(Access::Read),
            Self::Keys | Self::CreateKey | Self::RevokeKey | Self::RotateKey | Self::Tickets | Self::RevokeToken => Rule::Credential(Access::Manage),
            // The ticket is the credential.
            Self::Session | Self::Config | Self::OpenApi | Self::Metrics | Self::Healthz | Self::Readyz => Rule::Open,
        }
    }

    fn handler(self, routed: &Routed) -> MethodRouter {
        match self {
            Self::Events => post(events::post).with_state(routed.events.clone()),
            Self::Phone(app) | Self::PhoneByKey(app) => {
                post(async move |state: State<PhonesState>, request: Request| phones::take(app, state, request).await)
                    .with_state(routed.phones.clone())
            }
            Self::PhoneGet(app) | Self::PhoneGetByKey(app) => {
                get(async move |state: State<PhonesState>, request: Request| phones::take(app, state, request).await)
                    .with_state(routed.phones.clone())
            }
            Self::Devices => get(devices::list).with_state(routed.devices.clone()),
            Self::Device => get(devices::get).with_state(routed.devices.clone()),
            Self::PutDevice => put(devices::put).with_state(routed.devices.clone()),
            Self::DeleteDevice => delete(devices::delete).with_state(routed.devices.clone()),
            Self::Stream => get(stream::upgrade).with_state(routed.stream.clone()),
            Self::Deliveries => get(read::deliveries).with_state(routed.reads.clone()),
            Self::Nearest => get(read::nearest).with_state(routed.reads.clone()),
            Self::Delivery => get(read::delivery).with_state(routed.reads.clone()),
            Self::Driver => get(read::driver).with_state(routed.reads.clone()),
            Self::IngestStats => get(stats::ingest).with_state(StatsState { ingest: Arc::clone(&routed.events.ingest) }),
            Self::DeadLetters => get(dead_letters::list).with_state(routed.dead_letters.clone()),
            Self::Redrive => post(dead_letters::redrive).with_state(routed.dead_letters.clone()),
            Self::DeadLetter => get(dead_letters::show).with_state(routed.dead_letters.clone()),
            Self::RemoveDeadLetter => delete(dead_letters::remove).with_state(routed.dead_letters.clone()),
            Self::Live => get(live::upgrade).with_state(routed.live.clone()),
            Self::Session => post(session::post).with_state(Arc::clone(&routed.auth)),
            Self::Keys => get(credentials::list).with_state(routed.credentials.clone()),
            Self::CreateKey => post(credentials::create).with_state(routed.credentials.clone()),
            Self::RevokeKey => delete(credentials::revoke).with_state(routed.credentials.clone()),
            Self::RotateKey => post(credentials::rotate).with_state(routed.credentials.clone()),
            Self::Tickets => post(credentials::ticket).with_state(routed.credentials.clone()),
            Self::RevokeToken => post(credentials::revoke_token).with_state(routed.credentials.clone()),
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
    let served = Route::ALL
        .into_iter()
        .fold(Router::new(), |router, route| router.route(route.path(), gate::guard(route.handler(routed), route.rule(), &routed.auth)))
        .route("/v1/{*rest}", any(no_such_route))
        .method_not_allowed_fallback(wrong_method)
        .fallback_service(get(page::serve).with_state(Policy::new(routed.style_url.as_deref())));
    // Around all of it, for a preflight is asked of any path and bears no credential.
    match routed.origins.cors() {
        Some(cors) => served.layer(cors),
        None => served,
    }
}

async fn render_metrics(State(metrics): State<Arc<PrometheusHandle>>) -> String {
    metrics.render()
}

async fn no_such_route() -> Response<Body> {
    problem::respond(&Kind::NoSuchRoute.says("no such route"))
}
