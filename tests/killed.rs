//! The real binary is killed under load, again and again, with a ledger outside: nothing acknowledged is ever missing, nothing is ever there twice.

use std::collections::HashMap;

use serde_json::{Value, json};
use waypost::clock::Clock;
use waypost::log::block::EntryKind;
use waypost::log::wal::{Wal, WalOptions};
use waypost::log::{EventLog as _, LogReader as _};

use crate::harness::clients::Driver;
use crate::harness::process::{Data, ServerProcess};

/// Where each acknowledged event stands.
type Ledger = HashMap<String, (u64, u64)>;

fn batch(round: usize, writer: usize, number: usize) -> Value {
    let events: Vec<Value> = (0_u32..20)
        .map(|item| {
            let id = format!("r{round}-w{writer}-n{number}-i{item}");
            json!({"event_id": id, "event_name": "location", "actor_id": format!("d{}", (number * 7 + item as usize) % 50), "event_time": 1_790_000_000_000_u64 + number as u64,
                   "payload": {"lat": 57.7 + f64::from(item) * 1e-4, "lng": 11.97}})
        })
        .collect();
    Value::Array(events)
}

/// Posts batches until the server is gone; what was answered goes into the ledger.
async fn write(driver: Driver, round: usize, writer: usize) -> Ledger {
    let mut ledger = Ledger::new();
    for number in 0.. {
        let Some((status, answer, _)) = driver.try_post(&batch(round, writer, number)).await else {
            break;
        };
        if status != 200 {
            break;
        }
        for result in answer["results"].as_array().expect("results") {
            assert_eq!(result["status"], "accepted", "{result}");
            let id = result["event_id"].as_str().expect("an id").to_owned();
            let place = (result["partition"].as_u64().expect("a partition"), result["offset"].as_u64().expect("an offset"));
            assert!(ledger.insert(id, place).is_none());
        }
    }
    ledger
}

/// Reads the log itself, as no client could.
async fn stored(data: &Data) -> HashMap<String, Vec<(u64, u64)>> {
    let wal = Wal::open(&data.path().join("wal"), WalOptions::default(), Clock::System).expect("the log opens");
    let mut reader = wal.read(None).expect("a reader");
    wal.close().await;
    let mut found: HashMap<String, Vec<(u64, u64)>> = HashMap::new();
    while let Some(block) = reader.next().await.expect("reads") {
        for entry in &block.entries {
            let EntryKind::Events(events) = &entry.kind else { continue };
            for (index, event) in events.iter().enumerate() {
                found.entry(event.id.to_string()).or_default().push((u64::from(entry.partition.0), entry.first_offset.0 + index as u64));
            }
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_missing_or_there_twice_after_sigkill() {
    let rounds = if std::env::var_os("WAYPOST_SOAK").is_some() { 100 } else { 6 };
    let data = Data::new();
    let mut ledger = Ledger::new();
    for round in 0..rounds {
        let server = ServerProcess::start(data.path());
        server.ready().await;
        let writers: tokio::task::JoinSet<Ledger> = (0..4).map(|writer| write(Driver::new(&server.url, &data.ingest), round, writer)).collect();
        // Anywhere in the load: the moment differs each round.
        tokio::time::sleep(std::time::Duration::from_millis(150 + (round as u64 * 97) % 400)).await;
        server.kill();
        for written in writers.join_all().await {
            ledger.extend(written);
        }
    }
    assert!(ledger.len() > rounds * 20, "the load was real: {} events", ledger.len());
    let stored = stored(&data).await;
    for (id, place) in &ledger {
        assert_eq!(stored.get(id).map(Vec::as_slice), Some([*place].as_slice()), "{id} was acknowledged at {place:?}");
    }
    let twice: Vec<_> = stored.iter().filter(|(_, places)| places.len() > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");

    // A phone that saw no answer sends again: what stands already is a duplicate at its first place.
    let server = ServerProcess::start(data.path());
    server.ready().await;
    let driver = Driver::new(&server.url, &data.ingest);
    let (_, answer, _) = driver.post(&batch(0, 0, 0)).await;
    for result in answer["results"].as_array().expect("results") {
        assert_eq!(result["status"], "duplicate", "{result}");
        let place = ledger[result["event_id"].as_str().expect("an id")];
        assert_eq!((result["partition"].as_u64(), result["offset"].as_u64()), (Some(place.0), Some(place.1)));
    }
    server.stop();
}
