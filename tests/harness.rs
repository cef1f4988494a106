//! Starts the real binary and talks to it as its users do. Every read has a deadline.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::Value;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// A data folder that goes with the test, and the keys made in it.
pub(crate) struct Data {
    folder: tempfile::TempDir,
    pub(crate) ingest: String,
    pub(crate) dashboard: String,
}

impl Data {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let ingest = create_key(folder.path(), "acme", "ingest");
        let dashboard = create_key(folder.path(), "acme", "dashboard");
        Self { folder, ingest, dashboard }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }
}

pub(crate) fn create_key(data: &Path, tenant: &str, role: &str) -> String {
    let output =
        Command::new(binary()).args(["keys", "create", "--tenant", tenant, "--role", role, "--data"]).arg(data).output().expect("the binary runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

fn binary() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_waypost"))
}

/// The real server as a process of its own; killed when dropped.
pub(crate) struct ServerProcess {
    child: Child,
    pub(crate) url: String,
}

impl ServerProcess {
    pub(crate) fn start(data: &Path) -> Self {
        let mut child = Command::new(binary())
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(data)
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("the binary starts");
        let stdout = child.stdout.take().expect("piped");
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).expect("the first line");
        let url = line.trim().strip_prefix("listening on ").expect("the promised first line").to_owned();
        Self { child, url }
    }

    /// Starts a server that must not start, and returns what it said.
    pub(crate) fn refused(data: &Path) -> String {
        let output = Command::new(binary()).args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(data).output().expect("the binary runs");
        assert!(!output.status.success(), "it started");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// As a power cut would: no warning, no clean-up.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("reaped");
    }

    /// SIGTERM; asserts a clean end.
    pub(crate) fn stop(mut self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").arg(&pid).status().expect("kill runs").success());
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.child.try_wait().expect("waits") {
                assert!(status.success(), "the server ended with {status}");
                return;
            }
            assert!(Instant::now() < deadline, "the server did not stop");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until recovery is over.
    pub(crate) async fn ready(&self) {
        let client = reqwest::Client::new();
        eventually("ready", async || {
            let answer = client.get(format!("{}/readyz", self.url)).send().await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await;
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        if self.child.kill().is_ok() {
            drop(self.child.wait());
        }
    }
}

/// Asks again until there is an answer, or fails at the deadline.
pub(crate) async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "{what}: not within {DEADLINE:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A driver app.
pub(crate) struct Driver {
    client: reqwest::Client,
    url: String,
    key: String,
}

impl Driver {
    pub(crate) fn new(server: &ServerProcess, key: &str) -> Self {
        let client = reqwest::Client::builder().timeout(DEADLINE).build().expect("a client");
        Self { client, url: format!("{}/v1/events", server.url), key: key.to_owned() }
    }

    pub(crate) async fn post(&self, body: &Value) -> (u16, Value, Option<String>) {
        self.try_post(body).await.expect("the server answers")
    }

    /// `None` when the connection broke.
    pub(crate) async fn try_post(&self, body: &Value) -> Option<(u16, Value, Option<String>)> {
        let sent = self.client.post(&self.url).bearer_auth(&self.key).json(body).send().await.ok()?;
        let status = sent.status().as_u16();
        let position = sent.headers().get("waypost-position").map(|value| value.to_str().expect("text").to_owned());
        Some((status, sent.json().await.ok()?, position))
    }
}

/// Whoever reads.
pub(crate) struct Reader {
    client: reqwest::Client,
    url: String,
    key: String,
}

impl Reader {
    pub(crate) fn new(server: &ServerProcess, key: &str) -> Self {
        let client = reqwest::Client::builder().timeout(DEADLINE).build().expect("a client");
        Self { client, url: server.url.clone(), key: key.to_owned() }
    }

    pub(crate) async fn get(&self, path: &str, position: Option<&str>) -> (u16, Value) {
        let mut request = self.client.get(format!("{}{path}", self.url)).bearer_auth(&self.key);
        if let Some(position) = position {
            request = request.header("waypost-position", position);
        }
        let answer = request.send().await.expect("the server answers");
        (answer.status().as_u16(), answer.json().await.unwrap_or(Value::Null))
    }
}

/// A dashboard that speaks the JSON subprotocol.
pub(crate) struct Dashboard {
    socket: tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>,
}

impl Dashboard {
    pub(crate) async fn open(server: &ServerProcess, key: &str) -> Self {
        Self::try_open(server, key).await.expect("upgraded")
    }

    /// `None` while the server refuses the upgrade.
    pub(crate) async fn try_open(server: &ServerProcess, key: &str) -> Option<Self> {
        let address = format!("{}/v1/live", server.url.replacen("http", "ws", 1));
        let mut request = address.into_client_request().expect("an address");
        request.headers_mut().insert("sec-websocket-protocol", "waypost.v1.json".parse().expect("a value"));
        let (socket, answer) = tokio_tungstenite::connect_async(request).await.ok()?;
        assert_eq!(answer.headers()["sec-websocket-protocol"], "waypost.v1.json");
        let mut dashboard = Self { socket };
        dashboard.send(&serde_json::json!({"auth": {"token": key}})).await;
        Some(dashboard)
    }

    pub(crate) async fn send(&mut self, message: &Value) {
        self.socket.send(Message::text(message.to_string())).await.expect("sent");
    }

    /// The next frame, acknowledged when it wants that.
    pub(crate) async fn frame(&mut self) -> Value {
        loop {
            let message = tokio::time::timeout(DEADLINE, self.socket.next()).await.expect("a frame in time").expect("open").expect("no error");
            let Message::Text(text) = message else {
                continue;
            };
            let frame: Value = serde_json::from_str(&text).expect("JSON");
            if let Some(tick) = frame["tick"].as_u64().filter(|tick| *tick > 0) {
                self.send(&serde_json::json!({"ack": {"tick": tick}})).await;
            }
            return frame;
        }
    }
}
