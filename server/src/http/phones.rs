//! `/v1/in/..`: what phone apps send, each in its own words and answered in its own words. No rule of events and none of devices lives here.

mod cloud;
pub(in crate::http) mod credential;
mod owners;
pub(in crate::http) mod reply;

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{Request as HttpRequest, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Response};
use bytes::Bytes;
use metrics::counter;

use crate::clock::Clock;
use crate::config::devices::UnlistedDevices;
use crate::dead_letters::letter::Protocol;
use crate::devices::Devices;
use crate::formats::phone::pairs::Pairs;
use crate::formats::phone::{Heard, Item};
use crate::formats::problem::Problem;
use crate::formats::refusal::Refusal;
use crate::formats::{gpslogger, osmand, overland, owntracks, traccar};
use crate::http::auth::Principal;
use crate::http::events::{self, EventsState};
use crate::http::problem;
use crate::ingest::body::expand;
use crate::ingest::{Ingest, ReadItem, Refused};
use crate::log::wal::Wal;
use crate::model::speed::SpeedUnit;
use credential::Login;
use owners::Owners;

/// The protocols that have an address of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum App {
    OsmAnd,
    Traccar,
    OwnTracks,
    Overland,
    GpsLogger,
    CloudEvents,
}

/// What the routes need.
#[derive(Clone, Debug)]
pub struct PhonesState {
    pub events: EventsState,
    pub devices: Arc<Devices>,
    pub clock: Clock,
    pub osmand_speed_unit: SpeedUnit,
    pub unlisted: UnlistedDevices,
}

impl App {
    /// The value of the label `app`.
    pub fn name(self) -> &'static str {
        match self {
            Self::OsmAnd => "osmand",
            Self::Traccar => "traccar",
            Self::OwnTracks => "owntracks",
            Self::Overland => "overland",
            Self::GpsLogger => "gpslogger",
            Self::CloudEvents => "cloudevents",
        }
    }

    pub fn path(self) -> &'static str {
        match self {
            Self::OsmAnd => "/v1/in/osmand",
            Self::Traccar => "/v1/in/traccar",
            Self::OwnTracks => "/v1/in/owntracks",
            Self::Overland => "/v1/in/overland",
            Self::GpsLogger => "/v1/in/gpslogger",
            Self::CloudEvents => "/v1/in/cloudevents",
        }
    }

    /// For apps that can set nothing but an address. `path_key` strikes the key from it.
    pub fn path_with_key(self) -> &'static str {
        match self {
            Self::OsmAnd => "/v1/in/k/{key}/osmand",
            Self::Traccar => "/v1/in/k/{key}/traccar",
            Self::OwnTracks => "/v1/in/k/{key}/owntracks",
            Self::Overland => "/v1/in/k/{key}/overland",
            Self::GpsLogger => "/v1/in/k/{key}/gpslogger",
            Self::CloudEvents => "/v1/in/k/{key}/cloudevents",
        }
    }
}

pub async fn take(app: App, State(state): State<PhonesState>, request: HttpRequest) -> Response<Body> {
    answer(app, &state, request).await.unwrap_or_else(|problem| reply::problem(&problem))
}

async fn answer(app: App, state: &PhonesState, request: HttpRequest) -> Result<Response<Body>, Problem> {
    let (mut head, body) = request.into_parts();
    let (principal, login) = (head.extensions.remove::<Arc<Principal>>(), head.extensions.remove::<Login>().unwrap_or_default());
    let principal = principal.expect("the gate lets nobody in who did not say who it is");
    let Some(ingest) = state.events.ingest.get() else {
        return Err(problem::recovering());
    };
    let encoding = events::encoding(&head.headers)?;
    let body = events::read_body(&state.events, body).await?;
    let body = expand(body, encoding, ingest.limits().max_bytes).map_err(|refused| problem::refused(&Refused::Body(refused)))?;
    let started = Instant::now();
    let call = Call { app: spoken(app, &head, &body), state, head, body, principal, login: login.0, ingest };
    let answered = if app == App::CloudEvents { cloud::answer(&call).await } else { call.answer().await };
    metrics::histogram!("waypost_ack_seconds").record(started.elapsed().as_secs_f64());
    answered
}

/// The Traccar Client sends its new form to the address of its old one when it is updated and its settings stay.
fn spoken(app: App, head: &Parts, body: &[u8]) -> App {
    let old_address = app == App::OsmAnd && head.uri.query().unwrap_or("").is_empty();
    if old_address && body.trim_ascii_start().starts_with(b"{") { App::Traccar } else { app }
}

