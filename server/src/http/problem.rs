//! The catalogue of problems and their HTTP answers. Decides no refusal.

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, Response, StatusCode};
use serde::Serialize;

use crate::formats::problem::Problem;
use crate::formats::refusal::Code;
use crate::http::auth::Denied;
use crate::ingest::Refused;
use crate::ingest::body::BodyError;
use crate::ingest::limits::Limit;
use crate::log::AppendError;
use crate::logging::request_id::RequestId;

/// Every reason for which a whole request is refused, besides a body that cannot be read: that has the code of its refusal and status 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    InvalidParameter,
    MalformedBody,
    MalformedEncoding,
    Subprotocol,
    CredentialMissing,
    CredentialUnknown,
    CredentialExpired,
    Ticket,
    Role,
    Origin,
    NotFound,
    NoSuchRoute,
    MethodNotAllowed,
    TooManyCredentials,
    RequestTimeout,
    RateLimited,
    DeviceLimit,
    TooLarge,
    MediaType,
    ContentEncoding,
    Recovering,
    Behind,
    Overloaded,
    Closing,
    LogStopped,
    KeyStore,
    DeadLetterStore,
    DiskFull,
    TooManyConnections,
    TooManyInFlight,
    TooManySearches,
    Internal,
}

impl Kind {
    pub const ALL: [Self; 32] = [
        Self::InvalidParameter,
        Self::MalformedBody,
        Self::MalformedEncoding,
        Self::Subprotocol,
        Self::CredentialMissing,
        Self::CredentialUnknown,
        Self::CredentialExpired,
        Self::Ticket,
        Self::Role,
        Self::Origin,
        Self::NotFound,
        Self::NoSuchRoute,
        Self::MethodNotAllowed,
        Self::TooManyCredentials,
        Self::RequestTimeout,
        Self::RateLimited,
        Self::DeviceLimit,
        Self::TooLarge,
        Self::MediaType,
        Self::ContentEncoding,
        Self::Recovering,
        Self::Behind,
        Self::Overloaded,
        Self::Closing,
        Self::LogStopped,
        Self::KeyStore,
        Self::DeadLetterStore,
        Self::DiskFull,
        Self::TooManyConnections,
        Self::TooManyInFlight,
        Self::TooManySearches,
        Self::Internal,
    ];

