//! What was said of a delivery beside its pings and its terms, packed into as few bits as may be: there are very many deliveries, and of each little is said.
//! Never leaves memory; what goes to disk is written by `codec.rs`.

mod facts;

use std::num::NonZeroU8;
use std::sync::OnceLock;

use facts::Before;
use smallvec::SmallVec;

use crate::model::event::OrderKey;
use crate::model::id::{DriverId, MAX_ID_BYTES};
use crate::model::status::Status;
use crate::model::time::UnixMs;
use crate::track::bits::{BitReader, BitWriter, USUAL};
use crate::track::delivery::Register;
use crate::track::piece::Piece;
use crate::track::status::StatusHistory;

/// Taken apart.
#[derive(Clone, Debug, Default)]
pub struct Said {
    /// Explicit only. What is implied needs no room of its own: it is the actor of the newest fix.
    pub assigned: Option<Register<DriverId>>,
    /// When and for whom it was created; the rest of that event stands in the terms.
    pub created: Option<Register<Option<Box<str>>>>,
    /// Its value stands in the terms.
    pub eta: Option<OrderKey>,
    pub statuses: StatusHistory,
}

#[derive(Clone, Debug)]
pub struct PackedSaid(Piece);

impl Default for PackedSaid {
    fn default() -> Self {
        Self(Piece::new(NOTHING, &[]))
    }
}

/// A byte that says what follows; the driver in whole bytes, for each ping that names a delivery asks who carries it; then the rest in bits. A delivery that was
/// created and assigned, by events with ids that name their time, takes no memory beside its own.
impl PackedSaid {
    pub fn of(said: &Said) -> Self {
        let heard = said.statuses.facts().first().map_or(LATELY, |fact| fact.ingest_time);
        let (kind, bytes) = pack(said, *EPOCH.get_or_init(|| heard));
        Self(Piece::new(kind, &bytes))
    }

    pub fn open(&self) -> Said {
        self.0.read(usize::MAX, |bytes| unpack(self.0.kind(), bytes, EPOCH.get().copied().unwrap_or(LATELY)))
    }

    /// The driver it was assigned to.
    pub fn assigned(&self) -> Option<DriverId> {
        let kind = self.0.kind();
        let at_least = if kind & DRIVER == TEXT_DRIVER { 1 + MAX_ID_BYTES } else { 16 };
        self.0.read(at_least, |bytes| driver(kind, bytes)).0
    }
}

/// What the first time of each delivery is told as the difference to: when the first of all that this process packed was heard.
static EPOCH: OnceLock<UnixMs> = OnceLock::new();
/// The epoch where of the first one nothing was heard: the year 2026.
const LATELY: UnixMs = UnixMs(1_780_000_000_000);

// The first byte: two bits for the driver, never zero; two for the order of its creation; a flag each for what follows.
const DRIVER: u8 = 3;
const NO_DRIVER: u8 = 1;
const NOTHING: NonZeroU8 = NonZeroU8::new(NO_DRIVER).unwrap();
const UUID_DRIVER: u8 = 2;
const TEXT_DRIVER: u8 = 3;
/// It is that of the last status event that says so, or stands apart.
const CREATED: u8 = 1 << 2;
const CREATED_APART: u8 = 1 << 3;
const ASSIGNED_APART: u8 = 1 << 4;
const ETA: u8 = 1 << 5;
const RECIPIENT: u8 = 1 << 6;
const TWO_FACTS: u8 = 1 << 7;

const COUNT_BITS: u32 = 6;
const _: () = assert!(StatusHistory::MAX_KEPT < 1 << COUNT_BITS, "six bits count them");

fn pack(said: &Said, epoch: UnixMs) -> (NonZeroU8, SmallVec<[u8; USUAL]>) {
    let facts = said.statuses.facts();
    let is_last = |order: &OrderKey, status| facts.iter().rfind(|fact| fact.status == status).is_some_and(|fact| fact.order == *order);
    let created_apart = said.created.as_ref().map(|created| &created.order).filter(|order| !is_last(order, Status::Created));
    let assigned_apart = said.assigned.as_ref().map(|assigned| &assigned.order).filter(|order| !is_last(order, Status::Assigned));
    let recipient = said.created.as_ref().and_then(|created| created.value.as_deref());
    let mut bits = BitWriter::default();
    let mut kind = put_driver(&mut bits, said.assigned.as_ref().map(|assigned| &assigned.value));
    let flags = [
        (CREATED, said.created.is_some()),
        (CREATED_APART, created_apart.is_some()),
        (ASSIGNED_APART, assigned_apart.is_some()),
        (ETA, said.eta.is_some()),
        (RECIPIENT, recipient.is_some()),
        (TWO_FACTS, facts.len() == 2),
    ];
    kind = flags.into_iter().filter(|(_, is_so)| *is_so).fold(kind, |kind, (flag, _)| kind | flag);
    if facts.len() != 2 {
        bits.put(facts.len() as u64, COUNT_BITS);
    }
    let mut before = Before::any(epoch);
    for fact in facts {
        before.put_fact(&mut bits, fact);
    }
    created_apart.into_iter().chain(assigned_apart).chain(&said.eta).for_each(|order| before.put_apart(&mut bits, order));
    if let Some(recipient) = recipient {
        bits.put_str(recipient);
    }
    (NonZeroU8::new(kind).expect("also no driver is a kind of driver"), bits.into_bytes())
}

