//! What every WebSocket asks before it is one: its subprotocol, where the page that opens it comes from, and the credential, if the handshake has one.

use axum::extract::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::http::HeaderMap;
use axum::http::header::SEC_WEBSOCKET_PROTOCOL;

use crate::formats::problem::Problem;
use crate::http::auth::{Denied, bearer};
use crate::http::origins::Origins;
use crate::http::problem::{self, Kind};

/// Above a protocol's own bound for messages by this much, so that the numbered `bye` can still be said.
pub const MESSAGE_SLACK_BYTES: usize = 64 << 10;

/// The upgrade and what is spoken then: one of `spoken`, as `negotiate` finds it among what the client offers.
pub fn shake<F>(
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    headers: &HeaderMap,
    origins: &Origins,
    negotiate: impl FnOnce(&str) -> Option<F>,
    spoken: &str,
) -> Result<(WebSocketUpgrade, F), Problem> {
    let upgrade = upgrade.map_err(|rejection| Kind::Subprotocol.says(rejection.body_text()))?;
    let offered = headers.get(SEC_WEBSOCKET_PROTOCOL).and_then(|value| value.to_str().ok()).unwrap_or("");
    let format = negotiate(offered).ok_or_else(|| Kind::Subprotocol.says(format!("Sec-WebSocket-Protocol must offer {spoken}")))?;
    if !origins.allows(headers) {
        return Err(Kind::Origin.says(Kind::Origin.means()));
    }
    Ok((upgrade, format))
}

/// Checks a credential in the handshake there; who cannot send one, as browsers cannot, authenticates by the first message.
pub async fn admitted<A>(headers: &HeaderMap, admit: impl AsyncFnOnce(&str) -> Result<A, Denied>) -> Result<Option<A>, Problem> {
    match bearer(headers) {
        None => Ok(None),
        Some(token) => admit(token).await.map(Some).map_err(|denied| problem::denied(&denied)),
    }
}
