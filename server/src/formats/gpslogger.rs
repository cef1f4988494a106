//! What `GPSLogger` for Android sends to a custom URL: a query string, form or flat JSON object whose names its user wrote. Never a batch.
//!
//! Read are the names of the app's default template (`lat`, `longitude`, `time`, `s`), those of its placeholders in lower case (so `%ALL` works), and
//! the usual other spellings, in any case. `s`, `spd` and `speed` are metres a second, `spd_kph` kilometres an hour; `batt` is percent; times are
//! seconds, milliseconds or ISO 8601. The device is `id`, `deviceid`, `device`, `device_id`, `ser` or `aid`. Whatever else is said is kept.

use super::phone::pairs::{FixNames, Pairs};
use super::phone::{self, Heard, Item, Report, Words};
use super::refusal::Refusal;
use crate::model::speed::SpeedUnit;

const DEVICE: [&str; 6] = ["id", "deviceid", "device", "device_id", "ser", "aid"];
/// Of several times the first counts: it has no ambiguity.
const TIME: [&str; 5] = ["timestamp", "time", "timeoffset", "ts", "tst"];
const NAMES: FixNames = FixNames {
    lat: &["lat", "latitude"],
    lng: &["lon", "longitude", "lng", "long"],
    accuracy_m: &["acc", "accuracy"],
    heading_deg: &["dir", "direction", "bearing", "heading", "course"],
    altitude_m: &["alt", "altitude"],
    battery_percent: &["batt", "battery", "bat"],
};
const SPEED_MPS: [&str; 3] = ["spd", "s", "speed"];
const SPEED_KMH: [&str; 2] = ["spd_kph", "kph"];

/// Whether a query says where its phone is: if not, the body does, and the query says only whose it is.
pub fn has_place(query: &[u8]) -> bool {
    Pairs::parse(query).is_ok_and(|pairs| pairs.has(NAMES.lat) || pairs.has(NAMES.lng))
}

/// Reads a request: its query string and, when that has no place in it, its body as well; the query says first whose phone it is.
pub fn decode(query: &[u8], body: &[u8]) -> Heard {
    let mut device = None;
    let read = both(query, body).and_then(|(mut query, body)| {
        let named = query.text(&DEVICE);
        let mut pairs = query.and(body);
        let also_named = pairs.text(&DEVICE);
        device = Some(named.or(also_named).into_iter().collect());
        read(pairs)
    });
    Heard::one(Item { device, read, place: None })
}

fn both<'a>(query: &'a [u8], body: &'a [u8]) -> Result<(Pairs<'a>, Pairs<'a>), Refusal> {
    let in_query = Pairs::parse(query)?;
    let body = body.trim_ascii_start();
    let in_body = match body.first() {
        _ if in_query.has(NAMES.lat) || in_query.has(NAMES.lng) => Pairs::default(),
        Some(b'{') => Pairs::parse_json(body)?,
        _ => Pairs::parse(body)?,
    };
    Ok((in_query, in_body))
}

