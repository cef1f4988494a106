//! The shapes of what comes in and goes out, as the document says them. Describes only: nothing is ever made of these types.

use std::collections::BTreeMap;

use utoipa::openapi::schema::{AnyOfBuilder, ObjectBuilder, Type};
use utoipa::openapi::{Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::answers::{Fix, Link, Motion};
use crate::formats::refusal::Code;
use crate::formats::results::Shed;
use crate::model::status::Status as ModelStatus;

/// One fact from a driver app, a tracker or a back office, at most 32 KiB. Members that are not known are kept.
#[derive(ToSchema)]
pub struct Event {
    /// Idempotency key: a `UUIDv7` or any other string.
    #[schema(min_length = 1, max_length = 64)]
    pub event_id: String,
    /// `location`, `delivery.created`, `delivery.assigned`, `delivery.status`, `delivery.eta` or `driver.duty`; another well-formed name is stored
    /// and changes no state.
    #[schema(max_length = 64)]
    pub event_name: String,
    #[schema(minimum = 1)]
    pub schema_version: Option<u32>,
    /// Must be the credential's tenant when given.
    pub tenant_id: Option<String>,
    /// The driver or tracker that speaks: required on `location` and `driver.duty`.
    #[schema(min_length = 1, max_length = 64)]
    pub actor_id: Option<String>,
    /// The delivery spoken of: required on every `delivery.*`.
    #[schema(min_length = 1, max_length = 64)]
    pub entity_id: Option<String>,
    pub event_time: Moment,
    pub payload: Option<Payload>,
}

/// RFC 3339 with an offset, or Unix milliseconds.
pub struct Moment;

impl ToSchema for Moment {}

impl PartialSchema for Moment {
    fn schema() -> RefOr<Schema> {
        let of = |kind| ObjectBuilder::new().schema_type(kind);
        let description = "By the sender's clock: RFC 3339 with an offset, or Unix milliseconds. More than 24 h ahead is refused.";
        let any = AnyOfBuilder::new().item(of(Type::String)).item(of(Type::Integer)).description(Some(description));
        RefOr::T(Schema::AnyOf(any.build()))
    }
}

/// What `event_name` says it is.
pub struct Payload;

impl PartialSchema for Payload {
    fn schema() -> RefOr<Schema> {
        let names = [
            LocationPayload::name(),
            CreatedPayload::name(),
            AssignedPayload::name(),
            StatusPayload::name(),
            EtaPayload::name(),
            DutyPayload::name(),
        ];
        let anything = ObjectBuilder::new().description(Some("The payload of an event whose name is not known"));
        let known = names.into_iter().fold(AnyOfBuilder::new(), |any, name| any.item(Ref::from_schema_name(name)));
        RefOr::T(Schema::AnyOf(known.item(anything).description(Some("By `event_name`")).build()))
    }
}

impl ToSchema for Payload {
    fn schemas(all: &mut Vec<(String, RefOr<Schema>)>) {
        fn with<T: ToSchema>(all: &mut Vec<(String, RefOr<Schema>)>) {
            all.push((T::name().into_owned(), T::schema()));
            T::schemas(all);
        }
        with::<LocationPayload>(all);
        with::<CreatedPayload>(all);
        with::<AssignedPayload>(all);
        with::<StatusPayload>(all);
        with::<EtaPayload>(all);
        with::<DutyPayload>(all);
    }
}

/// Of `location`. Exactly 0,0 is refused: it is what a device without a fix sends.
#[derive(ToSchema)]
pub struct LocationPayload {
    /// Degrees, WGS 84.
    #[schema(minimum = -90, maximum = 90)]
    pub lat: f64,
    #[schema(minimum = -180, maximum = 180)]
    pub lng: f64,
    /// Radius of 68 % confidence, metres.
    #[schema(minimum = 0, maximum = 100_000)]
    pub accuracy_m: Option<f32>,
    #[schema(minimum = 0, maximum = 1000)]
    pub speed_mps: Option<f32>,
    /// Clockwise from true north.
    #[schema(minimum = 0, maximum = 360)]
    pub heading_deg: Option<f32>,
    #[schema(minimum = -12_000, maximum = 100_000)]
    pub altitude_m: Option<f32>,
    #[schema(minimum = 0, maximum = 1)]
    pub battery: Option<f32>,
}

/// Of `delivery.created`.
#[derive(ToSchema)]
pub struct CreatedPayload {
    pub pickup: Option<Place>,
    pub destination: Option<Place>,
    pub promised_by: Option<Moment>,
    /// The sender's own reference to the recipient; never a name or an address.
    #[schema(max_length = 256)]
    pub recipient_ref: Option<String>,
    /// At most 32; names of 1 to 64 bytes, values of at most 256.
    pub attributes: Option<BTreeMap<String, String>>,
}

/// Of `delivery.assigned`.
#[derive(ToSchema)]
pub struct AssignedPayload {
    #[schema(min_length = 1, max_length = 64)]
    pub driver: String,
}

/// Of `delivery.status`.
#[derive(ToSchema)]
pub struct StatusPayload {
    pub status: Status,
    /// Required for `failed`.
    #[schema(max_length = 256)]
    pub reason: Option<String>,
    pub proof: Option<Proof>,
}

/// Of `delivery.eta`.
#[derive(ToSchema)]
pub struct EtaPayload {
    pub eta: Moment,
}

/// Of `driver.duty`: a position inside an off-duty interval is never shown.
#[derive(ToSchema)]
pub struct DutyPayload {
    pub on: bool,
}

#[derive(ToSchema)]
pub struct Place {
    /// Degrees, WGS 84.
    #[schema(minimum = -90, maximum = 90)]
    pub lat: f64,
    #[schema(minimum = -180, maximum = 180)]
    pub lng: f64,
}

#[derive(ToSchema)]
pub struct Proof {
    /// 64 hex digits.
    pub sha256: String,
    pub url: String,
}

/// Of a delivery, in the order it usually goes.
pub struct Status;

impl ToSchema for Status {}

impl PartialSchema for Status {
    fn schema() -> RefOr<Schema> {
        let words = ModelStatus::ALL.map(ModelStatus::as_str);
        ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words)).build().into()
    }
}

