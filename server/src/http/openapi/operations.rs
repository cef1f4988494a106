//! The operations that write, watch and look after the server, as the document says them. Answers no request.

use serde_json::{Value, json};
use utoipa::openapi::path::OperationBuilder;
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{ArrayBuilder, OneOfBuilder};
use utoipa::openapi::{ContentBuilder, RefOr, Required, ResponseBuilder};

use super::answers::{Readiness, Session, Settings, Trade};
use super::parts::{GUARDED, JSON, PROTOBUF, answer, content, header, header_parameter, operation, position, problem_responses, problems};
use super::parts::{protobuf, reference, retry_after, string, text_content};
use super::schemas::{BatchResult, Event, EventBatch};
use crate::http::problem::Kind;

pub(super) fn events() -> OperationBuilder {
    let description = "At most 1,000 events and 1 MiB as sent (both configurable). An answer comes when every accepted event is durable. One bad event harms \
                       no other. A batch answers 200 with one result an item whatever became of them; a single JSON object has its own status: 400 when it \
                       was rejected (403 when it names another tenant, or what its credential is not for), 409 when its id stands already with other \
                       content. On 401, 408, 413, 415, 429, 503 and 507 nothing of the request was stored. A 429 names the bucket that is empty in \
                       `RateLimit` and says in `Retry-After` when the request will fit. Under pressure items are `shed` by policy, which is final; an item \
                       of `delivery.status` never is.";
    let mut operation = operation("postEvents", "events", "Post events", description).request_body(Some(event_bodies().build()));
    operation = operation
        .parameter(header_parameter("Content-Encoding", "How the body is packed", string().enum_values(Some(["identity", "gzip", "zstd"]))).build())
        .parameter(header_parameter("Accept", "`application/x-protobuf` or `application/json`; else as the request", string()).build());
    let result = json!({"results": [
        {"event_id": "e1", "status": "accepted", "partition": 12, "offset": 4711},
        {"event_id": "e2", "status": "rejected", "code": "null_island", "pointer": "/payload", "detail": "the coordinates are 0,0"},
    ]});
    let told = |description: &str, example: &Value| {
        let positioned = header(position(), "How far into the log this request's events stand: a GET that carries it sees them");
        answer(description, JSON, content::<BatchResult>(example.clone()))
            .content(PROTOBUF, protobuf("waypost.v1.BatchResult"))
            .header("Waypost-Position", positioned)
    };
    let one = |code: &str| json!({"results": [{"event_id": "e1", "status": "rejected", "code": code, "pointer": "", "detail": "why"}]});
    let differs = json!({"results": [{"event_id": "e1", "status": "duplicate", "code": "content_differs", "partition": 12, "offset": 4711}]});
    operation = operation
        .response("200", told("What became of each item", &result))
        .response("409", told("A single event whose id stands already with other content; nothing was stored", &differs));
    let kinds = [
        &GUARDED[..],
        &[
            Kind::MalformedBody,
            Kind::MalformedEncoding,
            Kind::RequestTimeout,
            Kind::RateLimited,
            Kind::TooLarge,
            Kind::MediaType,
            Kind::ContentEncoding,
        ],
        &[Kind::Recovering, Kind::Overloaded, Kind::Closing, Kind::LogStopped, Kind::DiskFull],
    ];
    let mut responses = problem_responses(&kinds.concat());
    for (status, code) in [("400", "out_of_range"), ("403", "tenant_mismatch")] {
        let response = responses.remove(status).unwrap_or_default();
        responses.insert(status.to_owned(), response.content(JSON, content::<BatchResult>(one(code))));
    }
    responses.into_iter().fold(operation, |operation, (status, response)| operation.response(status, response.build()))
}

fn event_bodies() -> RequestBodyBuilder {
    let event = json!({
        "event_id": "0192f0c1-2345-7abc-8def-0123456789ab", "event_name": "location", "actor_id": "driver-7", "entity_id": "order-1042",
        "event_time": "2026-11-24T09:30:00Z", "payload": {"lat": 57.7089, "lng": 11.9746, "speed_mps": 8.2, "heading_deg": 90},
    });
    let array = ArrayBuilder::new().items(RefOr::Ref(reference::<Event>())).max_items(Some(1000));
    let any = OneOfBuilder::new().item(array).item(reference::<EventBatch>()).item(reference::<Event>());
    let lines = format!(
        "{event}\n{}\n",
        json!({"event_id": "e2", "event_name": "driver.duty", "actor_id": "driver-7", "event_time": 1_795_509_000_000_u64, "payload": {"on": true}})
    );
    RequestBodyBuilder::new()
        .description(Some("One event, an array of events, or events with the time they were sent; one event a line; or a Protobuf batch"))
        .required(Some(Required::True))
        .content(JSON, ContentBuilder::new().schema(Some(any)).example(Some(event)).build())
        .content(
            "application/x-ndjson",
            ContentBuilder::new().schema(Some(string().description(Some("One `Event` a line")))).example(Some(json!(lines))).build(),
        )
        .content(PROTOBUF, protobuf("waypost.v1.EventBatch"))
}

