//! The real binary is killed under load, again and again, with a ledger outside: nothing acknowledged is ever missing, nothing is ever there twice, and after
//! each start the state is the fold of what was acknowledged. Never trusts the server about itself.

mod writer;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::{Rng as _, SeedableRng as _};
use serde_json::Value;
use tokio::sync::Notify;
use waypost::clock::Clock;
use waypost::log::block::EntryKind;
use waypost::log::wal::{Wal, WalOptions};
use waypost::log::{EventLog as _, LogReader as _};
use waypost_sim::event::to_json;

use self::writer::{HABITS, Ledger, Position, Said, events, lat_at, write};
use crate::harness::clients::{Driver, Reader};
use crate::harness::process::{Data, ServerProcess};
use crate::harness::{DEADLINE, eventually};

/// Deliveries asked for after each start.
const SPOT_CHECKED: usize = 60;
/// How long after the first acknowledgement of a round the server is killed.
const KILLED_AFTER_MS: std::ops::RangeInclusive<u64> = 20..=800;

/// What a run of kills came to.
#[derive(Debug, Default)]
struct Figures {
    kills: usize,
    spot_checks: usize,
    torn_tails: u64,
    slowest_start: Duration,
}

/// Starts the server and holds its state against the ledger.
async fn start(data: &Data, ledger: &Ledger, round: usize, figures: &mut Figures) -> ServerProcess {
    let started = Instant::now();
    let server = ServerProcess::start(data.path());
    server.ready().await;
    figures.slowest_start = figures.slowest_start.max(started.elapsed());
    figures.torn_tails += torn_tails(&server).await;
    let reader = Reader::new(&server.url, &data.dashboard);
    for (id, said) in &ledger.drivers {
        eventually(&format!("driver {id} stands where it was acknowledged to"), async || {
            let (status, body) = reader.get(&format!("/v1/drivers/{id}"), None).await;
            (status == 200 && stands_right(said, &body)).then_some(())
        })
        .await;
    }
    let newest: Vec<&String> = ledger.deliveries.keys().filter(|id| id.starts_with(&format!("r{}-", round.saturating_sub(1)))).collect();
    let step = |count: usize| (2 * count / SPOT_CHECKED).max(1);
    let sample: BTreeSet<&String> =
        newest.iter().step_by(step(newest.len())).copied().chain(ledger.deliveries.keys().step_by(step(ledger.deliveries.len()))).collect();
    for id in &sample {
        let (status, body) = reader.get(&format!("/v1/deliveries/{id}"), None).await;
        let said = &ledger.deliveries[*id];
        assert!(said.acknowledged.is_empty() || (status == 200 && lived_right(said, &body)), "delivery {id}: {status} {body}, said {said:?}");
    }
    figures.spot_checks += ledger.drivers.len() + sample.len();
    server
}

/// At the latest acknowledged ping, or at one that was sent after it and never answered.
fn stands_right(said: &Said, body: &Value) -> bool {
    let latest = said.acknowledged.last_key_value().map_or(i64::MIN, |(time_ms, _)| *time_ms);
    let time: Option<i64> = body["position"]["time"].as_str().and_then(|time| time.parse().ok()).map(jiff::Timestamp::as_millisecond);
    let Some(time) = time else { return said.acknowledged.is_empty() };
    let may = time == latest || (time > latest && said.unanswered.contains_key(&time));
    may && body["position"]["lat"].as_f64().is_some_and(|lat| (lat - lat_at(time)).abs() < 2e-7)
}

