//! Live viewers: a thousand people look at maps while everything on them moves. Waypost pushes; Redis and `PostGIS` cannot tell who looks where, so an app would
//! have to ask for each viewport again, once a second. How fresh is what people see, and what does that cost? Never compares what cannot be: each row says how it came.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use waypost_sim::clock;
use waypost_sim::event::Format;
use waypost_sim::load::cities::{self, CityOptions};
use waypost_sim::movers::Movers;
use waypost_sim::watch::{self, WatchOptions};

use super::Sizes;
use super::plot::bars::{Bar, Bars, Group};
use super::polling::{self, POLL_EVERY, POLLERS, Polled, Poller, Viewer, writer};
use super::process::cpu_s;
use super::systems::{System, Systems};
use super::turns::{Job, Until, turn};

const CITIES: usize = 20;
const SIGMA_DEG: f64 = 0.05;
pub(crate) const SPAN_DEG: f64 = 0.05;
/// Connections that write.
const WRITERS: usize = 8;
pub(crate) const BATCH: usize = 100;
/// How long polls are tried as fast as they go.
const AS_FAST_FOR: Duration = Duration::from_secs(3);
/// Before anything is counted.
const WARM: Duration = Duration::from_secs(3);

#[derive(Debug, Serialize)]
pub(crate) struct Live {
    watchers: usize,
    movers: usize,
    wanted_updates_per_s: usize,
    rows: Vec<LiveRow>,
}

#[derive(Debug, Serialize)]
struct LiveRow {
    name: &'static str,
    system: System,
    median: LiveTurn,
    rounds: Vec<LiveTurn>,
}

/// What all viewers together got.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct LiveTurn {
    updates_per_s: f64,
    /// Frames, or answers to polls.
    answers_per_s: f64,
    /// Changed markers in frames, or all objects in answers.
    markers_per_s: f64,
    /// How old a change is when a viewer gets to know it or what replaced it.
    age_p50_ms: f64,
    age_p99_ms: f64,
    cores: f64,
    /// As fast as it can beside the same updates; what is pushed is not asked for.
    polls_at_most_per_s: Option<f64>,
}

