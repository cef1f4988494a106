//! The port that speaks TLS: requests and live views over it, a certificate replaced while connections are open, and those who come without TLS.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::{SinkExt as _, StreamExt as _};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::harness::process::{Data, ServerProcess};
use crate::harness::{DEADLINE, eventually};

/// A certificate for localhost in two files beside the data, and how a client trusts it.
struct Certificate {
    certificate: PathBuf,
    key: PathBuf,
}

impl Certificate {
    fn beside(data: &Path) -> Self {
        Self { certificate: data.join("chain.pem"), key: data.join("key.pem") }
    }

    /// Makes a new pair in place of what was there: how a client knows it.
    fn renew(&self) -> CertificateDer<'static> {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        std::fs::write(&self.certificate, made.cert.pem()).expect("written");
        std::fs::write(&self.key, made.signing_key.serialize_pem()).expect("written");
        made.cert.der().clone()
    }

    fn settings(&self) -> [(&str, &str); 4] {
        let text = |path: &'_ PathBuf| path.to_str().expect("text").to_owned().leak() as &str;
        [
            ("WAYPOST_TLS_CERT", text(&self.certificate)),
            ("WAYPOST_TLS_KEY", text(&self.key)),
            ("WAYPOST_TLS_RELOAD_S", "1"),
            ("WAYPOST_TLS_HANDSHAKE_TIMEOUT_S", "1"),
        ]
    }
}

fn trusting(certificate: &CertificateDer<'static>) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).expect("a root");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    TlsConnector::from(Arc::new(config))
}

fn address(server: &ServerProcess) -> &str {
    server.url.strip_prefix("https://").expect("the first line says https")
}

async fn connect(server: &ServerProcess, client: &TlsConnector) -> Option<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address(server)).await.ok()?;
    let name = ServerName::try_from("localhost").expect("a name");
    tokio::time::timeout(DEADLINE, client.connect(name, stream)).await.expect("shaken in time").ok()
}

/// Asks over a connection that stays open: head and body of the answer.
async fn ask(stream: &mut TlsStream<TcpStream>, path: &str) -> String {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes()).await.expect("written");
    let mut answer = Vec::new();
    loop {
        let mut piece = [0; 4096];
        let read = tokio::time::timeout(DEADLINE, stream.read(&mut piece)).await.expect("an answer in time").expect("readable");
        assert!(read > 0, "closed: {}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&piece[..read]);
        let text = String::from_utf8_lossy(&answer);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).and_then(|length| length.parse::<usize>().ok());
        if body.len() >= length.expect("a length") {
            return text.into_owned();
        }
    }
}

