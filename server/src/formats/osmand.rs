//! One position as a query string or a form: what the Traccar Client up to version 8 and `OsmAnd` send. Never a batch.
//!
//! `id` or `deviceid`; `lat` and `lon` in degrees, or both as `location=lat,lon`; `timestamp` (seconds, milliseconds, ISO 8601 or
//! `yyyy-MM-dd HH:mm:ss` in UTC; absent: when it arrives); `speed` in the unit of the setting, or of `speed_unit` in the request itself; `bearing`
//! or `heading`; `altitude` and `accuracy` in metres; `batt` in percent. Whatever else is said is kept. Without a position, or with `valid=false`,
//! a report says only that the phone is there: nothing is stored.

use super::phone::pairs::{FixNames, Pairs, Said};
use super::phone::{self, Heard, Item, Report, Words};
use super::refusal::{Code, Refusal};
use crate::model::speed::SpeedUnit;

const NAMES: FixNames = FixNames {
    lat: &["lat"],
    lng: &["lon"],
    accuracy_m: &["accuracy"],
    heading_deg: &["bearing", "heading"],
    altitude_m: &["altitude"],
    battery_percent: &["batt"],
};

const DEVICE: [&str; 2] = ["id", "deviceid"];

/// Whether a query says where its phone is: if not, the body does, and the query says only whose it is or in what unit.
pub fn has_place(query: &[u8]) -> bool {
    Pairs::parse(query).is_ok_and(|pairs| says_place(&pairs))
}

fn says_place(pairs: &Pairs<'_>) -> bool {
    [NAMES.lat, NAMES.lng, &["location"]].into_iter().any(|names| pairs.has(names))
}

/// Reads a request: its query string and, when that has no place in it, its form as well; what stands in both counts as the query says it. `unit` is
/// that of a speed whose own is not said.
pub fn decode(query: &[u8], form: &[u8], unit: SpeedUnit) -> Heard {
    let mut device = None;
    let both = Pairs::parse(query).and_then(|query| {
        let form = if says_place(&query) { Pairs::default() } else { Pairs::parse(form)? };
        Ok(query.and(form))
    });
    let read = both.and_then(|mut pairs| {
        device = Some(pairs.text(&DEVICE).into_iter().collect());
        read(pairs, unit)
    });
    Heard::one(Item { device, read, place: None })
}

fn read(mut pairs: Pairs<'_>, unit: SpeedUnit) -> Result<Option<Report>, Refusal> {
    let unit = match pairs.take(&["speed_unit"]) {
        None => unit,
        Some(named) => named.value.parse().map_err(|error| Refusal::new(Code::WrongType, named.pointer, format!("{error}")))?,
    };
    let time = pairs.time(&["timestamp"])?;
    let place = place(&mut pairs)?;
    let valid = pairs.text(&["valid"]);
    let Some(place) = place.filter(|_place| !matches!(valid.as_deref(), Some("false" | "0"))) else { return Ok(None) };
    let speed = pairs.number(&["speed"])?.map(|(speed, at)| (unit.to_mps(speed), at));
    let body = pairs.fix(&place, speed.as_ref(), &NAMES)?;
    let words = Words { event_id: "/id".into(), time: "/timestamp".into() };
    let time = time.map(|(time, _pointer)| time);
    Ok(Some(Report { event_id: None, time, body, unknown: phone::in_payload(pairs.rest()), words }))
}