/// One request whose sender is known.
struct Call<'a> {
    app: App,
    state: &'a PhonesState,
    head: Parts,
    body: Bytes,
    principal: Arc<Principal>,
    /// The user name that came with the key.
    login: Option<String>,
    ingest: &'a Ingest<Wal>,
}

impl Call<'_> {
    async fn answer(&self) -> Result<Response<Body>, Problem> {
        let heard = self.decode()?;
        let ignored = heard.ignored + heard.items.iter().filter(|item| item.read == Ok(None)).count();
        if ignored > 0 {
            counter!("waypost_ignored_reports_total", "app" => self.app.name()).increment(ignored as u64);
        }
        let items = self.events(heard.items).await?;
        if items.is_empty() {
            return Ok(reply::taken(self.app, None, false));
        }
        let submitted = self.ingest.submit_read(self.principal.tenant, self.principal.scope.clone(), self.protocol(), items).await;
        Ok(submitted.map_or_else(|refused| problem::respond_refused(&refused), |answer| reply::taken(self.app, Some(&answer), self.wants_hints())))
    }

    fn wants_hints(&self) -> bool {
        let query = self.head.uri.query().unwrap_or("").as_bytes();
        Pairs::parse(query).ok().and_then(|mut pairs| pairs.text(&["hints"])).is_some_and(|hints| hints == "1" || hints == "true")
    }

    fn protocol(&self) -> Protocol {
        Protocol::of(self.app.name())
    }

    /// An item as it came: its place in the body, else all of the body, or of the query where there is none.
    fn raw(&self, place: Option<Range<usize>>) -> Bytes {
        match place {
            Some(place) => self.body.slice(place),
            None if self.body.is_empty() => Bytes::copy_from_slice(self.head.uri.query().unwrap_or("").as_bytes()),
            None => self.body.clone(),
        }
    }

    fn decode(&self) -> Result<Heard, Problem> {
        let query = self.head.uri.query().unwrap_or("").as_bytes();
        Ok(match self.app {
            App::OsmAnd => osmand::decode(query, &self.body, self.state.osmand_speed_unit),
            App::GpsLogger => gpslogger::decode(query, &self.body),
            App::Traccar => traccar::decode(&self.body),
            App::OwnTracks => owntracks::decode(&self.body, &self.origin(query)),
            App::Overland => {
                let max = self.ingest.limits().max_events;
                overland::decode(&self.body, max).map_err(|refused| {
                    problem::refused(&match refused {
                        overland::NoBatch::Malformed(refusal) => Refused::Malformed(refusal),
                        overland::NoBatch::TooMany { found } => Refused::TooMany { found, max },
                    })
                })?
            }
            App::CloudEvents => Heard::default(),
        })
    }

    /// Who an `OwnTracks` request says it comes from: its address counts before its headers.
    fn origin(&self, query: &[u8]) -> owntracks::Origin {
        let mut pairs = Pairs::parse(query).ok();
        let mut said = |name: &str, header: &str| {
            let in_address = pairs.as_mut().and_then(|pairs| pairs.text(&[name]));
            in_address.or_else(|| header_text(&self.head.headers, header))
        };
        owntracks::Origin { user: said("u", "x-limit-u"), device: said("d", "x-limit-d"), login: self.login.clone() }
    }

    /// Finds each report's driver and makes its event.
    async fn events(&self, items: Vec<Item>) -> Result<Vec<ReadItem>, Problem> {
        let mut owners = Owners::of(self, &items);
        let now = self.state.clock.now();
        let mut events = Vec::with_capacity(items.len());
        for Item { device, read, place } in items {
            let raw = self.raw(place);
            let (read, device) = match (read, device) {
                // What cannot be read is refused for good, whoever sent it.
                (Err(refusal), None) => {
                    events.push(refused(refusal, raw));
                    continue;
                }
                (read, device) => (read, device.unwrap_or_default()),
            };
            let owner = owners.find(&device).await?;
            events.extend(match read {
                Ok(None) => None,
                Err(refusal) => Some(refused(refusal, raw)),
                Ok(Some(report)) => {
                    let (claimed_id, time_at) = (report.event_id.clone().unwrap_or_default(), report.words.time.clone());
                    let named = device.first().map(String::as_str);
                    let read = owner.and_then(|driver| report.event(named, &driver, &self.principal.tenant, now));
                    Some(ReadItem { read, claimed_id, time_at, raw })
                }
            });
        }
        owners.check()?;
        Ok(events)
    }
}

fn refused(refusal: Refusal, raw: Bytes) -> ReadItem {
    ReadItem { read: Err(refusal), claimed_id: String::new(), time_at: Cow::default(), raw }
}

fn header_text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
}
