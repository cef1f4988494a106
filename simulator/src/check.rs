//! Compares what the server holds, as REST tells it, with the ledger of what was acknowledged. Never changes anything.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::StatusCode;
use serde_json::Value;
use tokio::task::JoinSet;

use crate::client::{Client, Target};
use crate::geodesy::Place;
use crate::ledger::Ledger;

/// Where REST keeps what is compared; everything else in an answer is ignored.
const DRIVER_ROUTE: &str = "/v1/drivers/";
const DELIVERY_ROUTE: &str = "/v1/deliveries/";
const LAT: &str = "/position/lat";
const LNG: &str = "/position/lng";
const STATUS: &str = "/status";

/// The server keeps 1e-7 degrees; twice that is a difference.
const TOLERANCE_DEG: f64 = 2e-7;
/// How long the server may take until its folds have reached what it acknowledged.
const CATCH_UP_WITHIN: Duration = Duration::from_secs(8);
const CLIENTS: usize = 4;
const DIFFERENCES_TOLD: usize = 20;

#[derive(Clone, Debug, Default)]
pub struct Checked {
    pub checked: u64,
    pub lost: u64,
    pub mismatched: u64,
    pub differences: Vec<String>,
    /// Why nothing could be compared, if so.
    pub failed: Option<String>,
}

#[derive(Clone, Debug)]
struct Expectation {
    path: String,
    wanted: Wanted,
}

#[derive(Clone, Debug)]
enum Wanted {
    Exists,
    Position(Place),
    Status(String),
}

enum Verdict {
    Same,
    Missing,
    Differs(String),
}

/// Compares at most `sample` entities, chosen by a hash of their ids; 0 compares none.
pub async fn check(target: &Target, ledger: &Ledger, sample: usize) -> Checked {
    let expectations = Arc::new(choose(ledger, sample));
    let deadline = Instant::now() + CATCH_UP_WITHIN;
    let mut tasks = JoinSet::new();
    for first in 0..CLIENTS {
        let (expectations, client) = (Arc::clone(&expectations), Client::new(target.clone()));
        tasks.spawn(async move { check_each(client, expectations.iter().skip(first).step_by(CLIENTS), deadline).await });
    }
    let mut all = Checked::default();
    while let Some(part) = tasks.join_next().await {
        let part = part.expect("a checker neither panics nor is aborted");
        all.checked += part.checked;
        all.lost += part.lost;
        all.mismatched += part.mismatched;
        all.differences.extend(part.differences);
        all.failed = all.failed.or(part.failed);
    }
    all.differences.sort();
    all.differences.truncate(DIFFERENCES_TOLD);
    all
}

fn choose(ledger: &Ledger, sample: usize) -> Vec<Expectation> {
    let drivers = ledger.drivers.iter().map(|(id, driver)| {
        let wanted = driver.position().filter(|_| !driver.loose).map_or(Wanted::Exists, Wanted::Position);
        Expectation { path: format!("{DRIVER_ROUTE}{}", escaped(id)), wanted }
    });
    let deliveries = ledger.deliveries.iter().map(|(id, delivery)| {
        let wanted = delivery.status().filter(|_| !delivery.loose).map_or(Wanted::Exists, Wanted::Status);
        Expectation { path: format!("{DELIVERY_ROUTE}{}", escaped(id)), wanted }
    });
    let mut all: Vec<Expectation> = drivers.chain(deliveries).collect();
    all.sort_by_cached_key(|expectation| xxhash_rust::xxh3::xxh3_64(expectation.path.as_bytes()));
    all.truncate(sample);
    all
}

async fn check_each(mut client: Client, expectations: impl Iterator<Item = &Expectation>, deadline: Instant) -> Checked {
    let mut part = Checked::default();
    for expectation in expectations {
        match verdict_in_time(&mut client, expectation, deadline).await {
            Ok(Verdict::Same) => {}
            Ok(Verdict::Missing) => {
                part.lost += 1;
                part.differences.push(format!("{} is missing", expectation.path));
            }
            Ok(Verdict::Differs(how)) => {
                part.mismatched += 1;
                part.differences.push(format!("{}: {how}", expectation.path));
            }
            Err(reason) => {
                part.failed = Some(reason);
                return part;
            }
        }
        part.checked += 1;
        part.differences.truncate(DIFFERENCES_TOLD);
    }
    part
}

/// Asks again while the answer differs and the server may still be catching up.
async fn verdict_in_time(client: &mut Client, expectation: &Expectation, deadline: Instant) -> Result<Verdict, String> {
    loop {
        let (status, body) = client.get(&expectation.path).await.map_err(|error| format!("the check stopped: {error}"))?;
        let verdict = match status {
            StatusCode::OK => {
                let body: Value = serde_json::from_slice(&body).map_err(|error| format!("{}: no JSON: {error}", expectation.path))?;
                compare(&body, &expectation.wanted)
            }
            StatusCode::NOT_FOUND | StatusCode::GONE => Verdict::Missing,
            other => return Err(format!("GET {} answers {other}; a key that may read is needed (--check-key)", expectation.path)),
        };
        if matches!(verdict, Verdict::Same) || Instant::now() >= deadline {
            return Ok(verdict);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn compare(body: &Value, wanted: &Wanted) -> Verdict {
    match wanted {
        Wanted::Exists => Verdict::Same,
        Wanted::Status(wanted) => match body.pointer(STATUS).and_then(Value::as_str) {
            Some(held) if held == wanted => Verdict::Same,
            held => Verdict::Differs(format!("status {held:?} held, {wanted:?} sent")),
        },
        Wanted::Position(wanted) => {
            let held = |path| body.pointer(path).and_then(Value::as_f64).unwrap_or(f64::NAN);
            let (lat, lng) = (held(LAT), held(LNG));
            if (lat - wanted.lat).abs() < TOLERANCE_DEG && (lng - wanted.lng).abs() < TOLERANCE_DEG {
                return Verdict::Same;
            }
            Verdict::Differs(format!("position {lat},{lng} held, {},{} sent", wanted.lat, wanted.lng))
        }
    }
}

/// Percent-encodes what may not stand in one segment of a path.
fn escaped(id: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    id.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_difference_in_position_or_status_is_seen_and_more_members_are_not_one() {
        let body = json!({"id": "d", "status": "arrived", "position": {"lat": 57.7, "lng": 11.9, "time": "x"}, "more": 1});
        let same = |wanted| matches!(compare(&body, &wanted), Verdict::Same);
        assert!(same(Wanted::Status("arrived".into())));
        assert!(!same(Wanted::Status("delivered".into())));
        assert!(same(Wanted::Position(Place { lat: 57.700_000_1, lng: 11.9 })));
        assert!(!same(Wanted::Position(Place { lat: 57.700_001, lng: 11.9 })));
        assert!(!matches!(compare(&json!({}), &Wanted::Position(Place { lat: 0.0, lng: 0.0 })), Verdict::Same));
    }

    #[test]
    fn an_id_stays_one_segment() {
        assert_eq!(escaped("a/b c-é"), "a%2Fb%20c-%C3%A9");
    }
}
