//! `/v1/devices`: whose phone each device is. The table itself is `devices`.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Extension, Path, Query, State};
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse as _;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::devices::{Device, Devices, DevicesError};
use crate::formats::problem::Problem;
use crate::formats::time;
use crate::http::auth::Principal;
use crate::http::problem::{self, Kind};
use crate::model::device::DeviceId;
use crate::model::id::DriverId;
use crate::model::scope::Scope;

#[derive(Clone, Debug)]
pub struct DevicesState {
    pub devices: Arc<Devices>,
}

/// The query of `GET /v1/devices`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Page {
    driver: Option<String>,
    limit: Option<u32>,
    cursor: Option<String>,
}

/// The body of `PUT /v1/devices/{device}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assignment {
    driver: String,
}

const DEFAULT_LIMIT: u32 = 100;
const MAX_LIMIT: u32 = 1000;

type Answer = Result<Response<Body>, Problem>;

fn respond(answer: Answer) -> Response<Body> {
    answer.unwrap_or_else(|problem| problem::respond(&problem))
}

pub async fn list(
    State(state): State<DevicesState>,
    Extension(principal): Extension<Arc<Principal>>,
    page: Result<Query<Page>, QueryRejection>,
) -> Response<Body> {
    respond(page_of(&state, &principal, page).await)
}

pub async fn get(State(state): State<DevicesState>, Extension(principal): Extension<Arc<Principal>>, Path(device): Path<String>) -> Response<Body> {
    respond(one(&state, &principal, &device).await)
}

pub async fn put(
    State(state): State<DevicesState>,
    Extension(principal): Extension<Arc<Principal>>,
    Path(device): Path<String>,
    assignment: Result<Json<Assignment>, JsonRejection>,
) -> Response<Body> {
    respond(assign(&state, &principal, &device, assignment).await)
}

pub async fn delete(
    State(state): State<DevicesState>,
    Extension(principal): Extension<Arc<Principal>>,
    Path(device): Path<String>,
) -> Response<Body> {
    respond(remove(&state, &principal, &device).await)
}

async fn page_of(state: &DevicesState, principal: &Principal, page: Result<Query<Page>, QueryRejection>) -> Answer {
    let tenant = principal.tenant;
    let Query(page) = page.map_err(|error| Kind::InvalidParameter.says(error.body_text()).at("/"))?;
    let driver = page.driver.as_deref().map(driver_of).transpose()?;
    let after = page.cursor.as_deref().map(|cursor| DeviceId::parse(cursor).map_err(|error| bad("/cursor", &error.to_string()))).transpose()?;
    let limit = page.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(bad("/limit", &format!("must be from 1 to {MAX_LIMIT}")));
    }
    // One more than asked for tells whether there is a next page.
    let mut found = state.devices.list(tenant, driver.as_ref(), after.as_ref(), limit + 1).await.map_err(|error| failed(&error))?;
    let more = found.len() > limit as usize;
    found.truncate(limit as usize);
    let next = found.last().filter(|_last| more).map(|last| last.device.as_str().to_owned());
    // What lies outside of the scope is left out of a page, which may be short for that.
    let devices: Vec<Value> = found.iter().filter(|found| sees(&principal.scope, &found.driver)).map(said).collect();
    Ok(Json(json!({"devices": devices, "next": next})).into_response())
}

async fn one(state: &DevicesState, principal: &Principal, device: &str) -> Answer {
    let tenant = principal.tenant;
    let found = state.devices.find(tenant, &device_of(device)?).await.map_err(|error| failed(&error))?;
    let found = found.filter(|found| sees(&principal.scope, &found.driver));
    found.map(|found| Json(said(&found)).into_response()).ok_or_else(not_listed)
}

async fn assign(state: &DevicesState, principal: &Principal, device: &str, assignment: Result<Json<Assignment>, JsonRejection>) -> Answer {
    let tenant = principal.tenant;
    let device = device_of(device)?;
    let Json(assignment) = assignment.map_err(|rejection| match rejection {
        JsonRejection::MissingJsonContentType(missing) => Kind::MediaType.says(missing.body_text()),
        rejection => Kind::MalformedBody.says(rejection.body_text()),
    })?;
    let driver = driver_of(&assignment.driver)?;
    let known = state.devices.find(tenant, &device).await.map_err(|error| failed(&error))?;
    if [Some(&driver), known.as_ref().map(|known| &known.driver)].into_iter().flatten().any(|driver| !sees(&principal.scope, driver)) {
        return Err(Kind::Role.says("the credential is not for this driver"));
    }
    let put = state.devices.put(tenant, &device, &driver).await.map_err(|error| failed(&error))?;
    Ok(Json(said(&put)).into_response())
}

async fn remove(state: &DevicesState, principal: &Principal, device: &str) -> Answer {
    let tenant = principal.tenant;
    let device = device_of(device)?;
    let known = state.devices.find(tenant, &device).await.map_err(|error| failed(&error))?;
    if !known.is_some_and(|known| sees(&principal.scope, &known.driver)) {
        return Err(not_listed());
    }
    let listed = state.devices.delete(tenant, &device).await.map_err(|error| failed(&error))?;
    if listed { Ok(StatusCode::NO_CONTENT.into_response()) } else { Err(not_listed()) }
}

/// A phone is its driver's: who may see only deliveries or an area sees none.
fn sees(scope: &Scope, driver: &DriverId) -> bool {
    scope.holds_driver(Some(driver)) && scope.deliveries().is_none() && scope.areas().is_empty()
}

fn said(device: &Device) -> Value {
    json!({"device": *device.device.as_str(), "driver": *device.driver.as_str(), "updated": time::print(device.updated)})
}

fn device_of(text: &str) -> Result<DeviceId, Problem> {
    DeviceId::parse(text).map_err(|error| bad("/device", &error.to_string()))
}

fn driver_of(text: &str) -> Result<DriverId, Problem> {
    DriverId::parse(text).map_err(|error| bad("/driver", &error.to_string()))
}

fn bad(pointer: &str, detail: &str) -> Problem {
    Kind::InvalidParameter.says(detail).at(pointer)
}

fn not_listed() -> Problem {
    Kind::NotFound.says("no such device")
}

fn failed(error: &DevicesError) -> Problem {
    if matches!(error, DevicesError::TooMany) {
        return Kind::DeviceLimit.says(error.to_string());
    }
    tracing::error!(%error, "the table of devices failed");
    Kind::KeyStore.says("the table of devices failed; try again")
}
