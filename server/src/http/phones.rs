//! `/v1/in/..`: what phone apps send, each in its own words and answered in its own words. No rule of events and none of devices lives here.

mod cloud;
pub(in crate::http) mod credential;
mod owners;
pub(in crate::http) mod reply;

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use axum::body::Body;
use axum::extract::{Request as HttpRequest, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Response};
use bytes::Bytes;
use metrics::counter;

use crate::clock::Clock;
use crate::devices::phone_book::PhoneBook;
use crate::formats::claims::Claims;
use crate::formats::phone::app::App;
use crate::formats::phone::pairs::Pairs;
use crate::formats::phone::{Heard, Item};
use crate::formats::postmark::{Manner, Postmark};
use crate::formats::problem::Problem;
use crate::formats::refusal::Refusal;
use crate::formats::{gpslogger, osmand, overland, owntracks};
use crate::http::auth::Principal;
use crate::http::events::{self, EventsState};
use crate::http::problem::{self, Kind};
use crate::ingest::body::{Encoding, expand};
use crate::ingest::read::{ReadItem, ReadRequest};
use crate::ingest::{Ingest, Refused};
use crate::log::wal::Wal;
use crate::model::id::DriverId;
use crate::model::time::UnixMs;
use credential::Login;
use owners::Owners;

/// What the routes need.
#[derive(Clone, Debug)]
pub struct PhonesState {
    pub events: EventsState,
    pub phone_book: PhoneBook,
    pub clock: Clock,
}

impl App {
    /// Its address.
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
    let (started, received) = (Instant::now(), state.clock.now());
    let call = Call { app, state, head, body, principal, login: login.0, ingest, received, found: AtomicUsize::new(0) };
    let answered = call.take(encoding).await;
    metrics::histogram!("waypost_ack_seconds").record(started.elapsed().as_secs_f64());
    answered
}

/// The Traccar Client sends its new form to the address of its old one when it is updated and its settings stay, whatever else stands in that address.
fn spoken(app: App, head: &Parts, body: &[u8]) -> App {
    let in_query = || osmand::has_place(head.uri.query().unwrap_or("").as_bytes());
    if app == App::OsmAnd && body.trim_ascii_start().starts_with(b"{") && !in_query() { App::Traccar } else { app }
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
    received: UnixMs,
    /// How many reports it was found to hold; none before that is known.
    found: AtomicUsize,
}

