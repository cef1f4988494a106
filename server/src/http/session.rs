//! `POST /v1/session`: trades a one-time ticket for a session token. The trade itself is `auth`'s.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::Response;
use axum::response::IntoResponse as _;
use serde::Deserialize;
use serde_json::json;

use crate::formats::problem::Problem;
use crate::http::auth::Auth;
use crate::http::problem;

#[derive(Debug, Deserialize)]
pub struct Trade {
    ticket: String,
}

pub async fn post(State(auth): State<Arc<Auth>>, Json(trade): Json<Trade>) -> Response<Body> {
    match auth.trade(&trade.ticket) {
        Ok(Some(token)) => Json(json!({"token": token})).into_response(),
        Ok(None) => problem::respond(&Problem::new(401, "Unauthorized", "ticket", "the ticket is unknown, used or expired").at("/ticket")),
        Err(error) => {
            tracing::error!(%error, "a session could not be granted");
            problem::respond(&Problem::new(503, "Service Unavailable", "session", "no session can be granted; try again"))
        }
    }
}
