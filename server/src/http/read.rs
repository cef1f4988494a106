//! The reading routes: deliveries by box, by id and nearest, drivers by id. Answers from the map and from facts; changes nothing.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, Path, Query, State};
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, Response};
use axum::response::IntoResponse as _;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use crate::formats::delivery_page;
use crate::formats::geojson::{self, Ending, Feature, Properties};
use crate::formats::problem::Problem;
use crate::formats::time::print as time;
use crate::http::auth::Principal;
use crate::http::problem::{self, Kind};
use crate::http::search::{Search, bad, filter, limit, viewport};
use crate::http::searches::Searches;
use crate::ingest::position::LogPosition;
use crate::map::SharedMap;
use crate::map::query::{Kept, Row, Whereabouts};
use crate::map::seek::list::Page;
use crate::map::seek::{Keep, Seek};
use crate::marker::shard::MarkerQuery;
use crate::model::change::Carrier;
use crate::model::event::partition_of;
use crate::model::id::{DeliveryId, DriverId, TenantId};
use crate::model::marker::Marker;
use crate::model::position::Position;
use crate::model::status::Status;
use crate::progress::{Progress, Stage};
use crate::readiness::Readiness;
use crate::track::delivery::AssignmentKind;
use crate::track::partition::PartitionInput;
use crate::track::view::DeliveryView;

#[derive(Clone, Debug)]
pub struct ReadState {
    pub map: SharedMap,
    pub searches: Searches,
    pub partitions: Arc<[mpsc::Sender<PartitionInput>]>,
    /// Who knows a marker to the last ping; the map is spared what is not worth a frame.
    pub shards: Arc<[mpsc::Sender<MarkerQuery>]>,
    pub progress: Arc<Progress>,
    /// While the log recovers the facts cannot be asked.
    pub readiness: Arc<Readiness>,
}

/// How long a reader waits for its own writes.
const POSITION_WAIT: Duration = Duration::from_secs(2);

type Answer = Result<Response<Body>, Problem>;
/// Who asks, as the gate has found.
type Asks = Extension<Arc<Principal>>;

fn respond(answer: Answer) -> Response<Body> {
    answer.unwrap_or_else(|problem| problem::respond(&problem))
}

pub async fn deliveries(
    State(state): State<ReadState>,
    Extension(principal): Asks,
    headers: HeaderMap,
    search: Result<Query<Search>, axum::extract::rejection::QueryRejection>,
) -> Response<Body> {
    respond(find(&state, &principal, &headers, search.map(|Query(search)| search).map_err(|error| bad("/", &error.body_text()))).await)
}

pub async fn nearest(
    State(state): State<ReadState>,
    Extension(principal): Asks,
    headers: HeaderMap,
    search: Result<Query<Search>, axum::extract::rejection::QueryRejection>,
) -> Response<Body> {
    respond(find_nearest(&state, &principal, &headers, search.map(|Query(search)| search).map_err(|error| bad("/", &error.body_text()))).await)
}

pub async fn delivery(State(state): State<ReadState>, Extension(principal): Asks, headers: HeaderMap, Path(id): Path<String>) -> Response<Body> {
    respond(one_delivery(&state, &principal, &headers, &id).await)
}

pub async fn driver(State(state): State<ReadState>, Extension(principal): Asks, headers: HeaderMap, Path(id): Path<String>) -> Response<Body> {
    respond(one_driver(&state, &principal, &headers, &id).await)
}

async fn find(state: &ReadState, principal: &Principal, headers: &HeaderMap, search: Result<Search, Problem>) -> Answer {
    state.admit(headers).await?;
    let Principal { tenant, scope, .. } = principal;
    let search = search?;
    let viewport = search.bbox.as_deref().map(viewport).transpose()?;
    let (filter, limit) = (filter(&search, scope)?, limit(&search)?);
    let after = search.after()?;
    let protobuf = wants_protobuf(headers);
    if search.fields.as_deref() == Some("id") {
        let page = state.sought(*tenant, Seek::list(viewport, filter, limit, after)).await?.answer();
        return Ok(word(&page, protobuf, |Whereabouts { delivery, position }| Feature { id: delivery, position: *position, properties: None }));
    }
    let page = state.sought(*tenant, Seek::list(viewport, filter, limit, after)).await?.answer();
    Ok(word(&page, protobuf, |row: &Row| feature(row, None)))
}

/// A page in the words that were asked for.
fn word<'a, R: Kept>(page: &'a Page<R>, protobuf: bool, feature: impl Fn(&'a R) -> Feature<'a> + Clone) -> Response<Body> {
    let (features, next) = (page.rows.iter().map(feature), page.next.as_ref());
    if protobuf {
        typed("application/x-protobuf", delivery_page::to_protobuf(features, next))
    } else {
        typed("application/json", geojson::collection(features, Ending::Page(next)))
    }
}

