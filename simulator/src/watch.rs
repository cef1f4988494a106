//! Many people who look at maps: views that pan, every frame applied and verified, and how old what they see is. Never writes to the server.

mod person;
mod report;
mod watcher;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use indicatif::ProgressBar;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::client::Target;
use crate::fleet::RunError;
use crate::line::Line;
use crate::movers::Movers;
use crate::preflight::is_there;

use report::Seen;
pub use report::WatchReport;
use watcher::{Plan, Watcher};

/// Handshakes under way at once when sessions come one after the other.
const HANDSHAKES_AT_ONCE: usize = 64;
/// Everybody has to be in after this, or the run begins without them.
const OPEN_WITHIN: Duration = Duration::from_mins(2);

#[derive(Clone, Debug)]
pub struct WatchOptions {
    pub url: String,
    pub key: String,
    pub sessions: usize,
    /// Width and height of each viewport in degrees.
    pub span_deg: f64,
    /// Whose movement is looked at: its cities, and how the age of a marker is told.
    pub movers: Movers,
    /// How long a person rests between two things it does; none never moves.
    pub pan_every: Option<Duration>,
    /// Measured from when everybody is in.
    pub duration: Duration,
    pub seed: u64,
    /// Cuts every connection at this time after everybody is in.
    pub cut_after: Option<Duration>,
    /// Those who were cut come back spread over this time.
    pub back_within: Duration,
    /// Each session over a line of its own.
    pub line: Option<Line>,
    /// From when everybody is in until it begins to count.
    pub warm_up: Duration,
}

/// Opens the sessions, and reports what they saw from when all were in.
pub async fn run(options: WatchOptions, shutdown: CancellationToken) -> Result<WatchReport, RunError> {
    if options.sessions == 0 || !(1e-4..=180.0).contains(&options.span_deg) {
        return Err(RunError::Input("watching takes one session at least, and a span of 0.0001 to 180 degrees".into()));
    }
    let target = Target::new(&options.url, &options.key)?;
    is_there(&target).await?;
    let bar = crate::report::bar(options.sessions as u64, "sessions");
    let crowd = Arc::new(Crowd {
        handshakes: Semaphore::new(HANDSHAKES_AT_ONCE),
        shown: AtomicU64::new(0),
        started: tokio::sync::OnceCell::new(),
        bar,
        stop: shutdown.child_token(),
        cut: CancellationToken::new(),
    });
    let mut watchers = JoinSet::new();
    for index in 0..options.sessions {
        let plan = Plan { target: target.clone(), options: options.clone(), index, crowd: Arc::clone(&crowd) };
        watchers.spawn(Watcher::new(plan).run());
    }
    let opened = everybody_in(&crowd, &options).await;
    tokio::select! {
        () = tokio::time::sleep(options.warm_up) => {}
        () = crowd.stop.cancelled() => {}
    }
    let began = Instant::now();
    if crowd.started.set(began).is_err() {
        unreachable!("only this function starts it");
    }
    crowd.bar.finish_and_clear();
    let run_out = async {
        let first = options.cut_after.unwrap_or(options.duration).min(options.duration);
        tokio::time::sleep(first).await;
        if options.cut_after.is_some() {
            crowd.cut.cancel();
        }
        tokio::time::sleep(options.duration.saturating_sub(first)).await;
    };
    tokio::select! {
        () = run_out => {}
        () = crowd.stop.cancelled() => {}
    }
    crowd.stop.cancel();
    let seconds = began.elapsed().as_secs_f64();
    let mut all = Seen::default();
    while let Some(seen) = watchers.join_next().await {
        all.absorb(seen.map_err(|error| RunError::Input(error.to_string()))?);
    }
    Ok(WatchReport::new(options.sessions, opened, seconds, all))
}

/// What watchers share.
#[derive(Debug)]
struct Crowd {
    handshakes: Semaphore,
    /// Who was shown something.
    shown: AtomicU64,
    /// When everybody was in: what was seen before does not count.
    started: tokio::sync::OnceCell<Instant>,
    bar: ProgressBar,
    stop: CancellationToken,
    /// All connections are cut.
    cut: CancellationToken,
}

impl Crowd {
    fn note_shown(&self) {
        self.shown.fetch_add(1, Ordering::Relaxed);
        self.bar.inc(1);
    }
}

async fn everybody_in(crowd: &Crowd, options: &WatchOptions) -> u64 {
    let deadline = Instant::now() + OPEN_WITHIN;
    loop {
        let shown = crowd.shown.load(Ordering::Relaxed);
        if shown == options.sessions as u64 || Instant::now() >= deadline || crowd.stop.is_cancelled() {
            return shown;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
