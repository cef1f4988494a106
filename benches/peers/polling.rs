//! What an app would do that has no server that pushes: writes positions as they come, and asks for each viewport again and again. Never caches an answer.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use waypost_sim::clock;
use waypost_sim::geodesy::Place;
use waypost_sim::movers::Movers;

use super::Sizes;
use super::live::{BATCH, SPAN_DEG};
use super::postgis::{Positions, Session};
use super::redis::{geoadd, geosearch};
use super::systems::{System, Systems};
use super::turns::{Ask, Job, Lane};
use super::wire::Wire;

/// Connections that ask, as a pool of an app would.
pub(crate) const POLLERS: usize = 16;
pub(crate) const POLL_EVERY: Duration = Duration::from_secs(1);

/// What one person looks at: a box in degrees.
#[derive(Debug)]
pub(crate) struct Viewer {
    bounds: [f64; 4],
    command: Vec<u8>,
}

impl Viewer {
    /// One near the centre of each city in turn.
    pub(crate) fn crowd(movers: Movers, count: usize) -> Vec<Self> {
        let mut random = StdRng::seed_from_u64(17);
        let mut viewer = |index: usize| {
            let Place { lat, lng } = movers.centre(index);
            let mut off = || random.random_range(-0.5..0.5) * SPAN_DEG;
            let (west, south) = (lng + off() - SPAN_DEG / 2.0, lat + off() - SPAN_DEG / 2.0);
            let bounds = [west, south, west + SPAN_DEG, south + SPAN_DEG];
            Self { bounds, command: geosearch(bounds) }
        };
        (0..count).map(&mut viewer).collect()
    }

    /// The same question for a lane that is not asked what it found.
    pub(crate) fn job(&self, system: System) -> Job {
        let ask = if system == System::Postgis { Ask::Box(self.bounds) } else { Ask::Bytes(self.command.clone(), 1) };
        Job { ask, updates: 0 }
    }
}

/// One connection that asks.
pub(crate) enum Poller {
    Resp(Wire),
    Sql(Session),
}

impl Poller {
    pub(crate) async fn open(systems: &Systems, system: System) -> Result<Self, String> {
        match (system, &systems.redis_memory, &systems.postgis) {
            (System::RedisMemory, Some(redis), _) => Ok(Self::Resp(Wire::open(&redis.host).await.map_err(|error| error.to_string())?)),
            (System::Postgis, _, Some(postgis)) => Ok(Self::Sql(Session::open(postgis).await?)),
            _ => Err(format!("{system:?} is not polled")),
        }
    }

    /// Movers in a viewport, and where they are.
    pub(crate) async fn ask(&mut self, viewer: &Viewer) -> Result<Vec<(usize, Place)>, String> {
        match self {
            Self::Resp(wire) => {
                wire.resp(&viewer.command, 1).await?;
                positions(wire.answer()).ok_or_else(|| "an answer of GEOSEARCH that cannot be read".to_owned())
            }
            Self::Sql(session) => {
                let rows = session.select(&viewer.bounds).await?;
                Ok(rows.iter().filter_map(|row| Some((Movers::number_of(row.get(0))?, Place { lat: row.get(2), lng: row.get(1) }))).collect())
            }
        }
    }
}

/// Of `*n`, then for each hit `*2`, its name, `*2`, longitude, latitude: every text follows its length.
fn positions(answer: &[u8]) -> Option<Vec<(usize, Place)>> {
    let text = std::str::from_utf8(answer).ok()?;
    let mut texts = text.split("\r\n").filter(|line| !line.starts_with(['*', '$']) && !line.is_empty());
    let mut found = Vec::new();
    while let Some(name) = texts.next() {
        let (lng, lat) = (texts.next()?.parse().ok()?, texts.next()?.parse().ok()?);
        found.push((Movers::number_of(name)?, Place { lat, lng }));
    }
    Some(found)
}

/// What pollers saw since it was counted.
pub(crate) struct Polled {
    pub(crate) answers: u64,
    /// In all answers.
    pub(crate) objects: u64,
    /// Of a change when a viewer gets to know it or what replaced it.
    pub(crate) age_ms: Histogram<u64>,
}

impl Default for Polled {
    fn default() -> Self {
        Self { answers: 0, objects: 0, age_ms: Histogram::new_with_bounds(1, 600_000, 3).expect("constant bounds") }
    }
}

impl Polled {
    pub(crate) fn absorb(&mut self, other: &Self) {
        self.answers += other.answers;
        self.objects += other.objects;
        self.age_ms.add(&other.age_ms).expect("the same bounds");
    }
}

