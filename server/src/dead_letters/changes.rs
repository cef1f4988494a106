//! What is done to the table of letters, each inside a transaction of the writer. Never begins or ends one.

use sqlx::sqlite::SqliteConnection;
use sqlx::{QueryBuilder, Sqlite};

use super::DeadLettersError;
use super::filter::Cursor;
use super::held::Held;
use super::letter::{Letter, Reason, Scope};
use crate::formats::scope::ScopeWords;
use crate::model::id::TenantId;
use crate::model::scope::Scope as Authority;
use crate::model::time::UnixMs;

/// Letters of one statement: each statement is a message to the thread that owns the connection.
const ROWS_AT_ONCE: usize = 32;
/// Letters looked at to find what must go.
const LOOKED_AT: i64 = 512;

/// Says how many are new.
pub(super) async fn insert(connection: &mut SqliteConnection, letters: &[&Letter], now: UnixMs, held: &mut Held) -> Result<u64, DeadLettersError> {
    // Only the id of a place can be there already.
    let (parked, refused): (Vec<&Letter>, Vec<&Letter>) = letters.iter().partition(|letter| letter.about.place.is_some());
    let mut kept = refused.len() as u64;
    for rows in refused.chunks(ROWS_AT_ONCE) {
        rows_of(rows, now).build().execute(&mut *connection).await?;
        for letter in rows {
            held.add(letter.tenant, letter.charge());
        }
    }
    for letter in parked {
        let new = rows_of(&[letter], now).push(" ON CONFLICT (id) DO NOTHING").build().execute(&mut *connection).await?.rows_affected();
        if new > 0 {
            held.add(letter.tenant, letter.charge());
        }
        kept += new;
    }
    Ok(kept)
}

fn rows_of(letters: &[&Letter], now: UnixMs) -> QueryBuilder<Sqlite> {
    let mut query = QueryBuilder::new(
        "INSERT INTO letters (id, tenant, reason, pointer, detail, protocol, whole_body, schema_version, event_id, actor, authority, received_ms, kept_ms, log_partition, \
         log_offset, came_bytes, tries, charge, raw, postmark) ",
    );
    query.push_values(letters, |mut row, letter| {
        let about = &letter.about;
        row.push_bind(about.id.as_bytes())
            .push_bind(letter.tenant.as_str())
            .push_bind(about.reason.as_str())
            .push_bind(&about.pointer)
            .push_bind(&about.detail)
            .push_bind(about.protocol.as_str())
            .push_bind(about.scope == Scope::Body)
            .push_bind(about.claims.schema_version.map(i64::from))
            .push_bind(&about.claims.event_id)
            .push_bind(&about.claims.actor)
            .push_bind(authority(&about.authority))
            .push_bind(about.received.0)
            .push_bind(now.0)
            .push_bind(about.place.map(|place| i64::from(place.partition.0)))
            .push_bind(about.place.map(|place| place.offset.0.cast_signed()))
            .push_bind(about.came_bytes.cast_signed())
            .push_bind(i64::from(about.tries))
            .push_bind(letter.charge().cast_signed())
            .push_bind(letter.raw.as_slice())
            .push_bind(about.postmark.as_ref().and_then(|postmark| postmark.to_text()));
    });
    query
}

fn authority(authority: &Authority) -> Option<String> {
    (!authority.is_all()).then(|| serde_json::to_string(&ScopeWords::of(authority)).expect("texts and finite numbers are JSON"))
}

/// Lets letters go until at most `max_bytes` are held: of the tenant that holds the most, the oldest. Says how many.
pub(super) async fn evict(connection: &mut SqliteConnection, held: &mut Held, max_bytes: u64) -> Result<u64, DeadLettersError> {
    let mut evicted = 0;
    while let (excess @ 1.., Some(tenant)) = (held.bytes().saturating_sub(max_bytes), held.largest()) {
        let oldest: Vec<(i64, i64)> = sqlx::query_as("SELECT seq, charge FROM letters WHERE tenant = ? ORDER BY seq LIMIT ?")
            .bind(tenant.as_str())
            .bind(LOOKED_AT)
            .fetch_all(&mut *connection)
            .await?;
        let (mut letters, mut bytes, mut last) = (0, 0, None);
        for (seq, charge) in oldest {
            if bytes >= excess {
                break;
            }
            (letters, bytes, last) = (letters + 1, bytes + charge.cast_unsigned(), Some(seq));
        }
        let Some(last) = last else { return Err(DeadLettersError::BadRow("held")) };
        sqlx::query("DELETE FROM letters WHERE tenant = ? AND seq <= ?").bind(tenant.as_str()).bind(last).execute(&mut *connection).await?;
        held.take(tenant, letters, bytes);
        evicted += letters;
    }
    Ok(evicted)
}

/// Lets the oldest go that were kept before `oldest_kept`, some hundreds at a time. Says how many.
pub(super) async fn expire(connection: &mut SqliteConnection, oldest_kept: UnixMs, held: &mut Held) -> Result<u64, DeadLettersError> {
    let oldest: Vec<(i64, i64, String, i64)> =
        sqlx::query_as("SELECT seq, kept_ms, tenant, charge FROM letters ORDER BY seq LIMIT ?").bind(LOOKED_AT).fetch_all(&mut *connection).await?;
    let (mut letters, mut last) = (0, None);
    for (seq, _, tenant, charge) in oldest.iter().take_while(|(_, kept, _, _)| UnixMs(*kept) < oldest_kept) {
        let tenant = TenantId::parse(tenant).map_err(|_invalid| DeadLettersError::BadRow("tenant"))?;
        held.take(tenant, 1, charge.cast_unsigned());
        (letters, last) = (letters + 1, Some(*seq));
    }
    if let Some(last) = last {
        sqlx::query("DELETE FROM letters WHERE seq <= ?").bind(last).execute(connection).await?;
    }
    Ok(letters)
}

pub(super) async fn remove(
    connection: &mut SqliteConnection,
    tenant: TenantId,
    removed: &[Cursor],
    held: &mut Held,
) -> Result<u64, DeadLettersError> {
    if removed.is_empty() {
        return Ok(0);
    }
    let mut query = QueryBuilder::new("DELETE FROM letters WHERE tenant = ");
    let mut seqs = query.push_bind(tenant.as_str()).push(" AND seq IN (").separated(",");
    for Cursor(seq) in removed {
        seqs.push_bind(seq);
    }
    seqs.push_unseparated(") RETURNING charge");
    let charges: Vec<i64> = query.build_query_scalar().fetch_all(connection).await?;
    held.take(tenant, charges.len() as u64, charges.iter().map(|charge| charge.cast_unsigned()).sum());
    Ok(charges.len() as u64)
}

/// Notes of each that it was tried in vain, and why now.
pub(super) async fn note_tries(
    connection: &mut SqliteConnection,
    tenant: TenantId,
    again: &[(Cursor, Reason, String, String)],
    now: UnixMs,
) -> Result<(), DeadLettersError> {
    for (Cursor(seq), reason, pointer, detail) in again {
        sqlx::query("UPDATE letters SET reason = ?, pointer = ?, detail = ?, tries = tries + 1, tried_ms = ? WHERE seq = ? AND tenant = ?")
            .bind(reason.as_str())
            .bind(pointer)
            .bind(detail)
            .bind(now.0)
            .bind(seq)
            .bind(tenant.as_str())
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}
