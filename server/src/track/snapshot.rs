//! A partition's whole state as bytes on disk, versioned and checksummed. The only place that knows their layout; never touches a file.

use thiserror::Error;

use crate::model::id::{Offset, PartitionId, TenantId};
use crate::model::time::UnixMs;
use crate::track::bytes::{
    CodecError, put_length, put_option, put_str, put_time, put_u64, take_array, take_list, take_option, take_str, take_time, take_u64,
};
use crate::track::codec;
use crate::track::roster::{Entity, Limits};
use crate::track::state::PartitionState;

const MAGIC: [u8; 8] = *b"waypostT";
pub const VERSION: u16 = 1;

/// Why bytes are no snapshot that this version can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SnapshotError {
    #[error("is no snapshot of a partition")]
    Foreign,
    #[error("has format version {0}; this program knows up to {VERSION}")]
    Newer(u16),
    #[error("fails its checksum")]
    Checksum,
    #[error("{0}")]
    Content(#[from] CodecError),
}

/// Layout: magic, version, body, CRC-32C of all before it.
pub fn encode(state: &PartitionState) -> Vec<u8> {
    let counts = state.counts();
    let mut out = Vec::with_capacity(64 + (counts.drivers + counts.deliveries) * 192 + counts.tombstones * 24);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    put_u64(&mut out, u64::from(state.partition.0));
    put_option(&mut out, state.applied, |out, offset| put_u64(out, offset.0));
    put_time(&mut out, state.log_time);
    put_u64(&mut out, state.handles);
    put_length(&mut out, state.tenants.iter().len());
    for tenant in state.tenants.iter() {
        put_str(&mut out, tenant.as_str());
    }
    put_length(&mut out, counts.drivers);
    for known in state.known_drivers() {
        codec::put_driver(&mut out, known);
    }
    put_length(&mut out, counts.deliveries);
    for delivery in state.deliveries.iter() {
        codec::put_delivery(&mut out, delivery);
    }
    put_length(&mut out, counts.tombstones);
    for (buried, [high, low]) in state.tombstones.iter() {
        put_time(&mut out, *buried);
        out.extend_from_slice(&high.to_le_bytes());
        out.extend_from_slice(&low.to_le_bytes());
    }
    let crc = crc32c::crc32c(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    out
}

pub fn decode(bytes: &[u8], limits: Limits) -> Result<PartitionState, SnapshotError> {
    let (body, crc) = bytes.split_last_chunk().ok_or(SnapshotError::Foreign)?;
    let mut input = body.strip_prefix(&MAGIC).ok_or(SnapshotError::Foreign)?;
    let version = u16::from_le_bytes(take_array(&mut input)?);
    if crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
        return Err(SnapshotError::Checksum);
    }
    if version != VERSION {
        return Err(SnapshotError::Newer(version));
    }
    let state = decode_body(&mut input, limits)?;
    if input.is_empty() { Ok(state) } else { Err(SnapshotError::Content(CodecError::Invalid)) }
}

fn decode_body(input: &mut &[u8], limits: Limits) -> Result<PartitionState, CodecError> {
    let partition = u16::try_from(take_u64(input)?).ok().ok_or(CodecError::Invalid)?;
    let mut state = PartitionState::new(PartitionId(partition), limits);
    state.applied = take_option(input, take_u64)?.map(Offset);
    state.log_time = take_time(input)?;
    state.handles = take_u64(input)?;
    for tenant in take_list(input, take_str)? {
        let tenant = TenantId::parse(tenant).ok().ok_or(CodecError::Invalid)?;
        state.tenants.slot(&tenant);
    }
    for _ in 0..take_u64(input)? {
        let (driver, duty) = codec::driver(input)?;
        readmit(&mut state, &driver)?;
        let slot = state.drivers.insert(driver);
        state.duties.restore(slot, duty);
    }
    for _ in 0..take_u64(input)? {
        let delivery = codec::delivery(input)?;
        readmit(&mut state, &delivery)?;
        state.deliveries.insert(delivery);
    }
    for _ in 0..take_u64(input)? {
        let buried: UnixMs = take_time(input)?;
        let hash = [u64::from_le_bytes(take_array(input)?), u64::from_le_bytes(take_array(input)?)];
        state.tombstones.restore(buried, hash);
    }
    state.rearm();
    Ok(state)
}

