//! When a delivery is expected at its next stop: what was reported, else remaining distance over smoothed speed. Never asks a router and never a clock.

use std::time::Duration;

use crate::model::position::Position;
use crate::model::status::Status;
use crate::model::terms::Terms;
use crate::model::time::UnixMs;

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EtaSettings {
    /// How much longer the way by road is than the great circle.
    pub road_factor: f64,
    /// The least speed to count with: a van at a red light does arrive.
    pub least_speed_mps: f32,
    /// How often the estimates of a marker's list are looked at again while its deliveries stay the same.
    pub refresh: Duration,
    /// A listed estimate that moved by less is left as it stands.
    pub tolerance: Duration,
}

impl Default for EtaSettings {
    fn default() -> Self {
        Self { road_factor: 1.35, least_speed_mps: 4.0, refresh: Duration::from_secs(10), tolerance: Duration::from_secs(15) }
    }
}

/// Where the carrier is, how fast, and since when that is true.
#[derive(Clone, Copy, Debug)]
pub struct Underway {
    pub position: Position,
    pub speed_mps: f32,
    pub at: UnixMs,
}

impl EtaSettings {
    /// The reported time, else an estimate when the carrier's place and the stop are known. Nothing is expected of a delivery that ended or failed.
    pub fn eta(&self, terms: &Terms, underway: Option<Underway>) -> Option<UnixMs> {
        if terms.status.is_terminal() || terms.status == Status::Failed {
            return None;
        }
        terms.reported_eta().or_else(|| {
            let Underway { position, speed_mps, at } = underway?;
            let remaining_m = position.distance_m(next_stop(terms)?) * self.road_factor;
            Some(at + Duration::from_secs_f64(remaining_m / f64::from(speed_mps.max(self.least_speed_mps).max(0.1))))
        })
    }
}

/// Whether a delivery that is expected at `eta` may miss its promise, or has missed it already.
pub(super) fn is_late_risk(terms: &Terms, eta: Option<UnixMs>, now: UnixMs) -> bool {
    let missed = |promised_by| now > promised_by || eta.is_some_and(|eta| eta > promised_by);
    !terms.status.is_terminal() && terms.promised_by.get().is_some_and(missed)
}

/// Before pickup the pickup (the destination when that is the only stop known), afterwards the destination.
pub(super) fn next_stop(terms: &Terms) -> Option<Position> {
    if terms.status < Status::PickedUp { terms.pickup.or(terms.destination) } else { terms.destination }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::{DeliveryId, Handle};

    fn at(lat: f64, lng: f64) -> Position {
        Position::from_degrees(lat, lng).unwrap()
    }

    fn terms(status: Status) -> Terms {
        let stops = (Some(at(57.0, 12.01)), Some(at(57.0, 12.03)));
        Terms { status, pickup: stops.0, destination: stops.1, ..Terms::new(DeliveryId::parse("d").unwrap(), Handle(1)) }
    }

    fn underway(speed_mps: f32) -> Underway {
        Underway { position: at(57.0, 12.0), speed_mps, at: UnixMs(1_000_000) }
    }

    fn seconds(status: Status, speed_mps: f32) -> i64 {
        (EtaSettings::default().eta(&terms(status), Some(underway(speed_mps))).unwrap().0 - 1_000_000) / 1000
    }

    #[test]
    fn an_estimate_goes_to_the_pickup_first_and_then_to_the_destination() {
        // 0.01 degrees of longitude at 57 N are 605.6 m; by road 817.6 m.
        assert_eq!(seconds(Status::EnRoutePickup, 8.0), 102);
        assert_eq!(seconds(Status::PickedUp, 8.0), 306);
    }

    #[test]
    fn a_standing_carrier_is_counted_with_the_least_speed() {
        assert_eq!(seconds(Status::EnRoutePickup, 0.0), 204);
        assert_eq!(seconds(Status::EnRoutePickup, 0.0), seconds(Status::EnRoutePickup, 4.0));
    }

    #[test]
    fn a_reported_time_outranks_and_an_ended_delivery_has_none() {
        let settings = EtaSettings::default();
        let mut it = terms(Status::EnRouteDropoff);
        it.set_reported_eta(Some(UnixMs(7)));
        assert_eq!(settings.eta(&it, Some(underway(5.0))), Some(UnixMs(7)));
        assert_eq!(settings.eta(&it, None), Some(UnixMs(7)));
        it.status = Status::Delivered;
        assert_eq!(settings.eta(&it, Some(underway(5.0))), None);
        it = Terms { destination: None, ..terms(Status::PickedUp) };
        assert_eq!(settings.eta(&it, Some(underway(5.0))), None);
        it = Terms { pickup: None, ..terms(Status::Assigned) };
        assert!(settings.eta(&it, Some(underway(5.0))).is_some());
    }
}
