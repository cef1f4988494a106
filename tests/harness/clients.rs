//! Those who talk to a server: a driver app, a reader, a dashboard. Every read has a deadline; none knows how the server was started.

use std::collections::BTreeMap;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::Value;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use super::DEADLINE;

/// Without an idle timeout, for which a client would keep a task.
fn client() -> reqwest::Client {
    reqwest::Client::builder().timeout(DEADLINE).pool_idle_timeout(None).build().expect("a client")
}

/// A driver app.
pub(crate) struct Driver {
    client: reqwest::Client,
    url: String,
    key: String,
}

impl Driver {
    pub(crate) fn new(url: &str, key: &str) -> Self {
        let client = client();
        Self { client, url: format!("{url}/v1/events"), key: key.to_owned() }
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

/// Whoever looks after what was refused, and posts bodies as no driver app would.
pub(crate) struct Operator {
    client: reqwest::Client,
    url: String,
    key: String,
}

impl Operator {
    pub(crate) fn new(url: &str, key: &str) -> Self {
        Self { client: client(), url: url.to_owned(), key: key.to_owned() }
    }

    pub(crate) async fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let method = method.parse().expect("a method");
        let mut request = self.client.request(method, format!("{}{path}", self.url)).bearer_auth(&self.key);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.expect("the server answers");
        (answer.status().as_u16(), answer.json().await.unwrap_or(Value::Null))
    }

    /// Posts these very bytes; the answer is JSON.
    pub(crate) async fn post_bytes(&self, media: &str, body: &[u8]) -> (u16, Value) {
        let request = self.client.post(format!("{}/v1/events", self.url)).bearer_auth(&self.key);
        let request = request.header("content-type", media).header("accept", "application/json").body(body.to_vec());
        let answer = request.send().await.expect("the server answers");
        (answer.status().as_u16(), answer.json().await.expect("JSON"))
    }

    /// Posts bytes that claim to be packed JSON.
    pub(crate) async fn post_packed(&self, packing: &str, body: &[u8]) -> (u16, Value) {
        let request = self.client.post(format!("{}/v1/events", self.url)).bearer_auth(&self.key).header("content-encoding", packing);
        let answer = request.body(body.to_vec()).send().await.expect("the server answers");
        (answer.status().as_u16(), answer.json().await.expect("JSON"))
    }

    /// All letters that match, the newest first, page by page.
    pub(crate) async fn letters(&self, query: &str) -> Vec<Value> {
        let (mut all, mut cursor) = (Vec::new(), String::new());
        loop {
            let (status, mut page) = self.ask("GET", &format!("/v1/dead-letters?limit=7{query}{cursor}"), None).await;
            assert_eq!(status, 200, "{page}");
            all.append(page["letters"].as_array_mut().expect("letters"));
            let Some(next) = page["next"].as_str() else { return all };
            cursor = format!("&cursor={next}");
        }
    }
}

/// Whoever reads.
pub(crate) struct Reader {
    client: reqwest::Client,
    url: String,
    key: String,
}

impl Reader {
    pub(crate) fn new(url: &str, key: &str) -> Self {
        let client = client();
        Self { client, url: url.to_owned(), key: key.to_owned() }
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
    pub(crate) async fn open(url: &str, key: &str) -> Self {
        Self::try_open(url, key).await.expect("upgraded")
    }

    /// `None` while the server refuses the upgrade.
    pub(crate) async fn try_open(url: &str, key: &str) -> Option<Self> {
        let address = format!("{}/v1/live", url.replacen("http", "ws", 1));
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
            self.acknowledge(&frame).await;
            return frame;
        }
    }

    /// Returns when the server has read everything that was sent before, acknowledgements of the frames read here among it. What it reads it
    /// hands on at once.
    pub(crate) async fn settle(&mut self) {
        let mut quiet_rounds = 0;
        while quiet_rounds < 2 {
            self.socket.send(Message::Ping(vec![0].into())).await.expect("sent");
            quiet_rounds += 1;
            loop {
                let message = tokio::time::timeout(DEADLINE, self.socket.next()).await.expect("a pong in time").expect("open").expect("no error");
                match message {
                    Message::Pong(_) => break,
                    Message::Text(text) => {
                        self.acknowledge(&serde_json::from_str(&text).expect("JSON")).await;
                        quiet_rounds = 0;
                    }
                    _ => {}
                }
            }
        }
    }

    /// Looks at this box anew and reads on until that is answered: whatever was under way before has been read and acknowledged then.
    pub(crate) async fn look(&mut self, view: &Value) {
        self.send(&serde_json::json!({"view": view})).await;
        while self.frame().await["view_id"] != view["view_id"] {}
        self.settle().await;
    }

    async fn acknowledge(&mut self, frame: &Value) {
        if let Some(tick) = frame["tick"].as_u64().filter(|tick| *tick > 0) {
            self.send(&serde_json::json!({"ack": {"tick": tick}})).await;
        }
    }

    /// Reads to the end: the last words, and the code of the close.
    pub(crate) async fn goodbye(&mut self) -> (Value, u16) {
        let mut last = Value::Null;
        let end = async {
            loop {
                match self.socket.next().await.expect("a close before the end").expect("no error") {
                    Message::Text(text) => last = serde_json::from_str(&text).expect("JSON"),
                    Message::Close(frame) => return u16::from(frame.expect("a code").code),
                    _ => {}
                }
            }
        };
        let close = tokio::time::timeout(DEADLINE, end).await.expect("an end in time");
        (last["bye"].take(), close)
    }
}

/// How far what was posted reaches, by partition: an answer names the partitions of its own batch alone.
#[derive(Debug, Default)]
pub(crate) struct Posted(BTreeMap<u16, u64>);

impl Posted {
    /// Notes the position of an answer.
    pub(crate) fn reached(&mut self, position: Option<&str>) {
        for place in position.unwrap_or_default().split(',').filter(|place| !place.is_empty()) {
            let (partition, offset) = place.split_once(':').expect("PARTITION:OFFSET");
            let reached = self.0.entry(partition.parse().expect("a number")).or_default();
            *reached = offset.parse::<u64>().expect("a number").max(*reached);
        }
    }

    /// As a read waits for all of it.
    pub(crate) fn position(&self) -> Option<String> {
        let places: Vec<String> = self.0.iter().map(|(partition, offset)| format!("{partition}:{offset}")).collect();
        (!places.is_empty()).then(|| places.join(","))
    }
}