pub(super) fn live() -> OperationBuilder {
    let description = "A WebSocket in one of two subprotocols with the same messages: `waypost.v1.proto` (binary, preferred) and `waypost.v1.json`. Without an \
                       `Authorization` header the first message must be `auth {token}` within 5 s. Then `view` says what is looked at and is answered by the \
                       difference; each frame with a tick is acknowledged by `ack`; `follow` and `resume` as `server/proto/waypost.proto` says. The last \
                       message before a close is `bye {code, reason, reconnect_in_ms}`, the close code 4000 more: 1 shutdown, 2 auth failed, 3 auth timeout, \
                       4 bad message, 5 no progress, 6 too many sessions, 7 view rate, 8 credential revoked or expired, 9 message too large. A ping comes every 25 s.";
    let protocols =
        header_parameter("Sec-WebSocket-Protocol", "What the client speaks, separated by commas", string().examples([json!("waypost.v1.json")]));
    let chosen = header(string().enum_values(Some(["waypost.v1.proto", "waypost.v1.json"])), "What will be spoken");
    let operation = operation("live", "live", "Watch a viewport", description).parameter(protocols.required(Required::True).build());
    let switched = ResponseBuilder::new().description("The WebSocket is open").header("Sec-WebSocket-Protocol", chosen).build();
    problems(operation.response("101", switched), &[&GUARDED[..], &[Kind::Subprotocol, Kind::Origin, Kind::Recovering]].concat())
}

pub(super) fn stream() -> OperationBuilder {
    let description = "A WebSocket in one of two subprotocols; the messages are those of `server/proto/waypost.proto`, in JSON objects with one member named as the field. The key comes \
                       in the `Authorization` header of the handshake or as first message `auth {token}` within 5 s. The server says `hello` with its limits; the client \
                       sends `batch {number, events, sent_at}`; each is answered by `ack {number, results, position, next_interval_ms, min_distance_m}` when every accepted event of it is durable, in the order \
                       sent, or by `ack {number, refused {code, detail, retry_in_ms}}` when nothing of it was stored. At most `max_unacked_batches` wait for that: beyond it the \
                       server reads no further. The last message before a close is `bye {code, reason, reconnect_in_ms}` with the numbers of `/v1/live`. A ping comes every 25 s.";
    let protocols = header_parameter(
        "Sec-WebSocket-Protocol",
        "What the client speaks, separated by commas",
        string().examples([json!("waypost.ingest.v1.json")]),
    );
    let chosen = header(string().enum_values(Some(["waypost.ingest.v1.proto", "waypost.ingest.v1.json"])), "What will be spoken");
    let operation = operation("stream", "events", "Post events over a connection", description).parameter(protocols.required(Required::True).build());
    let switched = ResponseBuilder::new().description("The WebSocket is open").header("Sec-WebSocket-Protocol", chosen).build();
    problems(operation.response("101", switched), &[&GUARDED[..], &[Kind::Subprotocol, Kind::Origin, Kind::Recovering]].concat())
}

pub(super) fn session() -> OperationBuilder {
    let operation = operation(
        "tradeTicket",
        "live",
        "Trade a one-time ticket for a session token",
        "What `POST /v1/tickets` gives, or `waypost demo` prints behind `#ticket=`, buys one session of 12 h.",
    );
    let body = RequestBodyBuilder::new().required(Some(Required::True)).content(JSON, content::<Trade>(json!({"ticket": "Zm9v"}))).build();
    let operation =
        operation.request_body(Some(body)).response("200", answer("The token", JSON, content::<Session>(json!({"token": "YmFy"}))).build());
    problems(operation, &[Kind::Ticket, Kind::MalformedBody, Kind::MediaType, Kind::KeyStore])
}

pub(super) fn config() -> OperationBuilder {
    let operation = operation("settings", "running", "What the dashboard needs to know of this server's settings", "Holds nothing secret.");
    operation.response("200", answer("The settings", JSON, content::<Settings>(json!({"style_url": null}))).build())
}

pub(super) fn openapi() -> OperationBuilder {
    let any = ContentBuilder::new().schema(Some(utoipa::openapi::ObjectBuilder::new())).build();
    operation("openapi", "running", "This document", "OpenAPI 3.1.").response("200", answer("The document", JSON, any).build())
}

pub(super) fn metrics() -> OperationBuilder {
    let text = text_content("# TYPE consumer_lag gauge\nconsumer_lag 0\n");
    operation("metrics", "running", "Metrics for Prometheus", "No label names a tenant.")
        .response("200", answer("The exposition", "text/plain", text).build())
}

pub(super) fn healthz() -> OperationBuilder {
    let operation = operation("healthz", "running", "Whether the process answers", "Says nothing of the flow: see `/readyz`.");
    operation.response("200", answer("It does", "text/plain", text_content("ok\n")).build())
}

pub(super) fn readyz() -> OperationBuilder {
    let ready = json!({"ready": true, "lag": {"records": 0, "seconds": 0.0}});
    let recovering = json!({"ready": false, "code": "recovering", "recovery": {"phase": "replay", "blocks_done": 40, "blocks_total": 100}});
    operation(
        "readyz",
        "running",
        "Whether events flow to the map",
        "By flow, not by process: fails while the log recovers, when it cannot be written, and when a record waits 10 s without anything moving.",
    )
    .response("200", answer("They flow", JSON, content::<Readiness>(ready)).build())
    .response("503", answer("They do not, and why", JSON, content::<Readiness>(recovering)).header("Retry-After", retry_after(1)).build())
}
