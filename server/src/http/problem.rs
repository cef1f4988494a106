//! Turns refusals into HTTP answers. Decides no refusal.

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, Response, StatusCode};

use crate::formats::problem::Problem;
use crate::http::auth::Denied;
use crate::ingest::Refused;
use crate::ingest::body::BodyError;
use crate::log::AppendError;

pub fn respond(problem: &Problem) -> Response<Body> {
    let body = serde_json::to_vec(problem).expect("strings and numbers are always JSON");
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    match problem.status {
        401 => drop(headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))),
        503 => drop(headers.insert(RETRY_AFTER, HeaderValue::from_static("1"))),
        507 => drop(headers.insert(RETRY_AFTER, HeaderValue::from_static("30"))),
        _ => {}
    }
    response
}

/// Nothing can be read yet.
pub fn recovering() -> Problem {
    Problem::new(503, "Service Unavailable", "recovering", "the log is being recovered; /readyz tells when it is done")
}

pub fn denied(denied: &Denied) -> Problem {
    let detail = denied.to_string();
    match denied {
        Denied::Missing => Problem::new(401, "Unauthorized", "credential_missing", detail),
        Denied::Unknown => Problem::new(401, "Unauthorized", "credential_unknown", detail),
        Denied::Role(_) => Problem::new(403, "Forbidden", "role", detail),
        Denied::Store(error) => {
            tracing::error!(%error, "a credential could not be checked");
            Problem::new(503, "Service Unavailable", "key_store", "the key store failed; try again")
        }
    }
}

pub fn refused(refused: &Refused) -> Problem {
    let detail = refused.to_string();
    match refused {
        Refused::Body(BodyError::TooLarge { .. }) | Refused::TooMany { .. } => Problem::new(413, "Content Too Large", "too_large", detail),
        Refused::Body(BodyError::Corrupt(_)) => Problem::new(400, "Bad Request", "malformed_encoding", detail),
        Refused::Malformed(refusal) => Problem::new(400, "Bad Request", refusal.code.as_str(), refusal.detail.clone()).at(refusal.pointer.clone()),
        Refused::Log(AppendError::DiskFull) => Problem::new(507, "Insufficient Storage", "disk_full", detail),
        Refused::Log(AppendError::Overloaded) => Problem::new(503, "Service Unavailable", "overloaded", detail),
        Refused::Log(AppendError::Closing) => Problem::new(503, "Service Unavailable", "closing", detail),
        // What exactly the disk said is for the log of the server, not for a phone.
        Refused::Log(AppendError::Poisoned(_)) => {
            Problem::new(503, "Service Unavailable", "log_stopped", "the event log has stopped; nothing was stored")
        }
    }
}
