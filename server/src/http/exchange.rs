//! One request and its answer as the shell sees every one of them: its id, the room its credential has, its body's pace, its line in the log, and the
//! headers that every answer carries. Knows no route.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use axum::Router;
use axum::body::Body as AxumBody;
use axum::http::header::{CONNECTION, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use bytes::Bytes;
use futures_util::FutureExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tower::Service as _;
use tracing::Instrument as _;

use crate::http::paced::{Pace, PacedBody};
use crate::http::path_key;
use crate::http::phones::credential::Credential;
use crate::http::problem::{self, Kind};
use crate::http::pulse::Pulse;
use crate::http::shares::{InFlight, SocketShare};
use crate::logging::request_id::RequestId;
use crate::logging::strike::struck;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Two years: what preload lists ask for. Only said over TLS; browsers ignore it otherwise.
const HSTS: HeaderValue = HeaderValue::from_static("max-age=63072000");

/// Whether what is said on a connection can be read on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Plain,
    Tls,
}

/// The requests of one connection, one after the other.
#[derive(Debug)]
pub struct Exchange {
    router: Router,
    pace: Pace,
    transport: Transport,
    pulse: Arc<Pulse>,
    share: Arc<SocketShare>,
    /// Begins the ids of its requests.
    connection: u64,
    requests: AtomicU64,
}

impl Exchange {
    pub fn new(router: Router, pace: Pace, transport: Transport, pulse: Arc<Pulse>, share: Arc<SocketShare>) -> Arc<Self> {
        Arc::new(Self { router, pace, transport, pulse, share, connection: rand::random(), requests: AtomicU64::new(0) })
    }

    pub async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Answer>, Infallible> {
        self.pulse.began();
        let number = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        let given = request.headers().get(&REQUEST_ID).and_then(|given| RequestId::given(given.as_bytes()));
        let id = given.unwrap_or_else(|| RequestId::of(self.connection, number));
        let line = Line::of(&request);
        // For traces; disabled unless somebody reads debug.
        let span = tracing::debug_span!(
            "request",
            otel.kind = "server",
            request_id = id.as_str(),
            method = %request.method(),
            address = line.as_ref().map(Line::address),
            status = tracing::field::Empty
        );
        let work = async {
            let (mut response, in_flight) = self.work(request).await;
            self.dress(&mut response, &id);
            if let Some(line) = line {
                tracing::Span::current().record("status", response.status().as_u16());
                line.told(response.status());
            }
            if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                self.pulse.upgraded();
            } else {
                self.pulse.answered();
            }
            response.map(|body| Answer { body, _in_flight: in_flight })
        };
        Ok(id.clone().during(work.instrument(span)).await)
    }

    async fn work(&self, request: Request<Incoming>) -> (Response<AxumBody>, Option<InFlight>) {
        // From here on nobody sees a key that stands in the address.
        let request = path_key::strike(request);
        let presented = Credential::of(&request).ok();
        let in_flight = match self.share.admit(presented.as_ref().map(|credential| credential.key.as_str())) {
            Ok(in_flight) => in_flight,
            Err(kind) => {
                let mut refusal = problem::respond(&kind.says(kind.means()));
                if kind == Kind::TooManyConnections {
                    refusal.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                return (refusal, None);
            }
        };
        let request = request.map(|body| AxumBody::new(PacedBody::new(body, self.pace)));
        let answered = AssertUnwindSafe(self.router.clone().call(request)).catch_unwind().await;
        let response = match answered {
            Ok(Ok(response)) => response,
            Ok(Err(never)) => match never {},
            // The hook has logged where.
            Err(_panic) => problem::respond(&Kind::Internal.says("a bug of the server; it is logged with this request's id")),
        };
        (response, in_flight)
    }

    fn dress(&self, response: &mut Response<AxumBody>, id: &RequestId) {
        let headers = response.headers_mut();
        headers.insert(REQUEST_ID, HeaderValue::try_from(id.as_str()).expect("visible ASCII"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if self.transport == Transport::Tls {
            headers.insert(STRICT_TRANSPORT_SECURITY, HSTS);
        }
    }
}

/// A request's line in the log, at debug; nothing is reckoned when nobody reads it.
struct Line {
    method: Method,
    address: String,
    began: Instant,
}

impl Line {
    fn of<B>(request: &Request<B>) -> Option<Self> {
        let address = |uri: &Uri| struck(uri.path(), uri.query());
        let wanted = tracing::enabled!(tracing::Level::DEBUG);
        wanted.then(|| Self { method: request.method().clone(), address: address(request.uri()), began: Instant::now() })
    }

    fn address(&self) -> &str {
        &self.address
    }

    fn told(self, status: StatusCode) {
        let micros = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        tracing::debug!(method = %self.method, address = self.address, status = status.as_u16(), micros, "answered");
    }
}

/// An answer's body. Its request is under way until the last of it is handed to the socket.
#[derive(Debug)]
pub struct Answer {
    body: AxumBody,
    _in_flight: Option<InFlight>,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
