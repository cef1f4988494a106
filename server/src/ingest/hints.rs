//! How soon a phone should speak again, by what its ping is worth: is anybody watching, is it near a stop, does it move. A hint and no more: a phone that
//! knows nothing of it is served as well.

use h3o::{CellIndex, LatLng};

use crate::attention::{Attention, driver_key};
use crate::map::levels::Level;
use crate::model::event::{Body, Event, Location};
use crate::model::id::{DriverId, TenantId};
use crate::model::position::Position;
use crate::model::time::UnixMs;

/// The next position is wanted after this time, once the phone has moved this far; at the latest after `LATEST_MS`, so that its link stays live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hint {
    pub next_interval_ms: u32,
    pub min_distance_m: u32,
}

/// A link that is silent for 30 s counts as delayed.
pub const LATEST_MS: u32 = 20_000;
/// Slower than this a phone stands.
const MOVES_MPS: f32 = 0.7;

/// The newest position of the driver that a request is of.
#[derive(Clone, Debug)]
pub(super) struct LastPing {
    driver: DriverId,
    time: UnixMs,
    position: Position,
    /// Unknown: it may well move.
    moves: bool,
}

/// How closely somebody looks at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Watching {
    Nobody,
    /// Sees it counted among others.
    FromAfar,
    Closely,
}

impl LastPing {
    /// Takes the next event of a request.
    pub(super) fn note(last: &mut Option<Self>, event: &Event) {
        let (Body::Location(location), Some(driver)) = (&event.body, &event.actor) else { return };
        if last.as_ref().is_none_or(|last| event.event_time >= last.time) {
            let Location { position, speed_mps, .. } = *location;
            let moves = speed_mps.is_none_or(|speed_mps| speed_mps >= MOVES_MPS);
            *last = Some(Self { driver: driver.clone(), time: event.event_time, position, moves });
        }
    }

    pub(super) fn hint(&self, tenant: TenantId, attention: &Attention) -> Hint {
        worth(watching(tenant, self.position, attention), attention.is_near_stop(driver_key(tenant, &self.driver)), self.moves)
    }
}

fn watching(tenant: TenantId, position: Position, attention: &Attention) -> Watching {
    let watched = attention.watched();
    if !watched.is_any(tenant) {
        return Watching::Nobody;
    }
    let place = LatLng::new(position.lat(), position.lng()).expect("a position is a place on the globe");
    let finest = place.to_cell(Level::Markers8.resolution());
    let seen_at = |cell: CellIndex, levels: &[Level]| levels.iter().any(|level| watched.holds(tenant, u64::from(level.cell_above(cell))));
    let (close, afar) = Level::ALL.split_at(Level::OF_MARKERS);
    // Who is about to come into view is wanted as soon as who is there: with the hint of a place where nobody looks it would appear late.
    if seen_at(finest, close) || finest.grid_disk::<Vec<_>>(1).into_iter().any(|neighbour| seen_at(neighbour, close)) {
        Watching::Closely
    } else if seen_at(finest, afar) {
        Watching::FromAfar
    } else {
        Watching::Nobody
    }
}

fn worth(watching: Watching, near_stop: bool, moves: bool) -> Hint {
    let (next_interval_ms, min_distance_m) = match (watching, near_stop, moves) {
        // Who stands does not move that far, so this asks no more of it than that it is there, and for its first step at once.
        (Watching::Closely, _, _) => (1_000, 5),
        (_, true, _) => (2_000, 10),
        (_, false, false) => (LATEST_MS, 30),
        (Watching::FromAfar, false, true) => (10_000, 50),
        (Watching::Nobody, false, true) => (15_000, 100),
    };
    Hint { next_interval_ms, min_distance_m }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attention::Watched;

    fn attention(level: Option<Level>, near_stop: bool) -> (Attention, LastPing) {
        let (tenant, driver) = (TenantId::parse("acme").unwrap(), DriverId::parse("ann").unwrap());
        let position = Position::from_degrees(57.7, 11.9).unwrap();
        let attention = Attention::new(1);
        let finest = LatLng::new(57.7, 11.9).unwrap().to_cell(Level::Markers8.resolution());
        let mut watched = Watched::default();
        watched.add(tenant, level.map(|level| u64::from(level.cell_above(finest))).into_iter());
        attention.set_watched(watched);
        attention.set_near_stops(0, near_stop.then(|| driver_key(tenant, &driver)).into_iter().collect());
        (attention, LastPing { driver, time: UnixMs(0), position, moves: true })
    }

    #[test]
    fn the_more_a_ping_is_worth_the_sooner_the_next_is_wanted() {
        let wanted = |level, near_stop, moves| {
            let (attention, last) = attention(level, near_stop);
            LastPing { moves, ..last }.hint(TenantId::parse("acme").unwrap(), &attention).next_interval_ms
        };
        let moving = [
            wanted(Some(Level::Markers8), false, true),
            wanted(None, true, true),
            wanted(Some(Level::Counts2), false, true),
            wanted(None, false, true),
            wanted(None, false, false),
        ];
        assert!(moving.is_sorted_by(|a, b| a < b), "{moving:?}");
        assert_eq!(wanted(Some(Level::Markers6), false, true), moving[0]);
        assert_eq!(wanted(Some(Level::Markers8), false, false), moving[0], "its first step is seen");
        assert!(moving.into_iter().all(|ms| ms <= LATEST_MS));
    }

    #[test]
    fn who_comes_near_what_is_watched_is_wanted_as_if_it_were_there() {
        let (attention, last) = attention(Some(Level::Markers8), false);
        let at = |lat: f64| LastPing { position: Position::from_degrees(lat, 11.9).unwrap(), ..last.clone() };
        let wanted = |lat: f64| at(lat).hint(TenantId::parse("acme").unwrap(), &attention).next_interval_ms;
        assert_eq!((wanted(57.7), wanted(57.703), wanted(57.75)), (1_000, 1_000, 15_000));
    }

    #[test]
    fn what_another_tenant_watches_is_nothing_to_this_one() {
        let (attention, last) = attention(Some(Level::Markers8), false);
        let globex = TenantId::parse("globex").unwrap();
        assert_eq!(last.hint(globex, &attention), worth(Watching::Nobody, false, true));
    }
}