/// The history holds every acknowledged step and beside it only what was never answered, and the status is its last.
fn lived_right(said: &Said, body: &Value) -> bool {
    let step = |step: &Value| {
        let time_ms = step["time"].as_str().and_then(|time| time.parse().ok()).map(jiff::Timestamp::as_millisecond);
        (time_ms.expect("a time"), step["status"].as_str().expect("a status").to_owned())
    };
    let held: Vec<(i64, String)> = body["history"].as_array().expect("a history").iter().map(step).collect();
    let flat = |steps: &std::collections::BTreeMap<i64, Vec<String>>| {
        steps.iter().flat_map(|(time_ms, words)| words.iter().map(|word| (*time_ms, word.clone()))).collect::<BTreeSet<_>>()
    };
    let (acknowledged, unanswered) = (flat(&said.acknowledged), flat(&said.unanswered));
    let known: BTreeSet<_> = held.iter().cloned().collect();
    acknowledged.is_subset(&known)
        && known.difference(&acknowledged).all(|step| unanswered.contains(step))
        && held.last().map(|(_, status)| status.as_str()) == body["status"].as_str()
        && body["driver"].is_string() == known.iter().any(|(_, status)| status == "assigned")
}

async fn torn_tails(server: &ServerProcess) -> u64 {
    let answer = reqwest::get(format!("{}/metrics", server.url)).await.expect("metrics").text().await.expect("text");
    let line = answer.lines().find_map(|line| line.strip_prefix("waypost_log_torn_tails_total"));
    line.and_then(|rest| rest.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
}

/// Reads the log itself, as no client could.
async fn stored(data: &Data) -> HashMap<String, Vec<Position>> {
    let wal = Wal::open(&data.path().join("wal"), WalOptions::default(), Clock::System).expect("the log opens");
    let mut reader = wal.read(None).expect("a reader");
    wal.close().await;
    let mut found: HashMap<String, Vec<Position>> = HashMap::new();
    while let Some(block) = reader.next().await.expect("reads") {
        for entry in &block.entries {
            let EntryKind::Events(events) = &entry.kind else { continue };
            for (index, event) in events.events().enumerate() {
                let event = event.expect("every record decodes");
                found.entry(event.id.to_string()).or_default().push((u64::from(entry.partition.0), entry.first_offset.0 + index as u64));
            }
        }
    }
    found
}

/// One life of the server, from a checked start to a kill under load.
async fn live_and_die(data: &Data, ledger: &mut Ledger, round: usize, figures: &mut Figures) {
    let server = start(data, ledger, round, figures).await;
    let first = Arc::new(Notify::new());
    let writers: tokio::task::JoinSet<Ledger> =
        (0..HABITS.len()).map(|writer| write(server.url.clone(), data.ingest.clone(), round, writer, Arc::clone(&first))).collect();
    tokio::time::timeout(DEADLINE, first.notified()).await.expect("an acknowledgement in time");
    let mut rng = rand::rngs::StdRng::seed_from_u64(round as u64);
    // The wait is the fault itself: a moment that differs each round.
    tokio::time::sleep(Duration::from_millis(rng.random_range(KILLED_AFTER_MS))).await;
    server.kill();
    figures.kills += 1;
    for written in writers.join_all().await {
        ledger.absorb(written);
    }
}

/// A phone that saw no answer sends again: what stands already is a duplicate at its first place.
async fn sends_again(data: &Data, ledger: &Ledger, server: &ServerProcess) {
    let driver = Driver::new(&server.url, &data.ingest);
    let (_, answer, _) = driver.post(&Value::Array(events(0, 0, 0).iter().map(to_json).collect())).await;
    for result in answer["results"].as_array().expect("results") {
        let place = ledger.places.get(result["event_id"].as_str().expect("an id"));
        let Some(place) = place else { continue };
        assert_eq!(result["status"], "duplicate", "{result}");
        assert_eq!((result["partition"].as_u64(), result["offset"].as_u64()), (Some(place.0), Some(place.1)));
    }
}

#[expect(clippy::print_stderr, reason = "the figures of a long run are what it is made for")]
fn tell(figures: &Figures, ledger: &Ledger, missing: usize, twice: usize) {
    let (acknowledged, unanswered) = (ledger.places.len(), ledger.unanswered);
    eprintln!(
        "killed: kills {}, requests {}, acknowledged events {acknowledged}, unanswered events {unanswered}, missing {missing}, twice {twice}, \
         torn tails cut {}, spot checks {}, slowest start {:?}",
        figures.kills, ledger.requests, figures.torn_tails, figures.spot_checks, figures.slowest_start
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_missing_or_there_twice_after_sigkill() {
    let rounds = if std::env::var_os("WAYPOST_SOAK").is_some() { 110 } else { 6 };
    let data = Data::new();
    let (mut ledger, mut figures) = (Ledger::default(), Figures::default());
    for round in 0..rounds {
        live_and_die(&data, &mut ledger, round, &mut figures).await;
    }
    assert!(ledger.places.len() > rounds * 20, "the load was real: {} events", ledger.places.len());
    let log = stored(&data).await;
    let missing: Vec<_> = ledger.places.iter().filter(|(id, place)| log.get(*id).is_none_or(|places| !places.contains(place))).take(10).collect();
    let twice: Vec<_> = log.iter().filter(|(_, places)| places.len() > 1).take(10).collect();
    tell(&figures, &ledger, missing.len(), twice.len());
    assert!(missing.is_empty(), "acknowledged, and not where it was said to be: {missing:?}");
    assert!(twice.is_empty(), "{twice:?}");
    let server = start(&data, &ledger, rounds, &mut figures).await;
    sends_again(&data, &ledger, &server).await;
    server.stop();
}

#[test]
fn a_state_that_is_not_the_fold_of_what_was_acknowledged_is_noticed() {
    let mut ledger = Ledger::default();
    let latest = 1_600_000_020_000;
    ledger.drivers.entry("d".into()).or_default().acknowledged.extend([(1_600_000_010_000, vec![]), (latest, vec![])]);
    ledger.drivers.entry("d".into()).or_default().unanswered.insert(1_600_000_030_000, vec![]);
    let at = |time: &str, lat: f64| serde_json::json!({"position": {"lat": lat, "time": time}});
    let said = &ledger.drivers["d"];
    assert!(stands_right(said, &at("2020-09-13T12:27:00Z", lat_at(latest))), "the latest");
    assert!(stands_right(said, &at("2020-09-13T12:27:10Z", lat_at(1_600_000_030_000))), "one that was never answered");
    assert!(!stands_right(said, &at("2020-09-13T12:26:50Z", lat_at(1_600_000_010_000))), "an earlier one");
    assert!(!stands_right(said, &at("2020-09-13T12:27:00Z", lat_at(latest) + 1e-4)), "another place");
    assert!(!stands_right(said, &Value::Null));

    let said = ledger.deliveries.entry("o".into()).or_default();
    said.acknowledged.insert(latest, vec!["created".into(), "assigned".into()]);
    said.unanswered.insert(latest + 10_000, vec!["at_pickup".into()]);
    let step = |time: &str, status: &str| serde_json::json!({"time": time, "status": status});
    let lived = |steps: &[Value], status: &str, driver: &str| {
        let driver = Some(driver).filter(|driver| !driver.is_empty());
        lived_right(said, &serde_json::json!({"history": steps, "status": status, "driver": driver}))
    };
    let (created, assigned) = (step("2020-09-13T12:27:00Z", "created"), step("2020-09-13T12:27:00Z", "assigned"));
    assert!(lived(&[created.clone(), assigned.clone()], "assigned", "d"));
    assert!(lived(&[created.clone(), assigned.clone(), step("2020-09-13T12:27:10Z", "at_pickup")], "at_pickup", "d"));
    assert!(!lived(std::slice::from_ref(&created), "created", ""), "a step is missing");
    assert!(!lived(&[created.clone(), assigned.clone()], "created", "d"), "the status is another");
    assert!(!lived(&[created.clone(), assigned.clone()], "assigned", ""), "nobody carries it");
    assert!(!lived(&[created, assigned, step("2020-09-13T12:27:20Z", "arrived")], "arrived", "d"), "a step that nobody said");
}
