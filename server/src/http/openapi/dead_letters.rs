//! The operations and shapes of refused events, as the document says them. Describes only.

use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa::openapi::path::{OperationBuilder, Parameter};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::Type;
use utoipa::openapi::{ObjectBuilder, Required, ResponseBuilder};

use super::parts::{GUARDED, JSON, answer, content, id, operation, path_id, problems, query, string};
use super::schemas::Moment;
use crate::http::dead_letters::MAX_LIMIT;
use crate::http::problem::Kind;

const TAG: &str = "refused";

/// A refused event or body, without its bytes.
#[derive(ToSchema)]
pub struct DeadLetter {
    pub id: String,
    /// The code of the item's refusal, `content_differs`, `malformed_encoding`, or `apply_panic` for an event that stands in the log and could not be applied.
    pub reason: String,
    /// JSON pointer to the field at fault; empty for the whole.
    pub pointer: String,
    pub detail: String,
    /// How it came: `json`, `ndjson`, `protobuf`; `gzip` and `zstd` are bodies that cannot be unpacked; `record` is a `StoredEvent` out of the log.
    pub protocol: String,
    pub scope: Scope,
    #[schema(required = true)]
    pub schema_version: Option<u32>,
    /// As claimed.
    #[schema(required = true)]
    pub event_id: Option<String>,
    /// As claimed.
    #[schema(required = true)]
    pub actor: Option<String>,
    #[schema(format = DateTime)]
    pub received: String,
    /// As many came; an event beyond 32 KiB and a body beyond 1 MiB are kept up to there.
    pub bytes: u64,
    /// How often it was tried again, in vain.
    pub tries: u32,
    #[schema(required = true, format = DateTime)]
    pub tried: Option<String>,
    /// Where in the log it stands, of an `apply_panic`.
    #[schema(required = true)]
    pub place: Option<LogPlace>,
}

/// `body`: a whole request that could not be taken apart.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum Scope {
    Event,
    Body,
}

#[derive(ToSchema)]
pub struct LogPlace {
    pub partition: u16,
    pub offset: u64,
}

/// A letter with its bytes.
#[derive(ToSchema)]
pub struct DeadLetterShown {
    pub id: String,
    pub reason: String,
    pub pointer: String,
    pub detail: String,
    pub protocol: String,
    pub scope: Scope,
    #[schema(required = true)]
    pub schema_version: Option<u32>,
    #[schema(required = true)]
    pub event_id: Option<String>,
    #[schema(required = true)]
    pub actor: Option<String>,
    #[schema(format = DateTime)]
    pub received: String,
    pub bytes: u64,
    pub tries: u32,
    #[schema(required = true, format = DateTime)]
    pub tried: Option<String>,
    #[schema(required = true)]
    pub place: Option<LogPlace>,
    /// As it came.
    pub raw: String,
    pub raw_encoding: RawEncoding,
}

/// `base64` when the bytes are no UTF-8.
#[derive(ToSchema)]
pub enum RawEncoding {
    #[schema(rename = "utf-8")]
    Utf8,
    #[schema(rename = "base64")]
    Base64,
}

#[derive(ToSchema)]
pub struct DeadLetterPage {
    pub letters: Vec<DeadLetter>,
    /// The cursor of the next page; null on the last.
    #[schema(required = true)]
    pub next: Option<String>,
}

/// Which letters to try again; `{}` means all.
#[derive(ToSchema)]
pub struct RedriveWanted {
    /// One of these, if there are any.
    #[schema(max_items = 1000)]
    pub ids: Option<Vec<String>>,
    pub reason: Option<String>,
    pub protocol: Option<String>,
    pub actor: Option<String>,
    /// Received at this time or later.
    pub since: Option<Moment>,
    /// Received before this time.
    pub until: Option<Moment>,
    #[schema(minimum = 1, maximum = 1000)]
    pub limit: Option<u32>,
    /// `next` of the answer before.
    pub cursor: Option<String>,
}

/// How many letters met which end.
#[derive(ToSchema)]
pub struct Redriven {
    /// Stand in the log now and left the store.
    pub accepted: u64,
    /// Stood in the log already and left the store.
    pub duplicate: u64,
    /// Stay, with their newest reason.
    pub refused: u64,
    /// Stay as they were: cut to the bound, packed in a way that could not be undone, in the log already without being applied, let go under pressure
    /// that rose meanwhile, or a phone's report that an older version kept without what came beside its bytes (or with more than 32 KiB of it).
    pub skipped: u64,
    /// Whether letters are left that this call did not try: ask again with `cursor` = `next`.
    pub more: bool,
    #[schema(required = true)]
    pub next: Option<String>,
}

