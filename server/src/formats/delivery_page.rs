//! Deliveries as a `DeliveryPage` of the schema of record, written field by field. Asks nobody and decides nothing.

use prost::encoding::{WireType, encoded_len_varint};

use super::geojson::{Feature, Properties};
use super::scalars::{put_key, put_text, put_varint, text_len, zigzag};
use crate::model::id::DeliveryId;
use crate::model::id::packed::IdText;
use crate::model::status::Motion;
use crate::model::time::UnixMs;

/// Writes a page of `features` in their order; the next one begins at the cursor `next`, or there is none.
pub fn to_protobuf<'a>(features: impl ExactSizeIterator<Item = Feature<'a>> + Clone, next: Option<&DeliveryId>) -> Vec<u8> {
    let mut out = Vec::with_capacity(32 + features.len() * 32);
    let south = features.clone().map(|feature| feature.position.lat_e7()).min().unwrap_or(0);
    let west = features.clone().map(|feature| feature.position.lng_e7()).min().unwrap_or(0);
    for (field, origin) in [(1, south), (2, west)] {
        if origin != 0 {
            put_key(&mut out, field, WireType::Varint);
            put_varint(&mut out, zigzag(origin));
        }
    }
    for feature in features.clone() {
        put_text(&mut out, 3, &feature.id.as_str());
    }
    put_packed(&mut out, 4, features.clone().map(|feature| feature.position.lat_e7().abs_diff(south)));
    put_packed(&mut out, 5, features.clone().map(|feature| feature.position.lng_e7().abs_diff(west)));
    for properties in features.filter_map(|feature| feature.properties) {
        put_properties(&mut out, &properties);
    }
    if let Some(next) = next {
        put_text(&mut out, 7, &next.as_str());
    }
    out
}

/// A column of numbers. Of nothing: nothing.
fn put_packed(out: &mut Vec<u8>, field: u8, numbers: impl ExactSizeIterator<Item = u32> + Clone) {
    if numbers.len() > 0 {
        put_key(out, field, WireType::LengthDelimited);
        put_varint(out, numbers.clone().map(|number| encoded_len_varint(u64::from(number)) as u64).sum());
        numbers.for_each(|number| put_varint(out, u64::from(number)));
    }
}

fn put_properties(out: &mut Vec<u8>, properties: &Properties<'_>) {
    let driver = properties.driver.map_or(IdText::EMPTY, |driver| driver.as_str());
    let moving = u64::from(properties.motion == Motion::Moving);
    let varints = [
        (1, Some(u64::from(properties.status.code()))),
        (3, properties.eta.map(of_ms)),
        (4, properties.promised_by.map(of_ms)),
        (5, Some(of_ms(properties.fix_time)).filter(|ms| *ms != 0)),
        (6, Some(of_ms(properties.heard)).filter(|ms| *ms != 0)),
        (10, Some(moving).filter(|moving| *moving != 0)),
        (11, Some(properties.link as u64).filter(|link| *link != 0)),
    ];
    let floats = [(7, properties.accuracy_m), (8, Some(properties.speed_mps).filter(|speed| speed.to_bits() != 0)), (9, properties.heading_deg)];
    let varints_len = varints.iter().filter_map(|(_, value)| *value).map(|value| 1 + encoded_len_varint(value)).sum::<usize>();
    let floats_len = floats.iter().filter(|(_, value)| value.is_some()).count() * 5;
    put_key(out, 6, WireType::LengthDelimited);
    put_varint(out, (varints_len + floats_len + text_len(&driver)) as u64);
    put_text(out, 2, &driver);
    for (field, value) in varints {
        if let Some(value) = value {
            put_key(out, field, WireType::Varint);
            put_varint(out, value);
        }
    }
    for (field, value) in floats {
        if let Some(value) = value {
            put_key(out, field, WireType::ThirtyTwoBit);
            out.extend_from_slice(&value.to_le_bytes());
        }
    }
}

