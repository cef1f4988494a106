//! Who asks: API keys, tokens that others sign, one-time tickets and the sessions they buy. Never decides which right a route asks for (`routes.rs`).

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use thiserror::Error;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::ended::Ended;
use crate::http::grants::Grants;
use crate::http::jwt::Jwt;
use crate::http::keys::{self, Keys, KeysError};
use crate::live::Goodbye;
use crate::model::id::TenantId;
use crate::model::scope::Scope;
use crate::model::time::UnixMs;

/// Who asks, and in what role. The tenant comes from here and from nowhere else.
#[derive(Debug)]
pub struct Principal {
    pub tenant: TenantId,
    pub role: Role,
    /// What of the tenant exists for it.
    pub scope: Scope,
    /// Which credential it was: what its limits are counted by. Never the secret.
    pub key: Arc<str>,
    /// Cancelled when the credential is good no more: what it opened is closed.
    pub ended: Ended,
    /// Good until then.
    pub expires: Option<UnixMs>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Posts events and reads nothing.
    Ingest,
    /// Reads: REST and live.
    Dashboard,
    /// Reads, and does what those who look after the flow do.
    Operator,
    /// All, and gives others what they may.
    Admin,
}

/// The rights that routes ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// Post events.
    Write,
    /// See the picture.
    Read,
    /// Look after the flow: what was refused, devices, statistics.
    Operate,
    /// Give and take credentials.
    Manage,
}

#[derive(Debug, Error)]
pub enum Denied {
    #[error("a credential is needed: send `Authorization: Bearer <key>`")]
    Missing,
    #[error("the credential is not known")]
    Unknown,
    #[error("the token was good, and is past its time")]
    Expired,
    #[error("the token is not taken: {0}")]
    Token(&'static str),
    #[error("a credential with the role {0} may not do this")]
    Role(&'static str),
    #[error("the key store failed")]
    Store(#[from] KeysError),
}

/// Verifies credentials of every kind.
#[derive(Debug)]
pub struct Auth {
    keys: Keys,
    grants: Grants,
    tokens: Jwt,
    clock: Clock,
}

/// How soon a revocation by another process counts.
const WATCH_EVERY: Duration = Duration::from_secs(1);

impl Auth {
    /// Takes no tokens of others.
    pub fn new(keys: Keys, clock: Clock) -> Self {
        Self { keys, grants: Grants::new(clock.clone()), tokens: Jwt::none(clock.clone()), clock }
    }

    /// Takes these tokens too, unless they were revoked.
    pub async fn taking(mut self, tokens: Jwt) -> Result<Self, KeysError> {
        self.tokens = tokens;
        self.read_denied().await?;
        Ok(self)
    }

    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    pub fn grants(&self) -> &Grants {
        &self.grants
    }

    /// Checks the `Authorization` header for a route.
    pub async fn authorise(&self, headers: &HeaderMap, access: Access) -> Result<Arc<Principal>, Denied> {
        let token = bearer(headers).ok_or(Denied::Missing)?;
        self.authorise_token(token, access).await
    }

    /// Checks a key, a token or a session for a route.
    pub async fn authorise_token(&self, token: &str, access: Access) -> Result<Arc<Principal>, Denied> {
        let principal = self.identify(token).await?;
        if principal.role.may(access) { Ok(principal) } else { Err(Denied::Role(principal.role.as_str())) }
    }

    async fn identify(&self, token: &str) -> Result<Arc<Principal>, Denied> {
        if keys::looks_like_key(token) {
            return self.keys.verify(token).await?.ok_or(Denied::Unknown);
        }
        if token.contains('.') {
            return self.tokens.verify(token).await;
        }
        self.grants.session(token).ok_or(Denied::Unknown)
    }

    /// Makes a token good for nothing at once, by the `jti` that it claims. False: as many are revoked as may be.
    pub async fn revoke_token(&self, tenant: TenantId, jti: &str) -> Result<bool, KeysError> {
        let now = self.clock.now();
        let denied = self.keys.deny_token(tenant, jti, now + DENIED_FOR, now).await?;
        if denied {
            self.tokens.deny_one(tenant, jti);
        }
        Ok(denied)
    }

    async fn read_denied(&self) -> Result<(), KeysError> {
        // What is revoked from here on may be missing among the rows.
        let began = self.tokens.begin_reading_denied();
        let rows = self.keys.denied_tokens(self.clock.now()).await?;
        self.tokens.deny(rows.into_iter().filter_map(|(tenant, jti)| Some((TenantId::parse(&tenant).ok()?, jti.into()))).collect(), began);
        Ok(())
    }

    /// A ticket of all of a tenant, given by the server itself.
    pub fn ticket(&self, tenant: TenantId, role: Role) -> Result<String, KeysError> {
        let all = Principal { tenant, role: Role::Admin, scope: Scope::ALL, key: Arc::from("server"), ended: Ended::default(), expires: None };
        self.grants.ticket(&all, role, &Scope::ALL).map(|ticket| ticket.text)
    }

    /// Until `stop`: takes up what other processes did to the keys, and ends what is past its time.
    pub async fn watch(&self, stop: CancellationToken) {
        tokio::join!(self.watch_keys(stop.clone()), self.tokens.watch(stop));
    }

    async fn watch_keys(&self, stop: CancellationToken) {
        let mut timer = tokio::time::interval(WATCH_EVERY);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut failing = false;
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = timer.tick() => {}
            }
            let looked = self.look().await;
            if let Err(error) = &looked
                && !failing
            {
                tracing::error!(%error, "the key store cannot be watched: what other processes revoke goes unnoticed");
            }
            failing = looked.is_err();
        }
    }

    async fn look(&self) -> Result<(), KeysError> {
        // First, for what has expired ends also while the store fails.
        self.grants.sweep();
        self.tokens.sweep();
        if let Some(version) = self.keys.changed().await? {
            self.keys.refresh().await?;
            self.read_denied().await?;
            // Only now: what could not be read is looked for again.
            self.keys.saw(version);
        }
        for (kind, known) in [("key", self.keys.known()), ("grant", self.grants.known()), ("token", self.tokens.known())] {
            metrics::gauge!("waypost_credentials", "kind" => kind).set(u32::try_from(known).unwrap_or(u32::MAX));
        }
        Ok(())
    }

    pub async fn close(&self) {
        self.keys.close().await;
    }
}

/// How long a revoked token is remembered: one that lives longer than tokens may is refused as such until its last days, and then by this.
const DENIED_FOR: Duration = Duration::from_hours(24 * 400);

impl Denied {
    /// What a `WebSocket` is told whose first message was refused for this: a store that fails says nothing of the credential, and who brought it comes
    /// again.
    pub fn goodbye(&self) -> Goodbye {
        if matches!(self, Self::Store(_)) { Goodbye::Shutdown } else { Goodbye::AuthFailed }
    }
}

impl Role {
    pub const ALL: [Self; 4] = [Self::Ingest, Self::Dashboard, Self::Operator, Self::Admin];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Dashboard => "dashboard",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    pub fn may(self, access: Access) -> bool {
        match self {
            Self::Ingest => access == Access::Write,
            Self::Dashboard => access == Access::Read,
            Self::Operator => matches!(access, Access::Read | Access::Operate),
            Self::Admin => true,
        }
    }
}

impl Access {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Write => "write",
            Self::Read => "read",
            Self::Operate => "operate",
            Self::Manage => "manage",
        }
    }
}

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or(UnknownRole)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a role is one of ingest, dashboard, operator, admin")]
pub struct UnknownRole;

