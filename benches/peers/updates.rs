//! Position updates: how many a second does each system take, at what cost, and how long does one wait for its answer?
//!
//! Waypost answers when an event with all its fields is synced; its CPU is that until the map shows it. Redis and `PostGIS` are told the position alone, but for
//! `XADD`, which is given the same event as Protobuf.

use std::sync::Arc;

use waypost_sim::event::Format;

use super::fleet::{Fleet, Speech};
use super::report::{Row, Section};
use super::systems::{System, Systems};
use super::turns::{Turn, Until, median, turn};
use super::waypost::{Count, accepted_json, accepted_proto};
use super::{Sizes, fdatasync};

struct Contender {
    name: &'static str,
    system: System,
    speech: Speech,
    count: Count,
    /// It does one of so many of the turn's updates: a slow one would hold up the round.
    one_of: usize,
}

/// In batches, and one a request.
pub(crate) async fn measure(sizes: &Sizes) -> Result<Vec<Section>, String> {
    let systems = Systems::start().await;
    let mut fleets = [Fleet::new(sizes.drivers), Fleet::new(sizes.drivers), Fleet::new(sizes.drivers), Fleet::new(sizes.drivers)];
    let contenders: Vec<Contender> = contenders(&systems).into_iter().filter(|who| systems.pid(who.system).is_some()).collect();
    // Each driver has spoken once, everywhere, before the first turn.
    for who in &contenders {
        let fleet = &mut fleets[who.system as usize];
        let drivers = fleet.drivers();
        systems.load(who.system, who.count, fleet.jobs(drivers, 500, &who.speech)).await?;
    }
    let batched = rounds(&systems, &contenders, &mut fleets, sizes, (100, sizes.events, 32)).await?;
    let single = rounds(&systems, &contenders, &mut fleets, sizes, (1, sizes.events / 8, 64)).await?;
    all_are_there(&systems, sizes.drivers as u64).await?;
    let section = |key, heading: &str, rows| {
        let title = format!("Position updates, {}, {} drivers that move 12 m a ping", heading.to_lowercase(), sizes.drivers);
        Section { key, title, heading: heading.to_owned(), unit: "update", rows }
    };
    Ok(vec![section("updates_batched", "100 a request, 32 connections", batched), section("updates_single", "One a request, 64 connections", single)])
}

fn contenders(systems: &Systems) -> Vec<Contender> {
    let row = |name, system, speech, count, one_of| Contender { name, system, speech, count, one_of };
    let (proto, json) = (Speech::Waypost(systems.door(), Format::Proto), Speech::Waypost(systems.door(), Format::Json));
    vec![
        row("Waypost, Protobuf", System::Waypost, proto, accepted_proto, 1),
        row("Waypost, JSON", System::Waypost, json, accepted_json, 1),
        row("Redis GEOADD, in memory", System::RedisMemory, Speech::Geoadd, accepted_json, 1),
        row("Redis GEOADD, fsync always", System::RedisFsync, Speech::Geoadd, accepted_json, 1),
        row("Redis XADD, fsync always", System::RedisFsync, Speech::Xadd, accepted_json, 1),
        row("PostGIS upsert, fsync on", System::Postgis, Speech::Upsert, accepted_json, 5),
    ]
}

async fn rounds(
    systems: &Systems,
    contenders: &[Contender],
    fleets: &mut [Fleet; 4],
    sizes: &Sizes,
    (batch, updates, connections): (usize, usize, usize),
) -> Result<Vec<Row>, String> {
    let mut turns: Vec<Vec<Turn>> = contenders.iter().map(|_| Vec::new()).collect();
    let mut syncs_ms = Vec::new();
    for _ in 0..sizes.rounds {
        syncs_ms.push(fdatasync::p50_ms());
        for (who, turns) in contenders.iter().zip(&mut turns) {
            let jobs = Arc::new(fleets[who.system as usize].jobs(updates.div_ceil(who.one_of), batch, &who.speech));
            let lanes = systems.lanes(who.system, connections, who.count).await?;
            let pid = systems.pid(who.system).ok_or("a contender that is not there")?;
            let (figures, _lanes) = turn(lanes, &jobs, 0, Until::Done, pid).await.map_err(|error| format!("{}: {error}", who.name))?;
            turns.push(figures);
        }
    }
    fdatasync::note(&syncs_ms);
    let row = |(who, turns): (&Contender, Vec<Turn>)| Row { name: who.name.to_owned(), system: who.system, median: median(&turns), rounds: turns };
    Ok(contenders.iter().zip(turns).map(row).collect())
}

/// Nobody may have been fast by leaving out a driver.
async fn all_are_there(systems: &Systems, drivers: u64) -> Result<(), String> {
    for redis in systems.redis_memory.iter().chain(&systems.redis_fsync) {
        held("Redis", redis.count().await?, drivers)?;
    }
    if let Some(postgis) = &systems.postgis {
        held("PostGIS", postgis.count().await?, drivers)?;
    }
    Ok(())
}

fn held(name: &str, held: u64, drivers: u64) -> Result<(), String> {
    if held == drivers { Ok(()) } else { Err(format!("{name} holds {held} of {drivers} positions")) }
}
