//! What was said of a delivery beside its pings and its terms, packed into as few bytes as may be: there are very many deliveries, and of each little is said.
//! Never leaves memory; what goes to disk is written by `codec.rs`.

use std::num::NonZeroU8;

use crate::model::event::{OrderKey, Proof};
use crate::model::id::{DriverId, EventId, MAX_ID_BYTES};
use crate::model::status::Status;
use crate::model::time::UnixMs;
use crate::track::bytes::{CodecError, put_option, put_str, put_u8, put_u64, take_array, take_id, take_option, take_str, take_u8, take_u64};
use crate::track::delivery::Register;
use crate::track::piece::Piece;
use crate::track::status::{StampFlags, StatusDetail, StatusFact, StatusHistory};

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

/// Of a delivery of which nothing was said nothing is kept.
#[derive(Clone, Debug, Default)]
pub struct PackedSaid(Option<Piece>);

/// Two bytes that say what follows; the driver, for each ping that names a delivery asks who carries it; then the status events. Who created or assigned it is
/// mostly one of those, and its number among them stands in the second byte.
impl PackedSaid {
    pub fn of(said: &Said) -> Self {
        let mut out = Vec::with_capacity(128);
        let facts = said.statuses.facts();
        let driver = said.assigned.as_ref().map(|assigned| &assigned.value);
        let kind = driver.map_or(NO_DRIVER, |driver| if driver.uuid().is_some() { UUID_DRIVER } else { TEXT_DRIVER });
        let count = u8::try_from(facts.len()).unwrap_or(ELSEWHERE).min(ELSEWHERE);
        put_u8(&mut out, kind | u8::from(said.eta.is_some()) << 2 | count << 4);
        let place = |order: Option<&OrderKey>| order.map_or(NOWHERE, |order| place_among(order, facts));
        let (assigned, created) = (said.assigned.as_ref().map(|known| &known.order), said.created.as_ref().map(|known| &known.order));
        put_u8(&mut out, place(assigned) | place(created) << 4);
        if let Some(driver) = driver {
            put_text(&mut out, driver.uuid(), &driver.as_str());
        }
        if count == ELSEWHERE {
            put_u64(&mut out, facts.len() as u64);
        }
        let mut times = Times::default();
        for fact in facts {
            put_fact(&mut out, &mut times, fact);
        }
        let elsewhere = [assigned, created].into_iter().flatten().filter(|order| place(Some(*order)) == ELSEWHERE);
        for order in elsewhere.chain(&said.eta) {
            put_u8(&mut out, u8::from(order.event_id.uuid().is_some()));
            put_order(&mut out, &mut times, order);
        }
        if let Some(created) = &said.created {
            put_option(&mut out, created.value.as_deref(), put_str);
        }
        let (kind, rest) = out.split_first().expect("it was put first");
        Self(Some(Piece::new(NonZeroU8::new(*kind).expect("also no driver is a kind of driver"), rest)))
    }

    pub fn open(&self) -> Said {
        let Some(piece) = &self.0 else { return Said::default() };
        piece.read(usize::MAX, |mut bytes| take(&mut bytes, piece.kind())).expect("packed here, in this process")
    }

    /// The driver it was assigned to.
    pub fn assigned(&self) -> Option<DriverId> {
        let piece = self.0.as_ref()?;
        let at_least = if piece.kind() & 3 == TEXT_DRIVER { 2 + MAX_ID_BYTES } else { 17 };
        piece.read(at_least, |bytes| take_driver(&mut &bytes[1..], piece.kind())).expect("packed here, in this process")
    }
}

const NO_DRIVER: u8 = 1;
const UUID_DRIVER: u8 = 2;
const TEXT_DRIVER: u8 = 3;
/// A place, or a count, that four bits do not tell.
const ELSEWHERE: u8 = 15;
const NOWHERE: u8 = 0;

/// The number of the status event that has this place in the order, counted from one.
fn place_among(order: &OrderKey, facts: &[StatusFact]) -> u8 {
    let known = facts.binary_search_by(|fact| fact.order.cmp(order)).ok().and_then(|index| u8::try_from(index + 1).ok());
    known.filter(|number| *number < ELSEWHERE).unwrap_or(ELSEWHERE)
}

fn take(input: &mut &[u8], kind: u8) -> Result<Said, CodecError> {
    let places = take_u8(input)?;
    let driver = take_driver(input, kind)?;
    let count = if kind >> 4 == ELSEWHERE { take_u64(input)? } else { u64::from(kind >> 4) };
    let (mut times, mut statuses) = (Times::default(), StatusHistory::default());
    for _ in 0..count {
        statuses.insert(take_fact(input, &mut times)?);
    }
    let mut order = |input: &mut &[u8], place| match place {
        NOWHERE => Ok(None),
        ELSEWHERE => {
            let is_uuid = take_u8(input)? != 0;
            take_order(input, &mut times, is_uuid).map(Some)
        }
        number => statuses.facts().get(usize::from(number) - 1).map(|fact| Some(fact.order.clone())).ok_or(CodecError::Invalid),
    };
    let (assigned, created) = (order(input, places & 15)?, order(input, places >> 4)?);
    let eta = order(input, if kind & 4 == 0 { NOWHERE } else { ELSEWHERE })?;
    let assigned = assigned.zip(driver).map(|(order, value)| Register { order, value });
    let recipient = |input: &mut &[u8]| take_option(input, |input| Ok(take_str(input)?.into()));
    let created = created.map(|order| Ok(Register { order, value: recipient(input)? })).transpose()?;
    Ok(Said { assigned, created, eta, statuses })
}

