//! What does it cost to know who asks and whether there is room for it: a key and a token (JWT) that were seen before, the gate around a route, the
//! limits of a tenant and a driver, both together, and the first look at a token?
//!
//! `WAYPOST_BENCH_CHECKS` changes the number of checks of a run. The budget is 2 us of CPU a request for the credential and the limits together.

#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::http::Request as HttpRequest;
use axum::http::header::AUTHORIZATION;
use axum::routing::get;
use bytes::Bytes;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::json;
use tower::ServiceExt as _;
use waypost::attention::Attention;
use waypost::clock::Clock;
use waypost::config::jwt::JwtIssuer;
use waypost::formats::results::Outcome;
use waypost::http::auth::{Access, Auth, Role};
use waypost::http::gate::{Rule, guard};
use waypost::http::jwt::Jwt;
use waypost::http::keys::Keys;
use waypost::ingest::body::Encoding;
use waypost::ingest::limits::Limits;
use waypost::ingest::rate::Rate;
use waypost::ingest::{Ingest, MediaType, Request};
use waypost::log::block::{Block, BlockNumber};
use waypost::log::prepare::Batch;
use waypost::log::{AppendError, Appended, EventLog, LogReader, ReadError};
use waypost::model::id::{Offset, PartitionId, TenantId};
use waypost::model::scope::Scope;

const RUNS: usize = 5;
const BUDGET_NS: u64 = 2_000;
/// Tokens of which each is looked at for the first time.
const FIRST_LOOKS: u64 = 300;
const ISSUER: &str = "https://id.example";

fn main() {
    let checks = std::env::var("WAYPOST_BENCH_CHECKS").ok().and_then(|text| text.parse().ok()).unwrap_or(200_000_u64);
    let folder = tempfile::tempdir().expect("a temporary folder");
    // On one thread, so that time is CPU: nothing is waited for once a credential is known.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(measure(folder.path(), checks));
}

async fn measure(folder: &std::path::Path, checks: u64) {
    let signers = signers();
    let set: Vec<_> = signers.iter().map(|(kid, algorithm, key)| jwk(kid, *algorithm, key)).collect();
    std::fs::write(folder.join("jwks.json"), json!({"keys": set}).to_string()).expect("written");
    let keys = Keys::open(folder).await.expect("a key store");
    let key = keys.create(&TenantId::parse("acme").expect("valid"), Role::Dashboard, &Clock::System).await.expect("a key");
    let tokens = Jwt::new(&[issuer(folder)], Clock::System).expect("readable keys");
    let auth = Arc::new(Auth::new(keys, Clock::System).taking(tokens).await.expect("a key store"));

    println!("| check | ns, least of {RUNS} runs of {checks} | budget ns |");
    println!("|---|---|---|");
    let known = token("ed", Algorithm::EdDSA, &signers[0].2, 0);
    let least_known = check(&auth, &known, checks).await;
    row("a known token (JWT)", least_known, BUDGET_NS);
    row("a known key", check(&auth, &key, checks).await, BUDGET_NS);
    let limits = submitted(true, checks).await.saturating_sub(submitted(false, checks).await);
    row("the limits of a tenant and of one of 200,000 drivers", limits, BUDGET_NS);
    let open = through(Rule::Open, &auth, &known, checks).await;
    for (name, credential) in [("token", &known), ("key", &key)] {
        let gate = through(Rule::Credential(Access::Read), &auth, credential, checks).await.saturating_sub(open);
        row(&format!("the gate around a route, by {name}"), gate, BUDGET_NS);
        row(&format!("gate and limits together, by {name}"), gate + limits, BUDGET_NS);
    }
    println!();
    println!("| first look at a token | us |");
    println!("|---|---|");
    for (kid, algorithm, key) in &signers {
        let tokens: Vec<String> = (1..=FIRST_LOOKS).map(|number| token(kid, *algorithm, key, number)).collect();
        let started = Instant::now();
        for token in &tokens {
            assert!(black_box(auth.authorise_token(token, Access::Read).await).is_ok());
        }
        println!("| {algorithm:?} | {} |", started.elapsed().as_micros() / u128::from(FIRST_LOOKS));
    }
    auth.close().await;
}

fn row(name: &str, ns: u64, budget: u64) {
    println!("| {name} | {ns} | {budget}{} |", if ns > budget { " **over**" } else { "" });
}

/// Nanoseconds a check, once the credential is known.
async fn check(auth: &Auth, credential: &str, checks: u64) -> u64 {
    let mut least = u64::MAX;
    for _ in 0..RUNS {
        let started = Instant::now();
        for _ in 0..checks {
            assert!(black_box(auth.authorise_token(black_box(credential), Access::Read).await).is_ok());
        }
        least = least.min(per(started, checks));
    }
    least
}

/// Nanoseconds a request through a route that does nothing.
async fn through(rule: Rule, auth: &Arc<Auth>, credential: &str, requests: u64) -> u64 {
    let route = guard(get(async || "ok"), rule, auth);
    let bearer = format!("Bearer {credential}");
    let mut least = u64::MAX;
    for _ in 0..RUNS {
        let started = Instant::now();
        for _ in 0..requests {
            let request = HttpRequest::builder().uri("/x").header(AUTHORIZATION, &bearer).body(Body::empty()).expect("a request");
            let answer = black_box(route.clone().oneshot(request).await).expect("never fails");
            assert!(answer.status().is_success());
        }
        least = least.min(per(started, requests));
    }
    least
}

