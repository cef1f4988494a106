//! What is asked of the table of letters, and how a row becomes a letter. Changes nothing; the writer does.

use futures_util::TryStreamExt as _;
use sqlx::sqlite::{SqlitePool, SqliteRow};
use sqlx::{QueryBuilder, Row as _, Sqlite};

use super::filter::{Cursor, Filter};
use super::letter::{About, LetterId, Place, Protocol, Reason, Scope};
use super::{DeadLettersError, Kept, Page, Parked};
use crate::formats::claims::Claims;
use crate::formats::postmark::Postmark;
use crate::formats::scope::ScopeWords;
use crate::model::id::{Offset, PartitionId, TenantId};
use crate::model::scope::Scope as Authority;
use crate::model::time::UnixMs;

const ABOUT: &str = "seq, id, reason, pointer, detail, protocol, whole_body, schema_version, event_id, actor, authority, received_ms, log_partition, log_offset, \
                     came_bytes, tries, tried_ms, postmark";

/// Questions to the table, each by a connection of the pool.
pub(super) struct Read<'a>(pub(super) &'a SqlitePool);

impl Read<'_> {
    pub(super) async fn page(&self, tenant: TenantId, filter: &Filter, before: Option<Cursor>, limit: usize) -> Result<Page<Kept>, DeadLettersError> {
        let mut query = selection("", tenant, filter);
        if let Some(Cursor(before)) = before {
            query.push(" AND seq < ").push_bind(before);
        }
        // One more than asked for tells whether there is a next page.
        query.push(" ORDER BY seq DESC LIMIT ").push_bind(signed(limit.saturating_add(1)));
        let rows = query.build().fetch_all(self.0).await?;
        let mut letters = rows.iter().map(kept).collect::<Result<Vec<_>, _>>()?;
        let more = letters.len() > limit;
        letters.truncate(limit);
        let next = letters.last().filter(|_| more).map(|last| last.cursor);
        Ok(Page { letters, next })
    }

    pub(super) async fn batch(
        &self,
        tenant: TenantId,
        filter: &Filter,
        after: Option<Cursor>,
        limit: usize,
        bytes: usize,
    ) -> Result<Page<(Kept, Vec<u8>)>, DeadLettersError> {
        let mut query = selection(", raw", tenant, filter);
        if let Some(Cursor(after)) = after {
            query.push(" AND seq > ").push_bind(after);
        }
        query.push(" ORDER BY seq LIMIT ").push_bind(signed(limit.saturating_add(1)));
        let query = query.build();
        // Row by row: how many letters of their size fit is known only as they come.
        let mut rows = query.fetch(self.0);
        let (mut letters, mut taken) = (Vec::<(Kept, Vec<u8>)>::new(), 0);
        while let Some(row) = rows.try_next().await? {
            if letters.len() == limit || taken > bytes {
                let next = letters.last().map(|(last, _)| last.cursor);
                return Ok(Page { letters, next });
            }
            let raw: Vec<u8> = row.try_get("raw")?;
            taken += raw.len();
            letters.push((kept(&row)?, raw));
        }
        Ok(Page { letters, next: None })
    }

    pub(super) async fn get(&self, tenant: TenantId, id: LetterId) -> Result<Option<(Kept, Vec<u8>)>, DeadLettersError> {
        let one = Filter { ids: vec![id], ..Filter::default() };
        let row = selection(", raw", tenant, &one).build().fetch_optional(self.0).await?;
        row.map(|row| Ok((kept(&row)?, row.try_get("raw")?))).transpose()
    }

    /// Of all tenants, the oldest first, and no more after `bytes` of them.
    pub(super) async fn parked(&self, bytes: usize) -> Result<Vec<Parked>, DeadLettersError> {
        let query =
            sqlx::query("SELECT seq, tenant, received_ms, log_partition, log_offset, raw FROM letters WHERE log_partition IS NOT NULL ORDER BY seq");
        let mut rows = query.fetch(self.0);
        let (mut parked, mut taken) = (Vec::new(), 0);
        while let Some(row) = rows.try_next().await? {
            let record: Vec<u8> = row.try_get("raw")?;
            taken += record.len();
            let tenant: String = row.try_get("tenant")?;
            parked.push(Parked {
                tenant: TenantId::parse(&tenant).map_err(|_invalid| DeadLettersError::BadRow("tenant"))?,
                cursor: Cursor(row.try_get("seq")?),
                place: place(&row)?.ok_or(DeadLettersError::BadRow("log_offset"))?,
                ingest_time: UnixMs(row.try_get("received_ms")?),
                record,
            });
            if taken > bytes {
                break;
            }
        }
        Ok(parked)
    }

    pub(super) async fn find(&self, tenant: TenantId, id: LetterId) -> Result<Option<Cursor>, DeadLettersError> {
        let found = sqlx::query_scalar("SELECT seq FROM letters WHERE id = ? AND tenant = ?").bind(id.as_bytes()).bind(tenant.as_str());
        Ok(found.fetch_optional(self.0).await?.map(Cursor))
    }
}

