//! `GET /v1/live`: upgrades to a WebSocket in one of the two subprotocols. The protocol itself lives in `live/`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{Extension, State, WebSocketUpgrade};
use axum::http::{HeaderMap, Response};
use axum::response::IntoResponse as _;

use tokio_util::task::TaskTracker;

use crate::http::auth::{Access, Auth, Denied};
use crate::http::handshake::{self, MESSAGE_SLACK_BYTES};
use crate::http::origins::Origins;
use crate::http::problem;
use crate::live::seats::Seats;
use crate::live::socket::{self, Admitted, SUBPROTOCOLS, Serving};
use crate::live::{Format, Goodbye};
use crate::readiness::Readiness;

/// A watcher says little, and each read makes the buffer anew: tungstenite fills all of it with zeros before. A larger message takes more reads.
const READ_BUFFER_BYTES: usize = 1 << 10;

#[derive(Clone, Debug)]
pub struct LiveState {
    pub auth: Arc<Auth>,
    pub serving: Serving,
    /// Every open WebSocket, so that a stop waits for their goodbyes.
    pub sockets: TaskTracker,
    pub seats: Arc<Seats>,
    /// While the log recovers nobody is let in: who looked would take the part that is on the map for the whole.
    pub readiness: Arc<Readiness>,
    /// Pages of others may not use what their visitors' browsers can reach.
    pub origins: Origins,
}

impl LiveState {
    /// Checks the credential, and takes one of its seats.
    async fn admit(&self, token: &str, access: Access) -> Result<Result<Admitted, Goodbye>, Denied> {
        let principal = self.auth.authorise_token(token, access).await?;
        let seat = self.seats.take(&principal.key).ok_or(Goodbye::TooManySessions);
        Ok(seat.map(|seat| Admitted { tenant: principal.tenant, scope: principal.scope.clone(), ended: principal.ended.clone(), seat }))
    }
}

pub async fn upgrade(
    State(state): State<LiveState>,
    Extension(access): Extension<Access>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response<Body> {
    let shaken = handshake::shake(upgrade, &headers, &state.origins, socket::negotiate, "waypost.v1.proto or waypost.v1.json");
    let (upgrade, format) = match shaken {
        Ok(shaken) => shaken,
        Err(problem) => return problem::respond(&problem),
    };
    if !state.readiness.has_recovered() {
        return problem::respond(&problem::recovering());
    }
    let admitted = match handshake::admitted(&headers, async |token| state.admit(token, access).await).await {
        Ok(admitted) => admitted,
        Err(problem) => return problem::respond(&problem),
    };
    let (serving, open) = (state.serving.clone(), state.sockets.token());
    let authenticate = async move |token: &str| state.admit(token, access).await.unwrap_or_else(|denied| Err(denied.goodbye()));
    let max_bytes = serving.settings.max_message_bytes + MESSAGE_SLACK_BYTES;
    let upgrade = upgrade.protocols([name(format)]).max_message_size(max_bytes).max_frame_size(max_bytes).read_buffer_size(READ_BUFFER_BYTES);
    let serve = async move |socket| {
        socket::serve(socket, format, admitted, authenticate, serving).await;
        drop(open);
    };
    upgrade.on_upgrade(serve).into_response()
}

fn name(format: Format) -> &'static str {
    SUBPROTOCOLS.iter().find(|(_, known)| *known == format).map(|(name, _)| *name).expect("each format has a name")
}
