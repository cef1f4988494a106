//! Clients that are slow on purpose: they are gone within their time, and who is honest is served meanwhile as if they were not there.
//!
//! `WAYPOST_SOAK=1` comes with 2,000 of them; the figures stand on stderr.

use std::io::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::harness::clients::{Driver, Reader};
use crate::harness::events::ping;
use crate::harness::process::{Data, ServerProcess};
use crate::harness::server::TestServer;
use crate::harness::{DEADLINE, eventually};

/// How long the server of these tests waits for a head.
const HEADER_TIMEOUT: Duration = Duration::from_secs(3);
/// Between two drops of a slow client.
const DRIP: Duration = Duration::from_millis(150);

fn is_soak() -> bool {
    std::env::var_os("WAYPOST_SOAK").is_some()
}

fn address(url: &str) -> SocketAddr {
    url.trim_start_matches("http://").parse().expect("an address")
}

/// From another loopback address than the honest ones.
async fn connect_from(last: u8, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::from(([127, 0, 0, last], 0))).expect("a loopback address");
    tokio::time::timeout(DEADLINE, socket.connect(to)).await.expect("accepted in time").expect("accepted")
}

/// Says a request's head byte by byte, or nothing at all, until the server has had enough: how long that took.
async fn drip(number: usize, to: SocketAddr) -> Duration {
    let last = u8::try_from(2 + number % 8).expect("small");
    let mut stream = connect_from(last, to).await;
    let began = Instant::now();
    let head = format!("POST /v1/events HTTP/1.1\r\nhost: waypost\r\nx-padding: {}\r\n", "x".repeat(1000));
    let mut drops = head.bytes();
    // One in four says nothing.
    let silent = number.is_multiple_of(4);
    let mut every = tokio::time::interval(DRIP);
    let mut answer = [0; 512];
    loop {
        tokio::select! {
            read = stream.read(&mut answer) => if matches!(read, Ok(0) | Err(_)) { return began.elapsed() },
            _ = every.tick(), if !silent => {
                let next = drops.next().expect("more bytes than drops");
                if stream.write_all(&[next]).await.is_err() {
                    return began.elapsed();
                }
            }
        }
    }
}

/// Posts one ping after the other and returns the 99th of a hundred times, in milliseconds.
async fn honest_p99_ms(driver: &Driver, named: &str, pings: usize) -> f64 {
    let mut times = Vec::new();
    for number in 0..pings {
        let began = Instant::now();
        let (status, answer, _) = driver.post(&ping(&format!("{named}-{number}"), "van-1", 1_790_000_000_000, 57.7, 11.9)).await;
        times.push(began.elapsed());
        assert_eq!(status, 200, "{answer}");
    }
    times.sort_unstable();
    times[pings * 99 / 100].as_secs_f64() * 1000.0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_clients_are_gone_within_their_time_and_honest_ones_do_not_notice() {
    let (slow, pings) = if is_soak() { (2_000, 2_000) } else { (300, 200) };
    let data = Data::new();
    let settings = [("WAYPOST_HEADER_TIMEOUT_S", "3"), ("WAYPOST_LOG", "warn")];
    let server = ServerProcess::start_limited(data.path(), "true", &settings);
    server.ready().await;
    let driver = Driver::new(&server.url, &data.ingest);
    honest_p99_ms(&driver, "warm", 50).await;
    let without = honest_p99_ms(&driver, "without", pings).await;

    let mut clients = JoinSet::new();
    for number in 0..slow {
        clients.spawn(drip(number, address(&server.url)));
    }
    eventually("all slow clients hold a connection", async || (open_connections(&server.url).await >= slow).then_some(())).await;
    let with = honest_p99_ms(&driver, "with", pings).await;
    let gone: Vec<Duration> = clients.join_all().await;
    let slowest = gone.iter().max().expect("some").as_secs_f64();
    let line = format!(
        "{slow} slow clients from 8 addresses: honest p99 {without:.2} ms without them, {with:.2} ms with them; the last was gone after {slowest:.2} s \
         (header_timeout_s = {})\n",
        HEADER_TIMEOUT.as_secs()
    );
    std::io::stderr().write_all(line.as_bytes()).expect("stderr takes it");
    assert!(slowest < HEADER_TIMEOUT.as_secs_f64() + 2.0, "{line}");
    // Two cores are shared with the slow clients themselves and whatever else runs; a server that is held up waits for seconds.
    assert!(with < 10.0 * without + 250.0, "{line}");
    // This question's own, and what the pools of the honest keep.
    drop(driver);
    eventually("no place is lost", async || (open_connections(&server.url).await <= 4).then_some(())).await;
    server.stop();
}

async fn open_connections(url: &str) -> usize {
    let text = reqwest::get(format!("{url}/metrics")).await.expect("answers").text().await.expect("text");
    let line = text.lines().find_map(|line| line.strip_prefix("waypost_connections ")).expect("the gauge");
    line.parse().expect("a count")
}

async fn counted(server: &TestServer, name: &str) -> u64 {
    let text = reqwest::get(format!("{}/metrics", server.url)).await.expect("answers").text().await.expect("text");
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok()).unwrap_or_default()
}

