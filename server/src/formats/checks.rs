//! The rules every protocol shares: what makes loose fields an `Event`. Never looks at bytes.

use super::refusal::{Code, Refusal};
use crate::model::event::{Body, Created, Event, Location, Proof, Stamp, StatusChange};
use crate::model::id::{DeliveryId, DriverId, EventId, InvalidId, TenantId};
use crate::model::position::{InvalidPosition, Position};
use crate::model::status::Status;
use crate::model::tags::{Attribute, Attributes, MAX_ATTRIBUTES, MAX_NAME_BYTES, MAX_VALUE_BYTES};
use crate::model::time::UnixMs;

/// Longest free text (a reason, a reference), in bytes.
const MAX_TEXT_BYTES: usize = 256;
const MAX_URL_BYTES: usize = 2048;
const MAX_EVENT_NAME_BYTES: usize = 64;

/// The envelope as a protocol read it; empty texts count as absent.
#[derive(Debug, Default)]
pub struct Envelope<'a> {
    pub event_id: &'a str,
    pub tenant_id: &'a str,
    pub actor_id: &'a str,
    pub entity_id: &'a str,
    pub event_time: UnixMs,
    pub schema_version: u32,
}

/// A fix as a protocol read it.
#[derive(Clone, Copy, Debug, Default)]
pub struct LooseLocation {
    pub lat: f64,
    pub lng: f64,
    pub accuracy_m: Option<f32>,
    pub speed_mps: Option<f32>,
    pub heading_deg: Option<f32>,
    pub altitude_m: Option<f32>,
    pub battery: Option<f32>,
}

/// Joins envelope and body; `tenant` is the credential's.
pub fn event(envelope: &Envelope<'_>, body: Body, tenant: &TenantId) -> Result<Event, Refusal> {
    if envelope.event_id.is_empty() {
        return Err(Refusal::missing("/event_id"));
    }
    if !envelope.tenant_id.is_empty() && envelope.tenant_id != tenant.as_str() {
        return Err(Refusal::new(Code::TenantMismatch, "/tenant_id", "is not the tenant of the credential"));
    }
    let actor = optional_id(envelope.actor_id, DriverId::parse, "/actor_id")?;
    let delivery = optional_id(envelope.entity_id, DeliveryId::parse, "/entity_id")?;
    match &body {
        Body::Location(_) | Body::Duty { .. } if actor.is_none() => return Err(Refusal::missing("/actor_id")),
        Body::Created(_) | Body::Assigned { .. } | Body::Status(_) | Body::Eta { .. } if delivery.is_none() => {
            return Err(Refusal::missing("/entity_id"));
        }
        _ => {}
    }
    // Duty is the driver's alone: routed by the driver, whatever delivery the app had open.
    let delivery = if matches!(body, Body::Duty { .. }) { None } else { delivery };
    Ok(Event {
        id: EventId::parse(envelope.event_id).map_err(|error| invalid_id(error, "/event_id"))?,
        tenant: *tenant,
        actor,
        delivery,
        event_time: envelope.event_time,
        schema_version: envelope.schema_version.max(1),
        body,
        stamp: Stamp { effective_time: envelope.event_time, ..Stamp::default() },
        unknown: None,
    })
}

/// A name of lower-case words joined by dots.
pub fn event_name(name: &str) -> Result<(), Refusal> {
    // Nearly all events are these.
    if name == "location" {
        return Ok(());
    }
    let legal = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.');
    let empty_word = || name.starts_with('.') || name.ends_with('.') || name.as_bytes().windows(2).any(|pair| pair == b"..");
    let well_formed = name.len() <= MAX_EVENT_NAME_BYTES && name.bytes().all(legal) && !empty_word();
    if name.is_empty() {
        Err(Refusal::missing("/event_name"))
    } else if well_formed {
        Ok(())
    } else {
        Err(Refusal::new(Code::InvalidEventName, "/event_name", "must be lower-case words joined by dots, at most 64 bytes"))
    }
}

pub fn location(loose: LooseLocation, at: &str) -> Result<Location, Refusal> {
    let position = position(loose.lat, loose.lng, at)?;
    let check = |value: Option<f32>, name: &str, min: f32, max: f32| match value {
        Some(value) if !(min..=max).contains(&value) => {
            Err(Refusal::new(Code::OutOfRange, format!("{at}/{name}"), format!("must be a number from {min} to {max}")))
        }
        value => Ok(value),
    };
    Ok(Location {
        position,
        accuracy_m: check(loose.accuracy_m, "accuracy_m", 0.0, 100_000.0)?,
        speed_mps: check(loose.speed_mps, "speed_mps", 0.0, 1000.0)?,
        heading_deg: check(loose.heading_deg, "heading_deg", 0.0, 360.0)?.map(|heading| if heading < 360.0 { heading } else { 0.0 }),
        altitude_m: check(loose.altitude_m, "altitude_m", -12_000.0, 100_000.0)?,
        battery: check(loose.battery, "battery", 0.0, 1.0)?,
    })
}

