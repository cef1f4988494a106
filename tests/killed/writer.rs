//! Four kinds of driver apps that write until the server is gone, and the ledger of what each was told. Never asks the server what it holds.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use prost::Message as _;
use serde_json::Value;
use tokio::sync::Notify;
use waypost_sim::event::{Envelope, Format, assigned, created, encode, event, fix, status, to_json};
use waypost_sim::geodesy::Place;
use waypost_sim::wire::event::Payload;
use waypost_sim::wire::{BatchResult, Event};

use crate::harness::DEADLINE;

/// Drivers of each writer.
const DRIVERS: i64 = 8;
/// Old, so that no event is ahead of anybody's clock.
const EPOCH_MS: i64 = 1_600_000_000_000;
/// Each ping is that much later and further than the one before: a change that every map shows.
const STEP_MS: i64 = 10_000;
const STEP_DEG: f64 = 1e-4;
/// Requests of one writer in one round, at most; far more than a server takes before it is killed.
const MAX_REQUESTS: i64 = 10_000;
const LIFE: [&str; 7] = ["en_route_pickup", "at_pickup", "picked_up", "en_route_dropoff", "approaching", "arrived", "delivered"];

/// How a writer writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Habit {
    Batches,
    Singles,
}

pub(crate) const HABITS: [(Habit, Format); 4] =
    [(Habit::Batches, Format::Json), (Habit::Singles, Format::Json), (Habit::Batches, Format::Proto), (Habit::Singles, Format::Proto)];

/// Where an event stands: partition and offset.
pub(crate) type Position = (u64, u64);

/// What was said of one driver or delivery: event time and, of a delivery, the status.
#[derive(Clone, Debug, Default)]
pub(crate) struct Said {
    pub(crate) acknowledged: BTreeMap<i64, Vec<String>>,
    /// Sent, and never answered: it may be stored or not.
    pub(crate) unanswered: BTreeMap<i64, Vec<String>>,
}

/// What the writers know.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) places: HashMap<String, Position>,
    pub(crate) drivers: BTreeMap<String, Said>,
    pub(crate) deliveries: BTreeMap<String, Said>,
    pub(crate) requests: u64,
    pub(crate) unanswered: u64,
}

impl Ledger {
    pub(crate) fn absorb(&mut self, other: Self) {
        self.places.extend(other.places);
        self.requests += other.requests;
        self.unanswered += other.unanswered;
        for (all, new) in [(&mut self.drivers, other.drivers), (&mut self.deliveries, other.deliveries)] {
            for (id, said) in new {
                let held = all.entry(id).or_default();
                held.acknowledged.extend(said.acknowledged);
                held.unanswered.extend(said.unanswered);
            }
        }
    }

    fn acknowledge(&mut self, event: &Event, place: Position) {
        assert!(self.places.insert(event.event_id.clone(), place).is_none(), "{} was acknowledged twice", event.event_id);
        let (said, word) = self.said(event);
        said.acknowledged.entry(event.event_time_ms).or_default().push(word);
    }

    fn doubt(&mut self, event: &Event) {
        self.unanswered += 1;
        let (said, word) = self.said(event);
        said.unanswered.entry(event.event_time_ms).or_default().push(word);
    }

    fn said(&mut self, event: &Event) -> (&mut Said, String) {
        match &event.payload {
            Some(Payload::Created(_)) => (self.deliveries.entry(event.entity_id.clone()).or_default(), "created".to_owned()),
            Some(Payload::Assigned(_)) => (self.deliveries.entry(event.entity_id.clone()).or_default(), "assigned".to_owned()),
            Some(Payload::Status(change)) => (self.deliveries.entry(event.entity_id.clone()).or_default(), change.status.clone()),
            _ => (self.drivers.entry(event.actor_id.clone()).or_default(), String::new()),
        }
    }
}

/// The latitude that a ping of this time has.
pub(crate) fn lat_at(time_ms: i64) -> f64 {
    let step = i32::try_from((time_ms - EPOCH_MS) / STEP_MS % 400_000).expect("less than 400,000");
    10.0 + f64::from(step) * STEP_DEG
}