fn typed(kind: &'static str, body: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// JSON, unless `Accept` names the other.
fn wants_protobuf(headers: &HeaderMap) -> bool {
    headers.get(ACCEPT).and_then(|value| value.to_str().ok()).is_some_and(|accept| accept.contains("protobuf"))
}

async fn find_nearest(state: &ReadState, principal: &Principal, headers: &HeaderMap, search: Result<Search, Problem>) -> Answer {
    state.admit(headers).await?;
    let Principal { tenant, scope, .. } = principal;
    let search = search?;
    let (Some(lat), Some(lng)) = (search.lat, search.lng) else {
        return Err(bad("/lat", "lat and lng are required"));
    };
    let place = Position::from_degrees(lat, lng).map_err(|error| bad("/lat", &error.to_string()))?;
    let (filter, limit) = (filter(&search, scope)?, limit(&search)?);
    let found = state.sought(*tenant, Seek::nearest(place, filter, limit)).await?.answer();
    let features = found.iter().map(|(metres, row)| feature(row, Some(*metres)));
    Ok(typed("application/json", geojson::collection(features, Ending::Complete)))
}

async fn one_delivery(state: &ReadState, principal: &Principal, headers: &HeaderMap, id: &str) -> Answer {
    state.admit(headers).await?;
    let Principal { tenant, scope, .. } = principal;
    let id = DeliveryId::parse(id).map_err(|error| bad("/id", &error.to_string()))?;
    if !scope.holds_delivery(Some(&id)) {
        return Err(not_found("delivery"));
    }
    let partition = partition_of(tenant, &id.as_str(), u16::try_from(state.partitions.len()).unwrap_or(u16::MAX));
    let (reply, answer) = oneshot::channel();
    let question = PartitionInput::Delivery { tenant: *tenant, delivery: id.clone(), reply };
    state.partitions[partition.index()].send(question).await.map_err(|_closed| closing())?;
    let facts = answer.await.map_err(|_closed| closing())?.ok_or_else(|| not_found("delivery"))?;
    let driver = facts.assignment.as_ref().map(|of| &of.driver);
    let carrier = driver.map_or_else(|| Carrier::Delivery(id.clone()), |driver| Carrier::Driver(driver.clone()));
    let marker = if facts.left_map { None } else { state.marker(*tenant, carrier).await? };
    // Without a place it is in no area.
    let in_area = scope.areas().is_empty() || marker.as_ref().is_some_and(|marker| scope.holds_place(marker.position()));
    if !scope.holds_driver(driver) || !in_area {
        return Err(not_found("delivery"));
    }
    Ok(Json(delivery_json(&id, &facts, marker.as_ref())).into_response())
}

async fn one_driver(state: &ReadState, principal: &Principal, headers: &HeaderMap, id: &str) -> Answer {
    state.admit(headers).await?;
    let Principal { tenant, scope, .. } = principal;
    let id = DriverId::parse(id).map_err(|error| bad("/id", &error.to_string()))?;
    if !scope.holds_driver(Some(&id)) {
        return Err(not_found("driver"));
    }
    let marker = state.marker(*tenant, Carrier::Driver(id.clone())).await?.ok_or_else(|| not_found("driver"))?;
    let marker = scope.seen(&marker).ok_or_else(|| not_found("driver"))?;
    let aboard: Vec<Value> = marker
        .aboard()
        .iter()
        .map(|aboard| json!({"id": *aboard.delivery.as_str(), "status": aboard.status.as_str(), "eta": aboard.eta.get().map(time), "promised_by": aboard.promised_by.get().map(time)}))
        .collect();
    let mut body = marker_json(&marker);
    body["id"] = json!(*id.as_str());
    body["deliveries"] = json!(aboard);
    body["deliveries_count"] = json!(marker.aboard_count());
    Ok(Json(body).into_response())
}

fn closing() -> Problem {
    Kind::Closing.says("the server is stopping")
}

impl ReadState {
    /// Searches the map to the end. Between two pieces of a long search others have the map and the core.
    async fn sought<K: Keep>(&self, tenant: TenantId, mut seek: Seek<K>) -> Result<Seek<K>, Problem> {
        let mut go_on = || self.map.read().tenant(&tenant).is_none_or(|map| seek.go_on(map));
        if !go_on() {
            let _turn = self.searches.turn(tenant).await.ok_or_else(|| Kind::TooManySearches.says(Kind::TooManySearches.means()))?;
            while !go_on() {
                tokio::task::yield_now().await;
            }
        }
        Ok(seek)
    }

    /// The marker of a carrier as the facts have it now.
    async fn marker(&self, tenant: TenantId, carrier: Carrier) -> Result<Option<Marker>, Problem> {
        let shard = carrier.shard(&tenant, self.shards.len());
        let (reply, answer) = oneshot::channel();
        self.shards[shard].send(MarkerQuery { tenant, carrier, reply }).await.map_err(|_closed| closing())?;
        answer.await.map_err(|_closed| closing())
    }

    /// Waits for recovery to be over and for the reader's own writes.
    async fn admit(&self, headers: &HeaderMap) -> Result<(), Problem> {
        if !self.readiness.has_recovered() {
            return Err(problem::recovering());
        }
        let Some(position) = headers.get("waypost-position").and_then(|value| value.to_str().ok()) else {
            return Ok(());
        };
        let position: LogPosition = position.parse().map_err(|error| bad("/Waypost-Position", &format!("{error}")))?;
        let all = async {
            for (partition, offset) in position.iter() {
                if !self.progress.wait(Stage::Mapped, partition, offset, POSITION_WAIT).await {
                    return false;
                }
            }
            true
        };
        match tokio::time::timeout(POSITION_WAIT, all).await {
            Ok(true) => Ok(()),
            _ => Err(Kind::Behind.says("that position is not applied yet; try again")),
        }
    }
}

fn feature(row: &Row, distance_m: Option<f64>) -> Feature<'_> {
    let Row { status, eta, promised_by, position, fix_time, heard, accuracy_m, speed_mps, heading_deg, motion, link, .. } = *row;
    let driver = row.driver.as_ref();
    let of = Properties { status, driver, eta, promised_by, fix_time, heard, accuracy_m, speed_mps, heading_deg, motion, link, distance_m };
    Feature { id: &row.delivery, position, properties: Some(of) }
}

