//! Batches of `GeoJSON` features: what Overland sends. Each feature is read alone, so that a bad one harms no neighbour.
//!
//! `{"locations": [Feature..], ..}`; `geometry.coordinates` is `[longitude, latitude]`; in `properties`: `timestamp` (ISO 8601, the offset's colon may
//! be missing), `speed` in metres a second, `course` in degrees, `altitude` and `horizontal_accuracy` in metres, `battery_level` from 0 to 1, each
//! negative when unknown; `device_id`, or `unique_id` when that is empty. Whatever else is said is kept. A feature without geometry is nothing to
//! store. The items have no ids: theirs are derived, so a batch that is sent again is all duplicates.

use super::checks::LooseLocation;
use super::json::Others;
use super::json::items::{self, Item as Cut};
use super::json::scan::{Name, Scanner};
use super::phone::{self, Heard, Item, Report, Words};
use super::refusal::{Code, Refusal};
use crate::model::time::UnixMs;

/// A body of which nothing is taken: the app has it whole and sends it whole.
#[derive(Debug, PartialEq, Eq)]
pub enum NoBatch {
    Malformed(Refusal),
    TooMany { found: usize },
}

/// Reads a request's body of at most `max` features.
pub fn decode(body: &[u8], max: usize) -> Result<Heard, NoBatch> {
    let mut items = items::open_member(body, b"\"locations\"", "/locations")
        .and_then(|items| items.ok_or_else(|| Refusal::missing("/locations")))
        .map_err(NoBatch::Malformed)?;
    let (mut heard, mut found) = (Heard::default(), 0);
    while let Some(feature) = items.next(|_text| None::<((), usize)>).map_err(NoBatch::Malformed)? {
        found += 1;
        let Some(feature) = cut(&feature).filter(|_feature| found <= max) else { continue };
        match item(feature) {
            Some(item) => heard.items.push(Item { place: Some(phone::place(body, feature)), ..item }),
            None => heard.ignored += 1,
        }
    }
    if found > max { Err(NoBatch::TooMany { found }) } else { Ok(heard) }
}

/// Reads one feature as it stood in a batch.
pub fn decode_feature(feature: &[u8]) -> Heard {
    item(feature).map_or_else(Heard::nothing, Heard::one)
}

/// None when it is nothing to store.
fn item(feature: &[u8]) -> Option<Item> {
    let mut loose = Loose::default();
    match read(feature, &mut loose).transpose()? {
        Ok(report) => Some(Item { device: Some(loose.device().into_iter().collect()), read: Ok(Some(report)), place: None }),
        // Of a feature that was not read to its end nothing may be known of its device.
        Err(refusal) => Some(Item { device: loose.device().map(|device| vec![device]), read: Err(refusal), place: None }),
    }
}

/// Nothing is read where it stands, so each is cut off.
fn cut<'a>(item: &Cut<'a, ()>) -> Option<&'a [u8]> {
    match item {
        Cut::Cut(feature) => Some(feature),
        Cut::Read(()) => None,
    }
}

#[derive(Debug, Default)]
struct Loose {
    device: Option<String>,
    unique: Option<String>,
    time: Option<UnixMs>,
    coordinates: Option<Vec<f64>>,
    accuracy: Option<f64>,
    altitude: Option<f64>,
    speed: Option<f64>,
    heading: Option<f64>,
    battery: Option<f64>,
    /// What is unknown in the feature, and in its properties.
    root: Others,
    properties: Others,
}

fn read(feature: &[u8], loose: &mut Loose) -> Result<Option<Report>, Refusal> {
    let text = phone::utf8(feature)?;
    Scanner::new(text, 0).whole_object("", |name, scanner| {
        match name.text.as_ref() {
            "type" => drop(scanner.string("/type")?),
            "geometry" => loose.coordinates = geometry(scanner)?,
            "properties" => drop(scanner.object("/properties", |name, scanner| loose.property(&name, scanner))?),
            _ => loose.root.keep(&name, scanner)?,
        }
        Ok(())
    })?;
    loose.report()
}

fn geometry(scanner: &mut Scanner<'_>) -> Result<Option<Vec<f64>>, Refusal> {
    let mut coordinates = None;
    scanner.object("/geometry", |name, scanner| {
        match name.text.as_ref() {
            "type" if scanner.string("/geometry/type")?.as_deref() != Some("Point") => {
                return Err(Refusal::new(Code::WrongType, "/geometry/type", "must be Point"));
            }
            "coordinates" => coordinates = scanner.value()?.map(numbers).transpose()?,
            "type" => {}
            _ => drop(scanner.raw()?),
        }
        Ok(())
    })?;
    Ok(coordinates)
}

