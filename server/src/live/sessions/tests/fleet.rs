//! The vans of a walk: what a number says of one. Moves none of them.

use crate::model::change::{Aboard, MarkerChange};
use crate::model::id::{DeliveryId, DriverId, Handle, TenantId};
use crate::model::marker::{Marker, MarkerParts};
use crate::model::maybe::Maybe;
use crate::model::position::Position;
use crate::model::status::{Link, Motion, Status};
use crate::model::tags::Attributes;
use crate::model::time::UnixMs;

pub(super) fn tenant() -> TenantId {
    TenantId::parse("acme").unwrap()
}

/// What the number says of a delivery's attributes.
fn tagged(number: u64) -> Attributes {
    let pairs: &[(&str, &str)] =
        [&[][..], &[("size", "xl")], &[("express", ""), ("size", "s")], &[("cold", "yes")]][usize::try_from(number).unwrap()];
    Attributes::new(pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect())
}

pub(super) fn marker(number: u64, place: (f64, f64), status: usize, heading: bool, driver: u64) -> MarkerChange {
    let status = [None, Some(Status::Assigned), Some(Status::PickedUp), Some(Status::Arrived)][status];
    let delivery = DeliveryId::parse(&format!("P{number}")).unwrap();
    let listed = |delivery, status, tags, late_risk| Aboard::of(delivery, status, late_risk, tagged(tags));
    let mut aboard: Vec<Aboard> = status.into_iter().map(|status| listed(delivery.clone(), status, driver % 3, driver % 4 == 1)).collect();
    // Another delivery comes and goes, and goes on, while the marker as a whole looks the same.
    let (other, status_of_other) =
        (DeliveryId::parse(&format!("Q{number}")).unwrap(), [Status::Assigned, Status::PickedUp][usize::from(driver.is_multiple_of(2))]);
    aboard.extend((driver % 5 > 1).then(|| listed(other, status_of_other, driver % 4, driver % 7 == 2)));
    // Now and then the same handle stands for another id.
    let id = if driver == 0 { format!("other-{number}") } else { format!("van-{number}") };
    let marker = Marker::of(MarkerParts {
        handle: Handle((number % 3) << 37 | number),
        driver: Some(DriverId::parse(&id).unwrap()),
        position: Position::from_degrees(place.0, place.1).unwrap(),
        heading_deg: heading.then_some(359.9).into(),
        speed_mps: 7.3,
        status,
        motion: Motion::Moving,
        link: Link::Live,
        accuracy_m: Maybe::NONE,
        late_risk: aboard.iter().any(|aboard| aboard.late_risk),
        aboard: aboard.into(),
        fix_time: UnixMs(0),
        heard: UnixMs(0),
        changed: UnixMs(0),
    });
    MarkerChange::Put { tenant: tenant(), marker }
}