/// Reads until the server closes.
async fn closed(stream: &mut TcpStream) -> Vec<u8> {
    let mut said = Vec::new();
    // A reset is an end as well.
    drop(tokio::time::timeout(DEADLINE, stream.read_to_end(&mut said)).await.expect("closed in time"));
    said
}

#[tokio::test]
async fn an_address_has_so_many_connections_and_what_comes_beyond_is_closed_at_once() {
    let server = TestServer::start_with(|config| config.max_connections_per_address = 3).await;
    let name = "waypost_connections_refused_total{reason=\"address\"}";
    let before = counted(&server, name).await;
    let to = address(&server.url);
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(connect_from(9, to).await);
    }
    let mut beyond = connect_from(9, to).await;
    assert_eq!(closed(&mut beyond).await, b"");
    let (status, _) = server.reader().get("/v1/deliveries", None).await;
    assert_eq!(status, 200, "another address is not concerned");
    assert_eq!(counted(&server, name).await, before + 1);
    held.pop();
    eventually("there is room again", async || {
        let mut next = connect_from(9, to).await;
        next.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.ok()?;
        closed(&mut next).await.starts_with(b"HTTP/1.1 200").then_some(())
    })
    .await;
    drop((held, beyond));
    server.stop().await;
}

#[tokio::test]
async fn who_takes_all_places_and_says_nothing_does_not_keep_others_out() {
    let server = TestServer::start_with(|config| config.max_connections = 50).await;
    let to = address(&server.url);
    let mut held = Vec::new();
    for _ in 0..80 {
        held.push(connect_from(8, to).await);
    }
    eventually("an honest request is answered", async || {
        let mut honest = connect_from(9, to).await;
        honest.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.ok()?;
        closed(&mut honest).await.starts_with(b"HTTP/1.1 200").then_some(())
    })
    .await;
    drop(held);
    server.stop().await;
}

#[tokio::test]
async fn a_credential_has_so_many_connections_and_requests_and_is_told_so() {
    let server = TestServer::start_with(|config| {
        config.max_connections_per_credential = 2;
        config.max_in_flight_per_credential = 1;
    })
    .await;
    // One request whose body never ends is under way.
    let mut first = TcpStream::connect(address(&server.url)).await.expect("connects");
    let head = format!("POST /v1/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-length: 100\r\n\r\n[", server.ingest);
    first.write_all(head.as_bytes()).await.expect("written");
    let client = reqwest::Client::builder().pool_max_idle_per_host(0).build().expect("a client");
    let ask = async |key: &str| {
        let answer = client.post(format!("{}/v1/events", server.url)).bearer_auth(key).json(&serde_json::json!([])).send().await.expect("answers");
        let retry_after = answer.headers().contains_key("retry-after");
        (answer.status().as_u16(), retry_after, answer.json::<Value>().await.expect("JSON")["code"].clone())
    };
    eventually("the first is under way", async || (ask(&server.ingest).await == (429, true, "too_many_in_flight".into())).then_some(())).await;
    assert_eq!(ask(&server.dashboard).await.0, 403, "another credential has its own");
    let in_a_password = format!("Basic {}", STANDARD.encode(format!("anybody:{}", server.ingest)));
    let elsewhere = format!("/v1/in/k/{}/osmand", server.ingest);
    for (path, spelled) in
        [("/v1/events", format!("bEARER   {}", server.ingest)), ("/v1/in/osmand", in_a_password), (elsewhere.as_str(), "Bearer another".to_owned())]
    {
        let answer = client.post(format!("{}{path}", server.url)).header("authorization", spelled).send().await.expect("answers");
        assert_eq!(answer.status(), 429, "{path}: one key however it is spelled");
    }
    // A second connection that keeps the credential takes the last place.
    let mut second = TcpStream::connect(address(&server.url)).await.expect("connects");
    second
        .write_all(format!("GET /healthz HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\r\n", server.ingest).as_bytes())
        .await
        .expect("written");
    eventually("the place is taken", async || (ask(&server.ingest).await.2 == "too_many_connections").then_some(())).await;
    drop((first, second, client));
    server.stop().await;
}

