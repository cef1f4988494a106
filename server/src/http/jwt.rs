//! Tokens that others sign (JWT): verified once, known until they expire. Never takes a token's word for how it is to be verified.

mod fetch;
mod issuer;
mod key_set;
mod revoked;

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::decode_header;
use parking_lot::RwLock;
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::jwt::JwtIssuer;
use crate::ended::Ended;
use crate::http::auth::{Denied, Principal};
use crate::http::keys::hash;
use crate::model::id::TenantId;
use crate::model::time::UnixMs;
use issuer::{Claimed, Issuer};
use key_set::KeySetError;
use revoked::Revoked;

/// Verifies the tokens of the issuers that the settings name.
#[derive(Debug)]
pub struct Jwt {
    issuers: Vec<Issuer>,
    clock: Clock,
    /// By the hash of the token.
    verified: RwLock<HashMap<[u8; 32], Verified>>,
    denied: RwLock<Revoked>,
}

#[derive(Debug)]
struct Verified {
    principal: Arc<Principal>,
    expires: UnixMs,
    jti: Option<Box<str>>,
    issuer: usize,
    /// Of the key that signed it: when that is withdrawn the token goes with it.
    fingerprint: [u8; 32],
}

#[derive(Debug, Error)]
pub enum JwtError {
    #[error("the keys of {issuer} cannot be read from {source_name}")]
    Read { issuer: String, source_name: String, source: std::io::Error },
    #[error("the keys of {issuer} in {source_name} are of no use")]
    Keys { issuer: String, source_name: String, source: KeySetError },
    #[error("the keys of {issuer} cannot be fetched from {source_name}: {reason}")]
    Fetch { issuer: String, source_name: String, reason: String },
}

/// Of a `jti`.
pub const MAX_JTI_BYTES: usize = 128;
/// Longer ones are not looked at.
const MAX_TOKEN_BYTES: usize = 8_192;
/// Verified tokens that are known. When there are more, some of the tenant that has the most go, and are verified anew when they come again. Those
/// that hold something open stay, for they must hear when they end; there are no more of them than sockets.
const MAX_VERIFIED: usize = 65_536;

impl Jwt {
    /// Knows no issuer.
    pub fn none(clock: Clock) -> Self {
        Self { issuers: Vec::new(), clock, verified: RwLock::default(), denied: RwLock::default() }
    }

    /// Reads the keys that are in files; those with an address are fetched by `watch`.
    pub fn new(issuers: &[JwtIssuer], clock: Clock) -> Result<Self, JwtError> {
        let issuers = issuers.iter().map(Issuer::new).collect::<Result<_, _>>()?;
        Ok(Self { issuers, ..Self::none(clock) })
    }

    /// Who a token speaks for.
    pub async fn verify(&self, token: &str) -> Result<Arc<Principal>, Denied> {
        if self.issuers.is_empty() || token.len() > MAX_TOKEN_BYTES {
            return Err(Denied::Unknown);
        }
        let (hash, now) = (hash(token.as_bytes()), self.clock.now());
        if let Some(known) = self.verified.read().get(&hash) {
            return if known.expires > now { Ok(Arc::clone(&known.principal)) } else { Err(Denied::Expired) };
        }
        self.verify_anew(token, hash, now).await
    }

    async fn verify_anew(&self, token: &str, hash: [u8; 32], now: UnixMs) -> Result<Arc<Principal>, Denied> {
        let header = decode_header(token).map_err(|_unread| Denied::Token("its header cannot be read, or names an algorithm that is none"))?;
        let kid = header.kid.ok_or(Denied::Token("it does not say by which key it was signed (kid)"))?;
        if !self.issuers.iter().any(|issuer| issuer.key(&kid).is_some()) {
            self.refresh_for_unknown().await;
        }
        let mut refused = Denied::Token("it was signed by a key that is not known (kid)");
        for (index, issuer) in self.issuers.iter().enumerate() {
            let Some(key) = issuer.key(&kid) else { continue };
            match issuer.check(token, header.alg, &key, now) {
                Ok(claimed) => return self.admit(hash, claimed, index, key.fingerprint),
                Err(why) => refused = why,
            }
        }
        Err(refused)
    }

