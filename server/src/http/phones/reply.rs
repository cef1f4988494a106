//! What an app is answered when its request is taken, by the rules of its protocol. Also what was refused for good is taken: it must not come again.

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, Response};

use crate::formats::phone::app::App;
use crate::formats::problem::Problem;
use crate::formats::results::Outcome;
use crate::http::problem;
use crate::ingest::Answer;

/// For people who try an address by hand: the app itself would be told nothing of what was refused.
const REFUSED: &str = "waypost-refused";

/// `wants_hints`: Overland is told of its next interval only where its address asks for it, for old apps want exactly the result and nothing beside.
pub(super) fn taken(app: App, answer: Option<&Answer>, wants_hints: bool) -> Response<Body> {
    let (kind, body) = match app {
        App::OsmAnd | App::Traccar | App::GpsLogger | App::CloudEvents => (None, ""),
        App::OwnTracks => (Some("application/json"), "[]"),
        // The app sends the whole batch again unless this is what it reads.
        App::Overland => (Some("application/json"), r#"{"result":"ok"}"#),
    };
    let hint = answer.and_then(|answer| answer.hint).filter(|_| app == App::Overland && wants_hints);
    // In whole seconds, as the app's own settings have it.
    let hinted = hint.map(|hint| format!(r#"{{"result":"ok","set":{{"send_interval":"{}s"}}}}"#, hint.next_interval_ms.div_ceil(1000)));
    let mut response = Response::new(hinted.map_or_else(|| Body::from(body), Body::from));
    if let Some(kind) = kind {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    if let Some(answer) = answer {
        tell(&mut response, answer);
    }
    response
}

fn tell(response: &mut Response<Body>, answer: &Answer) {
    if !answer.position.is_empty() {
        let position = HeaderValue::try_from(answer.position.to_string()).expect("digits, colons and commas");
        response.headers_mut().insert("waypost-position", position);
    }
    let refusals = answer.results.iter().filter_map(|result| match &result.outcome {
        Outcome::Rejected(refusal) => Some(refusal),
        _ => None,
    });
    if let Some(first) = refusals.into_iter().next() {
        let told = HeaderValue::try_from(format!("{} {}", first.code.as_str(), first.pointer));
        response.headers_mut().insert(REFUSED, told.unwrap_or_else(|_odd_name| HeaderValue::from_static(first.code.as_str())));
    }
}

/// Some apps send a password only when they are asked for one.
pub(in crate::http) fn problem(told: &Problem) -> Response<Body> {
    let mut response = problem::respond(told);
    if told.status == 401 {
        response.headers_mut().append(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"waypost\""));
    }
    response
}