fn selection(raw: &'static str, tenant: TenantId, filter: &Filter) -> QueryBuilder<Sqlite> {
    let mut query = QueryBuilder::new("SELECT ");
    query.push(ABOUT).push(raw).push(" FROM letters WHERE tenant = ").push_bind(tenant.as_str());
    for (column, text) in [(" AND reason = ", &filter.reason), (" AND protocol = ", &filter.protocol), (" AND actor = ", &filter.actor)] {
        if let Some(text) = text {
            query.push(column).push_bind(text);
        }
    }
    for (column, time) in [(" AND received_ms >= ", filter.since), (" AND received_ms < ", filter.until)] {
        if let Some(UnixMs(time)) = time {
            query.push(column).push_bind(time);
        }
    }
    if !filter.ids.is_empty() {
        let mut ids = query.push(" AND id IN (").separated(",");
        for id in &filter.ids {
            ids.push_bind(id.as_bytes());
        }
        ids.push_unseparated(")");
    }
    query
}

fn kept(row: &SqliteRow) -> Result<Kept, DeadLettersError> {
    let text = |name: &str| row.try_get::<String, _>(name);
    let version = row.try_get::<Option<i64>, _>("schema_version")?.map(u32::try_from).transpose();
    let about = About {
        id: LetterId::from_bytes(row.try_get("id")?).ok_or(DeadLettersError::BadRow("id"))?,
        reason: Reason::stored(text("reason")?),
        pointer: text("pointer")?,
        detail: text("detail")?,
        protocol: Protocol::stored(text("protocol")?),
        scope: if row.try_get::<bool, _>("whole_body")? { Scope::Body } else { Scope::Item },
        claims: Claims {
            event_id: text("event_id")?,
            actor: text("actor")?,
            schema_version: version.map_err(|_wide| DeadLettersError::BadRow("schema_version"))?,
        },
        authority: authority(row.try_get("authority")?)?,
        postmark: row.try_get::<Option<&str>, _>("postmark")?.and_then(Postmark::of_text).map(Box::new),
        received: UnixMs(row.try_get("received_ms")?),
        place: place(row)?,
        came_bytes: row.try_get::<i64, _>("came_bytes")?.cast_unsigned(),
        tries: u32::try_from(row.try_get::<i64, _>("tries")?).map_err(|_wide| DeadLettersError::BadRow("tries"))?,
        tried: row.try_get::<Option<i64>, _>("tried_ms")?.map(UnixMs),
    };
    Ok(Kept { cursor: Cursor(row.try_get("seq")?), about })
}

fn authority(words: Option<String>) -> Result<Authority, DeadLettersError> {
    let Some(words) = words else { return Ok(Authority::default()) };
    let bad = || DeadLettersError::BadRow("authority");
    let words: ScopeWords = serde_json::from_str(&words).ok().ok_or_else(bad)?;
    words.read_stored().ok().ok_or_else(bad)
}

fn place(row: &SqliteRow) -> Result<Option<Place>, DeadLettersError> {
    let (partition, offset): (Option<i64>, Option<i64>) = (row.try_get("log_partition")?, row.try_get("log_offset")?);
    let (Some(partition), Some(offset)) = (partition, offset) else { return Ok(None) };
    let partition = PartitionId(partition.try_into().map_err(|_wide| DeadLettersError::BadRow("log_partition"))?);
    Ok(Some(Place { partition, offset: Offset(offset.cast_unsigned()) }))
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
