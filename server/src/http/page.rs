//! The dashboard's files from inside the binary, or a page that says how to build them. Knows no other route.

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, Response, StatusCode, Uri};
use rust_embed::RustEmbed;

#[derive(RustEmbed)]
#[folder = "$CARGO_MANIFEST_DIR/../web/dist"]
struct Dist;

const NOT_BUILT: &str = "<!doctype html><html lang=en><meta charset=utf-8><title>Waypost</title>\
<body style='font:16px/1.5 system-ui;max-width:40rem;margin:4rem auto;padding:0 1rem'>\
<h1>Waypost is running</h1><p>This binary has no dashboard in it: the files of <code>web/dist</code> were not there when it was built.</p>\
<p>The API is served all the same: POST /v1/events, GET /v1/deliveries, /v1/drivers/{id}, and live viewports on /v1/live.</p>";

/// Whether this binary was built with its dashboard.
pub fn is_built() -> bool {
    Dist::get("index.html").is_some()
}

/// Serves a file of the dashboard; `/` is its page.
pub async fn serve(uri: Uri, headers: HeaderMap) -> Response<Body> {
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
