//! API keys: made, stored hashed in `SQLite`, verified in constant time. Never keeps or logs a secret.

mod rows;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::RwLock;
use sha2::{Digest as _, Sha256};
use sqlx::Connection as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use subtle::ConstantTimeEq as _;
use thiserror::Error;
use tokio::sync::Mutex;

use crate::clock::Clock;
use crate::ended::Ended;
use crate::http::auth::{Principal, Role};
use crate::model::id::TenantId;
use crate::model::scope::Scope;
use crate::model::time::UnixMs;

/// The keys of one data folder. Several processes may open it at once: `waypost keys` works while a server runs.
#[derive(Debug)]
pub struct Keys {
    pool: SqlitePool,
    cache: RwLock<Cache>,
    /// Apart from the pool: a change is told to every connection but the one that made it.
    watch: Mutex<SqliteConnection>,
    seen_version: AtomicI64,
}

/// Keys seen in the table. Bounded by the table; a miss asks the table, so a key made by another process is found.
#[derive(Debug, Default)]
struct Cache {
    known: HashMap<Box<str>, Known>,
    /// Grows with each change, so that what was read before one is not taken in after it.
    generation: u64,
}

#[derive(Clone, Debug)]
struct Known {
    secret_hash: [u8; 32],
    /// Of the cache when the row was read.
    generation: u64,
    principal: Arc<Principal>,
}

/// What a key is made of besides its secret.
#[derive(Clone, Debug)]
pub struct NewKey {
    pub tenant: TenantId,
    pub role: Role,
    pub scope: Scope,
    /// For people.
    pub name: String,
}

/// What is told of a key to those who manage them.
#[derive(Clone, Debug)]
pub struct KeyInfo {
    pub id: String,
    pub tenant: TenantId,
    pub role: Role,
    pub scope: Scope,
    pub name: String,
    pub created: UnixMs,
    pub rotated: Option<UnixMs>,
    pub revoked: Option<UnixMs>,
}

#[derive(Debug, Error)]
pub enum KeysError {
    #[error("the key store failed")]
    Sqlite(#[from] sqlx::Error),
    #[error("the key store's schema could not be brought up to date")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    #[error("the key store holds a row that is no key: {0}")]
    BadRow(String),
    #[error("no randomness to make a key from: {0}")]
    Random(String),
    #[error("a tenant has at most {MAX_KEYS} keys; revoke some first")]
    TooMany,
    #[error("there are as many tickets and sessions as there may be; try again when some have ended")]
    TooManyGrants,
}

/// How a key starts, so that people and secret scanners recognise one.
const PREFIX: &str = "wpk_";
const SECRET_BYTES: usize = 32;
/// Of one tenant, good ones. As many again that were revoked are remembered.
pub const MAX_KEYS: i64 = 10_000;
pub const MAX_NAME_BYTES: usize = 128;

impl Keys {
    /// Opens the store in `data`, creating it when there is none.
    pub async fn open(data: &Path) -> Result<Self, KeysError> {
        let options = SqliteConnectOptions::new()
            .filename(data.join("waypost.db"))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(5));
        let pool = SqlitePoolOptions::new().max_connections(2).connect_with(options.clone()).await?;
        sqlx::migrate!("./migrations").run(&pool).await?;
        let watch = Mutex::new(SqliteConnection::connect_with(&options).await?);
        let keys = Self { pool, cache: RwLock::default(), watch, seen_version: AtomicI64::new(0) };
        keys.changed().await?;
        Ok(keys)
    }

    /// Makes a key for all of a tenant and returns it; this is the only time it is seen.
    pub async fn create(&self, tenant: &TenantId, role: Role, clock: &Clock) -> Result<String, KeysError> {
        let new = NewKey { tenant: *tenant, role, scope: Scope::ALL, name: String::new() };
        self.make(&new, clock.now()).await.map(|(_, text)| text)
    }

