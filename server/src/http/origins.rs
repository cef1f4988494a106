//! Which pages may talk to this server: those that it serves itself, and those of the origins that the settings list. Knows no credential.

use std::sync::Arc;
use std::time::Duration;

use axum::http::header::{ACCEPT, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HOST, ORIGIN, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use tower_http::cors::{AllowOrigin, CorsLayer};

/// The setting `allowed_origins`, read.
#[derive(Clone, Debug, Default)]
pub struct Origins {
    listed: Arc<[HeaderValue]>,
    any: bool,
}

/// How long a browser may remember what it was told.
const REMEMBERED: Duration = Duration::from_mins(10);
const POSITION: HeaderName = HeaderName::from_static("waypost-position");
/// What a page of a listed origin may read of an answer besides its body: from where on it sees a write, when to come again and why, and how to name a
/// request that failed.
const EXPOSED: [HeaderName; 5] = [
    POSITION,
    RETRY_AFTER,
    HeaderName::from_static("ratelimit"),
    HeaderName::from_static("ratelimit-policy"),
    HeaderName::from_static("x-request-id"),
];

impl Origins {
    /// Takes what `Config` has checked; `*` is any.
    pub fn new(allowed: &[String]) -> Self {
        let listed = allowed.iter().filter_map(|origin| HeaderValue::try_from(origin.as_str()).ok()).collect();
        Self { listed, any: allowed.iter().any(|origin| origin == "*") }
    }

    /// Whether a handshake comes from a page that may connect. A browser always says where its page is from, and no script can say otherwise;
    /// who says nothing is no browser.
    pub fn allows(&self, headers: &HeaderMap) -> bool {
        let Some(origin) = headers.get(ORIGIN) else { return true };
        self.any || self.listed.contains(origin) || is_own(origin, headers)
    }

    /// What tells a browser that a page of a listed origin may read the answers; none: only pages of this server may.
    pub fn cors(&self) -> Option<CorsLayer> {
        let origins = match (self.any, self.listed.is_empty()) {
            (true, _) => AllowOrigin::any(),
            (false, true) => return None,
            (false, false) => AllowOrigin::list(self.listed.iter().cloned()),
        };
        let layer = CorsLayer::new().allow_origin(origins).allow_methods([Method::GET, Method::POST, Method::PUT, Method::DELETE]);
        let layer = layer.allow_headers([ACCEPT, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, POSITION]);
        Some(layer.expose_headers(EXPOSED).max_age(REMEMBERED))
    }
}

/// A page of this very server: its origin is the host that was asked. The scheme is left aside, for a proxy may speak TLS for us.
fn is_own(origin: &HeaderValue, headers: &HeaderMap) -> bool {
    let authority = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, authority)| authority);
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    authority.zip(host).is_some_and(|(authority, host)| authority.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_another_origin_may_connect_only_when_it_is_listed() {
        let asks = |origin: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, HeaderValue::from_static("track.example:8080"));
            headers.extend(origin.map(|origin| (ORIGIN, HeaderValue::try_from(origin).expect("a value"))));
            headers
        };
        let (own, listed) = (Origins::default(), Origins::new(&["https://shop.example".to_owned()]));
        let cases = [
            (None, true, true),
            (Some("http://track.example:8080"), true, true),
            (Some("https://TRACK.example:8080"), true, true),
            (Some("https://track.example"), false, false),
            (Some("https://shop.example"), false, true),
            (Some("http://shop.example"), false, false),
            (Some("https://shop.example.evil"), false, false),
            (Some("null"), false, false),
            (Some(""), false, false),
        ];
        for (origin, by_default, by_list) in cases {
            assert_eq!((own.allows(&asks(origin)), listed.allows(&asks(origin))), (by_default, by_list), "{origin:?}");
            assert!(Origins::new(&["*".to_owned()]).allows(&asks(origin)));
        }
    }
}
