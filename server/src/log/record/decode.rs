//! Reads a record: whole, as the event it is, or only for what tells a duplicate. Allocates nothing for an ordinary location.

use bytes::Bytes;

use super::field::{BYTES, DecodeError, FIXED32, FIXED64, Reader, VARINT, text};
use super::{LATE, OF_ACTOR, SKEWED, UNDATED};
use crate::model::event::{Body, Created, Event, Location, Proof, Stamp, StatusChange, Unknown};
use crate::model::id::{DeliveryId, DriverId, EventId, InvalidId, MAX_ID_BYTES, TenantId};
use crate::model::position::Position;
use crate::model::tags::Attributes;
use crate::model::time::UnixMs;

/// Reads records one after the other and remembers a few of the tenants it met: a name is looked up among all of the process, behind a lock.
#[derive(Debug, Default)]
pub struct Decoder {
    tenants: [Option<TenantId>; 16],
}

impl Decoder {
    pub fn decode(&mut self, record: &[u8]) -> Result<Event, DecodeError> {
        let stored = Stored::read(record)?;
        let envelope = Envelope::read(stored.event)?;
        let (field, payload) = envelope.payload.ok_or(DecodeError::Missing("payload"))?;
        Ok(Event {
            id: EventId::parse(envelope.id.ok_or(DecodeError::Missing("event_id"))?)?,
            tenant: self.tenant(envelope.tenant.ok_or(DecodeError::Missing("tenant_id"))?)?,
            actor: envelope.actor.map(DriverId::parse).transpose()?,
            delivery: envelope.delivery.map(DeliveryId::parse).transpose()?,
            event_time: envelope.event_time,
            schema_version: envelope.schema_version,
            body: read_body(field, payload, envelope.name)?,
            stamp: stored.stamp,
            unknown: stored.unknown(),
        })
    }

    fn tenant(&mut self, name: &[u8]) -> Result<TenantId, DecodeError> {
        let last = name.last().copied().unwrap_or_default();
        let place = &mut self.tenants[(usize::from(last) ^ name.len()) % 16];
        if let Some(tenant) = place
            && tenant.as_str().as_bytes() == name
        {
            return Ok(*tenant);
        }
        let tenant = TenantId::parse(text(name)?)?;
        *place = Some(tenant);
        Ok(tenant)
    }
}

/// What a record says of itself to whoever looks for duplicates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skimmed<'a> {
    pub tenant: &'a str,
    /// As `Event::routing_key` says.
    pub routing_key: &'a str,
    pub id: &'a str,
    /// As `Event::id_owner` says.
    pub id_owner: Option<&'a str>,
    pub event_time: UnixMs,
    pub undated: bool,
    pub effective_time: UnixMs,
    /// The record without its stamp, as `encode` marked it.
    pub content: &'a [u8],
}

impl<'a> Skimmed<'a> {
    pub fn read(record: &'a [u8]) -> Result<Self, DecodeError> {
        let stored = Stored::read(record)?;
        let envelope = Envelope::read(stored.event)?;
        let skimmed = Self {
            tenant: text(envelope.tenant.ok_or(DecodeError::Missing("tenant_id"))?)?,
            routing_key: envelope.delivery.or(envelope.actor).unwrap_or_default(),
            id: envelope.id.ok_or(DecodeError::Missing("event_id"))?,
            id_owner: envelope.actor.filter(|_actor| stored.stamp.of_actor && envelope.delivery.is_some()),
            event_time: envelope.event_time,
            undated: stored.stamp.undated,
            effective_time: stored.stamp.effective_time,
            content: stored.content,
        };
        let longest = [skimmed.tenant, skimmed.routing_key, skimmed.id, skimmed.id_owner.unwrap_or_default()].map(str::len).into_iter().max();
        if longest > Some(MAX_ID_BYTES) { Err(InvalidId::TooLong.into()) } else { Ok(skimmed) }
    }
}

/// A record's outer fields; the event is bytes still.
struct Stored<'a> {
    stamp: Stamp,
    content: &'a [u8],
    event: &'a [u8],
    unknown_json: Option<&'a [u8]>,
    unknown_proto: Option<&'a [u8]>,
}