/// Counts an entity of the snapshot for its tenant. It was let in before: a limit lowered since only keeps new ones out.
fn readmit(state: &mut PartitionState, entity: &impl Entity) -> Result<(), CodecError> {
    let known = (entity.tenant() as usize) < state.tenants.iter().len();
    known.then(|| state.tenants.admit(entity.tenant(), u32::MAX)).map(drop).ok_or(CodecError::Invalid)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::model::event::{Body, Created};
    use crate::model::id::DriverId;
    use crate::model::position::Position;
    use crate::model::status::Status;
    use crate::model::tags::Attributes;
    use crate::track::sample::{LIMITS, Picture, apply, event, location, records, status};
    use crate::track::view::{DeliveryView, DriverView};

    /// All that anyone can ask of a state, by id.
    fn views(state: &PartitionState) -> BTreeMap<String, String> {
        let drivers = state.known_drivers().map(|known| {
            let tenant = *state.tenants.id(known.driver.tenant);
            (format!("{tenant} driver {}", known.driver.id()), format!("{:?}", DriverView::of(tenant, known)))
        });
        let deliveries = state.deliveries.iter().map(|delivery| {
            let tenant = *state.tenants.id(delivery.tenant);
            (format!("{tenant} delivery {}", delivery.id()), format!("{:?}", DeliveryView::of(tenant, delivery)))
        });
        drivers.chain(deliveries).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_state_survives_its_bytes(records in records(100, 3_600_000)) {
            let mut state = PartitionState::new(PartitionId(7), LIMITS);
            apply(&mut state, &records, &mut Picture::default());
            let read = decode(&encode(&state), LIMITS).unwrap();
            prop_assert_eq!(views(&read), views(&state));
            prop_assert_eq!(read.state_hash(), state.state_hash());
            prop_assert_eq!((read.partition, read.applied, read.log_time, read.handles), (state.partition, state.applied, state.log_time, state.handles));
            prop_assert_eq!(read.tombstones.iter().collect::<Vec<_>>(), state.tombstones.iter().collect::<Vec<_>>());
        }

        #[test]
        fn bytes_that_are_cut_or_foreign_are_refused(records in records(20, 10), cut in any::<prop::sample::Index>(), noise in any::<Vec<u8>>()) {
            let mut state = PartitionState::new(PartitionId(7), LIMITS);
            apply(&mut state, &records, &mut Picture::default());
            let bytes = encode(&state);
            prop_assert!(decode(&bytes[..cut.index(bytes.len())], LIMITS).is_err());
            prop_assert!(decode(&noise, LIMITS).is_err());
            // Content that has its checksum right and is nonsense all the same must not panic.
            let mut nonsense = bytes[..10 + cut.index(bytes.len() - 13)].to_vec();
            nonsense.extend(noise);
            let crc = crc32c::crc32c(&nonsense);
            nonsense.extend(crc.to_le_bytes());
            drop(decode(&nonsense, LIMITS));
        }
    }

    /// Of each kind of event some, for several entities: ids of all forms, details, an end, a tombstone, what is said twice and what comes late.
    fn eventful() -> PartitionState {
        let named = |name: &str, number: usize| {
            if number.is_multiple_of(2) { format!("0192f0c1-2345-7abc-8def-{number:012x}") } else { format!("{name} {number}") }
        };
        let mut state = PartitionState::new(PartitionId(7), LIMITS);
        let mut ingest_ms = 1_795_509_000_000;
        for number in 0..240 {
            ingest_ms += 600_000;
            let (driver, delivery) = (named("van", number % 5), named("a parcel with a long name", number % 7));
            let time = ingest_ms - 977 * i64::try_from(number % 11).unwrap();
            let at = Position::from_degrees(f64::from(u8::try_from(number).unwrap()) / 10.0 + 1.0, 12.0);
            let own = number % 12 == 3;
            let body = match number % 12 {
                0..=3 => location(f64::from(u8::try_from(number).unwrap()) / 10.0 + 1.0),
                4 => Body::Duty { on: number % 8 == 0 },
                5 => Body::Created(Box::new(Created {
                    pickup: at.ok(),
                    destination: at.ok().filter(|_| number % 5 != 0),
                    promised_by: (number % 3 != 0).then_some(UnixMs(time + 3_600_000)),
                    recipient_ref: (number % 4 == 1).then(|| "ref".into()),
                    attributes: Attributes::new((0..number % 3).map(|n| (named("tag", n).into(), named("value", n).into())).collect()),
                })),
                6 => Body::Assigned { driver: DriverId::parse(&named("van", number % 3)).unwrap() },
                7 => Body::Eta { eta: UnixMs(time + 1_800_000) },
                kind => status(Status::ALL[(kind + number / 12) % 12]),
            };
            let delivery = Some(&*delivery).filter(|_| !own && number % 12 != 4);
            let mut event = event(&named("event", number), time, Some(&driver), delivery, body);
            event.stamp.late = number % 17 == 0;
            event.stamp.skewed = number % 19 == 0;
            if number % 23 == 0 {
                event.tenant = TenantId::parse("globex").unwrap();
            }
            state.apply(Offset(number as u64), UnixMs(ingest_ms), &event, &mut |_| {});
        }
        state
    }

    #[test]
    fn the_bytes_of_version_1_are_what_they_always_were() {
        let state = eventful();
        let counts = state.counts();
        assert!(counts.drivers > 3 && counts.deliveries > 3 && counts.tombstones > 1, "{counts:?}");
        let bytes = encode(&state);
        assert_eq!(
            (bytes.len(), xxhash_rust::xxh3::xxh3_64(&bytes), state.state_hash()),
            (3_247, 1_464_256_724_996_616_617, 2_818_301_859_136_858_003)
        );
        assert_eq!(encode(&decode(&bytes, LIMITS).unwrap()), bytes);
    }

    #[test]
    fn a_newer_version_is_refused_by_its_number() {
        let mut state = PartitionState::new(PartitionId(0), LIMITS);
        state.apply(Offset(0), UnixMs(1), &event("e", 1, Some("ann"), None, location(1.0)), &mut |_| {});
        let mut bytes = encode(&state);
        bytes.truncate(bytes.len() - 4);
        bytes[8] = 2;
        let crc = crc32c::crc32c(&bytes);
        bytes.extend(crc.to_le_bytes());
        assert_eq!(decode(&bytes, LIMITS).unwrap_err(), SnapshotError::Newer(2));
    }
}