    /// Makes a key of 32 random bytes and returns its id and its text.
    pub async fn make(&self, new: &NewKey, now: UnixMs) -> Result<(String, String), KeysError> {
        self.make_room(&new.tenant).await?;
        let id = format!("{:016x}", u64::from_be_bytes(random()?));
        let (text, secret_hash) = fresh(&id)?;
        self.insert(&id, new, &secret_hash, now).await?;
        Ok((id, text))
    }

    /// Replaces the secret and returns the key's new text; the old one is good for nothing at once. None: there is no such key that is good.
    pub async fn rotate(&self, id: &str, tenant: Option<TenantId>, now: UnixMs) -> Result<Option<String>, KeysError> {
        let (text, secret_hash) = fresh(id)?;
        let found = self.set_secret(id, tenant, &secret_hash, now).await?;
        if found {
            self.forget(id);
        }
        Ok(found.then_some(text))
    }

    /// Makes a key good for nothing, at once. False: there is no such key that was good.
    pub async fn revoke(&self, id: &str, tenant: Option<TenantId>, now: UnixMs) -> Result<bool, KeysError> {
        let found = self.set_revoked(id, tenant, now).await?;
        if found {
            self.forget(id);
        }
        Ok(found)
    }

    /// Who holds this key; `None` when it is no good key of ours.
    pub async fn verify(&self, key: &str) -> Result<Option<Arc<Principal>>, KeysError> {
        let Some((id, secret)) = parse(key) else {
            return Ok(None);
        };
        let Some(known) = self.lookup(id).await? else {
            return Ok(None);
        };
        let same = bool::from(hash(&secret).ct_eq(&known.secret_hash));
        Ok(same.then_some(known.principal))
    }

    /// Looks whether the store was changed, by whichever process, since this was last asked.
    pub async fn changed(&self) -> Result<Option<i64>, KeysError> {
        let mut watch = self.watch.lock().await;
        let version: i64 = sqlx::query_scalar("PRAGMA data_version").fetch_one(&mut *watch).await?;
        Ok((self.seen_version.load(Ordering::Relaxed) != version).then_some(version))
    }

    /// All that this version of the store says is known.
    pub fn saw(&self, version: i64) {
        self.seen_version.store(version, Ordering::Relaxed);
    }

    /// Forgets the keys that are not as they were, and ends what they opened.
    pub async fn refresh(&self) -> Result<(), KeysError> {
        // What is looked up from here on may be newer than the rows below, and is not judged by them.
        let began = self.cache.write().next_generation();
        let good: HashMap<String, Vec<u8>> = self.good_keys().await?.into_iter().collect();
        self.cache.write().keep(&good, began);
        Ok(())
    }

    /// How many are in use.
    pub fn known(&self) -> usize {
        self.cache.read().known.len()
    }

    pub async fn close(&self) {
        self.pool.close().await;
    }

    fn forget(&self, id: &str) {
        let mut cache = self.cache.write();
        cache.next_generation();
        if let Some(known) = cache.known.remove(id) {
            known.principal.ended.cancel();
        }
    }

    async fn lookup(&self, id: &str) -> Result<Option<Known>, KeysError> {
        loop {
            let generation = {
                let cache = self.cache.read();
                if let Some(known) = cache.known.get(id) {
                    return Ok(Some(known.clone()));
                }
                cache.generation
            };
            let Some((secret_hash, info)) = self.good_key(id).await? else {
                return Ok(None);
            };
            let KeyInfo { tenant, role, scope, .. } = info;
            let principal = Principal { tenant, role, scope, key: Arc::from(id), ended: Ended::default(), expires: None };
            let known = Known { secret_hash, generation, principal: Arc::new(principal) };
            let mut cache = self.cache.write();
            if cache.generation == generation {
                // Two may have asked at once: one token ends what both opened.
                return Ok(Some(cache.known.entry(Box::from(id)).or_insert(known).clone()));
            }
        }
    }
}

impl Cache {
    fn next_generation(&mut self) -> u64 {
        self.generation += 1;
        self.generation
    }

