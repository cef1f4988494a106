//! The accept loop: one hyper connection a socket, with the bounds, the timeouts and the backlog that `axum::serve` does not set. Knows no route.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::http::connections::{Caps, Connections, Place, SWEEP_EVERY};
use crate::http::exchange::{Exchange, Transport};
use crate::http::guarded::Guarded;
use crate::http::paced::Pace;
use crate::http::pulse::Patience;
use crate::http::shares::Shares;
use crate::http::tls::Tls;

/// The default backlog of 128 cuts a reconnect storm short.
pub const BACKLOG: u32 = 4096;
/// How long a stop waits for requests that have begun and for `WebSockets` that say goodbye; who is slower is cut off.
const DRAIN: Duration = Duration::from_secs(1);
/// Of one connection, in each direction: bodies pass through it in pieces.
const BUFFER_BYTES: usize = 128 << 10;

/// Binds with a deep backlog.
pub fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// What connections are served with.
#[derive(Clone, Debug)]
pub struct Shell {
    pub router: Router,
    pub connections: Arc<Connections>,
    pub shares: Arc<Shares>,
    pub tls: Option<Arc<Tls>>,
    pub pace: Pace,
    pub max_head_bytes: usize,
    /// Cancelled when the server stops.
    pub shutdown: CancellationToken,
}

impl Shell {
    /// As the settings say; `places` is how many connections the process has file descriptors for.
    pub fn new(config: &Config, places: usize, router: Router, tls: Option<Arc<Tls>>, shutdown: CancellationToken) -> Self {
        let caps = Caps { total: config.max_connections.min(places), of_address: config.max_connections_per_address };
        let patience = Patience {
            head_ticks: ticks(config.header_timeout_s),
            idle_ticks: ticks(config.idle_timeout_s),
            answer_ticks: ticks(config.response_timeout_s),
        };
        Self {
            router,
            connections: Connections::new(caps, patience),
            shares: Shares::new(config.max_connections_per_credential, config.max_in_flight_per_credential),
            tls,
            pace: Pace { total: Duration::from_secs(config.body_timeout_s), min_bytes_per_s: config.body_min_bytes_per_s },
            max_head_bytes: config.max_header_bytes,
            shutdown,
        }
    }
}

/// One more than fit, for the first of them has begun already: nobody is cut early.
fn ticks(seconds: u64) -> u32 {
    let ticks = Duration::from_secs(seconds).as_millis() / SWEEP_EVERY.as_millis() + 1;
    u32::try_from(ticks).unwrap_or(u32::MAX / 4)
}

/// Serves until the shutdown, then lets every request that has begun finish, and every task of `upgraded`: `WebSockets` outlive their connection here.
pub async fn run(listener: TcpListener, shell: Shell, upgraded: TaskTracker) {
    let (tasks, swept) = (TaskTracker::new(), CancellationToken::new());
    let sweeping = shell.connections.sweep(swept.clone());
    let serving = async {
        accept(&listener, &shell, &tasks).await;
        drop(listener);
        tasks.close();
        let drained = async {
            tasks.wait().await;
            upgraded.close();
            upgraded.wait().await;
        };
        if tokio::time::timeout(DRAIN, drained).await.is_err() {
            tracing::info!(requests = tasks.len(), sockets = upgraded.len(), "some clients were too slow to finish and are cut off");
        }
        swept.cancel();
    };
    tokio::join!(sweeping, serving);
}

