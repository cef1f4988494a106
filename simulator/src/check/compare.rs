//! Compares one answer of REST with what was expected of one driver or delivery. Pure; members of an answer that it does not know are no difference.

use serde_json::Value;

use super::Company;
use crate::expected::{Certainty, Delivery, Driver, Load};
use crate::geodesy::Place;
use crate::lifecycle::advance;

/// A marker lists at most this many deliveries; of more it tells the count.
pub const MAX_LISTED: usize = 16;

/// Differences in words; none when all is as expected.
pub type Differences = Vec<String>;

/// `GET /v1/drivers/{id}`.
pub fn driver(body: &Value, wanted: &Driver, load: &Load<'_>, company: Company) -> Differences {
    let mut found = Differences::new();
    if wanted.certainty == Certainty::Existence {
        return found;
    }
    let (place, time_ms) = (place_at(body, "/position"), body.pointer("/position/time").and_then(time_of));
    if !place.is_some_and(|place| wanted.may_have_stood(place, time_ms)) {
        found.push(format!("position {place:?} at {time_ms:?} held, {:?} expected", wanted.fix));
    }
    if load.certainty == Certainty::Existence {
        return found;
    }
    let status = body.pointer("/status").and_then(Value::as_str);
    if !is_status_of(status, load, company) {
        found.push(format!("status {status:?} held, {:?} expected", load.status));
    }
    let aboard = body.pointer("/deliveries").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let listed: Vec<&str> = aboard.iter().filter_map(|item| item.pointer("/id").and_then(Value::as_str)).collect();
    if load.open.len() <= MAX_LISTED {
        let missing = load.open.iter().filter(|open| !listed.contains(*open));
        found.extend(missing.map(|open| format!("delivery {open} is not among the {} listed aboard", listed.len())));
    }
    let count = body.pointer("/deliveries_count").and_then(Value::as_u64).unwrap_or(0);
    if count < load.open.len() as u64 {
        found.push(format!("deliveries_count {count} held, at least {} expected", load.open.len()));
    }
    found
}

/// Whether a driver with this load may have this status. In company it may also carry what others gave it, which may have come further.
pub fn is_status_of(held: Option<&str>, load: &Load<'_>, company: Company) -> bool {
    match company {
        Company::Alone => held == load.status,
        Company::Others => held.and_then(advance) >= load.status.and_then(advance),
    }
}

/// `GET /v1/deliveries/{id}`; `carrier` is where its driver has to be, when that is known.
pub fn delivery(body: &Value, wanted: &Delivery, carrier: Option<&Driver>) -> Differences {
    let mut found = Differences::new();
    if wanted.certainty == Certainty::Existence {
        return found;
    }
    word(body, "/status", Some(&wanted.status), &mut found);
    word(body, "/driver", wanted.driver.as_deref(), &mut found);
    word(body, "/assignment", wanted.assignment.map(crate::expected::Assignment::word), &mut found);
    position(body, "/pickup", wanted.pickup.as_ref(), &mut found);
    position(body, "/destination", wanted.destination.as_ref(), &mut found);
    time(body, "/promised_by", wanted.promised_by_ms, &mut found);
    history(body, wanted, &mut found);
    // One that is over leaves the map after a while.
    if let Some(driver) = carrier.filter(|_| !wanted.is_over()) {
        let place = place_at(body, "/position");
        if !place.is_some_and(|place| driver.may_stand(place)) {
            found.push(format!("position {place:?} held, {:?} expected", driver.fix.place));
        }
    }
    found
}

/// One feature of `GET /v1/deliveries`.
pub fn feature(body: &Value, wanted: &Delivery, carrier: Option<&Driver>) -> Differences {
    let mut found = Differences::new();
    if wanted.certainty == Certainty::Existence {
        return found;
    }
    word(body, "/properties/status", Some(&wanted.status), &mut found);
    word(body, "/properties/driver", wanted.driver.as_deref(), &mut found);
    let coordinate = |index: &str| body.pointer(&format!("/geometry/coordinates/{index}")).and_then(Value::as_f64);
    let held = coordinate("1").zip(coordinate("0")).map(|(lat, lng)| Place { lat, lng });
    let is_right = match (&wanted.driver, carrier, wanted.pickup) {
        (Some(_), Some(driver), _) => held.is_some_and(|held| driver.may_stand(held)),
        (None, _, Some(pickup)) => held.is_some_and(|held| held.is_same(pickup)),
        _ => true,
    };
    if !is_right {
        found.push(format!("position {held:?} held, {:?} expected", carrier.map_or(wanted.pickup, |driver| Some(driver.fix.place))));
    }
    found
}

