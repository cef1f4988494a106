//! One event's bytes on disk: the Protobuf wire form of `StoredEvent`, written and read by hand for speed. Never validates what ingest proved.
//! Order: flags (always two bytes, so that the appender sets `late` in place), effective time, then the content. The only code that knows it.

pub mod field;

use bytes::Bytes;

use crate::model::event::{Body, Created, Event, Location, Proof, Stamp, StatusChange, Unknown};
use crate::model::id::{DeliveryId, DriverId, EventId, TenantId};
use crate::model::position::Position;
use crate::model::time::UnixMs;
use field::{BYTES, DecodeError, FIXED32, FIXED64, Reader, VARINT, put_bytes, put_int, put_message, tag_byte};

/// Where the flags' value stands in a record.
pub(crate) const FLAGS_AT: usize = 1;
/// The sender's clock ran ahead and was corrected.
const SKEWED: u8 = 1;
/// Older than the dedup window.
pub(crate) const LATE: u8 = 2;

/// Appends the record of `event` to `out` and returns where its content (all but the stamp) starts.
pub fn encode(event: &Event, out: &mut Vec<u8>) -> usize {
    let Stamp { effective_time, skewed, late } = event.stamp;
    let flags = if skewed { SKEWED } else { 0 } | if late { LATE } else { 0 };
    out.extend_from_slice(&[tag_byte(3, VARINT), flags]);
    put_int(out, 2, effective_time.0);
    let content_start = out.len();
    put_message(out, 1, |out| put_event(out, event));
    if let Some(unknown) = &event.unknown {
        put_bytes(out, 4, &unknown.json);
        put_bytes(out, 5, &unknown.proto);
    }
    content_start
}

/// Reads one record.
pub fn decode(record: &[u8]) -> Result<Event, DecodeError> {
    decode_after(record, None)
}

/// Reads one record; when its tenant is `previous`, shares that text instead of allocating it again.
pub fn decode_after(record: &[u8], previous: Option<&TenantId>) -> Result<Event, DecodeError> {
    let mut reader = Reader::new(record);
    let mut stamp = Stamp::default();
    let mut event = None;
    let mut unknown: Option<Box<Unknown>> = None;
    while let Some((field, wire)) = reader.tag()? {
        match (field, wire) {
            (1, BYTES) => event = Some(read_event(reader.bytes()?, previous)?),
            (2, VARINT) => stamp.effective_time = UnixMs(reader.int()?),
            (3, VARINT) => {
                let flags = reader.varint()?;
                stamp.skewed = flags & u64::from(SKEWED) != 0;
                stamp.late = flags & u64::from(LATE) != 0;
            }
            (4, BYTES) => unknown.get_or_insert_default().json = Bytes::copy_from_slice(reader.bytes()?),
            (5, BYTES) => unknown.get_or_insert_default().proto = Bytes::copy_from_slice(reader.bytes()?),
            _ => reader.skip(wire)?,
        }
    }
    let event = event.ok_or(DecodeError::Missing("event"))?;
    Ok(Event { stamp, unknown, ..event })
}

/// The content of a record, as `encode` marked it: all that follows the stamp.
pub fn content(record: &[u8]) -> Result<&[u8], DecodeError> {
    let mut reader = Reader::new(record);
    for _ in ["flags", "effective time"] {
        match reader.tag()? {
            Some((2 | 3, VARINT)) => reader.skip(VARINT)?,
            _ => return Err(DecodeError::Missing("stamp")),
        }
    }
    Ok(reader.rest())
}

fn put_event(out: &mut Vec<u8>, event: &Event) {
    event.id.with_str(|id| put_bytes(out, 1, id.as_bytes()));
    put_bytes(out, 2, event.body.name().as_bytes());
    put_int(out, 3, i64::from(event.schema_version));
    put_bytes(out, 4, event.tenant.as_str().as_bytes());
    if let Some(actor) = &event.actor {
        put_bytes(out, 5, actor.as_str().as_bytes());
    }
    if let Some(delivery) = &event.delivery {
        put_bytes(out, 6, delivery.as_str().as_bytes());
    }
    put_int(out, 7, event.event_time.0);
    match &event.body {
        Body::Location(location) => put_message(out, 10, |out| put_location(out, location)),
        Body::Created(created) => put_message(out, 11, |out| put_created(out, created)),
        Body::Assigned { driver } => put_message(out, 12, |out| put_bytes(out, 1, driver.as_str().as_bytes())),
        Body::Status(change) => put_message(out, 13, |out| put_status(out, change)),
        Body::Eta { eta } => put_message(out, 14, |out| put_int(out, 1, eta.0)),
        Body::Duty { on } => put_message(out, 15, |out| put_int(out, 1, i64::from(*on))),
        Body::Other { payload, .. } => put_bytes(out, 16, payload),
    }
}