/// Events together, and when they were sent.
#[derive(ToSchema)]
pub struct EventBatch {
    pub events: Vec<Event>,
    /// By the same clock as the events' times: lets the server correct one that runs ahead.
    pub sent_at: Option<Moment>,
}

/// One result an item, in the order sent.
#[derive(ToSchema)]
pub struct BatchResult {
    pub results: Vec<ItemResult>,
    /// Of one driver's positions: the next is wanted after this time, once it has moved `min_distance_m`; at the latest after 20 s.
    pub next_interval_ms: Option<u32>,
    pub min_distance_m: Option<u32>,
}

#[derive(ToSchema)]
pub struct ItemResult {
    /// As far as it could be read.
    pub event_id: String,
    pub status: ItemStatus,
    pub code: Option<ItemCode>,
    /// JSON pointer into the event.
    pub pointer: Option<String>,
    pub detail: Option<String>,
    /// Where the event stands; for a duplicate, where it stood first.
    pub partition: Option<u16>,
    pub offset: Option<u64>,
}

#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum ItemStatus {
    Accepted,
    Duplicate,
    Rejected,
    /// Let go by policy, for good; `code` says what.
    Shed,
}

/// Stable; new ones may be added.
pub struct ItemCode;

impl ToSchema for ItemCode {}

impl PartialSchema for ItemCode {
    fn schema() -> RefOr<Schema> {
        let words: Vec<&str> =
            Code::ALL.into_iter().map(Code::as_str).chain(["content_differs"]).chain(Shed::ALL.into_iter().map(Shed::as_str)).collect();
        let description = "Why an item was rejected, or that a duplicate says something else than the first event of its id, or what was let go";
        ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words)).description(Some(description)).build().into()
    }
}

/// `GeoJSON` (RFC 7946).
#[derive(ToSchema)]
pub struct FeatureCollection {
    #[schema(value_type = String, pattern = "^FeatureCollection$")]
    pub r#type: String,
    pub features: Vec<Feature>,
    /// The cursor of the next page; null on the last.
    #[schema(required = true)]
    pub next: Option<String>,
}

/// `GeoJSON` (RFC 7946), the nearest first.
#[derive(ToSchema)]
pub struct NearestCollection {
    #[schema(value_type = String, pattern = "^FeatureCollection$")]
    pub r#type: String,
    pub features: Vec<Feature>,
}

/// A delivery on the map.
#[derive(ToSchema)]
pub struct Feature {
    #[schema(pattern = "^Feature$")]
    pub r#type: String,
    pub id: String,
    pub geometry: Point,
    pub properties: Properties,
}

#[derive(ToSchema)]
pub struct Point {
    #[schema(pattern = "^Point$")]
    pub r#type: String,
    /// Longitude, latitude.
    #[schema(min_items = 2, max_items = 2)]
    pub coordinates: Vec<f64>,
}

/// Empty with `fields=id`.
#[derive(ToSchema)]
pub struct Properties {
    pub position: Option<Fix>,
    pub status: Option<Status>,
    pub driver: Option<String>,
    #[schema(format = DateTime)]
    pub eta: Option<String>,
    #[schema(format = DateTime)]
    pub promised_by: Option<String>,
    /// Metres a second, smoothed; in hundredths, from 327.68 on in tenths.
    pub speed_mps: Option<f32>,
    /// Clockwise from true north, in hundredths of a degree.
    pub heading_deg: Option<f32>,
    pub motion: Option<Motion>,
    pub link: Option<Link>,
    #[schema(format = DateTime)]
    pub heard: Option<String>,
    /// From the place asked about, for the nearest.
    pub distance_m: Option<f64>,
}
