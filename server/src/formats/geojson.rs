//! Deliveries as a `FeatureCollection` of `GeoJSON` (RFC 7946), written straight into bytes. Asks nobody and decides nothing.
//!
//! A feature: `{"type":"Feature","id":"o1","geometry":{"type":"Point","coordinates":[lng,lat]},"properties":{..}}`. Coordinates are degrees
//! WGS 84 with at most seven decimals, times RFC 3339 UTC, speeds metres a second, headings degrees clockwise from true north.

use super::scalars::put_string;
use super::time;
use crate::model::id::{DeliveryId, DriverId};
use crate::model::position::Position;
use crate::model::status::{Link, Motion, Status};
use crate::model::time::UnixMs;

/// One delivery of a collection.
#[derive(Clone, Copy, Debug)]
pub struct Feature<'a> {
    pub id: &'a DeliveryId,
    pub position: Position,
    /// Absent: id and position alone, and `properties` is an empty object.
    pub properties: Option<Properties<'a>>,
}

/// What is said of a delivery besides where it is.
#[derive(Clone, Copy, Debug)]
pub struct Properties<'a> {
    pub status: Status,
    pub driver: Option<&'a DriverId>,
    pub eta: Option<UnixMs>,
    pub promised_by: Option<UnixMs>,
    pub fix_time: UnixMs,
    pub heard: UnixMs,
    pub accuracy_m: Option<f32>,
    pub speed_mps: f32,
    pub heading_deg: Option<f32>,
    pub motion: Motion,
    pub link: Link,
    /// From the place asked about, for the nearest.
    pub distance_m: Option<f64>,
}

/// How a collection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending<'a> {
    /// It is all there is to say.
    Complete,
    /// It is a page; the next one begins at this cursor, or there is none.
    Page(Option<&'a DeliveryId>),
}

/// Writes a collection of `features` in their order.
pub fn collection<'a>(features: impl Iterator<Item = Feature<'a>>, ending: Ending<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + features.size_hint().0 * 112);
    out.extend_from_slice(br#"{"type":"FeatureCollection","features":["#);
    for (index, feature) in features.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_feature(&feature, &mut out);
    }
    out.push(b']');
    if let Ending::Page(next) = ending {
        member("next", &mut out);
        optional(next, &mut out, |next, out| string(&next.as_str(), out));
    }
    out.push(b'}');
    out
}

