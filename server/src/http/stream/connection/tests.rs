//! Holds one ingest connection against a log that acknowledges when the test says so. Opens real sockets and no file.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::extract::WebSocketUpgrade;
use axum::routing::get;
use futures_util::SinkExt as _;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message as Wire;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_util::sync::CancellationToken;

use super::super::Settings;
use super::*;
use crate::attention::Attention;
use crate::clock::Clock;
use crate::ended::Ended;
use crate::ingest::limits::Limits;
use crate::log::block::{Block, BlockNumber};
use crate::log::prepare::Batch;
use crate::log::{AppendError, Appended, LogReader, ReadError};
use crate::model::id::{Offset, PartitionId, TenantId};
use crate::model::scope::Scope;

/// Each batch waits for a permit before it is durable.
#[derive(Debug)]
struct SlowLog {
    permits: Semaphore,
    appending: AtomicUsize,
}

struct NoReader;

impl LogReader for NoReader {
    async fn next(&mut self) -> Result<Option<Arc<Block>>, ReadError> {
        Ok(None)
    }
}

impl EventLog for SlowLog {
    type Reader = NoReader;

    fn partitions(&self) -> u16 {
        1
    }

    async fn append(&self, batch: Batch) -> Result<Vec<Appended>, AppendError> {
        self.appending.fetch_add(1, Ordering::SeqCst);
        self.permits.acquire().await.map_err(|_closed| AppendError::Closing)?.forget();
        Ok(batch.items.iter().map(|_item| Appended::Accepted { partition: PartitionId(0), offset: Offset(0) }).collect())
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

type Client = tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

struct World {
    log: Arc<SlowLog>,
    shutdown: CancellationToken,
    client: Client,
    /// What was said at the end.
    ended: Arc<Mutex<Option<Goodbye>>>,
    _server: JoinSet<std::io::Result<()>>,
}

async fn world(settings: Settings) -> World {
    let log = Arc::new(SlowLog { permits: Semaphore::new(0), appending: AtomicUsize::new(0) });
    let ingest = Arc::new(Ingest::new(Arc::clone(&log), Clock::System, Limits::of_requests(10, 1 << 20), Arc::new(Attention::new(1))));
    let shutdown = CancellationToken::new();
    let terms = Terms { settings, clock: Clock::System, shutdown: shutdown.clone() };
    let ended = Arc::new(Mutex::new(None));
    let end = Arc::clone(&ended);
    let upgrade = move |upgrade: WebSocketUpgrade| {
        let (ingest, terms, end) = (Arc::clone(&ingest), terms.clone(), Arc::clone(&end));
        let serve = async move |mut socket: WebSocket| {
            let tenant = TenantId::parse("acme").expect("valid");
            let sender = Sender { tenant, scope: Scope::ALL, ended: Ended::default() };
            if let Some((goodbye, reason)) = converse(&mut socket, Format::Json, sender, &ingest, &terms).await {
                say_bye(&mut socket, Format::Json, goodbye, reason).await;
                *end.lock() = Some(goodbye);
            }
        };
        async move { upgrade.protocols(["waypost.ingest.v1.json"]).on_upgrade(serve) }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let mut request = format!("ws://{}/", listener.local_addr().expect("bound")).into_client_request().expect("valid");
    request.headers_mut().insert("Sec-WebSocket-Protocol", "waypost.ingest.v1.json".parse().expect("a value"));
    let router = axum::Router::new().route("/", get(upgrade));
    let mut server = JoinSet::new();
    server.spawn(async move { axum::serve(listener, router).await });
    let (client, _) = tokio_tungstenite::connect_async(request).await.expect("upgraded");
    let mut world = World { log, shutdown, client, ended, _server: server };
    assert!(world.next().await["hello"]["max_unacked_batches"].is_u64());
    world
}

impl World {
    async fn next(&mut self) -> Value {
        loop {
            if let Wire::Text(text) = self.client.next().await.expect("open").expect("no error") {
                return serde_json::from_str(&text).expect("JSON");
            }
        }
    }

    async fn send(&mut self, number: usize) {
        let event =
            json!({"event_id": format!("e{number}"), "event_name": "location", "actor_id": "d", "event_time": 1, "payload": {"lat": 1, "lng": 1}});
        let batch = json!({"batch": {"number": number, "events": [event]}});
        self.client.send(Wire::text(batch.to_string())).await.expect("sent");
    }

    /// Until so many batches have come to the log.
    async fn appending(&self, batches: usize) {
        while self.log.appending.load(Ordering::SeqCst) < batches {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn no_more_than_the_agreed_batches_wait_and_each_acknowledgement_lets_one_more_in() {
    let mut world = world(Settings { max_unacked_batches: 3, ..Settings::default() }).await;
    for number in 1..=10 {
        world.send(number).await;
    }
    for acknowledged in 1..=10 {
        let waiting = (acknowledged + 2).min(10);
        world.appending(waiting).await;
        // Gives a fourth one every chance to be read.
        for _ in 0..200 {
            tokio::task::yield_now().await;
        }
        assert_eq!(world.log.appending.load(Ordering::SeqCst), waiting, "before acknowledgement {acknowledged}");
        world.log.permits.add_permits(1);
        let ack = world.next().await;
        assert_eq!(
            (ack["ack"]["number"].as_u64(), ack["ack"]["results"][0]["status"].as_str()),
            (Some(acknowledged as u64), Some("accepted")),
            "{ack}"
        );
    }
}

#[tokio::test]
async fn a_shutdown_finishes_what_was_read_and_then_says_goodbye() {
    let mut world = world(Settings::default()).await;
    world.send(1).await;
    world.send(2).await;
    world.appending(2).await;
    world.shutdown.cancel();
    world.log.permits.add_permits(2);
    for number in 1..=2 {
        assert_eq!(world.next().await["ack"]["number"].as_u64(), Some(number));
    }
    let bye = world.next().await;
    assert_eq!((bye["bye"]["code"].as_u64(), bye["bye"]["reconnect_in_ms"].as_u64().is_some_and(|ms| ms > 0)), (Some(1), true), "{bye}");
    let Some(Ok(Wire::Close(Some(close)))) = world.client.next().await else { unreachable!("a bye is followed by a close") };
    assert_eq!(u16::from(close.code), 4_001);
}

#[tokio::test]
async fn what_was_read_of_a_client_that_is_gone_is_still_finished() {
    let mut world = world(Settings::default()).await;
    world.send(1).await;
    world.appending(1).await;
    let (log, client) = (Arc::clone(&world.log), world.client);
    drop(client);
    log.permits.add_permits(1);
    while log.permits.available_permits() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_message_that_is_none_ends_it_by_number_after_what_came_before() {
    let mut world = world(Settings { max_message_bytes: 200, ..Settings::default() }).await;
    world.send(1).await;
    world.client.send(Wire::text("x".repeat(201))).await.expect("sent");
    world.log.permits.add_permits(1);
    assert_eq!(world.next().await["ack"]["number"], 1);
    assert_eq!(world.next().await["bye"]["code"], 9);
}

#[tokio::test(start_paused = true)]
async fn a_quiet_connection_is_pinged_and_one_that_does_not_answer_is_ended() {
    let mut world = world(Settings::default()).await;
    let began = Instant::now();
    for _ in 0..3 {
        assert!(matches!(world.client.next().await, Some(Ok(Wire::Ping(_)))));
    }
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(74) && took <= Duration::from_secs(76), "{took:?}");
    // A pong is written when the client reads, so one that does not read is silent.
    tokio::time::sleep(Duration::from_mins(5)).await;
    assert_eq!(*world.ended.lock(), Some(Goodbye::NoProgress));
}
