//! What the formats of phone apps have in common: a report by a device, whose driver is yet to be found. Never looks at bytes.
//!
//! Every format becomes the event that the same facts give as JSON: what the app says beyond our schema stands in its payload as unknown members.
//! A refusal's pointer uses the app's own names. Where an app has a way to say "unknown" (nothing, an empty text, a negative number) nothing is said.

pub mod app;
pub mod pairs;
pub mod time;

use std::borrow::Cow;
use std::ops::Range;

use super::checks::{self, Envelope, LooseLocation};
use super::json::MAX_EVENT_BYTES;
use super::json::scan::Scanner;
use super::refusal::{Code, Refusal};
use crate::model::event::{Body, Event, Unknown};
use crate::model::id::{DriverId, TenantId};
use crate::model::time::UnixMs;

/// What the apps of one request say.
#[derive(Debug, Default, PartialEq)]
pub struct Heard {
    pub items: Vec<Item>,
    /// Messages of a kind that is no event, whoever they are from.
    pub ignored: usize,
}

/// One message of a device.
#[derive(Debug, PartialEq)]
pub struct Item {
    /// What the device is called, the most particular name first; empty when the message does not say, absent when it could not be read so far.
    pub device: Option<Vec<String>>,
    /// The report in it; none when it carries nothing to store, for want of a fix.
    pub read: Result<Option<Report>, Refusal>,
    /// Where it stands in the body; absent: it is all that came.
    pub place: Option<Range<usize>>,
}

/// One event of a device, before it is known whose device that is.
#[derive(Debug, PartialEq)]
pub struct Report {
    /// The sender's own id; without one it is derived from what the report says.
    pub event_id: Option<String>,
    /// By the device's clock; absent: when it arrives.
    pub time: Option<UnixMs>,
    pub body: Body,
    /// What the app said beyond our schema: a JSON object as text.
    pub unknown: Option<String>,
    pub words: Words,
}

/// What the app calls the things that can still be refused once its report is read, as JSON pointers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words {
    pub event_id: Cow<'static, str>,
    pub time: Cow<'static, str>,
}

/// Where a piece that was cut out of `body` stands in it.
pub(super) fn place(body: &[u8], piece: &[u8]) -> Range<usize> {
    let start = piece.as_ptr().addr().saturating_sub(body.as_ptr().addr()).min(body.len());
    start..(start + piece.len()).min(body.len())
}

impl Heard {
    pub fn one(item: Item) -> Self {
        Self { items: vec![item], ignored: 0 }
    }

    /// A message that is no event.
    pub fn nothing() -> Self {
        Self { items: Vec::new(), ignored: 1 }
    }
}

impl Report {
    /// The event, now that the driver of the `device` is known. A report without a time happened `now`.
    pub fn event(self, device: Option<&str>, driver: &DriverId, tenant: &TenantId, now: UnixMs) -> Result<Event, Refusal> {
        let time = self.time.unwrap_or(now);
        // An id that is derived says the time already.
        let undated = self.time.is_none() && self.event_id.is_some();
        let event_id = match self.event_id {
            Some(id) => id,
            None => derived_id(device.unwrap_or(&driver.as_str()), time, &self.body),
        };
        let envelope = Envelope { event_id: &event_id, actor_id: &driver.as_str(), event_time: time, ..Envelope::default() };
        let mut event = checks::event(&envelope, self.body, tenant).map_err(|refusal| match refusal.pointer.as_str() {
            "/event_id" => Refusal { pointer: self.words.event_id.into_owned(), ..refusal },
            _ => refusal,
        })?;
        event.stamp.undated = undated;
        event.unknown = self.unknown.map(|json| Box::new(Unknown { json: json.into(), ..Unknown::default() }));
        Ok(event)
    }
}

/// An id for a report that has none: the same report sent again gets the same. As a UUID (version 8: made by a rule of one's own).
fn derived_id(device: &str, time: UnixMs, body: &Body) -> String {
    let mut of = Vec::with_capacity(128);
    of.extend_from_slice(device.as_bytes());
    of.push(0);
    of.extend_from_slice(body.name().as_bytes());
    of.push(0);
    of.extend_from_slice(&time.0.to_be_bytes());
    match body {
        Body::Location(location) => {
            of.extend_from_slice(&location.position.lat_e7().to_be_bytes());
            of.extend_from_slice(&location.position.lng_e7().to_be_bytes());
        }
        Body::Other { payload, .. } => of.extend_from_slice(payload),
        _ => {}
    }
    let hash = xxhash_rust::xxh3::xxh3_128(&of).to_be_bytes();
    uuid::Builder::from_custom_bytes(hash).into_uuid().to_string()
}