async fn ready(server: &ServerProcess, client: &TlsConnector) {
    eventually("ready", async || {
        let mut stream = connect(server, client).await?;
        ask(&mut stream, "/readyz").await.starts_with("HTTP/1.1 200").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_and_live_views_are_served_over_tls() {
    let data = Data::new();
    let certificate = Certificate::beside(data.path());
    let client = trusting(&certificate.renew());
    let server = ServerProcess::start_logged(data.path(), &certificate.settings(), &data.path().join("log"));
    ready(&server, &client).await;

    let mut stream = connect(&server, &client).await.expect("shaken");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let page = ask(&mut stream, "/").await;
    assert!(page.contains("strict-transport-security: max-age=") && page.contains("content-security-policy: default-src 'none'"), "{page}");
    assert!(ask(&mut stream, "/healthz").await.starts_with("HTTP/1.1 200"), "and on, over the same connection");

    let mut request = format!("wss://{}/v1/live", address(&server)).into_client_request().expect("an address");
    request.headers_mut().insert("sec-websocket-protocol", "waypost.v1.json".parse().expect("a value"));
    let stream = connect(&server, &client).await.expect("shaken");
    let (mut socket, _) = tokio_tungstenite::client_async(request, stream).await.expect("upgraded");
    socket.send(Message::text(json!({"auth": {"token": data.dashboard}}).to_string())).await.expect("sent");
    let hello = tokio::time::timeout(DEADLINE, socket.next()).await.expect("in time").expect("open").expect("no error");
    let hello: Value = serde_json::from_str(hello.to_text().expect("text")).expect("JSON");
    assert!(hello["hello"]["epoch"].is_string(), "{hello}");
    server.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_certificate_is_taken_up_while_connections_are_open_and_a_bad_one_is_not() {
    let data = Data::new();
    let certificate = Certificate::beside(data.path());
    let old = trusting(&certificate.renew());
    let log = data.path().join("log");
    let server = ServerProcess::start_logged(data.path(), &certificate.settings(), &log);
    ready(&server, &old).await;
    let mut open = connect(&server, &old).await.expect("shaken");
    assert!(ask(&mut open, "/healthz").await.starts_with("HTTP/1.1 200"));

    let new = trusting(&certificate.renew());
    eventually("the new certificate is shown", async || connect(&server, &new).await.map(drop)).await;
    assert!(connect(&server, &old).await.is_none(), "and the old one no more");
    assert!(ask(&mut open, "/healthz").await.starts_with("HTTP/1.1 200"), "who was connected stays so");

    std::fs::write(&certificate.certificate, "no certificate").expect("written");
    server.signal("HUP");
    let said = || std::fs::read_to_string(&log).expect("a log");
    eventually("the bad one is told of", async || said().contains("the old one stays").then_some(())).await;
    let mut again = connect(&server, &new).await.expect("the last good one serves on");
    assert!(ask(&mut again, "/healthz").await.starts_with("HTTP/1.1 200"));

    let newest = trusting(&certificate.renew());
    server.signal("HUP");
    eventually("the next good one is shown", async || connect(&server, &newest).await.map(drop)).await;
    server.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_speaks_no_tls_is_told_so_and_who_says_nothing_is_gone_in_time() {
    let data = Data::new();
    let certificate = Certificate::beside(data.path());
    let client = trusting(&certificate.renew());
    let server = ServerProcess::start_logged(data.path(), &certificate.settings(), &data.path().join("log"));
    ready(&server, &client).await;
    let said = async |first: &[u8]| {
        let mut stream = TcpStream::connect(address(&server)).await.expect("connects");
        stream.write_all(first).await.expect("written");
        let mut said = Vec::new();
        // A reset is an end as well.
        drop(tokio::time::timeout(DEADLINE, stream.read_to_end(&mut said)).await.expect("closed in time"));
        String::from_utf8_lossy(&said).into_owned()
    };
    let told = said(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    let (head, body) = told.split_once("\r\n\r\n").expect("a head");
    let problem: Value = serde_json::from_str(body).expect("a problem");
    assert!(head.starts_with("HTTP/1.1 400 ") && problem["code"] == "tls_required", "{told}");
    assert_eq!(said(b"").await, "", "silence");
    // A handshake that stops after the type of its record, and one that is none.
    assert_eq!(said(&[0x16, 3, 1]).await, "");
    assert!(said(&[0x16; 600]).await.len() < 20, "at most an alert");
    let mut stream = connect(&server, &client).await.expect("honest ones are served");
    assert!(ask(&mut stream, "/healthz").await.starts_with("HTTP/1.1 200"));
    server.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_takes_all_places_and_never_shakes_hands_is_gone_as_soon_as_others_need_the_room() {
    const PLACES: usize = 50;
    let data = Data::new();
    let certificate = Certificate::beside(data.path());
    let client = trusting(&certificate.renew());
    // Longer than this test waits for anything: who goes was sent away.
    let patient = [("WAYPOST_TLS_HANDSHAKE_TIMEOUT_S", "300"), ("WAYPOST_HEADER_TIMEOUT_S", "300"), ("WAYPOST_MAX_CONNECTIONS", "50")];
    let settings = [&certificate.settings()[..], &patient].concat();
    let server = ServerProcess::start_logged(data.path(), &settings, &data.path().join("log"));
    ready(&server, &client).await;
    let mut held = Vec::new();
    for _ in 0..PLACES {
        held.push(TcpStream::connect(address(&server)).await.expect("connects"));
    }
    eventually("an honest one is given room", async || {
        let mut honest = connect(&server, &client).await?;
        ask(&mut honest, "/healthz").await.starts_with("HTTP/1.1 200").then_some(())
    })
    .await;
    for _ in 0..30 {
        held.push(TcpStream::connect(address(&server)).await.expect("connects"));
    }
    let is_open = |stream: &TcpStream| matches!(stream.try_read(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock);
    eventually("no more are open than there are places", async || (held.iter().filter(|stream| is_open(stream)).count() <= PLACES).then_some(()))
        .await;
    server.stop();
}

#[test]
fn a_server_does_not_start_with_a_certificate_it_cannot_use() {
    let data = Data::new();
    let certificate = Certificate::beside(data.path());
    let first = certificate.renew();
    let key = std::fs::read(&certificate.key).expect("a key");
    assert_ne!(certificate.renew(), first);
    std::fs::write(&certificate.key, key).expect("written");
    let said = ServerProcess::refused_with(data.path(), &certificate.settings());
    assert!(said.contains("TLS cannot be served") && said.contains("cannot be used together"), "{said}");
    std::fs::remove_file(&certificate.key).expect("removed");
    let said = ServerProcess::refused_with(data.path(), &certificate.settings());
    assert!(said.contains("the key cannot be read from") && said.contains("key.pem"), "{said}");
}
