//! TLS by rustls: the handshake within its time, and a certificate that is replaced without a restart. Knows no HTTP beyond one plain answer.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use metrics::counter;
use parking_lot::RwLock;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

#[derive(Debug, Error)]
pub enum TlsError {
    #[error("{what} cannot be read from {}: {why}", .path.display())]
    Unreadable { what: &'static str, path: PathBuf, why: String },
    #[error("no certificate stands in {}", .0.display())]
    NoCertificate(PathBuf),
    #[error("certificate and key cannot be used together: {0}")]
    Unusable(#[from] rustls::Error),
}

/// A PEM chain, the server's own certificate first, and its key.
#[derive(Clone, Debug)]
pub struct Files {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

#[derive(Debug)]
pub struct Tls {
    files: Files,
    config: RwLock<Arc<ServerConfig>>,
    handshake_timeout: Duration,
    /// Handshakes under way: each is some work for the processor before anything is known of the peer.
    handshakes: Semaphore,
}

/// First byte of a TLS record that begins a handshake.
const HANDSHAKE: u8 = 0x16;
/// Told to who speaks plain HTTP: the only answer that is not encrypted, so it holds nothing.
const SAID_PLAIN: &str = "{\"type\":\"about:blank\",\"title\":\"Bad Request\",\"status\":400,\"code\":\"tls_required\",\
\"detail\":\"this port speaks TLS: use https or wss\"}";

impl Tls {
    /// Reads the files; what is wrong with them is an error here, and only here.
    pub fn open(files: Files, handshake_timeout: Duration, max_handshakes: usize) -> Result<Arc<Self>, TlsError> {
        let config = RwLock::new(files.load()?);
        Ok(Arc::new(Self { files, config, handshake_timeout, handshakes: Semaphore::new(max_handshakes) }))
    }

    /// The handshake; `None` when it failed or took too long, which is counted.
    pub async fn secure(&self, stream: TcpStream) -> Option<TlsStream<TcpStream>> {
        let (outcome, stream) = match tokio::time::timeout(self.handshake_timeout, self.shake(stream)).await {
            Ok(Ok(stream)) => ("done", Some(stream)),
            Ok(Err(Failed::Plain)) => ("plain", None),
            Ok(Err(Failed::Handshake(error))) => {
                tracing::debug!(%error, "a handshake failed");
                ("failed", None)
            }
            Err(_elapsed) => ("slow", None),
        };
        counter!("waypost_tls_handshakes_total", "outcome" => outcome).increment(1);
        stream
    }

    async fn shake(&self, mut stream: TcpStream) -> Result<TlsStream<TcpStream>, Failed> {
        // Looked at before a handshake's place is taken: who says nothing takes none.
        let mut first = [0];
        if stream.peek(&mut first).await? == 1 && first != [HANDSHAKE] {
            let head = "HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json\r\nconnection: close\r\ncontent-length:";
            stream.write_all(format!("{head} {}\r\n\r\n{SAID_PLAIN}", SAID_PLAIN.len()).as_bytes()).await?;
            stream.shutdown().await?;
            // What was sent is read off, so that the answer is not lost to a reset.
            tokio::io::copy(&mut tokio::io::AsyncReadExt::take(stream, 64 << 10), &mut tokio::io::sink()).await?;
            return Err(Failed::Plain);
        }
        let _place = self.handshakes.acquire().await.map_err(|_closed| io::Error::other("the server ends"))?;
        let config = Arc::clone(&self.config.read());
        Ok(TlsAcceptor::from(config).accept(stream).await?)
    }

    /// Takes up the files again when they change, looked at `every` so often, and at a SIGHUP; until `done`.
    pub async fn keep_fresh(&self, every: Duration, done: CancellationToken) {
        let mut hangup = signal(SignalKind::hangup()).inspect_err(|error| tracing::warn!(%error, "SIGHUP cannot be watched")).ok();
        let mut seen = self.files.stamp();
        loop {
            let asked = async {
                match hangup.as_mut() {
                    Some(hangup) => hangup.recv().await.is_some(),
                    None => std::future::pending().await,
                }
            };
            let told = tokio::select! {
                () = done.cancelled() => return,
                told = asked => told,
                () = tokio::time::sleep(every) => false,
            };
            let stamp = self.files.stamp();
            if told || stamp != seen {
                seen = stamp;
                self.reload();
            }
        }
    }

    fn reload(&self) {
        let outcome = match self.files.load() {
            Ok(config) => {
                *self.config.write() = config;
                tracing::info!("the certificate was taken up anew");
                "done"
            }
            Err(error) => {
                tracing::error!(%error, "the new certificate is not taken up; the old one stays");
                "failed"
            }
        };
        counter!("waypost_tls_reloads_total", "outcome" => outcome).increment(1);
    }
}

enum Failed {
    /// It spoke plain HTTP, and was told so.
    Plain,
    Handshake(io::Error),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Handshake(error)
    }
}

impl Files {
    fn load(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let unreadable =
            |what, path: &Path, why: rustls::pki_types::pem::Error| TlsError::Unreadable { what, path: path.to_owned(), why: why.to_string() };
        let chain = CertificateDer::pem_file_iter(&self.certificate)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| unreadable("the certificate", &self.certificate, error))?;
        if chain.is_empty() {
            return Err(TlsError::NoCertificate(self.certificate.clone()));
        }
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|error| unreadable("the key", &self.key, error))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // A phone that comes back spares itself and us most of a handshake.
        config.ticketer = rustls::crypto::ring::Ticketer::new()?;
        Ok(Arc::new(config))
    }

    /// What tells that a file is another one than before.
    fn stamp(&self) -> [Option<(SystemTime, u64)>; 2] {
        [&self.certificate, &self.key].map(|path| {
            let known = std::fs::metadata(path).ok()?;
            Some((known.modified().ok()?, known.len()))
        })
    }
}
