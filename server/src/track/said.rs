//! What was said of a delivery beside its pings and its terms, packed into as few bytes as may be: there are very many deliveries, and of each little is said.
//! Never leaves memory; what goes to disk is written by `codec.rs`.

use crate::model::event::{OrderKey, Proof};
use crate::model::id::{DriverId, EventId};
use crate::model::status::Status;
use crate::model::time::UnixMs;
use crate::track::bytes::{CodecError, put_option, put_str, put_u8, put_u64, take_array, take_id, take_option, take_str, take_u8, take_u64};
use crate::track::delivery::Register;
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
pub struct PackedSaid(Option<Box<[u8]>>);

/// The driver comes first, for each ping that names a delivery asks who carries it. Then the status events; who created or assigned it is mostly one of those.
impl PackedSaid {
    pub fn of(said: &Said) -> Self {
        let mut out = Vec::with_capacity(128);
        let mut times = Times::default();
        put_option(&mut out, said.assigned.as_ref(), |out, assigned| put_driver(out, &assigned.value));
        put_u64(&mut out, said.statuses.facts().len() as u64);
        for fact in said.statuses.facts() {
            put_fact(&mut out, &mut times, fact);
        }
        let mut put_place = |out: &mut Vec<u8>, order: &OrderKey| put_place(out, &mut times, order, said.statuses.facts());
        if let Some(assigned) = &said.assigned {
            put_place(&mut out, &assigned.order);
        }
        put_option(&mut out, said.created.as_ref(), |out, created| {
            put_place(out, &created.order);
            put_option(out, created.value.as_deref(), put_str);
        });
        put_option(&mut out, said.eta.as_ref(), put_place);
        Self(Some(Box::from(&*out)))
    }

    pub fn open(&self) -> Said {
        let Some(bytes) = &self.0 else { return Said::default() };
        take(&mut &**bytes).expect("packed here, in this process")
    }

    /// The driver it was assigned to.
    pub fn assigned(&self) -> Option<DriverId> {
        let bytes = self.0.as_ref()?;
        take_option(&mut &**bytes, take_driver).expect("packed here, in this process")
    }
}

fn take(input: &mut &[u8]) -> Result<Said, CodecError> {
    let mut times = Times::default();
    let driver = take_option(input, take_driver)?;
    let mut statuses = StatusHistory::default();
    for _ in 0..take_u64(input)? {
        statuses.insert(take_fact(input, &mut times)?);
    }
    let mut place = |input: &mut &[u8]| take_place(input, &mut times, statuses.facts());
    let assigned = driver.map(|value| Ok(Register { order: place(input)?, value })).transpose()?;
    let created = take_option(input, |input| {
        let order = place(input)?;
        Ok(Register { order, value: take_option(input, |input| Ok(take_str(input)?.into()))? })
    })?;
    let eta = take_option(input, place)?;
    Ok(Said { assigned, created, eta, statuses })
}

/// Each time as the difference to the one before: they are seconds or hours apart, and a whole one takes six bytes.
#[derive(Default)]
struct Times(i64);

impl Times {
    fn put(&mut self, out: &mut Vec<u8>, time: UnixMs) {
        let step = time.0.wrapping_sub(self.0);
        self.0 = time.0;
        put_u64(out, ((step << 1) ^ (step >> 63)).cast_unsigned());
    }

    fn take(&mut self, input: &mut &[u8]) -> Result<UnixMs, CodecError> {
        let step = take_u64(input)?;
        self.0 = self.0.wrapping_add((step >> 1).cast_signed() ^ -(step & 1).cast_signed());
        Ok(UnixMs(self.0))
    }
}

/// The number of the status event that has this place in the order, counted from one; or zero, and the place.
fn put_place(out: &mut Vec<u8>, times: &mut Times, order: &OrderKey, facts: &[StatusFact]) {
    let known = facts.binary_search_by(|fact| fact.order.cmp(order)).map_or(0, |index| index + 1);
    put_u64(out, known as u64);
    if known == 0 {
        put_order(out, times, order);
    }
}

fn take_place(input: &mut &[u8], times: &mut Times, facts: &[StatusFact]) -> Result<OrderKey, CodecError> {
    let known = usize::try_from(take_u64(input)?).ok().ok_or(CodecError::Invalid)?;
    if known == 0 { take_order(input, times) } else { facts.get(known - 1).map(|fact| fact.order.clone()).ok_or(CodecError::Invalid) }
}

fn put_fact(out: &mut Vec<u8>, times: &mut Times, fact: &StatusFact) {
    put_order(out, times, &fact.order);
    times.put(out, fact.ingest_time);
    put_u8(out, fact.status.code());
    put_u8(out, u8::from(fact.flags.skewed) | u8::from(fact.flags.late) << 1 | u8::from(fact.detail.is_some()) << 2);
    if let Some(detail) = &fact.detail {
        put_option(out, detail.reason.as_deref(), put_str);
        put_option(out, detail.proof.as_ref(), |out, proof| {
            put_str(out, &proof.sha256);
            put_str(out, &proof.url);
        });
    }
}

fn take_fact(input: &mut &[u8], times: &mut Times) -> Result<StatusFact, CodecError> {
    let order = take_order(input, times)?;
    let ingest_time = times.take(input)?;
    let status = Status::from_code(take_u8(input)?).ok_or(CodecError::Invalid)?;
    let bits = take_u8(input)?;
    let detail = |input: &mut &[u8]| {
        let reason = take_option(input, |input| Ok(Box::from(take_str(input)?)))?;
        let proof = take_option(input, |input| Ok(Proof { sha256: take_str(input)?.into(), url: take_str(input)?.into() }))?;
        Ok(Box::new(StatusDetail { reason, proof }))
    };
    let detail = if bits & 4 == 0 { None } else { Some(detail(input)?) };
    Ok(StatusFact { order, status, detail, ingest_time, flags: StampFlags { skewed: bits & 1 != 0, late: bits & 2 != 0 } })
}

fn put_order(out: &mut Vec<u8>, times: &mut Times, order: &OrderKey) {
    times.put(out, order.effective_time);
    put_event_id(out, &order.event_id);
}

fn take_order(input: &mut &[u8], times: &mut Times) -> Result<OrderKey, CodecError> {
    let effective_time = times.take(input)?;
    Ok(OrderKey { effective_time, event_id: take_event_id(input)? })
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

fn put_driver(out: &mut Vec<u8>, driver: &DriverId) {
    match driver.uuid() {
        Some(bytes) => put_uuid(out, bytes),
        None => put_str(out, &driver.as_str()),
    }
}

fn take_driver(input: &mut &[u8]) -> Result<DriverId, CodecError> {
    match take_uuid(input)? {
        Some(bytes) => Ok(DriverId::of_uuid(bytes)),
        None => take_id(input),
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
        assert!(PackedSaid::of(&said).0.is_some_and(|bytes| bytes.len() <= 80));
    }
}