fn unpack(kind: u8, bytes: &[u8], epoch: UnixMs) -> Said {
    let is = |flag| kind & flag != 0;
    let (driver, length) = driver(kind, bytes);
    let mut bits = BitReader::new(&bytes[length..]);
    let count = if is(TWO_FACTS) { 2 } else { bits.take(COUNT_BITS) };
    let (mut before, mut statuses) = (Before::any(epoch), StatusHistory::default());
    for _ in 0..count {
        statuses.insert(before.take_fact(&mut bits));
    }
    let mut apart = |flag| is(flag).then(|| before.take_apart(&mut bits));
    let (created, assigned, eta) = (apart(CREATED_APART), apart(ASSIGNED_APART), apart(ETA));
    let last = |status| statuses.facts().iter().rfind(|fact| fact.status == status).map(|fact| fact.order.clone()).expect(PACKED);
    let recipient = is(RECIPIENT).then(|| bits.take_string().into());
    Said {
        assigned: driver.map(|value| Register { order: assigned.unwrap_or_else(|| last(Status::Assigned)), value }),
        created: is(CREATED).then(|| Register { order: created.unwrap_or_else(|| last(Status::Created)), value: recipient }),
        eta,
        statuses,
    }
}

/// Why what is read here is there.
const PACKED: &str = "packed here, in this process";

/// The driver and after how many bytes it ends.
fn driver(kind: u8, bytes: &[u8]) -> (Option<DriverId>, usize) {
    match (kind & DRIVER, bytes) {
        (UUID_DRIVER, _) => (Some(DriverId::of_uuid(*bytes.first_chunk().expect(PACKED))), 16),
        (TEXT_DRIVER, [length, text @ ..]) => {
            let length = usize::from(*length);
            let text = std::str::from_utf8(&text[..length]).expect(PACKED);
            (Some(DriverId::parse(text).expect(PACKED)), 1 + length)
        }
        _ => (None, 0),
    }
}

