//! All systems of a measurement, each started for it alone. A peer that is not here is skipped, with a line that says why.

use std::sync::Mutex;

use serde::Serialize;

use super::plot::Colour;
use super::plot::bars::Fill;
use super::postgis::{Postgis, Session};
use super::process;
use super::redis::{self, Keeping, Redis};
use super::support::Server;
use super::turns::{Job, Lane, Until, turn};
use super::waypost::{Count, Door};
use super::wire::Wire;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum System {
    Waypost,
    RedisMemory,
    RedisFsync,
    Postgis,
}

impl System {
    pub(crate) fn colour(self) -> Colour {
        match self {
            Self::Waypost => Colour::Blue,
            Self::RedisMemory | Self::RedisFsync => Colour::Red,
            Self::Postgis => Colour::Green,
        }
    }

    /// Hollow: it answers before anything is on disk.
    pub(crate) fn fill(self) -> Fill {
        if self == Self::RedisMemory { Fill::Hollow } else { Fill::Solid }
    }
}

pub(crate) struct Systems {
    waypost: Server,
    _folder: tempfile::TempDir,
    pub(crate) redis_memory: Option<Redis>,
    pub(crate) redis_fsync: Option<Redis>,
    pub(crate) postgis: Option<Postgis>,
}

impl Systems {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let waypost = Server::start(folder.path(), &[("WAYPOST_ENTITY_LIMIT", "4000000")]);
        waypost.ready();
        let redis = async |keeping| {
            if !redis::is_there() {
                return Err("there is no redis-server (Debian: apt-get install redis-server)".to_owned());
            }
            Redis::start(keeping).await
        };
        let redis_memory = or_skipped("redis", redis(Keeping::Memory).await);
        let redis_fsync = if redis_memory.is_some() { or_skipped("redis with fsync", redis(Keeping::FsyncAlways).await) } else { None };
        let postgis = or_skipped("postgis", Postgis::start().await);
        Self { waypost, _folder: folder, redis_memory, redis_fsync, postgis }
    }

    pub(crate) fn waypost(&self) -> &Server {
        &self.waypost
    }

    pub(crate) fn door(&self) -> Door {
        Door::of(&self.waypost)
    }

    /// The process that a system's work is charged to; absent where it is skipped.
    pub(crate) fn pid(&self, system: System) -> Option<u32> {
        match system {
            System::Waypost => Some(self.waypost.pid()),
            System::RedisMemory => self.redis_memory.as_ref().map(|redis| redis.process.pid()),
            System::RedisFsync => self.redis_fsync.as_ref().map(|redis| redis.process.pid()),
            System::Postgis => self.postgis.as_ref().map(|postgis| postgis.process.pid()),
        }
    }

    /// Connections to a system that is there. `count` reads Waypost's answers.
    pub(crate) async fn lanes(&self, system: System, connections: usize, count: Count) -> Result<Vec<Lane>, String> {
        let wire = async |host: &str| Wire::open(host).await.map_err(|error| error.to_string());
        let mut lanes = Vec::new();
        for _ in 0..connections {
            lanes.push(match (system, &self.redis_memory, &self.redis_fsync, &self.postgis) {
                (System::Waypost, ..) => Lane::Http(wire(&self.door().host).await?, count),
                (System::RedisMemory, Some(redis), ..) | (System::RedisFsync, _, Some(redis), _) => Lane::Resp(wire(&redis.host).await?),
                (System::Postgis, .., Some(postgis)) => Lane::Sql(Session::open(postgis).await?),
                _ => return Err(format!("{system:?} is not there")),
            });
        }
        Ok(lanes)
    }

    /// Does these jobs once and leaves the system at rest.
    pub(crate) async fn load(&self, system: System, count: Count, jobs: Vec<Job>) -> Result<(), String> {
        let Some(pid) = self.pid(system) else { return Ok(()) };
        let lanes = self.lanes(system, 8, count).await?;
        turn(lanes, &std::sync::Arc::new(jobs), 0, Until::Done, pid).await?;
        if system == System::Waypost {
            while self.waypost.lag() > 0.0 {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        }
        process::settled_cpu_s(pid).await;
        Ok(())
    }
}

/// The peers of which it was said already that they are skipped.
static SKIPPED: Mutex<Vec<&str>> = Mutex::new(Vec::new());

#[expect(clippy::print_stdout, reason = "a benchmark says what it leaves out")]
fn or_skipped<T>(name: &'static str, started: Result<T, String>) -> Option<T> {
    match started {
        Ok(system) => Some(system),
        Err(reason) => {
            let mut skipped = SKIPPED.lock().expect("nobody panics with it");
            if !skipped.contains(&name) {
                println!("SKIPPED {name}: {reason}");
                skipped.push(name);
            }
            None
        }
    }
}
