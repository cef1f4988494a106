//! What one key may do on a live connection, and what a ticket buys: each limit is enforced and told by its number.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::harness::clients::{Dashboard, Reader};
use crate::harness::process::{Data, ServerProcess};
use crate::harness::server::TestServer;
use crate::harness::{DEADLINE, eventually};

fn view(view_id: u32) -> Value {
    json!({"view": {"west": 11.9, "south": 57.6, "east": 12.1, "north": 57.8, "zoom": 14, "view_id": view_id}})
}

#[tokio::test]
async fn a_key_has_as_many_sessions_as_it_may_and_a_closed_one_makes_room() {
    let server = TestServer::start_with(|config| config.max_sessions_per_key = 2).await;
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut dashboard = Dashboard::open(&server.url, &server.dashboard).await;
        assert!(dashboard.frame().await["hello"]["ping_s"] == 25, "greeted, and told how often it is pinged");
        open.push(dashboard);
    }
    let mut third = Dashboard::open(&server.url, &server.dashboard).await;
    let frame = third.frame().await;
    assert_eq!((frame["bye"]["code"].as_u64(), frame["bye"]["reconnect_in_ms"].as_u64()), (Some(6), Some(10_000)), "{frame}");
    open.pop();
    eventually("there is room again", async || {
        let mut next = Dashboard::open(&server.url, &server.dashboard).await;
        next.frame().await.get("hello").map(drop)
    })
    .await;
    drop((open, third));
    server.stop().await;
}

#[tokio::test]
async fn views_that_come_faster_than_they_may_wait_and_the_newest_replaces_the_rest() {
    let server = TestServer::start_with(|config| config.view_changes_per_s = 1).await;
    let mut dashboard = Dashboard::open(&server.url, &server.dashboard).await;
    for view_id in 1..=20 {
        dashboard.send(&view(view_id)).await;
    }
    let mut answered = Vec::new();
    while answered.last() != Some(&20) {
        let frame = dashboard.frame().await;
        answered.extend(frame["view_id"].as_u64().filter(|_| frame["tick"] != 0));
    }
    assert_eq!(answered, [1, 20]);
    drop(dashboard);
    server.stop().await;
}

#[tokio::test]
async fn a_message_larger_than_allowed_ends_the_session_by_number() {
    let server = TestServer::start_with(|config| config.max_message_bytes = 500).await;
    for (bytes, goodbye) in [(500, false), (501, true)] {
        let mut dashboard = Dashboard::open(&server.url, &server.dashboard).await;
        assert!(dashboard.frame().await.get("hello").is_some());
        let mut message = view(1);
        message["view"]["note"] = json!("");
        let empty = message.to_string().len();
        message["view"]["note"] = json!("x".repeat(bytes - empty));
        assert_eq!(message.to_string().len(), bytes);
        dashboard.send(&message).await;
        let frame = dashboard.frame().await;
        assert_eq!(frame["bye"]["code"].as_u64(), goodbye.then_some(9), "{frame}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_ticket_is_traded_once_and_its_session_may_only_read() {
    let server = TestServer::start().await;
    let client = reqwest::Client::new();
    let trade = async || {
        let sent = client.post(format!("{}/v1/session", server.url)).json(&json!({"ticket": server.ticket})).send().await.expect("answers");
        (sent.status().as_u16(), sent.json::<Value>().await.expect("JSON"))
    };
    let (status, session) = trade().await;
    assert_eq!(status, 200, "{session}");
    let (status, problem) = trade().await;
    assert_eq!((status, problem["code"].as_str()), (401, Some("ticket")), "one-time");
    let token = session["token"].as_str().expect("a token");
    let (status, _) = Reader::new(&server.url, token).get("/v1/deliveries", None).await;
    assert_eq!(status, 200);
    let mut dashboard = Dashboard::open(&server.url, token).await;
    assert!(dashboard.frame().await.get("hello").is_some());
    let written = client.post(format!("{}/v1/events", server.url)).bearer_auth(token).json(&json!([])).send().await.expect("answers");
    assert_eq!(written.status().as_u16(), 403);
    drop((client, dashboard));
    server.stop().await;
}

#[tokio::test]
async fn a_body_that_comes_too_slowly_is_given_up_and_nothing_of_it_is_stored() {
    let server = TestServer::start_with(|config| config.body_timeout_s = 1).await;
    let mut stream = tokio::net::TcpStream::connect(server.url.trim_start_matches("http://")).await.expect("connects");
    let head = format!("POST /v1/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-length: 100\r\n\r\n[", server.ingest);
    stream.write_all(head.as_bytes()).await.expect("written");
    let mut answer = [0; 4096];
    let read = tokio::time::timeout(DEADLINE, stream.read(&mut answer)).await.expect("an answer in time").expect("readable");
    let answer = String::from_utf8_lossy(&answer[..read]);
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("\"request_timeout\""), "{answer}");
    drop(stream);
    server.stop().await;
}

#[tokio::test]
async fn a_server_with_fewer_descriptors_than_connections_says_so_and_one_with_enough_does_not() {
    for (files, connections, warned) in [("700", "5000", true), ("700", "100", false)] {
        let data = Data::new();
        let log = data.path().join("stderr");
        // Soft and hard, so that it cannot be raised.
        let limits = format!("ulimit -n {files}; exec 2>\"$1/stderr\"");
        let server = ServerProcess::start_limited(data.path(), &limits, &[("WAYPOST_MAX_CONNECTIONS", connections)]);
        server.ready().await;
        server.stop();
        let said = std::fs::read_to_string(&log).expect("it said something");
        let line = said.lines().find(|line| line.contains("the limit of open files"));
        assert_eq!(line.is_some(), warned, "{said}");
        assert!(line.is_none_or(|line| line.contains("5000") && line.contains("188")), "neither what was wanted nor what there is: {line:?}");
    }
}
