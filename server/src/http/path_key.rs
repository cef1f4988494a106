//! A key that stands in an address, for apps that can set nothing else: struck from the address before anything else sees it. Judges no key.

use std::fmt;
use std::sync::Arc;

use axum::http::uri::PathAndQuery;
use axum::http::{Request, Uri};

/// Behind this stands the key.
const PREFIX: &str = "/v1/in/k/";
/// What stands in its place from then on.
const STRUCK: &str = "struck";

/// The key as it was sent. Does not show itself.
#[derive(Clone)]
pub struct PathKey(Arc<str>);

impl PathKey {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PathKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PathKey(struck)")
    }
}

/// Moves the key out of the address. To be called on every request before it is logged, traced or routed.
pub fn strike<B>(mut request: Request<B>) -> Request<B> {
    let Some(rest) = request.uri().path().strip_prefix(PREFIX) else { return request };
    let (key, app) = rest.split_once('/').unwrap_or((rest, ""));
    let key = PathKey(Arc::from(key));
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    // The pieces of a valid address make a valid one; were it not so, the key would still have to go.
    let path = PathAndQuery::try_from(format!("{PREFIX}{STRUCK}/{app}{query}")).unwrap_or_else(|_invalid| PathAndQuery::from_static(PREFIX));
    let mut parts = request.uri().clone().into_parts();
    parts.path_and_query = Some(path);
    *request.uri_mut() = Uri::from_parts(parts).unwrap_or_else(|_invalid| Uri::from_static(PREFIX));
    request.extensions_mut().insert(key);
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    fn struck(uri: &str) -> (String, Option<String>) {
        let request = strike(Request::builder().uri(uri).body(()).expect("valid"));
        assert!(!format!("{request:?}").contains("wpk_secret"), "{request:?}");
        (request.uri().to_string(), request.extensions().get::<PathKey>().map(|key| key.as_str().to_owned()))
    }

    #[test]
    fn the_key_goes_from_every_form_of_the_address_and_from_no_other() {
        let key = || Some("wpk_secret".to_owned());
        assert_eq!(struck("/v1/in/k/wpk_secret/osmand?id=7&lat=1"), ("/v1/in/k/struck/osmand?id=7&lat=1".to_owned(), key()));
        assert_eq!(struck("http://host/v1/in/k/wpk_secret/osmand"), ("http://host/v1/in/k/struck/osmand".to_owned(), key()));
        assert_eq!(struck("/v1/in/k/wpk_secret"), ("/v1/in/k/struck/".to_owned(), key()));
        assert_eq!(struck("/v1/in/k/wpk_secret/a/b"), ("/v1/in/k/struck/a/b".to_owned(), key()));
        assert_eq!(struck("/v1/in/osmand?id=7"), ("/v1/in/osmand?id=7".to_owned(), None));
    }
}