/// Nanoseconds a request of one event, by a log that stores nothing. What it takes more with limits is theirs.
async fn submitted(limited: bool, requests: u64) -> u64 {
    const DRIVERS: u64 = 200_000;
    let rates = |per_s| limited.then(|| Rate::new(per_s, per_s * 1_000));
    let limits = Limits { driver: rates(10), tenant: rates(10_000_000), ..Limits::of_requests(1_000, 1 << 20) };
    let ingest = Ingest::new(Arc::new(NoLog), Clock::System, limits, Arc::new(Attention::new(1)));
    let (tenant, now) = (TenantId::parse("acme").expect("valid"), Clock::System.now().0);
    let event = |number: u64| {
        let (id, driver) = (format!("0192f0c1-{number}"), format!("driver-{}", number * 7_919 % DRIVERS));
        let json = json!({"event_id": id, "event_name": "location", "actor_id": driver, "event_time": now, "payload": {"lat": 57.7, "lng": 11.9}});
        Request { tenant, scope: Scope::ALL, media: MediaType::Json, encoding: Encoding::Identity, body: Bytes::from(json.to_string()) }
    };
    let mut least = u64::MAX;
    for run in 0..RUNS as u64 {
        let all: Vec<Request> = (0..requests).map(|number| event(run * requests + number)).collect();
        let started = Instant::now();
        for request in all {
            let answer = black_box(ingest.submit(request).await).expect("there is room");
            assert!(answer.results.iter().all(|result| matches!(result.outcome, Outcome::Accepted { .. })), "{:?}", answer.results);
        }
        least = least.min(per(started, requests));
    }
    least
}

/// Says that it stored what it was given.
#[derive(Debug)]
struct NoLog;

struct NoReader;

impl LogReader for NoReader {
    async fn next(&mut self) -> Result<Option<Arc<Block>>, ReadError> {
        Ok(None)
    }
}

impl EventLog for NoLog {
    type Reader = NoReader;

    fn partitions(&self) -> u16 {
        16
    }

    async fn append(&self, batch: Batch) -> Result<Vec<Appended>, AppendError> {
        Ok(vec![Appended::Accepted { partition: PartitionId(0), offset: Offset(0) }; batch.len()])
    }

    async fn append_clock(&self, _partitions: Vec<PartitionId>) -> Result<(), AppendError> {
        Ok(())
    }

    fn read(&self, _after: Option<BlockNumber>) -> Result<NoReader, ReadError> {
        Ok(NoReader)
    }

    fn durable(&self) -> Option<BlockNumber> {
        None
    }

    fn release(&self, _block: BlockNumber) {}
}

fn per(started: Instant, many: u64) -> u64 {
    u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX) / many.max(1)
}

fn issuer(folder: &std::path::Path) -> JwtIssuer {
    JwtIssuer {
        issuer: ISSUER.to_owned(),
        audience: "waypost".to_owned(),
        jwks_file: Some(folder.join("jwks.json")),
        jwks_url: None,
        secret: None,
        secret_file: None,
        kid: None,
        tenants: vec!["acme".to_owned()],
        roles: vec!["dashboard".to_owned()],
        max_life_s: 86_400,
        refresh_s: 600,
    }
}

fn signers() -> [(&'static str, Algorithm, EncodingKey); 3] {
    const ED25519_HEAD: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    [
        ("ed", Algorithm::EdDSA, EncodingKey::from_ed_der(&[&ED25519_HEAD[..], &[7; 32]].concat())),
        ("rsa", Algorithm::RS256, EncodingKey::from_rsa_der(include_bytes!("../tests/harness/signer_rsa.der"))),
        ("oct", Algorithm::HS256, EncodingKey::from_secret(&[7; 32])),
    ]
}

fn jwk(kid: &str, algorithm: Algorithm, key: &EncodingKey) -> Jwk {
    let mut jwk = Jwk::from_encoding_key(key, algorithm).expect("a key");
    jwk.common.key_id = Some(kid.to_owned());
    jwk
}

/// Of the size that identity services make: some 500 bytes and a signature.
fn token(kid: &str, algorithm: Algorithm, key: &EncodingKey, number: u64) -> String {
    let expires = Clock::System.now().0 / 1000 + 3600;
    let claims = json!({
        "iss": ISSUER, "aud": "waypost", "exp": expires, "iat": expires - 3600, "jti": format!("0192f0c1-2345-7abc-8def-{number:012}"),
        "sub": "dispatcher@acme.example", "tenant": "acme", "role": "dashboard", "drivers": ["driver-1", "driver-2", "driver-3"],
        "bbox": [11.5, 57.5, 12.5, 58.0],
    });
    encode(&Header { kid: Some(kid.to_owned()), ..Header::new(algorithm) }, &claims, key).expect("signed")
}