fn read(mut pairs: Pairs<'_>) -> Result<Option<Report>, Refusal> {
    let time = pairs.time(&TIME)?;
    let Some(place) = pairs.place(&NAMES)? else { return Ok(None) };
    let kmh = pairs.number(&SPEED_KMH)?.map(|(speed, at)| (SpeedUnit::Kmh.to_mps(speed), at));
    let speed = pairs.number(&SPEED_MPS)?.or(kmh);
    let body = pairs.fix(&place, speed.as_ref(), &NAMES)?;
    let (time, time_at) = time.unzip();
    let words = Words { event_id: "/id".into(), time: time_at.map_or("/time".into(), Into::into) };
    Ok(Some(Report { event_id: None, time, body, unknown: phone::in_payload(pairs.rest()), words }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::phone::tests::{as_json, event, is_without_report, refusal};
    use crate::formats::refusal::Code;

    #[test]
    fn the_apps_default_template_is_read() {
        let heard = decode(b"lat=57.7089&longitude=11.9746&time=2026-11-24T08:30:00.000Z&s=8.25", b"");
        assert_eq!(heard.items[0].device, Some(Vec::new()), "it does not say whose it is");
        assert_eq!(event(heard), as_json("", "van-1", 1_795_509_000_000, r#"{"lat":57.7089,"lng":11.9746,"speed_mps":8.25}"#));
    }

    #[test]
    fn every_key_of_all_is_read_and_what_is_not_ours_is_kept() {
        let query = "lat=57.7089&lon=11.9746&sat=12&desc=&alt=45.5&acc=3.9&dir=271.5&prov=gps&spd_kph=36.0&spd=10.0&timestamp=1795509000\
            &timeoffset=2026-11-24T09:30:00.000%2B01:00&time=2026-11-24T08:30:00.000Z&starttimestamp=1795500000&date=2026-11-24&batt=93.0&ischarging=false\
            &aid=8a5f&ser=R58M&filename=20261124&profile=Default+Profile&hdop=0.7&vdop=&pdop=&dist=1520";
        let payload = r#"{"lat":57.7089,"lng":11.9746,"altitude_m":45.5,"accuracy_m":3.9,"heading_deg":271.5,"speed_mps":10,"battery":0.93,
            "date":"2026-11-24","desc":"","dist":1520,"filename":20261124,"hdop":0.7,"ischarging":false,"pdop":"","profile":"Default Profile","prov":"gps",
            "sat":12,"starttimestamp":1795500000,"vdop":""}"#;
        assert_eq!(event(decode(query.as_bytes(), b"")), as_json("R58M", "R58M", 1_795_509_000_000, payload));
    }

    #[test]
    fn kilometres_an_hour_are_converted_and_a_body_may_be_a_form_or_an_object() {
        let expected = || as_json("a", "a", 1_795_509_000_000, r#"{"lat":57.7,"lng":11.9,"speed_mps":10}"#);
        assert_eq!(event(decode(b"", b"device=a&latitude=57.7&lng=11.9&spd_kph=36&timestamp=1795509000")), expected());
        assert_eq!(event(decode(b"", br#" {"device":"a","lat":57.7,"lon":"11.9","spd":10,"timestamp":1795509000} "#)), expected());
    }

    #[test]
    fn a_query_without_a_place_says_whose_phone_it_is_and_the_body_says_the_rest() {
        let expected = || as_json("van-7", "van-7", 1_795_509_000_000, r#"{"lat":57.7,"lng":11.9,"speed_mps":10,"profile":"day"}"#);
        for body in ["lat=57.7&lon=11.9&spd=10&timestamp=1795509000&id=other", r#"{"lat":57.7,"lon":11.9,"spd":10,"timestamp":1795509000}"#] {
            assert_eq!(event(decode(b"device=van-7&profile=day", body.as_bytes())), expected(), "{body}");
        }
        let unnamed = b"id=a&lat=57.7&lon=11.9&timestamp=1795509000";
        assert_eq!(event(decode(b"profile=", unnamed)), as_json("a", "a", 1_795_509_000_000, r#"{"lat":57.7,"lng":11.9,"profile":""}"#));
        let whole = b"id=a&lat=57.7&lon=11.9&timestamp=1795509000";
        assert_eq!(decode(whole, b"lat=1&lon=1&id=b&x=y"), decode(whole, b""));
    }

    #[test]
    fn each_wrong_field_is_named_as_the_template_named_it() {
        let cases = [
            ("lat=57.7&longitude=%25LON", Code::WrongType, "/longitude"),
            ("longitude=11.9", Code::MissingField, "/lat"),
            ("latitude=95&lon=1", Code::OutOfRange, "/latitude"),
            ("lat=1&lon=1&kph=4000", Code::OutOfRange, "/kph"),
            ("lat=1&lon=1&time=09:30", Code::InvalidTime, "/time"),
        ];
        for (query, code, pointer) in cases {
            let refused = refusal(decode(query.as_bytes(), b""));
            assert_eq!((refused.code, refused.pointer.as_str()), (code, pointer), "{query}");
        }
        assert!(is_without_report(decode(b"desc=hello", b"")));
    }
}