    /// Ends what was read before `began` and is not among the `good` keys, with their secrets, that were read then.
    fn keep(&mut self, good: &HashMap<String, Vec<u8>>, began: u64) {
        self.known.retain(|id, known| {
            let same = good.get(&**id).is_some_and(|secret_hash| known.secret_hash == secret_hash.as_slice());
            let stays = same || known.generation >= began;
            if !stays {
                known.principal.ended.cancel();
            }
            stays
        });
    }
}

/// Whether a token is to be looked for among the keys.
pub(crate) fn looks_like_key(token: &str) -> bool {
    token.starts_with(PREFIX)
}

/// A new secret: the key's text, and what is stored of it.
fn fresh(id: &str) -> Result<(String, [u8; 32]), KeysError> {
    let secret: [u8; SECRET_BYTES] = random()?;
    Ok((format!("{PREFIX}{id}_{}", URL_SAFE_NO_PAD.encode(secret)), hash(&secret)))
}

/// Takes a key apart: `wpk_<16 hex>_<43 base64url>`.
fn parse(key: &str) -> Option<(&str, [u8; SECRET_BYTES])> {
    let (id, secret) = key.strip_prefix(PREFIX)?.split_once('_')?;
    if id.len() != 16 || secret.len() != 43 {
        return None;
    }
    // One byte more than there are: that is what the decoder expects of whoever gives it room.
    let mut bytes = [0; SECRET_BYTES + 1];
    let length = URL_SAFE_NO_PAD.decode_slice(secret, &mut bytes).ok()?;
    bytes[..length].try_into().ok().map(|secret| (id, secret))
}

/// A plain SHA-256 is enough: the input has 256 bits of entropy, so there is nothing to stretch.
pub(crate) fn hash(secret: &[u8]) -> [u8; 32] {
    Sha256::digest(secret).into()
}

