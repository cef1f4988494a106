//! Who asks: API keys, one-time tickets and the sessions they buy. Never decides what a route may do beyond its role.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use thiserror::Error;

use crate::clock::Clock;
use crate::http::keys::{Keys, KeysError, hash, random};
use crate::model::id::TenantId;
use crate::model::time::UnixMs;

/// Who asks, and in what role. The tenant comes from here and from nowhere else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    pub tenant: TenantId,
    pub role: Role,
    /// Which credential it was: what its limits are counted by. Never the secret.
    pub key: Arc<str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Posts events and reads nothing.
    Ingest,
    /// Reads: REST and live.
    Dashboard,
    /// Both.
    Admin,
}

/// What a route is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Write,
    Read,
}

#[derive(Debug, Error)]
pub enum Denied {
    #[error("a credential is needed: send `Authorization: Bearer <key>`")]
    Missing,
    #[error("the credential is not known")]
    Unknown,
    #[error("a key with the role {0} may not do this")]
    Role(&'static str),
    #[error("the key store failed")]
    Store(#[from] KeysError),
}

/// Verifies credentials of every kind.
#[derive(Debug)]
pub struct Auth {
    keys: Keys,
    clock: Clock,
    grants: Mutex<Vec<Grant>>,
}

/// A ticket or a session: random, kept hashed and in memory only.
#[derive(Debug)]
struct Grant {
    kind: GrantKind,
    hash: [u8; 32],
    tenant: TenantId,
    role: Role,
    expires: UnixMs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum GrantKind {
    /// Good for one trade.
    Ticket,
    Session,
}

/// Tickets and sessions together; the oldest goes when a new one finds no room.
const MAX_GRANTS: usize = 4096;
const TICKET_LIFE: Duration = Duration::from_hours(1);
const SESSION_LIFE: Duration = Duration::from_hours(12);

impl Auth {
    pub fn new(keys: Keys, clock: Clock) -> Self {
        Self { keys, clock, grants: Mutex::new(Vec::new()) }
    }

    /// Checks the `Authorization` header for a route.
    pub async fn authorise(&self, headers: &HeaderMap, access: Access) -> Result<Principal, Denied> {
        let token = bearer(headers).ok_or(Denied::Missing)?;
        self.authorise_token(token, access).await
    }

    /// Checks a key or session token for a route.
    pub async fn authorise_token(&self, token: &str, access: Access) -> Result<Principal, Denied> {
        let principal = match self.session(token) {
            Some(principal) => principal,
            None => self.keys.verify(token).await?.ok_or(Denied::Unknown)?,
        };
        if principal.role.may(access) { Ok(principal) } else { Err(Denied::Role(principal.role.as_str())) }
    }

    /// A ticket that buys one session.
    pub fn ticket(&self, tenant: TenantId, role: Role) -> Result<String, KeysError> {
        self.grant(GrantKind::Ticket, tenant, role, TICKET_LIFE)
    }

    /// Trades a ticket for a session token; `None` when it is unknown, used or expired.
    pub fn trade(&self, ticket: &str) -> Result<Option<String>, KeysError> {
        let wanted = hash(ticket.as_bytes());
        let bought = {
            let mut grants = self.grants.lock();
            let now = self.clock.now();
            let at = grants.iter().position(|grant| grant.kind == GrantKind::Ticket && grant.hash == wanted && grant.expires > now);
            at.map(|at| grants.remove(at))
        };
        bought.map(|ticket| self.grant(GrantKind::Session, ticket.tenant, ticket.role, SESSION_LIFE)).transpose()
    }

    pub async fn close(&self) {
        self.keys.close().await;
    }

    fn grant(&self, kind: GrantKind, tenant: TenantId, role: Role, life: Duration) -> Result<String, KeysError> {
        let token = URL_SAFE_NO_PAD.encode(random::<32>()?);
        let now = self.clock.now();
        let mut grants = self.grants.lock();
        grants.retain(|grant| grant.expires > now);
        if grants.len() >= MAX_GRANTS {
            grants.remove(0);
        }
        grants.push(Grant { kind, hash: hash(token.as_bytes()), tenant, role, expires: now + life });
        Ok(token)
    }

    /// Grants are compared by the hash of a 256-bit secret, so the time of the comparison tells nothing of use.
    fn session(&self, token: &str) -> Option<Principal> {
        if token.len() != 43 {
            return None;
        }
        let wanted = hash(token.as_bytes());
        let now = self.clock.now();
        let grants = self.grants.lock();
        let grant = grants.iter().find(|grant| grant.kind == GrantKind::Session && grant.hash == wanted && grant.expires > now)?;
        Some(Principal { tenant: grant.tenant, role: grant.role, key: Arc::from(format!("session {:02x?}", &grant.hash[..8])) })
    }
}

impl Role {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Dashboard => "dashboard",
            Self::Admin => "admin",
        }
    }

    pub fn may(self, access: Access) -> bool {
        match self {
            Self::Admin => true,
            Self::Ingest => access == Access::Write,
            Self::Dashboard => access == Access::Read,
        }
    }
}

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        [Self::Ingest, Self::Dashboard, Self::Admin].into_iter().find(|role| role.as_str() == text).ok_or(UnknownRole)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a role is one of ingest, dashboard, admin")]
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
        let session = auth.trade(&ticket).expect("no error").expect("a session");
        assert!(auth.trade(&ticket).expect("no error").is_none());
        let principal = auth.authorise_token(&session, Access::Read).await.expect("may read");
        assert_eq!(principal.tenant, tenant);
        assert!(matches!(auth.authorise_token(&session, Access::Write).await, Err(Denied::Role("dashboard"))));
        assert!(matches!(auth.authorise_token(&ticket, Access::Read).await, Err(Denied::Unknown)), "a ticket is no session");
    }

    #[test]
    fn every_role_may_exactly_what_it_says() {
        let table = [(Role::Ingest, true, false), (Role::Dashboard, false, true), (Role::Admin, true, true)];
        for (role, write, read) in table {
            assert_eq!((role.may(Access::Write), role.may(Access::Read)), (write, read), "{}", role.as_str());
        }
    }
}