/// The token of a `Bearer` header.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn auth(folder: &tempfile::TempDir) -> Auth {
        Auth::new(Keys::open(folder.path()).await.expect("opens"), Clock::System)
    }

    #[tokio::test]
    async fn a_ticket_buys_one_session_and_no_second() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let auth = auth(&folder).await;
        let tenant = TenantId::parse("demo").expect("valid");
        let ticket = auth.ticket(tenant, Role::Dashboard).expect("granted");
        let session = auth.grants().trade(&ticket).expect("no error").expect("a session");
        assert!(auth.grants().trade(&ticket).expect("no error").is_none());
        let principal = auth.authorise_token(&session, Access::Read).await.expect("may read");
        assert_eq!(principal.tenant, tenant);
        assert!(matches!(auth.authorise_token(&session, Access::Write).await, Err(Denied::Role("dashboard"))));
        assert!(matches!(auth.authorise_token(&ticket, Access::Read).await, Err(Denied::Unknown)), "a ticket is no session");
    }

    #[test]
    fn every_role_may_exactly_what_it_says() {
        let table = [
            (Role::Ingest, [true, false, false, false]),
            (Role::Dashboard, [false, true, false, false]),
            (Role::Operator, [false, true, true, false]),
            (Role::Admin, [true, true, true, true]),
        ];
        for (role, rights) in table {
            assert_eq!([Access::Write, Access::Read, Access::Operate, Access::Manage].map(|access| role.may(access)), rights, "{}", role.as_str());
        }
    }
}
