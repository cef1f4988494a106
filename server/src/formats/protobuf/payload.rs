//! The payloads of the events this version knows, as Protobuf. Never looks at the envelope.

use bytes::Bytes;

use super::fields::{Fields, keep_nested};
use super::{optional_time, required_time};
use crate::formats::checks::{self, LooseLocation};
use crate::formats::refusal::{Code, Refusal};
use crate::model::event::{Body, Created, StatusChange};
use crate::model::position::Position;
use crate::model::tags::Attribute;

/// The field that carries any payload of a name this version does not know.
pub(super) const OTHER: u32 = 16;

/// Reads a payload, given as its field's tag and bytes, by its event's name; what it does not know goes to `others`.
pub(super) fn decode(name: &str, payload: Option<(u32, &[u8])>, others: &mut Vec<u8>) -> Result<Body, Refusal> {
    let (field, wanted) = match name {
        "location" => ("location", 10),
        "delivery.created" => ("created", 11),
        "delivery.assigned" => ("assigned", 12),
        "delivery.status" => ("status", 13),
        "delivery.eta" => ("eta", 14),
        "driver.duty" => ("duty", 15),
        _ => ("other", OTHER),
    };
    let message = match payload {
        Some((tag, message)) if tag == wanted => message,
        None if wanted == OTHER => &[],
        None => return Err(Refusal::missing(format!("/{field}"))),
        Some(_) => return Err(Refusal::new(Code::WrongType, "/payload", format!("an event named {name} carries the field `{field}`"))),
    };
    let mut inner = Vec::new();
    let body = match wanted {
        10 => Body::Location(checks::location(location(message, &mut inner)?, "/location")?),
        11 => Body::Created(Box::new(created(message, &mut inner)?)),
        12 => Body::Assigned { driver: checks::driver(assigned(message, &mut inner)?, "/assigned/driver_id")? },
        13 => Body::Status(Box::new(status(message, &mut inner)?)),
        14 => {
            let eta = optional_time(number(message, "/eta/eta_ms", &mut inner)?.cast_signed(), "/eta/eta_ms")?;
            Body::Eta { eta: eta.ok_or_else(|| Refusal::missing("/eta/eta_ms"))? }
        }
        15 => Body::Duty { on: number(message, "/duty/on", &mut inner)? != 0 },
        _ => Body::Other { name: name.into(), payload: Bytes::copy_from_slice(message) },
    };
    keep_nested(wanted, &inner, others);
    Ok(body)
}

fn location(message: &[u8], others: &mut Vec<u8>) -> Result<LooseLocation, Refusal> {
    let mut loose = LooseLocation::default();
    let mut fields = Fields::new(message);
    while let Some(field) = fields.read()? {
        match field.tag {
            1 => loose.lat = field.double("/location/lat")?,
            2 => loose.lng = field.double("/location/lng")?,
            3 => loose.accuracy_m = Some(field.float("/location/accuracy_m")?),
            4 => loose.speed_mps = Some(field.float("/location/speed_mps")?),
            5 => loose.heading_deg = Some(field.float("/location/heading_deg")?),
            6 => loose.altitude_m = Some(field.float("/location/altitude_m")?),
            7 => loose.battery = Some(field.float("/location/battery")?),
            _ => fields.keep(others),
        }
    }
    Ok(loose)
}

fn created(message: &[u8], others: &mut Vec<u8>) -> Result<Created, Refusal> {
    let (mut created, mut attributes) = (Created::default(), Vec::new());
    let (mut pickup, mut destination) = (None, None);
    let mut fields = Fields::new(message);
    while let Some(field) = fields.read()? {
        match field.tag {
            1 => append(&mut pickup, field.bytes("/created/pickup")?),
            2 => append(&mut destination, field.bytes("/created/destination")?),
            3 => created.promised_by = Some(required_time(field.int64("/created/promised_by_ms")?, "/created/promised_by_ms")?),
            4 => created.recipient_ref = Some(field.text("/created/recipient_ref")?.into()),
            5 => attributes.push(attribute(field.bytes("/created/attributes")?)?),
            _ => fields.keep(others),
        }
    }
    created.pickup = pickup.map(|message| point(&message, "/created/pickup", 1, others)).transpose()?;
    created.destination = destination.map(|message| point(&message, "/created/destination", 2, others)).transpose()?;
    checks::created(created, attributes, "/created")
}

/// Joins the bytes of a message that may be given in parts.
fn append(message: &mut Option<Vec<u8>>, part: &[u8]) {
    message.get_or_insert_default().extend_from_slice(part);
}

fn attribute(entry: &[u8]) -> Result<Attribute, Refusal> {
    let (mut name, mut value) = ("", "");
    let mut fields = Fields::new(entry);
    while let Some(field) = fields.read()? {
        match field.tag {
            1 => name = field.text("/created/attributes")?,
            2 => value = field.text("/created/attributes")?,
            _ => {}
        }
    }
    Ok((name.into(), value.into()))
}

fn point(message: &[u8], at: &str, tag: u32, others: &mut Vec<u8>) -> Result<Position, Refusal> {
    let (mut lat, mut lng, mut inner) = (0.0, 0.0, Vec::new());
    let mut fields = Fields::new(message);
    while let Some(field) = fields.read()? {
        match field.tag {
            1 => lat = field.double(at)?,
            2 => lng = field.double(at)?,
            _ => fields.keep(&mut inner),
        }
    }
    keep_nested(tag, &inner, others);
    checks::position(lat, lng, at)
}

fn assigned<'a>(message: &'a [u8], others: &mut Vec<u8>) -> Result<&'a str, Refusal> {
    let mut driver = "";
    let mut fields = Fields::new(message);
    while let Some(field) = fields.read()? {
        match field.tag {
            1 => driver = field.text("/assigned/driver_id")?,
            _ => fields.keep(others),
        }
    }
    Ok(driver)
}

fn status(message: &[u8], others: &mut Vec<u8>) -> Result<StatusChange, Refusal> {
    let (mut status, mut reason, mut proof) = ("", "", None);
    let mut fields = Fields::new(message);
    while let Some(field) = fields.read()? {
        match field.tag {
            1 => status = field.text("/status/status")?,
            2 => reason = field.text("/status/reason")?,
            3 => append(&mut proof, field.bytes("/status/proof")?),
            _ => fields.keep(others),
        }
    }
    let (mut sha256, mut url, mut inner) = ("", "", Vec::new());
    let mut fields = Fields::new(proof.as_deref().unwrap_or_default());
    while let Some(field) = fields.read()? {
        match field.tag {
            1 => sha256 = field.text("/status/proof/sha256")?,
            2 => url = field.text("/status/proof/url")?,
            _ => fields.keep(&mut inner),
        }
    }
    keep_nested(3, &inner, others);
    checks::status(status, reason, proof.as_ref().map(|_given| (sha256, url)), "/status")
}

/// Reads a message of one varint, field 1.
fn number(message: &[u8], pointer: &str, others: &mut Vec<u8>) -> Result<u64, Refusal> {
    let mut number = 0;
    let mut fields = Fields::new(message);
    while let Some(field) = fields.read()? {
        match field.tag {
            1 => number = field.varint(pointer)?,
            _ => fields.keep(others),
        }
    }
    Ok(number)
}
