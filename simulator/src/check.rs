//! Compares what the server holds, as REST and a live session tell it, with what it has to hold. Never changes anything.

pub mod compare;
pub mod list;
pub mod map;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::StatusCode;
use serde_json::Value;
use tokio::task::JoinSet;

use crate::client::{Client, Target};
use crate::expected::{Certainty, Expected, Load};

/// How long the server may take until its folds have reached what it acknowledged.
const CATCH_UP_WITHIN: Duration = Duration::from_secs(8);
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(100);
const CLIENTS: usize = 8;
const DIFFERENCES_TOLD: usize = 20;

/// What is compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Drivers and deliveries asked for one by one; 0 compares nothing. When that is all of them, the list and the live map are compared, too.
    pub sample: usize,
    pub company: Company,
}

/// Whether the server may show what this run knows nothing of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Company {
    #[default]
    Others,
    /// Whatever else it shows is a difference.
    Alone,
}

#[derive(Clone, Debug, Default)]
pub struct Checked {
    /// Drivers and deliveries asked for one by one.
    pub checked: u64,
    /// Deliveries compared in the paged list.
    pub listed: u64,
    /// Markers compared on the live map.
    pub shown: u64,
    /// What the server does not know.
    pub lost: u64,
    /// What differs, counted once for each place where it was seen.
    pub mismatched: u64,
    /// Drivers and deliveries in the list or on the map that this run knows nothing of.
    pub extra: u64,
    pub differences: Vec<String>,
    /// Why something could not be compared, if so.
    pub failed: Option<String>,
}

/// What one comparison found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    pub compared: u64,
    pub mismatched: u64,
    pub extra: BTreeSet<String>,
    pub differences: Vec<String>,
}

impl Findings {
    fn differ(&mut self, how: String) {
        self.mismatched += 1;
        if self.differences.len() < DIFFERENCES_TOLD {
            self.differences.push(how);
        }
    }

    fn beside(&mut self, id: &str, expected: &Expected) {
        if !expected.perhaps.contains(id) {
            self.extra.insert(id.to_owned());
        }
    }
}

/// One entity to ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Subject {
    Driver(String),
    Delivery(String),
}

#[derive(Debug)]
enum Verdict {
    Same,
    Missing,
    Differs(Vec<String>),
}

/// Compares; entities are chosen by a hash of their ids.
pub async fn check(target: &Target, expected: Expected, scope: Scope) -> Checked {
    let mut all = Checked::default();
    if scope.sample == 0 {
        return all;
    }
    let subjects = Arc::new(choose(&expected, scope.sample));
    let is_whole = subjects.len() == expected.count();
    let expected = Arc::new(expected);
    let deadline = Instant::now() + CATCH_UP_WITHIN;
    let mut tasks = JoinSet::new();
    for first in 0..CLIENTS {
        let (expected, subjects, client) = (Arc::clone(&expected), Arc::clone(&subjects), Client::new(target.clone()));
        tasks.spawn(async move { check_each(client, &expected, subjects.iter().skip(first).step_by(CLIENTS), scope.company, deadline).await });
    }
    while let Some(part) = tasks.join_next().await {
        all.absorb(part.expect("a checker neither panics nor is aborted"));
    }
    if is_whole && all.failed.is_none() {
        all.absorb(check_whole(target, &expected, scope.company, deadline).await);
    }
    all.differences.sort();
    all.differences.truncate(DIFFERENCES_TOLD);
    all
}

impl Checked {
    fn absorb(&mut self, other: Self) {
        self.checked += other.checked;
        self.listed += other.listed;
        self.shown += other.shown;
        self.lost += other.lost;
        self.mismatched += other.mismatched;
        self.extra += other.extra;
        self.differences.extend(other.differences);
        self.failed = self.failed.take().or(other.failed);
    }
}

fn choose(expected: &Expected, sample: usize) -> Vec<Subject> {
    let drivers = expected.drivers.keys().cloned().map(Subject::Driver);
    let mut all: Vec<Subject> = drivers.chain(expected.deliveries.keys().cloned().map(Subject::Delivery)).collect();
    all.sort_by_cached_key(|subject| xxhash_rust::xxh3::xxh3_64(subject.path().as_bytes()));
    all.truncate(sample);
    all
}

