//! The routes of refused events: list, show, try again, take out. Words what the store and ingest say; holds no rule of its own.

use std::sync::{Arc, OnceLock};

use axum::body::Body;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse as _;
use axum::{Extension, Json};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::dead_letters::filter::{Cursor, Filter};
use crate::dead_letters::letter::{LetterId, Scope};
use crate::dead_letters::{DeadLetters, DeadLettersError, Kept};
use crate::formats::problem::Problem;
use crate::formats::time;
use crate::http::auth::Principal;
use crate::http::problem::{self, Kind};
use crate::ingest::redrive::{RedriveError, Redriven};
use crate::ingest::{Ingest, Refused};
use crate::log::wal::Wal;
use crate::model::id::TenantId;
use crate::model::time::UnixMs;

const DEFAULT_LIMIT: usize = 100;
/// Letters of one answer, and of one redrive.
pub const MAX_LIMIT: usize = 1000;

#[derive(Clone, Debug)]
pub struct DeadLettersState {
    pub letters: DeadLetters,
    /// Empty until the log has recovered: till then nothing can be tried again.
    pub ingest: Arc<OnceLock<Ingest<Wal>>>,
}

/// Which letters are meant: the query of the list, the body of a redrive.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Search {
    reason: Option<String>,
    protocol: Option<String>,
    actor: Option<String>,
    /// RFC 3339 or Unix milliseconds.
    since: Option<Moment>,
    until: Option<Moment>,
    limit: Option<usize>,
    cursor: Option<String>,
}

/// The body of a redrive.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redrive {
    #[serde(default)]
    ids: Vec<String>,
    reason: Option<String>,
    protocol: Option<String>,
    actor: Option<String>,
    since: Option<Moment>,
    until: Option<Moment>,
    limit: Option<usize>,
    cursor: Option<String>,
}

/// A time as a sender writes it: in a query everything is text.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Moment {
    Ms(i64),
    Text(String),
}

type Answer = Result<Response<Body>, Problem>;

fn respond(answer: Answer) -> Response<Body> {
    answer.unwrap_or_else(|problem| problem::respond(&problem))
}

pub async fn list(
    State(state): State<DeadLettersState>,
    Extension(principal): Extension<Arc<Principal>>,
    search: Result<Query<Search>, QueryRejection>,
) -> Response<Body> {
    respond(state.list(&principal, search.map(|Query(search)| search).map_err(|error| bad("/", &error.body_text()))).await)
}

pub async fn show(State(state): State<DeadLettersState>, Extension(principal): Extension<Arc<Principal>>, Path(id): Path<String>) -> Response<Body> {
    respond(state.show(&principal, &id).await)
}

pub async fn remove(
    State(state): State<DeadLettersState>,
    Extension(principal): Extension<Arc<Principal>>,
    Path(id): Path<String>,
) -> Response<Body> {
    respond(state.remove(&principal, &id).await)
}

pub async fn redrive(
    State(state): State<DeadLettersState>,
    Extension(principal): Extension<Arc<Principal>>,
    wanted: Result<Json<Redrive>, JsonRejection>,
) -> Response<Body> {
    let wanted = wanted.map(|Json(wanted)| wanted).map_err(|rejection| match rejection {
        JsonRejection::MissingJsonContentType(missing) => Kind::MediaType.says(missing.body_text()),
        other => Kind::MalformedBody.says(other.body_text()),
    });
    respond(state.redrive(&principal, wanted).await)
}

impl DeadLettersState {
    async fn list(&self, principal: &Principal, search: Result<Search, Problem>) -> Answer {
        let tenant = admit(principal)?;
        let search = search?;
        let (filter, limit, before) = (filter(&search)?, limit(search.limit, DEFAULT_LIMIT)?, cursor(search.cursor.as_deref())?);
        let page = self.letters.page(tenant, &filter, before, limit).await.map_err(|error| failed(&error))?;
        let letters: Vec<Value> = page.letters.iter().map(letter).collect();
        Ok(Json(json!({"letters": letters, "next": page.next.map(|next| next.to_string())})).into_response())
    }

    async fn show(&self, principal: &Principal, id: &str) -> Answer {
        let tenant = admit(principal).map_err(|_narrowed| not_found())?;
        let found = self.letters.get(tenant, letter_id(id, "/id")?).await.map_err(|error| failed(&error))?;
        let (kept, raw) = found.ok_or_else(not_found)?;
        let mut body = letter(&kept);
        let (encoding, raw) = match String::from_utf8(raw) {
            Ok(text) => ("utf-8", text),
            Err(bytes) => ("base64", STANDARD.encode(bytes.as_bytes())),
        };
        body["raw"] = json!(raw);
        body["raw_encoding"] = json!(encoding);
        Ok(Json(body).into_response())
    }

    async fn remove(&self, principal: &Principal, id: &str) -> Answer {
        let tenant = admit(principal).map_err(|_narrowed| not_found())?;
        let removed = self.letters.remove(tenant, letter_id(id, "/id")?).await.map_err(|error| failed(&error))?;
        if removed { Ok(StatusCode::NO_CONTENT.into_response()) } else { Err(not_found()) }
    }