/// One connection asks for every so-manieth viewer, each once a second and spread over it; one that is late goes on at once.
pub(crate) async fn poll(
    mut connection: Poller,
    viewers: Arc<Vec<Viewer>>,
    lane: usize,
    movers: Movers,
    interval_ms: f64,
    (counting, until): (Instant, Instant),
) -> Result<Polled, String> {
    let mut polled = Polled::default();
    let mut known: HashMap<(usize, usize), f64> = HashMap::new();
    let started = counting.checked_sub(POLL_EVERY).unwrap_or(counting);
    for round in 0_u32.. {
        for (index, viewer) in viewers.iter().enumerate().skip(lane).step_by(POLLERS) {
            let share = f64::from(u32::try_from(index).unwrap_or(0)) / f64::from(u32::try_from(viewers.len()).unwrap_or(1));
            tokio::time::sleep_until((started + POLL_EVERY * round + POLL_EVERY.mul_f64(share)).into()).await;
            if Instant::now() >= until {
                return Ok(polled);
            }
            let objects = connection.ask(viewer).await?;
            let (counts, now_ms) = (Instant::now() >= counting, clock::now_ms_exact());
            polled.answers += u64::from(counts);
            polled.objects += if counts { objects.len() as u64 } else { 0 };
            for (object, place) in objects {
                note(&mut known, (index, object), movers.time_at(object, place, now_ms), interval_ms, |due_ms| {
                    if counts {
                        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "milliseconds of an age")]
                        polled.age_ms.saturating_record((now_ms - due_ms).max(1.0) as u64);
                    }
                });
            }
        }
    }
    Ok(polled)
}

/// Tells when each ping was due that this viewer gets to know now: the one that it sees, and those that it replaced since the last answer.
fn note(known: &mut HashMap<(usize, usize), f64>, key: (usize, usize), due_ms: Option<f64>, interval_ms: f64, mut tell: impl FnMut(f64)) {
    let Some(due_ms) = due_ms else { return };
    let Some(before_ms) = known.insert(key, due_ms) else { return };
    let mut ping_ms = due_ms;
    // Places that are rounded tell their time to some ten milliseconds.
    while ping_ms > before_ms + interval_ms / 2.0 {
        tell(ping_ms);
        ping_ms -= interval_ms;
    }
}

/// Writes where movers are, in turn and at the rate, until it is stopped; each task tells how many it wrote.
pub(crate) fn writer(lanes: Vec<Lane>, system: System, movers: Movers, sizes: &Sizes, stop: &CancellationToken) -> JoinSet<Result<u64, String>> {
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let every = Duration::from_secs_f64(BATCH as f64 / sizes.updates_per_s as f64);
    let sheet = Arc::new(Sheet {
        system,
        movers,
        objects: sizes.movers,
        every,
        next: AtomicUsize::new(0),
        started: Instant::now(),
        started_ms: clock::now_ms(),
    });
    let mut tasks = JoinSet::new();
    for lane in lanes {
        let stop = stop.clone();
        let sheet = Arc::clone(&sheet);
        tasks.spawn(async move { sheet.write(lane, stop).await });
    }
    tasks
}

/// What is due when.
struct Sheet {
    system: System,
    movers: Movers,
    objects: usize,
    every: Duration,
    next: AtomicUsize,
    started: Instant,
    started_ms: i64,
}

impl Sheet {
    async fn write(&self, mut lane: Lane, stop: CancellationToken) -> Result<u64, String> {
        let mut written = 0;
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let due = self.every * u32::try_from(number).map_err(|error| error.to_string())?;
            tokio::select! {
                () = stop.cancelled() => return Ok(written),
                () = tokio::time::sleep_until((self.started + due).into()) => {}
            }
            let job = self.job(number, due);
            lane.ask(&job).await?;
            written += job.updates;
        }
    }

    fn job(&self, number: usize, due: Duration) -> Job {
        let time_ms = self.started_ms + i64::try_from(due.as_millis()).unwrap_or(i64::MAX);
        let objects = (number * BATCH..(number + 1) * BATCH).map(|ping| ping % self.objects);
        let at = |object: usize| (Movers::id(object), self.movers.stand(object, time_ms).place);
        let places: Vec<(String, Place)> = objects.map(at).collect();
        let ask = match self.system {
            System::Postgis => {
                let (lngs, lats) = places.iter().map(|(_, place)| (place.lng, place.lat)).unzip();
                Ask::Upsert(Positions { ids: places.iter().map(|(id, _)| id.clone()).collect(), lngs, lats })
            }
            _ => Ask::Bytes(geoadd(places.iter().map(|(id, place)| (id.as_str(), place.lng, place.lat))), 1),
        };
        Job { ask, updates: places.len() as u64 }
    }
}