impl<'a> Stored<'a> {
    fn read(record: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(record);
        let mut stored = Self { stamp: Stamp::default(), content: record, event: &[], unknown_json: None, unknown_proto: None };
        while let Some((field, wire)) = reader.tag()? {
            match (field, wire) {
                (1, BYTES) => stored.event = reader.bytes()?,
                (2, VARINT) => {
                    stored.stamp.effective_time = UnixMs(reader.int()?);
                    // The stamp ends here, and the content begins.
                    stored.content = reader.rest();
                }
                (3, VARINT) => {
                    let flags = reader.varint()?;
                    let is = |flag: u8| flags & u64::from(flag) != 0;
                    let Stamp { skewed, late, undated, of_actor, .. } = &mut stored.stamp;
                    (*skewed, *late, *undated, *of_actor) = (is(SKEWED), is(LATE), is(UNDATED), is(OF_ACTOR));
                }
                (4, BYTES) => stored.unknown_json = Some(reader.bytes()?),
                (5, BYTES) => stored.unknown_proto = Some(reader.bytes()?),
                _ => reader.skip(wire)?,
            }
        }
        if stored.event.is_empty() { Err(DecodeError::Missing("event")) } else { Ok(stored) }
    }

    fn unknown(&self) -> Option<Box<Unknown>> {
        let kept = |part: Option<&[u8]>| part.map_or_else(Bytes::new, Bytes::copy_from_slice);
        let any = self.unknown_json.is_some() || self.unknown_proto.is_some();
        any.then(|| Box::new(Unknown { json: kept(self.unknown_json), proto: kept(self.unknown_proto) }))
    }
}

/// The fields that all events have, as they stand in the record; those that are mostly known already are not even looked at as texts.
#[derive(Default)]
struct Envelope<'a> {
    id: Option<&'a str>,
    name: &'a [u8],
    schema_version: u32,
    tenant: Option<&'a [u8]>,
    actor: Option<&'a str>,
    delivery: Option<&'a str>,
    event_time: UnixMs,
    /// Its field's number, which says what it is of, and its bytes.
    payload: Option<(u32, &'a [u8])>,
}

impl<'a> Envelope<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let mut envelope = Self::default();
        while let Some((field, wire)) = reader.tag()? {
            match (field, wire) {
                (1, BYTES) => envelope.id = Some(reader.text()?),
                (2, BYTES) => envelope.name = reader.bytes()?,
                (3, VARINT) => envelope.schema_version = u32::try_from(reader.varint()?).unwrap_or(u32::MAX),
                (4, BYTES) => envelope.tenant = Some(reader.bytes()?),
                (5, BYTES) => envelope.actor = Some(reader.text()?),
                (6, BYTES) => envelope.delivery = Some(reader.text()?),
                (7, VARINT) => envelope.event_time = UnixMs(reader.int()?),
                (10..=16, BYTES) => envelope.payload = Some((field, reader.bytes()?)),
                _ => reader.skip(wire)?,
            }
        }
        Ok(envelope)
    }
}

fn read_body(field: u32, bytes: &[u8], name: &[u8]) -> Result<Body, DecodeError> {
    match field {
        10 => read_location(bytes),
        11 => read_created(bytes),
        12 => {
            let driver = first_field(bytes, BYTES)?.map_or(Ok(""), |mut at| at.text())?;
            Ok(Body::Assigned { driver: DriverId::parse(driver)? })
        }
        13 => read_status(bytes),
        14 => Ok(Body::Eta { eta: UnixMs(first_field(bytes, VARINT)?.map_or(Ok(0), |mut at| at.int())?) }),
        15 => Ok(Body::Duty { on: first_field(bytes, VARINT)?.map_or(Ok(0), |mut at| at.varint())? != 0 }),
        _ => Ok(Body::Other { name: Box::from(text(name)?), payload: Bytes::copy_from_slice(bytes) }),
    }
}