    pub fn status(self) -> StatusCode {
        match self {
            Self::InvalidParameter | Self::MalformedBody | Self::MalformedEncoding | Self::Subprotocol => StatusCode::BAD_REQUEST,
            Self::CredentialMissing | Self::CredentialUnknown | Self::CredentialExpired | Self::Ticket => StatusCode::UNAUTHORIZED,
            Self::Role | Self::Origin => StatusCode::FORBIDDEN,
            Self::NotFound | Self::NoSuchRoute => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooManyCredentials | Self::DeviceLimit => StatusCode::CONFLICT,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::MediaType | Self::ContentEncoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Recovering | Self::Behind | Self::Overloaded | Self::Closing | Self::LogStopped | Self::KeyStore | Self::DeadLetterStore => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::DiskFull => StatusCode::INSUFFICIENT_STORAGE,
            Self::RateLimited | Self::TooManyConnections | Self::TooManyInFlight | Self::TooManySearches => StatusCode::TOO_MANY_REQUESTS,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// A stable word for programs.
    pub fn code(self) -> &'static str {
        match self {
            Self::InvalidParameter => "invalid_parameter",
            Self::MalformedBody => "malformed_body",
            Self::MalformedEncoding => "malformed_encoding",
            Self::Subprotocol => "subprotocol",
            Self::CredentialMissing => "credential_missing",
            Self::CredentialUnknown => "credential_unknown",
            Self::CredentialExpired => "credential_expired",
            Self::Ticket => "ticket",
            Self::Role => "role",
            Self::Origin => "origin",
            Self::NotFound => "not_found",
            Self::NoSuchRoute => "no_such_route",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::TooManyCredentials => "too_many_credentials",
            Self::RequestTimeout => "request_timeout",
            Self::RateLimited => "rate_limited",
            Self::DeviceLimit => "device_limit",
            Self::TooLarge => "too_large",
            Self::MediaType => "media_type",
            Self::ContentEncoding => "content_encoding",
            Self::Recovering => "recovering",
            Self::Behind => "behind",
            Self::Overloaded => "overloaded",
            Self::Closing => "closing",
            Self::LogStopped => "log_stopped",
            Self::KeyStore => "key_store",
            Self::DeadLetterStore => "dead_letter_store",
            Self::DiskFull => "disk_full",
            Self::TooManyConnections => "too_many_connections",
            Self::TooManyInFlight => "too_many_in_flight",
            Self::TooManySearches => "too_many_searches",
            Self::Internal => "internal",
        }
    }

    /// When it is answered, for people.
    pub fn means(self) -> &'static str {
        match self {
            Self::InvalidParameter => "a parameter or header is not valid; `pointer` names it",
            Self::MalformedBody => "the body is not the JSON that this route takes, or broke off",
            Self::MalformedEncoding => "the body is not packed as Content-Encoding says",
            Self::Subprotocol => "neither subprotocol was offered, or this is no WebSocket handshake",
            Self::CredentialMissing => "no credential came along",
            Self::CredentialUnknown => "the credential is not known, or not any more",
            Self::CredentialExpired => "the token was good, and is past its time",
            Self::Ticket => "the ticket is unknown, used or expired",
            Self::Role => "the credential's role may not do this",
            Self::Origin => "pages of this origin may not connect; the server's settings list those that may",
            Self::NotFound => "there is no such entity in this tenant, or not any more",
            Self::NoSuchRoute => "there is no such route",
            Self::TooManyCredentials => "the tenant has as many of these as it may",
            Self::MethodNotAllowed => "this path knows other methods; `Allow` names them",
            Self::RequestTimeout => "the body came too slowly; nothing was stored",
            Self::RateLimited => {
                "more events than the tenant or one of the drivers may send; nothing was stored, and `Retry-After` says when it will fit"
            }
            Self::DeviceLimit => "the tenant has as many devices as it may",
            Self::TooLarge => "more bytes or events than one request may have; nothing was stored",
            Self::MediaType => "the Content-Type is none that this route takes",
            Self::ContentEncoding => "the Content-Encoding is not gzip, zstd or identity",
            Self::Recovering => "the node recovers; /readyz tells how far it is",
            Self::Behind => "the position asked for was not applied within 2 s",
            Self::Overloaded => "too much waits for the log; nothing was stored",
            Self::Closing => "the node stops; nothing was stored",
            Self::LogStopped => "a write to the log failed; nothing is stored until a restart",
            Self::KeyStore => "the credential or the device could not be looked up",
            Self::DeadLetterStore => "the store of refused events failed",
            Self::DiskFull => "no space is left for the log; nothing was stored",
            Self::TooManyConnections => "this credential has as many connections as it may; this one is closed",
            Self::TooManyInFlight => "this credential has as many requests under way as it may; nothing was stored",
            Self::TooManySearches => "this tenant has as many long searches waiting as it may; a smaller box, or ids, can be looked for at once",
            Self::Internal => "a bug of the server; the log names the request",
        }
    }

    /// Seconds after which the same request may fare better.
    pub fn retry_after_s(self) -> Option<u16> {
        match self.status() {
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => Some(1),
            StatusCode::INSUFFICIENT_STORAGE => Some(30),
            _ => None,
        }
    }

    pub fn says(self, detail: impl Into<String>) -> Problem {
        let status = self.status();
        Problem::new(status.as_u16(), status.canonical_reason().unwrap_or("Error"), self.code(), detail)
    }
}

/// A problem with the id that the log and `X-Request-Id` name its request by.
#[derive(Serialize)]
struct Named<'a> {
    #[serde(flatten)]
    problem: &'a Problem,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
}

/// Names the request it answers, as the log does.
pub fn respond(problem: &Problem) -> Response<Body> {
    let named = Named { problem, request_id: RequestId::current().map(|id| id.as_str().to_owned()) };
    let body = serde_json::to_vec(&named).expect("strings and numbers are always JSON");
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    match problem.status {
        401 => drop(headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))),
        429 | 503 => drop(headers.insert(RETRY_AFTER, HeaderValue::from_static("1"))),
        507 => drop(headers.insert(RETRY_AFTER, HeaderValue::from_static("30"))),
        _ => {}
    }
    response
}

/// Nothing can be read yet.
pub fn recovering() -> Problem {
    Kind::Recovering.says("the log is being recovered; /readyz tells when it is done")
}

