//! One live session: sends a view, reads frames with the simulator's own decoder, acknowledges them. Never judges what it is shown.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use prost::Message as _;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::client::Target;
use crate::frame::{FrameError, Picture};
use crate::wire::client_message::Kind;
use crate::wire::{Ack, Bye, ClientMessage, Frame, Level, Resume, View};

const SUBPROTOCOL: &str = "waypost.v1.proto";
/// A view is answered at the next tick; this is far more than any tick.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

#[derive(Debug, Error)]
pub enum LiveError {
    #[error("no live session: {0}")]
    Socket(#[from] Box<tokio_tungstenite::tungstenite::Error>),
    #[error("the live session was not answered within {ANSWER_WITHIN:?}")]
    NoAnswer,
    #[error("the live session was closed")]
    Closed,
    #[error("the server ended the live session: {} ({})", .0.reason, .0.code)]
    Bye(Bye),
    #[error("a live frame is wrong: {0}")]
    Frame(#[from] FrameError),
}

/// A dashboard without a screen.
pub struct Session {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    picture: Picture,
    views: u32,
    /// Not all of the view was told, or of what happened in it.
    behind: bool,
    /// Bytes of the messages received so far.
    received: u64,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Session").field("picture", &self.picture).field("views", &self.views).finish_non_exhaustive()
    }
}

impl Session {
    pub async fn open(target: &Target) -> Result<Self, LiveError> {
        Self::open_with(target, Picture::default()).await
    }

    /// Comes back with what an earlier session held; `resume` says so to the server.
    pub async fn open_with(target: &Target, picture: Picture) -> Result<Self, LiveError> {
        let mut request = target.websocket_address("/v1/live").into_client_request().map_err(Box::new)?;
        let headers = request.headers_mut();
        headers.insert("sec-websocket-protocol", SUBPROTOCOL.parse().expect("a constant that is a header's value"));
        headers.insert("authorization", target.authorization().clone());
        // Small buffers, for there may be ten thousand of these; each message goes out at once.
        let config = WebSocketConfig::default().read_buffer_size(4 << 10).write_buffer_size(0);
        let connecting = tokio_tungstenite::connect_async_with_config(request, Some(config), true);
        let connected = tokio::time::timeout(ANSWER_WITHIN, connecting).await;
        let (socket, _) = connected.map_err(|_elapsed| LiveError::NoAnswer)?.map_err(Box::new)?;
        Ok(Self { socket, picture, views: 0, behind: false, received: 0 })
    }

    /// Looks at a box and returns the level at which the server shows it; afterwards the picture is what it shows.
    pub async fn look(&mut self, west: f64, south: f64, east: f64, north: f64, zoom: f64) -> Result<Level, LiveError> {
        let view_id = self.views + 1;
        self.view(View { west, south, east, north, zoom, filter: None, view_id }).await?;
        self.told(view_id).await
    }

    /// Says what is held of a view and waits until the picture is what the server shows.
    pub async fn come_back(&mut self, resume: Resume) -> Result<Level, LiveError> {
        let view_id = resume.view.as_ref().map_or(self.views, |view| view.view_id);
        self.resume(resume).await?;
        self.told(view_id).await
    }

    async fn told(&mut self, view_id: u32) -> Result<Level, LiveError> {
        loop {
            let frame = tokio::time::timeout(ANSWER_WITHIN, self.frame()).await.map_err(|_elapsed| LiveError::NoAnswer)??;
            if let Some(level) = frame.level.filter(|_| frame.view_id == view_id && !self.behind) {
                return Ok(level);
            }
        }
    }

    /// Asks for a view and waits for nothing.
    pub async fn view(&mut self, view: View) -> Result<(), LiveError> {
        self.views = view.view_id;
        self.send(Kind::View(view)).await
    }

    /// Says what is held of a view and waits for nothing.
    pub async fn resume(&mut self, resume: Resume) -> Result<(), LiveError> {
        self.views = resume.view.as_ref().map_or(self.views, |view| view.view_id);
        self.send(Kind::Resume(resume)).await
    }

    pub fn picture(&self) -> &Picture {
        &self.picture
    }

    /// What it held when it was cut.
    pub fn into_picture(self) -> Picture {
        self.picture
    }

    pub fn received_bytes(&self) -> u64 {
        self.received
    }

    /// The next frame, applied and acknowledged.
    pub async fn frame(&mut self) -> Result<Frame, LiveError> {
        let frame = self.next().await?;
        self.acknowledge(&frame).await?;
        Ok(frame)
    }

    /// The next frame, applied. Nothing is lost when the wait for it is given up.
    pub async fn next(&mut self) -> Result<Frame, LiveError> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Binary(bytes))) => {
                    self.received += bytes.len() as u64;
                    let frame = self.picture.apply_bytes(&bytes)?;
                    self.behind = frame.lag.map_or(self.behind, |lag| lag.behind);
                    return match frame.bye {
                        Some(bye) => Err(LiveError::Bye(bye)),
                        None => Ok(frame),
                    };
                }
                Some(Ok(Message::Close(_))) | None => return Err(LiveError::Closed),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(Box::new(error).into()),
            }
        }
    }

    /// Lets the server send more.
    pub async fn acknowledge(&mut self, frame: &Frame) -> Result<(), LiveError> {
        if frame.tick == 0 {
            return Ok(());
        }
        self.send(Kind::Ack(Ack { tick: frame.tick })).await
    }

    async fn send(&mut self, kind: Kind) -> Result<(), LiveError> {
        let message = ClientMessage { kind: Some(kind) };
        Ok(self.socket.send(Message::binary(message.encode_to_vec())).await.map_err(Box::new)?)
    }
}
