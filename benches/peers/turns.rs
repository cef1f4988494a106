//! A turn: some connections to one system, each with one request under way, for a number of requests or for a while. Systems take turns, so that a mood of the
//! machine meets all of them. Judges nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;
use tokio::task::JoinSet;

use super::postgis::{Positions, Session};
use super::process;
use super::waypost::Count;
use super::wire::Wire;

/// What is asked once.
#[derive(Debug)]
pub(crate) enum Ask {
    /// The bytes of a request or of commands, and how many replies of Redis come back.
    Bytes(Vec<u8>, usize),
    Upsert(Positions),
    Box([f64; 4]),
}

#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) ask: Ask,
    /// Updates in it; a query has none.
    pub(crate) updates: u64,
}

/// One connection.
pub(crate) enum Lane {
    Http(Wire, Count),
    Resp(Wire),
    Sql(Session),
}

impl Lane {
    /// Returns how much was found. All updates of a job must have been taken.
    pub(crate) async fn ask(&mut self, job: &Job) -> Result<u64, String> {
        let found = match (self, &job.ask) {
            (Self::Http(wire, count), Ask::Bytes(request, _)) => count(wire.http(request).await?)?,
            (Self::Resp(wire), Ask::Bytes(commands, replies)) => {
                let found = wire.resp(commands, *replies).await?;
                // What a command of Redis answers to an update says nothing of how many there were; an error would.
                if job.updates > 0 { job.updates } else { found }
            }
            (Self::Sql(session), Ask::Upsert(positions)) => session.upsert(positions).await?,
            (Self::Sql(session), Ask::Box(bounds)) => session.select(bounds).await?.len() as u64,
            _ => return Err("this connection does not speak that".to_owned()),
        };
        if job.updates > 0 && found != job.updates { Err(format!("{found} of {} updates were taken", job.updates)) } else { Ok(found) }
    }
}

/// When a turn is over.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Until {
    /// Each job was done once.
    Done,
    /// So much time has passed; jobs come again from the first on.
    Passed(Duration),
}

/// What a turn took.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Turn {
    /// Updates, or queries.
    pub(crate) count: f64,
    pub(crate) seconds: f64,
    pub(crate) per_s: f64,
    /// Of the system's processes, for one update or query, work that it does later included.
    pub(crate) cpu_us: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    /// Of a query, on average.
    pub(crate) hits: f64,
}

/// What one connection saw.
struct Seen {
    asked: u64,
    updates: u64,
    found: u64,
    took_us: Histogram<u64>,
}

/// Lets `lanes` do `jobs`; they come back with the figures.
pub(crate) async fn turn(lanes: Vec<Lane>, jobs: &Arc<Vec<Job>>, first: usize, until: Until, pid: u32) -> Result<(Turn, Vec<Lane>), String> {
    let cpu_before = process::settled_cpu_s(pid).await;
    let next = Arc::new(AtomicUsize::new(first));
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for lane in lanes {
        tasks.spawn(work(lane, Arc::clone(jobs), Arc::clone(&next), until, started));
    }
    let (mut lanes, mut all) = (Vec::new(), Seen { asked: 0, updates: 0, found: 0, took_us: histogram() });
    while let Some(ended) = tasks.join_next().await {
        let (lane, seen) = ended.map_err(|error| error.to_string())??;
        lanes.push(lane);
        all.asked += seen.asked;
        all.updates += seen.updates;
        all.found += seen.found;
        all.took_us.add(&seen.took_us).map_err(|error| error.to_string())?;
    }
    let seconds = started.elapsed().as_secs_f64();
    let cpu_s = process::settled_cpu_s(pid).await - cpu_before;
    Ok((all.figures(seconds, cpu_s), lanes))
}

async fn work(mut lane: Lane, jobs: Arc<Vec<Job>>, next: Arc<AtomicUsize>, until: Until, started: Instant) -> Result<(Lane, Seen), String> {
    let mut seen = Seen { asked: 0, updates: 0, found: 0, took_us: histogram() };
    loop {
        let index = next.fetch_add(1, Ordering::Relaxed);
        let job = match until {
            Until::Done if index >= jobs.len() => return Ok((lane, seen)),
            Until::Passed(time) if started.elapsed() >= time => return Ok((lane, seen)),
            Until::Done | Until::Passed(_) => &jobs[index % jobs.len()],
        };
        let asked = Instant::now();
        let found = lane.ask(job).await?;
        seen.took_us.saturating_record(u64::try_from(asked.elapsed().as_micros()).unwrap_or(u64::MAX));
        seen.asked += 1;
        seen.updates += job.updates;
        seen.found += found;
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).expect("constant bounds")
}

impl Seen {
    #[expect(clippy::cast_precision_loss, reason = "counts of a turn")]
    fn figures(&self, seconds: f64, cpu_s: f64) -> Turn {
        let count = if self.updates > 0 { self.updates } else { self.asked } as f64;
        let ms = |share| self.took_us.value_at_quantile(share) as f64 / 1e3;
        let hits = if self.updates > 0 { 0.0 } else { self.found as f64 / count };
        Turn { count, seconds, per_s: count / seconds, cpu_us: cpu_s * 1e6 / count, p50_ms: ms(0.5), p99_ms: ms(0.99), hits }
    }
}

/// The middle of each figure over these turns.
pub(crate) fn median(turns: &[Turn]) -> Turn {
    let of = |figure: fn(&Turn) -> f64| {
        let mut values: Vec<f64> = turns.iter().map(figure).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
    };
    Turn {
        count: of(|turn| turn.count),
        seconds: of(|turn| turn.seconds),
        per_s: of(|turn| turn.per_s),
        cpu_us: of(|turn| turn.cpu_us),
        p50_ms: of(|turn| turn.p50_ms),
        p99_ms: of(|turn| turn.p99_ms),
        hits: of(|turn| turn.hits),
    }
}
