//! The accept loop: one hyper connection a socket, with the timeouts and the backlog that `axum::serve` does not set. Knows no route.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use crate::http::path_key;

/// How long a client may take over its request head, also between two requests of one connection.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// The default backlog of 128 cuts a reconnect storm short.
const BACKLOG: u32 = 4096;

/// Binds with a deep backlog.
pub fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// How long a stop waits for requests that have begun and for `WebSockets` that say goodbye; who is slower is cut off.
const DRAIN: Duration = Duration::from_secs(1);

/// Serves until `shutdown`, then lets every request that has begun finish, and every task of `upgraded`: `WebSockets` outlive their connection here.
pub async fn run(listener: TcpListener, router: Router, shutdown: CancellationToken, upgraded: TaskTracker) {
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                connections.spawn(serve(stream, router.clone(), shutdown.clone()));
            }
            Err(error) => {
                // Out of file descriptors, most likely: the queue of the kernel holds the caller meanwhile.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop(listener);
    connections.close();
    let drained = async {
        connections.wait().await;
        upgraded.close();
        upgraded.wait().await;
    };
    if tokio::time::timeout(DRAIN, drained).await.is_err() {
        tracing::info!(requests = connections.len(), sockets = upgraded.len(), "some clients were too slow to finish and are cut off");
    }
}

async fn serve(stream: TcpStream, router: Router, shutdown: CancellationToken) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "nodelay was refused");
    }
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router.map_request(path_key::strike)))
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}
