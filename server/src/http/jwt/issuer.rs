//! One who signs tokens: its keys as they were last read, and what a token of its may claim. Knows no token but the one it is asked about.

use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, decode};
use parking_lot::RwLock;
use serde::Deserialize;
use tokio::sync::Mutex;

use super::fetch::Fetcher;
use super::key_set::{KeySet, PinnedKey, Secrets};
use super::{JwtError, MAX_JTI_BYTES};
use crate::config::jwt::JwtIssuer;
use crate::formats::scope::ScopeWords;
use crate::formats::time;
use crate::http::auth::{Denied, Role};
use crate::http::keys::hash;
use crate::model::id::TenantId;
use crate::model::scope::Scope;
use crate::model::time::UnixMs;

pub(super) struct Issuer {
    settings: JwtIssuer,
    source: Source,
    keys: RwLock<KeySet>,
    attempts: Mutex<Attempts>,
}

enum Source {
    Secret,
    File,
    Address(Box<Fetcher>),
}

#[derive(Debug, Default)]
struct Attempts {
    last: Option<UnixMs>,
    /// The last one failed, and that was said.
    failing: bool,
}

/// What a verified token says.
#[derive(Debug)]
pub(super) struct Claimed {
    pub(super) tenant: TenantId,
    pub(super) role: Role,
    pub(super) scope: Scope,
    /// Whom its limits are counted by.
    pub(super) key: Arc<str>,
    pub(super) expires: UnixMs,
    pub(super) jti: Option<Box<str>>,
}

#[derive(Debug, Deserialize)]
struct Claims {
    exp: f64,
    nbf: Option<f64>,
    tenant: Option<String>,
    role: Option<String>,
    sub: Option<String>,
    jti: Option<Box<str>>,
    #[serde(flatten)]
    scope: ScopeWords,
}

/// Between two refreshes for a key that nobody knows.
pub(super) const UNKNOWN_EVERY: Duration = Duration::from_mins(1);
/// How far a signer's clock may run ahead.
const LEEWAY: Duration = Duration::from_mins(1);
/// Larger sets are refused.
const MAX_FILE_BYTES: u64 = 256 << 10;

impl std::fmt::Debug for Issuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issuer").field("issuer", &self.settings.issuer).finish_non_exhaustive()
    }
}

impl Issuer {
    /// Reads what is at hand; what has an address has no keys yet.
    pub(super) fn new(settings: &JwtIssuer) -> Result<Self, JwtError> {
        let (source, keys) = match (&settings.jwks_url, &settings.secret, &settings.secret_file) {
            (Some(url), _, _) => (Source::Address(Box::new(Fetcher::new(url).map_err(|reason| unfetched(settings, reason))?)), KeySet::default()),
            (None, Some(secret), _) => (Source::Secret, KeySet::of_secret(settings, secret.0.as_bytes()).map_err(|error| useless(settings, error))?),
            (None, None, Some(file)) => {
                let text = std::fs::read(file).map_err(|error| unread(settings, error))?;
                let secret = text.strip_suffix(b"\n").unwrap_or(&text);
                (Source::Secret, KeySet::of_secret(settings, secret.strip_suffix(b"\r").unwrap_or(secret)).map_err(|error| useless(settings, error))?)
            }
            (None, None, None) => (Source::File, read_file(settings)?),
        };
        Ok(Self { settings: settings.clone(), source, keys: RwLock::new(keys), attempts: Mutex::default() })
    }

    pub(super) fn key(&self, kid: &str) -> Option<Arc<PinnedKey>> {
        self.keys.read().get(kid)
    }

    pub(super) fn holds(&self, fingerprint: &[u8; 32]) -> bool {
        self.keys.read().holds(fingerprint)
    }

    pub(super) fn max_life(&self) -> Duration {
        Duration::from_secs(self.settings.max_life_s)
    }

    pub(super) fn refresh_every(&self) -> Duration {
        Duration::from_secs(self.settings.refresh_s)
    }

    /// Reads the keys anew when that was last tried `every` ago or earlier. What fails leaves the keys that are known. True when they were read.
    pub(super) async fn refresh_if(&self, now: UnixMs, every: Duration) -> bool {
        // Who comes while another reads waits for what that finds.
        let mut attempts = self.attempts.lock().await;
        if matches!(self.source, Source::Secret) || attempts.last.is_some_and(|last| now.since(last) < every) {
            return false;
        }
        attempts.last = Some(now);
        let read = match &self.source {
            Source::Address(fetcher) => match fetcher.fetch().await {
                Ok(text) => KeySet::of_jwks(&self.settings, &text, Secrets::Refused).map_err(|error| useless(&self.settings, error)),
                Err(reason) => Err(unfetched(&self.settings, reason)),
            },
            Source::File | Source::Secret => read_file(&self.settings),
        };
        match read {
            Ok(keys) => {
                *self.keys.write() = keys;
                attempts.failing = false;
                true
            }
            Err(error) => {
                metrics::counter!("waypost_jwks_failures_total").increment(1);
                if !attempts.failing {
                    tracing::warn!(error = &error as &dyn std::error::Error, "the keys known so far stay in use");
                }
                attempts.failing = true;
                false
            }
        }
    }

