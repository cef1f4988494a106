//! The check against a server that is wrong on purpose: it has to notice. No real server runs here.

use std::collections::HashMap;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::expected::{Assignment, Delivery, Driver, Step};
use crate::geodesy::Place;

/// A server that gives these answers by path; no connection outlives a request. Live sessions are refused.
async fn server(answers: HashMap<&'static str, Value>) -> (Target, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let target = Target::new(&format!("http://{}", listener.local_addr().expect("bound")), "k").expect("valid");
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut buffer = vec![0; 4096];
            let read = socket.read(&mut buffer).await.expect("a request");
            let request = String::from_utf8_lossy(&buffer[..read]).into_owned();
            let path = request.split(' ').nth(1).unwrap_or("").split('?').next().unwrap_or("").to_owned();
            let (status, body) = answers.get(path.as_str()).map_or(("404 Not Found", Value::Null), |body| ("200 OK", body.clone()));
            let body = body.to_string();
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
            drop(socket.write_all(answer.as_bytes()).await);
        }
    });
    (target, tasks)
}

fn expected() -> Expected {
    let mut expected = Expected::default();
    expected.drivers.insert("van".into(), Driver::at(Place { lat: 57.7, lng: 11.9 }));
    let order = Delivery {
        status: "assigned".into(),
        driver: Some("van".into()),
        assignment: Some(Assignment::Explicit),
        history: vec![Step { status: "assigned".into(), time_ms: 0, legal: true }],
        ..Delivery::default()
    };
    expected.deliveries.insert("order".into(), order);
    expected
}

fn van() -> Value {
    json!({"status": "assigned", "position": {"lat": 57.7, "lng": 11.9}, "deliveries": [{"id": "order"}], "deliveries_count": 1})
}

fn order(status: &str, driver: &str) -> Value {
    json!({"status": status, "driver": driver, "assignment": "explicit", "position": {"lat": 57.7, "lng": 11.9},
           "history": [{"status": "assigned", "time": "1970-01-01T00:00:00Z", "legal": true}]})
}

/// Lost, mismatched and what was said, against these answers; one entity less than all keeps to REST by id.
async fn judged(answers: HashMap<&'static str, Value>) -> (u64, u64, Vec<String>) {
    let (target, _tasks) = server(answers).await;
    let expected = expected();
    let subjects = choose(&expected, usize::MAX);
    let checked = check_each(Client::new(target), &expected, subjects.iter(), Company::Alone, Instant::now()).await;
    assert_eq!((checked.checked, checked.failed), (2, None));
    (checked.lost, checked.mismatched, checked.differences)
}

#[tokio::test]
async fn a_server_that_holds_what_was_expected_passes_and_one_that_does_not_is_caught() {
    let right = || HashMap::from([("/v1/drivers/van", van()), ("/v1/deliveries/order", order("assigned", "van"))]);
    assert_eq!(judged(right()).await, (0, 0, vec![]));
    let mut moved = van();
    moved["position"]["lat"] = json!(57.71);
    let wrongs =
        [("/v1/drivers/van", moved), ("/v1/deliveries/order", order("delivered", "van")), ("/v1/deliveries/order", order("assigned", "bus"))];
    for (path, wrong) in wrongs {
        let mut answers = right();
        answers.insert(path, wrong);
        let (lost, mismatched, differences) = judged(answers).await;
        assert_eq!((lost, mismatched), (0, 1), "{differences:?}");
        assert!(differences[0].starts_with(path), "{differences:?}");
    }
    let mut missing = right();
    missing.remove("/v1/deliveries/order");
    let (lost, mismatched, differences) = judged(missing).await;
    assert_eq!((lost, mismatched), (1, 0), "{differences:?}");
}

#[tokio::test]
async fn a_server_whose_map_cannot_be_seen_fails_the_whole_check() {
    let list = json!({"features": [{"id": "order", "geometry": {"coordinates": [11.9, 57.7]}, "properties": {"status": "assigned", "driver": "van"}}], "next": null});
    let answers = HashMap::from([("/v1/drivers/van", van()), ("/v1/deliveries/order", order("assigned", "van")), ("/v1/deliveries", list)]);
    let (target, _tasks) = server(answers).await;
    let checked = check(&target, expected(), Scope { sample: usize::MAX, company: Company::Alone }).await;
    assert_eq!((checked.checked, checked.listed, checked.shown), (2, 1, 0));
    assert!(checked.failed.is_some_and(|reason| reason.contains("no live session")), "not even a socket");
}

#[tokio::test]
async fn nothing_is_asked_of_a_server_when_nothing_is_to_be_compared() {
    let target = Target::new("http://127.0.0.1:1", "k").expect("valid");
    assert_eq!(check(&target, expected(), Scope::default()).await.checked, 0);
}

#[test]
fn an_id_stays_one_segment() {
    assert_eq!(escaped("a/b c-é"), "a%2Fb%20c-%C3%A9");
}
