//! An app that holds a connection for its events, in either subprotocol. Every read has a deadline.

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use super::DEADLINE;

#[derive(Debug)]
pub(crate) struct Uplink {
    socket: tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>,
}

impl Uplink {
    /// Says who it is in the handshake.
    pub(crate) async fn open(url: &str, key: &str, subprotocol: &str) -> Self {
        Self::try_open(url, Some(key), subprotocol).await.expect("upgraded")
    }

    /// Says who it is by its first message, in JSON.
    pub(crate) async fn open_by_message(url: &str, key: &str) -> Self {
        let mut uplink = Self::try_open(url, None, "waypost.ingest.v1.json").await.expect("upgraded");
        uplink.send(&json!({"auth": {"token": key}})).await;
        uplink
    }

    /// The status when the server refuses the upgrade.
    pub(crate) async fn try_open(url: &str, key: Option<&str>, subprotocol: &str) -> Result<Self, u16> {
        let mut request = format!("{}/v1/ingest", url.replacen("http", "ws", 1)).into_client_request().expect("an address");
        request.headers_mut().insert("sec-websocket-protocol", subprotocol.parse().expect("a value"));
        if let Some(key) = key {
            request.headers_mut().insert("authorization", format!("Bearer {key}").parse().expect("a value"));
        }
        match tokio_tungstenite::connect_async(request).await {
            Ok((socket, answer)) => {
                assert_eq!(answer.headers()["sec-websocket-protocol"], subprotocol);
                Ok(Self { socket })
            }
            Err(tokio_tungstenite::tungstenite::Error::Http(answer)) => Err(answer.status().as_u16()),
            Err(error) => unreachable!("no answer: {error}"),
        }
    }

    pub(crate) async fn send(&mut self, message: &Value) {
        self.send_raw(Message::text(message.to_string())).await;
    }

    pub(crate) async fn send_raw(&mut self, message: Message) {
        self.socket.send(message).await.expect("sent");
    }

    /// The next message, whatever its spelling.
    pub(crate) async fn next_raw(&mut self) -> Message {
        loop {
            let message = tokio::time::timeout(DEADLINE, self.socket.next()).await.expect("a message in time").expect("open").expect("no error");
            if !matches!(message, Message::Ping(_) | Message::Pong(_)) {
                return message;
            }
        }
    }

    pub(crate) async fn next(&mut self) -> Value {
        let Message::Text(text) = self.next_raw().await else { unreachable!("JSON is text") };
        serde_json::from_str(&text).expect("JSON")
    }

    /// The numbered end: `bye` and the code of the close.
    pub(crate) async fn goodbye(&mut self) -> (Value, u16) {
        let mut bye = self.next().await;
        let Message::Close(Some(close)) = self.next_raw().await else { unreachable!("a bye is followed by a close: {bye}") };
        (bye["bye"].take(), u16::from(close.code))
    }
}
