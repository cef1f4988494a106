//! The pieces that operations are put together from: parameters, answers, problems. Knows no single route.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::extensions::ExtensionsBuilder;
use utoipa::openapi::path::{OperationBuilder, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{Content, ContentBuilder, Header, HeaderBuilder, Ref, RefOr, Required, ResponseBuilder};

use super::answers::Problem;
use crate::http::gate::Rule;
use crate::http::problem::Kind;

pub(super) const BEARER: &str = "bearer";
/// For phone apps alone.
pub(super) const BASIC: &str = "basic";
pub(super) const JSON: &str = "application/json";
pub(super) const PROTOBUF: &str = "application/x-protobuf";
const PROBLEM: &str = "application/problem+json";
/// What every route that asks for a credential may answer.
pub(super) const GUARDED: [Kind; 5] = [Kind::CredentialMissing, Kind::CredentialUnknown, Kind::CredentialExpired, Kind::Role, Kind::KeyStore];

pub(super) fn operation(id: &str, tag: &str, summary: &str, description: &str) -> OperationBuilder {
    OperationBuilder::new().operation_id(Some(id)).tag(tag).summary(Some(summary)).description(Some(description))
}

/// Says who is let in, as the gate has it: `security`, and the right that is asked for as `x-waypost-access`.
pub(super) fn ruled(operation: OperationBuilder, rule: Rule) -> OperationBuilder {
    let extension = |access: &str| Some(ExtensionsBuilder::new().add("x-waypost-access", access).build());
    match rule {
        Rule::Open => operation.extensions(extension("open")),
        // The key is a parameter of the path, of which the document has no scheme.
        Rule::KeyInAddress(access) => operation.extensions(extension(access.as_str())),
        Rule::Phone(access) => operation
            .security(SecurityRequirement::new::<_, [&str; 0], &str>(BEARER, []))
            .security(SecurityRequirement::new::<_, [&str; 0], &str>(BASIC, []))
            .extensions(extension(access.as_str())),
        Rule::Credential(access) | Rule::FirstMessage(access) => {
            operation.security(SecurityRequirement::new::<_, [&str; 0], &str>(BEARER, [])).extensions(extension(access.as_str()))
        }
    }
}

pub(super) fn reference<T: ToSchema>() -> Ref {
    Ref::from_schema_name(T::name())
}

pub(super) fn content<T: ToSchema>(example: Value) -> Content {
    ContentBuilder::new().schema(Some(reference::<T>())).example(Some(example)).build()
}

/// A message of the schema of record.
pub(super) fn protobuf(message: &str) -> Content {
    let description = format!("`{message}` of `server/proto/waypost.proto`, the schema of record");
    ContentBuilder::new().schema(Some(string().content_media_type(PROTOBUF).description(Some(description)))).build()
}

pub(super) fn text_content(example: &str) -> Content {
    ContentBuilder::new().schema(Some(string())).example(Some(json!(example))).build()
}

pub(super) fn answer(description: &str, media: &str, content: Content) -> ResponseBuilder {
    ResponseBuilder::new().description(description).content(media, content)
}

pub(super) fn string() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

pub(super) fn number(minimum: f64, maximum: f64) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::Number)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Double)))
        .minimum(Some(minimum))
        .maximum(Some(maximum))
}

pub(super) fn id() -> ObjectBuilder {
    string().min_length(Some(1)).max_length(Some(64))
}

pub(super) fn query(name: &str, description: &str, schema: ObjectBuilder) -> ParameterBuilder {
    ParameterBuilder::new().name(name).parameter_in(ParameterIn::Query).description(Some(description)).required(Required::False).schema(Some(schema))
}

pub(super) fn path_id(description: &str) -> Parameter {
    path_parameter("id", description, id())
}

pub(super) fn path_parameter(name: &str, description: &str, schema: ObjectBuilder) -> Parameter {
    let parameter = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Path).required(Required::True);
    parameter.description(Some(description)).schema(Some(schema)).build()
}

pub(super) fn header_parameter(name: &str, description: &str, schema: ObjectBuilder) -> ParameterBuilder {
    ParameterBuilder::new().name(name).parameter_in(ParameterIn::Header).description(Some(description)).required(Required::False).schema(Some(schema))
}

/// Read your writes.
pub(super) fn position_parameter() -> Parameter {
    let description = "The position an answer to `POST /v1/events` carried: this answer then holds those events. Waits for them, 2 s at most.";
    header_parameter("Waypost-Position", description, position()).build()
}

pub(super) fn position() -> ObjectBuilder {
    string().pattern(Some(r"^\d+:\d+(,\d+:\d+)*$")).examples([json!("12:4711,31:8")])
}

pub(super) fn header(schema: ObjectBuilder, description: &str) -> Header {
    HeaderBuilder::new().schema(Some(schema)).description(Some(description)).build()
}

/// Adds an answer for each status among `kinds`, with an example for each problem.
pub(super) fn problems(mut operation: OperationBuilder, kinds: &[Kind]) -> OperationBuilder {
    for (status, response) in problem_responses(kinds) {
        operation = operation.response(status, response.build());
    }
    operation
}

pub(super) fn problem_responses(kinds: &[Kind]) -> BTreeMap<String, ResponseBuilder> {
    let mut by_status: BTreeMap<String, Vec<Kind>> = BTreeMap::new();
    for kind in kinds {
        by_status.entry(kind.status().as_str().to_owned()).or_default().push(*kind);
    }
    by_status.into_iter().map(|(status, kinds)| (status, problem_response(&kinds))).collect()
}

fn problem_response(kinds: &[Kind]) -> ResponseBuilder {
    let lines: Vec<String> = kinds.iter().map(|kind| format!("`{}`: {}", kind.code(), kind.means())).collect();
    let examples = kinds.iter().map(|kind| (kind.code(), RefOr::T(ExampleBuilder::new().value(Some(example_of(*kind))).build())));
    let content = ContentBuilder::new().schema(Some(reference::<Problem>())).examples_from_iter(examples).build();
    let mut response = answer(&lines.join("; "), PROBLEM, content);
    if let Some(seconds) = kinds.iter().find_map(|kind| kind.retry_after_s()) {
        response = response.header("Retry-After", retry_after(seconds));
    }
    if kinds.iter().any(|kind| kind.status().as_u16() == 401) {
        response = response.header("WWW-Authenticate", header(string(), "`Bearer`"));
    }
    response
}

pub(super) fn retry_after(seconds: u16) -> Header {
    let schema = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0)).examples([json!(seconds)]);
    header(schema, "Seconds after which the same request may fare better")
}

fn example_of(kind: Kind) -> Value {
    serde_json::to_value(kind.says(kind.means())).expect("a problem is JSON")
}