pub fn denied(denied: &Denied) -> Problem {
    let detail = denied.to_string();
    match denied {
        Denied::Missing => Kind::CredentialMissing.says(detail),
        Denied::Unknown | Denied::Token(_) => Kind::CredentialUnknown.says(detail),
        Denied::Expired => Kind::CredentialExpired.says(detail),
        Denied::Role(_) => Kind::Role.says(detail),
        Denied::Store(error) => {
            tracing::error!(%error, "a credential could not be checked");
            Kind::KeyStore.says("the key store failed; try again")
        }
    }
}

/// The answer to a request that ingest refused whole. A rate limit says which it is and when the request will fit: `Retry-After` (RFC 9110) and the
/// `RateLimit` fields of draft-ietf-httpapi-ratelimit-headers-10.
pub fn respond_refused(refused: &Refused) -> Response<Body> {
    respond_with(refused, &self::refused(refused))
}

/// The same where a request says by this member, and not as an event does, whom it is by.
pub fn respond_refused_of(refused: &Refused, driver_at: &str) -> Response<Body> {
    let problem = self::refused(refused);
    let of_driver = matches!(refused, Refused::Limited(limited) if matches!(limited.of, Limit::Driver { .. }));
    respond_with(refused, &if of_driver { problem.at(driver_at) } else { problem })
}

fn respond_with(refused: &Refused, problem: &Problem) -> Response<Body> {
    let mut response = respond(problem);
    if let Refused::Limited(limited) = refused {
        let wait_s = limited.wait.as_millis().div_ceil(1000).max(1);
        let (name, burst, window_s) = (limited.of.name(), limited.rate.burst(), limited.rate.window().as_millis().div_ceil(1000).max(1));
        let fields = [
            ("retry-after", wait_s.to_string()),
            ("ratelimit-policy", format!("\"{name}\";q={burst};w={window_s}")),
            ("ratelimit", format!("\"{name}\";r=0;t={wait_s}")),
        ];
        for (field, value) in fields {
            response.headers_mut().insert(field, HeaderValue::try_from(value).expect("digits and names of ours"));
        }
    }
    response
}

pub fn refused(refused: &Refused) -> Problem {
    let detail = refused.to_string();
    match refused {
        Refused::Body(BodyError::TooLarge { .. }) | Refused::TooMany { .. } => Kind::TooLarge.says(detail),
        Refused::Body(BodyError::Corrupt(_)) => Kind::MalformedEncoding.says(detail),
        Refused::Malformed(refusal) => Problem::new(400, "Bad Request", refusal.code.as_str(), refusal.detail.clone()).at(refusal.pointer.clone()),
        Refused::Strangers { refusal, .. } if refusal.code == Code::UnknownDevice => Kind::NotFound.says(detail).at(refusal.pointer.clone()),
        Refused::Strangers { refusal, .. } => Kind::InvalidParameter.says(detail).at(refusal.pointer.clone()),
        Refused::DeviceTable => Kind::KeyStore.says(detail),
        Refused::Limited(limited) => {
            let problem = Kind::RateLimited.says(detail);
            if let Limit::Driver { event } = limited.of { problem.at(format!("/events/{event}/actor_id")) } else { problem }
        }
        Refused::Log(AppendError::DiskFull) => Kind::DiskFull.says(detail),
        Refused::Pressure | Refused::Log(AppendError::Overloaded) => Kind::Overloaded.says(detail),
        Refused::Log(AppendError::Closing) => Kind::Closing.says(detail),
        // What exactly the disk said is for the log of the server, not for a phone.
        Refused::Log(AppendError::Poisoned(_)) => Kind::LogStopped.says("the event log has stopped; nothing was stored"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn what_the_log_refuses_says_when_to_come_back_and_not_what_the_disk_said() {
        let table = [
            (AppendError::DiskFull, 507, "disk_full", "30"),
            (AppendError::Overloaded, 503, "overloaded", "1"),
            (AppendError::Closing, 503, "closing", "1"),
            (AppendError::Poisoned(Arc::from("/secret/path: EIO")), 503, "log_stopped", "1"),
        ];
        for (error, status, code, retry_after) in table {
            let problem = refused(&Refused::Log(error));
            assert_eq!((problem.status, problem.code), (status, code));
            assert!(!problem.detail.contains("secret"), "{problem:?}");
            assert_eq!(respond(&problem).headers()[RETRY_AFTER], retry_after);
        }
    }
}