/// What a writer says in one request.
pub(crate) fn events(round: usize, writer: usize, number: i64) -> Vec<Event> {
    let whole = |value: usize| i32::try_from(value).expect("few rounds and writers");
    let time_ms = EPOCH_MS + (i64::from(whole(round)) * MAX_REQUESTS + number) * STEP_MS;
    let id = |what: &str| format!("r{round}-w{writer}-n{number}-{what}");
    let ping = |driver: i64| {
        let envelope = Envelope { id: id(&format!("p{driver}")), actor: format!("w{writer}-d{driver}"), delivery: String::new(), time_ms };
        event(envelope, Payload::Location(fix(Place { lat: lat_at(time_ms), lng: f64::from(whole(writer)) })))
    };
    match HABITS[writer].0 {
        Habit::Batches => {
            let (life, step) = (number / 8, number % 8);
            let delivery = format!("r{round}-w{writer}-{life}");
            (0..DRIVERS).map(ping).chain(change(&id, &delivery, writer, step, time_ms)).collect()
        }
        Habit::Singles if number % 3 == 0 => {
            let (life, step) = (number / 3 / 9, number / 3 % 9);
            let delivery = format!("r{round}-w{writer}-{life}");
            // A batch creates and assigns in one request, this one in two.
            let said = change(&id, &delivery, writer, (step - 1).max(0), time_ms);
            said.into_iter().skip(usize::from(step == 1)).take(1).collect()
        }
        Habit::Singles => vec![ping(number % DRIVERS)],
    }
}

/// A step in a delivery's life; the first creates and assigns it.
fn change(id: &impl Fn(&str) -> String, delivery: &str, writer: usize, step: i64, time_ms: i64) -> Vec<Event> {
    let driver = format!("w{writer}-d0");
    let say = |what: &str, payload: Payload| event(Envelope { id: id(what), actor: driver.clone(), delivery: delivery.to_owned(), time_ms }, payload);
    match usize::try_from(step).expect("from 0") {
        0 => vec![say("s1", created(Some(Place { lat: 10.0, lng: 1.0 }), None, None)), say("s2", assigned(&driver))],
        step => vec![say("s", status(LIFE[step - 1], ""))],
    }
}

/// Writes until the server is gone; rings `first` at the first answer.
pub(crate) async fn write(url: String, key: String, round: usize, writer: usize, first: Arc<Notify>) -> Ledger {
    let client = reqwest::Client::builder().timeout(DEADLINE).build().expect("a client");
    let mut ledger = Ledger::default();
    for number in 0..MAX_REQUESTS {
        let said = events(round, writer, number);
        let request = client.post(format!("{url}/v1/events")).bearer_auth(&key);
        let Some(results) = post(request, &said, writer).await else {
            for event in &said {
                ledger.doubt(event);
            }
            break;
        };
        first.notify_one();
        ledger.requests += 1;
        assert_eq!(results.len(), said.len(), "one result an event");
        for (event, (id, place)) in said.iter().zip(results) {
            assert_eq!(event.event_id, id);
            ledger.acknowledge(event, place);
        }
    }
    ledger
}

/// The place of each event, in order; none when the answer did not come. Anything but acceptance is a failure.
async fn post(request: reqwest::RequestBuilder, said: &[Event], writer: usize) -> Option<Vec<(String, Position)>> {
    let (habit, format) = HABITS[writer];
    let body = match (habit, format) {
        (Habit::Singles, Format::Json) => to_json(&said[0]).to_string().into_bytes(),
        _ => encode(said, format, 0),
    };
    let request = request.header("content-type", format.content_type()).header("accept", format.content_type());
    let answer = request.body(body).send().await.ok()?;
    // A server under such load may ask to come again later: then nothing was stored.
    let status = answer.status().as_u16();
    let body = answer.bytes().await.ok()?;
    assert!(matches!(status, 200 | 503), "{status}: {}", String::from_utf8_lossy(&body));
    if status == 503 {
        return None;
    }
    if format == Format::Proto {
        let results = BatchResult::decode(body).expect("results").results;
        let place = |result: waypost_sim::wire::ItemResult| {
            assert_eq!(result.status, "accepted", "{result:?}");
            (result.event_id, (u64::from(result.partition), result.offset.expect("an offset")))
        };
        return Some(results.into_iter().map(place).collect());
    }
    let body: Value = serde_json::from_slice(&body).expect("JSON");
    let place = |result: &Value| {
        assert_eq!(result["status"], "accepted", "{result}");
        let place = (result["partition"].as_u64().expect("a partition"), result["offset"].as_u64().expect("an offset"));
        (result["event_id"].as_str().expect("an id").to_owned(), place)
    };
    Some(body["results"].as_array().expect("results").iter().map(place).collect())
}
