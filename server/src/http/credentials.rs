//! The routes of those who manage credentials: keys and tickets of their own tenant. Never tells a secret but in the answer that makes it.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Extension, Path, Query, State};
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderValue, Response, StatusCode};
use axum::response::IntoResponse as _;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::clock::Clock;
use crate::formats::problem::Problem;
use crate::formats::scope::ScopeWords;
use crate::formats::time;
use crate::http::auth::{Auth, Principal, Role};
use crate::http::jwt::MAX_JTI_BYTES;
use crate::http::keys::{KeyInfo, KeysError, MAX_NAME_BYTES, NewKey};
use crate::http::problem::{self, Kind};
use crate::model::scope::Scope;

/// What these routes need.
#[derive(Clone, Debug)]
pub struct CredentialState {
    pub auth: Arc<Auth>,
    pub clock: Clock,
}

/// The body of `POST /v1/keys` and `POST /v1/tickets`.
///
/// A bound that is not understood would be none, so what is unknown is refused.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Wanted {
    role: Option<String>,
    name: Option<String>,
    drivers: Option<Vec<String>>,
    deliveries: Option<Vec<String>>,
    bbox: Option<[f64; 4]>,
    areas: Option<Vec<[f64; 4]>>,
}

/// The body of `POST /v1/tokens/revoke`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Named {
    jti: String,
}

/// The query of `GET /v1/keys`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Paging {
    limit: Option<u32>,
    cursor: Option<String>,
}

type Asks = Extension<Arc<Principal>>;
type Answer = Result<Response<Body>, Problem>;
type Sent<T> = Result<Json<T>, JsonRejection>;

const DEFAULT_LIMIT: u32 = 100;
const MAX_LIMIT: u32 = 1_000;

pub async fn list(State(state): State<CredentialState>, Extension(asks): Asks, paging: Result<Query<Paging>, QueryRejection>) -> Response<Body> {
    let list = async {
        let Query(paging) = paging.map_err(|error| Kind::InvalidParameter.says(error.body_text()).at("/"))?;
        let limit = paging.limit.unwrap_or(DEFAULT_LIMIT);
        if !(1..=MAX_LIMIT).contains(&limit) {
            return Err(Kind::InvalidParameter.says(format!("must be from 1 to {MAX_LIMIT}")).at("/limit"));
        }
        let after = paging.cursor.unwrap_or_default();
        let mut keys = state.auth.keys().list(Some(asks.tenant), &after, limit + 1).await.map_err(failed)?;
        let more = keys.len() > limit as usize;
        keys.truncate(limit as usize);
        let next = keys.last().filter(|_| more).map(|key| key.id.clone());
        let keys: Vec<Value> = keys.iter().filter(|key| is_inside(key, &asks)).map(key_json).collect();
        Ok(Json(json!({"keys": keys, "next": next})).into_response())
    };
    respond(list.await)
}

pub async fn create(State(state): State<CredentialState>, Extension(asks): Asks, wanted: Sent<Wanted>) -> Response<Body> {
    let create = async {
        let wanted = body(wanted)?;
        let role = role(wanted.role.as_deref(), &Role::ALL)?;
        let name = wanted.name.clone().unwrap_or_default();
        if name.len() > MAX_NAME_BYTES || name.chars().any(char::is_control) {
            return Err(invalid("/name", format!("must have at most {MAX_NAME_BYTES} bytes and no control character")));
        }
        let scope = wanted.scope()?.within(&asks.scope);
        let new = NewKey { tenant: asks.tenant, role, scope, name };
        let (id, key) = state.auth.keys().make(&new, state.clock.now()).await.map_err(failed)?;
        told(&state, &asks, &id, key, StatusCode::CREATED).await
    };
    respond(create.await)
}

pub async fn rotate(State(state): State<CredentialState>, Extension(asks): Asks, Path(id): Path<String>) -> Response<Body> {
    let rotate = async {
        mine(&state, &asks, &id).await?;
        let key = state.auth.keys().rotate(&id, Some(asks.tenant), state.clock.now()).await.map_err(failed)?.ok_or_else(unknown)?;
        told(&state, &asks, &id, key, StatusCode::OK).await
    };
    respond(rotate.await)
}

pub async fn revoke(State(state): State<CredentialState>, Extension(asks): Asks, Path(id): Path<String>) -> Response<Body> {
    let revoke = async {
        mine(&state, &asks, &id).await?;
        let found = state.auth.keys().revoke(&id, Some(asks.tenant), state.clock.now()).await.map_err(failed)?;
        if found { Ok(StatusCode::NO_CONTENT.into_response()) } else { Err(unknown()) }
    };
    respond(revoke.await)
}