    async fn redrive(&self, principal: &Principal, wanted: Result<Redrive, Problem>) -> Answer {
        let tenant = admit(principal)?;
        let Redrive { ids, reason, protocol, actor, since, until, limit: wanted_limit, cursor: wanted_cursor } = wanted?;
        if ids.len() > MAX_LIMIT {
            return Err(bad("/ids", &format!("at most {MAX_LIMIT} ids")));
        }
        let search = Search { reason, protocol, actor, since, until, ..Search::default() };
        let ids = ids.iter().enumerate().map(|(index, id)| letter_id(id, &format!("/ids/{index}"))).collect::<Result<_, _>>()?;
        let filter = Filter { ids, ..filter(&search)? };
        let (limit, after) = (limit(wanted_limit, MAX_LIMIT)?, cursor(wanted_cursor.as_deref())?);
        let ingest = self.ingest.get().ok_or_else(problem::recovering)?;
        let redriven = ingest.redrive(tenant, &filter, after, limit).await.map_err(|error| match error {
            RedriveError::Store(error) => failed(&error),
            RedriveError::Devices(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "a device could not be looked up");
                Kind::KeyStore.says("the table of devices failed; try again")
            }
            RedriveError::Log(error) => problem::refused(&Refused::Log(error)),
            RedriveError::Pressure => Kind::Overloaded.says(error.to_string()),
            RedriveError::NoStore => Kind::DeadLetterStore.says("this node keeps no letters"),
        })?;
        let Redriven { accepted, duplicate, refused, skipped, next } = redriven;
        let counts = json!({"accepted": accepted, "duplicate": duplicate, "refused": refused, "skipped": skipped, "more": next.is_some(),
            "next": next.map(|next| next.to_string())});
        Ok(Json(counts).into_response())
    }
}

/// What was refused may speak of anybody in the tenant.
fn admit(principal: &Principal) -> Result<TenantId, Problem> {
    if principal.scope.is_all() { Ok(principal.tenant) } else { Err(Kind::Role.says("a credential for a part of the tenant may not do this")) }
}

fn filter(search: &Search) -> Result<Filter, Problem> {
    Ok(Filter {
        ids: Vec::new(),
        reason: search.reason.clone(),
        protocol: search.protocol.clone(),
        actor: search.actor.clone(),
        since: moment(search.since.as_ref(), "/since")?,
        until: moment(search.until.as_ref(), "/until")?,
    })
}

fn moment(moment: Option<&Moment>, pointer: &str) -> Result<Option<UnixMs>, Problem> {
    let read = match moment {
        None => return Ok(None),
        Some(Moment::Ms(ms)) => time::from_ms(*ms),
        Some(Moment::Text(text)) => text.parse().map_or_else(|_no_number| time::parse(text), time::from_ms),
    };
    read.map(Some).ok_or_else(|| bad(pointer, "must be an RFC 3339 time with an offset, or Unix milliseconds"))
}

fn limit(wanted: Option<usize>, default: usize) -> Result<usize, Problem> {
    match wanted.unwrap_or(default) {
        limit @ 1..=MAX_LIMIT => Ok(limit),
        _ => Err(bad("/limit", &format!("must be from 1 to {MAX_LIMIT}"))),
    }
}

fn cursor(text: Option<&str>) -> Result<Option<Cursor>, Problem> {
    text.map(str::parse).transpose().map_err(|error: crate::dead_letters::filter::InvalidCursor| bad("/cursor", &error.to_string()))
}

fn letter_id(text: &str, pointer: &str) -> Result<LetterId, Problem> {
    LetterId::parse(text).ok_or_else(|| bad(pointer, "must be the id of a letter, a UUID"))
}

fn letter(Kept { about, .. }: &Kept) -> Value {
    let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    json!({
        "id": about.id.to_string(), "reason": about.reason.as_str(), "pointer": about.pointer, "detail": about.detail,
        "protocol": about.protocol.as_str(), "scope": if about.scope == Scope::Body { "body" } else { "event" },
        "schema_version": about.claims.schema_version, "event_id": some(&about.claims.event_id), "actor": some(&about.claims.actor),
        "received": time::print(about.received), "bytes": about.came_bytes, "tries": about.tries, "tried": about.tried.map(time::print),
        "place": about.place.map(|place| json!({"partition": place.partition.0, "offset": place.offset.0})),
    })
}

fn failed(error: &DeadLettersError) -> Problem {
    tracing::error!(error = error as &dyn std::error::Error, "refused events could not be looked at");
    Kind::DeadLetterStore.says("the store of refused events failed; try again")
}

fn not_found() -> Problem {
    Kind::NotFound.says("no such letter")
}

fn bad(pointer: &str, detail: &str) -> Problem {
    Kind::InvalidParameter.says(detail).at(pointer)
}
