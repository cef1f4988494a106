//! The operations of those who manage credentials, as the document says them, and the shapes of what they send. Answers no request.

use serde_json::{Value, json};
use utoipa::openapi::path::OperationBuilder;
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, Schema, Type};
use utoipa::openapi::{RefOr, Required, ResponseBuilder};
use utoipa::{PartialSchema, ToSchema};

use super::parts::{GUARDED, JSON, answer, content, operation, path_id, problems, query, string};
use crate::http::problem::Kind;

/// What a credential is for; what is absent is no bound.
#[derive(ToSchema)]
pub struct NewKey {
    pub role: RoleName,
    /// For people.
    #[schema(max_length = 128)]
    pub name: Option<String>,
    /// Speaks for and sees these alone.
    #[schema(max_items = 256)]
    pub drivers: Option<Vec<String>>,
    #[schema(max_items = 256)]
    pub deliveries: Option<Vec<String>>,
    pub bbox: Option<Bbox>,
    /// More of them: a place must lie in each.
    #[schema(max_items = 8)]
    pub areas: Option<Vec<Bbox>>,
}

/// A ticket buys one session of 12 h; it sees no more than its maker.
#[derive(ToSchema)]
pub struct NewTicket {
    /// `dashboard` when absent.
    pub role: Option<SessionRole>,
    #[schema(max_items = 256)]
    pub drivers: Option<Vec<String>>,
    #[schema(max_items = 256)]
    pub deliveries: Option<Vec<String>>,
    pub bbox: Option<Bbox>,
    #[schema(max_items = 8)]
    pub areas: Option<Vec<Bbox>>,
}

#[derive(ToSchema)]
pub struct Ticket {
    /// Told this once; goes behind `#ticket=` in the dashboard's address.
    pub ticket: String,
    #[schema(format = DateTime)]
    pub expires: String,
}

#[derive(ToSchema)]
pub struct RevokedToken {
    /// What the token claims as its `jti`.
    #[schema(min_length = 1, max_length = 128)]
    pub jti: String,
}

#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum RoleName {
    Ingest,
    Dashboard,
    Operator,
    Admin,
}

#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum SessionRole {
    Dashboard,
    Operator,
}

#[derive(ToSchema)]
pub struct KeyPage {
    /// In the order of their ids.
    pub keys: Vec<Key>,
    /// The cursor of the next page; null on the last.
    #[schema(required = true)]
    pub next: Option<String>,
}

#[derive(ToSchema)]
pub struct Key {
    /// The public part of the key.
    pub id: String,
    pub role: RoleName,
    pub name: String,
    pub scope: KeyScope,
    #[schema(format = DateTime)]
    pub created: String,
    #[schema(required = true, format = DateTime)]
    pub rotated: Option<String>,
    #[schema(required = true, format = DateTime)]
    pub revoked: Option<String>,
    /// The whole key: only in the answer that makes it.
    pub key: Option<String>,
}

/// Empty: all of the tenant.
#[derive(ToSchema)]
pub struct KeyScope {
    pub drivers: Option<Vec<String>>,
    pub deliveries: Option<Vec<String>>,
    pub areas: Option<Vec<Bbox>>,
}

/// A box of places.
pub struct Bbox;

impl PartialSchema for Bbox {
    fn schema() -> RefOr<Schema> {
        let degrees = ObjectBuilder::new().schema_type(Type::Number).minimum(Some(-180)).maximum(Some(180));
        let description = "West, south, east, north in degrees; a west greater than the east crosses the antimeridian.";
        ArrayBuilder::new().items(degrees).min_items(Some(4)).max_items(Some(4)).description(Some(description)).into()
    }
}

impl ToSchema for Bbox {}