fn history(body: &Value, wanted: &Delivery, found: &mut Differences) {
    let held = body.pointer("/history").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let step = |value: &Value| {
        let status = value.pointer("/status").and_then(Value::as_str)?.to_owned();
        let time_ms = time_of(value.pointer("/time")?)?;
        Some((status, time_ms, value.pointer("/legal").and_then(Value::as_bool)?))
    };
    let held: Vec<_> = held.iter().map(step).collect();
    let expected: Vec<_> = wanted.history.iter().map(|step| Some((step.status.clone(), step.time_ms, step.legal))).collect();
    if held != expected {
        found.push(format!("history {held:?} held, {expected:?} expected"));
    }
}

fn word(body: &Value, pointer: &str, wanted: Option<&str>, found: &mut Differences) {
    let held = body.pointer(pointer).and_then(Value::as_str);
    if held != wanted {
        found.push(format!("{} {held:?} held, {wanted:?} expected", &pointer[1..]));
    }
}

fn time(body: &Value, pointer: &str, wanted: Option<i64>, found: &mut Differences) {
    let held = body.pointer(pointer).and_then(time_of);
    if held != wanted {
        found.push(format!("{} {held:?} held, {wanted:?} expected", &pointer[1..]));
    }
}

fn time_of(value: &Value) -> Option<i64> {
    value.as_str()?.parse().ok().map(jiff::Timestamp::as_millisecond)
}

fn position(body: &Value, pointer: &str, wanted: Option<&Place>, found: &mut Differences) {
    let held = place_at(body, pointer);
    let same = wanted.map_or(held.is_none(), |wanted| held.is_some_and(|held| held.is_same(*wanted)));
    if !same {
        found.push(format!("{} {held:?} held, {wanted:?} expected", &pointer[1..]));
    }
}

