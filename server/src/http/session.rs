//! `POST /v1/session`: trades a one-time ticket for a session token. The trade itself is `auth`'s.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::Response;
use axum::response::IntoResponse as _;
use serde::Deserialize;
use serde_json::json;

use crate::http::auth::Auth;
use crate::http::problem::{self, Kind};

#[derive(Debug, Deserialize)]
pub struct Trade {
    ticket: String,
}

pub async fn post(State(auth): State<Arc<Auth>>, trade: Result<Json<Trade>, JsonRejection>) -> Response<Body> {
    let Json(trade) = match trade {
        Ok(trade) => trade,
        Err(JsonRejection::MissingJsonContentType(missing)) => return problem::respond(&Kind::MediaType.says(missing.body_text())),
        Err(rejection) => return problem::respond(&Kind::MalformedBody.says(rejection.body_text())),
    };
    match auth.grants().trade(&trade.ticket) {
        Ok(Some(token)) => Json(json!({"token": token})).into_response(),
        Ok(None) => problem::respond(&Kind::Ticket.says("the ticket is unknown, used or expired").at("/ticket")),
        Err(error) => {
            tracing::error!(%error, "a session could not be granted");
            problem::respond(&Kind::KeyStore.says("no session can be granted; try again"))
        }
    }
}
