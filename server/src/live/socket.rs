//! One WebSocket: authentication, its clock of pings and limits, and the bytes in and out. Never decides what a session is shown.

use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use metrics::{counter, histogram};
use prost::Message as _;
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::seats::Seat;
use super::tick::OUTBOX;
use super::{Format, Goodbye, OutFrame, SessionCommand, Settings, json};
use crate::clock::Clock;
use crate::ended::Ended;
use crate::map::cells::SessionId;
use crate::model::id::TenantId;
use crate::model::scope::Scope;
use crate::wire;
use crate::wire::client_message::Kind;

/// The subprotocols by name, the preferred first.
pub const SUBPROTOCOLS: [(&str, Format); 2] = [("waypost.v1.proto", Format::Proto), ("waypost.v1.json", Format::Json)];

/// A write that takes longer than this ends the session: the peer reads nothing.
const WRITE_TIMEOUT: Duration = Duration::from_secs(15);
/// Those who are sent away at a shutdown come back spread over this time.
const RECONNECT_JITTER_MS: std::ops::Range<u32> = 500..3_000;

/// Chooses among what the client offers in `Sec-WebSocket-Protocol` (comma separated): binary before JSON; none known is none.
pub fn negotiate(offered: &str) -> Option<Format> {
    SUBPROTOCOLS.iter().find(|(name, _)| offered.split(',').any(|offer| offer.trim() == *name)).map(|(_, format)| *format)
}

/// What a socket needs besides itself.
#[derive(Clone, Debug)]
pub struct Serving {
    pub commands: mpsc::Sender<SessionCommand>,
    pub settings: Settings,
    pub clock: Clock,
    pub shutdown: CancellationToken,
}

/// Who may watch what, and the seat that is given back when the connection ends.
#[derive(Debug)]
pub struct Admitted {
    pub tenant: TenantId,
    pub scope: Scope,
    /// Cancelled when the credential is good no more.
    pub ended: Ended,
    pub seat: Seat,
}

/// Serves one connection until either side ends it.
pub async fn serve(
    mut socket: WebSocket,
    format: Format,
    admitted: Option<Result<Admitted, Goodbye>>,
    authenticate: impl AsyncFn(&str) -> Result<Admitted, Goodbye>,
    serving: Serving,
) {
    let admitted = match admitted {
        Some(admitted) => admitted.map_err(|goodbye| Some((goodbye, reason_of(goodbye)))),
        None => first_message(&mut socket, format, authenticate, &serving).await,
    };
    match admitted {
        Ok(admitted) => Connection::open(socket, format, admitted, serving).await,
        Err(Some((goodbye, reason))) => say_bye(&mut socket, OutFrame::bye(format, goodbye, reason, reconnect_in_ms(goodbye))).await,
        Err(None) => {}
    }
}

/// None: the peer is gone, and nobody is left to be told.
type Refusal = Option<(Goodbye, &'static str)>;

fn reason_of(goodbye: Goodbye) -> &'static str {
    match goodbye {
        Goodbye::TooManySessions => "this key has as many live sessions as it may",
        Goodbye::Shutdown => "the token could not be checked; try again",
        _ => "the token is not valid for live views",
    }
}

async fn first_message(
    socket: &mut WebSocket,
    format: Format,
    authenticate: impl AsyncFn(&str) -> Result<Admitted, Goodbye>,
    serving: &Serving,
) -> Result<Admitted, Refusal> {
    let deadline = Instant::now() + serving.settings.auth_timeout;
    loop {
        let message = tokio::select! {
            () = serving.shutdown.cancelled() => return Err(Some((Goodbye::Shutdown, "the server shuts down"))),
            received = tokio::time::timeout_at(deadline, socket.recv()) => match received {
                Err(_elapsed) => return Err(Some((Goodbye::AuthTimeout, "no auth message came in time"))),
                Ok(None | Some(Err(_))) => return Err(None),
                Ok(Some(Ok(message))) => message,
            },
        };
        match decode(&message, format, serving.settings.max_message_bytes) {
            Ok(Some(Kind::Auth(auth))) => {
                return authenticate(&auth.token).await.map_err(|goodbye| Some((goodbye, reason_of(goodbye))));
            }
            Ok(None) => {}
            Ok(Some(_)) => return Err(Some((Goodbye::BadMessage, "the first message must be auth"))),
            Err(goodbye) => return Err(Some((goodbye, "the first message must be auth"))),
        }
    }
}

