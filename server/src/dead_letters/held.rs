//! How much each tenant holds: in memory for the writer, and in the table, where it changes with the letters. Never looks at a letter.

use std::collections::HashMap;

use metrics::gauge;
use sqlx::SqliteConnection;

use super::DeadLettersError;
use crate::model::id::TenantId;

/// Bounded by the tenants that have a key.
#[derive(Debug, Default)]
pub(super) struct Held(HashMap<TenantId, Share>);

/// What one tenant holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Share {
    letters: u64,
    bytes: u64,
    /// Not yet in the table.
    changed: bool,
}

impl Held {
    pub(super) async fn load(connection: &mut SqliteConnection) -> Result<Self, DeadLettersError> {
        let rows: Vec<(String, i64, i64)> = sqlx::query_as("SELECT tenant, letters, bytes FROM held").fetch_all(connection).await?;
        let share = |(tenant, letters, bytes): (String, i64, i64)| {
            let tenant = TenantId::parse(&tenant).map_err(|_invalid| DeadLettersError::BadRow("tenant"))?;
            Ok((tenant, Share { letters: letters.cast_unsigned(), bytes: bytes.cast_unsigned(), changed: false }))
        };
        Ok(Self(rows.into_iter().map(share).collect::<Result<_, DeadLettersError>>()?))
    }

    /// Writes down what has changed.
    pub(super) async fn save(&mut self, connection: &mut SqliteConnection) -> Result<(), DeadLettersError> {
        for (tenant, share) in self.0.iter_mut().filter(|(_, share)| share.changed) {
            share.changed = false;
            sqlx::query("INSERT INTO held (tenant, letters, bytes) VALUES (?1, ?2, ?3) ON CONFLICT (tenant) DO UPDATE SET letters = ?2, bytes = ?3")
                .bind(tenant.as_str())
                .bind(share.letters.cast_signed())
                .bind(share.bytes.cast_signed())
                .execute(&mut *connection)
                .await?;
        }
        Ok(())
    }

    pub(super) fn add(&mut self, tenant: TenantId, bytes: u64) {
        let share = self.0.entry(tenant).or_default();
        *share = Share { letters: share.letters + 1, bytes: share.bytes + bytes, changed: true };
    }

    pub(super) fn take(&mut self, tenant: TenantId, letters: u64, bytes: u64) {
        let share = self.0.entry(tenant).or_default();
        *share = Share { letters: share.letters.saturating_sub(letters), bytes: share.bytes.saturating_sub(bytes), changed: true };
    }

    pub(super) fn bytes(&self) -> u64 {
        self.0.values().map(|share| share.bytes).sum()
    }

    /// Who holds the most.
    pub(super) fn largest(&self) -> Option<TenantId> {
        self.0.iter().filter(|(_, share)| share.letters > 0).max_by_key(|(tenant, share)| (share.bytes, tenant.as_str())).map(|(tenant, _)| *tenant)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.values().all(|share| share.letters == 0)
    }

    #[expect(clippy::cast_precision_loss, reason = "a gauge is read by people; 2^53 is far away")]
    pub(super) fn tell(&self) {
        gauge!("waypost_dead_letters").set(self.0.values().map(|share| share.letters).sum::<u64>() as f64);
        gauge!("waypost_dead_letters_bytes").set(self.bytes() as f64);
    }
}
