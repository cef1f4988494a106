//! One location as JSON: what the Traccar Client sends from version 9 on. Never a batch.
//!
//! `{"device_id": "..", "location": {"timestamp", "uuid", "coords": {"latitude", "longitude", "accuracy", "altitude", "speed", "heading"}, "battery":
//! {"level"}, ..}}`; speed in metres a second, battery from 0 to 1, -1 for what is unknown. `uuid` is the event's id. Whatever else is said is kept.

use std::borrow::Cow;

use super::checks::LooseLocation;
use super::json::Others;
use super::json::scan::{Name, Scanner};
use super::phone::{self, Heard, Item, Report, Words};
use super::refusal::Refusal;
use crate::model::time::UnixMs;

/// Reads a request's body.
pub fn decode(body: &[u8]) -> Heard {
    let mut device = None;
    let read = read(body, &mut device);
    Heard::one(Item { device, read, place: None })
}

#[derive(Debug, Default)]
struct Loose {
    uuid: Option<String>,
    time: Option<UnixMs>,
    coords: Option<Coords>,
    battery: Option<f64>,
    /// What is unknown in the root, and in the location.
    root: Others,
    location: Others,
}

#[derive(Debug, Default)]
struct Coords {
    lat: Option<f64>,
    lng: Option<f64>,
    accuracy: Option<f64>,
    altitude: Option<f64>,
    speed: Option<f64>,
    heading: Option<f64>,
}

fn read(body: &[u8], device: &mut Option<Vec<String>>) -> Result<Option<Report>, Refusal> {
    let text = phone::utf8(body)?;
    let mut loose = Loose::default();
    let mut located = None;
    Scanner::new(text, 0).whole_object("", |name, scanner| {
        match name.text.as_ref() {
            "device_id" => *device = phone::text_or_number(scanner, "/device_id")?.map(|device| vec![device]),
            "location" => located = scanner.object("/location", |name, scanner| loose.location_member(&name, scanner))?,
            _ => loose.root.keep(&name, scanner)?,
        }
        Ok(())
    })?;
    device.get_or_insert_default();
    located.ok_or_else(|| Refusal::missing("/location"))?;
    loose.report()
}

impl Loose {
    fn location_member<'a>(&mut self, name: &Name<'a>, scanner: &mut Scanner<'a>) -> Result<(), Refusal> {
        match name.text.as_ref() {
            "timestamp" => self.time = phone::moment(scanner, "/location/timestamp")?,
            "uuid" => self.uuid = scanner.string("/location/uuid")?.map(Cow::into_owned),
            "coords" => self.coords(scanner)?,
            "battery" => self.battery(scanner)?,
            _ => self.location.keep(name, scanner)?,
        }
        Ok(())
    }

    fn coords(&mut self, scanner: &mut Scanner<'_>) -> Result<(), Refusal> {
        let (mut coords, mut others) = (Coords::default(), Others::default());
        let object = scanner.object("/location/coords", |name, scanner| {
            let (member, at) = match name.text.as_ref() {
                "latitude" => (&mut coords.lat, LAT),
                "longitude" => (&mut coords.lng, LNG),
                "accuracy" => (&mut coords.accuracy, ACCURACY),
                "altitude" => (&mut coords.altitude, ALTITUDE),
                "speed" => (&mut coords.speed, SPEED),
                "heading" => (&mut coords.heading, HEADING),
                _ => return others.keep(&name, scanner),
            };
            *member = scanner.number(at)?;
            Ok(())
        })?;
        self.location.keep_nested("coords", others);
        self.coords = object.map(|()| coords);
        Ok(())
    }

    fn battery(&mut self, scanner: &mut Scanner<'_>) -> Result<(), Refusal> {
        let mut others = Others::default();
        scanner.object("/location/battery", |name, scanner| {
            if name.text == "level" {
                self.battery = scanner.number(BATTERY)?;
                return Ok(());
            }
            others.keep(&name, scanner)
        })?;
        self.location.keep_nested("battery", others);
        Ok(())
    }

    /// None without a position: the phone only says that it is there.
    fn report(mut self) -> Result<Option<Report>, Refusal> {
        let Some(coords) = self.coords.filter(|coords| coords.lat.is_some() || coords.lng.is_some()) else { return Ok(None) };
        let loose = LooseLocation {
            lat: coords.lat.ok_or_else(|| Refusal::missing(LAT))?,
            lng: coords.lng.ok_or_else(|| Refusal::missing(LNG))?,
            accuracy_m: phone::known(coords.accuracy),
            speed_mps: phone::known(coords.speed),
            heading_deg: phone::known(coords.heading),
            altitude_m: coords.altitude.map(phone::narrow),
            battery: phone::known(self.battery),
        };
        let body = phone::location(loose, |member| word(member).to_owned())?;
        let time = self.time.ok_or_else(|| Refusal::missing("/location/timestamp"))?;
        self.root.keep_nested("payload", self.location);
        Ok(Some(Report {
            event_id: self.uuid.filter(|uuid| !uuid.is_empty()),
            time: Some(time),
            body,
            unknown: self.root.into_object(),
            words: Words { event_id: "/location/uuid".into(), time: "/location/timestamp".into() },
        }))
    }
}

