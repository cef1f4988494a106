//! One ingest connection: who it is, batches in, acknowledgements out, and its end by a number. Never decodes an event.

use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesOrdered;
use metrics::gauge;
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::words::{Format, NumberedBatch, Said};
use super::{Admitted, Sender, StreamState, Terms};
use crate::http::auth::Access;
use crate::http::problem::{self, Kind};
use crate::ingest::body::Encoding;
use crate::ingest::{Answer, Ingest, Refused, Request};
use crate::live::Goodbye;
use crate::live::socket::reconnect_in_ms;
use crate::log::EventLog;
use crate::wire;

/// A write that takes longer than this ends the connection: the peer reads nothing.
const WRITE_TIMEOUT: Duration = Duration::from_secs(15);

/// Why a connection ends. None: the peer is gone, and nobody is left to be told.
type End = Option<(Goodbye, &'static str)>;

/// Serves one connection until either side ends it.
pub(super) async fn serve(mut socket: WebSocket, format: Format, admitted: Option<Result<Admitted, Goodbye>>, access: Access, state: &StreamState) {
    let admitted = match admitted {
        Some(admitted) => admitted.map_err(|goodbye| Some((goodbye, reason_of(goodbye)))),
        None => first_message(&mut socket, format, access, state).await,
    };
    let end = match (admitted, state.ingest.get()) {
        (Err(end), _) => end,
        (Ok(_), None) => Some((Goodbye::Shutdown, "the server is not ready")),
        (Ok(Admitted { sender, seat }), Some(ingest)) => {
            let end = converse(&mut socket, format, sender, ingest, &state.terms).await;
            drop(seat);
            end
        }
    };
    if let Some((goodbye, reason)) = end {
        say_bye(&mut socket, format, goodbye, reason).await;
    }
}

/// Takes the batches of who is admitted, until either side ends it.
async fn converse<L: EventLog>(socket: &mut WebSocket, format: Format, sender: Sender, ingest: &Ingest<L>, terms: &Terms) -> End {
    gauge!("waypost_ingest_streams").increment(1.0);
    let end = Connection { socket, format, sender, ingest, terms, heard: Instant::now() }.run().await;
    gauge!("waypost_ingest_streams").decrement(1.0);
    end
}

fn reason_of(goodbye: Goodbye) -> &'static str {
    match goodbye {
        Goodbye::TooManySessions => "this key has as many connections as it may",
        Goodbye::Shutdown => "the token could not be checked; try again",
        _ => "the token may not post events",
    }
}

async fn first_message(socket: &mut WebSocket, format: Format, access: Access, state: &StreamState) -> Result<Admitted, End> {
    let deadline = Instant::now() + state.terms.settings.auth_timeout;
    loop {
        let message = tokio::select! {
            () = state.terms.shutdown.cancelled() => return Err(Some((Goodbye::Shutdown, "the server shuts down"))),
            received = tokio::time::timeout_at(deadline, socket.recv()) => match received {
                Err(_elapsed) => return Err(Some((Goodbye::AuthTimeout, "no auth message came in time"))),
                Ok(None | Some(Err(_))) => return Err(None),
                Ok(Some(Ok(message))) => message,
            },
        };
        match format.read(message, state.terms.settings.max_message_bytes) {
            Ok(Said::Auth { token }) => {
                let admitted = state.admit(&token, access).await.unwrap_or_else(|denied| Err(denied.goodbye()));
                return admitted.map_err(|goodbye| Some((goodbye, reason_of(goodbye))));
            }
            Ok(Said::Nothing) => {}
            Ok(Said::Batch(_)) => return Err(Some((Goodbye::BadMessage, "the first message must be auth"))),
            Err(goodbye) => return Err(Some((goodbye, "the first message must be auth"))),
        }
    }
}

/// An admitted connection.
struct Connection<'a, L> {
    socket: &'a mut WebSocket,
    format: Format,
    sender: Sender,
    ingest: &'a Ingest<L>,
    terms: &'a Terms,
    /// When the peer said anything last.
    heard: Instant,
}