fn delivery_json(id: &DeliveryId, facts: &DeliveryView, marker: Option<&Marker>) -> Value {
    let point = |position: Option<Position>| position.map(|position| json!({"lat": position.lat(), "lng": position.lng()}));
    let history: Vec<Value> = facts
        .history
        .iter()
        .map(|event| {
            let proof = event.proof.as_ref().map(|proof| json!({"sha256": proof.sha256, "url": proof.url}));
            let at = time(event.order.effective_time);
            json!({"status": event.status.as_str(), "time": at, "legal": event.verdict.is_legal(), "reason": event.reason, "proof": proof})
        })
        .collect();
    let mut body = marker.map_or_else(|| json!({"position": null}), marker_json);
    let listed = marker.and_then(|marker| marker.aboard().iter().find(|aboard| aboard.delivery == *id));
    let kind = |kind| if kind == AssignmentKind::Explicit { "explicit" } else { "implied" };
    body["id"] = json!(*id.as_str());
    body["status"] = json!(facts.status.as_str());
    body["driver"] = json!(facts.assignment.as_ref().map(|assignment| assignment.driver.to_string()));
    body["assignment"] = json!(facts.assignment.as_ref().map(|assignment| kind(assignment.kind)));
    body["pickup"] = json!(point(facts.pickup));
    body["destination"] = json!(point(facts.destination));
    body["promised_by"] = json!(facts.promised_by.map(time));
    body["recipient_ref"] = json!(facts.recipient_ref);
    body["attributes"] = json!(facts.attributes.iter().map(|(name, value)| (&**name, &**value)).collect::<std::collections::BTreeMap<_, _>>());
    body["eta"] = json!(facts.reported_eta.or(listed.and_then(|aboard| aboard.eta.get())).map(time));
    body["history"] = json!(history);
    body
}

fn marker_json(marker: &Marker) -> Value {
    json!({
        "position": {"lat": marker.position().lat(), "lng": marker.position().lng(), "time": time(marker.fix_time()), "accuracy_m": marker.accuracy_m().get().map(hundredths)},
        "speed_mps": hundredths(marker.speed_mps()), "heading_deg": marker.heading_deg().get().map(hundredths), "status": marker.status().map(Status::as_str),
        "motion": marker.motion().as_str(), "link": marker.link().as_str(), "heard": time(marker.heard()),
    })
}

/// As a marker has it: a `json!` value is of twice the width, and would have digits that nobody said.
fn hundredths(value: f32) -> f64 {
    (f64::from(value) * 100.0).round() / 100.0
}

fn not_found(what: &str) -> Problem {
    Kind::NotFound.says(format!("no such {what}"))
}
