//! Compares `GET /v1/deliveries`, paged over the whole map, with what was expected. Never asks for one delivery alone.

use std::collections::BTreeMap;

use hyper::StatusCode;
use serde_json::Value;

use super::Findings;
use super::compare::{self, MAX_LISTED};
use crate::client::Client;
use crate::expected::{Certainty, Delivery, Expected};

const PAGE: usize = 2_000;
/// Where the pages of a wrong server that never end would end.
const MAX_PAGES: usize = 10_000;

/// All features of all pages, in their order.
pub async fn fetch(client: &mut Client) -> Result<Vec<Value>, String> {
    let mut features = Vec::new();
    let mut cursor = String::new();
    for _ in 0..MAX_PAGES {
        let path = format!("/v1/deliveries?bbox=-180,-90,180,90&limit={PAGE}{cursor}");
        let (status, body) = client.get(&path).await.map_err(|error| format!("the check stopped: {error}"))?;
        if status != StatusCode::OK {
            return Err(super::unreadable(&path, status));
        }
        let mut page: Value = serde_json::from_slice(&body).map_err(|error| format!("{path}: no JSON: {error}"))?;
        if let Some(Value::Array(list)) = page.get_mut("features").map(Value::take) {
            features.extend(list);
        }
        match page.get("next").and_then(Value::as_str) {
            Some(next) => cursor = format!("&cursor={}", super::escaped(next)),
            None => return Ok(features),
        }
    }
    Err(format!("GET /v1/deliveries has more than {MAX_PAGES} pages"))
}

/// Every open delivery has to be listed, once, as it is; one that is over may be.
pub fn judge(features: &[Value], expected: &Expected) -> Findings {
    let mut findings = Findings::default();
    let mut listed: BTreeMap<&str, u32> = BTreeMap::new();
    for feature in features {
        let id = feature.get("id").and_then(Value::as_str).unwrap_or("");
        *listed.entry(id).or_default() += 1;
        let Some(wanted) = expected.deliveries.get(id) else {
            findings.beside(id, expected);
            continue;
        };
        findings.compared += 1;
        let carrier = wanted.driver.as_ref().and_then(|driver| expected.drivers.get(driver)).filter(|driver| driver.certainty == Certainty::Whole);
        for how in compare::feature(feature, wanted, carrier) {
            findings.differ(format!("list: delivery {id}: {how}"));
        }
    }
    for (id, count) in listed.iter().filter(|(_, count)| **count > 1) {
        findings.differ(format!("list: delivery {id} is listed {count} times"));
    }
    let loads = expected.loads();
    for (id, delivery) in &expected.deliveries {
        let crowded = delivery.driver.as_deref().is_some_and(|driver| loads[driver].open.len() > MAX_LISTED);
        if !crowded && must_be_listed(delivery, expected) && !listed.contains_key(id.as_str()) {
            findings.differ(format!("list: delivery {id} ({}) is not listed", delivery.status));
        }
    }
    findings
}

/// Open, and its place is known.
fn must_be_listed(delivery: &Delivery, expected: &Expected) -> bool {
    let placed = match &delivery.driver {
        Some(driver) => expected.drivers.contains_key(driver),
        None => delivery.pickup.is_some(),
    };
    placed && !delivery.is_over() && delivery.certainty == Certainty::Whole
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expected::Driver;
    use crate::geodesy::Place;
    use serde_json::json;

    fn expected() -> Expected {
        let mut expected = Expected::default();
        expected.drivers.insert("van".into(), Driver::at(Place { lat: 57.7, lng: 11.9 }));
        for (id, status) in [("a", "assigned"), ("b", "delivered"), ("c", "arrived")] {
            expected.deliveries.insert(id.into(), Delivery { status: status.into(), driver: Some("van".into()), ..Delivery::default() });
        }
        expected.perhaps.insert("p".into());
        expected
    }

    fn feature(id: &str, status: &str) -> Value {
        json!({"id": id, "geometry": {"coordinates": [11.9, 57.7]}, "properties": {"status": status, "driver": "van"}})
    }

    #[test]
    fn what_is_open_must_be_listed_once_and_right_and_what_is_over_may_be() {
        let good = [feature("a", "assigned"), feature("c", "arrived")];
        assert_eq!(judge(&good, &expected()).differences, Vec::<String>::new());
        let with_old = [feature("a", "assigned"), feature("b", "delivered"), feature("c", "arrived"), feature("p", "x")];
        assert_eq!(judge(&with_old, &expected()).mismatched, 0);
        let missing = judge(&good[..1], &expected());
        assert_eq!(missing.differences, ["list: delivery c (arrived) is not listed"]);
        let twice = judge(&[feature("a", "assigned"), feature("a", "assigned"), feature("c", "arrived")], &expected());
        assert_eq!(twice.differences, ["list: delivery a is listed 2 times"]);
        let wrong = judge(&[feature("a", "arrived"), feature("c", "arrived")], &expected());
        assert_eq!(wrong.mismatched, 1);
        let beside = judge(&[feature("a", "assigned"), feature("c", "arrived"), feature("z", "arrived")], &expected());
        assert_eq!((beside.mismatched, beside.extra.len()), (0, 1));
    }
}