impl<L: EventLog> Connection<'_, L> {
    async fn run(mut self) -> End {
        if let Err(end) = self.send(self.format.hello(self.hello())).await {
            return end;
        }
        let (ingest, tenant, scope, media) = (self.ingest, self.sender.tenant, self.sender.scope.clone(), self.format.media());
        let submit = async |NumberedBatch { number, body }| {
            let request = Request { tenant, scope: scope.clone(), media, encoding: Encoding::Identity, body };
            (number, ingest.submit(request).await)
        };
        // In the order in which they came: of several that become durable at once the first is told first.
        let mut unacked = FuturesOrdered::new();
        let ended = self.sender.ended.clone();
        let mut ping = pings(self.terms.settings.ping_every);
        let end = loop {
            let may_read = unacked.len() < self.terms.settings.max_unacked_batches;
            let went_on = tokio::select! {
                () = self.terms.shutdown.cancelled() => Err(Some((Goodbye::Shutdown, "the server shuts down"))),
                () = ended.cancelled() => Err(Some((Goodbye::KeyRevoked, "the credential is good no more"))),
                Some((number, submitted)) = unacked.next() => self.acknowledge(number, submitted).await,
                received = self.socket.recv(), if may_read => match received {
                    Some(Ok(message)) => self.read(message).map(|batch| unacked.extend(batch.map(&submit))),
                    Some(Err(_)) | None => Err(None),
                },
                _ = ping.tick() => self.ping(may_read).await,
            };
            if let Err(end) = went_on {
                break end;
            }
        };
        // What was read is finished, also when nobody is left to be told: it is counted as what became of it.
        let mut told = end.is_some();
        while let Some((number, submitted)) = unacked.next().await {
            told = told && self.acknowledge(number, submitted).await.is_ok();
        }
        end.filter(|_end| told)
    }

    fn hello(&self) -> wire::StreamHello {
        let narrow = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let settings = self.terms.settings;
        wire::StreamHello {
            max_unacked_batches: narrow(settings.max_unacked_batches),
            max_events: narrow(self.ingest.limits().max_events),
            max_bytes: narrow(settings.max_message_bytes),
            ping_s: u32::try_from(settings.ping_every.as_secs()).unwrap_or(u32::MAX),
            server_version: env!("CARGO_PKG_VERSION").to_owned(),
            server_time_ms: self.terms.clock.now().0,
        }
    }

    /// The batch in a message, if there is one in it.
    fn read(&mut self, message: Message) -> Result<Option<NumberedBatch>, End> {
        self.heard = Instant::now();
        match self.format.read(message, self.terms.settings.max_message_bytes) {
            Ok(Said::Batch(batch)) => Ok(Some(batch)),
            // Already admitted by its handshake, a client may still say who it is.
            Ok(Said::Auth { .. } | Said::Nothing) => Ok(None),
            Err(goodbye) => Err(Some((goodbye, "not a message of this subprotocol, or too large a one"))),
        }
    }

    async fn acknowledge(&mut self, number: u64, submitted: Result<Answer, Refused>) -> Result<(), End> {
        let message = match submitted {
            Ok(answer) => self.format.acknowledged(number, &answer),
            Err(refused) => {
                let problem = problem::refused(&refused);
                self.format.refused(number, &problem, retry_in_ms(&refused, problem.code))
            }
        };
        self.send(message).await
    }

    /// While nothing is read, nothing can be heard either.
    async fn ping(&mut self, reading: bool) -> Result<(), End> {
        if !reading {
            self.heard = Instant::now();
        }
        if self.heard.elapsed() > self.terms.settings.silence {
            return Err(Some((Goodbye::NoProgress, "nothing was heard, not even a pong")));
        }
        self.send(Message::Ping(bytes::Bytes::new())).await
    }

    async fn send(&mut self, message: Message) -> Result<(), End> {
        match tokio::time::timeout(WRITE_TIMEOUT, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(None),
        }
    }
}

/// When the same batch may fare better; 0: never.
fn retry_in_ms(refused: &Refused, code: &str) -> u32 {
    if let Refused::Limited(limited) = refused {
        return u32::try_from(limited.wait.as_millis()).unwrap_or(u32::MAX).max(1);
    }
    let retry_s = Kind::ALL.into_iter().find(|kind| kind.code() == code).and_then(Kind::retry_after_s);
    retry_s.map_or(0, |seconds| u32::from(seconds) * 1000)
}

fn pings(every: Duration) -> Interval {
    let mut ping = tokio::time::interval_at(Instant::now() + every, every);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ping
}

/// The last words and the close; a peer that does not take them in time is left.
async fn say_bye(socket: &mut WebSocket, format: Format, goodbye: Goodbye, reason: &str) {
    const PATIENCE: Duration = Duration::from_secs(1);
    let words = async {
        if socket.send(format.bye(goodbye, reason, reconnect_in_ms(goodbye))).await.is_ok() {
            let close = CloseFrame { code: goodbye.close_code(), reason: Utf8Bytes::from_static("") };
            drop(socket.send(Message::Close(Some(close))).await);
        }
    };
    drop(tokio::time::timeout(PATIENCE, words).await);
}

#[cfg(test)]
mod tests;
