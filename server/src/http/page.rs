//! The dashboard's files from inside the binary, or a page that says how to build them, and what a browser may do with them. Knows no other route.

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, REFERRER_POLICY, X_FRAME_OPTIONS};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, Uri};
use rust_embed::RustEmbed;

#[derive(RustEmbed)]
#[folder = "$CARGO_MANIFEST_DIR/../web/dist"]
struct Dist;

const NOT_BUILT: &str = "<!doctype html><html lang=en><meta charset=utf-8><title>Waypost</title>\
<body><h1>Waypost is running</h1><p>This binary has no dashboard in it: the files of <code>web/dist</code> were not there when it was built.</p>\
<p>The API is served all the same: POST /v1/events, GET /v1/deliveries, /v1/drivers/{id}, and live viewports on /v1/live.</p>";

/// What the page may load and talk to, as the headers of every answer to a browser say it.
#[derive(Clone, Debug)]
pub struct Policy {
    content: HeaderValue,
}

impl Policy {
    /// Everything from this server alone: no inline script or style. A style of somebody else's may be fetched, with its tiles, from its own origin.
    pub fn new(style_url: Option<&str>) -> Self {
        let foreign = style_url.and_then(origin).map(|origin| format!(" {origin}")).unwrap_or_default();
        let content = format!(
            "default-src 'none'; script-src 'self'; worker-src 'self'; style-src 'self'; img-src 'self' data: blob:{foreign}; \
             connect-src 'self'{foreign}; font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        );
        Self { content: HeaderValue::try_from(content).expect("an origin is visible ASCII") }
    }

    fn dress(&self, mut response: Response<Body>) -> Response<Body> {
        /// Of all that a page can ask a browser for, the map needs nothing; a full screen is for the one who looks.
        const PERMISSIONS: &str = "camera=(), microphone=(), geolocation=(), payment=(), usb=(), fullscreen=(self)";
        let headers = response.headers_mut();
        headers.insert(CONTENT_SECURITY_POLICY, self.content.clone());
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        headers.insert("permissions-policy", HeaderValue::from_static(PERMISSIONS));
        headers.insert("cross-origin-opener-policy", HeaderValue::from_static("same-origin"));
        // What knows no frame-ancestors.
        headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
        response
    }
}

/// Scheme, host and port of an address; none when it is this server's own.
fn origin(url: &str) -> Option<String> {
    let uri: Uri = url.parse().ok()?;
    let (scheme, authority) = (uri.scheme_str()?, uri.authority()?);
    let port = authority.port().map(|port| format!(":{port}")).unwrap_or_default();
    ["http", "https"].contains(&scheme).then(|| format!("{scheme}://{}{port}", authority.host()))
}

/// Whether this binary was built with its dashboard.
pub fn is_built() -> bool {
    Dist::get("index.html").is_some()
}

/// Serves a file of the dashboard; `/` is its page.
pub async fn serve(State(policy): State<Policy>, uri: Uri, headers: HeaderMap) -> Response<Body> {
    policy.dress(file(&uri, &headers))
}

fn file(uri: &Uri, headers: &HeaderMap) -> Response<Body> {
    let path = match uri.path().trim_start_matches('/') {
        "" => "index.html",
        path => path,
    };
    let Some(file) = Dist::get(path) else {
        return if path == "index.html" {
            plain(StatusCode::OK, NOT_BUILT)
        } else {
            plain(StatusCode::NOT_FOUND, "<!doctype html><title>404</title>Not found.")
        };
    };
    let hash = file.metadata.sha256_hash();
    let etag = format!("\"{:032x}\"", u128::from_be_bytes(*hash.first_chunk().expect("a hash has 32 bytes")));
    let unchanged = headers.get(IF_NONE_MATCH).is_some_and(|seen| seen.as_bytes() == etag.as_bytes());
    let (status, body) = if unchanged { (StatusCode::NOT_MODIFIED, Body::empty()) } else { (StatusCode::OK, Body::from(file.data.into_owned())) };
    // File names under assets/ carry a hash of the content, so they never change.
    let cache = if path.starts_with("assets/") { "public, max-age=31536000, immutable" } else { "no-cache" };
    Response::builder()
        .status(status)
        .header(CONTENT_TYPE, content_type(path))
        .header(CACHE_CONTROL, cache)
        .header(ETAG, etag)
        .body(body)
        .expect("the parts are valid header values")
}

fn plain(status: StatusCode, html: &'static str) -> Response<Body> {
    Response::builder()
        .status(status)
        .header(CONTENT_TYPE, "text/html; charset=utf-8")
        .header(CACHE_CONTROL, "no-cache")
        .body(Body::from(html))
        .expect("the parts are valid header values")
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "geojson" => "application/json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "woff2" => "font/woff2",
        "wasm" => "application/wasm",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_style_of_somebody_elses_opens_its_origin_and_nothing_more() {
        let policy = |style_url| Policy::new(style_url).content.to_str().expect("text").to_owned();
        let own = policy(None);
        assert!(own.contains("connect-src 'self';") && own.contains("script-src 'self';") && !own.contains("unsafe"), "{own}");
        assert_eq!(policy(Some("/style.json")), own);
        assert_eq!(policy(Some("javascript:alert(1)")), own);
        let foreign = policy(Some("https://user:secret@tiles.example.org:8443/style.json?key=secret; script-src *"));
        assert_eq!(foreign, own, "no address, no origin");
        let foreign = policy(Some("https://user:secret@tiles.example.org:8443/style.json?key=secret"));
        assert!(foreign.contains("connect-src 'self' https://tiles.example.org:8443;") && !foreign.contains("secret"), "{foreign}");
    }
}
