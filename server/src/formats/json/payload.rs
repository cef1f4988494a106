//! The payloads of the events this version knows, as JSON. Never looks at the envelope.

use super::Others;
use super::scan::Scanner;
use crate::formats::checks::{self, LooseLocation};
use crate::formats::refusal::{Code, Refusal};
use crate::model::event::{Body, Created, StatusChange};
use crate::model::position::Position;
use crate::model::tags::Attribute;

/// A payload as it stands in its event.
#[derive(Debug)]
pub(super) struct Payload<'a> {
    raw: &'a str,
    /// Read already, with what is unknown in it: nearly every event is a location and says so before its payload.
    location: Option<(LooseLocation, Others)>,
}

impl<'a> Payload<'a> {
    /// Takes the payload of an event that has called itself `name` so far; nothing when it is `null`.
    pub(super) fn read(name: Option<&str>, scanner: &mut Scanner<'a>) -> Result<Option<Self>, Refusal> {
        if name == Some("location")
            && let Some((location, raw)) = scanner.attempt(location)
        {
            return Ok(Some(Self { raw, location: Some(location) }));
        }
        // What is wrong inside is named when it is decoded: not before the event is known to be JSON, and its name.
        Ok(scanner.value()?.map(|raw| Self { raw, location: None }))
    }
}

/// Reads a payload by its event's name; what it does not know goes to `others`. Absent, it is an object without members.
pub(super) fn decode(name: &str, given: Option<Payload<'_>>, others: &mut Others) -> Result<Body, Refusal> {
    let (raw, read_already) = given.map_or((None, None), |given| (Some(given.raw), given.location));
    let read = raw.unwrap_or("{}");
    Ok(match name {
        "location" => {
            let (loose, unknown) = read_already.map_or_else(|| location(&mut payload(read)), Ok)?;
            *others = unknown;
            Body::Location(checks::location(loose, "/payload")?)
        }
        "delivery.created" => Body::Created(Box::new(created(read, others)?)),
        "delivery.assigned" => Body::Assigned {
            driver: one(read, others, "driver", |scanner| scanner.string(DRIVER)).and_then(|driver| checks::driver(&driver, DRIVER))?,
        },
        "delivery.status" => Body::Status(Box::new(status(read, others)?)),
        "delivery.eta" => Body::Eta { eta: one(read, others, "eta", |scanner| scanner.time("/payload/eta"))? },
        "driver.duty" => Body::Duty { on: one(read, others, "on", |scanner| scanner.boolean("/payload/on"))? },
        _ => Body::Other { name: name.into(), payload: raw.unwrap_or("").as_bytes().to_vec().into() },
    })
}

const DRIVER: &str = "/payload/driver";

/// A payload as a scanner sees it: one level inside the event.
fn payload(raw: &str) -> Scanner<'_> {
    Scanner::new(raw, 1)
}

/// Reads a payload of one required member.
fn one<'a, T>(raw: &'a str, others: &mut Others, wanted: &str, read: impl Fn(&mut Scanner<'a>) -> Result<Option<T>, Refusal>) -> Result<T, Refusal> {
    let mut found = None;
    payload(raw).whole_object("/payload", |name, scanner| {
        if name.text == wanted {
            found = read(scanner)?;
            return Ok(());
        }
        others.keep(&name, scanner)
    })?;
    found.ok_or_else(|| Refusal::missing(format!("/payload/{wanted}")))
}

fn location<'a>(scanner: &mut Scanner<'a>) -> Result<(LooseLocation, Others), Refusal> {
    let (mut lat, mut lng) = (None, None);
    let (mut loose, mut others) = (LooseLocation::default(), Others::default());
    scanner.required_object("/payload", |name, scanner: &mut Scanner<'a>| {
        match name.text.as_ref() {
            "lat" => lat = scanner.number("/payload/lat")?,
            "lng" => lng = scanner.number("/payload/lng")?,
            "accuracy_m" => loose.accuracy_m = scanner.number("/payload/accuracy_m")?.map(narrow),
            "speed_mps" => loose.speed_mps = scanner.number("/payload/speed_mps")?.map(narrow),
            "heading_deg" => loose.heading_deg = scanner.number("/payload/heading_deg")?.map(narrow),
            "altitude_m" => loose.altitude_m = scanner.number("/payload/altitude_m")?.map(narrow),
            "battery" => loose.battery = scanner.number("/payload/battery")?.map(narrow),
            _ => others.keep(&name, scanner)?,
        }
        Ok(())
    })?;
    loose.lat = lat.ok_or_else(|| Refusal::missing("/payload/lat"))?;
    loose.lng = lng.ok_or_else(|| Refusal::missing("/payload/lng"))?;
    Ok((loose, others))
}

