//! The operations on devices and their shapes, as the document says them. Answers no request.

use serde_json::{Value, json};
use utoipa::openapi::path::OperationBuilder;
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::Type;
use utoipa::openapi::{ObjectBuilder, Required, ResponseBuilder};

use super::answers::{DeviceEntry, DeviceOwner, DevicePage};
use super::parts::{GUARDED, JSON, answer, content, id, operation, path_parameter, problems, query};
use crate::http::problem::Kind;

pub(super) fn list() -> OperationBuilder {
    let description = "Ordered by id. A device that is not listed is its own driver, or refused, as the setting `devices` (`open` or `strict`) says.";
    let limit = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)).maximum(Some(1000)).default(Some(json!(100)));
    let operation = operation("devices", "devices", "List devices", description)
        .parameter(query("driver", "Those of this driver", id()).build())
        .parameter(query("limit", "How many at most", limit).build())
        .parameter(query("cursor", "`next` of the page before", id()).build());
    let page = json!({"devices": [device()], "next": null});
    let operation = operation.response("200", answer("A page", JSON, content::<DevicePage>(page)).build());
    problems(operation, &[&GUARDED[..], &[Kind::InvalidParameter]].concat())
}

pub(super) fn get() -> OperationBuilder {
    let operation = of_one("device", "Whose phone a device is", "As the table says it.");
    let operation = operation.response("200", answer("The device", JSON, content::<DeviceEntry>(device())).build());
    problems(operation, &[&GUARDED[..], &[Kind::InvalidParameter, Kind::NotFound]].concat())
}

pub(super) fn put() -> OperationBuilder {
    let description = "Counts at once, for what is sent from then on: what was stored stays its driver's.";
    let body = RequestBodyBuilder::new().required(Some(Required::True)).content(JSON, content::<DeviceOwner>(json!({"driver": "van-7"}))).build();
    let operation = of_one("assignDevice", "Say whose phone a device is", description).request_body(Some(body));
    let operation = operation.response("200", answer("The device", JSON, content::<DeviceEntry>(device())).build());
    problems(operation, &[&GUARDED[..], &[Kind::InvalidParameter, Kind::MalformedBody, Kind::MediaType, Kind::DeviceLimit]].concat())
}

pub(super) fn delete() -> OperationBuilder {
    let operation = of_one("removeDevice", "Forget whose phone a device is", "What was stored stays its driver's.");
    let operation = operation.response("204", ResponseBuilder::new().description("It is not listed any more").build());
    problems(operation, &[&GUARDED[..], &[Kind::InvalidParameter, Kind::NotFound]].concat())
}

fn of_one(id_of_operation: &str, summary: &str, description: &str) -> OperationBuilder {
    let named = path_parameter("device", "What its app calls it; a slash in it is sent as `%2F`", id());
    operation(id_of_operation, "devices", summary, description).parameter(named)
}

fn device() -> Value {
    json!({"device": "123456", "driver": "van-7", "updated": "2026-11-24T09:30:00Z"})
}