fn put_location(out: &mut Vec<u8>, location: &Location) {
    put_position(out, location.position);
    let values = [location.accuracy_m, location.speed_mps, location.heading_deg, location.altitude_m, location.battery];
    for (field, value) in (3..).zip(values) {
        if let Some(value) = value {
            out.push(tag_byte(field, FIXED32));
            out.extend_from_slice(&value.to_le_bytes());
        }
    }
}

fn put_position(out: &mut Vec<u8>, position: Position) {
    for (field, degrees) in [(1, position.lat()), (2, position.lng())] {
        out.push(tag_byte(field, FIXED64));
        out.extend_from_slice(&degrees.to_le_bytes());
    }
}

fn put_created(out: &mut Vec<u8>, created: &Created) {
    for (field, position) in [(1, created.pickup), (2, created.destination)] {
        if let Some(position) = position {
            put_message(out, field, |out| put_position(out, position));
        }
    }
    if let Some(promised_by) = created.promised_by {
        put_int(out, 3, promised_by.0);
    }
    if let Some(recipient_ref) = &created.recipient_ref {
        put_bytes(out, 4, recipient_ref.as_bytes());
    }
    for (name, value) in &created.attributes {
        put_message(out, 5, |out| {
            put_bytes(out, 1, name.as_bytes());
            put_bytes(out, 2, value.as_bytes());
        });
    }
}

fn put_status(out: &mut Vec<u8>, change: &StatusChange) {
    put_bytes(out, 1, change.status.as_str().as_bytes());
    if let Some(reason) = &change.reason {
        put_bytes(out, 2, reason.as_bytes());
    }
    if let Some(proof) = &change.proof {
        put_message(out, 3, |out| {
            put_bytes(out, 1, proof.sha256.as_bytes());
            put_bytes(out, 2, proof.url.as_bytes());
        });
    }
}

fn read_event(bytes: &[u8], previous: Option<&TenantId>) -> Result<Event, DecodeError> {
    let mut reader = Reader::new(bytes);
    let (mut id, mut name, mut tenant, mut actor, mut delivery, mut body) = (None, "", None, None, None, None);
    let (mut event_time, mut schema_version) = (0, 0);
    while let Some((field, wire)) = reader.tag()? {
        match (field, wire) {
            (1, BYTES) => id = Some(EventId::parse(reader.text()?)?),
            (2, BYTES) => name = reader.text()?,
            (3, VARINT) => schema_version = u32::try_from(reader.varint()?).unwrap_or(u32::MAX),
            (4, BYTES) => tenant = Some(read_tenant(reader.text()?, previous)?),
            (5, BYTES) => actor = Some(DriverId::parse(reader.text()?)?),
            (6, BYTES) => delivery = Some(DeliveryId::parse(reader.text()?)?),
            (7, VARINT) => event_time = reader.int()?,
            (10..=15, BYTES) => body = Some(read_body(field, reader.bytes()?)?),
            (16, BYTES) => body = Some(Body::Other { name: Box::from(""), payload: Bytes::copy_from_slice(reader.bytes()?) }),
            _ => reader.skip(wire)?,
        }
    }
    let mut body = body.ok_or(DecodeError::Missing("payload"))?;
    if let Body::Other { name: kept, .. } = &mut body {
        *kept = Box::from(name);
    }
    Ok(Event {
        id: id.ok_or(DecodeError::Missing("event_id"))?,
        tenant: tenant.ok_or(DecodeError::Missing("tenant_id"))?,
        actor,
        delivery,
        event_time: UnixMs(event_time),
        schema_version,
        body,
        stamp: Stamp::default(),
        unknown: None,
    })
}

fn read_tenant(text: &str, previous: Option<&TenantId>) -> Result<TenantId, DecodeError> {
    match previous {
        Some(tenant) if tenant.as_str() == text => Ok(*tenant),
        _ => Ok(TenantId::parse(text)?),
    }
}