/// Checks a fix; `word` says what the app calls a member of ours (`/lat`, `/speed_mps`; empty: the position as a whole).
pub fn location(loose: LooseLocation, word: impl Fn(&str) -> String) -> Result<Body, Refusal> {
    checks::location(loose, "").map(Body::Location).map_err(|refusal| {
        let unit = match refusal.pointer.as_str() {
            "/speed_mps" => " in metres a second",
            "/battery" => " as a share of the whole",
            _ => "",
        };
        Refusal { pointer: word(&refusal.pointer), detail: format!("{}{unit}", refusal.detail), ..refusal }
    })
}

/// A measure that is never negative: apps say "unknown" by a negative one.
pub fn known(number: Option<f64>) -> Option<f32> {
    number.filter(|number| !number.is_sign_negative() || *number == 0.0).map(narrow)
}

#[expect(clippy::cast_possible_truncation, reason = "seven digits are far beyond what a phone measures; what overflows is refused as out of range")]
pub fn narrow(number: f64) -> f32 {
    number as f32
}

/// Reads a text, or a number as its text: simple apps write ids either way. Nothing when it is `null` or empty.
pub fn text_or_number(scanner: &mut Scanner<'_>, pointer: &str) -> Result<Option<String>, Refusal> {
    let Some(raw) = scanner.value()? else { return Ok(None) };
    let text = match raw.as_bytes() {
        [b'"', ..] => Scanner::new(raw, 0).string(pointer)?.unwrap_or_default(),
        [b'-' | b'0'..=b'9', ..] => Cow::Borrowed(raw),
        _ => return Err(Refusal::new(Code::WrongType, pointer, "must be a string")),
    };
    Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty()))
}

/// Reads a time: a text in any form that phones use, or a number of seconds or milliseconds; nothing when it is `null`.
pub fn moment(scanner: &mut Scanner<'_>, pointer: &str) -> Result<Option<UnixMs>, Refusal> {
    let Some(text) = text_or_number(scanner, pointer)? else { return Ok(None) };
    let detail = "must be ISO 8601 with an offset, or Unix seconds or milliseconds";
    time::parse(&text).map(Some).ok_or_else(|| Refusal::new(Code::InvalidTime, pointer, detail))
}

/// The text of a report in JSON.
pub fn utf8(bytes: &[u8]) -> Result<&str, Refusal> {
    check_size(bytes)?;
    std::str::from_utf8(bytes).map_err(|error| Refusal::new(Code::MalformedJson, "", format!("not UTF-8: {error}")))
}

/// Refuses a report that is longer than an event may be.
pub fn check_size(bytes: &[u8]) -> Result<(), Refusal> {
    if bytes.len() > MAX_EVENT_BYTES {
        return Err(Refusal::new(Code::TooLarge, "", format!("a report has at most {MAX_EVENT_BYTES} bytes")));
    }
    Ok(())
}

/// What is unknown in a payload, as it would stand in an event: `{"payload": {..}}`.
pub fn in_payload(unknown: Option<String>) -> Option<String> {
    unknown.map(|object| format!("{{\"payload\":{object}}}"))
}

