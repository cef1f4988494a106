//! One keep-alive connection to a Waypost server: posts batches, asks for entities. Retries with the same ids; never invents an answer.

pub mod answer;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, RETRY_AFTER};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::event::Format;

use self::answer::{Answered, ItemOutcome, Next, read_results};

/// An answer larger than this is not read.
const MAX_ANSWER_BYTES: usize = 16 << 20;
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// The header that carries what a read must wait for.
const POSITION: &str = "waypost-position";

#[derive(Debug, Error)]
pub enum ClientError {
    #[error("`{0}` is no address of the form http://HOST:PORT")]
    Url(String),
    #[error("the key cannot stand in a header")]
    Key,
    #[error("cannot reach the server at {host}: {error}")]
    Connect { host: String, error: std::io::Error },
    #[error("the connection failed: {0}")]
    Connection(#[from] hyper::Error),
    #[error("no answer within {ANSWER_WITHIN:?}")]
    NoAnswer,
    #[error("the answer cannot be read: {0}")]
    Answer(String),
    #[error("the server does not let this key {purpose}: {status}, {detail}")]
    KeyRefused { purpose: &'static str, status: StatusCode, detail: String },
    #[error("the server refused the whole request with {status}: {body}")]
    Refused { status: StatusCode, body: String },
}

/// Where to send, as whom, and how patient to be.
#[derive(Clone, Debug)]
pub struct Target {
    host: String,
    authorization: HeaderValue,
    /// How long one batch is retried before it counts as unanswered.
    pub patience: Duration,
}

impl Target {
    pub fn new(url: &str, key: &str) -> Result<Self, ClientError> {
        let uri: Uri = url.parse().map_err(|error| ClientError::Url(format!("{url} ({error})")))?;
        let host = match (uri.scheme_str(), uri.authority()) {
            (Some("http"), Some(authority)) if authority.port().is_some() => authority.to_string(),
            (Some("http"), Some(authority)) => format!("{authority}:80"),
            _ => return Err(ClientError::Url(url.to_owned())),
        };
        let mut authorization = HeaderValue::try_from(format!("Bearer {key}")).ok().ok_or(ClientError::Key)?;
        authorization.set_sensitive(true);
        Ok(Self { host, authorization, patience: Duration::from_secs(30) })
    }

    pub fn authorization(&self) -> &HeaderValue {
        &self.authorization
    }

    /// The same server by another way.
    #[must_use]
    pub fn by_way_of(&self, address: std::net::SocketAddr) -> Self {
        Self { host: address.to_string(), ..self.clone() }
    }

    pub fn host(&self) -> &str {
        &self.host
    }

    pub fn websocket_address(&self, path: &str) -> String {
        format!("ws://{}{path}", self.host)
    }
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Posted {
    pub outcomes: Vec<ItemOutcome>,
    /// When the server wants this sender's next position, if it says so.
    pub next: Option<Next>,
    /// From the first attempt to the answer.
    pub took: Duration,
    pub retries: u32,
}

/// Opens its connection when it is first needed and again when it broke. Its driver task ends with it.
#[derive(Debug)]
pub struct Client {
    target: Target,
    sender: Option<SendRequest<Full<Bytes>>>,
    drivers: JoinSet<()>,
    /// The furthest place of this connection's events in each partition: an answer names only the partitions of its own batch.
    position: BTreeMap<u16, u64>,
    /// The last batch was retried until patience ended: until a batch is answered again, each is tried once.
    gave_up: bool,
}

impl Client {
    pub fn new(target: Target) -> Self {
        Self { target, sender: None, drivers: JoinSet::new(), position: BTreeMap::new(), gave_up: false }
    }

    /// Posts one batch of `count` events until it is answered, refused as a whole, or patience ends. Every attempt carries the same ids, so
    /// an event whose answer was lost comes back as a duplicate and is stored once.
    pub async fn post(&mut self, body: Bytes, format: Format, count: usize) -> Result<Posted, ClientError> {
        let started = Instant::now();
        let mut retries = 0;
        loop {
            let attempt = self.attempt(body.clone(), format, count).await;
            let (error, wait) = match attempt {
                Ok(Answered { outcomes, next }) => {
                    self.gave_up = false;
                    return Ok(Posted { outcomes, next, took: started.elapsed(), retries });
                }
                Err((error, None)) => return Err(error),
                Err((error, Some(wait))) => (error, wait),
            };
            if self.gave_up || started.elapsed() + wait > self.target.patience {
                self.gave_up = true;
                return Err(error);
            }
            tokio::time::sleep(wait).await;
            retries += 1;
        }
    }

    /// One attempt; an error that may pass by itself comes with the time to wait.
    async fn attempt(&mut self, body: Bytes, format: Format, count: usize) -> Result<Answered, (ClientError, Option<Duration>)> {
        const AGAIN: Option<Duration> = Some(Duration::from_millis(200));
        let request = Request::builder()
            .method(Method::POST)
            .uri("/v1/events")
            .header(HOST, &self.target.host)
            .header(AUTHORIZATION, &self.target.authorization)
            .header(CONTENT_TYPE, format.content_type())
            .header("accept", format.content_type())
            .body(Full::new(body))
            .expect("constant method, path and header names");
        let response = self.exchange(request).await.map_err(|error| (error, AGAIN))?;
        let status = response.status();
        if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            let wait = retry_after(&response);
            return Err((refused(response), Some(wait)));
        }
        if status != StatusCode::OK {
            return Err((refused(response), None));
        }
        let binary = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).is_some_and(|kind| kind.contains("protobuf"));
        if let Some(position) = response.headers().get(POSITION) {
            self.reached(position);
        }
        let answered = read_results(response.body(), binary).map_err(|reason| (ClientError::Answer(reason), None))?;
        if answered.outcomes.len() != count {
            let reason = format!("{} results for {count} events", answered.outcomes.len());
            return Err((ClientError::Answer(reason), None));
        }
        Ok(answered)
    }

    /// Status and body of a GET. Waits at the server for all that this connection posted.
    pub async fn get(&mut self, path: &str) -> Result<(StatusCode, Bytes), ClientError> {
        let mut last = None;
        for _ in 0..5 {
            let mut request = Request::builder().uri(path).header(HOST, &self.target.host).header(AUTHORIZATION, &self.target.authorization);
            if !self.position.is_empty() {
                let places: Vec<String> = self.position.iter().map(|(partition, offset)| format!("{partition}:{offset}")).collect();
                request = request.header(POSITION, places.join(","));
            }
            let request = request.body(Full::default()).map_err(|error| ClientError::Answer(error.to_string()))?;
            match self.exchange(request).await {
                Ok(response) if response.status() != StatusCode::SERVICE_UNAVAILABLE && response.status() != StatusCode::TOO_MANY_REQUESTS => {
                    let status = response.status();
                    return Ok((status, response.into_body()));
                }
                Ok(response) => {
                    tokio::time::sleep(retry_after(&response)).await;
                    last = Some(refused(response));
                }
                Err(error) => {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    last = Some(error);
                }
            }
        }
        Err(last.unwrap_or(ClientError::NoAnswer))
    }

    /// One request as JSON, sent once: whether it may be sent again is for the caller to know.
    pub async fn ask(&mut self, method: Method, path: &str, body: Option<Bytes>) -> Result<(StatusCode, Bytes), ClientError> {
        let mut request = Request::builder().method(method).uri(path).header(HOST, &self.target.host);
        request = request.header(AUTHORIZATION, &self.target.authorization).header("accept", "application/json");
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let request = request.body(Full::new(body.unwrap_or_default())).map_err(|error| ClientError::Answer(error.to_string()))?;
        let response = self.exchange(request).await?;
        Ok((response.status(), response.into_body()))
    }

    fn reached(&mut self, position: &HeaderValue) {
        for place in position.to_str().unwrap_or("").split(',') {
            let place = place.split_once(':').and_then(|(partition, offset)| Some((partition.parse().ok()?, offset.parse().ok()?)));
            if let Some((partition, offset)) = place {
                let known = self.position.entry(partition).or_insert(offset);
                *known = offset.max(*known);
            }
        }
    }

    /// One GET, whatever its answer says; the connection is all that matters.
    pub async fn get_once(&mut self, path: &'static str) -> Result<(), ClientError> {
        let request = Request::builder().uri(path).header(HOST, &self.target.host).body(Full::default()).expect("a constant path");
        self.exchange(request).await.map(drop)
    }

    async fn exchange(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Bytes>, ClientError> {
        let work = async {
            let sender = self.connected().await?;
            let (head, body) = sender.send_request(request).await?.into_parts();
            let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await.map_err(|error| ClientError::Answer(error.to_string()))?;
            Ok(Response::from_parts(head, body.to_bytes()))
        };
        let outcome = tokio::time::timeout(ANSWER_WITHIN, work).await.unwrap_or(Err(ClientError::NoAnswer));
        if outcome.is_err() {
            self.sender = None;
        }
        outcome
    }

    async fn connected(&mut self) -> Result<&mut SendRequest<Full<Bytes>>, ClientError> {
        let usable = match &mut self.sender {
            Some(sender) => sender.ready().await.is_ok(),
            None => false,
        };
        if !usable {
            let away = |error| ClientError::Connect { host: self.target.host.clone(), error };
            let stream = TcpStream::connect(&self.target.host).await.map_err(away)?;
            stream.set_nodelay(true).map_err(away)?;
            let (sender, connection) = handshake(TokioIo::new(stream)).await?;
            self.drivers.abort_all();
            // The connection's own error also reaches the request that is under way, where it is handled.
            self.drivers.spawn(async move { drop(connection.await) });
            while self.drivers.try_join_next().is_some() {}
            self.sender = Some(sender);
        }
        Ok(self.sender.as_mut().expect("set above or usable"))
    }
}

fn refused(response: Response<Bytes>) -> ClientError {
    let status = response.status();
    let body = response.into_body();
    let text = String::from_utf8_lossy(&body[..body.len().min(400)]).into_owned();
    ClientError::Refused { status, body: text }
}

/// The server's own wish in seconds, else 200 ms; never more than 10 s.
fn retry_after(response: &Response<Bytes>) -> Duration {
    let seconds = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()).and_then(|text| text.trim().parse::<f64>().ok());
    seconds.filter(|s| s.is_finite() && *s >= 0.0).map_or(Duration::from_millis(200), |s| Duration::from_secs_f64(s.clamp(0.05, 10.0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    #[test]
    fn only_plain_http_addresses_are_taken() {
        assert!(Target::new("http://127.0.0.1:8080", "k").is_ok());
        assert!(Target::new("https://127.0.0.1:8080", "k").is_err());
        assert!(Target::new("127.0.0.1", "k").is_err());
        assert!(Target::new("http://h:1", "line\nbreak").is_err());
    }

    /// Answers each connection's first request with one of these texts in turn and closes.
    async fn server(answers: Vec<&'static str>) -> (Target, JoinSet<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let target = Target::new(&format!("http://{}", listener.local_addr().expect("bound")), "k").expect("valid");
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut seen = Vec::new();
            for answer in answers {
                let (mut socket, _) = listener.accept().await.expect("a connection");
                let mut buffer = vec![0; 4096];
                let read = socket.read(&mut buffer).await.expect("a request");
                seen.push(String::from_utf8_lossy(&buffer[..read]).into_owned());
                socket.write_all(answer.as_bytes()).await.expect("written");
            }
            seen
        });
        (target, tasks)
    }

    #[tokio::test]
    async fn a_batch_is_sent_again_after_503_and_after_a_broken_connection() {
        let ok = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 49\r\nconnection: close\r\n\r\n\
                  {\"results\":[{\"event_id\":\"e\",\"status\":\"duplicate\"}]}"
            .replace("content-length: 49", "content-length: 51");
        let ok: &'static str = Box::leak(ok.into_boxed_str());
        let busy = "HTTP/1.1 503 Busy\r\nretry-after: 0\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        let (target, mut tasks) = server(vec![busy, "", ok]).await;
        let posted = Client::new(target).post(Bytes::from_static(b"[]"), Format::Json, 1).await.expect("answered at last");
        assert_eq!(posted.retries, 2);
        assert_eq!(posted.outcomes, vec![ItemOutcome::Duplicate { content_differs: false }]);
        let seen = tasks.join_next().await.expect("one task").expect("ended well");
        assert!(seen.iter().all(|request| request.contains("authorization: Bearer k")), "{seen:?}");
    }

    #[tokio::test]
    async fn when_patience_has_ended_each_batch_is_tried_once_until_one_is_answered() {
        let busy = "HTTP/1.1 503 Busy\r\nretry-after: 0\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        let ok = "HTTP/1.1 200 OK\r\ncontent-length: 14\r\nconnection: close\r\n\r\n{\"results\":[]}";
        let (target, mut tasks) = server(vec![busy, busy, ok, busy, ok]).await;
        let mut client = Client::new(Target { patience: Duration::ZERO, ..target });
        for _ in 0..2 {
            client.post(Bytes::new(), Format::Json, 0).await.expect_err("no patience, then none left");
        }
        client.post(Bytes::new(), Format::Json, 0).await.expect("answered");
        client.target.patience = Duration::from_secs(20);
        assert_eq!(client.post(Bytes::new(), Format::Json, 0).await.expect("patient again").retries, 1);
        assert_eq!(tasks.join_next().await.expect("one task").expect("ended well").len(), 5);
    }

    #[tokio::test]
    async fn a_refusal_of_the_whole_request_is_not_repeated() {
        let (target, _tasks) = server(vec!["HTTP/1.1 401 No\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno"]).await;
        let error = Client::new(target).post(Bytes::new(), Format::Proto, 1).await.expect_err("refused");
        assert!(matches!(error, ClientError::Refused { status: StatusCode::UNAUTHORIZED, .. }), "{error}");
    }
}
