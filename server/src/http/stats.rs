//! `GET /v1/stats/ingest`: what became of the caller's tenant's events. Counts nothing itself.

use std::sync::{Arc, OnceLock};

use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::Response;
use axum::response::IntoResponse as _;
use serde_json::json;

use crate::http::auth::Principal;
use crate::http::problem::{self, Kind};
use crate::ingest::Ingest;
use crate::ingest::ledger::Totals;
use crate::log::wal::Wal;

#[derive(Clone, Debug)]
pub struct StatsState {
    pub ingest: Arc<OnceLock<Ingest<Wal>>>,
}

pub async fn ingest(State(state): State<StatsState>, Extension(principal): Extension<Arc<Principal>>) -> Response<Body> {
    // The columns are of the whole tenant.
    if !principal.scope.is_all() {
        return problem::respond(&Kind::Role.says("a credential for a part of the tenant may not do this"));
    }
    let Some(ingest) = state.ingest.get() else { return problem::respond(&problem::recovering()) };
    let Totals { received, accepted, duplicate, rejected, shed, in_flight, refused } = ingest.ledger().totals(principal.tenant);
    let body = json!({
        "received": received, "accepted": accepted, "duplicate": duplicate, "rejected": rejected, "shed": shed, "in_flight": in_flight,
        "refused": refused, "pressure": ingest.valve().pressure().as_str(),
    });
    Json(body).into_response()
}