/// Each time as the difference to what is expected: to the moment that a UUID of version 7 names, as much before or after it as the one before; else to the time
/// before. A whole time takes six bytes, such a difference mostly one.
#[derive(Default)]
struct Times {
    last: i64,
    after_named: i64,
    lag: i64,
}

impl Times {
    fn expected(&self, named: Option<i64>) -> i64 {
        named.map_or(self.last, |named| named.wrapping_add(self.after_named))
    }

    fn note(&mut self, time: i64, named: Option<i64>) {
        self.last = time;
        self.after_named = named.map_or(self.after_named, |named| time.wrapping_sub(named));
    }

    fn put(&mut self, out: &mut Vec<u8>, time: UnixMs, named: Option<i64>) {
        put_step(out, time.0.wrapping_sub(self.expected(named)));
        self.note(time.0, named);
    }

    fn take(&mut self, input: &mut &[u8], named: Option<i64>) -> Result<UnixMs, CodecError> {
        let time = self.expected(named).wrapping_add(take_step(input)?);
        self.note(time, named);
        Ok(UnixMs(time))
    }

    /// When what happened last was heard.
    fn put_heard(&mut self, out: &mut Vec<u8>, heard: UnixMs) {
        let lag = heard.0.wrapping_sub(self.last);
        put_step(out, lag.wrapping_sub(self.lag));
        self.lag = lag;
    }

    fn take_heard(&mut self, input: &mut &[u8]) -> Result<UnixMs, CodecError> {
        self.lag = self.lag.wrapping_add(take_step(input)?);
        Ok(UnixMs(self.last.wrapping_add(self.lag)))
    }
}

fn put_step(out: &mut Vec<u8>, step: i64) {
    put_u64(out, ((step << 1) ^ (step >> 63)).cast_unsigned());
}

fn take_step(input: &mut &[u8]) -> Result<i64, CodecError> {
    let step = take_u64(input)?;
    Ok((step >> 1).cast_signed() ^ -(step & 1).cast_signed())
}

/// The Unix milliseconds that begin a UUID of version 7.
fn named_ms(id: &EventId) -> Option<i64> {
    let (bytes, mut ms) = (id.uuid()?, [0; 8]);
    ms[2..].copy_from_slice(&bytes[..6]);
    (bytes[6] >> 4 == 7).then(|| i64::from_be_bytes(ms))
}

fn put_fact(out: &mut Vec<u8>, times: &mut Times, fact: &StatusFact) {
    let StatusFact { order, status, detail, ingest_time, flags } = fact;
    let is_uuid = order.event_id.uuid().is_some();
    put_u8(out, status.code() | u8::from(flags.skewed) << 4 | u8::from(flags.late) << 5 | u8::from(detail.is_some()) << 6 | u8::from(is_uuid) << 7);
    put_order(out, times, order);
    times.put_heard(out, *ingest_time);
    if let Some(detail) = detail {
        put_option(out, detail.reason.as_deref(), put_str);
        put_option(out, detail.proof.as_ref(), |out, proof| {
            put_str(out, &proof.sha256);
            put_str(out, &proof.url);
        });
    }
}

fn take_fact(input: &mut &[u8], times: &mut Times) -> Result<StatusFact, CodecError> {
    let bits = take_u8(input)?;
    let status = Status::from_code(bits & 15).ok_or(CodecError::Invalid)?;
    let order = take_order(input, times, bits & 128 != 0)?;
    let ingest_time = times.take_heard(input)?;
    let detail = |input: &mut &[u8]| {
        let reason = take_option(input, |input| Ok(Box::from(take_str(input)?)))?;
        let proof = take_option(input, |input| Ok(Proof { sha256: take_str(input)?.into(), url: take_str(input)?.into() }))?;
        Ok(Box::new(StatusDetail { reason, proof }))
    };
    let detail = if bits & 64 == 0 { None } else { Some(detail(input)?) };
    Ok(StatusFact { order, status, detail, ingest_time, flags: StampFlags { skewed: bits & 16 != 0, late: bits & 32 != 0 } })
}

fn put_order(out: &mut Vec<u8>, times: &mut Times, order: &OrderKey) {
    order.event_id.with_str(|text| put_text(out, order.event_id.uuid(), text));
    times.put(out, order.effective_time, named_ms(&order.event_id));
}

