//! `GET /v1/ingest`: upgrades to a WebSocket over which an app that holds a connection sends its events. The protocol itself is `stream/connection`.

mod connection;
mod words;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::body::Body;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{Extension, State, WebSocketUpgrade};
use axum::http::{HeaderMap, Response};
use axum::response::IntoResponse as _;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::ended::Ended;
use crate::http::auth::{Access, Auth, Denied};
use crate::http::handshake::{self, MESSAGE_SLACK_BYTES};
use crate::http::origins::Origins;
use crate::http::problem;
use crate::ingest::Ingest;
use crate::live::Goodbye;
use crate::live::seats::{Seat, Seats};
use crate::log::wal::Wal;
use crate::model::id::TenantId;
use crate::model::scope::Scope;
use words::Format;

#[derive(Clone, Debug)]
pub struct StreamState {
    pub auth: Arc<Auth>,
    /// Empty until the log has recovered.
    pub ingest: Arc<OnceLock<Ingest<Wal>>>,
    /// How many connections each key has.
    pub seats: Arc<Seats>,
    /// Every open WebSocket, so that a stop waits for their goodbyes.
    pub sockets: TaskTracker,
    /// Pages of others may not use what their visitors' browsers can reach.
    pub origins: Origins,
    pub terms: Terms,
}

/// On what terms every connection is served.
#[derive(Clone, Debug)]
pub struct Terms {
    pub settings: Settings,
    pub clock: Clock,
    pub shutdown: CancellationToken,
}

/// Every bound of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Batches that were read and not acknowledged; beyond that the socket is not read.
    pub max_unacked_batches: usize,
    pub max_message_bytes: usize,
    pub auth_timeout: Duration,
    pub ping_every: Duration,
    /// Who is not heard for this long, while it is listened to, is gone.
    pub silence: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_unacked_batches: 8,
            max_message_bytes: 1 << 20,
            auth_timeout: Duration::from_secs(5),
            ping_every: Duration::from_secs(25),
            silence: Duration::from_mins(1),
        }
    }
}

/// Who sends events, and the seat that is given back when the connection ends.
struct Admitted {
    sender: Sender,
    seat: Seat,
}

/// Who sends events, and what of its tenant it may speak of.
struct Sender {
    tenant: TenantId,
    scope: Scope,
    /// Cancelled when the credential is good no more.
    ended: Ended,
}

impl StreamState {
    /// Checks the credential, and takes one of its seats.
    async fn admit(&self, token: &str, access: Access) -> Result<Result<Admitted, Goodbye>, Denied> {
        let principal = self.auth.authorise_token(token, access).await?;
        let seat = self.seats.take(&principal.key).ok_or(Goodbye::TooManySessions);
        let sender = Sender { tenant: principal.tenant, scope: principal.scope.clone(), ended: principal.ended.clone() };
        Ok(seat.map(|seat| Admitted { sender, seat }))
    }
}

pub async fn upgrade(
    State(state): State<StreamState>,
    Extension(access): Extension<Access>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response<Body> {
    let shaken = handshake::shake(upgrade, &headers, &state.origins, Format::negotiate, "waypost.ingest.v1.proto or waypost.ingest.v1.json");
    let (upgrade, format) = match shaken {
        Ok(shaken) => shaken,
        Err(problem) => return problem::respond(&problem),
    };
    if state.ingest.get().is_none() {
        return problem::respond(&problem::recovering());
    }
    let admitted = match handshake::admitted(&headers, async |token| state.admit(token, access).await).await {
        Ok(admitted) => admitted,
        Err(problem) => return problem::respond(&problem),
    };
    let open = state.sockets.token();
    let max_bytes = state.terms.settings.max_message_bytes + MESSAGE_SLACK_BYTES;
    let upgrade = upgrade.protocols([format.subprotocol()]).max_message_size(max_bytes).max_frame_size(max_bytes).read_buffer_size(16 << 10);
    let serve = async move |socket| {
        connection::serve(socket, format, admitted, access, &state).await;
        drop(open);
    };
    upgrade.on_upgrade(serve).into_response()
}
