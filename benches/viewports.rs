//! What does it cost to ask over HTTP what is inside a box: 92 of 100,000 deliveries and 924 of a million, as id and position or whole, as JSON and Protobuf?
//!
//! Drivers with a delivery aboard each, spread evenly; eight connections ask for random boxes of 0.05 degrees, one after the other. Before that some boxes
//! are held against a count of our own, id by id. `WAYPOST_BENCH_SECONDS` changes how long each row takes, `WAYPOST_BENCH_OBJECTS=1000000` asks about one
//! size alone, `WAYPOST_BENCH_LONG_IDS=1` gives each delivery an id of 36 bytes.

#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]

#[expect(dead_code, reason = "every benchmark uses its part of it")]
mod support;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use prost::Message as _;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use waypost_sim::clock;
use waypost_sim::event::{Envelope, assigned, created, event, fix, uuid_of};
use waypost_sim::geodesy::Place;
use waypost_sim::wire::DeliveryPage;
use waypost_sim::wire::event::Payload;

use support::asker::Asker;
use support::posting::post;
use support::{Server, setting};

const CONNECTIONS: u64 = 8;
const SETTINGS: [(&str, &str); 2] = [("WAYPOST_ENTITY_LIMIT", "16000000"), ("WAYPOST_CHECKPOINT_INTERVAL_S", "86400")];
/// Degrees: a viewport, and the square that all places lie in. A million of them are 924 in a box, a hundred thousand 92.
const BOX_DEG: f64 = 0.05;
const SQUARE_DEG: f64 = 1.645;
const SOUTH: f64 = 40.0;
const WEST: f64 = 5.0;
/// One answer in so many is looked into while the clock runs.
const LOOKED_INTO: u64 = 64;
const BOXES_CHECKED: u64 = 20;

#[derive(Clone, Copy, PartialEq)]
enum Words {
    Json,
    Protobuf,
}

/// What is asked for, and what the budget says of it.
struct Question {
    brief: bool,
    words: Words,
    budget: &'static str,
}

fn main() {
    let sizes = setting("WAYPOST_BENCH_OBJECTS", 0);
    let sizes = if sizes == 0 { vec![100_000, 1_000_000] } else { vec![sizes] };
    println!("| objects | asked for | queries/s | p50 ms | p99 ms | hits | server CPU us | bytes | budget |");
    println!("|---|---|---|---|---|---|---|---|---|");
    for objects in sizes {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let server = Server::start(folder.path(), &SETTINGS);
        fill(&server, objects);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(level(&server, objects));
        let (json, protobuf) = match objects {
            100_000 => (">= 15000/s, p99 < 1 ms", ""),
            1_000_000 => (">= 2000/s", ">= 5000/s"),
            _ => ("", ""),
        };
        let questions = [(true, Words::Json, json), (true, Words::Protobuf, protobuf), (false, Words::Json, ""), (false, Words::Protobuf, "")];
        for (brief, words, budget) in questions {
            runtime.block_on(measure(&server, objects, &Question { brief, words, budget }));
        }
        server.kill();
    }
}

/// Spread evenly and in no order (the R2 sequence of M. Roberts).
fn place(number: usize) -> Place {
    #[expect(clippy::cast_precision_loss, reason = "a number of a driver in a benchmark")]
    let at = number as f64;
    let along = |step: f64| (at * step).fract() * SQUARE_DEG;
    Place { lat: SOUTH + along(0.754_877_666_246_692_7), lng: WEST + along(0.569_840_290_998_053_2) }
}

fn delivery(number: usize) -> String {
    if setting("WAYPOST_BENCH_LONG_IDS", 0) == 1 { uuid_of(1_795_509_000_000, 7, number as u64) } else { format!("delivery-{number:07}") }
}

fn fill(server: &Server, objects: usize) {
    let now_ms = clock::now_ms();
    let made = move |number: usize| {
        let envelope = |kind: u64, driver: bool| Envelope {
            id: uuid_of(now_ms, kind, number as u64),
            actor: if driver { format!("driver-{number:07}") } else { String::new() },
            delivery: if driver { String::new() } else { delivery(number) },
            time_ms: now_ms - 60_000 + i64::try_from(kind).unwrap_or(0),
        };
        let at = place(number);
        [
            event(envelope(1, false), created(Some(at), Some(at.moved_m(500.0, 900.0)), None)),
            event(envelope(2, false), assigned(&format!("driver-{number:07}"))),
            event(envelope(3, true), Payload::Location(fix(at))),
        ]
    };
    post(server, 3 * objects, 600, (0..objects).flat_map(made));
}

/// A box somewhere in the square, from its south-western corner.
#[derive(Clone, Copy)]
struct Area {
    west: f64,
    south: f64,
}

impl Area {
    fn random(random: &mut SmallRng) -> Self {
        let mut along = || random.random_range(0.0..SQUARE_DEG - BOX_DEG);
        // As the address says it.
        let six = |degrees: f64| (degrees * 1e6).round() / 1e6;
        Self { west: six(WEST + along()), south: six(SOUTH + along()) }
    }

    fn contains(self, at: Place) -> bool {
        let stored = |degrees: f64| (degrees * 1e7).round() / 1e7;
        let (east, north) = (self.west + BOX_DEG, self.south + BOX_DEG);
        (self.west..=east).contains(&stored(at.lng)) && (self.south..=north).contains(&stored(at.lat))
    }
}