fn of_ms(time: UnixMs) -> u64 {
    time.0.cast_unsigned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;
    use crate::model::id::DriverId;
    use crate::model::position::Position;
    use crate::model::status::{Link, Status};
    use crate::wire;

    fn properties(number: usize, van: &DriverId) -> Properties<'_> {
        Properties {
            status: Status::ALL[number % 12],
            driver: (!number.is_multiple_of(3)).then_some(van),
            eta: (!number.is_multiple_of(2)).then_some(UnixMs(1_795_509_000_123)),
            promised_by: number.is_multiple_of(2).then_some(UnixMs(-1)),
            fix_time: UnixMs(1_795_509_000_000),
            heard: UnixMs(if number.is_multiple_of(5) { 0 } else { 1_795_509_001_000 }),
            accuracy_m: (!number.is_multiple_of(4)).then_some(0.0),
            speed_mps: if number.is_multiple_of(2) { 0.0 } else { 8.3 },
            heading_deg: number.is_multiple_of(7).then_some(271.5),
            motion: if number.is_multiple_of(2) { Motion::Moving } else { Motion::Stopped },
            link: if number.is_multiple_of(3) { Link::Stale } else { Link::Live },
            distance_m: None,
        }
    }

    /// A page made the slow way.
    fn page(features: &[Feature<'_>], next: Option<&DeliveryId>) -> wire::DeliveryPage {
        let lowest = |of: fn(Position) -> i32| features.iter().map(|feature| of(feature.position)).min().unwrap_or(0);
        let column = |of: fn(Position) -> i32, origin: i32| {
            features.iter().map(|feature| u32::try_from(i64::from(of(feature.position)) - i64::from(origin)).expect("not below the origin")).collect()
        };
        let (south, west) = (lowest(Position::lat_e7), lowest(Position::lng_e7));
        let row = |of: Properties<'_>| wire::DeliveryOnMap {
            status: i32::from(of.status.code()),
            driver_id: of.driver.map(|driver| driver.as_str().to_owned()).unwrap_or_default(),
            eta_ms: of.eta.map(|time| time.0),
            promised_by_ms: of.promised_by.map(|time| time.0),
            fix_time_ms: of.fix_time.0,
            heard_ms: of.heard.0,
            accuracy_m: of.accuracy_m,
            speed_mps: of.speed_mps,
            heading_deg: of.heading_deg,
            moving: of.motion == Motion::Moving,
            link: of.link as i32,
        };
        wire::DeliveryPage {
            origin_lat_e7: south,
            origin_lng_e7: west,
            id: features.iter().map(|feature| feature.id.as_str().to_owned()).collect(),
            dlat_e7: column(Position::lat_e7, south),
            dlng_e7: column(Position::lng_e7, west),
            properties: features.iter().filter_map(|feature| feature.properties).map(row).collect(),
            next: next.map(|next| next.as_str().to_owned()).unwrap_or_default(),
        }
    }

    proptest! {
        #[test]
        fn a_page_says_what_its_features_say(places in prop::collection::vec((-90.0..90.0_f64, -180.0..180.0_f64), 0..20), brief in any::<bool>(), more in any::<bool>()) {
            let ids: Vec<DeliveryId> = (0..=places.len()).map(|number| DeliveryId::parse(&format!("order-{number:03}")).expect("valid")).collect();
            let van = DriverId::parse("van-1").expect("valid");
            let feature = |(number, (lat, lng)): (usize, &(f64, f64))| Feature {
                id: &ids[number],
                position: Position::from_degrees(*lat, *lng).expect("valid"),
                properties: (!brief).then(|| properties(number, &van)),
            };
            let features: Vec<Feature<'_>> = places.iter().enumerate().map(feature).collect();
            let next = more.then_some(&ids[places.len()]);
            let written = to_protobuf(features.iter().copied(), next);
            prop_assert_eq!(wire::DeliveryPage::decode(written.as_slice()).expect("Protobuf"), page(&features, next));
        }
    }
}