    /// Verifies a token by one of this issuer's keys and takes its claims.
    pub(super) fn check(&self, token: &str, algorithm: Algorithm, key: &PinnedKey, now: UnixMs) -> Result<Claimed, Denied> {
        if algorithm != key.algorithm {
            return Err(Denied::Token("it does not use the algorithm of its key"));
        }
        let claims = decode::<Claims>(token, &key.key, &key.validation).map_err(|error| Denied::Token(word(error.kind())))?.claims;
        let expires = moment(claims.exp).ok_or(Denied::Token("its exp is no time"))?;
        if expires <= now {
            return Err(Denied::Expired);
        }
        if expires > now + self.max_life() {
            return Err(Denied::Token("it is good for longer than this server allows"));
        }
        if claims.nbf.is_some_and(|nbf| moment(nbf).is_none_or(|from| from > now + LEEWAY)) {
            return Err(Denied::Token("it is not good yet (nbf)"));
        }
        self.claimed(token, claims, expires)
    }

    fn claimed(&self, token: &str, claims: Claims, expires: UnixMs) -> Result<Claimed, Denied> {
        let name = claims.tenant.ok_or(Denied::Token("it names no tenant"))?;
        if !self.settings.tenants.is_empty() && !self.settings.tenants.contains(&name) {
            return Err(Denied::Token("its issuer may not speak for this tenant"));
        }
        let tenant = TenantId::parse(&name).map_err(|_invalid| Denied::Token("its tenant is no id"))?;
        let role = claims.role.as_deref().unwrap_or("dashboard");
        if !self.settings.roles.iter().any(|allowed| allowed == role) {
            return Err(Denied::Token("its issuer may not give this role"));
        }
        let role = role.parse().map_err(|_unknown| Denied::Token("its role is none"))?;
        let scope = claims.scope.read().map_err(|_invalid| Denied::Token("its drivers, deliveries or bbox cannot be read"))?;
        if claims.jti.as_ref().is_some_and(|jti| jti.len() > MAX_JTI_BYTES) {
            return Err(Denied::Token("its jti is too long"));
        }
        let who = claims.sub.as_deref().or(claims.jti.as_deref()).unwrap_or(token);
        let who = hash(format!("{}\0{name}\0{who}", self.settings.issuer).as_bytes());
        let key = Arc::from(format!("token {:016x}", u64::from_be_bytes(*who.first_chunk().expect("a hash has 32 bytes"))));
        Ok(Claimed { tenant, role, scope, key, expires, jti: claims.jti })
    }
}

fn read_file(settings: &JwtIssuer) -> Result<KeySet, JwtError> {
    use std::io::Read as _;
    let file = settings.jwks_file.as_deref().unwrap_or_else(|| std::path::Path::new(""));
    let mut text = Vec::new();
    std::fs::File::open(file).and_then(|file| file.take(MAX_FILE_BYTES).read_to_end(&mut text)).map_err(|error| unread(settings, error))?;
    KeySet::of_jwks(settings, &text, Secrets::Allowed).map_err(|error| useless(settings, error))
}

fn source_name(settings: &JwtIssuer) -> String {
    let file = settings.jwks_file.as_ref().or(settings.secret_file.as_ref()).map(|file| file.display().to_string());
    settings.jwks_url.clone().or(file).unwrap_or_else(|| "the settings".to_owned())
}

fn unread(settings: &JwtIssuer, source: std::io::Error) -> JwtError {
    JwtError::Read { issuer: settings.issuer.clone(), source_name: source_name(settings), source }
}

fn useless(settings: &JwtIssuer, source: super::KeySetError) -> JwtError {
    JwtError::Keys { issuer: settings.issuer.clone(), source_name: source_name(settings), source }
}

fn unfetched(settings: &JwtIssuer, reason: String) -> JwtError {
    JwtError::Fetch { issuer: settings.issuer.clone(), source_name: source_name(settings), reason }
}

/// Seconds since 1970, as tokens tell times.
#[expect(clippy::cast_possible_truncation, reason = "the cast saturates, and what is out of range is refused")]
fn moment(seconds: f64) -> Option<UnixMs> {
    time::from_ms((seconds * 1000.0) as i64)
}

/// Why a token is refused, for its sender; nothing of what it holds.
fn word(kind: &ErrorKind) -> &'static str {
    match kind {
        ErrorKind::InvalidAudience => "it is for another audience (aud)",
        ErrorKind::InvalidIssuer => "it is of another issuer (iss)",
        ErrorKind::InvalidSignature => "its signature is wrong",
        ErrorKind::MissingRequiredClaim(_) => "it lacks one of exp, iss and aud",
        ErrorKind::Json(_) | ErrorKind::InvalidClaimFormat(_) => "one of its claims cannot be read",
        _ => "it cannot be verified",
    }
}