/// Reads a message; none for pings and the like.
fn decode(message: &Message, format: Format, max_bytes: usize) -> Result<Option<Kind>, Goodbye> {
    let kind = match (message, format) {
        (Message::Binary(bytes), _) if bytes.len() > max_bytes => return Err(Goodbye::MessageTooLarge),
        (Message::Text(text), _) if text.len() > max_bytes => return Err(Goodbye::MessageTooLarge),
        (Message::Binary(bytes), Format::Proto) => wire::ClientMessage::decode(&bytes[..]).ok().and_then(|message| message.kind),
        (Message::Text(text), Format::Json) => json::client_message(text.as_str()),
        (Message::Binary(_) | Message::Text(_), _) => None,
        (Message::Ping(_) | Message::Pong(_) | Message::Close(_), _) => return Ok(None),
    };
    kind.map(Some).ok_or(Goodbye::BadMessage)
}

/// When who is sent away may come back; 0: not at all.
pub fn reconnect_in_ms(goodbye: Goodbye) -> u32 {
    match goodbye {
        Goodbye::Shutdown => rand::random_range(RECONNECT_JITTER_MS),
        Goodbye::AuthTimeout => 1_000,
        Goodbye::TooManySessions => 10_000,
        _ => 0,
    }
}

/// An admitted connection.
struct Connection {
    socket: WebSocket,
    format: Format,
    session: SessionId,
    serving: Serving,
    ended: Ended,
    /// The newest view that came faster than views may: it waits for its turn, and a newer one replaces it.
    waiting_view: Option<wire::View>,
    next_view: Instant,
}

/// Why the loop goes on or ends.
enum Next {
    Continue,
    Bye(Goodbye, &'static str),
    Gone,
}

impl Connection {
    async fn open(socket: WebSocket, format: Format, admitted: Admitted, serving: Serving) {
        let Admitted { tenant, scope, ended, seat } = admitted;
        let session = SessionId(rand::random());
        let (outbox, frames) = mpsc::channel(OUTBOX);
        let opened = serving.commands.send(SessionCommand::Open { session, tenant, scope, format, outbox }).await;
        let mut connection = Self { socket, format, session, serving, ended, waiting_view: None, next_view: Instant::now() };
        if opened.is_ok() {
            connection.run(frames).await;
        }
        drop(seat);
        // When the live task is gone there is nobody to tell, and nothing left to tell of.
        drop(connection.serving.commands.send(SessionCommand::Close { session }).await);
    }

    async fn run(&mut self, mut frames: mpsc::Receiver<OutFrame>) {
        let mut ping = pings(self.serving.settings.ping_every);
        // Both are made once: who waits for a token stands in a list under its lock, and all sessions stand in that of the shutdown.
        let shutdown = self.serving.shutdown.clone();
        let (mut shutdown, mut ended) = (std::pin::pin!(shutdown.cancelled()), std::pin::pin!(self.ended.cancelled()));
        loop {
            let next = tokio::select! {
                () = &mut shutdown => Next::Bye(Goodbye::Shutdown, "the server shuts down"),
                () = &mut ended => Next::Bye(Goodbye::KeyRevoked, "the credential was revoked or has expired"),
                frame = frames.recv() => match frame {
                    Some(frame) => self.write(frame).await,
                    None => Next::Bye(Goodbye::NoProgress, "the session ended"),
                },
                message = self.socket.recv() => match message {
                    Some(Ok(message)) => self.receive(&message).await,
                    Some(Err(_)) | None => Next::Gone,
                },
                () = tokio::time::sleep_until(self.next_view), if self.waiting_view.is_some() => self.view_now().await,
                _ = ping.tick() => self.send(Message::Ping(bytes::Bytes::new())).await,
            };
            match next {
                Next::Continue => {}
                Next::Gone => return,
                Next::Bye(goodbye, reason) => {
                    return say_bye(&mut self.socket, OutFrame::bye(self.format, goodbye, reason, reconnect_in_ms(goodbye))).await;
                }
            }
        }
    }

    async fn write(&mut self, frame: OutFrame) -> Next {
        if frame.close.is_some() {
            say_bye(&mut self.socket, frame).await;
            return Next::Gone;
        }
        if let Some(oldest) = frame.oldest {
            histogram!("waypost_ping_to_frame_seconds").record(self.serving.clock.now().since(oldest).as_secs_f64());
        }
        counter!("waypost_live_bytes_total").increment(frame.bytes_len() as u64);
        self.send(message_of(&frame)).await
    }

    async fn send(&mut self, message: Message) -> Next {
        match tokio::time::timeout(WRITE_TIMEOUT, self.socket.send(message)).await {
            Ok(Ok(())) => Next::Continue,
            Ok(Err(_)) | Err(_) => Next::Gone,
        }
    }

