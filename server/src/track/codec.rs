//! Facts as bytes, for the snapshot and for the state hash. What was said stands apart from when it was heard, which the hash leaves out. Does no IO.

use xxhash_rust::xxh3::xxh3_64;

use crate::model::change::DutyFact;
use crate::model::event::{Created, Location, OrderKey, Proof};
use crate::model::id::{DeliveryId, DriverId, Handle, TenantId};
use crate::model::position::Position;
use crate::model::status::Status;
use crate::model::tags::Attributes;
use crate::model::terms::Terms;
use crate::model::time::UnixMs;
use crate::track::bytes::{
    CodecError, put_event_id, put_length, put_option, put_str, put_time, put_u8, put_u64, take_array, take_event_id, take_id, take_list, take_option,
    take_str, take_time, take_u8, take_u32, take_u64,
};
use crate::track::delivery::{Delivery, Register};
use crate::track::driver::{Driver, Known};
use crate::track::ping::{DeliveryPing, Ping, Spot};
use crate::track::said::Said;
use crate::track::status::{StampFlags, StatusDetail, StatusFact};

pub fn hash_driver(scratch: &mut Vec<u8>, tenant: &TenantId, driver: Known<'_>) -> u64 {
    scratch.clear();
    put_u8(scratch, 1);
    put_str(scratch, tenant.as_str());
    put_driver_facts(scratch, driver);
    xxh3_64(scratch)
}

pub fn hash_delivery(scratch: &mut Vec<u8>, tenant: &TenantId, delivery: &Delivery) -> u64 {
    scratch.clear();
    put_u8(scratch, 2);
    put_str(scratch, tenant.as_str());
    put_delivery_facts(scratch, delivery, &delivery.said.open());
    xxh3_64(scratch)
}

// ------------------------------------------------------------------------------------------------------------------------ entities

pub fn put_driver(out: &mut Vec<u8>, known: Known<'_>) {
    let driver = known.driver;
    put_driver_facts(out, known);
    put_u64(out, u64::from(driver.tenant));
    put_u64(out, driver.handle().0);
    put_time(out, driver.last_heard());
    put_flags(out, driver.fix_flags);
    put_fix_heard(out, driver.fix().is_some(), driver.last_heard());
}

fn put_driver_facts(out: &mut Vec<u8>, known: Known<'_>) {
    put_str(out, &known.driver.id.as_str());
    put_option(out, known.driver.ping().as_ref(), put_ping_facts);
    put_length(out, known.duty().len());
    for fact in known.duty() {
        put_order(out, &fact.order);
        put_u8(out, u8::from(fact.on));
    }
}

/// And its duty.
pub fn driver(input: &mut &[u8]) -> Result<(Driver, Vec<DutyFact>), CodecError> {
    let id: DriverId = take_id(input)?;
    let fix = take_option(input, take_ping_facts)?;
    let duty = take_list(input, |input| Ok(DutyFact { order: take_order(input)?, on: take_u8(input)? != 0 }))?;
    let tenant = take_u32(input)?;
    let handle = Handle(take_u64(input)?);
    let last_heard = take_time(input)?;
    let fix_flags = take_flags(input)?;
    take_fix_heard(input, fix.is_some())?;
    Ok((Driver::new(id, tenant, handle).restored(last_heard, fix, fix_flags), duty))
}

pub fn put_delivery(out: &mut Vec<u8>, delivery: &Delivery) {
    let said = delivery.said.open();
    put_delivery_facts(out, delivery, &said);
    put_u64(out, u64::from(delivery.tenant));
    // Twice: version 1 has a place for the first one that it was given, which is asked of nobody.
    put_u64(out, delivery.terms.handle.get().0);
    put_u64(out, delivery.terms.handle.get().0);
    put_time(out, delivery.last_heard.get());
    put_flags(out, delivery.fix_flags);
    put_u8(out, u8::from(delivery.left));
    put_fix_heard(out, delivery.fix.is_some(), delivery.last_heard.get());
    for fact in said.statuses.facts() {
        put_time(out, fact.ingest_time);
        put_flags(out, fact.flags);
    }
}

