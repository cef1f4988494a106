//! The tokens that were revoked before their time, by tenant and `jti`, as the store last told them and as they were told since. Reads no store.

use std::collections::HashMap;

use crate::model::id::TenantId;

/// Bounded as the store bounds it.
#[derive(Debug, Default)]
pub(super) struct Revoked {
    /// Each with the generation that it came in.
    of_tenant: HashMap<TenantId, HashMap<Box<str>, u64>>,
    /// Grows with each reading of the store, so that one is known to know nothing of what came after it began.
    generation: u64,
}

impl Revoked {
    pub(super) fn holds(&self, tenant: TenantId, jti: &str) -> bool {
        self.of_tenant.get(&tenant).is_some_and(|revoked| revoked.contains_key(jti))
    }

    /// The store is read from here on: what is to be said with the rows.
    pub(super) fn begin_reading(&mut self) -> u64 {
        self.generation += 1;
        self.generation
    }

    /// One more.
    pub(super) fn add(&mut self, tenant: TenantId, jti: &str) {
        self.of_tenant.entry(tenant).or_default().insert(Box::from(jti), self.generation);
    }

    /// All that the store holds, and what was added since the reading `began`, which the rows may lack.
    pub(super) fn replace(&mut self, rows: Vec<(TenantId, Box<str>)>, began: u64) {
        self.of_tenant.retain(|_, revoked| {
            revoked.retain(|_, generation| *generation >= began);
            !revoked.is_empty()
        });
        for (tenant, jti) in rows {
            // Older than whatever is added from now on, so the next reading judges it.
            self.of_tenant.entry(tenant).or_default().entry(jti).or_insert(began - 1);
        }
    }
}
