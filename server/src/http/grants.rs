//! What is granted for a while: one-time tickets and the sessions they buy, kept hashed and in memory only. Verifies no key.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;

use crate::clock::Clock;
use crate::http::auth::{Principal, Role};
use crate::http::keys::{KeysError, hash, random};
use crate::model::scope::Scope;
use crate::model::time::UnixMs;

/// Grants by the hash of a 256-bit secret, so the time of a look-up tells nothing of use.
#[derive(Debug)]
pub struct Grants {
    clock: Clock,
    by_hash: Mutex<HashMap<[u8; 32], Grant>>,
}

#[derive(Debug)]
struct Grant {
    kind: GrantKind,
    expires: UnixMs,
    /// As who its holder asks: of a ticket, as who the session will.
    principal: Arc<Principal>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum GrantKind {
    /// Good for one trade.
    Ticket,
    Session,
}

/// A ticket as its maker is told of it, this once.
#[derive(Debug)]
pub struct Ticket {
    pub text: String,
    pub expires: UnixMs,
}

/// Tickets and sessions of one tenant; the one of them that ends first goes when a new one finds no room, never another tenant's.
const MAX_GRANTS: usize = 4_096;
/// Of all tenants; when there are more, no new ones are given.
const MAX_ALL: usize = 65_536;
const TICKET_LIFE: Duration = Duration::from_hours(1);
const SESSION_LIFE: Duration = Duration::from_hours(12);
/// Bytes of a token in base64url.
const TOKEN_BYTES: usize = 43;

impl Grants {
    pub fn new(clock: Clock) -> Self {
        Self { clock, by_hash: Mutex::default() }
    }

    /// A ticket that buys one session of `role` and of no more than what `giver` sees. It ends with the giver's own credential.
    pub fn ticket(&self, giver: &Principal, role: Role, scope: &Scope) -> Result<Ticket, KeysError> {
        self.grant(GrantKind::Ticket, giver, role, &scope.within(&giver.scope), TICKET_LIFE)
    }

    /// Trades a ticket for a session token; `None` when it is unknown, used or expired.
    pub fn trade(&self, ticket: &str) -> Result<Option<String>, KeysError> {
        let wanted = hash(ticket.as_bytes());
        let bought = {
            let mut grants = self.by_hash.lock();
            let good = grants.get(&wanted).is_some_and(|grant| grant.kind == GrantKind::Ticket && grant.is_good(self.clock.now()));
            good.then(|| grants.remove(&wanted)).flatten()
        };
        let session = bought.map(|ticket| {
            let of = &ticket.principal;
            self.grant(GrantKind::Session, of, of.role, &of.scope, SESSION_LIFE)
        });
        Ok(session.transpose()?.map(|session| session.text))
    }

    /// Whose session this is.
    pub fn session(&self, token: &str) -> Option<Arc<Principal>> {
        if token.len() != TOKEN_BYTES {
            return None;
        }
        let grants = self.by_hash.lock();
        let grant = grants.get(&hash(token.as_bytes()))?;
        (grant.kind == GrantKind::Session && grant.is_good(self.clock.now())).then(|| Arc::clone(&grant.principal))
    }

    /// How many there are.
    pub fn known(&self) -> usize {
        self.by_hash.lock().len()
    }

    /// Ends what is past its time, or whose giver's credential ended.
    pub fn sweep(&self) {
        let now = self.clock.now();
        self.by_hash.lock().retain(|_, grant| grant.is_good(now) || grant.end());
    }

    fn grant(&self, kind: GrantKind, giver: &Principal, role: Role, scope: &Scope, life: Duration) -> Result<Ticket, KeysError> {
        let text = URL_SAFE_NO_PAD.encode(random::<32>()?);
        let (hash, now) = (hash(text.as_bytes()), self.clock.now());
        let expires = giver.expires.map_or(now + life, |end| end.min(now + life));
        let key = Arc::from(format!("session {:02x?}", &hash[..8]));
        // Cancelled with its giver's, in whatever time: a ticket's session outlives the ticket, not the key that gave it.
        let ended = if kind == GrantKind::Ticket { giver.ended.child() } else { giver.ended.clone() };
        let until = if kind == GrantKind::Ticket { giver.expires } else { Some(expires) };
        let principal = Principal { tenant: giver.tenant, role, scope: scope.clone(), key, ended, expires: until };
        let mut grants = self.by_hash.lock();
        if grants.len() >= MAX_ALL {
            grants.retain(|_, grant| grant.is_good(now) || grant.end());
        }
        let mine = || grants.iter().filter(|(_, grant)| grant.principal.tenant == giver.tenant);
        if mine().count() >= MAX_GRANTS {
            let first = mine().min_by_key(|(_, grant)| grant.expires).map(|(hash, _)| *hash);
            if let Some(gone) = first.and_then(|first| grants.remove(&first)) {
                gone.end();
            }
        }
        if grants.len() >= MAX_ALL {
            return Err(KeysError::TooManyGrants);
        }
        grants.insert(hash, Grant { kind, expires, principal: Arc::new(principal) });
        Ok(Ticket { text, expires })
    }
}

impl Grant {
    fn is_good(&self, now: UnixMs) -> bool {
        self.expires > now && !self.principal.ended.is_cancelled()
    }

    /// Closes what it opened; always false, for it is kept no more.
    fn end(&self) -> bool {
        self.principal.ended.cancel();
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ended::Ended;
    use crate::model::id::TenantId;

    fn admin(tenant: &str) -> Principal {
        let (tenant, key) = (TenantId::parse(tenant).expect("valid"), Arc::from("admin"));
        Principal { tenant, role: Role::Admin, scope: Scope::ALL, key, ended: Ended::default(), expires: None }
    }

    #[test]
    fn a_tenant_that_gives_too_many_loses_its_own_that_end_first_and_nobody_elses() {
        let clock = crate::clock::ManualClock::new(UnixMs(1));
        let grants = Grants::new(Clock::Manual(clock.clone()));
        let (greedy, other) = (admin("greedy"), admin("other"));
        let give = |giver| grants.ticket(giver, Role::Dashboard, &Scope::ALL).expect("granted").text;
        let (theirs, first) = (give(&other), give(&greedy));
        clock.advance(Duration::from_secs(1));
        let second = give(&greedy);
        (0..MAX_GRANTS - 1).for_each(|_| drop(give(&greedy)));
        let buys = |ticket: &str| grants.trade(ticket).expect("no error").is_some();
        assert_eq!([buys(&first), buys(&second), buys(&theirs)], [false, true, true]);
        greedy.ended.cancel();
        grants.sweep();
        assert_eq!(grants.known(), 1, "what a revoked key gave ends with it, and the other's session stays");
    }
}