fn put_driver(bits: &mut BitWriter, driver: Option<&DriverId>) -> u8 {
    let Some(driver) = driver else { return NO_DRIVER };
    if let Some(bytes) = driver.uuid() {
        bits.put_bytes(&bytes);
        return UUID_DRIVER;
    }
    bits.put(driver.as_str().len() as u64, 8);
    bits.put_bytes(driver.as_str().as_bytes());
    TEXT_DRIVER
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::event::Proof;
    use crate::model::id::EventId;
    use crate::track::status::{StampFlags, StatusDetail, StatusFact};

    const NOW_MS: i64 = 1_795_509_000_000;

    fn time() -> impl Strategy<Value = i64> {
        prop_oneof![any::<i64>(), Just(i64::MIN), Just(i64::MAX), NOW_MS - 100_000..NOW_MS, Just(NOW_MS)]
    }

    /// A UUID of version 7 that names the lowest 48 bits of a time.
    fn named(ms: i64, random: u128) -> EventId {
        let number = u128::from(ms.cast_unsigned()) << 80 | 7 << 76 | (random & (0xfff << 64)) | 2 << 62 | (random & ((1 << 62) - 1));
        EventId::of_uuid(number.to_be_bytes())
    }

    fn order() -> impl Strategy<Value = OrderKey> {
        let uuid = any::<[u8; 16]>().prop_map(EventId::of_uuid);
        let text = "[a-zA-Z0-9ö-]{1,32}|[a-z]{64}".prop_map(|text| EventId::parse(&text).unwrap());
        let apart = (time(), prop_oneof![uuid, text]);
        let near = (time(), prop_oneof![Just(0_i64), -90_000..90_000_i64, any::<i64>()], any::<u128>())
            .prop_map(|(time, after, random)| (time, named(time.wrapping_sub(after), random)));
        prop_oneof![apart, near].prop_map(|(time, event_id)| OrderKey { effective_time: UnixMs(time), event_id })
    }

    fn fact() -> impl Strategy<Value = StatusFact> {
        let detail = (prop::option::of("[a-zå]{0,300}"), any::<bool>()).prop_map(|(reason, proven)| {
            let proof = proven.then(|| Proof { sha256: "ab".repeat(32).into(), url: "https://x".into() });
            Box::new(StatusDetail { reason: reason.map(Into::into), proof })
        });
        let flags = prop::option::of(any::<(bool, bool)>()).prop_map(Option::unwrap_or_default);
        let heard = prop_oneof![time().prop_map(Err), (-5_000..200_000_i64).prop_map(Ok)];
        (order(), 0..Status::ALL.len(), prop::option::of(detail), heard, flags).prop_map(|(order, status, detail, heard, (skewed, late))| {
            let ingest_time = UnixMs(heard.map_or_else(|time| time, |lag| order.effective_time.0.wrapping_add(lag)));
            StatusFact { order, status: Status::ALL[status], detail, ingest_time, flags: StampFlags { skewed, late } }
        })
    }

    fn driver_id() -> impl Strategy<Value = DriverId> {
        prop_oneof![any::<[u8; 16]>().prop_map(DriverId::of_uuid), "[a-zö]{1,32}|[a-z]{64}".prop_map(|text| DriverId::parse(&text).unwrap())]
    }

    /// Of an order that stands apart, or is that of one of the facts.
    fn pick(facts: &StatusHistory, own: OrderKey, which: prop::sample::Index) -> OrderKey {
        let facts = facts.facts();
        which.index(facts.len() + 1).checked_sub(1).map_or(own, |at| facts[at].order.clone())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn what_was_packed_comes_out_as_it_was(
            facts in prop::collection::vec(fact(), 0..40),
            (created, assigned, eta) in (order(), order(), prop::option::of(order())),
            which in any::<(prop::sample::Index, prop::sample::Index)>(),
            driver in prop::option::of(driver_id()),
            recipient in prop::option::of(prop::option::of("[a-z ö]{0,80}")),
            epoch in time(),
        ) {
            let mut said = Said { eta, ..Said::default() };
            for fact in facts {
                said.statuses.insert(fact);
            }
            said.assigned = driver.map(|value| Register { order: pick(&said.statuses, assigned, which.0), value });
            said.created = recipient.map(|value| Register { order: pick(&said.statuses, created, which.1), value: value.map(Into::into) });
            let packed = PackedSaid::of(&said);
            prop_assert_eq!(format!("{:?}", packed.open()), format!("{said:?}"));
            prop_assert_eq!(packed.assigned(), said.assigned.as_ref().map(|register| register.value.clone()));
            let (kind, bytes) = pack(&said, UnixMs(epoch));
            prop_assert_eq!(format!("{:?}", unpack(kind.get(), &bytes, UnixMs(epoch))), format!("{said:?}"));
        }
    }

    /// Created and assigned, at so many milliseconds after the epoch and by ids that name times so much later than they were; heard so much later than they were.
    fn usual([created, assigned]: [i64; 2], named_after: [i64; 2], lag: [i64; 2]) -> Said {
        let mut said = Said::default();
        for (index, (at, status)) in [(created, Status::Created), (assigned, Status::Assigned)].into_iter().enumerate() {
            let order = OrderKey { effective_time: UnixMs(NOW_MS + at), event_id: named(NOW_MS + at + named_after[index], u128::MAX) };
            let ingest_time = UnixMs(NOW_MS + at + lag[index]);
            said.statuses.insert(StatusFact { order: order.clone(), status, detail: None, ingest_time, flags: StampFlags::default() });
            match status {
                Status::Created => said.created = Some(Register { order, value: None }),
                _ => said.assigned = Some(Register { order, value: DriverId::parse("0192f0c1-2345-7abc-8def-0123456789ad").unwrap() }),
            }
        }
        said
    }

    #[test]
    fn what_was_said_of_most_deliveries_takes_no_memory_beside() {
        const HOUR: i64 = 3_600_000;
        const DAY: i64 = 24 * HOUR;
        let usual = [
            ("soon after the start, days between", usual([6 * HOUR, 6 * DAY], [0, 0], [400, 90])),
            ("years after the start, an hour between", usual([1_000 * DAY, 1_000 * DAY + HOUR], [0, 0], [900, 15])),
            ("ids of when it was sent, a minute after it was", usual([-60_000, -59_999], [60_000, 59_999], [130_000, 130_001])),
        ];
        for (what, said) in usual {
            let (kind, bytes) = pack(&said, UnixMs(NOW_MS));
            assert!(bytes.len() <= Piece::WHOLE, "{what}: {}", bytes.len());
            assert_eq!(format!("{:?}", unpack(kind.get(), &bytes, UnixMs(NOW_MS))), format!("{said:?}"));
        }
    }
}