#[tokio::test]
async fn a_connection_may_rest_between_requests_but_not_for_ever() {
    let server = TestServer::start_with(|config| (config.header_timeout_s, config.idle_timeout_s) = (1, 3)).await;
    let mut stream = TcpStream::connect(address(&server.url)).await.expect("connects");
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("written");
    let mut answer = [0; 4096];
    let read = tokio::time::timeout(DEADLINE, stream.read(&mut answer)).await.expect("in time").expect("readable");
    assert!(answer[..read].starts_with(b"HTTP/1.1 200"));
    let began = Instant::now();
    assert_eq!(closed(&mut stream).await, b"");
    assert!(began.elapsed() >= Duration::from_secs(2), "the time of a head is not the time between requests: {:?}", began.elapsed());
    server.stop().await;
}

#[tokio::test]
async fn an_answer_that_nobody_reads_is_given_up() {
    let server = TestServer::start_with(|config| config.response_timeout_s = 1).await;
    let cut = "waypost_connections_cut_total{reason=\"stalled_answer\"}";
    let before = counted(&server, cut).await;
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small window");
    let mut stream = socket.connect(address(&server.url)).await.expect("connects");
    // The document is some dozens of kilobytes: asked for often enough, it fills every buffer on the way.
    let mut asked = 0;
    let request = b"GET /v1/openapi.json HTTP/1.1\r\nhost: x\r\n\r\n";
    while asked < 2_000 && tokio::time::timeout(Duration::from_millis(300), stream.write_all(request)).await.is_ok_and(|written| written.is_ok()) {
        asked += 1;
    }
    eventually("the connection is cut", async || (counted(&server, cut).await == before + 1).then_some(())).await;
    drop(stream);
    server.stop().await;
}

#[tokio::test]
async fn a_head_has_a_bounded_size_and_number_of_lines() {
    let server = TestServer::start_with(|config| config.max_header_bytes = 4096).await;
    let lines = "x-y: z\r\n".repeat(120);
    let long = format!("x-long: {}\r\n", "y".repeat(5000));
    for headers in [lines, long] {
        let mut stream = TcpStream::connect(address(&server.url)).await.expect("connects");
        stream.write_all(format!("GET /healthz HTTP/1.1\r\nhost: x\r\n{headers}\r\n").as_bytes()).await.expect("written");
        let answer = closed(&mut stream).await;
        assert!(answer.starts_with(b"HTTP/1.1 431 "), "{}", String::from_utf8_lossy(&answer));
    }
    let reader = Reader::new(&server.url, &server.dashboard);
    assert_eq!(reader.get("/v1/deliveries", None).await.0, 200);
    drop(reader);
    server.stop().await;
}

#[tokio::test]
async fn a_body_that_drips_is_given_up_long_before_its_whole_time() {
    let server = TestServer::start_with(|config| config.body_min_bytes_per_s = 1000).await;
    let mut stream = TcpStream::connect(address(&server.url)).await.expect("connects");
    let head = format!("POST /v1/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-length: 10000\r\n\r\n", server.ingest);
    stream.write_all(head.as_bytes()).await.expect("written");
    let (mut read, mut write) = stream.into_split();
    let mut dripping = JoinSet::new();
    dripping.spawn(async move {
        let mut every = tokio::time::interval(DRIP);
        loop {
            every.tick().await;
            if write.write_all(b"[").await.is_err() {
                return;
            }
        }
    });
    let began = Instant::now();
    let mut answer = [0; 4096];
    let length = tokio::time::timeout(DEADLINE, read.read(&mut answer)).await.expect("an answer in time").expect("readable");
    let answer = String::from_utf8_lossy(&answer[..length]);
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("\"request_timeout\""), "{answer}");
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    drop(read);
    dripping.shutdown().await;
    server.stop().await;
}
