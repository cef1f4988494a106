//! Fetches an issuer's public keys: one GET, bounded in bytes and time, no redirect followed. Judges nothing of what it gets.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

pub(super) struct Fetcher {
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    address: Uri,
}

const MAX_BYTES: usize = 256 << 10;
const PATIENCE: Duration = Duration::from_secs(5);

impl Fetcher {
    /// Trusts whom the system trusts.
    pub(super) fn new(address: &str) -> Result<Self, String> {
        let address: Uri = address.parse().map_err(|error| format!("not an address: {error}"))?;
        let provider = rustls::crypto::ring::default_provider();
        let roots =
            HttpsConnectorBuilder::new().with_provider_and_native_roots(provider).map_err(|error| format!("no root certificates: {error}"))?;
        let connector = roots.https_or_http().enable_http1().build();
        // A connection that is kept for ten minutes is one more thing to go wrong.
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
        Ok(Self { client, address })
    }

    pub(super) async fn fetch(&self) -> Result<Bytes, String> {
        let fetching = async {
            let answer = self.client.get(self.address.clone()).await.map_err(|error| chain(&error))?;
            if !answer.status().is_success() {
                return Err(format!("the answer was {}", answer.status()));
            }
            let body = Limited::new(answer.into_body(), MAX_BYTES).collect().await;
            body.map(http_body_util::Collected::to_bytes).map_err(|error| error.to_string())
        };
        tokio::time::timeout(PATIENCE, fetching).await.unwrap_or_else(|_elapsed| Err(format!("no answer within {} s", PATIENCE.as_secs())))
    }
}

/// What a client's error says by itself is only that it failed.
fn chain(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {}", chain(source)))
}
