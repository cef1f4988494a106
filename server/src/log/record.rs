//! One event's bytes on disk: the Protobuf wire form of `StoredEvent`, written and read by hand for speed. Never validates what ingest proved.
//! Order: flags (always two bytes, so that the appender sets `late` in place), effective time, then the content. Only this file, which writes it,
//! and `record/decode.rs`, which reads it, know it.

pub mod decode;
pub mod field;

use crate::model::event::{Body, Created, Event, Location, Stamp, StatusChange};
use crate::model::position::Position;
use field::{FIXED32, FIXED64, VARINT, put_bytes, put_int, put_message, tag_byte};

/// Where the flags' value stands in a record.
pub(crate) const FLAGS_AT: usize = 1;
/// The sender's clock ran ahead and was corrected.
pub(crate) const SKEWED: u8 = 1;
/// Older than the dedup window.
pub(crate) const LATE: u8 = 2;
/// Its time is that of its arrival, and no part of what makes a duplicate the same event.
const UNDATED: u8 = 4;
/// Its id is its actor's own.
const OF_ACTOR: u8 = 8;

/// Appends the record of `event` to `out` and returns where its content (all but the stamp) starts.
pub fn encode(event: &Event, out: &mut Vec<u8>) -> usize {
    let Stamp { effective_time, skewed, late, undated, of_actor } = event.stamp;
    let flag = |is: bool, flag: u8| if is { flag } else { 0 };
    let flags = flag(skewed, SKEWED) | flag(late, LATE) | flag(undated, UNDATED) | flag(of_actor, OF_ACTOR);
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
    for (name, value) in created.attributes.iter() {
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

#[cfg(test)]
mod tests {
    use proptest::option::of;
    use proptest::prelude::{Just, Strategy, any, prop_oneof};
    use proptest::{collection, prop_assert_eq, proptest};
    use prost::Message;

    use super::decode::{Decoder, Skimmed, position};
    use super::*;
    use crate::model::event::{Proof, Unknown};
    use crate::model::id::packed::IdText;
    use crate::model::id::{DeliveryId, DriverId, EventId, TenantId};
    use crate::model::status::Status;
    use crate::model::tags::Attributes;
    use crate::model::time::UnixMs;
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
        let created = (of(position_strategy()), of(position_strategy()), of(any::<i64>()), of(text()), attributes.prop_map(Attributes::new))
            .prop_map(|(pickup, destination, promised_by, recipient_ref, attributes)| {
                Body::Created(Box::new(Created { pickup, destination, promised_by: promised_by.map(UnixMs), recipient_ref, attributes }))
            });
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
        let stamp = any::<(i64, bool, bool, bool, bool)>().prop_map(|(time, skewed, late, undated, of_actor)| Stamp {
            effective_time: UnixMs(time),
            skewed,
            late,
            undated,
            of_actor,
        });
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
                    && c.attributes.iter().len() == w.attributes.len()
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
            && event.actor.as_ref().map_or(IdText::EMPTY, |id| id.as_str()) == sent.actor_id
            && event.delivery.as_ref().map_or(IdText::EMPTY, |id| id.as_str()) == sent.entity_id
            && (event.event_time.0, event.stamp.effective_time.0) == (sent.event_time_ms, stored.effective_time_ms)
            && stored.flags
                == u32::from(event.stamp.skewed)
                    | u32::from(event.stamp.late) << 1
                    | u32::from(event.stamp.undated) << 2
                    | u32::from(event.stamp.of_actor) << 3
            && (json, proto) == (stored.unknown_json.clone(), stored.unknown_proto.clone())
    }

    proptest! {
        #[test]
        fn a_record_comes_back_as_the_event_and_prost_reads_the_same(event in event()) {
            let mut bytes = vec![0xAA];
            let content_start = encode(&event, &mut bytes);
            let record = &bytes[1..];
            prop_assert_eq!(&Decoder::default().decode(record).expect("decodes"), &event);
            let (id, routing_key, id_owner) = (event.id.to_string(), event.routing_key(), event.id_owner());
            let skimmed = Skimmed {
                tenant: event.tenant.as_str(),
                routing_key: &routing_key,
                id: &id,
                id_owner: id_owner.as_deref(),
                undated: event.stamp.undated,
                event_time: event.event_time,
                effective_time: event.stamp.effective_time,
                content: &bytes[content_start..],
            };
            prop_assert_eq!(Skimmed::read(record).expect("is skimmed"), skimmed);
            let stored = wire::StoredEvent::decode(record).expect("prost decodes");
            assert!(agrees(&event, &stored), "{event:?} is not {stored:?}");
        }

        #[test]
        fn late_can_be_set_in_place(event in event()) {
            let mut bytes = Vec::new();
            encode(&event, &mut bytes);
            bytes[FLAGS_AT] |= LATE;
            let late = Event { stamp: Stamp { late: true, ..event.stamp }, ..event };
            prop_assert_eq!(Decoder::default().decode(&bytes).expect("decodes"), late);
        }

        #[test]
        fn a_cut_or_random_record_never_panics(event in event(), cut in any::<usize>(), noise in collection::vec(any::<u8>(), 0..64)) {
            let mut bytes = Vec::new();
            encode(&event, &mut bytes);
            bytes.truncate(cut % bytes.len());
            assert!(Decoder::default().decode(&bytes).is_err() || event.unknown.is_some());
            drop(Skimmed::read(&bytes));
            drop(Decoder::default().decode(&noise));
            drop(Skimmed::read(&noise));
        }
    }
}
