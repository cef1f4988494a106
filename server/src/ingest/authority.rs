//! Whether a credential may say what an event says: who speaks, of which delivery and of which place. Pure; costs one branch without a scope.

use crate::formats::refusal::{Code, Refusal};
use crate::model::event::{Body, Event};
use crate::model::position::Position;
use crate::model::scope::Scope;

/// Refuses an event that lies outside, by the first of its fields that does.
pub(super) fn check(scope: &Scope, event: &Event) -> Result<(), Refusal> {
    if scope.is_all() {
        return Ok(());
    }
    if !scope.holds_driver(event.actor.as_ref()) {
        return Err(outside("/actor_id", "must be a driver that this credential is for"));
    }
    if !scope.holds_delivery(event.delivery.as_ref()) {
        return Err(outside("/entity_id", "must be a delivery that this credential is for"));
    }
    let place = |place: Option<Position>, pointer| match place {
        Some(place) if !scope.holds_place(place) => Err(outside(pointer, "is outside of the area that this credential is for")),
        _ => Ok(()),
    };
    let places = match &event.body {
        Body::Location(_) => 1,
        Body::Created(created) => usize::from(created.pickup.is_some()) + usize::from(created.destination.is_some()),
        _ => 0,
    };
    // An area says nothing of what has no place, and nothing else bounds such a credential.
    if places == 0 && scope.drivers().is_none() && scope.deliveries().is_none() {
        return Err(outside("", "says no place, and this credential is for an area alone"));
    }
    match &event.body {
        Body::Location(location) => place(Some(location.position), "/payload"),
        Body::Created(created) => place(created.pickup, "/payload/pickup").and_then(|()| place(created.destination, "/payload/destination")),
        Body::Assigned { driver } if !scope.holds_driver(Some(driver)) => {
            Err(outside("/payload/driver", "must be a driver that this credential is for"))
        }
        Body::Assigned { .. } | Body::Status(_) | Body::Eta { .. } | Body::Duty { .. } | Body::Other { .. } => Ok(()),
    }
}

fn outside(pointer: &str, detail: &str) -> Refusal {
    Refusal::new(Code::OutOfScope, pointer, detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::json;
    use crate::model::id::{DeliveryId, DriverId, TenantId};
    use crate::model::scope::Area;

    fn refused_at(scope: &Scope, event: &str) -> Option<String> {
        let event = event.replacen('{', "{\"event_id\":\"e\",\"event_time\":1,", 1);
        let event = json::decode(event.as_bytes(), &TenantId::parse("acme").expect("valid")).expect("an event");
        check(scope, &event).err().map(|refusal| {
            assert_eq!(refusal.code, Code::OutOfScope);
            refusal.pointer
        })
    }

    #[test]
    fn a_credential_of_a_driver_speaks_for_that_driver_alone() {
        let scope = Scope::new(Some(vec![DriverId::parse("van").expect("valid")]), None, None).expect("few");
        let cases = [
            (r#"{"event_name":"driver.duty","actor_id":"van","payload":{"on":true}}"#, None),
            (r#"{"event_name":"driver.duty","actor_id":"other","payload":{"on":true}}"#, Some("/actor_id")),
            (r#"{"event_name":"delivery.status","entity_id":"p","payload":{"status":"arrived"}}"#, Some("/actor_id")),
            (r#"{"event_name":"delivery.status","actor_id":"van","entity_id":"p","payload":{"status":"arrived"}}"#, None),
            (r#"{"event_name":"delivery.assigned","actor_id":"van","entity_id":"p","payload":{"driver":"van"}}"#, None),
            (r#"{"event_name":"delivery.assigned","actor_id":"van","entity_id":"p","payload":{"driver":"other"}}"#, Some("/payload/driver")),
            (r#"{"event_name":"door.opened","actor_id":"other"}"#, Some("/actor_id")),
        ];
        for (event, pointer) in cases {
            assert_eq!(refused_at(&scope, event).as_deref(), pointer, "{event}");
            assert_eq!(refused_at(&Scope::ALL, event), None, "{event}");
        }
    }

    #[test]
    fn a_credential_of_deliveries_or_an_area_speaks_of_nothing_else() {
        let parcel = Scope::new(None, Some(vec![DeliveryId::parse("p").expect("valid")]), None).expect("few");
        let area = Scope::new(None, None, Some(Area::parse("11,57,12,58").expect("a box"))).expect("few");
        let ping = |entity: &str, lat: &str| format!(r#"{{"event_name":"location","actor_id":"van"{entity},"payload":{{"lat":{lat},"lng":11.5}}}}"#);
        assert_eq!(refused_at(&parcel, &ping(r#","entity_id":"p""#, "57.5")), None);
        assert_eq!(refused_at(&parcel, &ping(r#","entity_id":"q""#, "57.5")).as_deref(), Some("/entity_id"));
        assert_eq!(refused_at(&parcel, &ping("", "57.5")).as_deref(), Some("/entity_id"));
        assert_eq!(refused_at(&area, &ping("", "57.5")), None);
        assert_eq!(refused_at(&area, &ping("", "56.5")).as_deref(), Some("/payload"));
        let order =
            r#"{"event_name":"delivery.created","entity_id":"p","payload":{"pickup":{"lat":57.5,"lng":11.5},"destination":{"lat":57.5,"lng":12.5}}}"#;
        assert_eq!(refused_at(&area, order).as_deref(), Some("/payload/destination"));
        // What has no place lies in no area, unless the credential is for this driver or delivery as well.
        let status = r#"{"event_name":"delivery.status","entity_id":"p","payload":{"status":"arrived"}}"#;
        let duty = r#"{"event_name":"driver.duty","actor_id":"van","payload":{"on":false}}"#;
        for event in [status, duty, r#"{"event_name":"delivery.created","entity_id":"p","payload":{}}"#] {
            assert_eq!(refused_at(&area, event).as_deref(), Some(""), "{event}");
        }
        assert_eq!(refused_at(&parcel.within(&area), status), None);
    }
}