const LAT: &str = "/location/coords/latitude";
const LNG: &str = "/location/coords/longitude";
const ACCURACY: &str = "/location/coords/accuracy";
const ALTITUDE: &str = "/location/coords/altitude";
const SPEED: &str = "/location/coords/speed";
const HEADING: &str = "/location/coords/heading";
const BATTERY: &str = "/location/battery/level";

fn word(member: &str) -> &'static str {
    match member {
        "/lat" => LAT,
        "/lng" => LNG,
        "/accuracy_m" => ACCURACY,
        "/speed_mps" => SPEED,
        "/heading_deg" => HEADING,
        "/altitude_m" => ALTITUDE,
        "/battery" => BATTERY,
        _ => "/location/coords",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::json;
    use crate::formats::phone::tests::{event, is_without_report, refusal, tenant};
    use crate::formats::refusal::Code;

    const SENT: &str = r#"{"location":{"timestamp":"2026-11-24T08:30:00.123Z","coords":{"latitude":57.7089,"longitude":11.9746,"accuracy":4.2,"speed":8.25,
        "heading":90.5,"altitude":12.5,"floor":2},"is_moving":true,"odometer":1520.5,"event":"motionchange","battery":{"level":0.81,"is_charging":true},
        "activity":{"type":"in_vehicle"},"extras":{},"uuid":"0192f0c1-2345-7abc-8def-0123456789ab","age":12},"device_id":"123456","v":9}"#;

    #[test]
    fn what_the_client_sends_is_the_event_that_json_gives() {
        let same = r#"{"event_id":"0192f0c1-2345-7abc-8def-0123456789ab","event_name":"location","actor_id":"123456","event_time":1795509000123,
            "payload":{"lat":57.7089,"lng":11.9746,"accuracy_m":4.2,"speed_mps":8.25,"heading_deg":90.5,"altitude_m":12.5,"battery":0.81}}"#;
        let read = event(decode(SENT.as_bytes()));
        let expected = json::decode(same.as_bytes(), &tenant()).expect("valid");
        assert_eq!((&read.id, &read.actor, read.event_time, &read.body), (&expected.id, &expected.actor, expected.event_time, &expected.body));
        let kept: serde_json::Value = serde_json::from_slice(&read.unknown.expect("kept").json).expect("JSON");
        let rest = serde_json::json!({"v": 9, "payload": {
            "coords": {"floor": 2}, "is_moving": true, "odometer": 1520.5, "event": "motionchange", "battery": {"is_charging": true},
            "activity": {"type": "in_vehicle"}, "extras": {}, "age": 12,
        }});
        assert_eq!(kept, rest);
    }

    #[test]
    fn minus_one_is_unknown_for_speed_heading_accuracy_and_battery() {
        let text = r#"{"device_id":"7","location":{"timestamp":"2026-11-24T08:30:00.123Z","uuid":"u1","coords":{"latitude":57.7,"longitude":11.9,"accuracy":-1,
            "speed":-1,"heading":-1},"battery":{"level":-1}}}"#;
        let expected = r#"{"event_id":"u1","event_name":"location","actor_id":"7","event_time":1795509000123,"payload":{"lat":57.7,"lng":11.9}}"#;
        assert_eq!(event(decode(text.as_bytes())), json::decode(expected.as_bytes(), &tenant()).expect("valid"));
    }

    #[test]
    fn a_location_without_coordinates_is_nothing_to_store() {
        for location in [r#"{"timestamp":"2026-11-24T08:30:00Z"}"#, r#"{"coords":null}"#, r#"{"coords":{"speed":1}}"#] {
            assert!(is_without_report(decode(format!(r#"{{"device_id":"7","location":{location}}}"#).as_bytes())), "{location}");
        }
    }

    #[test]
    fn each_wrong_field_is_named_as_the_client_names_it() {
        let cases = [
            ("\"latitude\":57.7089", "\"latitude\":91", Code::OutOfRange, LAT),
            ("\"longitude\":11.9746,", "", Code::MissingField, LNG),
            ("57.7089,\"longitude\":11.9746", "0,\"longitude\":0", Code::NullIsland, "/location/coords"),
            ("\"speed\":8.25", "\"speed\":\"8\"", Code::WrongType, SPEED),
            ("\"level\":0.81", "\"level\":81", Code::OutOfRange, BATTERY),
            ("\"timestamp\":\"2026-11-24T08:30:00.123Z\",", "", Code::MissingField, "/location/timestamp"),
            ("08:30:00.123Z", "08:30", Code::InvalidTime, "/location/timestamp"),
            ("{\"location\"", "{\"place\"", Code::MissingField, "/location"),
            ("\"v\":9", "\"v\":", Code::MalformedJson, ""),
        ];
        for (from, to, code, pointer) in cases {
            let text = SENT.replace(from, to);
            assert_ne!(text, SENT);
            let refused = refusal(decode(text.as_bytes()));
            assert_eq!((refused.code, refused.pointer.as_str()), (code, pointer), "{to}");
        }
    }
}
