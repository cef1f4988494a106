//! The server's stages in this process, one more at a time, and what each adds to the memory. Runs no task and no log.

use waypost::map::Map;
use waypost::map::cells::Tick;
use waypost::marker::fold::Fold;
use waypost::marker::settings::MarkerSettings;
use waypost::model::change::{FactChange, FactChanges};
use waypost::model::event::{Body, Created, Event, Location, Stamp};
use waypost::model::id::{DeliveryId, DriverId, EventId, Offset, PartitionId, TenantId};
use waypost::model::position::Position;
use waypost::model::tags::Attributes;
use waypost::model::time::UnixMs;
use waypost::track::roster::Limits;
use waypost::track::state::PartitionState;
use waypost_sim::wire;
use waypost_sim::wire::event::Payload;

use crate::workload;

const PARTITIONS: u16 = 64;
const SHARDS: usize = 2;
/// Events between two ticks.
const A_TICK: usize = 10_000;

/// The stages of one run. What is absent here is told nothing.
struct Stages {
    tenant: TenantId,
    states: Vec<PartitionState>,
    folds: Vec<Fold>,
    map: Option<Map>,
}

/// A name and what it takes for each pair.
pub(crate) fn bytes_a_pair(pairs: usize) -> Vec<(&'static str, f64)> {
    let runs = [("facts (track)", 0, false), ("what moves (marker)", SHARDS, false), ("the map", SHARDS, true)];
    let mut below = 0.0;
    let mut rows = Vec::new();
    for (name, folds, map) in runs {
        let before = resident_bytes();
        let stages = fill(pairs, folds, map);
        #[expect(clippy::cast_precision_loss, reason = "bytes of a benchmark")]
        let all = (resident_bytes() - before) as f64 / pairs as f64;
        assert_eq!(stages.states.iter().map(|state| state.counts().drivers).sum::<usize>(), pairs);
        assert_eq!(stages.map.as_ref().map_or(pairs, |map| map.tenant(&stages.tenant).map_or(0, waypost::map::TenantMap::len)), pairs);
        rows.push((name, all - below));
        below = all;
        // Kept to the end: memory that was given back would be taken by the next run, and not be seen.
        std::mem::forget(stages);
    }
    rows.push(("the stages together", below));
    rows
}

fn fill(pairs: usize, folds: usize, map: bool) -> Stages {
    let limits = Limits::share(16_000_000, PARTITIONS);
    let mut stages = Stages {
        tenant: TenantId::parse("bench").expect("a name"),
        states: (0..PARTITIONS).map(|partition| PartitionState::new(PartitionId(partition), limits)).collect(),
        folds: (0..folds).map(|shard| Fold::new(shard, MarkerSettings::default())).collect(),
        map: map.then(Map::default),
    };
    let mut told = vec![Vec::new(); folds];
    for (number, sent) in workload::events(pairs).enumerate() {
        let event = event_of(sent, stages.tenant);
        let log_time = event.stamp.effective_time;
        let state = &mut stages.states[event.partition(PARTITIONS).index()];
        state.apply(Offset(number as u64), log_time, &event, &mut |change| tell(&mut told, change));
        if number % A_TICK == A_TICK - 1 {
            stages.tick(&mut told, number, log_time);
        }
    }
    let log_time = stages.states.iter().map(PartitionState::log_time).max().unwrap_or_default();
    stages.tick(&mut told, workload::EVENTS_A_PAIR * pairs, log_time);
    stages
}

fn tell(told: &mut [Vec<FactChange>], change: FactChange) {
    let shard = change.carrier.shard(&change.tenant, told.len());
    if let Some(told) = told.get_mut(shard) {
        told.push(change);
    }
}

impl Stages {
    fn tick(&mut self, told: &mut [Vec<FactChange>], number: usize, log_time: UnixMs) {
        for (fold, told) in self.folds.iter_mut().zip(told) {
            let changes = std::mem::take(told);
            fold.apply(FactChanges { partition: PartitionId(0), through: Offset(number as u64), log_time, announcing: false, changes });
            for change in fold.take().changes.into_parts().flatten() {
                if let Some(map) = &mut self.map {
                    map.apply(change, Tick((number / A_TICK) as u64 + 1));
                }
            }
        }
    }
}

fn event_of(sent: wire::Event, tenant: TenantId) -> Event {
    let position = |lat: f64, lng: f64| Position::from_degrees(lat, lng).expect("a place");
    let point = |point: wire::Point| position(point.lat, point.lng);
    let body = match sent.payload {
        Some(Payload::Location(at)) => Body::Location(Location {
            position: position(at.lat, at.lng),
            accuracy_m: at.accuracy_m,
            speed_mps: at.speed_mps,
            heading_deg: at.heading_deg,
            altitude_m: at.altitude_m,
            battery: at.battery,
        }),
        Some(Payload::Created(created)) => Body::Created(Box::new(Created {
            pickup: created.pickup.map(point),
            destination: created.destination.map(point),
            promised_by: created.promised_by_ms.map(UnixMs),
            recipient_ref: None,
            attributes: Attributes::default(),
        })),
        Some(Payload::Assigned(assigned)) => Body::Assigned { driver: DriverId::parse(&assigned.driver_id).expect("an id") },
        other => unreachable!("the workload says nothing like {other:?}"),
    };
    let event_time = UnixMs(sent.event_time_ms);
    Event {
        id: EventId::parse(&sent.event_id).expect("an id"),
        tenant,
        actor: DriverId::parse(&sent.actor_id).ok(),
        delivery: DeliveryId::parse(&sent.entity_id).ok(),
        event_time,
        schema_version: 1,
        body,
        stamp: Stamp { effective_time: event_time, ..Stamp::default() },
        unknown: None,
    }
}

fn resident_bytes() -> usize {
    const PAGE: usize = 4_096;
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux tells it");
    statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<usize>().ok()).expect("a number") * PAGE
}