    async fn receive(&mut self, message: &Message) -> Next {
        let session = self.session;
        let command = match decode(message, self.format, self.serving.settings.max_message_bytes) {
            // Already admitted by its handshake, a client may still say who it is.
            Ok(None | Some(Kind::Auth(_))) => return Next::Continue,
            Ok(Some(Kind::View(view))) => {
                self.waiting_view = Some(view);
                return if self.next_view <= Instant::now() { self.view_now().await } else { Next::Continue };
            }
            Ok(Some(Kind::Follow(follow))) => SessionCommand::Follow { session, delivery: follow.delivery },
            Ok(Some(Kind::Resume(resume))) if resume.view.is_some() => SessionCommand::Resume { session, resume },
            Ok(Some(Kind::Resume(_))) => return Next::Bye(Goodbye::BadMessage, "a resume must say which view is held"),
            Ok(Some(Kind::Ack(ack))) => SessionCommand::Ack { session, tick: ack.tick },
            Err(goodbye) => return Next::Bye(goodbye, "not a message of this subprotocol, or too large a one"),
        };
        self.tell(command).await
    }

    async fn view_now(&mut self) -> Next {
        let Some(view) = self.waiting_view.take() else { return Next::Continue };
        self.next_view = Instant::now() + Duration::from_secs(1) / self.serving.settings.view_changes_per_s.max(1);
        self.tell(SessionCommand::View { session: self.session, view }).await
    }