    /// Takes a verified token in, unless it was revoked meanwhile or its key withdrawn: both are looked at with the table held, and whoever does
    /// either sweeps the table afterwards.
    fn admit(&self, hash: [u8; 32], claimed: Claimed, issuer: usize, fingerprint: [u8; 32]) -> Result<Arc<Principal>, Denied> {
        let Claimed { tenant, role, scope, key, expires, jti } = claimed;
        let principal = Principal { tenant, role, scope, key, ended: Ended::default(), expires: Some(expires) };
        let mut verified = self.verified.write();
        if jti.as_ref().is_some_and(|jti| self.denied.read().holds(tenant, jti)) {
            return Err(Denied::Token("it was revoked"));
        }
        if !self.issuers[issuer].holds(&fingerprint) {
            return Err(Denied::Token("the key that signed it was withdrawn"));
        }
        if verified.len() >= MAX_VERIFIED {
            forget_some(&mut verified);
        }
        let known = verified.entry(hash).or_insert_with(|| Verified { principal: Arc::new(principal), expires, jti, issuer, fingerprint });
        Ok(Arc::clone(&known.principal))
    }

    /// The tokens that are revoked are read from here on: what is to be said with them.
    pub fn begin_reading_denied(&self) -> u64 {
        self.denied.write().begin_reading()
    }

    /// The tokens that are revoked, all of them but those of `deny_one` since the reading `began`, which stay.
    pub fn deny(&self, denied: Vec<(TenantId, Box<str>)>, began: u64) {
        self.denied.write().replace(denied, began);
        self.sweep();
    }

    /// One more.
    pub fn deny_one(&self, tenant: TenantId, jti: &str) {
        self.denied.write().add(tenant, jti);
        self.sweep();
    }

    /// How long a token can be good at most.
    pub fn max_life(&self) -> Duration {
        self.issuers.iter().map(Issuer::max_life).max().unwrap_or_default()
    }

    /// How many verified tokens are known.
    pub fn known(&self) -> usize {
        self.verified.read().len()
    }

    /// Ends what is past its time, was revoked, or was signed by a key that was withdrawn.
    pub fn sweep(&self) {
        let now = self.clock.now();
        let mut verified = self.verified.write();
        let denied = self.denied.read();
        verified.retain(|_, token| {
            let revoked = token.jti.as_ref().is_some_and(|jti| denied.holds(token.principal.tenant, jti));
            let good = token.expires > now && !revoked && self.issuers[token.issuer].holds(&token.fingerprint);
            if !good {
                token.principal.ended.cancel();
            }
            good
        });
    }

    /// Fetches the keys anew where that is due, and once a minute at most where somebody names an unknown one. Anybody can name one: the table is
    /// swept only when keys were read, and then before whoever asked can hang up.
    async fn refresh_for_unknown(&self) {
        for issuer in &self.issuers {
            if issuer.refresh_if(self.clock.now(), issuer::UNKNOWN_EVERY).await {
                self.sweep();
            }
        }
    }

    /// Until `stop`: reads or fetches each issuer's keys anew, again and again.
    pub async fn watch(&self, stop: CancellationToken) {
        let mut timer = tokio::time::interval(Duration::from_secs(1));
        timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let watching = async {
            loop {
                timer.tick().await;
                let mut any = false;
                for issuer in &self.issuers {
                    any |= issuer.refresh_if(self.clock.now(), issuer.refresh_every()).await;
                }
                if any {
                    self.sweep();
                }
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = watching => {}
        }
    }
}

/// A sixteenth of all, if so many are not used: of the tenants with the most such tokens half each, those that expire first. Ends nothing.
fn forget_some(verified: &mut HashMap<[u8; 32], Verified>) {
    let mut unused: HashMap<TenantId, Vec<(UnixMs, [u8; 32])>> = HashMap::new();
    for (hash, token) in verified.iter().filter(|(_, token)| !token.is_in_use()) {
        unused.entry(token.principal.tenant).or_default().push((token.expires, *hash));
    }
    let mut unused: Vec<_> = unused.into_values().collect();
    unused.sort_by_key(|tokens| Reverse(tokens.len()));
    let mut wanted = MAX_VERIFIED / 16;
    for mut tokens in unused {
        let gone = tokens.len().div_ceil(2).min(wanted);
        if gone == 0 {
            break;
        }
        tokens.select_nth_unstable(gone - 1);
        for (_, hash) in &tokens[..gone] {
            verified.remove(hash);
        }
        wanted -= gone;
    }
}

impl Verified {
    /// Whether a request is under way with it, or anything that it opened is left.
    fn is_in_use(&self) -> bool {
        Arc::strong_count(&self.principal) > 1 || self.principal.ended.is_in_use()
    }
}

#[cfg(test)]
mod tests;