pub(crate) async fn measure(sizes: &Sizes) -> Result<Live, String> {
    let systems = Systems::start().await;
    let names = [("Waypost, pushed", System::Waypost), ("Redis GEOSEARCH, polled", System::RedisMemory), ("PostGIS, polled", System::Postgis)];
    let names: Vec<_> = names.into_iter().filter(|(_, system)| systems.pid(*system).is_some()).collect();
    let mut turns: Vec<Vec<LiveTurn>> = names.iter().map(|_| Vec::new()).collect();
    for round in 0..sizes.rounds.min(3) {
        for ((name, system), turns) in names.iter().zip(&mut turns) {
            let movers = Movers::new(CITIES, SIGMA_DEG, 1).map_err(|error| error.to_string())?;
            let turn = match system {
                System::Waypost => pushed(&systems, movers, sizes, round as u64).await,
                _ => polled(&systems, *system, movers, sizes).await,
            };
            turns.push(turn.map_err(|error| format!("{name}: {error}"))?);
        }
    }
    let row = |((name, system), rounds): ((&'static str, System), Vec<LiveTurn>)| LiveRow { name, system, median: median(&rounds), rounds };
    Ok(Live {
        watchers: sizes.watchers,
        movers: sizes.movers,
        wanted_updates_per_s: sizes.updates_per_s,
        rows: names.into_iter().zip(turns).map(row).collect(),
    })
}

async fn pushed(systems: &Systems, movers: Movers, sizes: &Sizes, round: u64) -> Result<LiveTurn, String> {
    let (url, key) = (systems.waypost().url.clone(), systems.waypost().key.clone());
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let updates_per_s = sizes.updates_per_s as f64;
    let writing = CityOptions {
        url: url.clone(),
        key: key.clone(),
        movers,
        objects: sizes.movers,
        updates_per_s,
        duration: None,
        batch: BATCH,
        connections: WRITERS,
        format: Format::Proto,
        seed: clock::now_ms().unsigned_abs() + round,
    };
    let watching = WatchOptions {
        url,
        key,
        sessions: sizes.watchers,
        span_deg: SPAN_DEG,
        movers,
        pan_every: None,
        duration: sizes.live_duration(),
        seed: 1,
        cut_after: None,
        back_within: Duration::ZERO,
        line: None,
        warm_up: Duration::ZERO,
    };
    let stop = CancellationToken::new();
    let mut writer = JoinSet::new();
    writer.spawn(cities::run(writing, stop.clone()));
    tokio::time::sleep(WARM).await;
    let pid = systems.waypost().pid();
    let (started, before_s) = (Instant::now(), cpu_s(pid));
    let seen = watch::run(watching, CancellationToken::new()).await.map_err(|error| error.to_string())?;
    // Opening the sessions is in both.
    let cores = (cpu_s(pid) - before_s) / started.elapsed().as_secs_f64();
    stop.cancel();
    let wrote = writer.join_next().await.ok_or("no writer")?.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    if !seen.is_good() {
        return Err(format!("not everybody saw everything: {seen:?}"));
    }
    Ok(LiveTurn {
        #[expect(clippy::cast_precision_loss, reason = "a count of a run")]
        updates_per_s: wrote.accepted as f64 / wrote.seconds,
        answers_per_s: seen.frames_per_s,
        markers_per_s: seen.markers_per_s,
        age_p50_ms: seen.ping_to_frame_p50_ms,
        age_p99_ms: seen.ping_to_frame_p99_ms,
        cores,
        polls_at_most_per_s: None,
    })
}

async fn polled(systems: &Systems, system: System, movers: Movers, sizes: &Sizes) -> Result<LiveTurn, String> {
    let pid = systems.pid(system).ok_or("it is not there")?;
    let (stop, writing) = (CancellationToken::new(), Instant::now());
    let mut writers = writer(systems.lanes(system, WRITERS, |_| Ok(0)).await?, system, movers, sizes, &stop);
    tokio::time::sleep(WARM).await;
    let counting = Instant::now() + POLL_EVERY;
    let until = counting + sizes.live_duration();
    let mut pollers = JoinSet::new();
    let viewers = Arc::new(Viewer::crowd(movers, sizes.watchers));
    for lane in 0..POLLERS.min(sizes.watchers) {
        let poller = Poller::open(systems, system).await?;
        pollers.spawn(polling::poll(poller, Arc::clone(&viewers), lane, movers, sizes.interval_ms(), (counting, until)));
    }
    tokio::time::sleep_until(counting.into()).await;
    let before_s = cpu_s(pid);
    tokio::time::sleep_until(until.into()).await;
    let cores = (cpu_s(pid) - before_s) / sizes.live_duration().as_secs_f64();
    let mut all = Polled::default();
    while let Some(polled) = pollers.join_next().await {
        all.absorb(&polled.map_err(|error| error.to_string())??);
    }
    let jobs: Vec<Job> = viewers.iter().map(|viewer| viewer.job(system)).collect();
    let lanes = systems.lanes(system, POLLERS, |_| Ok(0)).await?;
    let (fastest, _lanes) = turn(lanes, &Arc::new(jobs), 0, Until::Passed(AS_FAST_FOR), pid).await?;
    stop.cancel();
    let (mut written, writing_s) = (0, writing.elapsed().as_secs_f64());
    while let Some(lane) = writers.join_next().await {
        written += lane.map_err(|error| error.to_string())??;
    }
    let turn = figures(&all, written, writing_s, sizes.live_duration().as_secs_f64(), cores);
    Ok(LiveTurn { polls_at_most_per_s: Some(fastest.per_s), ..turn })
}

#[expect(clippy::cast_precision_loss, reason = "counts of a turn")]
fn figures(seen: &Polled, written: u64, writing_s: f64, seconds: f64, cores: f64) -> LiveTurn {
    LiveTurn {
        updates_per_s: written as f64 / writing_s,
        answers_per_s: seen.answers as f64 / seconds,
        markers_per_s: seen.objects as f64 / seconds,
        age_p50_ms: seen.age_ms.value_at_quantile(0.5) as f64,
        age_p99_ms: seen.age_ms.value_at_quantile(0.99) as f64,
        cores,
        polls_at_most_per_s: None,
    }
}

fn median(turns: &[LiveTurn]) -> LiveTurn {
    let of = |figure: fn(&LiveTurn) -> f64| {
        let mut values: Vec<f64> = turns.iter().map(figure).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
    };
    LiveTurn {
        updates_per_s: of(|turn| turn.updates_per_s),
        answers_per_s: of(|turn| turn.answers_per_s),
        markers_per_s: of(|turn| turn.markers_per_s),
        age_p50_ms: of(|turn| turn.age_p50_ms),
        age_p99_ms: of(|turn| turn.age_p99_ms),
        cores: of(|turn| turn.cores),
        polls_at_most_per_s: Some(of(|turn| turn.polls_at_most_per_s.unwrap_or(f64::NAN))).filter(|most| most.is_finite()),
    }
}

impl Live {
    fn title(&self) -> String {
        let updates_per_s = self.wanted_updates_per_s;
        format!("{} viewers of {SPAN_DEG} degrees, {} movers in {CITIES} cities, {updates_per_s} updates a second", self.watchers, self.movers)
    }

    fn about() -> &'static str {
        "Waypost pushes what changed, and has each change on disk first. Redis and PostGIS cannot push a viewport: an app would have to ask for each one again; here once a second, \
         over 16 connections. The age is that of a change when a viewer gets to know it or what replaced it."
    }

    pub(crate) fn markdown(&self) -> String {
        let mut out = format!("\n## Live viewers\n\n{}\n\n![Live viewers](peers-live.svg)\n\n### {}\n\n", Self::about(), self.title());
        out.push_str("| system | updates/s | frames or polls/s | markers/s | age p50 ms | age p99 ms | times | server CPU, cores | polls/s at most |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|\n");
        let first = self.rows.first().map_or(f64::NAN, |row| row.median.age_p99_ms);
        for LiveRow { name, median, .. } in &self.rows {
            let LiveTurn { updates_per_s, answers_per_s, markers_per_s, age_p50_ms, age_p99_ms, cores, polls_at_most_per_s } = median;
            let times = age_p99_ms / first;
            let most = polls_at_most_per_s.map_or_else(|| "-".to_owned(), |most| format!("{most:.0}"));
            writeln!(
                out,
                "| {name} | {updates_per_s:.0} | {answers_per_s:.0} | {markers_per_s:.0} | {age_p50_ms:.0} | {age_p99_ms:.0} | {times:.1} | {cores:.2} | {most} |"
            )
            .expect("memory takes it");
        }
        out
    }

    pub(crate) fn bars(&self, setup: &str) -> Bars {
        let group = |title: &str, unit: &str, better, figure: fn(&LiveTurn) -> f64| {
            let bar =
                |row: &LiveRow| Bar { label: row.name.to_owned(), value: figure(&row.median), colour: row.system.colour(), fill: row.system.fill() };
            Group { title: title.to_owned(), unit: unit.to_owned(), better, bars: self.rows.iter().map(bar).collect() }
        };
        Bars {
            title: "Live viewers".to_owned(),
            note: format!("{}. {} Hollow: answered before anything is on disk. {setup}", self.title(), Self::about()),
            groups: vec![
                group("Age of a change when a viewer sees it, p50", "ms", "shorter is better", |turn| turn.age_p50_ms),
                group("Age of a change when a viewer sees it, p99", "ms", "shorter is better", |turn| turn.age_p99_ms),
                group("CPU of the server", "cores", "shorter is better", |turn| turn.cores),
            ],
        }
    }
}
