//! SIGTERM to the real binary, and a first start: nothing acknowledged is lost, dashboards are told when to come back, people are told what to do.

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::harness::clients::{Dashboard, Driver};
use crate::harness::events::ping;
use crate::harness::eventually;
use crate::harness::process::{Data, ServerProcess, create_key};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_finishes_what_it_took_says_goodbye_by_number_and_takes_nothing_new() {
    let data = Data::new();
    let server = ServerProcess::start(data.path());
    server.ready().await;
    let mut dashboards = Vec::new();
    for _ in 0..3 {
        let mut dashboard = Dashboard::open(&server.url, &data.dashboard).await;
        assert!(dashboard.frame().await.get("hello").is_some());
        dashboards.push(dashboard);
    }
    // One that says nothing must not hold up the stop.
    let silent = tokio::net::TcpStream::connect(server.url.trim_start_matches("http://")).await.expect("connects");
    let mut writers = JoinSet::new();
    for writer in 0..4 {
        let driver = Driver::new(&server.url, &data.ingest);
        writers.spawn(async move {
            let mut acknowledged = Vec::new();
            for number in 0.. {
                let id = format!("w{writer}-{number}");
                match driver.try_post(&ping(&id, "van-1", 1_790_000_000_000 + number, 57.7, 11.9)).await {
                    Some((200, _, _)) => acknowledged.push((id, number)),
                    // Refused by name, or the port is closed.
                    Some((503, problem, _)) => {
                        assert_eq!(problem["code"], "closing", "{problem}");
                        break;
                    }
                    Some((status, body, _)) => panic!("{status}: {body}"),
                    None => break,
                }
            }
            acknowledged
        });
    }
    let mut posted = 0;
    eventually("the load is real", async || {
        posted += 1;
        let text = reqwest::get(format!("{}/metrics", server.url)).await.ok()?.text().await.ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("waypost_ingest_events_total{outcome=\"accepted\"} "))?;
        (line.parse::<u64>().expect("a number") > 100).then_some(())
    })
    .await;
    let url = server.url.clone();
    server.terminate();
    let mut waits = Vec::new();
    for mut dashboard in dashboards {
        let (bye, close) = dashboard.goodbye().await;
        assert_eq!((bye["code"].as_u64(), close), (Some(1), 4001), "{bye}");
        waits.push(bye["reconnect_in_ms"].as_u64().expect("a number"));
    }
    assert!(waits.iter().all(|wait| (500..3000).contains(wait)), "spread over a while: {waits:?}");
    let acknowledged: Vec<_> = writers.join_all().await.into_iter().flatten().collect();
    server.ended();
    drop(silent);
    assert!(reqwest::get(format!("{url}/healthz")).await.is_err(), "nobody listens any more");

    let server = ServerProcess::start(data.path());
    server.ready().await;
    let driver = Driver::new(&server.url, &data.ingest);
    for events in acknowledged.chunks(500) {
        let again: Vec<Value> = events.iter().map(|(id, number)| ping(id, "van-1", 1_790_000_000_000 + number, 57.7, 11.9)).collect();
        let (_, answer, _) = driver.post(&json!(again)).await;
        let results = answer["results"].as_array().expect("results");
        assert!(results.iter().all(|result| result["status"] == "duplicate"), "acknowledged, so it is there");
    }
    server.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_a_key_says_what_to_do_and_takes_the_key_that_is_made_then() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (server, said) = ServerProcess::start_listening(folder.path());
    let said = said.line_with("waypost keys create --data").await;
    assert!(said.contains(&folder.path().display().to_string()), "{said}");
    server.ready().await;
    let (status, _, _) = Driver::new(&server.url, "wpk_none").post(&json!([])).await;
    assert_eq!(status, 401);
    let key = create_key(folder.path(), "acme", "admin");
    let (status, answer, _) = Driver::new(&server.url, &key).post(&ping("e1", "van-1", 1_790_000_000_000, 57.7, 11.9)).await;
    assert_eq!(status, 200, "{answer}");
    server.stop();
}