fn created(raw: &str, others: &mut Others) -> Result<Created, Refusal> {
    let (mut created, mut attributes) = (Created::default(), Vec::new());
    payload(raw).whole_object("/payload", |name, scanner| {
        match name.text.as_ref() {
            "pickup" => created.pickup = point(scanner, others, "pickup")?,
            "destination" => created.destination = point(scanner, others, "destination")?,
            "promised_by" => created.promised_by = scanner.time("/payload/promised_by")?,
            "recipient_ref" => created.recipient_ref = scanner.string("/payload/recipient_ref")?.map(|text| text.as_ref().into()),
            "attributes" => attributes = read_attributes(scanner)?,
            _ => others.keep(&name, scanner)?,
        }
        Ok(())
    })?;
    checks::created(created, attributes, "/payload")
}

fn read_attributes(scanner: &mut Scanner<'_>) -> Result<Vec<Attribute>, Refusal> {
    let at = "/payload/attributes";
    let mut attributes = Vec::new();
    scanner.object(at, |name, scanner| {
        let value = scanner.string("").map_err(|refusal| match refusal.code {
            Code::WrongType => checks::attribute_refusal(Code::WrongType, at, &name.text, "must be a string".to_owned()),
            _ => refusal,
        })?;
        if let Some(value) = value {
            attributes.push((name.text.as_ref().into(), value.as_ref().into()));
        }
        Ok(())
    })?;
    Ok(attributes)
}

fn point(scanner: &mut Scanner<'_>, others: &mut Others, member: &str) -> Result<Option<Position>, Refusal> {
    let at = format!("/payload/{member}");
    let (lat_at, lng_at) = (format!("{at}/lat"), format!("{at}/lng"));
    let (mut lat, mut lng, mut inner) = (None, None, Others::default());
    let object = scanner.object(&at, |name, scanner| {
        match name.text.as_ref() {
            "lat" => lat = scanner.number(&lat_at)?,
            "lng" => lng = scanner.number(&lng_at)?,
            _ => inner.keep(&name, scanner)?,
        }
        Ok(())
    })?;
    if object.is_none() {
        return Ok(None);
    }
    others.keep_nested(member, inner);
    let (lat, lng) = (lat.ok_or_else(|| Refusal::missing(lat_at))?, lng.ok_or_else(|| Refusal::missing(lng_at))?);
    checks::position(lat, lng, &at).map(Some)
}

fn status(raw: &str, others: &mut Others) -> Result<StatusChange, Refusal> {
    let (mut status, mut reason, mut proof) = (None, None, None);
    payload(raw).whole_object("/payload", |name, scanner| {
        match name.text.as_ref() {
            "status" => status = scanner.string("/payload/status")?,
            "reason" => reason = scanner.string("/payload/reason")?,
            "proof" => {
                let (mut sha256, mut url, mut inner) = (None, None, Others::default());
                let object = scanner.object("/payload/proof", |name, scanner| {
                    match name.text.as_ref() {
                        "sha256" => sha256 = scanner.string("/payload/proof/sha256")?,
                        "url" => url = scanner.string("/payload/proof/url")?,
                        _ => inner.keep(&name, scanner)?,
                    }
                    Ok(())
                })?;
                others.keep_nested("proof", inner);
                proof = object.map(|()| (sha256.unwrap_or_default(), url.unwrap_or_default()));
            }
            _ => others.keep(&name, scanner)?,
        }
        Ok(())
    })?;
    let proof = proof.as_ref().map(|(sha256, url)| (sha256.as_ref(), url.as_ref()));
    checks::status(&status.unwrap_or_default(), &reason.unwrap_or_default(), proof, "/payload")
}

#[expect(clippy::cast_possible_truncation, reason = "seven digits are far beyond what a phone measures; what overflows is refused as out of range")]
fn narrow(number: f64) -> f32 {
    number as f32
}