fn put_delivery_facts(out: &mut Vec<u8>, delivery: &Delivery, said: &Said) {
    put_str(out, &delivery.id().as_str());
    put_register(out, delivery.created(said).as_ref(), put_created);
    put_register(out, said.assigned.as_ref(), |out, driver| put_str(out, &driver.as_str()));
    let eta = said.eta.clone().zip(delivery.terms.reported_eta()).map(|(order, value)| Register { order, value });
    put_register(out, eta.as_ref(), |out, eta| put_time(out, *eta));
    put_option(out, delivery.fix.as_deref(), |out, fix| {
        put_str(out, &fix.actor.as_str());
        put_ping_facts(out, &fix.ping);
    });
    put_length(out, said.statuses.facts().len());
    for fact in said.statuses.facts() {
        put_order(out, &fact.order);
        put_u8(out, fact.status.code());
        put_option(out, fact.detail.as_deref(), |out, detail| {
            put_option(out, detail.reason.as_deref(), put_str);
            put_option(out, detail.proof.as_ref(), |out, proof| {
                put_str(out, &proof.sha256);
                put_str(out, &proof.url);
            });
        });
    }
}

pub fn delivery(input: &mut &[u8]) -> Result<Delivery, CodecError> {
    let id: DeliveryId = take_id(input)?;
    let created = take_register(input, take_created)?;
    let assigned: Option<Register<DriverId>> = take_register(input, take_id)?;
    let eta = take_register(input, take_time)?;
    let fix = take_option(input, |input| {
        let actor = take_id(input)?;
        Ok(Box::new(DeliveryPing { ping: take_ping_facts(input)?, actor }))
    })?;
    let mut facts = take_list(input, take_status_fact)?;
    let mut delivery = Delivery::new(id, take_u32(input)?, Handle(take_u64(input)?));
    delivery.lend(Handle(take_u64(input)?));
    delivery.last_heard = take_time(input)?.into();
    delivery.fix_flags = take_flags(input)?;
    delivery.left = take_u8(input)? != 0;
    take_fix_heard(input, fix.is_some())?;
    for fact in &mut facts {
        fact.ingest_time = take_time(input)?;
        fact.flags = take_flags(input)?;
    }
    delivery.fix = fix;
    let mut terms = Terms::clone(&delivery.terms);
    let mut said = Said { assigned, ..Said::default() };
    for fact in facts {
        said.statuses.insert(fact);
    }
    terms.set_reported_eta(eta.as_ref().map(|register| register.value));
    said.eta = eta.map(|register| register.order);
    said.created = created.map(|Register { order, value }| {
        (terms.pickup, terms.destination, terms.promised_by) = (value.pickup, value.destination, value.promised_by.into());
        terms.set_attributes(value.attributes);
        Register { order, value: value.recipient_ref }
    });
    delivery.say(&said, terms);
    Ok(delivery)
}

fn take_status_fact(input: &mut &[u8]) -> Result<StatusFact, CodecError> {
    let order = take_order(input)?;
    let status = Status::from_code(take_u8(input)?).ok_or(CodecError::Invalid)?;
    let detail = take_option(input, |input| {
        let reason = take_option(input, |input| Ok(Box::from(take_str(input)?)))?;
        let proof = take_option(input, |input| Ok(Proof { sha256: take_str(input)?.into(), url: take_str(input)?.into() }))?;
        Ok(Box::new(StatusDetail { reason, proof }))
    })?;
    Ok(StatusFact { order, status, detail, ingest_time: UnixMs(0), flags: StampFlags::default() })
}

/// When the fix was heard is asked of nobody and kept no more; its place stays, and with it the version.
fn put_fix_heard(out: &mut Vec<u8>, has_fix: bool, last_heard: UnixMs) {
    if has_fix {
        put_time(out, last_heard);
    }
}

