//! A request's body, read item by item in the encoding it came in. Asks nobody whether it may come in.

use crate::formats::json::items::{self, Item};
use crate::formats::{json, protobuf};
use crate::ingest::admission::{Admission, Arrival};
use crate::ingest::{Ingest, MediaType, Refused};
use crate::log::EventLog;
use crate::model::id::TenantId;
use crate::model::scope::Scope;
use crate::model::time::UnixMs;

impl<L: EventLog> Ingest<L> {
    /// Also says whether the body is one event alone.
    pub(super) fn decode(&self, tenant: TenantId, scope: Scope, media: MediaType, body: &[u8]) -> Result<(Admission<'_>, bool), Refused> {
        match media {
            MediaType::Protobuf => Ok((self.read_protobuf(tenant, scope, body)?, false)),
            MediaType::Json | MediaType::NdJson => self.read_json(tenant, scope, media, body),
        }
    }

    fn read_protobuf(&self, tenant: TenantId, scope: Scope, body: &[u8]) -> Result<Admission<'_>, Refused> {
        let items = protobuf::split(body, self.books.limits.max_events).map_err(Refused::Malformed)?;
        self.check_count(items.count)?;
        let mut admission = self.admission(tenant, scope, items.events.len(), items.sent_at);
        for item in items.events {
            admission.add(protobuf::decode(item, &tenant), || protobuf::claimed_id(item));
        }
        Ok(admission)
    }

    fn read_json(&self, tenant: TenantId, scope: Scope, media: MediaType, body: &[u8]) -> Result<(Admission<'_>, bool), Refused> {
        /// Of a usual event, about: how many there are is not known beforehand.
        const EVENT_BYTES: usize = 200;
        let mut items = if media == MediaType::NdJson { items::open_lines(body) } else { items::open(body).map_err(Refused::Malformed)? };
        let (single, max) = (items.is_single(), self.books.limits.max_events);
        let mut admission = self.admission(tenant, scope, (body.len() / EVENT_BYTES + 1).min(max), items.sent_at);
        let mut found = 0;
        // Those beyond the limit are counted and not read.
        while let Some(item) = items.next(|text| if found < max { json::decode_first(text, &tenant) } else { None }).map_err(Refused::Malformed)? {
            found += 1;
            match item {
                _ if found > max => {}
                Item::Read(event) => admission.add(Ok(event), String::new),
                Item::Cut(item) => admission.add(json::decode(item, &tenant), || json::claimed_id(item)),
            }
        }
        self.check_count(found)?;
        Ok((admission, single))
    }

    pub(super) fn admission(&self, tenant: TenantId, scope: Scope, events: usize, sent_at: Option<UnixMs>) -> Admission<'_> {
        let (partitions, now) = (self.log.partitions(), self.clock.now());
        let arrival = Arrival { partitions, sent_at, now, pressure: self.valve.pressure(), valve: &self.valve, salt: self.books.salt(tenant) };
        Admission::new(scope, events, arrival)
    }

    pub(super) fn check_count(&self, found: usize) -> Result<(), Refused> {
        let max = self.books.limits.max_events;
        if found > max { Err(Refused::TooMany { found, max }) } else { Ok(()) }
    }
}
