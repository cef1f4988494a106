//! The rows of the key store. Knows what stands in them; never what a key is good for.

use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::{KeyInfo, Keys, KeysError, MAX_KEYS, NewKey};
use crate::formats::scope::ScopeWords;
use crate::http::auth::Role;
use crate::model::id::TenantId;
use crate::model::scope::Scope;
use crate::model::time::UnixMs;

const COLUMNS: &str = "id, tenant, role, name, scope, created_ms, rotated_ms, revoked_ms, secret_hash";
/// Denied tokens of one tenant.
const MAX_DENIED: i64 = 10_000;

impl Keys {
    /// Whether any key exists: without one nobody can do anything.
    pub async fn any(&self) -> Result<bool, KeysError> {
        Ok(sqlx::query("SELECT 1 FROM keys WHERE revoked_ms IS NULL LIMIT 1").fetch_optional(&self.pool).await?.is_some())
    }

    /// The keys of a tenant (of all without one) in the order of their ids, those behind `after`, at most `limit`.
    pub async fn list(&self, tenant: Option<TenantId>, after: &str, limit: u32) -> Result<Vec<KeyInfo>, KeysError> {
        let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM keys WHERE (?1 IS NULL OR tenant = ?1) AND id > ?2 ORDER BY id LIMIT ?3"
        )))
        .bind(tenant.as_ref().map(TenantId::as_str))
        .bind(after)
        .bind(limit)
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(info).collect()
    }

    /// One key as it stands, revoked or not.
    pub async fn info(&self, id: &str, tenant: TenantId) -> Result<Option<KeyInfo>, KeysError> {
        let query = sqlx::query(sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM keys WHERE id = ? AND tenant = ?")));
        query.bind(id).bind(tenant.as_str()).fetch_optional(&self.pool).await?.as_ref().map(info).transpose()
    }

    pub(super) async fn insert(&self, id: &str, new: &NewKey, secret_hash: &[u8; 32], now: UnixMs) -> Result<(), KeysError> {
        let scope = (!new.scope.is_all()).then(|| serde_json::to_string(&ScopeWords::of(&new.scope)).expect("texts and finite numbers are JSON"));
        sqlx::query("INSERT INTO keys (id, tenant, role, name, scope, secret_hash, created_ms) VALUES (?, ?, ?, ?, ?, ?, ?)")
            .bind(id)
            .bind(new.tenant.as_str())
            .bind(new.role.as_str())
            .bind(&new.name)
            .bind(scope)
            .bind(secret_hash.as_slice())
            .bind(now.0)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Refuses one key too many, and forgets revoked ones beyond as many, the earliest first.
    pub(super) async fn make_room(&self, tenant: &TenantId) -> Result<(), KeysError> {
        let good: i64 = sqlx::query_scalar("SELECT count(*) FROM keys WHERE tenant = ? AND revoked_ms IS NULL")
            .bind(tenant.as_str())
            .fetch_one(&self.pool)
            .await?;
        if good >= MAX_KEYS {
            return Err(KeysError::TooMany);
        }
        let forgotten = "DELETE FROM keys WHERE id IN (SELECT id FROM keys WHERE tenant = ? AND revoked_ms IS NOT NULL ORDER BY revoked_ms DESC LIMIT -1 OFFSET ?)";
        sqlx::query(forgotten).bind(tenant.as_str()).bind(MAX_KEYS).execute(&self.pool).await?;
        Ok(())
    }

    pub(super) async fn set_secret(&self, id: &str, tenant: Option<TenantId>, secret_hash: &[u8; 32], now: UnixMs) -> Result<bool, KeysError> {
        let done =
            sqlx::query("UPDATE keys SET secret_hash = ?1, rotated_ms = ?2 WHERE id = ?3 AND revoked_ms IS NULL AND (?4 IS NULL OR tenant = ?4)")
                .bind(secret_hash.as_slice())
                .bind(now.0)
                .bind(id)
                .bind(tenant.as_ref().map(TenantId::as_str))
                .execute(&self.pool)
                .await?;
        Ok(done.rows_affected() > 0)
    }

    pub(super) async fn set_revoked(&self, id: &str, tenant: Option<TenantId>, now: UnixMs) -> Result<bool, KeysError> {
        let done = sqlx::query("UPDATE keys SET revoked_ms = ?1 WHERE id = ?2 AND revoked_ms IS NULL AND (?3 IS NULL OR tenant = ?3)")
            .bind(now.0)
            .bind(id)
            .bind(tenant.as_ref().map(TenantId::as_str))
            .execute(&self.pool)
            .await?;
        Ok(done.rows_affected() > 0)
    }

    /// Each key that was not revoked, with the hash of its secret.
    pub(super) async fn good_keys(&self) -> Result<Vec<(String, Vec<u8>)>, KeysError> {
        Ok(sqlx::query_as("SELECT id, secret_hash FROM keys WHERE revoked_ms IS NULL").fetch_all(&self.pool).await?)
    }

    pub(super) async fn good_key(&self, id: &str) -> Result<Option<([u8; 32], KeyInfo)>, KeysError> {
        let query = sqlx::query(sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM keys WHERE id = ? AND revoked_ms IS NULL")));
        let Some(row) = query.bind(id).fetch_optional(&self.pool).await? else { return Ok(None) };
        let secret_hash: Vec<u8> = row.try_get("secret_hash")?;
        let secret_hash = secret_hash.try_into().map_err(|_length| KeysError::BadRow("secret_hash".to_owned()))?;
        Ok(Some((secret_hash, info(&row)?)))
    }

    /// Denies the tokens that claim this `jti`, until no token of today can be good any more. False: too many are denied already.
    pub async fn deny_token(&self, tenant: TenantId, jti: &str, until: UnixMs, now: UnixMs) -> Result<bool, KeysError> {
        sqlx::query("DELETE FROM revoked_tokens WHERE until_ms <= ?").bind(now.0).execute(&self.pool).await?;
        let denied: i64 =
            sqlx::query_scalar("SELECT count(*) FROM revoked_tokens WHERE tenant = ?").bind(tenant.as_str()).fetch_one(&self.pool).await?;
        if denied >= MAX_DENIED {
            return Ok(false);
        }
        sqlx::query("INSERT INTO revoked_tokens (tenant, jti, until_ms) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET until_ms = excluded.until_ms")
            .bind(tenant.as_str())
            .bind(jti)
            .bind(until.0)
            .execute(&self.pool)
            .await?;
        Ok(true)
    }

    /// Each denied token, by its tenant and `jti`.
    pub async fn denied_tokens(&self, now: UnixMs) -> Result<Vec<(String, String)>, KeysError> {
        Ok(sqlx::query_as("SELECT tenant, jti FROM revoked_tokens WHERE until_ms > ?").bind(now.0).fetch_all(&self.pool).await?)
    }
}

fn info(row: &SqliteRow) -> Result<KeyInfo, KeysError> {
    let (tenant, role, scope): (String, String, Option<String>) = (row.try_get("tenant")?, row.try_get("role")?, row.try_get("scope")?);
    let bad = |what: &str, why: &dyn std::fmt::Display| KeysError::BadRow(format!("{what}: {why}"));
    let scope = match scope {
        None => Scope::ALL,
        Some(text) => {
            let words: ScopeWords = serde_json::from_str(&text).map_err(|error| bad("scope", &error))?;
            words.read_stored().map_err(|error| bad("scope", &error))?
        }
    };
    let time = |name: &str| row.try_get::<Option<i64>, _>(name).map(|at| at.map(UnixMs));
    Ok(KeyInfo {
        id: row.try_get("id")?,
        tenant: TenantId::parse(&tenant).map_err(|error| bad("tenant", &error))?,
        role: role.parse::<Role>().map_err(|error| bad("role", &error))?,
        scope,
        name: row.try_get("name")?,
        created: UnixMs(row.try_get("created_ms")?),
        rotated: time("rotated_ms")?,
        revoked: time("revoked_ms")?,
    })
}