/// A reader that stands at the value of field 1.
fn first_field(bytes: &[u8], wanted: u32) -> Result<Option<Reader<'_>>, DecodeError> {
    let mut reader = Reader::new(bytes);
    while let Some((field, wire)) = reader.tag()? {
        if (field, wire) == (1, wanted) {
            return Ok(Some(reader));
        }
        reader.skip(wire)?;
    }
    Ok(None)
}

fn read_location(bytes: &[u8]) -> Result<Body, DecodeError> {
    let mut reader = Reader::new(bytes);
    let (mut lat, mut lng) = (0.0, 0.0);
    let mut values = [None; 5];
    while let Some((field, wire)) = reader.tag()? {
        match (field, wire) {
            (1, FIXED64) => lat = reader.double()?,
            (2, FIXED64) => lng = reader.double()?,
            (3..=7, FIXED32) => values[(field - 3) as usize] = Some(f32::from_le_bytes(reader.array()?)),
            _ => reader.skip(wire)?,
        }
    }
    let [accuracy_m, speed_mps, heading_deg, altitude_m, battery] = values;
    Ok(Body::Location(Location { position: position(lat, lng), accuracy_m, speed_mps, heading_deg, altitude_m, battery }))
}

fn read_position(bytes: &[u8]) -> Result<Position, DecodeError> {
    let mut reader = Reader::new(bytes);
    let (mut lat, mut lng) = (0.0, 0.0);
    while let Some((field, wire)) = reader.tag()? {
        match (field, wire) {
            (1, FIXED64) => lat = reader.double()?,
            (2, FIXED64) => lng = reader.double()?,
            _ => reader.skip(wire)?,
        }
    }
    Ok(position(lat, lng))
}

/// Not `from_degrees`: a position that ingest accepted may round to 0,0, and must come back all the same.
#[expect(clippy::cast_possible_truncation, reason = "a float-to-int cast saturates, and what we wrote is in range")]
pub(super) fn position(lat: f64, lng: f64) -> Position {
    Position::from_e7((lat * 1e7).round() as i32, (lng * 1e7).round() as i32)
}

fn read_created(bytes: &[u8]) -> Result<Body, DecodeError> {
    let mut reader = Reader::new(bytes);
    let (mut created, mut attributes) = (Created::default(), Vec::new());
    while let Some((field, wire)) = reader.tag()? {
        match (field, wire) {
            (1, BYTES) => created.pickup = Some(read_position(reader.bytes()?)?),
            (2, BYTES) => created.destination = Some(read_position(reader.bytes()?)?),
            (3, VARINT) => created.promised_by = Some(UnixMs(reader.int()?)),
            (4, BYTES) => created.recipient_ref = Some(Box::from(reader.text()?)),
            (5, BYTES) => attributes.push(read_pair(reader.bytes()?)?),
            _ => reader.skip(wire)?,
        }
    }
    created.attributes = Attributes::new(attributes);
    Ok(Body::Created(Box::new(created)))
}

fn read_status(bytes: &[u8]) -> Result<Body, DecodeError> {
    let mut reader = Reader::new(bytes);
    let (mut status, mut reason, mut proof) = (None, None, None);
    while let Some((field, wire)) = reader.tag()? {
        match (field, wire) {
            (1, BYTES) => status = reader.text()?.parse().ok(),
            (2, BYTES) => reason = Some(Box::from(reader.text()?)),
            (3, BYTES) => {
                let (sha256, url) = read_pair(reader.bytes()?)?;
                proof = Some(Proof { sha256, url });
            }
            _ => reader.skip(wire)?,
        }
    }
    Ok(Body::Status(Box::new(StatusChange { status: status.ok_or(DecodeError::Status)?, reason, proof })))
}

/// A message of two texts: an attribute, a proof.
fn read_pair(bytes: &[u8]) -> Result<(Box<str>, Box<str>), DecodeError> {
    let mut reader = Reader::new(bytes);
    let (mut first, mut second) = ("", "");
    while let Some((field, wire)) = reader.tag()? {
        match (field, wire) {
            (1, BYTES) => first = reader.text()?,
            (2, BYTES) => second = reader.text()?,
            _ => reader.skip(wire)?,
        }
    }
    Ok((Box::from(first), Box::from(second)))
}
