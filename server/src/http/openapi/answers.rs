//! The shapes of single entities and of what the server says of itself, as the document says them. Describes only.

use std::collections::BTreeMap;

use utoipa::ToSchema;

use super::schemas::{Place, Proof, Status};

/// All that is known of a delivery.
#[derive(ToSchema)]
pub struct Delivery {
    pub id: String,
    pub status: Status,
    #[schema(required = true)]
    pub driver: Option<String>,
    #[schema(required = true)]
    pub assignment: Option<Assignment>,
    /// Where it is, while it is on the map.
    #[schema(required = true)]
    pub position: Option<Fix>,
    /// Metres a second, smoothed; in hundredths, from 327.68 on in tenths.
    pub speed_mps: Option<f32>,
    /// Clockwise from true north, in hundredths of a degree.
    pub heading_deg: Option<f32>,
    pub motion: Option<Motion>,
    pub link: Option<Link>,
    #[schema(format = DateTime)]
    pub heard: Option<String>,
    #[schema(required = true)]
    pub pickup: Option<Place>,
    #[schema(required = true)]
    pub destination: Option<Place>,
    #[schema(required = true, format = DateTime)]
    pub promised_by: Option<String>,
    #[schema(required = true, format = DateTime)]
    pub eta: Option<String>,
    #[schema(required = true)]
    pub recipient_ref: Option<String>,
    pub attributes: BTreeMap<String, String>,
    /// The status events in the order of their times.
    pub history: Vec<StatusEvent>,
}

/// `explicit` by an event, `implied` by a driver who named the delivery.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum Assignment {
    Explicit,
    Implied,
}

#[derive(ToSchema)]
pub struct StatusEvent {
    pub status: Status,
    #[schema(format = DateTime)]
    pub time: String,
    /// Whether the transition table allows it at this place in the history.
    pub legal: bool,
    #[schema(required = true)]
    pub reason: Option<String>,
    #[schema(required = true)]
    pub proof: Option<Proof>,
}

#[derive(ToSchema)]
pub struct Driver {
    pub id: String,
    pub position: Fix,
    /// Metres a second, smoothed; in hundredths, from 327.68 on in tenths.
    pub speed_mps: f32,
    /// Clockwise from true north, in hundredths of a degree.
    #[schema(required = true)]
    pub heading_deg: Option<f32>,
    /// Of what is aboard; null while idle.
    #[schema(required = true)]
    pub status: Option<Status>,
    pub motion: Motion,
    pub link: Link,
    #[schema(format = DateTime)]
    pub heard: String,
    #[schema(max_items = 16)]
    pub deliveries: Vec<Aboard>,
    /// Of all aboard, also those not listed.
    pub deliveries_count: u32,
}

#[derive(ToSchema)]
pub struct Aboard {
    pub id: String,
    pub status: Status,
    #[schema(required = true, format = DateTime)]
    pub eta: Option<String>,
    #[schema(required = true, format = DateTime)]
    pub promised_by: Option<String>,
}

#[derive(ToSchema)]
pub struct Trade {
    /// Good for one trade.
    pub ticket: String,
}

#[derive(ToSchema)]
pub struct Session {
    /// Goes where a key goes.
    pub token: String,
}

/// One tenant's items since this node started: `received = accepted + duplicate + rejected + shed + in_flight`, at any moment.
#[derive(ToSchema)]
pub struct IngestStats {
    /// Decoded, of requests that are answered item by item.
    pub received: u64,
    pub accepted: u64,
    pub duplicate: u64,
    pub rejected: u64,
    /// Let go by policy.
    pub shed: u64,
    /// On their way to the log or from it.
    pub in_flight: u64,
    /// Of requests that were refused whole; not in `received`. A request that cannot be read counts as one.
    pub refused: u64,
    pub pressure: Pressure,
}

/// What the node lets go of at present: of a driver's pings within one second all but the first; all pings; all but statuses; `full`: a request with
/// a status is refused whole, too.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum Pressure {
    None,
    Repeats,
    Pings,
    AllButStatus,
    Full,
}

#[derive(ToSchema)]
pub struct Settings {
    /// A `MapLibre` style instead of the built-in map.
    #[schema(required = true)]
    pub style_url: Option<String>,
}

#[derive(ToSchema)]
pub struct Readiness {
    pub ready: bool,
    pub code: Option<ReadinessCode>,
    pub detail: Option<String>,
    pub recovery: Option<Recovery>,
    pub lag: Option<Lag>,
}

#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum ReadinessCode {
    Recovering,
    LogPoisoned,
    Stalled,
}

#[derive(ToSchema)]
pub struct Recovery {
    pub phase: Phase,
    /// In `replay`: blocks of the log since the checkpoint.
    pub blocks_done: Option<u64>,
    pub blocks_total: Option<u64>,
}

#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum Phase {
    Log,
    Checkpoint,
    Replay,
}

/// How far the map is behind what is durable.
#[derive(ToSchema)]
pub struct Lag {
    pub records: u64,
    /// The oldest record not on the map is at most this old.
    pub seconds: f64,
}

/// RFC 9457.
#[derive(ToSchema)]
pub struct Problem {
    /// `about:blank`: the status says what kind it is.
    pub r#type: String,
    pub title: String,
    pub status: u16,
    /// A stable word for programs.
    pub code: String,
    pub detail: String,
    /// JSON pointer to the field at fault.
    pub pointer: Option<String>,
    /// What the server's log and the header `X-Request-Id` call this request.
    pub request_id: Option<String>,
}

#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum Motion {
    Stopped,
    Moving,
}

/// How long ago it was heard: up to 30 s, 2 min, 10 min, longer.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum Link {
    Live,
    Delayed,
    Stale,
    Lost,
}

/// A phone or tracker and the driver who carries it.
#[derive(ToSchema)]
pub struct DeviceEntry {
    /// What its app calls it.
    #[schema(min_length = 1, max_length = 64)]
    pub device: String,
    #[schema(min_length = 1, max_length = 64)]
    pub driver: String,
    #[schema(format = DateTime)]
    pub updated: String,
}

#[derive(ToSchema)]
pub struct DevicePage {
    pub devices: Vec<DeviceEntry>,
    /// The cursor of the next page; null on the last.
    #[schema(required = true)]
    pub next: Option<String>,
}

/// Whose phone a device is to be.
#[derive(ToSchema)]
pub struct DeviceOwner {
    #[schema(min_length = 1, max_length = 64)]
    pub driver: String,
}

/// What Overland reads, and nothing else unless its address asks for hints.
#[derive(ToSchema)]
pub struct Taken {
    #[schema(pattern = "^ok$")]
    pub result: String,
    pub set: Option<OverlandSettings>,
}

/// Settings that the app takes from an answer.
#[derive(ToSchema)]
pub struct OverlandSettings {
    /// How soon the next batch is wanted.
    #[schema(pattern = "^[0-9]+s$")]
    pub send_interval: String,
}

/// The newest position and when it was taken.
#[derive(ToSchema)]
pub struct Fix {
    pub lat: f64,
    pub lng: f64,
    #[schema(format = DateTime)]
    pub time: String,
    /// Radius of 68 % confidence, metres: in hundredths, from 327.68 on in steps of four.
    #[schema(required = true)]
    pub accuracy_m: Option<f32>,
}