/// What the tests of all formats need.
#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::{any, prop, prop_oneof, proptest};
    use proptest::strategy::Strategy;

    use super::*;
    use crate::formats::json;

    pub(in crate::formats) const NOW: UnixMs = UnixMs(1_795_509_600_000);

    pub(in crate::formats) fn tenant() -> TenantId {
        TenantId::parse("acme").expect("valid")
    }

    fn one(heard: Heard) -> Item {
        let [item] = <[Item; 1]>::try_from(heard.items).expect("one report");
        item
    }

    /// The one report as an event: of the driver that its device is called after, or of `van-1`.
    pub(in crate::formats) fn event(heard: Heard) -> Event {
        event_of(one(heard))
    }

    pub(in crate::formats) fn event_of(item: Item) -> Event {
        let (report, device) = (item.read.expect("no refusal").expect("a report"), item.device.expect("read"));
        let driver = DriverId::parse(device.last().map_or("van-1", String::as_str)).expect("valid");
        report.event(device.first().map(String::as_str), &driver, &tenant(), NOW).expect("valid")
    }

    /// The one message has nothing to store.
    pub(in crate::formats) fn is_without_report(heard: Heard) -> bool {
        one(heard).read == Ok(None)
    }

    pub(in crate::formats) fn refusal(heard: Heard) -> Refusal {
        one(heard).read.expect_err("refused")
    }

    /// The location that JSON gives, under the id that is derived from it for the report of `device`.
    pub(in crate::formats) fn as_json(device: &str, driver: &str, at_ms: i64, payload: &str) -> Event {
        let read = |id: &str| {
            let text = format!(r#"{{"event_id":"{id}","event_name":"location","actor_id":"{driver}","event_time":{at_ms},"payload":{payload}}}"#);
            json::decode(text.as_bytes(), &tenant()).expect("valid")
        };
        let device = if device.is_empty() { driver } else { device };
        read(&derived_id(device, UnixMs(at_ms), &read("x").body))
    }

    #[test]
    fn the_same_report_has_the_same_id_and_another_has_another() {
        let body = |lat: f64| location(LooseLocation { lat, lng: 11.9, ..LooseLocation::default() }, str::to_owned).expect("valid");
        let id = derived_id("a", UnixMs(1), &body(57.7));
        assert_eq!(id, derived_id("a", UnixMs(1), &body(57.7)));
        assert_eq!(id, "5d236724-e06b-8b32-9097-cd76c0b9c619", "stable across versions: a phone may resend after an update");
        for other in
            [derived_id("b", UnixMs(1), &body(57.7)), derived_id("a", UnixMs(2), &body(57.7)), derived_id("a", UnixMs(1), &body(57.700_000_1))]
        {
            assert_ne!(id, other);
        }
    }

    #[test]
    fn a_measure_that_is_negative_is_unknown_and_one_that_is_no_number_is_not() {
        assert_eq!([known(Some(-1.0)), known(Some(-0.0)), known(Some(1.5)), known(None)], [None, Some(0.0), Some(1.5), None]);
        assert!(known(Some(f64::NAN)).is_some_and(f32::is_nan), "it is refused where ranges are checked");
    }
    /// Texts of which each parser knows something.
    fn nearly_a_report() -> impl Strategy<Value = Vec<u8>> {
        let words = [
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "\"",
            "&",
            "=",
            "%",
            "%2",
            "+",
            "id",
            "lat",
            "lon",
            "timestamp",
            "speed",
            "batt",
            "location",
            "57.7",
            "-1",
            "1795509000",
            "1e999",
            "NaN",
            "\"_type\":\"location\"",
            "\"tst\":1",
            "\"topic\":\"owntracks/a/b\"",
            "\"lat\":57.7",
            "\"lon\":11.9",
            "\"device_id\":\"7\"",
            "\"locations\":[",
            "\"geometry\":{\"coordinates\":[11.9,57.7]}",
            "\"properties\":{",
            "\"timestamp\":\"2026-11-24T08:30:00-0700\"",
            "\"coords\":{\"latitude\":57.7,\"longitude\":11.9}",
            "\"specversion\":\"1.0\"",
            "\"type\":\"door.opened\"",
            "\"data_base64\":\"AA==\"",
            "\"id\":\"e\"",
            "é",
            "\u{0}",
        ];
        let word = prop_oneof![8 => prop::sample::select(words.to_vec()).prop_map(|word| word.as_bytes().to_vec()), 1 => prop::collection::vec(any::<u8>(), 0..4)];
        prop::collection::vec(word, 0..24).prop_map(|words| words.concat())
    }

    proptest! {
        #[test]
        fn no_bytes_make_any_parser_panic(bytes in nearly_a_report(), other in prop::collection::vec(any::<u8>(), 0..60)) {
            use crate::formats::{cloudevents, gpslogger, osmand, overland, owntracks, traccar};
            let driver = DriverId::parse("van-1").expect("valid");
            let wrapped = [b"{".as_slice(), &bytes, b"}"].concat();
            for body in [&bytes, &other, &wrapped] {
                let origin = owntracks::Origin { user: Some(String::from_utf8_lossy(&other).into_owned()), ..owntracks::Origin::default() };
                let heard = [
                    osmand::decode(body, b"", crate::model::speed::SpeedUnit::Knots),
                    osmand::decode(b"", body, crate::model::speed::SpeedUnit::Kmh),
                    gpslogger::decode(body, b""),
                    gpslogger::decode(b"", body),
                    traccar::decode(body),
                    owntracks::decode(body, &origin),
                    overland::decode(body, 3).unwrap_or_default(),
                ];
                for item in heard.into_iter().flat_map(|heard| heard.items) {
                    if let Ok(Some(report)) = item.read {
                        drop(report.event(None, &driver, &tenant(), NOW));
                    }
                }
                drop(cloudevents::decode(body, &tenant(), NOW));
                let text = String::from_utf8_lossy(body);
                drop(cloudevents::decode_binary([("id", text.as_ref()), (text.as_ref(), "x")].into_iter(), true, &other, &tenant(), NOW));
                drop(cloudevents::open_batch(body).and_then(|items| cloudevents::decode_batch(items, 3, &tenant(), NOW)));
            }
        }
    }
}