fn write_feature(feature: &Feature<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"type":"Feature","id":"#);
    string(&feature.id.as_str(), out);
    out.extend_from_slice(br#","geometry":{"type":"Point","coordinates":["#);
    degrees(feature.position.lng_e7(), out);
    out.push(b',');
    degrees(feature.position.lat_e7(), out);
    out.extend_from_slice(br#"]},"properties":{"#);
    if let Some(properties) = &feature.properties {
        write_properties(feature.position, properties, out);
    }
    out.extend_from_slice(b"}}");
}

fn write_properties(position: Position, properties: &Properties<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(br#""position":{"lat":"#);
    degrees(position.lat_e7(), out);
    member("lng", out);
    degrees(position.lng_e7(), out);
    member("time", out);
    moment(properties.fix_time, out);
    member("accuracy_m", out);
    optional(properties.accuracy_m, out, number);
    out.push(b'}');
    member("status", out);
    string(properties.status.as_str(), out);
    member("driver", out);
    optional(properties.driver, out, |driver, out| string(&driver.as_str(), out));
    member("eta", out);
    optional(properties.eta, out, moment);
    member("promised_by", out);
    optional(properties.promised_by, out, moment);
    member("speed_mps", out);
    number(properties.speed_mps, out);
    member("heading_deg", out);
    optional(properties.heading_deg, out, number);
    member("motion", out);
    string(properties.motion.as_str(), out);
    member("link", out);
    string(properties.link.as_str(), out);
    member("heard", out);
    moment(properties.heard, out);
    if let Some(distance_m) = properties.distance_m {
        member("distance_m", out);
        number(distance_m.round(), out);
    }
}

fn member(name: &'static str, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

fn optional<T>(value: Option<T>, out: &mut Vec<u8>, write: impl FnOnce(T, &mut Vec<u8>)) {
    match value {
        Some(value) => write(value, out),
        None => out.extend_from_slice(b"null"),
    }
}

fn string(text: &str, out: &mut Vec<u8>) {
    put_string(out, text);
}

/// What is not finite is `null`, as in JavaScript.
fn number(value: impl serde::Serialize, out: &mut Vec<u8>) {
    serde_json::to_writer(out, &value).expect("a number is always JSON and memory takes it");
}

fn moment(at: UnixMs, out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(&time::text_of(at));
    out.push(b'"');
}

/// Writes units of 1e-7 degrees as degrees: exact, without floating point and without trailing zeros.
fn degrees(e7: i32, out: &mut Vec<u8>) {
    const UNITS: u32 = 10_000_000;
    /// The longest: `-214.7483648`.
    const MOST: usize = 12;
    let (whole, mut fraction) = (e7.unsigned_abs() / UNITS, e7.unsigned_abs() % UNITS);
    // From its end on, for that is the order in which the digits fall out.
    let mut text = [b'0'; MOST];
    for digit in text[MOST - 7..].iter_mut().rev() {
        *digit = digit_of(fraction);
        fraction /= 10;
    }
    text[MOST - 8] = b'.';
    let (mut begin, mut rest) = (MOST - 9, whole / 10);
    text[begin] = digit_of(whole);
    while rest > 0 {
        begin -= 1;
        text[begin] = digit_of(rest);
        rest /= 10;
    }
    if e7 < 0 {
        begin -= 1;
        text[begin] = b'-';
    }
    let mut end = MOST;
    while end > MOST - 6 && text[end - 1] == b'0' {
        end -= 1;
    }
    out.extend_from_slice(&text[begin..end]);
}

fn digit_of(number: u32) -> u8 {
    b'0' + u8::try_from(number % 10).expect("one digit")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert_eq, proptest};
    use serde_json::{Value, json};

    use super::*;

    fn place() -> Position {
        Position::from_degrees(57.708_87, -11.974_560_9).expect("valid")
    }

    fn read(features: Vec<Feature<'_>>, ending: Ending<'_>) -> Value {
        serde_json::from_slice(&collection(features.into_iter(), ending)).expect("JSON")
    }

    #[test]
    fn id_and_position_alone_make_a_feature() {
        let ids = ["o1", "say \"hi\"\u{1F69A}", "o2"].map(|id| DeliveryId::parse(id).expect("valid"));
        let features = ids.each_ref().map(|id| Feature { id, position: place(), properties: None });
        let geometry = json!({"type": "Point", "coordinates": [-11.974_560_9, 57.708_87]});
        let feature = |id: &str| json!({"type": "Feature", "id": id, "geometry": geometry, "properties": {}});
        let expected = json!({"type": "FeatureCollection", "features": [feature("o1"), feature("say \"hi\"\u{1F69A}")], "next": "o2"});
        assert_eq!(read(features[..2].to_vec(), Ending::Page(Some(&ids[2]))), expected);
        assert_eq!(read(Vec::new(), Ending::Complete), json!({"type": "FeatureCollection", "features": []}));
        assert_eq!(read(Vec::new(), Ending::Page(None))["next"], Value::Null);
    }

    #[test]
    fn every_property_is_said_in_its_unit() {
        let (id, van) = (DeliveryId::parse("o1").expect("valid"), DriverId::parse("van-1").expect("valid"));
        let properties = Properties {
            status: Status::EnRouteDropoff,
            driver: Some(&van),
            eta: Some(UnixMs(1_795_509_000_123)),
            promised_by: None,
            fix_time: UnixMs(1_795_509_000_000),
            heard: UnixMs(1_795_509_001_000),
            accuracy_m: None,
            speed_mps: 8.3,
            heading_deg: Some(f32::NAN),
            motion: Motion::Moving,
            link: Link::Live,
            distance_m: Some(41.6),
        };
        let answer = read(vec![Feature { id: &id, position: place(), properties: Some(properties) }], Ending::Complete);
        let expected = json!({
            "position": {"lat": 57.708_87, "lng": -11.974_560_9, "time": "2026-11-24T08:30:00Z", "accuracy_m": null},
            "status": "en_route_dropoff", "driver": "van-1", "eta": "2026-11-24T08:30:00.123Z", "promised_by": null,
            "speed_mps": 8.3, "heading_deg": null, "motion": "moving", "link": "live", "heard": "2026-11-24T08:30:01Z", "distance_m": 42.0,
        });
        assert_eq!(answer["features"][0]["properties"], expected);
    }

    proptest! {
        #[test]
        fn degrees_are_exact(e7 in any::<i32>()) {
            let mut out = Vec::new();
            degrees(e7, &mut out);
            let read: f64 = serde_json::from_slice(&out).expect("a number");
            prop_assert_eq!(read.to_bits(), (f64::from(e7) / 1e7).to_bits());
        }
    }
}