pub(super) fn list() -> OperationBuilder {
    let limit = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)).maximum(Some(1_000)).default(Some(json!(100)));
    let operation = operation("listKeys", "credentials", "List keys", "Those of the tenant, also revoked ones. Never their secrets.")
        .parameter(query("limit", "How many at most", limit).build())
        .parameter(query("cursor", "`next` of the page before", string()).build())
        .response("200", answer("A page", JSON, content::<KeyPage>(json!({"keys": [key()], "next": null}))).build());
    problems(operation, &[&GUARDED[..], &[Kind::InvalidParameter]].concat())
}

pub(super) fn create() -> OperationBuilder {
    let description = "Of the tenant of whoever asks, within what that one sees. The key is told this once.";
    let body = RequestBodyBuilder::new().required(Some(Required::True));
    let body = body.content(JSON, content::<NewKey>(json!({"role": "ingest", "name": "van 7", "drivers": ["driver-7"]}))).build();
    let operation = operation("createKey", "credentials", "Make a key", description)
        .request_body(Some(body))
        .response("201", answer("The key, in no cache", JSON, content::<Key>(told_key())).build());
    problems(operation, &[&GUARDED[..], &[Kind::InvalidParameter, Kind::MalformedBody, Kind::MediaType, Kind::TooManyCredentials]].concat())
}

pub(super) fn rotate() -> OperationBuilder {
    let description = "Gives the key a new secret. The old one is good for nothing at once, and sockets that it opened are closed (`bye` 8).";
    let operation = operation("rotateKey", "credentials", "Replace a key's secret", description)
        .parameter(path_id("The key's id"))
        .response("200", answer("The key, in no cache", JSON, content::<Key>(told_key())).build());
    problems(operation, &[&GUARDED[..], &[Kind::NotFound]].concat())
}

pub(super) fn revoke() -> OperationBuilder {
    let description =
        "The key is good for nothing at once. What it opened is closed: sockets (`bye` 8), and tickets and sessions that were bought by it.";
    let operation = operation("revokeKey", "credentials", "Revoke a key", description)
        .parameter(path_id("The key's id"))
        .response("204", ResponseBuilder::new().description("It is revoked").build());
    problems(operation, &[&GUARDED[..], &[Kind::NotFound]].concat())
}

pub(super) fn ticket() -> OperationBuilder {
    let body = RequestBodyBuilder::new().required(Some(Required::True));
    let body = body.content(JSON, content::<NewTicket>(json!({"role": "dashboard", "deliveries": ["order-1042"]}))).build();
    let example = json!({"ticket": "Zm9v", "expires": "2026-11-24T10:30:00Z"});
    let operation = operation("createTicket", "credentials", "Make a one-time ticket", "Good for 1 h and one trade (`POST /v1/session`).")
        .request_body(Some(body))
        .response("201", answer("The ticket, in no cache", JSON, content::<Ticket>(example)).build());
    problems(operation, &[&GUARDED[..], &[Kind::InvalidParameter, Kind::MalformedBody, Kind::MediaType, Kind::TooManyCredentials]].concat())
}

pub(super) fn revoke_token() -> OperationBuilder {
    let body = RequestBodyBuilder::new().required(Some(Required::True));
    let body = body.content(JSON, content::<RevokedToken>(json!({"jti": "f81d4fae"}))).build();
    let description = "Of a JWT that speaks for the tenant: it is good for nothing at once and as long as it could have been good.";
    let operation = operation("revokeToken", "credentials", "Revoke a token of others", description)
        .request_body(Some(body))
        .response("204", ResponseBuilder::new().description("It is revoked").build());
    problems(operation, &[&GUARDED[..], &[Kind::InvalidParameter, Kind::MalformedBody, Kind::MediaType, Kind::TooManyCredentials]].concat())
}

fn key() -> Value {
    json!({
        "id": "0123456789abcdef", "role": "ingest", "name": "van 7", "scope": {"drivers": ["driver-7"]}, "created": "2026-11-24T09:30:00Z", "rotated": null,
        "revoked": null,
    })
}

fn told_key() -> Value {
    let mut key = key();
    key["key"] = json!("wpk_0123456789abcdef_..");
    key
}
