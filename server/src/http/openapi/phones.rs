//! The operations of phone apps, as the document says them. Answers no request.

use serde_json::{Value, json};
use utoipa::openapi::path::{OperationBuilder, Parameter};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::SchemaType;
use utoipa::openapi::{Content, ContentBuilder, ObjectBuilder, Required, ResponseBuilder};

use super::answers::Taken;
use super::parts::{GUARDED, JSON, content, header, header_parameter, number, operation, path_parameter, position};
use super::parts::{problem_responses, query, string, text_content};
use super::schemas::BatchResult;
use crate::formats::phone::app::App;
use crate::http::problem::Kind;

pub(super) fn post(app: App) -> OperationBuilder {
    let (summary, description) = words(app);
    let body = RequestBodyBuilder::new().required(Some(if takes_addresses(app) { Required::False } else { Required::True }));
    let body = bodies(app).into_iter().fold(body, |body, (media, content)| body.content(media, content));
    let operation = described(app, "post", summary, description).request_body(Some(body.build()));
    parameters(app).into_iter().fold(operation, OperationBuilder::parameter)
}

/// For the apps that put all they say into the address.
pub(super) fn get(app: App) -> OperationBuilder {
    let (summary, description) = words(app);
    parameters(app).into_iter().fold(described(app, "get", summary, description), OperationBuilder::parameter)
}

/// The same operation where the key stands in the address: nothing else says who asks.
pub(super) fn with_key(operation: OperationBuilder, app: App, method: &str) -> OperationBuilder {
    let key = path_parameter("key", "A key that speaks for one driver alone; struck from every log", string());
    operation.operation_id(Some(format!("{method}{app:?}ByKey"))).parameter(key)
}

fn takes_addresses(app: App) -> bool {
    matches!(app, App::OsmAnd | App::GpsLogger)
}

fn described(app: App, method: &str, summary: &str, description: &str) -> OperationBuilder {
    let description = format!(
        "{description} The answer comes when all of it is durable. What is refused for good is answered as taken, so that the phone does not send it for ever; \
         `Waypost-Refused` then names the first refusal. On any other status the phone keeps it and nothing was stored."
    );
    let operation = operation(&format!("{method}{app:?}"), "phones", summary, &description).response("200", taken(app));
    let mut kinds = [&GUARDED[..], &[Kind::MalformedEncoding, Kind::RequestTimeout, Kind::TooLarge, Kind::ContentEncoding]].concat();
    kinds.extend([Kind::RateLimited, Kind::Recovering, Kind::Overloaded, Kind::Closing, Kind::LogStopped, Kind::DiskFull]);
    match app {
        App::OsmAnd => kinds.push(Kind::InvalidParameter),
        App::CloudEvents => kinds.push(Kind::MediaType),
        _ => kinds.extend([Kind::InvalidParameter, Kind::NotFound]),
    }
    let mut responses = problem_responses(&kinds);
    if app == App::CloudEvents {
        for (status, code) in [("400", "out_of_range"), ("403", "tenant_mismatch"), ("409", "content_differs")] {
            let response =
                responses.remove(status).unwrap_or_else(|| ResponseBuilder::new().description("A single event whose id says something else already"));
            responses.insert(status.to_owned(), response.content(JSON, content::<BatchResult>(one(code))));
        }
    }
    responses.into_iter().fold(operation, |operation, (status, response)| operation.response(status, response.build()))
}

fn taken(app: App) -> ResponseBuilder {
    let (description, media) = match app {
        App::OsmAnd | App::Traccar | App::GpsLogger => ("Taken; the body is empty", None),
        App::OwnTracks => ("Taken; nothing for the phone", Some(anything(json!([])))),
        App::Overland => ("Taken", Some(content::<Taken>(json!({"result": "ok"})))),
        App::CloudEvents => ("What became of each event", Some(content::<BatchResult>(one("")))),
    };
    let response = ResponseBuilder::new()
        .description(description)
        .header("Waypost-Position", header(position(), "How far into the log these events stand: a GET that carries it sees them"))
        .header("Waypost-Refused", header(string(), "Code and JSON pointer of the first refusal, when anything was refused"));
    media.into_iter().fold(response, |response, media| response.content(JSON, media))
}

fn one(code: &str) -> Value {
    match code {
        "" => json!({"results": [{"event_id": "e1", "status": "accepted", "partition": 12, "offset": 4711}]}),
        "content_differs" => json!({"results": [{"event_id": "e1", "status": "duplicate", "code": code, "partition": 12, "offset": 4711}]}),
        _ => json!({"results": [{"event_id": "e1", "status": "rejected", "code": code, "pointer": "/data/lat", "detail": "why"}]}),
    }
}