async fn accept(listener: &TcpListener, shell: &Shell, tasks: &TaskTracker) {
    let mut failing = false;
    loop {
        let accepted = tokio::select! {
            () = shell.shutdown.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        // Told once, not twenty times a second.
        let told = std::mem::replace(&mut failing, accepted.is_err());
        match accepted {
            Ok((stream, peer)) => match shell.connections.take(peer.ip()) {
                Ok(place) => drop(tasks.spawn(serve(stream, place, shell.clone()))),
                // Closed without a word: an answer would cost more than what is refused. The count is in the metrics and, now and then, in the log.
                Err(_counted) => drop(stream),
            },
            Err(error) => {
                // Out of file descriptors, most likely: the queue of the kernel holds the caller meanwhile.
                if !told {
                    tracing::warn!(%error, "a connection could not be accepted");
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// What the kernel takes of a connection beyond what is under way on the line: who reads nothing, and says otherwise, makes it hold no more.
#[cfg(target_os = "linux")]
fn bound_unsent(stream: &TcpStream) {
    const UNSENT_BYTES: u32 = 128 << 10;
    if let Err(error) = socket2::SockRef::from(stream).set_tcp_notsent_lowat(UNSENT_BYTES) {
        tracing::debug!(%error, "TCP_NOTSENT_LOWAT was refused");
    }
}

#[cfg(not(target_os = "linux"))]
fn bound_unsent(_stream: &TcpStream) {}

async fn serve(stream: TcpStream, place: Place, shell: Shell) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "nodelay was refused");
    }
    bound_unsent(&stream);
    let Some(tls) = shell.tls.clone() else {
        return speak(stream, place, shell, Transport::Plain).await;
    };
    let secured = tokio::select! {
        () = shell.shutdown.cancelled() => return,
        // Its place is counted as gone, so the socket goes too.
        _rested = place.pulse().was_cut() => return,
        secured = tls.secure(stream) => secured,
    };
    if let Some(stream) = secured {
        speak(stream, place, shell, Transport::Tls).await;
    }
}

async fn speak<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S, place: Place, shell: Shell, transport: Transport) {
    let (pulse, share) = (Arc::clone(place.pulse()), shell.shares.socket());
    pulse.expect_head();
    let exchange = Exchange::new(shell.router, shell.pace, transport, Arc::clone(&pulse), Arc::clone(&share));
    let io = TokioIo::new(Guarded::new(stream, place, share));
    let connection = http1::Builder::new()
        // The sweep ends slow heads and idle connections, each after its own time, and costs no timer a request.
        .header_read_timeout(None)
        .max_header_size(shell.max_head_bytes)
        .max_buf_size(BUFFER_BYTES)
        .serve_connection(io, service_fn(move |request| Arc::clone(&exchange).answer(request)))
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        rested = pulse.was_cut() => {
            if rested {
                connection.as_mut().graceful_shutdown();
                // What is not closed by now has a request that takes its time, or sends one that never ends.
                drop(tokio::time::timeout(DRAIN, connection).await);
            }
            return;
        }
        () = shell.shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    async fn breaks() -> &'static str {
        panic!("on purpose")
    }

    fn shell() -> Shell {
        let router = Router::new().route("/breaks", get(breaks)).route("/works", get(async || "yes"));
        Shell::new(&Config::default(), 100, router, None, CancellationToken::new())
    }

    /// What the server says to this on a connection that is then closed.
    async fn said(shell: &Shell, transport: Transport, request: &str) -> String {
        let (mut client, server) = tokio::io::duplex(64 << 10);
        let place = shell.connections.take(IpAddr::from([127, 0, 0, 1])).expect("room");
        let talk = async {
            client.write_all(request.as_bytes()).await.expect("written");
            let mut said = Vec::new();
            client.read_to_end(&mut said).await.expect("read");
            String::from_utf8(said).expect("text")
        };
        tokio::join!(talk, speak(server, place, shell.clone(), transport)).0
    }

    #[tokio::test]
    async fn a_handler_that_panics_answers_so_and_the_connection_goes_on() {
        let shell = shell();
        let requests = "GET /breaks HTTP/1.1\r\nhost: x\r\nx-request-id: mine\r\n\r\nGET /works HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        let said = said(&shell, Transport::Plain, requests).await;
        let (broken, works) = said.split_once("HTTP/1.1 200 OK").expect("a second answer");
        assert!(broken.starts_with("HTTP/1.1 500 ") && broken.contains("\"internal\"") && broken.contains("\"request_id\":\"mine\""), "{broken}");
        assert!(!broken.contains("on purpose"), "what went wrong inside is not for outside");
        assert!(works.ends_with("yes") && works.contains("x-content-type-options: nosniff"), "{works}");
        assert_eq!(shell.connections.open(), 0, "its place came back");
    }

    #[tokio::test]
    async fn only_over_tls_a_browser_is_told_to_stay_with_it() {
        let request = "GET /works HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        for (transport, told) in [(Transport::Plain, false), (Transport::Tls, true)] {
            assert_eq!(said(&shell(), transport, request).await.contains("strict-transport-security: "), told);
        }
    }
}
