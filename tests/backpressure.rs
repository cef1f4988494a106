//! What comes in too fast is refused whole and told when to come again; what becomes of each event adds up, also when clients hang up or the process dies.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use crate::harness::clients::Reader;
use crate::harness::events::ping;
use crate::harness::eventually;
use crate::harness::process::{Data, ServerProcess, create_key};
use crate::harness::server::TestServer;

async fn stats(server: &TestServer) -> Value {
    let (status, body) = Reader::new(&server.url, &server.operator).get("/v1/stats/ingest", None).await;
    assert_eq!(status, 200, "{body}");
    assert!(adds_up(&body), "{body}");
    body
}

fn adds_up(body: &Value) -> bool {
    let column = |name: &str| body[name].as_u64().expect("a number");
    column("received") == ["accepted", "duplicate", "rejected", "shed", "in_flight"].map(column).iter().sum::<u64>()
}

#[tokio::test]
async fn a_driver_that_sends_too_much_is_told_when_it_fits() {
    let server = TestServer::start_with(|config| (config.driver_events_per_s, config.driver_burst) = (10, 20)).await;
    let events = |from: i64| -> Vec<Value> {
        (from..from + 15).map(|number| ping(&format!("e{number}"), "van-1", server.now_ms() + number, 57.7, 11.9)).collect()
    };
    let post = async |events: &[Value]| {
        let client = reqwest::Client::new();
        client.post(format!("{}/v1/events", server.url)).bearer_auth(&server.ingest).json(&json!(events)).send().await.expect("answers")
    };
    assert_eq!(post(&events(0)).await.status().as_u16(), 200);
    let refused = post(&events(100)).await;
    assert_eq!(refused.status().as_u16(), 429);
    let header = |name: &str| refused.headers()[name].to_str().expect("text").to_owned();
    assert_eq!(["retry-after", "ratelimit-policy", "ratelimit"].map(header), ["1", "\"driver\";q=20;w=2", "\"driver\";r=0;t=1"]);
    let problem: Value = refused.json().await.expect("a problem");
    assert_eq!((problem["code"].as_str(), problem["pointer"].as_str()), (Some("rate_limited"), Some("/events/0/actor_id")), "{problem}");
    let body = stats(&server).await;
    assert_eq!((body["accepted"].as_u64(), body["refused"].as_u64()), (Some(15), Some(15)));
    server.clock.advance(Duration::from_secs(1));
    assert_eq!(post(&events(100)).await.status().as_u16(), 200);
    server.stop().await;
}

#[tokio::test]
async fn one_tenants_limit_is_not_anothers() {
    let limit = waypost::config::limits::TenantLimit { events_per_s: 10, burst: 10 };
    let server = TestServer::start_with(move |config| config.tenant_limits = [("acme".to_owned(), limit)].into()).await;
    let other = server.key_of("globex").await;
    let post = async |key: &str, id: &str| {
        let events: Vec<Value> = (0..10).map(|number| ping(&format!("{id}{number}"), "van-1", server.now_ms(), 57.7, 11.9)).collect();
        let client = reqwest::Client::new();
        let sent = client.post(format!("{}/v1/events", server.url)).bearer_auth(key).json(&json!(events)).send().await.expect("answers");
        sent.status().as_u16()
    };
    let answers = [post(&server.ingest, "a").await, post(&server.ingest, "b").await, post(&other, "a").await, post(&other, "b").await];
    assert_eq!(answers, [200, 429, 200, 200]);
    server.stop().await;
}

/// Clients that hang up in the middle of their request, or before the answer: what the log took is counted as accepted all the same.
#[tokio::test]
async fn the_columns_agree_with_the_log_when_clients_hang_up() {
    let server = TestServer::start().await;
    let address = server.url.strip_prefix("http://").expect("an address").to_owned();
    let body = |request: usize| {
        let events: Vec<Value> = (0..20).map(|number| ping(&format!("r{request}-{number}"), "van-1", server.now_ms(), 57.7, 11.9)).collect();
        json!(events).to_string()
    };
    for request in 0..60 {
        let body = body(request);
        let head = format!(
            "POST /v1/events HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            server.ingest,
            body.len()
        );
        let mut socket = tokio::net::TcpStream::connect(&address).await.expect("connects");
        socket.write_all(head.as_bytes()).await.expect("sent");
        let cut = if request % 3 == 0 { body.len() / 2 } else { body.len() };
        socket.write_all(&body.as_bytes()[..cut]).await.expect("sent");
        // Gone before the answer can have been read.
        drop(socket);
    }
    // Sent again in peace, each request is stored by now if it was not before: an event that the log took from somebody who did not wait was counted
    // then, or it is missing here.
    for request in 0..60 {
        let (status, _, _) = server.driver().post(&serde_json::from_str(&body(request)).expect("JSON")).await;
        assert_eq!(status, 200);
    }
    eventually("every event of the log was counted as accepted, once", async || {
        let body = stats(&server).await;
        (body["accepted"] == 60 * 20 && body["in_flight"] == 0).then_some(())
    })
    .await;
    server.stop().await;
}

#[tokio::test]
async fn a_killed_server_counts_anew_and_what_it_had_accepted_are_duplicates() {
    let data = Data::new();
    let (mut acknowledged, post) = (0_u64, async |url: &str, from: u64| {
        let events: Vec<Value> = (from..from + 50).map(|number| ping(&format!("e{number}"), "van-1", 1_790_000_000_000, 57.7, 11.9)).collect();
        let client = reqwest::Client::new();
        client.post(format!("{url}/v1/events")).bearer_auth(&data.ingest).json(&json!(events)).send().await.expect("answers")
    });
    let server = ServerProcess::start(data.path());
    server.ready().await;
    for from in [0, 50, 100] {
        assert_eq!(post(&server.url, from).await.status().as_u16(), 200);
        acknowledged += 50;
    }
    server.kill();
    let server = ServerProcess::start(data.path());
    server.ready().await;
    for from in [0, 50, 100, 150] {
        assert_eq!(post(&server.url, from).await.status().as_u16(), 200);
    }
    let operator = create_key(data.path(), "acme", "operator");
    let answer = reqwest::Client::new().get(format!("{}/v1/stats/ingest", server.url)).bearer_auth(&operator).send().await.expect("answers");
    let body: Value = answer.json().await.expect("JSON");
    assert!(adds_up(&body));
    assert_eq!((body["duplicate"].as_u64(), body["accepted"].as_u64()), (Some(acknowledged), Some(50)));
    server.stop();
}