pub fn position(lat: f64, lng: f64, at: &str) -> Result<Position, Refusal> {
    Position::from_degrees(lat, lng).map_err(|error| match error {
        InvalidPosition::Latitude => Refusal::new(Code::OutOfRange, format!("{at}/lat"), error.to_string()),
        InvalidPosition::Longitude => Refusal::new(Code::OutOfRange, format!("{at}/lng"), error.to_string()),
        InvalidPosition::NullIsland => Refusal::new(Code::NullIsland, at, error.to_string()),
    })
}

pub fn status(status: &str, reason: &str, proof: Option<(&str, &str)>, at: &str) -> Result<StatusChange, Refusal> {
    if status.is_empty() {
        return Err(Refusal::missing(format!("{at}/status")));
    }
    let status: Status = status.parse().map_err(|error| Refusal::new(Code::UnknownStatus, format!("{at}/status"), format!("{error}")))?;
    let reason = text(reason, MAX_TEXT_BYTES, || format!("{at}/reason"))?;
    if status == Status::Failed && reason.is_none() {
        return Err(Refusal::missing(format!("{at}/reason")));
    }
    let proof = proof.map(|(sha256, url)| proof_of(sha256, url, at)).transpose()?;
    Ok(StatusChange { status, reason, proof })
}

fn proof_of(sha256: &str, url: &str, at: &str) -> Result<Proof, Refusal> {
    if sha256.len() != 64 || !sha256.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Refusal::new(Code::OutOfRange, format!("{at}/proof/sha256"), "must be 64 hex digits"));
    }
    let url = text(url, MAX_URL_BYTES, || format!("{at}/proof/url"))?.ok_or_else(|| Refusal::missing(format!("{at}/proof/url")))?;
    Ok(Proof { sha256: sha256.to_ascii_lowercase().into(), url })
}

/// Checks the texts of a `delivery.created` and gives it its attributes.
pub fn created(mut created: Created, attributes: Vec<Attribute>, at: &str) -> Result<Created, Refusal> {
    created.recipient_ref = text(created.recipient_ref.as_deref().unwrap_or(""), MAX_TEXT_BYTES, || format!("{at}/recipient_ref"))?;
    if attributes.len() > MAX_ATTRIBUTES {
        return Err(Refusal::new(Code::TooManyAttributes, format!("{at}/attributes"), format!("at most {MAX_ATTRIBUTES} attributes")));
    }
    for (name, value) in &attributes {
        if name.is_empty() || name.len() > MAX_NAME_BYTES || value.len() > MAX_VALUE_BYTES {
            let detail = format!("a name has 1 to {MAX_NAME_BYTES} bytes, a value at most {MAX_VALUE_BYTES}");
            return Err(attribute_refusal(Code::TooLarge, &format!("{at}/attributes"), name, detail));
        }
    }
    created.attributes = Attributes::new(attributes);
    Ok(created)
}

pub fn driver(text: &str, at: &str) -> Result<DriverId, Refusal> {
    optional_id(text, DriverId::parse, at)?.ok_or_else(|| Refusal::missing(at))
}

fn text(value: &str, max_bytes: usize, pointer: impl Fn() -> String) -> Result<Option<Box<str>>, Refusal> {
    if value.len() > max_bytes {
        return Err(Refusal::new(Code::TooLarge, pointer(), format!("at most {max_bytes} bytes")));
    }
    Ok((!value.is_empty()).then(|| value.into()))
}

fn optional_id<T>(text: &str, parse: impl FnOnce(&str) -> Result<T, InvalidId>, pointer: &str) -> Result<Option<T>, Refusal> {
    if text.is_empty() { Ok(None) } else { parse(text).map(Some).map_err(|error| invalid_id(error, pointer)) }
}

fn invalid_id(error: InvalidId, pointer: &str) -> Refusal {
    Refusal::new(Code::InvalidId, pointer, error.to_string())
}

/// A refusal of one attribute, named by its pointer (RFC 6901, section 3) unless the name itself is what is too long.
pub fn attribute_refusal(code: Code, at: &str, name: &str, detail: String) -> Refusal {
    let pointer = if name.len() > MAX_NAME_BYTES { at.to_owned() } else { format!("{at}/{}", name.replace('~', "~0").replace('/', "~1")) };
    Refusal::new(code, pointer, detail)
}
