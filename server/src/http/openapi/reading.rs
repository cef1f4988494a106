//! The operations that read, as the document says them. Answers no request.

use serde_json::{Value, json};
use utoipa::openapi::path::{OperationBuilder, Parameter};
use utoipa::openapi::schema::Type;
use utoipa::openapi::{ObjectBuilder, Required};

use super::answers::{Delivery, Driver, IngestStats};
use super::parts::{GUARDED, JSON, PROTOBUF, answer, content, header_parameter, id, number, operation, path_id, position_parameter};
use super::parts::{problems, protobuf, query, string};
use super::schemas::{FeatureCollection, NearestCollection};
use crate::http::problem::Kind;
use crate::model::status::Status;

pub(super) fn deliveries() -> OperationBuilder {
    let description = "Those on the map, as GeoJSON or Protobuf, ordered by id. A page ends with a cursor in `next` until there is no more.";
    let bbox = query(
        "bbox",
        "`west,south,east,north` in degrees; a west greater than the east crosses the antimeridian",
        string().examples([json!("11.9,57.6,12.1,57.8")]),
    );
    let operation = reading("findDeliveries", "Find deliveries", description)
        .parameter(bbox.build())
        .parameters(Some(filters()))
        .parameter(query("cursor", "`next` of the page before", id()).build())
        .parameter(query("fields", "`id`: id and position alone", string().enum_values(Some(["id"]))).build())
        .parameter(header_parameter("Accept", "`application/x-protobuf` for a `waypost.v1.DeliveryPage`; else JSON", string()).build());
    let example = json!({"type": "FeatureCollection", "features": [feature()], "next": null});
    let page = answer("A page", JSON, content::<FeatureCollection>(example)).content(PROTOBUF, protobuf("waypost.v1.DeliveryPage"));
    let operation = operation.response("200", page.build());
    problems(operation, &[&GUARDED[..], &[Kind::InvalidParameter, Kind::Recovering, Kind::Behind, Kind::TooManySearches]].concat())
}

pub(super) fn nearest() -> OperationBuilder {
    let degrees = |name: &str, limit: f64| query(name, "Degrees, WGS 84", number(-limit, limit)).required(Required::True).build();
    let operation = reading("nearestDeliveries", "The nearest deliveries", "By great-circle distance, the nearest first.")
        .parameter(degrees("lat", 90.0))
        .parameter(degrees("lng", 180.0))
        .parameters(Some(filters()));
    let mut nearest = feature();
    nearest["properties"]["distance_m"] = json!(412.0);
    let example = json!({"type": "FeatureCollection", "features": [nearest]});
    let operation = operation.response("200", answer("The nearest", JSON, content::<NearestCollection>(example)).build());
    problems(operation, &[&GUARDED[..], &[Kind::InvalidParameter, Kind::Recovering, Kind::Behind, Kind::TooManySearches]].concat())
}

pub(super) fn delivery() -> OperationBuilder {
    let operation = reading("delivery", "One delivery", "Also one that left the map, for 24 h.").parameter(path_id("The delivery"));
    let example = json!({
        "id": "order-1042", "status": "picked_up", "driver": "driver-7", "assignment": "explicit", "position": fix(), "speed_mps": 8.2, "heading_deg": 90.0,
        "motion": "moving", "link": "live", "heard": "2026-11-24T09:30:01Z", "pickup": {"lat": 57.7, "lng": 11.96}, "destination": {"lat": 57.71, "lng": 11.99},
        "promised_by": null, "eta": "2026-11-24T09:41:00Z", "recipient_ref": null, "attributes": {},
        "history": [{"status": "picked_up", "time": "2026-11-24T09:29:00Z", "legal": true, "reason": null, "proof": null}],
    });
    let operation = operation.response("200", answer("The delivery", JSON, content::<Delivery>(example)).build());
    problems(operation, &entity_kinds())
}

pub(super) fn driver() -> OperationBuilder {
    let operation = reading("driver", "One driver", "While on duty and on the map.").parameter(path_id("The driver"));
    let example = json!({
        "id": "driver-7", "position": fix(), "speed_mps": 8.2, "heading_deg": 90.0, "status": "picked_up", "motion": "moving", "link": "live",
        "heard": "2026-11-24T09:30:01Z", "deliveries": [{"id": "order-1042", "status": "picked_up", "eta": null, "promised_by": null}], "deliveries_count": 1,
    });
    let operation = operation.response("200", answer("The driver", JSON, content::<Driver>(example)).build());
    problems(operation, &entity_kinds())
}

pub(super) fn ingest_stats() -> OperationBuilder {
    let description = "Of the credential's tenant, since this node started. The columns add up at any moment: \
                       `received = accepted + duplicate + rejected + shed + in_flight`; what was refused whole is counted apart.";
    let example = json!({
        "received": 1000, "accepted": 990, "duplicate": 6, "rejected": 3, "shed": 0, "in_flight": 1, "refused": 0, "pressure": "none",
    });
    let operation = operation("ingestStats", "events", "What became of the events", description);
    let operation = operation.response("200", answer("The columns", JSON, content::<IngestStats>(example)).build());
    problems(operation, &[&GUARDED[..], &[Kind::Recovering]].concat())
}

fn reading(id: &str, summary: &str, description: &str) -> OperationBuilder {
    operation(id, "picture", summary, description).parameter(position_parameter())
}

fn entity_kinds() -> Vec<Kind> {
    [&GUARDED[..], &[Kind::InvalidParameter, Kind::NotFound, Kind::Recovering, Kind::Behind, Kind::Closing]].concat()
}

fn filters() -> Vec<Parameter> {
    let statuses = format!("Any of these, joined by commas: {}", Status::ALL.map(Status::as_str).join(", "));
    let limit = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)).maximum(Some(10_000)).default(Some(json!(100)));
    vec![
        query("status", &statuses, string().examples([json!("picked_up,arrived")])).build(),
        query("driver", "Those of this driver", id()).build(),
        query("tag", "Those with any of these attributes, `name` or `name=value`, joined by commas", string().examples([json!("size=xl,cold")]))
            .build(),
        query(
            "late_risk",
            "`true`: those that have not ended and are expected after their promise, or whose promise has passed",
            ObjectBuilder::new().schema_type(Type::Boolean),
        )
        .build(),
        query("q", "Part of a delivery's id", string()).build(),
        query("limit", "How many at most", limit).build(),
    ]
}

fn fix() -> Value {
    json!({"lat": 57.7089, "lng": 11.9746, "time": "2026-11-24T09:30:00Z", "accuracy_m": 5.0})
}

fn feature() -> Value {
    json!({
        "type": "Feature", "id": "order-1042", "geometry": {"type": "Point", "coordinates": [11.9746, 57.7089]},
        "properties": {
            "position": fix(), "status": "picked_up", "driver": "driver-7", "eta": null, "promised_by": null, "speed_mps": 8.2, "heading_deg": 90.0,
            "motion": "moving", "link": "live", "heard": "2026-11-24T09:30:01Z",
        },
    })
}