/// Longitude, latitude and whatever follows.
fn numbers(array: &str) -> Result<Vec<f64>, Refusal> {
    let wrong = || Refusal::new(Code::WrongType, COORDINATES, "must be [longitude, latitude]");
    let inside = array.strip_prefix('[').and_then(|array| array.strip_suffix(']')).ok_or_else(wrong)?;
    let numbers = inside.split(',').take(4).map(|part| Scanner::new(part, 0).number(COORDINATES).ok().flatten());
    let numbers: Vec<f64> = numbers.collect::<Option<_>>().ok_or_else(wrong)?;
    if numbers.len() < 2 { Err(wrong()) } else { Ok(numbers) }
}

impl Loose {
    fn property<'a>(&mut self, name: &Name<'a>, scanner: &mut Scanner<'a>) -> Result<(), Refusal> {
        let (member, at) = match name.text.as_ref() {
            "device_id" => return phone::text_or_number(scanner, "/properties/device_id").map(|id| self.device = id),
            "unique_id" => return phone::text_or_number(scanner, "/properties/unique_id").map(|id| self.unique = id),
            "timestamp" => return phone::moment(scanner, TIME).map(|time| self.time = time),
            "horizontal_accuracy" => (&mut self.accuracy, ACCURACY),
            "altitude" => (&mut self.altitude, ALTITUDE),
            "speed" => (&mut self.speed, SPEED),
            "course" => (&mut self.heading, COURSE),
            "battery_level" => (&mut self.battery, BATTERY),
            _ => return self.properties.keep(name, scanner),
        };
        *member = scanner.number(at)?;
        Ok(())
    }

    /// What the phone is called.
    fn device(&mut self) -> Option<String> {
        self.device.take().or(self.unique.take())
    }

    fn report(&mut self) -> Result<Option<Report>, Refusal> {
        let Some(&[lng, lat, ..]) = self.coordinates.as_deref() else { return Ok(None) };
        let loose = LooseLocation {
            lat,
            lng,
            accuracy_m: phone::known(self.accuracy),
            speed_mps: phone::known(self.speed),
            heading_deg: phone::known(self.heading),
            altitude_m: self.altitude.map(phone::narrow),
            battery: phone::known(self.battery),
        };
        let body = phone::location(loose, |member| word(member).to_owned())?;
        let time = self.time.ok_or_else(|| Refusal::missing(TIME))?;
        let mut root = std::mem::take(&mut self.root);
        root.keep_nested("payload", std::mem::take(&mut self.properties));
        let words = Words { event_id: "".into(), time: TIME.into() };
        Ok(Some(Report { event_id: None, time: Some(time), body, unknown: root.into_object(), words }))
    }
}

const COORDINATES: &str = "/geometry/coordinates";
const TIME: &str = "/properties/timestamp";
const ACCURACY: &str = "/properties/horizontal_accuracy";
const ALTITUDE: &str = "/properties/altitude";
const SPEED: &str = "/properties/speed";
const COURSE: &str = "/properties/course";
const BATTERY: &str = "/properties/battery_level";

