//! Asks, before a run, whether the server is there and takes the keys. Never stores anything.

use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;

use crate::client::{Client, ClientError, Target};
use crate::event::Format;

/// How long a server may take to listen.
const LISTENS_WITHIN: Duration = Duration::from_secs(2);

/// Sends a batch of nothing and, when there is something to compare afterwards, reads a list of nothing. A server that is there and still recovers is waited for.
pub async fn preflight(writer: &Target, reader: Option<&Target>) -> Result<(), ClientError> {
    is_there(writer).await?;
    match Client::new(writer.clone()).post(Bytes::from_static(b"[]"), Format::Json, 0).await {
        Err(ClientError::Refused { status, body }) if is_about_the_key(status) => {
            return Err(ClientError::KeyRefused { purpose: "send events (--key)", status, detail: detail(body.as_bytes()) });
        }
        // What the server thinks of an empty batch is its own affair, and anything worse shows when the run begins.
        _ => {}
    }
    let Some(reader) = reader else { return Ok(()) };
    let (status, body) = Client::new(reader.clone()).get("/v1/deliveries?limit=1").await?;
    if is_about_the_key(status) {
        let purpose = "read for the check at the end (--check-key; --check 0 compares nothing)";
        return Err(ClientError::KeyRefused { purpose, status, detail: detail(&body) });
    }
    Ok(())
}

fn is_about_the_key(status: StatusCode) -> bool {
    matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
}

/// What a problem document says in words, else the body as it is.
fn detail(body: &[u8]) -> String {
    let problem: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let detail = problem.as_ref().and_then(|problem| problem.get("detail")).and_then(serde_json::Value::as_str);
    detail.map_or_else(|| String::from_utf8_lossy(body).into_owned(), str::to_owned)
}

/// Connects, or tells why that is impossible.
pub async fn is_there(target: &Target) -> Result<(), ClientError> {
    const AGAIN_AFTER: Duration = Duration::from_millis(200);
    for _ in 0..LISTENS_WITHIN.as_millis() / AGAIN_AFTER.as_millis() {
        if Client::new(target.clone()).get_once("/healthz").await.is_ok() {
            return Ok(());
        }
        tokio::time::sleep(AGAIN_AFTER).await;
    }
    Client::new(target.clone()).get_once("/healthz").await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_server_that_is_away_is_named_with_its_address() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        drop(listener);
        let target = Target::new(&format!("http://{address}"), "k").expect("valid");
        let error = preflight(&target, None).await.expect_err("nobody listens").to_string();
        assert!(error.contains(&address.to_string()) && error.contains("refused"), "{error}");
    }
}
