//! What happened: one event, valid by construction, and the form in which the log carries it. Never decodes foreign bytes (see `formats/`).

use bytes::Bytes;

use super::id::packed::IdText;
use super::id::{DeliveryId, DriverId, EventId, MAX_ID_BYTES, Offset, PartitionId, TenantId};
use super::position::Position;
use super::status::Status;
use super::tags::Attributes;
use super::time::UnixMs;

/// One fact, authorised to a tenant and validated. Past ingest nothing checks it again.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub id: EventId,
    pub tenant: TenantId,
    /// The driver or tracker that speaks; always present on a `location` and on `driver.duty`.
    pub actor: Option<DriverId>,
    /// The delivery spoken of; always present on `delivery.*`.
    pub delivery: Option<DeliveryId>,
    /// By the sender's clock, as sent.
    pub event_time: UnixMs,
    pub schema_version: u32,
    pub body: Body,
    pub stamp: Stamp,
    /// What the sender said beyond this version's schema: kept, never read.
    pub unknown: Option<Box<Unknown>>,
}

/// What ingest adds; never recomputed afterwards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the record, and no two exclude each other")]
pub struct Stamp {
    /// Orders facts, together with the event id.
    pub effective_time: UnixMs,
    /// The sender's clock ran ahead by more than the tolerance, and `effective_time` is a correction.
    pub skewed: bool,
    /// Older than the dedup window: may reach only outputs that are sets or last-writer-wins.
    pub late: bool,
    /// Its sender gave no time, so it happened when it came: sent again it has another time and is the same event.
    pub undated: bool,
    /// Its id is its actor's own: another actor may give the same one to another event of the same delivery.
    pub of_actor: bool,
}

/// Members of the envelope or payload that this version does not know, in the encoding they came in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unknown {
    /// A JSON object as text; empty when there was none.
    pub json: Bytes,
    /// Protobuf fields as they stood on the wire; empty when there were none.
    pub proto: Bytes,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    Location(Location),
    Created(Box<Created>),
    Assigned {
        driver: DriverId,
    },
    Status(Box<StatusChange>),
    Eta {
        eta: UnixMs,
    },
    Duty {
        on: bool,
    },
    /// A well-formed name that this version does not know: stored, changes no state.
    Other {
        name: Box<str>,
        payload: Bytes,
    },
}

impl Body {
    /// The event's name on the wire.
    pub fn name(&self) -> &str {
        match self {
            Self::Location(_) => "location",
            Self::Created(_) => "delivery.created",
            Self::Assigned { .. } => "delivery.assigned",
            Self::Status(_) => "delivery.status",
            Self::Eta { .. } => "delivery.eta",
            Self::Duty { .. } => "driver.duty",
            Self::Other { name, .. } => name,
        }
    }
}

/// A fix. Absent values were not sent (or sent as "unknown").
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Location {
    pub position: Position,
    pub accuracy_m: Option<f32>,
    pub speed_mps: Option<f32>,
    /// Clockwise from true north, 0.0..360.0.
    pub heading_deg: Option<f32>,
    pub altitude_m: Option<f32>,
    /// 0.0..=1.0.
    pub battery: Option<f32>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Created {
    pub pickup: Option<Position>,
    pub destination: Option<Position>,
    pub promised_by: Option<UnixMs>,
    pub recipient_ref: Option<Box<str>>,
    pub attributes: Attributes,
}

#[derive(Clone, Debug, PartialEq)]
pub struct StatusChange {
    pub status: Status,
    pub reason: Option<Box<str>>,
    pub proof: Option<Proof>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// Lower-case hex, 64 digits.
    pub sha256: Box<str>,
    pub url: Box<str>,
}

/// What orders facts: last writer wins by this key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OrderKey {
    pub effective_time: UnixMs,
    pub event_id: EventId,
}

impl Event {
    pub fn order_key(&self) -> OrderKey {
        OrderKey { effective_time: self.stamp.effective_time, event_id: self.id.clone() }
    }

    /// The partition this event belongs to: by its delivery, else by its driver; `xxh3(tenant, key) % partitions`.
    pub fn partition(&self, partitions: u16) -> PartitionId {
        partition_of(&self.tenant, &self.routing_key(), partitions)
    }

    /// The id that routes and deduplicates this event: the delivery it names, else its driver, else (no entity at all) its own id's scope, "".
    pub fn routing_key(&self) -> IdText<'_> {
        match (&self.delivery, &self.actor) {
            (Some(delivery), _) => delivery.as_str(),
            (None, Some(actor)) => actor.as_str(),
            (None, None) => IdText::EMPTY,
        }
    }

    /// Whose own the id is, where that is not known by the routing key already.
    pub fn id_owner(&self) -> Option<IdText<'_>> {
        self.actor.as_ref().filter(|_actor| self.stamp.of_actor && self.delivery.is_some()).map(DriverId::as_str)
    }
}

/// `xxh3(tenant, key) % partitions`, the two joined by a zero byte, which neither can contain.
pub fn partition_of(tenant: &TenantId, key: &str, partitions: u16) -> PartitionId {
    let (tenant, key) = (tenant.as_str().as_bytes(), key.as_bytes());
    let mut joined = [0; 2 * MAX_ID_BYTES + 1];
    joined[..tenant.len()].copy_from_slice(tenant);
    joined[tenant.len() + 1..][..key.len()].copy_from_slice(key);
    partition_of_joined(&joined[..tenant.len() + 1 + key.len()], partitions)
}

/// `partition_of` for who has the two joined already.
pub fn partition_of_joined(joined: &[u8], partitions: u16) -> PartitionId {
    let index = xxhash_rust::xxh3::xxh3_64(joined) % u64::from(partitions.max(1));
    PartitionId(u16::try_from(index).expect("a remainder of a u16 fits a u16"))
}

/// An event at its place in the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    pub offset: Offset,
    /// When its block was formed; never decreases along the log.
    pub ingest_time: UnixMs,
    pub event: Event,
}