/// Asks what is inside `view`.
async fn ask<'a>(asker: &'a mut Asker, view: Area, question: &Question) -> &'a [u8] {
    let (fields, accept) = (if question.brief { "&fields=id" } else { "" }, if question.words == Words::Json { "json" } else { "x-protobuf" });
    let Area { west, south } = view;
    let (east, north) = (west + BOX_DEG, south + BOX_DEG);
    let address = format_args!("/v1/deliveries?bbox={west:.6},{south:.6},{east:.6},{north:.6}&limit=10000{fields}");
    asker.ask(address, accept).await
}

/// The ids that an answer names; asserts that each is where it was put.
fn ids_of(body: &[u8], question: &Question) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    let mut take = |id: &str| assert!(ids.insert(id.to_owned()), "{id} came twice");
    match question.words {
        Words::Json => {
            let body: serde_json::Value = serde_json::from_slice(body).expect("JSON");
            assert!(body["next"].is_null(), "all of it is one page");
            for feature in body["features"].as_array().expect("features") {
                assert_eq!(feature["properties"]["status"].is_string(), !question.brief);
                take(feature["id"].as_str().expect("an id"));
            }
        }
        Words::Protobuf => {
            let page = DeliveryPage::decode(body).expect("a message");
            assert_eq!((page.dlat_e7.len(), page.dlng_e7.len(), page.next.as_str()), (page.id.len(), page.id.len(), ""));
            assert_eq!(page.properties.len(), if question.brief { 0 } else { page.id.len() });
            page.id.iter().for_each(|id| take(id));
        }
    }
    ids
}

/// Waits until boxes hold what they must.
async fn level(server: &Server, objects: usize) {
    let mut asker = Asker::connect(server).await;
    let mut random = SmallRng::seed_from_u64(1);
    let deadline = Instant::now() + Duration::from_mins(2);
    for number in 0..BOXES_CHECKED {
        let view = Area::random(&mut random);
        let expected: BTreeSet<String> = (0..objects).filter(|number| view.contains(place(*number))).map(delivery).collect();
        let question = Question { brief: number % 2 == 0, words: if number % 4 < 2 { Words::Json } else { Words::Protobuf }, budget: "" };
        loop {
            let found = ids_of(ask(&mut asker, view, &question).await, &question);
            if found == expected {
                break;
            }
            assert!(Instant::now() < deadline, "{} found where {} are", found.len(), expected.len());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// What one connection saw.
struct Seen {
    answers: u64,
    bytes: u64,
    hits: u64,
    looked_into: u64,
    micros: Histogram<u64>,
}

async fn ask_on(server: &Server, question: &Question, seed: u64, until: Instant) -> Seen {
    let mut asker = Asker::connect(server).await;
    let mut random = SmallRng::seed_from_u64(seed);
    let mut tally = Seen { answers: 0, bytes: 0, hits: 0, looked_into: 0, micros: Histogram::new(3).expect("a histogram") };
    loop {
        let view = Area::random(&mut random);
        let began = Instant::now();
        if began >= until {
            return tally;
        }
        let body = ask(&mut asker, view, question).await;
        tally.micros.record(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX)).expect("in range");
        tally.answers += 1;
        tally.bytes += body.len() as u64;
        if tally.answers % LOOKED_INTO == 1 {
            tally.hits += ids_of(body, question).len() as u64;
            tally.looked_into += 1;
        }
    }
}

async fn measure(server: &Server, objects: usize, question: &Question) {
    let warm = Instant::now() + Duration::from_millis(500);
    futures_util::future::join_all((0..CONNECTIONS).map(|seed| ask_on(server, question, seed, warm))).await;
    let seconds = setting("WAYPOST_BENCH_SECONDS", 5);
    let (began, cpu_s) = (Instant::now(), server.cpu_s());
    let until = began + Duration::from_secs(seconds as u64);
    let all = futures_util::future::join_all((0..CONNECTIONS).map(|seed| ask_on(server, question, 100 + seed, until))).await;
    let (took, cpu_s) = (began.elapsed().as_secs_f64(), server.cpu_s() - cpu_s);
    let mut micros = Histogram::<u64>::new(3).expect("a histogram");
    for seen in &all {
        micros.add(&seen.micros).expect("the same shape");
    }
    let sum = |of: fn(&Seen) -> u64| {
        #[expect(clippy::cast_precision_loss, reason = "a count in a benchmark")]
        let sum = all.iter().map(of).sum::<u64>() as f64;
        sum
    };
    let answers = sum(|seen| seen.answers);
    #[expect(clippy::cast_precision_loss, reason = "microseconds of a benchmark")]
    let [p50, p99] = [0.5, 0.99].map(|share| micros.value_at_quantile(share) as f64 / 1e3);
    println!(
        "| {objects} | {}, {} | {:.0} | {p50:.3} | {p99:.3} | {:.0} | {:.1} | {:.0} | {} |",
        if question.brief { "id and position" } else { "all" },
        if question.words == Words::Json { "JSON" } else { "Protobuf" },
        answers / took,
        sum(|seen| seen.hits) / sum(|seen| seen.looked_into),
        cpu_s * 1e6 / answers,
        sum(|seen| seen.bytes) / answers,
        question.budget,
    );
}