fn take_order(input: &mut &[u8], times: &mut Times, is_uuid: bool) -> Result<OrderKey, CodecError> {
    let event_id = if is_uuid { EventId::of_uuid(take_array(input)?) } else { EventId::parse(take_str(input)?).ok().ok_or(CodecError::Invalid)? };
    Ok(OrderKey { effective_time: times.take(input, named_ms(&event_id))?, event_id })
}

fn take_driver(input: &mut &[u8], kind: u8) -> Result<Option<DriverId>, CodecError> {
    match kind & 3 {
        NO_DRIVER => Ok(None),
        UUID_DRIVER => Ok(Some(DriverId::of_uuid(take_array(input)?))),
        _ => take_id(input).map(Some),
    }
}

/// Which of the two it is has to be known to who reads it.
fn put_text(out: &mut Vec<u8>, uuid: Option<[u8; 16]>, text: &str) {
    match uuid {
        Some(bytes) => out.extend_from_slice(&bytes),
        None => put_str(out, text),
    }
}

pub(super) fn put_event_id(out: &mut Vec<u8>, id: &EventId) {
    match id.uuid() {
        Some(bytes) => put_uuid(out, bytes),
        None => id.with_str(|text| put_str(out, text)),
    }
}

pub(super) fn take_event_id(input: &mut &[u8]) -> Result<EventId, CodecError> {
    match take_uuid(input)? {
        Some(bytes) => Ok(EventId::of_uuid(bytes)),
        None => EventId::parse(take_str(input)?).ok().ok_or(CodecError::Invalid),
    }
}

/// A canonical UUID as its 16 bytes after a zero; any other text begins with its length, which is never zero.
fn put_uuid(out: &mut Vec<u8>, bytes: [u8; 16]) {
    put_u8(out, 0);
    out.extend_from_slice(&bytes);
}

fn take_uuid(input: &mut &[u8]) -> Result<Option<[u8; 16]>, CodecError> {
    let Some(rest) = input.strip_prefix(&[0]) else { return Ok(None) };
    *input = rest;
    take_array(input).map(Some)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn order() -> impl Strategy<Value = OrderKey> {
        (prop_oneof![any::<i64>(), 1_700_000_000_000..1_800_000_000_000_i64], "[0-9a-f]{8}-1234-1234-1234-123456789abc|[a-z]{1,40}")
            .prop_map(|(time, id)| OrderKey { effective_time: UnixMs(time), event_id: EventId::parse(&id).unwrap() })
    }

    fn fact() -> impl Strategy<Value = StatusFact> {
        let detail = prop::option::of(("[a-z]{0,9}", any::<bool>()).prop_map(|(reason, proven)| {
            let proof = proven.then(|| Proof { sha256: "ab".repeat(32).into(), url: "https://x".into() });
            Box::new(StatusDetail { reason: Some(reason.into()), proof })
        }));
        (order(), 0..Status::ALL.len(), detail, any::<i64>(), any::<(bool, bool)>()).prop_map(|(order, status, detail, heard, (skewed, late))| {
            StatusFact { order, status: Status::ALL[status], detail, ingest_time: UnixMs(heard), flags: StampFlags { skewed, late } }
        })
    }

    proptest! {
        #[test]
        fn what_was_packed_comes_out_as_it_was(facts in prop::collection::vec(fact(), 0..40), own in order(), driver in prop::option::of("[a-z]{1,40}"), by in any::<(bool, bool, bool)>()) {
            let mut said = Said::default();
            let first = facts.first().map_or(own.clone(), |fact| fact.order.clone());
            for fact in facts {
                said.statuses.insert(fact);
            }
            said.assigned = driver.map(|driver| Register { order: first.clone(), value: DriverId::parse(&driver).unwrap() });
            said.created = by.0.then(|| Register { order: if by.1 { own.clone() } else { first }, value: by.2.then(|| "ref".into()) });
            said.eta = by.2.then_some(own);
            let packed = PackedSaid::of(&said);
            prop_assert_eq!(format!("{:?}", packed.open()), format!("{said:?}"));
            prop_assert_eq!(packed.assigned(), said.assigned.map(|register| register.value));
        }
    }

    #[test]
    fn little_was_said_of_most_deliveries() {
        let order = |time: i64, id: &str| OrderKey { effective_time: UnixMs(1_795_509_000_000 + time), event_id: EventId::parse(id).unwrap() };
        let orders = [order(0, "0192f0c1-2345-7abc-8def-0123456789ab"), order(500, "0192f0c1-2345-7abc-8def-0123456789ac")];
        let mut said = Said::default();
        for (order, status) in orders.iter().zip([Status::Created, Status::Assigned]) {
            let ingest_time = UnixMs(order.effective_time.0 + 90);
            said.statuses.insert(StatusFact { order: order.clone(), status, detail: None, ingest_time, flags: StampFlags::default() });
        }
        let [created, assigned] = orders;
        said.created = Some(Register { order: created, value: None });
        said.assigned = Some(Register { order: assigned, value: DriverId::parse("0192f0c1-2345-7abc-8def-0123456789ad").unwrap() });
        assert!(PackedSaid::of(&said).0.is_some());
    }
}