fn words(app: App) -> (&'static str, &'static str) {
    match app {
        App::OsmAnd => (
            "OsmAnd, Traccar Client up to version 8",
            "One position as a query string or, when none stands there, as a form. A missing or unknown device is 400.",
        ),
        App::Traccar => ("Traccar Client from version 9 on", "One location as JSON. An unknown device is 404."),
        App::OwnTracks => (
            "OwnTracks in HTTP mode",
            "A `location` becomes a location; a `transition` is stored as `owntracks.transition`; other messages and empty bodies are taken and not stored.",
        ),
        App::Overland => ("Overland", "A batch of GeoJSON features; those without geometry are not stored. A batch sent again is all duplicates."),
        App::GpsLogger => (
            "GPSLogger's custom URL",
            "A query string, form or flat JSON object by the user's template; a body is read when the query holds no position, and what the query says counts beside it.",
        ),
        App::CloudEvents => (
            "CloudEvents 1.0",
            "Structured, batched or binary. `type` is the event's name, `id` its id among those of its `source`, `source` the actor, `subject` the delivery, `time` when it happened (absent: when it arrives; sent again it is a duplicate all the same), `data` the payload.",
        ),
    }
}

fn bodies(app: App) -> Vec<(&'static str, Content)> {
    let location = json!({"timestamp": "2026-11-24T08:30:00.123Z", "coords": {"latitude": 57.7, "longitude": 11.9, "speed": 8.2}});
    let feature = json!({
        "type": "Feature", "geometry": {"type": "Point", "coordinates": [11.9, 57.7]},
        "properties": {"timestamp": "2026-11-24T08:30:00Z", "speed": 8, "device_id": "van-7"},
    });
    let event = json!({"specversion": "1.0", "id": "e1", "type": "location", "source": "van-7", "data": {"lat": 57.7, "lng": 11.9}});
    match app {
        App::OsmAnd => vec![("application/x-www-form-urlencoded", text_content("id=123456&lat=57.7&lon=11.9&timestamp=1795509000"))],
        App::GpsLogger => vec![("application/x-www-form-urlencoded", text_content("lat=57.7&lon=11.9&timestamp=1795509000&ser=van-7"))],
        App::Traccar => vec![(JSON, anything(json!({"device_id": "123456", "location": location})))],
        App::OwnTracks => {
            vec![(JSON, anything(json!({"_type": "location", "lat": 57.7, "lon": 11.9, "tst": 1_795_509_000, "topic": "owntracks/anna/phone"})))]
        }
        App::Overland => vec![(JSON, anything(json!({"locations": [feature]})))],
        App::CloudEvents => {
            vec![("application/cloudevents+json", anything(event.clone())), ("application/cloudevents-batch+json", anything(json!([event])))]
        }
    }
}

fn anything(example: Value) -> Content {
    ContentBuilder::new().schema(Some(ObjectBuilder::new().schema_type(SchemaType::AnyValue))).example(Some(example)).build()
}

fn parameters(app: App) -> Vec<Parameter> {
    let of = |name: &str, description: &str, schema: ObjectBuilder| query(name, description, schema).build();
    let degrees = |name: &str, limit: f64| query(name, "Degrees, WGS 84", number(-limit, limit)).build();
    match app {
        App::OsmAnd => vec![
            of("id", "The device (or `deviceid`)", string()),
            degrees("lat", 90.0),
            degrees("lon", 180.0),
            of("timestamp", "Unix seconds or milliseconds, ISO 8601, or `yyyy-MM-dd HH:mm:ss` in UTC; absent: now", string()),
            of("speed", "In the unit of the setting `osmand_speed_unit`, or of `speed_unit`", string()),
            of("speed_unit", "The unit of this request's speed", string().enum_values(Some(["knots", "mps", "kmh"]))),
        ],
        App::GpsLogger => vec![
            of("ser", "The device (or `id`, `deviceid`, `device`, `device_id`, `aid`)", string()),
            degrees("lat", 90.0),
            degrees("lon", 180.0),
            of("timestamp", "Unix seconds or milliseconds, or ISO 8601 as `time`; absent: now", string()),
            of("spd", "Metres a second (or `s`, `speed`; `spd_kph` is kilometres an hour)", string()),
        ],
        App::OwnTracks => vec![of("u", "The user", string()), of("d", "The user's device", string())],
        App::Overland => vec![
            of("device_id", "The device of features that do not say it", string()),
            of("hints", "`1`: the reply may carry `set.send_interval`, how soon the next batch is wanted", string()),
        ],
        App::CloudEvents => vec![header_parameter("ce-id", "In binary mode each attribute is a header: the event's id", string()).build()],
        App::Traccar => Vec::new(),
    }
}