pub async fn ticket(State(state): State<CredentialState>, Extension(asks): Asks, wanted: Sent<Wanted>) -> Response<Body> {
    let ticket = async {
        let wanted = body(wanted)?;
        // What a page needs; whoever posts or manages has a key.
        let role = role(wanted.role.as_deref().or(Some(Role::Dashboard.as_str())), &[Role::Dashboard, Role::Operator])?;
        let ticket = state.auth.grants().ticket(&asks, role, &wanted.scope()?).map_err(failed)?;
        let body = json!({"ticket": ticket.text, "expires": time::print(ticket.expires)});
        Ok(secret((StatusCode::CREATED, Json(body)).into_response()))
    };
    respond(ticket.await)
}

pub async fn revoke_token(State(state): State<CredentialState>, Extension(asks): Asks, named: Sent<Named>) -> Response<Body> {
    let revoke = async {
        let jti = body(named)?.jti;
        if jti.is_empty() || jti.len() > MAX_JTI_BYTES {
            return Err(invalid("/jti", format!("must have 1 to {MAX_JTI_BYTES} bytes")));
        }
        // Whose token it is would be known only by the token: who sees a part revokes none.
        if !asks.scope.is_all() {
            return Err(Kind::Role.says("a credential for a part of the tenant may not do this"));
        }
        let denied = state.auth.revoke_token(asks.tenant, &jti).await.map_err(failed)?;
        if denied { Ok(StatusCode::NO_CONTENT.into_response()) } else { Err(Kind::TooManyCredentials.says("too many tokens are revoked already")) }
    };
    respond(revoke.await)
}

fn respond(answer: Answer) -> Response<Body> {
    answer.unwrap_or_else(|problem| problem::respond(&problem))
}

/// The key with its text, this once.
async fn told(state: &CredentialState, asks: &Principal, id: &str, text: String, status: StatusCode) -> Answer {
    let info = state.auth.keys().info(id, asks.tenant).await.map_err(failed)?.ok_or_else(unknown)?;
    let mut body = key_json(&info);
    body["key"] = json!(text);
    Ok(secret((status, Json(body)).into_response()))
}

/// An answer with a secret in it stays in no cache.
fn secret(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Whoever has a scope manages the keys inside it and no others.
async fn mine(state: &CredentialState, asks: &Principal, id: &str) -> Result<(), Problem> {
    let info = state.auth.keys().info(id, asks.tenant).await.map_err(failed)?.ok_or_else(unknown)?;
    if is_inside(&info, asks) { Ok(()) } else { Err(unknown()) }
}

fn is_inside(key: &KeyInfo, asks: &Principal) -> bool {
    key.scope.within(&asks.scope) == key.scope
}

fn key_json(key: &KeyInfo) -> Value {
    json!({
        "id": key.id, "role": key.role.as_str(), "name": key.name, "scope": ScopeWords::of(&key.scope), "created": time::print(key.created),
        "rotated": key.rotated.map(time::print), "revoked": key.revoked.map(time::print),
    })
}

fn body<T>(sent: Sent<T>) -> Result<T, Problem> {
    match sent {
        Ok(Json(body)) => Ok(body),
        Err(JsonRejection::MissingJsonContentType(missing)) => Err(Kind::MediaType.says(missing.body_text())),
        Err(rejection) => Err(Kind::MalformedBody.says(rejection.body_text())),
    }
}

fn role(text: Option<&str>, allowed: &[Role]) -> Result<Role, Problem> {
    let known = text.and_then(|text| text.parse().ok()).filter(|role| allowed.contains(role));
    let names: Vec<&str> = allowed.iter().map(|role| role.as_str()).collect();
    known.ok_or_else(|| invalid("/role", format!("must be one of {}", names.join(", "))))
}

impl Wanted {
    fn scope(self) -> Result<Scope, Problem> {
        let Self { drivers, deliveries, bbox, areas, .. } = self;
        ScopeWords { drivers, deliveries, bbox, areas: areas.unwrap_or_default() }.read().map_err(|word| invalid(&word.pointer, word.detail))
    }
}

fn invalid(pointer: &str, detail: String) -> Problem {
    Kind::InvalidParameter.says(detail).at(pointer)
}

fn unknown() -> Problem {
    Kind::NotFound.says("no such key in this tenant that is good")
}

fn failed(error: KeysError) -> Problem {
    match error {
        KeysError::TooMany | KeysError::TooManyGrants => Kind::TooManyCredentials.says(error.to_string()),
        error => {
            tracing::error!(%error, "the key store failed");
            Kind::KeyStore.says("the key store failed; try again")
        }
    }
}
