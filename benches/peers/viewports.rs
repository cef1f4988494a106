//! Viewport queries: which objects are in this box? Every system holds the same objects and is asked for the same boxes, and must find the same number.

use std::sync::Arc;
use std::time::Duration;

use waypost_sim::event::Format;

use super::Sizes;
use super::fleet::{Objects, Speech};
use super::plot::short;
use super::redis;
use super::report::{Row, Section};
use super::systems::{System, Systems};
use super::turns::{Ask, Job, Turn, Until, median, turn};
use super::waypost::{Count, accepted_json, accepted_proto, features, ids};

const CONNECTIONS: usize = 8;
const BOXES: usize = 20_000;
/// How many boxes all systems are compared on beforehand.
const COMPARED: usize = 200;

struct Contender {
    name: &'static str,
    system: System,
    count: Count,
    jobs: Arc<Vec<Job>>,
}

/// A hundred thousand objects and a million, or as many as `sizes` say.
#[expect(clippy::cast_precision_loss, reason = "a number of objects to be shown")]
pub(crate) async fn measure(sizes: &Sizes) -> Result<Vec<Section>, String> {
    let mut sections = Vec::new();
    for (key, objects) in [("viewports_small", sizes.objects / 10), ("viewports_large", sizes.objects)] {
        let rows = of_many(sizes, objects).await?;
        let hits = rows.first().map_or(0.0, |row| row.median.hits);
        let heading = format!("{hits:.0} hits among {} objects", short(objects as f64));
        let title = format!("Viewport queries, {heading}, {CONNECTIONS} connections, id and position of each hit");
        sections.push(Section { key, title, heading, unit: "query", rows });
    }
    Ok(sections)
}

async fn of_many(sizes: &Sizes, count: usize) -> Result<Vec<Row>, String> {
    let systems = Systems::start().await;
    let objects = Objects::new(count);
    systems.load(System::Waypost, accepted_proto, objects.jobs(500, &Speech::Waypost(systems.door(), Format::Proto))).await?;
    systems.load(System::RedisMemory, accepted_json, objects.jobs(500, &Speech::Geoadd)).await?;
    systems.load(System::Postgis, accepted_json, objects.jobs(2_000, &Speech::Upsert)).await?;
    if let Some(postgis) = &systems.postgis {
        postgis.vacuum().await?;
    }
    let contenders: Vec<Contender> = contenders(&systems).await?.into_iter().filter(|who| systems.pid(who.system).is_some()).collect();
    compare(&systems, &contenders).await?;
    let mut turns: Vec<Vec<Turn>> = contenders.iter().map(|_| Vec::new()).collect();
    let first = |round: usize| round * BOXES / sizes.rounds.max(1);
    // A turn that is not counted, so that caches are as warm for the first as for the last.
    for round in 0..=sizes.rounds {
        for (who, turns) in contenders.iter().zip(&mut turns) {
            let pid = systems.pid(who.system).ok_or("a contender that is not there")?;
            let lanes = systems.lanes(who.system, CONNECTIONS, who.count).await?;
            let until = Until::Passed(Duration::from_secs_f64(sizes.seconds));
            let (figures, _lanes) = turn(lanes, &who.jobs, first(round), until, pid).await.map_err(|error| format!("{}: {error}", who.name))?;
            if round > 0 {
                turns.push(figures);
            }
        }
    }
    let row = |(who, turns): (&Contender, Vec<Turn>)| Row { name: who.name.to_owned(), system: who.system, median: median(&turns), rounds: turns };
    Ok(contenders.iter().zip(turns).map(row).collect())
}

async fn contenders(systems: &Systems) -> Result<Vec<Contender>, String> {
    let boxes = Objects::viewports(BOXES);
    let door = systems.door();
    let http = |fields: &str, accept: &str| {
        let path =
            |[west, south, east, north]: &[f64; 4]| format!("/v1/deliveries?bbox={west:.7},{south:.7},{east:.7},{north:.7}&limit=10000{fields}");
        let job = |bounds: &[f64; 4]| Job { ask: Ask::Bytes(door.get(&path(bounds), accept), 0), updates: 0 };
        Arc::new(boxes.iter().map(job).collect::<Vec<_>>())
    };
    let resp = boxes.iter().map(|bounds| Job { ask: Ask::Bytes(redis::geosearch(*bounds), 1), updates: 0 });
    let sql = boxes.iter().map(|bounds| Job { ask: Ask::Box(*bounds), updates: 0 });
    let proto = http("&fields=id", "application/x-protobuf");
    // A server that has no Protobuf for this answers JSON.
    let mut asked = systems.lanes(System::Waypost, 1, |body| Ok(u64::from(body.first() != Some(&b'{')))).await?;
    let has_proto = asked[0].ask(&proto[0]).await? == 1;
    let proto = Contender { name: "Waypost, Protobuf", system: System::Waypost, count: ids, jobs: proto };
    let mut contenders = vec![
        Contender { name: "Waypost, JSON", system: System::Waypost, count: features, jobs: http("&fields=id", "application/json") },
        Contender { name: "Waypost, full GeoJSON", system: System::Waypost, count: features, jobs: http("", "application/json") },
        Contender { name: "Redis GEOSEARCH", system: System::RedisMemory, count: features, jobs: Arc::new(resp.collect()) },
        Contender { name: "PostGIS, GiST", system: System::Postgis, count: features, jobs: Arc::new(sql.collect()) },
    ];
    if has_proto {
        contenders.insert(1, proto);
    }
    Ok(contenders)
}

/// Each box must hold as many for everyone. On an edge they may differ: Waypost keeps 1e-7 degrees, Redis 0.6 m and a width in kilometres.
async fn compare(systems: &Systems, contenders: &[Contender]) -> Result<(), String> {
    let mut found: Vec<Vec<u64>> = Vec::new();
    for who in contenders {
        let mut lanes = systems.lanes(who.system, 1, who.count).await?;
        let mut of_one = Vec::new();
        for job in &who.jobs[..COMPARED] {
            of_one.push(lanes[0].ask(job).await.map_err(|error| format!("{}: {error}", who.name))?);
        }
        found.push(of_one);
    }
    for (who, of_one) in contenders.iter().zip(&found) {
        for (index, (found, expected)) in of_one.iter().zip(&found[0]).enumerate() {
            let allowed = 2 + expected / 100;
            if found.abs_diff(*expected) > allowed {
                return Err(format!("box {index}: {} finds {found}, {} {expected}", who.name, contenders[0].name));
            }
        }
        let all: u64 = of_one.iter().sum();
        if all == 0 {
            return Err(format!("{} finds nothing at all", who.name));
        }
    }
    Ok(())
}
