//! `POST /v1/events`: reads headers and body, hands them to ingest, words the answer. No rule of events lives here.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use axum::body::Body;
use axum::extract::{Extension, Request as HttpRequest, State};
use axum::http::header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode};
use bytes::Bytes;

use crate::formats::problem::Problem;
use crate::formats::refusal::Code;
use crate::formats::results::{self, Next, Outcome};
use crate::http::auth::Principal;
use crate::http::paced;
use crate::http::problem::{self, Kind};
use crate::ingest::body::Encoding;
use crate::ingest::{Answer, Ingest, MediaType, Request};
use crate::log::wal::Wal;

/// What the route needs; `ingest` is empty until the log has recovered.
#[derive(Clone, Debug)]
pub struct EventsState {
    pub ingest: Arc<OnceLock<Ingest<Wal>>>,
    pub max_body_bytes: usize,
}

pub async fn post(State(state): State<EventsState>, Extension(principal): Extension<Arc<Principal>>, request: HttpRequest) -> Response<Body> {
    answer(&state, &principal, request).await.unwrap_or_else(|problem| problem::respond(&problem))
}

async fn answer(state: &EventsState, principal: &Principal, request: HttpRequest) -> Result<Response<Body>, Problem> {
    let (head, body) = request.into_parts();
    let (media, encoding) = (media_type(&head.headers)?, encoding(&head.headers)?);
    let Some(ingest) = state.ingest.get() else {
        return Err(problem::recovering());
    };
    let body = read_body(state, body).await?;
    let started = Instant::now();
    let submitted = ingest.submit(Request { tenant: principal.tenant, scope: principal.scope.clone(), media, encoding, body }).await;
    metrics::histogram!("waypost_ack_seconds").record(started.elapsed().as_secs_f64());
    Ok(submitted.map_or_else(|refused| problem::respond_refused(&refused), |answer| word(&answer, wants_protobuf(&head.headers, media))))
}

/// The body, when all of it comes in time and is not too large.
pub(super) async fn read_body(state: &EventsState, body: Body) -> Result<Bytes, Problem> {
    paced::whole(body, state.max_body_bytes).await
}

pub(super) fn word(answer: &Answer, protobuf: bool) -> Response<Body> {
    let next = next(answer);
    let (kind, body) = if protobuf {
        ("application/x-protobuf", results::to_protobuf(&answer.results, next))
    } else {
        ("application/json", results::to_json(&answer.results, next))
    };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status(answer);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    if !answer.position.is_empty() {
        let position = HeaderValue::try_from(answer.position.to_string()).expect("digits, colons and commas");
        response.headers_mut().insert("waypost-position", position);
    }
    response
}

/// When the sender's next position is wanted, as an answer says it.
pub(super) fn next(answer: &Answer) -> Option<Next> {
    answer.hint.map(|hint| Next { interval_ms: hint.next_interval_ms, min_distance_m: hint.min_distance_m })
}

/// A batch is 200 whatever became of its items; one event alone has its own status.
fn status(answer: &Answer) -> StatusCode {
    match answer.results.first().map(|result| &result.outcome) {
        Some(Outcome::Rejected(refusal)) if answer.single && matches!(refusal.code, Code::TenantMismatch | Code::OutOfScope) => StatusCode::FORBIDDEN,
        Some(Outcome::Rejected(_)) if answer.single => StatusCode::BAD_REQUEST,
        Some(Outcome::Duplicate { content_differs: true, .. }) if answer.single => StatusCode::CONFLICT,
        _ => StatusCode::OK,
    }
}

fn media_type(headers: &HeaderMap) -> Result<MediaType, Problem> {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("application/json");
    let value = value.split(';').next().unwrap_or("").trim();
    let is = |name: &str| value.eq_ignore_ascii_case(name);
    if is("application/json") {
        Ok(MediaType::Json)
    } else if ["application/x-ndjson", "application/ndjson", "application/jsonl"].into_iter().any(is) {
        Ok(MediaType::NdJson)
    } else if ["application/x-protobuf", "application/protobuf"].into_iter().any(is) {
        Ok(MediaType::Protobuf)
    } else {
        let other = value.to_ascii_lowercase();
        let detail = format!("Content-Type {other} is not one of application/json, application/x-ndjson, application/x-protobuf");
        Err(Kind::MediaType.says(detail))
    }
}

pub(super) fn encoding(headers: &HeaderMap) -> Result<Encoding, Problem> {
    let Some(value) = headers.get(CONTENT_ENCODING) else { return Ok(Encoding::Identity) };
    match value.as_bytes().to_ascii_lowercase().as_slice() {
        b"identity" | b"" => Ok(Encoding::Identity),
        b"gzip" => Ok(Encoding::Gzip),
        b"zstd" => Ok(Encoding::Zstd),
        _ => Err(Kind::ContentEncoding.says("Content-Encoding must be gzip, zstd or identity")),
    }
}

/// The answer speaks the language of the question unless `Accept` names one.
fn wants_protobuf(headers: &HeaderMap, media: MediaType) -> bool {
    match headers.get(ACCEPT).and_then(|value| value.to_str().ok()) {
        Some(accept) if accept.contains("protobuf") => true,
        Some(accept) if accept.contains("json") => false,
        _ => media == MediaType::Protobuf,
    }
}