    /// When the live task lags, the socket waits: nothing is read from a client whose wishes cannot be taken.
    async fn tell(&mut self, command: SessionCommand) -> Next {
        match self.serving.commands.send(command).await {
            Ok(()) => Next::Continue,
            Err(_) => Next::Bye(Goodbye::Shutdown, "the server shuts down"),
        }
    }
}

fn pings(every: Duration) -> Interval {
    let mut ping = tokio::time::interval_at(Instant::now() + every, every);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ping
}

fn message_of(frame: &OutFrame) -> Message {
    let joined = frame.join();
    match frame.format() {
        Format::Proto => Message::Binary(joined),
        // Every part was made by serde_json, so this is text already; the lossy way only spares a panic.
        Format::Json => Message::Text(String::from_utf8_lossy(&joined).into_owned().into()),
    }
}

/// The last words and the close; a peer that does not take them in time is left.
async fn say_bye(socket: &mut WebSocket, frame: OutFrame) {
    const PATIENCE: Duration = Duration::from_secs(1);
    let code = frame.close.map_or(1_000, Goodbye::close_code);
    let words = async {
        if socket.send(message_of(&frame)).await.is_ok() {
            let close = CloseFrame { code, reason: axum::extract::ws::Utf8Bytes::from_static("") };
            drop(socket.send(Message::Close(Some(close))).await);
        }
    };
    drop(tokio::time::timeout(PATIENCE, words).await);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::seats::Seats;
    use super::*;

    fn admitted(seats: &Arc<Seats>) -> Admitted {
        Admitted {
            tenant: TenantId::parse("acme").unwrap(),
            scope: Scope::ALL,
            ended: Ended::default(),
            seat: seats.take(&Arc::from("key")).unwrap(),
        }
    }

    #[test]
    fn the_binary_subprotocol_wins_and_an_unknown_one_is_refused() {
        assert_eq!(negotiate("waypost.v1.json, waypost.v1.proto"), Some(Format::Proto));
        assert_eq!(negotiate("chat,waypost.v1.json"), Some(Format::Json));
        assert_eq!(negotiate("chat"), None);
        assert_eq!(negotiate(""), None);
    }

    #[tokio::test]
    async fn a_socket_is_admitted_by_its_first_message_and_told_when_to_come_back() {
        use axum::extract::ws::WebSocketUpgrade;
        use futures_util::{SinkExt, StreamExt};
        use tokio_tungstenite::tungstenite::Message as Wire;
        use tokio_tungstenite::tungstenite::client::IntoClientRequest;

        let (commands, mut wishes) = mpsc::channel(8);
        let shutdown = CancellationToken::new();
        let serving = Serving { commands, settings: Settings::default(), clock: Clock::System, shutdown: shutdown.clone() };
        let upgrade = move |upgrade: WebSocketUpgrade| {
            let serving = serving.clone();
            let seats = Seats::new(10);
            let known = async move |token: &str| match token {
                "secret" => Ok(admitted(&seats)),
                _ => Err(Goodbye::AuthFailed),
            };
            async move { upgrade.protocols(["waypost.v1.json"]).on_upgrade(move |socket| serve(socket, Format::Json, None, known, serving)) }
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = axum::Router::new().route("/v1/live", axum::routing::get(upgrade));
        let mut server = tokio::task::JoinSet::new();
        server.spawn(async move { axum::serve(listener, router).await });
        let connect = async || {
            let mut request = format!("ws://{address}/v1/live").into_client_request().unwrap();
            request.headers_mut().insert("Sec-WebSocket-Protocol", "waypost.v1.json".parse().unwrap());
            tokio_tungstenite::connect_async(request).await.unwrap().0
        };
        let bye = |message: Wire| serde_json::from_str::<serde_json::Value>(message.to_text().unwrap()).unwrap()["bye"].clone();

        let mut wrong = connect().await;
        wrong.send(Wire::text("{\"auth\":{\"token\":\"guess\"}}")).await.unwrap();
        assert_eq!(bye(wrong.next().await.unwrap().unwrap())["code"], 2);
        let Wire::Close(Some(close)) = wrong.next().await.unwrap().unwrap() else { unreachable!("a bye is followed by a close") };
        assert_eq!(u16::from(close.code), 4_002);

        let mut right = connect().await;
        right.send(Wire::text("{\"auth\":{\"token\":\"secret\"}}")).await.unwrap();
        let Some(SessionCommand::Open { tenant, session, outbox: _outbox, .. }) = wishes.recv().await else { unreachable!("it opens first") };
        assert_eq!(tenant.as_str(), "acme");
        right.send(Wire::text("{\"ack\":{\"tick\":9}}")).await.unwrap();
        assert!(matches!(wishes.recv().await, Some(SessionCommand::Ack { tick: 9, .. })));
        shutdown.cancel();

        assert_eq!(bye(right.next().await.unwrap().unwrap())["code"], 1);
        assert!(matches!(wishes.recv().await, Some(SessionCommand::Close { session: closed }) if closed == session));
        server.abort_all();
    }

    #[tokio::test(start_paused = true)]
    async fn a_quiet_connection_is_pinged_every_25_s() {
        use axum::extract::ws::WebSocketUpgrade;
        use futures_util::StreamExt;
        use tokio_tungstenite::tungstenite::Message as Wire;
        use tokio_tungstenite::tungstenite::client::IntoClientRequest;

        let (commands, mut wishes) = mpsc::channel(8);
        let serving = Serving { commands, settings: Settings::default(), clock: Clock::System, shutdown: CancellationToken::new() };
        let upgrade = move |upgrade: WebSocketUpgrade| {
            let serving = serving.clone();
            let nobody = async |_: &str| Err(Goodbye::AuthFailed);
            let known = Some(Ok(admitted(&Seats::new(1))));
            async move { upgrade.protocols(["waypost.v1.json"]).on_upgrade(move |socket| serve(socket, Format::Json, known, nobody, serving)) }
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut request = format!("ws://{}/v1/live", listener.local_addr().unwrap()).into_client_request().unwrap();
        request.headers_mut().insert("Sec-WebSocket-Protocol", "waypost.v1.json".parse().unwrap());
        let router = axum::Router::new().route("/v1/live", axum::routing::get(upgrade));
        let mut server = tokio::task::JoinSet::new();
        server.spawn(async move { axum::serve(listener, router).await });
        let (mut client, _) = tokio_tungstenite::connect_async(request).await.unwrap();
        let Some(SessionCommand::Open { outbox: _outbox, .. }) = wishes.recv().await else { unreachable!("it opens first") };
        let began = Instant::now();
        for _ in 0..3 {
            assert!(matches!(client.next().await, Some(Ok(Wire::Ping(_)))));
        }
        let took = began.elapsed();
        assert!(took >= Duration::from_secs(74) && took <= Duration::from_secs(76), "{took:?}");
        server.abort_all();
    }

    #[test]
    fn a_message_of_the_wrong_kind_or_size_is_refused_by_number() {
        let ack = wire::ClientMessage { kind: Some(Kind::Ack(wire::Ack { tick: 7 })) }.encode_to_vec();
        assert_eq!(decode(&Message::Binary(ack.clone().into()), Format::Proto, 100), Ok(Some(Kind::Ack(wire::Ack { tick: 7 }))));
        assert_eq!(decode(&Message::Binary(ack.into()), Format::Json, 100), Err(Goodbye::BadMessage));
        assert_eq!(decode(&Message::Text("{\"ack\":{\"tick\":7}}".into()), Format::Json, 100), Ok(Some(Kind::Ack(wire::Ack { tick: 7 }))));
        assert_eq!(decode(&Message::Text("x".repeat(101).into()), Format::Json, 100), Err(Goodbye::MessageTooLarge));
        assert_eq!(Goodbye::MessageTooLarge.close_code(), 4_009);
    }
}
