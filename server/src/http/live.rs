//! `GET /v1/live`: upgrades to a WebSocket in one of the two subprotocols. The protocol itself lives in `live/`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::Body;
use axum::extract::{State, WebSocketUpgrade};
use axum::http::header::SEC_WEBSOCKET_PROTOCOL;
use axum::http::{HeaderMap, Response};
use axum::response::IntoResponse as _;

use crate::formats::problem::Problem;
use crate::http::auth::{Access, Auth, bearer};
use crate::http::problem;
use crate::live::Format;
use crate::live::socket::{self, SUBPROTOCOLS, Serving};

#[derive(Clone, Debug)]
pub struct LiveState {
    pub auth: Arc<Auth>,
    pub serving: Serving,
    /// False while the log recovers: whoever looked would take the part that is on the map for the whole.
    pub ready: Arc<AtomicBool>,
}

/// Somewhat above the protocol's own bound, so that the numbered `bye` can still be said.
const MAX_MESSAGE_BYTES: usize = 64 << 10;

pub async fn upgrade(State(state): State<LiveState>, headers: HeaderMap, upgrade: WebSocketUpgrade) -> Response<Body> {
    let offered = headers.get(SEC_WEBSOCKET_PROTOCOL).and_then(|value| value.to_str().ok()).unwrap_or("");
    let Some(format) = socket::negotiate(offered) else {
        let detail = "Sec-WebSocket-Protocol must offer waypost.v1.proto or waypost.v1.json";
        return problem::respond(&Problem::new(400, "Bad Request", "subprotocol", detail));
    };
    if !state.ready.load(Ordering::Acquire) {
        return problem::respond(&problem::recovering());
    }
    // A credential in the handshake is checked there; browsers cannot send one and authenticate by their first message.
    let authenticated = match bearer(&headers) {
        None => None,
        Some(token) => match state.auth.authorise_token(token, Access::Read).await {
            Ok(principal) => Some(principal.tenant),
            Err(denied) => return problem::respond(&problem::denied(&denied)),
        },
    };
    let LiveState { auth, serving, .. } = state;
    let authenticate = async move |token: &str| auth.authorise_token(token, Access::Read).await.ok().map(|principal| principal.tenant);
    let upgrade = upgrade.protocols([name(format)]).max_message_size(MAX_MESSAGE_BYTES).read_buffer_size(8 << 10);
    upgrade.on_upgrade(move |socket| socket::serve(socket, format, authenticated, authenticate, serving)).into_response()
}

fn name(format: Format) -> &'static str {
    SUBPROTOCOLS.iter().find(|(_, known)| *known == format).map(|(name, _)| *name).expect("each format has a name")
}