impl Call<'_> {
    async fn take(mut self, encoding: Encoding) -> Result<Response<Body>, Problem> {
        let answered = match self.open(encoding) {
            Ok(()) if self.app == App::CloudEvents => cloud::answer(&self).await?,
            Ok(()) => self.answer().await,
            Err(refused) => Err(refused),
        };
        match answered {
            Ok(response) => Ok(response),
            Err(refused) => Ok(self.turn_away(&refused).await),
        }
    }

    fn open(&mut self, encoding: Encoding) -> Result<(), Refused> {
        self.ingest.check(self.principal.tenant, 1)?;
        self.body = expand(self.body.clone(), encoding, self.ingest.limits().max_bytes)?;
        self.app = spoken(self.app, &self.head, &self.body);
        Ok(())
    }

    /// Answers a request that is refused before its items are taken.
    async fn turn_away(&self, refused: &Refused) -> Response<Body> {
        let found = self.found.load(Ordering::Relaxed);
        self.ingest.refuse_read(self.request(Manner::Body, None), refused, found, &self.body).await;
        match refused {
            // The protocol of `OsmAnd` knows no 404.
            Refused::Strangers { refusal, .. } if self.app == App::OsmAnd => {
                problem::respond(&Kind::InvalidParameter.says(refusal.detail.clone()).at(refusal.pointer.clone()))
            }
            _ => self.say(refused),
        }
    }

    /// In the app's own words.
    fn say(&self, refused: &Refused) -> Response<Body> {
        problem::respond_refused_of(refused, self.app.device_at())
    }

    async fn answer(&self) -> Result<Response<Body>, Refused> {
        let manner = self.manner();
        let heard = self.decode(&manner)?;
        let ignored = heard.ignored + heard.items.iter().filter(|item| item.read == Ok(None)).count();
        if ignored > 0 {
            counter!("waypost_ignored_reports_total", "app" => self.app.name()).increment(ignored as u64);
        }
        let request = self.events(manner, heard.items).await?;
        if request.items.is_empty() {
            return Ok(reply::taken(self.app, None, false));
        }
        let submitted = self.ingest.submit_read(request).await;
        Ok(submitted.map_or_else(|refused| self.say(&refused), |answer| reply::taken(self.app, Some(&answer), self.wants_hints())))
    }

    fn wants_hints(&self) -> bool {
        let query = self.head.uri.query().unwrap_or("").as_bytes();
        Pairs::parse(query).ok().and_then(|mut pairs| pairs.text(&["hints"])).is_some_and(|hints| hints == "1" || hints == "true")
    }

    /// What is to be sent to `ingest`, without items yet.
    fn request(&self, manner: Manner, unnamed: Option<String>) -> ReadRequest {
        let postmark = Postmark::of(manner, unnamed);
        let (tenant, scope) = (self.principal.tenant, self.principal.scope.clone());
        ReadRequest { tenant, scope, app: self.app, received: self.received, postmark, items: Vec::new() }
    }

    fn manner(&self) -> Manner {
        let query = self.head.uri.query().unwrap_or("");
        let in_body = |has_place: fn(&[u8]) -> bool| !self.body.is_empty() && !has_place(query.as_bytes());
        match self.app {
            App::GpsLogger if !query.is_empty() && in_body(gpslogger::has_place) => Manner::Addressed(query.to_owned()),
            App::OsmAnd if !query.is_empty() && in_body(osmand::has_place) => Manner::Addressed(query.to_owned()),
            App::OsmAnd | App::GpsLogger if !query.is_empty() => Manner::Query,
            App::OwnTracks => Manner::OwnTracks(self.origin(query.as_bytes())),
            _ => Manner::Body,
        }
    }

    /// What a report is read from.
    fn bytes(&self, manner: &Manner) -> &[u8] {
        if *manner == Manner::Query { self.head.uri.query().unwrap_or("").as_bytes() } else { &self.body }
    }

    /// An item as it came: its place in the body, else all of what it is read from.
    fn raw(&self, manner: &Manner, place: Option<Range<usize>>) -> Bytes {
        match (place, manner) {
            (Some(place), _) => self.body.slice(place),
            (None, Manner::Query) => Bytes::copy_from_slice(self.bytes(manner)),
            (None, _) => self.body.clone(),
        }
    }

    fn decode(&self, manner: &Manner) -> Result<Heard, Refused> {
        if self.app != App::Overland {
            // By the way in which a letter of it would be read again.
            return Ok(manner.report(self.app, self.bytes(manner), self.state.phone_book.osmand_speed_unit));
        }
        let max = self.ingest.limits().max_events;
        overland::decode(&self.body, max).map_err(|refused| match refused {
            overland::NoBatch::Malformed(refusal) => Refused::Malformed(refusal),
            overland::NoBatch::TooMany { found } => Refused::TooMany { found, max },
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
    async fn events(&self, manner: Manner, items: Vec<Item>) -> Result<ReadRequest, Refused> {
        // Who may not send as much has nothing looked up.
        self.found.store(items.len(), Ordering::Relaxed);
        self.ingest.check(self.principal.tenant, items.len())?;
        let mut owners = Owners::of(self, &items).await?;
        let mut events = Vec::with_capacity(items.len());
        for Item { device, read, place } in items {
            let raw = self.raw(&manner, place);
            let (read, device) = match (read, device) {
                // What cannot be read is refused for good, whoever sent it.
                (Err(refusal), None) => {
                    events.push(refused(refusal, None, String::new(), raw));
                    continue;
                }
                (read, device) => (read, device.unwrap_or_default()),
            };
            let owner = owners.find(&device);
            let driver = owner.as_ref().ok().cloned();
            let named = device.first().map(String::as_str);
            // Where a driver is known, he says more than this.
            let actor = if driver.is_some() { None } else { named.map(str::to_owned).or_else(|| owners.unnamed()) }.unwrap_or_default();
            events.extend(match read {
                Ok(None) => None,
                Err(refusal) => Some(refused(refusal, driver, actor, raw)),
                Ok(Some(report)) => {
                    let (event_id, time_at) = (report.event_id.clone().unwrap_or_default(), report.words.time.clone());
                    let claims = Claims { event_id, actor, schema_version: None };
                    let read = owner.and_then(|driver| report.event(named, &driver, &self.principal.tenant, self.received));
                    Some(ReadItem { read, claims, time_at, driver, raw })
                }
            });
        }
        let unnamed = owners.unnamed();
        owners.check(events.len())?;
        Ok(ReadRequest { items: events, ..self.request(manner, unnamed) })
    }
}

fn refused(refusal: Refusal, driver: Option<DriverId>, actor: String, raw: Bytes) -> ReadItem {
    let claims = Claims { actor, ..Claims::default() };
    ReadItem { read: Err(refusal), claims, time_at: Cow::default(), driver, raw }
}

fn header_text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
}
