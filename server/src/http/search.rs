//! What a read asks for in its query string, checked parameter by parameter. Reads nothing.

use serde::Deserialize;

use crate::formats::problem::Problem;
use crate::http::problem::Kind;
use crate::map::query::RowFilter;
use crate::map::viewport::Viewport;
use crate::model::id::{DeliveryId, DriverId};
use crate::model::scope::Scope;
use crate::model::status::Status;
use crate::model::tags::TagWish;

const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 10_000;

/// The query of `GET /v1/deliveries` and `/v1/deliveries/nearest`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Search {
    /// west,south,east,north in degrees; west greater than east crosses the antimeridian.
    pub(super) bbox: Option<String>,
    /// Statuses, joined by commas.
    pub(super) status: Option<String>,
    pub(super) driver: Option<String>,
    /// `name` or `name=value`, joined by commas.
    pub(super) tag: Option<String>,
    pub(super) late_risk: Option<bool>,
    /// Part of a delivery's id.
    pub(super) q: Option<String>,
    pub(super) limit: Option<usize>,
    pub(super) cursor: Option<String>,
    /// `id`: id and position alone.
    pub(super) fields: Option<String>,
    pub(super) lat: Option<f64>,
    pub(super) lng: Option<f64>,
}

impl Search {
    /// Whether every parameter is what it must be, whichever route asks.
    pub fn check(&self) -> Result<(), Problem> {
        self.bbox.as_deref().map(viewport).transpose()?;
        filter(self, &Scope::default())?;
        limit(self)?;
        self.after().map(drop)
    }

    pub(super) fn after(&self) -> Result<Option<DeliveryId>, Problem> {
        self.cursor.as_deref().map(|cursor| DeliveryId::parse(cursor).map_err(|error| bad("/cursor", &error.to_string()))).transpose()
    }
}

pub(super) fn filter(search: &Search, scope: &Scope) -> Result<RowFilter, Problem> {
    let statuses = search.status.iter().flat_map(|list| list.split(',')).map(str::parse::<Status>).collect::<Result<_, _>>();
    let driver = search.driver.as_deref().map(DriverId::parse).transpose().map_err(|error| bad("/driver", &error.to_string()))?;
    let statuses = statuses.map_err(|error| bad("/status", &error.to_string()))?;
    let tags = TagWish::parse(search.tag.iter().flat_map(|list| list.split(','))).map_err(|error| bad("/tag", &error.to_string()))?;
    let late_risk = search.late_risk.unwrap_or_default();
    Ok(RowFilter { statuses, driver, tags, late_risk, q: search.q.clone(), scope: scope.clone() })
}

pub(super) fn limit(search: &Search) -> Result<usize, Problem> {
    match search.limit.unwrap_or(DEFAULT_LIMIT) {
        limit @ 1..=MAX_LIMIT => Ok(limit),
        _ => Err(bad("/limit", &format!("must be from 1 to {MAX_LIMIT}"))),
    }
}

pub(super) fn viewport(bbox: &str) -> Result<Viewport, Problem> {
    let numbers: Option<Vec<f64>> = bbox.split(',').map(|part| part.trim().parse().ok()).collect();
    let Some([west, south, east, north]) = numbers.as_deref() else {
        return Err(bad("/bbox", "must be west,south,east,north in degrees"));
    };
    Viewport::new(*west, *south, *east, *north).map_err(|error| bad("/bbox", &format!("{error}")))
}

pub(super) fn bad(pointer: &str, detail: &str) -> Problem {
    Kind::InvalidParameter.says(detail).at(pointer)
}