/// Latitude and longitude; none when neither is said.
fn place(pairs: &mut Pairs<'_>) -> Result<Option<(Said, Said)>, Refusal> {
    let Some(both) = pairs.take(&["location"]) else { return pairs.place(&NAMES) };
    let numbers = both.value.split_once(',').and_then(|(lat, lng)| Some((lat.trim().parse().ok()?, lng.trim().parse().ok()?)));
    let (lat, lng) = numbers.ok_or_else(|| Refusal::new(Code::WrongType, both.pointer.clone(), "must be latitude,longitude"))?;
    Ok(Some(((lat, both.pointer.clone()), (lng, both.pointer))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::phone::tests::{NOW, as_json, event, is_without_report, refusal};
    use crate::model::time::UnixMs;

    fn heard(query: &str) -> Heard {
        decode(query.as_bytes(), b"", SpeedUnit::Knots)
    }

    #[test]
    fn what_the_traccar_client_sends_is_the_event_that_json_gives() {
        let query = "id=123456&timestamp=1795509000&lat=57.7089&lon=11.9746&speed=10.0&bearing=90.0&altitude=12.5&accuracy=4.0&batt=81.0&charge=true";
        let payload =
            r#"{"lat":57.7089,"lng":11.9746,"speed_mps":5.1444445,"heading_deg":90,"altitude_m":12.5,"accuracy_m":4,"battery":0.81,"charge":true}"#;
        assert_eq!(event(heard(query)), as_json("123456", "123456", 1_795_509_000_000, payload));
    }

    #[test]
    fn a_form_is_read_when_the_query_is_empty_and_only_then() {
        let form = b"deviceid=7&lat=57.7&lon=11.9&timestamp=1795509000";
        assert_eq!(decode(b"", form, SpeedUnit::Knots), decode(form, b"id=8", SpeedUnit::Knots));
        assert_eq!(event(decode(b"", form, SpeedUnit::Knots)), as_json("7", "7", 1_795_509_000_000, r#"{"lat":57.7,"lng":11.9}"#));
    }

    #[test]
    fn the_unit_of_a_speed_is_the_settings_unless_the_request_names_it() {
        let fix = "id=7&lat=57.7&lon=11.9&timestamp=1795509000&speed=36";
        for (unit, named, mps) in
            [(SpeedUnit::Knots, "", 18.52), (SpeedUnit::Mps, "", 36.0), (SpeedUnit::Kmh, "", 10.0), (SpeedUnit::Knots, "&speed_unit=mps", 36.0)]
        {
            let heard = decode(format!("{fix}{named}").as_bytes(), b"", unit);
            let payload = format!(r#"{{"lat":57.7,"lng":11.9,"speed_mps":{mps}}}"#);
            assert_eq!(event(heard), as_json("7", "7", 1_795_509_000_000, &payload), "{unit:?}{named}");
        }
        let refused = refusal(heard(&format!("{fix}&speed_unit=mph")));
        assert_eq!((refused.code, refused.pointer.as_str()), (Code::WrongType, "/speed_unit"));
    }

    #[test]
    fn what_is_negative_or_empty_is_unknown_and_a_time_that_is_absent_is_now() {
        let query = "id=7&location=57.7,11.9&speed=-1.9&bearing=-1&accuracy=-1&batt=-100&altitude=&rpm=933";
        assert_eq!(event(heard(query)), as_json("7", "7", NOW.0, r#"{"lat":57.7,"lng":11.9,"rpm":933}"#));
    }

    #[test]
    fn a_report_without_a_position_is_nothing_to_store() {
        for query in ["id=7&timestamp=1795509000&batt=50", "id=7&lat=57.7&lon=11.9&valid=false", "id=7&lat=57.7&lon=11.9&valid=0"] {
            assert!(is_without_report(heard(query)), "{query}");
        }
    }

    #[test]
    fn each_wrong_field_is_named_as_its_sender_named_it() {
        let cases = [
            ("id=7&lat=57.7", Code::MissingField, "/lon"),
            ("id=7&lat=91&lon=1", Code::OutOfRange, "/lat"),
            ("id=7&lat=1&LON=181", Code::OutOfRange, "/LON"),
            ("id=7&lat=0&lon=0", Code::NullIsland, "/lat"),
            ("id=7&location=1", Code::WrongType, "/location"),
            ("id=7&lat=1&lon=x", Code::WrongType, "/lon"),
            ("id=7&lat=1&lon=1&speed=NaN", Code::OutOfRange, "/speed"),
            ("id=7&lat=1&lon=1&speed=9999", Code::OutOfRange, "/speed"),
            ("id=7&lat=1&lon=1&heading=400", Code::OutOfRange, "/heading"),
            ("id=7&lat=1&lon=1&batt=101", Code::OutOfRange, "/batt"),
            ("id=7&lat=1&lon=1&timestamp=noon", Code::InvalidTime, "/timestamp"),
        ];
        for (query, code, pointer) in cases {
            let refused = refusal(heard(query));
            assert_eq!((refused.code, refused.pointer.as_str()), (code, pointer), "{query}");
        }
    }

    #[test]
    fn seconds_and_milliseconds_are_told_apart_and_a_plus_may_have_become_a_space() {
        for timestamp in ["1795509000", "1795509000000", "2026-11-24T09:30:00+01:00", "2026-11-24T09:30:00%2B0100", "2026-11-24%2008:30:00"] {
            let read = event(heard(&format!("id=7&lat=57.7&lon=11.9&timestamp={timestamp}")));
            assert_eq!(read.event_time, UnixMs(1_795_509_000_000), "{timestamp}");
        }
    }
}