pub(super) fn list() -> OperationBuilder {
    let description = "Of the credential's tenant, the newest first. What is refused is kept as it came, up to a bound of bytes and of age; the oldest go first. \
                       Needs a role that operates.";
    let limit = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)).maximum(Some(MAX_LIMIT)).default(Some(json!(100)));
    let operation = operation("listDeadLetters", TAG, "List refused events", description)
        .parameters(Some(filters()))
        .parameter(query("limit", "How many at most", limit).build())
        .parameter(query("cursor", "`next` of the page before", string()).build());
    let example = json!({"letters": [letter()], "next": null});
    let operation = operation.response("200", answer("A page", JSON, content::<DeadLetterPage>(example)).build());
    problems(operation, &kinds(&[Kind::InvalidParameter]))
}

pub(super) fn show() -> OperationBuilder {
    let operation = operation("deadLetter", TAG, "One refused event with its bytes", "Byte for byte as it came.");
    let mut example = letter();
    example["raw"] = json!("{\"event_id\": \"e2\"}");
    example["raw_encoding"] = json!("utf-8");
    let shown = answer("The letter", JSON, content::<DeadLetterShown>(example)).build();
    problems(operation.parameter(path_id("The letter")).response("200", shown), &kinds(&[Kind::InvalidParameter, Kind::NotFound]))
}

pub(super) fn remove() -> OperationBuilder {
    let operation = operation("removeDeadLetter", TAG, "Take out one refused event", "It is gone then: nothing else holds it.");
    let gone = ResponseBuilder::new().description("It is gone").build();
    problems(operation.parameter(path_id("The letter")).response("204", gone), &kinds(&[Kind::InvalidParameter, Kind::NotFound]))
}

pub(super) fn redrive() -> OperationBuilder {
    let description = "Each matching letter, the oldest first, is decoded again and taken like any event of its tenant: deduplicated by its id, stamped with the \
                       time of now, and held to what its sender might say. A phone's report is read as its app's, by whom the phone was then, or by whom it is now \
                       when nobody was known or that was what it was refused for. At most 1,000 letters and 32 MiB a call.";
    let body = RequestBodyBuilder::new().required(Some(Required::True));
    let body = body.content(JSON, content::<RedriveWanted>(json!({"reason": "time_too_far_ahead", "since": "2026-11-24T00:00:00Z"})));
    let example = json!({"accepted": 12, "duplicate": 1, "refused": 3, "skipped": 0, "more": false, "next": null});
    let operation = operation("redriveDeadLetters", TAG, "Try refused events again", description).request_body(Some(body.build()));
    let operation = operation.response("200", answer("What became of them", JSON, content::<Redriven>(example)).build());
    let log = [Kind::Recovering, Kind::Overloaded, Kind::Closing, Kind::LogStopped, Kind::DiskFull];
    problems(operation, &kinds(&[&log[..], &[Kind::InvalidParameter, Kind::MalformedBody, Kind::MediaType]].concat()))
}

fn kinds(own: &[Kind]) -> Vec<Kind> {
    [&GUARDED[..], own, &[Kind::DeadLetterStore]].concat()
}

fn filters() -> [Parameter; 5] {
    let time = || string().examples([json!("2026-11-24T00:00:00Z")]);
    [
        query("reason", "Refused for this", string().examples([json!("null_island")])).build(),
        query("protocol", "Came as this", string().examples([json!("json")])).build(),
        query("actor", "Claims to be of this driver", id()).build(),
        query("since", "Received at this time or later: RFC 3339, or Unix milliseconds", time()).build(),
        query("until", "Received before this time", time()).build(),
    ]
}

fn letter() -> Value {
    json!({
        "id": "019ab5f8-2d40-7abc-8def-0123456789ab", "reason": "missing_field", "pointer": "/event_time", "detail": "is required", "protocol": "json",
        "scope": "event", "schema_version": null, "event_id": "e2", "actor": null, "received": "2026-11-24T09:30:00Z", "bytes": 18, "tries": 0,
        "tried": null, "place": null,
    })
}
