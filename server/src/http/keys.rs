//! API keys: made, stored hashed in `SQLite`, verified in constant time. Never keeps or logs a secret.

use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dashmap::DashMap;
use sha2::{Digest as _, Sha256};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use subtle::ConstantTimeEq as _;
use thiserror::Error;

use crate::clock::Clock;
use crate::http::auth::{Principal, Role};
use crate::model::id::TenantId;

/// The keys of one data folder. Several processes may open it at once: `waypost keys create` works while a server runs.
#[derive(Debug)]
pub struct Keys {
    pool: SqlitePool,
    /// Keys seen in the table, by id. Bounded by the table; a miss asks the table, so a key made by another process is found.
    known: DashMap<Box<str>, Known>,
}

#[derive(Clone, Debug)]
struct Known {
    secret_hash: [u8; 32],
    principal: Principal,
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
}

/// How a key starts, so that people and secret scanners recognise one.
const PREFIX: &str = "wpk_";

impl Keys {
    /// Opens the store in `data`, creating it when there is none.
    pub async fn open(data: &Path) -> Result<Self, KeysError> {
        let options = SqliteConnectOptions::new()
            .filename(data.join("waypost.db"))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(5));
        let pool = SqlitePoolOptions::new().max_connections(2).connect_with(options).await?;
        sqlx::migrate!("./migrations").run(&pool).await?;
        Ok(Self { pool, known: DashMap::new() })
    }

    /// Makes a key of 32 random bytes and returns it; this is the only time it is seen.
    pub async fn create(&self, tenant: &TenantId, role: Role, clock: &Clock) -> Result<String, KeysError> {
        let id: [u8; 8] = random()?;
        let secret: [u8; 32] = random()?;
        let id = format!("{:016x}", u64::from_be_bytes(id));
        sqlx::query("INSERT INTO keys (id, tenant, role, secret_hash, created_ms) VALUES (?, ?, ?, ?, ?)")
            .bind(&id)
            .bind(tenant.as_str())
            .bind(role.as_str())
            .bind(hash(&secret).as_slice())
            .bind(clock.now().0)
            .execute(&self.pool)
            .await?;
        Ok(format!("{PREFIX}{id}_{}", URL_SAFE_NO_PAD.encode(secret)))
    }

    /// Whether any key exists: without one nobody can do anything.
    pub async fn any(&self) -> Result<bool, KeysError> {
        Ok(sqlx::query("SELECT 1 FROM keys LIMIT 1").fetch_optional(&self.pool).await?.is_some())
    }

    /// Who holds this key; `None` when it is no key of ours.
    pub async fn verify(&self, key: &str) -> Result<Option<Principal>, KeysError> {
        let Some((id, secret)) = parse(key) else {
            return Ok(None);
        };
        let Some(known) = self.lookup(id).await? else {
            return Ok(None);
        };
        let same = bool::from(hash(&secret).ct_eq(&known.secret_hash));
        Ok(same.then_some(known.principal))
    }

    pub async fn close(&self) {
        self.pool.close().await;
    }

    async fn lookup(&self, id: &str) -> Result<Option<Known>, KeysError> {
        if let Some(known) = self.known.get(id) {
            return Ok(Some(known.clone()));
        }
        let row: Option<(String, String, Vec<u8>)> =
            sqlx::query_as("SELECT tenant, role, secret_hash FROM keys WHERE id = ?").bind(id).fetch_optional(&self.pool).await?;
        let Some((tenant, role, secret_hash)) = row else {
            return Ok(None);
        };
        let known = known_from_row(id, &tenant, &role, &secret_hash)?;
        self.known.insert(Box::from(id), known.clone());
        Ok(Some(known))
    }
}

fn known_from_row(id: &str, tenant: &str, role: &str, secret_hash: &[u8]) -> Result<Known, KeysError> {
    let tenant = TenantId::parse(tenant).map_err(|error| KeysError::BadRow(format!("tenant {error}")))?;
    let role = Role::from_str(role).map_err(|error| KeysError::BadRow(error.to_string()))?;
    let secret_hash = secret_hash.try_into().map_err(|error| KeysError::BadRow(format!("secret_hash: {error}")))?;
    Ok(Known { secret_hash, principal: Principal { tenant, role, key: Arc::from(id) } })
}

/// Takes a key apart: `wpk_<16 hex>_<43 base64url>`.
fn parse(key: &str) -> Option<(&str, [u8; 32])> {
    let (id, secret) = key.strip_prefix(PREFIX)?.split_once('_')?;
    if id.len() != 16 {
        return None;
    }
    let secret = URL_SAFE_NO_PAD.decode(secret).ok()?;
    Some((id, secret.try_into().ok()?))
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

    #[tokio::test]
    async fn a_key_verifies_as_its_tenant_and_role_also_from_another_handle() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let server = Keys::open(folder.path()).await.expect("opens");
        assert!(!server.any().await.expect("reads"));
        let tool = Keys::open(folder.path()).await.expect("opens beside");
        let tenant = TenantId::parse("acme").expect("valid");
        let key = tool.create(&tenant, Role::Dashboard, &Clock::System).await.expect("creates");
        let principal = server.verify(&key).await.expect("reads").expect("a key of ours");
        assert_eq!((principal.tenant, principal.role), (tenant, Role::Dashboard));
        assert!(server.any().await.expect("reads"));
    }

    #[tokio::test]
    async fn a_wrong_secret_or_a_foreign_text_is_nobody() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let keys = Keys::open(folder.path()).await.expect("opens");
        let tenant = TenantId::parse("acme").expect("valid");
        let key = keys.create(&tenant, Role::Admin, &Clock::System).await.expect("creates");
        let mut wrong = key.clone().into_bytes();
        wrong[25] = if wrong[25] == b'A' { b'B' } else { b'A' };
        let wrong = String::from_utf8(wrong).expect("ascii");
        for text in [wrong.as_str(), "", "wpk_", "Bearer x", &key[..key.len() - 1]] {
            assert!(keys.verify(text).await.expect("reads").is_none(), "{text} is no key");
        }
    }
}