async fn check_each(
    mut client: Client,
    expected: &Expected,
    subjects: impl Iterator<Item = &Subject>,
    company: Company,
    deadline: Instant,
) -> Checked {
    let mut part = Checked::default();
    let loads = expected.loads();
    for subject in subjects {
        let judge = |body: &Value| subject.judge(body, expected, &loads, company);
        match verdict_in_time(&mut client, &subject.path(), judge, deadline).await {
            Ok(Verdict::Same) => {}
            Ok(Verdict::Missing) => {
                part.lost += 1;
                part.differences.push(format!("{} is missing", subject.path()));
            }
            Ok(Verdict::Differs(how)) => {
                part.mismatched += 1;
                part.differences.push(format!("{}: {}", subject.path(), how.join("; ")));
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

impl Subject {
    fn path(&self) -> String {
        match self {
            Self::Driver(id) => format!("/v1/drivers/{}", escaped(id)),
            Self::Delivery(id) => format!("/v1/deliveries/{}", escaped(id)),
        }
    }

    fn judge(&self, body: &Value, expected: &Expected, loads: &BTreeMap<&str, Load<'_>>, company: Company) -> Vec<String> {
        match self {
            Self::Driver(id) => compare::driver(body, &expected.drivers[id], loads.get(id.as_str()).unwrap_or(&Load::default()), company),
            Self::Delivery(id) => {
                let wanted = &expected.deliveries[id];
                let carrier = wanted.driver.as_ref().and_then(|driver| expected.drivers.get(driver));
                compare::delivery(body, wanted, carrier.filter(|driver| driver.certainty == Certainty::Whole))
            }
        }
    }
}

/// Asks again while the answer differs and the server may still be catching up.
async fn verdict_in_time(client: &mut Client, path: &str, judge: impl Fn(&Value) -> Vec<String>, deadline: Instant) -> Result<Verdict, String> {
    loop {
        let (status, body) = client.get(path).await.map_err(|error| format!("the check stopped: {error}"))?;
        let verdict = match status {
            StatusCode::OK => {
                let body: Value = serde_json::from_slice(&body).map_err(|error| format!("{path}: no JSON: {error}"))?;
                let differences = judge(&body);
                if differences.is_empty() { Verdict::Same } else { Verdict::Differs(differences) }
            }
            StatusCode::NOT_FOUND | StatusCode::GONE => Verdict::Missing,
            other => return Err(unreadable(path, other)),
        };
        if matches!(verdict, Verdict::Same) || Instant::now() >= deadline {
            return Ok(verdict);
        }
        tokio::time::sleep(ASK_AGAIN_AFTER).await;
    }
}

/// The list and the live map, each asked again until it is right or time is up.
async fn check_whole(target: &Target, expected: &Expected, company: Company, deadline: Instant) -> Checked {
    let mut client = Client::new(target.clone());
    let mut checked = Checked::default();
    let listed = until_clean(deadline, async || list::fetch(&mut client).await.map(|features| list::judge(&features, expected))).await;
    let listed = listed.unwrap_or_else(|reason| {
        checked.failed = Some(reason);
        Findings::default()
    });
    let shown = if expected.drivers.len() > map::MAX_MARKERS {
        Ok(Findings::default())
    } else {
        let look = async || map::fetch(target).await.map(|markers| map::judge(&markers, expected, company)).map_err(|error| error.to_string());
        until_clean(deadline, look).await
    };
    let shown = shown.unwrap_or_else(|reason| {
        checked.failed = Some(reason);
        Findings::default()
    });
    let extra: BTreeSet<&String> = listed.extra.union(&shown.extra).collect();
    checked.extra = extra.len() as u64;
    (checked.listed, checked.shown) = (listed.compared, shown.compared);
    checked.mismatched = listed.mismatched + shown.mismatched;
    if company == Company::Alone {
        checked.mismatched += checked.extra;
        checked.differences.extend(extra.iter().take(DIFFERENCES_TOLD).map(|id| format!("{id} is shown, and no part of this run")));
    }
    checked.differences.extend(listed.differences.into_iter().chain(shown.differences));
    checked
}

async fn until_clean(deadline: Instant, mut look: impl AsyncFnMut() -> Result<Findings, String>) -> Result<Findings, String> {
    loop {
        let findings = look().await?;
        if findings.mismatched == 0 || Instant::now() >= deadline {
            return Ok(findings);
        }
        tokio::time::sleep(ASK_AGAIN_AFTER).await;
    }
}

fn unreadable(path: &str, status: StatusCode) -> String {
    let hint = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => "; a key that may read is needed (--check-key)",
        _ => "",
    };
    format!("GET {path} answers {status}{hint}")
}

/// Percent-encodes what may not stand in one segment of a path.
fn escaped(id: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    id.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
mod tests;