fn read_body(field: u32, bytes: &[u8]) -> Result<Body, DecodeError> {
    match field {
        10 => read_location(bytes),
        11 => read_created(bytes),
        12 => {
            let driver = first_field(bytes, BYTES)?.map_or(Ok(""), |mut at| at.text())?;
            Ok(Body::Assigned { driver: DriverId::parse(driver)? })
        }
        13 => read_status(bytes),
        14 => Ok(Body::Eta { eta: UnixMs(first_field(bytes, VARINT)?.map_or(Ok(0), |mut at| at.int())?) }),
        _ => Ok(Body::Duty { on: first_field(bytes, VARINT)?.map_or(Ok(0), |mut at| at.varint())? != 0 }),
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
fn position(lat: f64, lng: f64) -> Position {
    Position::from_e7((lat * 1e7).round() as i32, (lng * 1e7).round() as i32)
}

fn read_created(bytes: &[u8]) -> Result<Body, DecodeError> {
    let mut reader = Reader::new(bytes);
    let mut created = Created::default();
    while let Some((field, wire)) = reader.tag()? {
        match (field, wire) {
            (1, BYTES) => created.pickup = Some(read_position(reader.bytes()?)?),
            (2, BYTES) => created.destination = Some(read_position(reader.bytes()?)?),
            (3, VARINT) => created.promised_by = Some(UnixMs(reader.int()?)),
            (4, BYTES) => created.recipient_ref = Some(Box::from(reader.text()?)),
            (5, BYTES) => created.attributes.push(read_pair(reader.bytes()?)?),
            _ => reader.skip(wire)?,
        }
    }
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

#[cfg(test)]
mod tests {
    use proptest::option::of;
    use proptest::prelude::{Just, Strategy, any, prop_oneof};
    use proptest::{collection, prop_assert_eq, proptest};
    use prost::Message;

    use super::*;
    use crate::model::status::Status;
    use crate::wire;

    fn position_strategy() -> impl Strategy<Value = Position> {
        (-900_000_000..=900_000_000, -1_800_000_000..1_800_000_000).prop_map(|(lat, lng)| Position::from_e7(lat, lng))
    }

    fn text() -> impl Strategy<Value = Box<str>> {
        "[a-zåß☃]{0,70}".prop_map(Box::from)
    }

    fn body() -> impl Strategy<Value = Body> {
        let value = || of(-1000.0_f32..1000.0);
        let location = (position_strategy(), value(), value(), value(), value(), value()).prop_map(
            |(position, accuracy_m, speed_mps, heading_deg, altitude_m, battery)| {
                Body::Location(Location { position, accuracy_m, speed_mps, heading_deg, altitude_m, battery })
            },
        );
        let attributes = collection::btree_map(text(), text(), 0..4).prop_map(|map| map.into_iter().collect::<Vec<_>>());
        let created = (of(position_strategy()), of(position_strategy()), of(any::<i64>()), of(text()), attributes).prop_map(
            |(pickup, destination, promised_by, recipient_ref, attributes)| {
                Body::Created(Box::new(Created { pickup, destination, promised_by: promised_by.map(UnixMs), recipient_ref, attributes }))
            },
        );
        let status = (0..12_usize, of(text()), of((text(), text()))).prop_map(|(status, reason, proof)| {
            let proof = proof.map(|(sha256, url)| Proof { sha256, url });
            Body::Status(Box::new(StatusChange { status: Status::ALL[status], reason, proof }))
        });
        prop_oneof![
            location,
            created,
            Just(Body::Assigned { driver: DriverId::parse("driver-2").expect("valid") }),
            status,
            any::<i64>().prop_map(|eta| Body::Eta { eta: UnixMs(eta) }),
            any::<bool>().prop_map(|on| Body::Duty { on }),
            collection::vec(any::<u8>(), 0..300).prop_map(|payload| Body::Other { name: Box::from("van.door"), payload: payload.into() }),
        ]
    }

    fn event() -> impl Strategy<Value = Event> {
        let id = prop_oneof![Just("0192f0c1-2345-7abc-8def-0123456789ab".to_owned()), "[ -~]{1,64}"];
        let unknown = of((collection::vec(any::<u8>(), 0..200), collection::vec(any::<u8>(), 0..9)))
            .prop_map(|parts| parts.map(|(json, proto)| Box::new(Unknown { json: json.into(), proto: proto.into() })));
        let stamp =
            (any::<i64>(), any::<bool>(), any::<bool>()).prop_map(|(time, skewed, late)| Stamp { effective_time: UnixMs(time), skewed, late });
        (id, "[a-z]{1,64}", of("[a-z0-9-]{1,64}"), of("[a-z0-9-]{1,64}"), any::<i64>(), any::<u32>(), body(), stamp, unknown).prop_map(
            |(id, tenant, actor, delivery, event_time, schema_version, body, stamp, unknown)| Event {
                id: EventId::parse(&id).expect("valid"),
                tenant: TenantId::parse(&tenant).expect("valid"),
                actor: actor.map(|id| DriverId::parse(&id).expect("valid")),
                delivery: delivery.map(|id| DeliveryId::parse(&id).expect("valid")),
                event_time: UnixMs(event_time),
                schema_version,
                body,
                stamp,
                unknown,
            },
        )
    }

    fn agrees(event: &Event, stored: &wire::StoredEvent) -> bool {
        use wire::event::Payload;
        let sent = stored.event.as_ref().expect("an event");
        let at = |p: &Option<wire::Point>| p.map(|p| position(p.lat, p.lng));
        let payload = match (&event.body, sent.payload.as_ref().expect("a payload")) {
            (Body::Location(l), Payload::Location(w)) => {
                l.position == position(w.lat, w.lng)
                    && (l.accuracy_m, l.speed_mps, l.heading_deg, l.altitude_m, l.battery)
                        == (w.accuracy_m, w.speed_mps, w.heading_deg, w.altitude_m, w.battery)
            }
            (Body::Created(c), Payload::Created(w)) => {
                (c.pickup, c.destination, c.promised_by.map(|t| t.0)) == (at(&w.pickup), at(&w.destination), w.promised_by_ms)
                    && c.recipient_ref.as_deref().unwrap_or("") == w.recipient_ref
                    && c.attributes.len() == w.attributes.len()
                    && c.attributes.iter().all(|(name, value)| w.attributes.get(&**name).is_some_and(|v| **v == **value))
            }
            (Body::Assigned { driver }, Payload::Assigned(w)) => driver.as_str() == w.driver_id,
            (Body::Status(s), Payload::Status(w)) => {
                s.status.as_str() == w.status
                    && s.reason.as_deref().unwrap_or("") == w.reason
                    && s.proof.as_ref().map(|p| (&*p.sha256, &*p.url)) == w.proof.as_ref().map(|p| (&*p.sha256, &*p.url))
            }
            (Body::Eta { eta }, Payload::Eta(w)) => eta.0 == w.eta_ms,
            (Body::Duty { on }, Payload::Duty(w)) => *on == w.on,
            (Body::Other { payload, .. }, Payload::Other(w)) => payload == w,
            _ => false,
        };
        let (json, proto) = event.unknown.as_ref().map(|u| (u.json.to_vec(), u.proto.to_vec())).unwrap_or_default();
        payload
            && (event.id.to_string(), event.body.name(), event.schema_version) == (sent.event_id.clone(), &*sent.event_name, sent.schema_version)
            && event.tenant.as_str() == sent.tenant_id
            && event.actor.as_ref().map_or("", |id| id.as_str()) == sent.actor_id
            && event.delivery.as_ref().map_or("", |id| id.as_str()) == sent.entity_id
            && (event.event_time.0, event.stamp.effective_time.0) == (sent.event_time_ms, stored.effective_time_ms)
            && stored.flags == u32::from(event.stamp.skewed) | u32::from(event.stamp.late) << 1
            && (json, proto) == (stored.unknown_json.clone(), stored.unknown_proto.clone())
    }

    proptest! {
        #[test]
        fn a_record_comes_back_as_the_event_and_prost_reads_the_same(event in event()) {
            let mut bytes = vec![0xAA];
            let content_start = encode(&event, &mut bytes);
            let record = &bytes[1..];
            prop_assert_eq!(&decode_after(record, Some(&event.tenant)).expect("decodes"), &event);
            prop_assert_eq!(content(record).expect("has a stamp"), &bytes[content_start..]);
            let stored = wire::StoredEvent::decode(record).expect("prost decodes");
            assert!(agrees(&event, &stored), "{event:?} is not {stored:?}");
        }

        #[test]
        fn late_can_be_set_in_place(event in event()) {
            let mut bytes = Vec::new();
            encode(&event, &mut bytes);
            bytes[FLAGS_AT] |= LATE;
            let late = Event { stamp: Stamp { late: true, ..event.stamp }, ..event };
            prop_assert_eq!(decode(&bytes).expect("decodes"), late);
        }

        #[test]
        fn a_cut_or_random_record_never_panics(event in event(), cut in any::<usize>(), noise in collection::vec(any::<u8>(), 0..64)) {
            let mut bytes = Vec::new();
            encode(&event, &mut bytes);
            bytes.truncate(cut % bytes.len());
            assert!(decode(&bytes).is_err() || event.unknown.is_some());
            drop(decode(&noise));
        }
    }
}