fn place_at(body: &Value, pointer: &str) -> Option<Place> {
    let number = |member: &str| body.pointer(&format!("{pointer}/{member}")).and_then(Value::as_f64);
    Some(Place { lat: number("lat")?, lng: number("lng")? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expected::{Assignment, Fix, Step};
    use serde_json::json;

    const PLACE: Place = Place { lat: 57.7, lng: 11.9 };

    fn van() -> Driver {
        let fix = Fix { place: PLACE, time_ms: Some(1_212_735_600_500), accuracy_m: None };
        Driver { fix, ..Driver::at(PLACE) }
    }

    fn order() -> Delivery {
        let step = |status: &str, time_ms| Step { status: status.into(), time_ms, legal: true };
        Delivery {
            status: "assigned".into(),
            driver: Some("van".into()),
            assignment: Some(Assignment::Explicit),
            pickup: Some(PLACE),
            history: vec![step("created", 0), step("assigned", 1_000)],
            ..Delivery::default()
        }
    }

    fn order_body() -> Value {
        json!({"id": "order", "status": "assigned", "driver": "van", "assignment": "explicit", "pickup": {"lat": 57.7, "lng": 11.9}, "destination": null,
               "promised_by": null, "position": {"lat": 57.7, "lng": 11.9}, "more": 1,
               "history": [{"status": "created", "time": "1970-01-01T00:00:00Z", "legal": true}, {"status": "assigned", "time": "1970-01-01T00:00:01Z", "legal": true}]})
    }

    fn van_body() -> Value {
        json!({"id": "van", "status": "assigned", "position": {"lat": 57.7, "lng": 11.9, "time": "2008-06-06T07:00:00.5Z"}, "deliveries_count": 3,
               "deliveries": [{"id": "order", "status": "assigned"}, {"id": "old", "status": "delivered"}], "link": "live"})
    }

    /// What is said of `body` with one member changed.
    fn with(body: &Value, pointer: &str, value: Value, compare: impl Fn(&Value) -> Differences) -> Differences {
        let mut body = body.clone();
        *body.pointer_mut(pointer).expect("there") = value;
        compare(&body)
    }

    #[test]
    fn every_wrong_member_of_a_driver_is_a_difference_and_only_that() {
        let load = Load { open: vec!["order"], status: Some("assigned"), certainty: Certainty::Whole };
        let compare = |body: &Value| driver(body, &van(), &load, Company::Alone);
        assert_eq!(compare(&van_body()), Differences::new());
        let wrong = [
            ("/position/lat", json!(57.700_001)),
            ("/position/lng", Value::Null),
            ("/position/time", json!("2008-06-06T07:00:01Z")),
            ("/status", Value::Null),
            ("/deliveries", json!([])),
            ("/deliveries_count", json!(0)),
        ];
        for (pointer, value) in wrong {
            assert_eq!(with(&van_body(), pointer, value, compare).len(), 1, "{pointer}");
        }
        assert_eq!(with(&van_body(), "/position/lat", json!(57.700_000_1), compare), Differences::new(), "rounding is none");
        assert!(!driver(&json!({}), &van(), &load, Company::Alone).is_empty());
        let unsure = Driver { certainty: Certainty::Existence, ..van() };
        assert_eq!(driver(&json!({}), &unsure, &load, Company::Alone), Differences::new());
    }

    #[test]
    fn a_driver_that_also_carries_what_others_gave_it_may_have_come_further_and_not_less_far() {
        let load = Load { open: vec!["order"], status: Some("assigned"), certainty: Certainty::Whole };
        let fits = |held, company| is_status_of(held, &load, company);
        assert!(fits(Some("assigned"), Company::Alone) && !fits(Some("arrived"), Company::Alone));
        assert!(fits(Some("arrived"), Company::Others) && !fits(Some("created"), Company::Others) && !fits(None, Company::Others));
        assert!(is_status_of(None, &Load::default(), Company::Alone));
    }

    #[test]
    fn every_wrong_member_of_a_delivery_is_a_difference_and_only_that() {
        let compare = |body: &Value| delivery(body, &order(), Some(&van()));
        assert_eq!(compare(&order_body()), Differences::new());
        let wrong = [
            ("/status", json!("delivered")),
            ("/driver", json!("bus")),
            ("/assignment", json!("implied")),
            ("/pickup", Value::Null),
            ("/destination", json!({"lat": 1.0, "lng": 2.0})),
            ("/promised_by", json!("1970-01-01T00:00:00Z")),
            ("/history/1/status", json!("picked_up")),
            ("/history/1/time", json!("1970-01-01T00:00:02Z")),
            ("/history/0/legal", json!(false)),
            ("/history", json!([])),
            ("/position", Value::Null),
        ];
        for (pointer, value) in wrong {
            assert_eq!(with(&order_body(), pointer, value, compare).len(), 1, "{pointer}");
        }
        let over = Delivery { status: "delivered".into(), ..order() };
        let mut body = order_body();
        (body["status"], body["position"]) = (json!("delivered"), Value::Null);
        assert_eq!(delivery(&body, &over, Some(&van())), Differences::new(), "what is over may have left the map");
    }

    #[test]
    fn a_listed_delivery_stands_where_its_driver_is_or_waits_at_its_pickup() {
        let body = json!({"id": "order", "geometry": {"coordinates": [11.9, 57.7]}, "properties": {"status": "assigned", "driver": "van"}});
        let compare = |body: &Value| feature(body, &order(), Some(&van()));
        assert_eq!(compare(&body), Differences::new());
        for (pointer, value) in
            [("/geometry/coordinates", json!([57.7, 11.9])), ("/properties/status", json!("x")), ("/properties/driver", Value::Null)]
        {
            assert_eq!(with(&body, pointer, value, compare).len(), 1, "{pointer}");
        }
        let waiting = Delivery { status: "created".into(), driver: None, assignment: None, ..order() };
        let body = json!({"geometry": {"coordinates": [11.9, 57.7]}, "properties": {"status": "created", "driver": null}});
        assert_eq!(feature(&body, &waiting, None), Differences::new());
    }
}