fn take_fix_heard(input: &mut &[u8], has_fix: bool) -> Result<(), CodecError> {
    if has_fix { take_time(input).map(drop) } else { Ok(()) }
}

// --------------------------------------------------------------------------------------------------------------------------- facts

fn put_register<T>(out: &mut Vec<u8>, register: Option<&Register<T>>, put: impl Fn(&mut Vec<u8>, &T)) {
    put_option(out, register, |out, register| {
        put_order(out, &register.order);
        put(out, &register.value);
    });
}

fn take_register<T>(input: &mut &[u8], take: impl Fn(&mut &[u8]) -> Result<T, CodecError>) -> Result<Option<Register<T>>, CodecError> {
    take_option(input, |input| Ok(Register { order: take_order(input)?, value: take(input)? }))
}

fn put_created(out: &mut Vec<u8>, created: &Created) {
    put_option(out, created.pickup, put_position);
    put_option(out, created.destination, put_position);
    put_option(out, created.promised_by, put_time);
    put_option(out, created.recipient_ref.as_deref(), put_str);
    put_length(out, created.attributes.iter().len());
    for (name, value) in created.attributes.iter() {
        put_str(out, name);
        put_str(out, value);
    }
}

fn take_created(input: &mut &[u8]) -> Result<Created, CodecError> {
    Ok(Created {
        pickup: take_option(input, take_position)?,
        destination: take_option(input, take_position)?,
        promised_by: take_option(input, take_time)?,
        recipient_ref: take_option(input, |input| Ok(take_str(input)?.into()))?,
        attributes: Attributes::new(take_list(input, |input| Ok((take_str(input)?.into(), take_str(input)?.into())))?),
    })
}

fn put_ping_facts(out: &mut Vec<u8>, ping: &Ping) {
    put_order(out, &ping.order);
    let Location { position, accuracy_m, speed_mps, heading_deg, altitude_m, battery } = ping.location();
    put_position(out, position);
    for value in [accuracy_m, speed_mps, heading_deg, altitude_m, battery] {
        put_option(out, value, |out, value| out.extend_from_slice(&value.to_bits().to_le_bytes()));
    }
}

fn take_ping_facts(input: &mut &[u8]) -> Result<Ping, CodecError> {
    let order = take_order(input)?;
    let position = take_position(input)?;
    let mut float = || take_option(input, |input| Ok(f32::from_bits(u32::from_le_bytes(take_array(input)?))));
    let location = Location { position, accuracy_m: float()?, speed_mps: float()?, heading_deg: float()?, altitude_m: float()?, battery: float()? };
    Ok(Ping { order, spot: Spot::of(&location) })
}

fn put_order(out: &mut Vec<u8>, order: &OrderKey) {
    put_time(out, order.effective_time);
    put_event_id(out, &order.event_id);
}

fn take_order(input: &mut &[u8]) -> Result<OrderKey, CodecError> {
    let effective_time = take_time(input)?;
    Ok(OrderKey { effective_time, event_id: take_event_id(input)? })
}

fn put_position(out: &mut Vec<u8>, position: Position) {
    out.extend_from_slice(&position.lat_e7().to_le_bytes());
    out.extend_from_slice(&position.lng_e7().to_le_bytes());
}

fn take_position(input: &mut &[u8]) -> Result<Position, CodecError> {
    Ok(Position::from_e7(i32::from_le_bytes(take_array(input)?), i32::from_le_bytes(take_array(input)?)))
}

fn put_flags(out: &mut Vec<u8>, flags: StampFlags) {
    put_u8(out, u8::from(flags.skewed) | u8::from(flags.late) << 1);
}

fn take_flags(input: &mut &[u8]) -> Result<StampFlags, CodecError> {
    let bits = take_u8(input)?;
    Ok(StampFlags { skewed: bits & 1 != 0, late: bits & 2 != 0 })
}