/// Bytes from the operating system's generator.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], KeysError> {
    use rand::TryRngCore as _;
    let mut bytes = [0_u8; N];
    rand::rngs::OsRng.try_fill_bytes(&mut bytes).map_err(|error| KeysError::Random(error.to_string()))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::DriverId;

    const NOW: UnixMs = UnixMs(1_790_000_000_000);

    fn of(tenant: &str, role: Role) -> NewKey {
        NewKey { tenant: TenantId::parse(tenant).expect("valid"), role, scope: Scope::ALL, name: String::new() }
    }

    #[tokio::test]
    async fn a_key_verifies_as_its_tenant_role_and_scope_also_from_another_handle() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let server = Keys::open(folder.path()).await.expect("opens");
        assert!(!server.any().await.expect("reads"));
        let tool = Keys::open(folder.path()).await.expect("opens beside");
        let scope = Scope::new(Some(vec![DriverId::parse("van").expect("valid")]), None, None).expect("few");
        let new = NewKey { scope: scope.clone(), ..of("acme", Role::Operator) };
        let (_, key) = tool.make(&new, NOW).await.expect("creates");
        let principal = server.verify(&key).await.expect("reads").expect("a key of ours");
        assert_eq!((principal.tenant, principal.role, &principal.scope), (new.tenant, Role::Operator, &scope));
        assert!(server.any().await.expect("reads"));
    }

    #[tokio::test]
    async fn a_wrong_secret_or_a_foreign_text_is_nobody() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let keys = Keys::open(folder.path()).await.expect("opens");
        let (_, key) = keys.make(&of("acme", Role::Admin), NOW).await.expect("creates");
        let mut wrong = key.clone().into_bytes();
        wrong[25] = if wrong[25] == b'A' { b'B' } else { b'A' };
        let wrong = String::from_utf8(wrong).expect("ascii");
        for text in [wrong.as_str(), "", "wpk_", "Bearer x", &key[..key.len() - 1], &format!("{key}A")] {
            assert!(keys.verify(text).await.expect("reads").is_none(), "{text} is no key");
        }
    }

    #[tokio::test]
    async fn what_another_process_revoked_or_rotated_ends_with_the_next_look_and_what_it_opened_too() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (server, tool) = (Keys::open(folder.path()).await.expect("opens"), Keys::open(folder.path()).await.expect("opens beside"));
        let (kept, rotated, revoked) = (of("acme", Role::Admin), of("acme", Role::Ingest), of("acme", Role::Dashboard));
        let mut held = Vec::new();
        let mut texts = Vec::new();
        for new in [&kept, &rotated, &revoked] {
            let (id, text) = tool.make(new, NOW).await.expect("creates");
            held.push(server.verify(&text).await.expect("reads").expect("good"));
            texts.push((id, text));
        }
        let version = server.changed().await.expect("reads").expect("another wrote");
        assert!(server.changed().await.expect("reads").is_some(), "until it is known what was written");
        server.saw(version);
        assert_eq!(server.changed().await.expect("reads"), None);
        let new_text = tool.rotate(&texts[1].0, Some(rotated.tenant), NOW).await.expect("writes").expect("found");
        assert!(tool.revoke(&texts[2].0, None, NOW).await.expect("writes"));
        assert!(server.changed().await.expect("reads").is_some());
        server.refresh().await.expect("reads");
        assert_eq!(held.iter().map(|principal| principal.ended.is_cancelled()).collect::<Vec<_>>(), [false, true, true]);
        for (index, (_, text)) in texts.iter().enumerate() {
            assert_eq!(server.verify(text).await.expect("reads").is_some(), index == 0);
        }
        assert!(server.verify(&new_text).await.expect("reads").is_some());
        let other = TenantId::parse("other").expect("valid");
        assert!(!server.revoke(&texts[0].0, Some(other), NOW).await.expect("writes"), "another tenant's key is not found");
        assert!(server.rotate(&texts[2].0, None, NOW).await.expect("writes").is_none(), "a revoked key stays so");
        assert!(
            server.revoke(&texts[0].0, Some(kept.tenant), NOW).await.expect("writes") && held[0].ended.is_cancelled(),
            "in its own process at once"
        );
    }

    #[tokio::test]
    async fn a_key_that_is_made_while_the_store_is_read_anew_is_not_taken_for_a_revoked_one() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let keys = Keys::open(folder.path()).await.expect("opens");
        let (_, before) = keys.make(&of("acme", Role::Admin), NOW).await.expect("creates");
        let early = keys.verify(&before).await.expect("reads").expect("good");
        let began = keys.cache.write().next_generation();
        let read: HashMap<_, _> = keys.good_keys().await.expect("reads").into_iter().collect();
        let (_, text) = keys.make(&of("acme", Role::Admin), NOW).await.expect("creates");
        let late = keys.verify(&text).await.expect("reads").expect("good");
        keys.cache.write().keep(&read, began);
        assert!(!early.ended.is_cancelled() && !late.ended.is_cancelled());
        keys.cache.write().keep(&HashMap::new(), began);
        assert!(early.ended.is_cancelled() && !late.ended.is_cancelled(), "what was read before is judged by what was read then");
    }

    #[tokio::test]
    async fn a_store_of_the_first_schema_keeps_its_keys() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let options = SqliteConnectOptions::new().filename(folder.path().join("waypost.db")).create_if_missing(true);
        let mut old = SqliteConnection::connect_with(&options).await.expect("opens");
        let first = sqlx::migrate!("./migrations").iter().next().expect("one").clone();
        let only_first = sqlx::migrate::Migrator { migrations: vec![first].into(), ..sqlx::migrate::Migrator::DEFAULT };
        only_first.run_direct(None, &mut old, false).await.expect("migrates");
        let (text, secret_hash) = fresh("0123456789abcdef").expect("random");
        sqlx::query("INSERT INTO keys (id, tenant, role, secret_hash, created_ms) VALUES ('0123456789abcdef', 'acme', 'admin', ?, 7)")
            .bind(secret_hash.as_slice())
            .execute(&mut old)
            .await
            .expect("writes");
        old.close().await.expect("closes");
        let keys = Keys::open(folder.path()).await.expect("opens");
        assert_eq!(keys.verify(&text).await.expect("reads").expect("good").role, Role::Admin);
        let page = keys.list(Some(TenantId::parse("acme").expect("valid")), "", 10).await.expect("reads");
        assert_eq!((page.len(), page[0].created, page[0].revoked), (1, UnixMs(7), None));
    }
}