fn word(member: &str) -> &'static str {
    match member {
        "/lat" => "/geometry/coordinates/1",
        "/lng" => "/geometry/coordinates/0",
        "/accuracy_m" => ACCURACY,
        "/speed_mps" => SPEED,
        "/heading_deg" => COURSE,
        "/altitude_m" => ALTITUDE,
        "/battery" => BATTERY,
        _ => COORDINATES,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::phone::tests::{as_json, event, event_of, refusal};

    const FEATURE: &str = r#"{"type":"Feature","geometry":{"type":"Point","coordinates":[11.9746,57.7089]},"properties":{"timestamp":"2026-11-24T01:30:00-0700",
        "altitude":45,"speed":8,"course":270,"horizontal_accuracy":5,"vertical_accuracy":3,"motion":["driving"],"battery_state":"unplugged","battery_level":0.81,
        "wifi":"","device_id":"van-7"}}"#;

    fn batch(features: &[&str]) -> Heard {
        decode(format!(r#"{{"locations":[{}],"current":{FEATURE},"trip":null}}"#, features.join(",")).as_bytes(), 10).expect("not too many")
    }

    #[test]
    fn what_the_app_sends_is_the_event_that_json_gives() {
        let payload = r#"{"lat":57.7089,"lng":11.9746,"altitude_m":45,"speed_mps":8,"heading_deg":270,"accuracy_m":5,"battery":0.81,
            "vertical_accuracy":3,"motion":["driving"],"battery_state":"unplugged","wifi":""}"#;
        assert_eq!(event(batch(&[FEATURE])), as_json("van-7", "van-7", 1_795_509_000_000, payload));
    }

    #[test]
    fn a_batch_sent_again_has_the_same_ids_and_each_of_its_points_its_own() {
        let later = FEATURE.replace("01:30:00-0700", "08:30:05Z");
        let ids = || batch(&[FEATURE, &later]).items.into_iter().map(|item| event_of(item).id).collect::<Vec<_>>();
        assert_eq!(ids(), ids());
        assert_ne!(ids()[0], ids()[1]);
    }

    #[test]
    fn a_negative_measure_is_unknown_and_the_unique_id_stands_in_for_an_empty_device_id() {
        let text = r#"{"type":"Feature","geometry":{"type":"Point","coordinates":[11.9,57.7]},"properties":{"timestamp":"2026-11-24T08:30:00Z","speed":-1,
            "course":-1,"horizontal_accuracy":-1,"battery_level":-1,"device_id":"","unique_id":"4F1B"}}"#;
        assert_eq!(event(batch(&[text])), as_json("4F1B", "4F1B", 1_795_509_000_000, r#"{"lat":57.7,"lng":11.9}"#));
    }

    #[test]
    fn a_feature_without_geometry_is_nothing_to_store_and_a_bad_one_harms_no_neighbour() {
        let ended = r#"{"type":"Feature","properties":{"timestamp":"2026-11-24T08:30:00Z","action":"will_terminate","device_id":"van-7"}}"#;
        let heard = batch(&[FEATURE, ended, r#"{"type":"Feature","geometry":null}"#, "{nonsense}", FEATURE]);
        let read: Vec<_> = heard.items.iter().map(|item| item.read.is_ok()).collect();
        assert_eq!((read.as_slice(), heard.ignored), ([true, false, true].as_slice(), 2));
    }

    #[test]
    fn each_wrong_field_is_named_as_the_app_names_it() {
        let cases = [
            ("57.7089]", "97]", Code::OutOfRange, "/geometry/coordinates/1"),
            ("[11.9746,", "[181,", Code::OutOfRange, "/geometry/coordinates/0"),
            ("[11.9746,57.7089]", "[0,0]", Code::NullIsland, COORDINATES),
            ("[11.9746,57.7089]", "[11.9]", Code::WrongType, COORDINATES),
            ("[11.9746,57.7089]", "[[11.9,57.7]]", Code::WrongType, COORDINATES),
            ("\"Point\"", "\"LineString\"", Code::WrongType, "/geometry/type"),
            ("\"speed\":8", "\"speed\":\"8\"", Code::WrongType, SPEED),
            ("\"battery_level\":0.81", "\"battery_level\":81", Code::OutOfRange, BATTERY),
            ("2026-11-24T01:30:00-0700", "2026-11-24T01:30:00", Code::InvalidTime, TIME),
            ("\"timestamp\"", "\"time\"", Code::MissingField, TIME),
        ];
        for (from, to, code, pointer) in cases {
            let text = FEATURE.replace(from, to);
            assert_ne!(text, FEATURE);
            let refused = refusal(batch(&[&text]));
            assert_eq!((refused.code, refused.pointer.as_str()), (code, pointer), "{to}");
        }
    }

    #[test]
    fn of_a_body_that_is_no_batch_or_too_large_a_one_nothing_is_taken() {
        for (body, code) in [
            ("", Code::MalformedJson),
            ("{}", Code::MissingField),
            (r#"{"locations":7}"#, Code::WrongType),
            (r#"{"locations":[1"#, Code::MalformedJson),
            (r#"{"locations":[1,]}"#, Code::MalformedJson),
        ] {
            let Err(NoBatch::Malformed(refusal)) = decode(body.as_bytes(), 10) else { unreachable!("{body} is no batch") };
            assert_eq!(refusal.code, code, "{body}");
        }
        assert_eq!(decode(format!("{{\"locations\":[{}]}}", ["{}"; 11].join(",")).as_bytes(), 10), Err(NoBatch::TooMany { found: 11 }));
        assert_eq!(batch(&[]), Heard::default());
    }
}
