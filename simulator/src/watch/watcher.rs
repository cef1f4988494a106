//! One watcher: a session, and the person that pans it. Never talks to the others.

mod measure;

use std::sync::Arc;
use std::time::Duration;

use rand::Rng as _;
use tokio::time::{Instant, MissedTickBehavior};

use super::person::Person;
use super::report::Seen;
use super::{Crowd, WatchOptions};
use crate::client::Target;
use crate::frame::{FrameError, Picture};
use crate::line::Laid;
use crate::live::{LiveError, Session};
use crate::wire::{Frame, Resume, Source, View};

/// A drag of six steps takes about a second.
const STEP_EVERY: Duration = Duration::from_millis(160);
const AGAIN_AFTER: Duration = Duration::from_millis(500);
/// In no rhythm with what speaks once a second.
const GLANCE_EVERY: Duration = Duration::from_millis(230);

/// What a watcher is to do.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) target: Target,
    pub(super) options: WatchOptions,
    pub(super) index: usize,
    pub(super) crowd: Arc<Crowd>,
}

pub(super) struct Watcher {
    plan: Plan,
    person: Person,
    seen: Seen,
    /// What a session that is cut will say it holds.
    held: Held,
    /// The view that waits for its answer, and since when.
    asked: Option<(u32, Instant)>,
    shown: bool,
    cut: bool,
    /// Since when it wants to be back.
    away_since: Option<Instant>,
    /// The line that its session goes over.
    laid: Option<Laid>,
    /// How often it looked at how old everything is.
    glances: usize,
}

#[derive(Debug, Default)]
struct Held {
    picture: Picture,
    epoch: u64,
    level: u32,
    /// Those that were asked for and not yet superseded by an answer; the first is the one that the last frame echoed.
    views: Vec<View>,
}

/// Why a session is over.
enum End {
    Stop,
    Cut,
    /// It could not be opened.
    Away(LiveError),
    /// It was open.
    Broken(LiveError),
}

impl Watcher {
    pub(super) fn new(plan: Plan) -> Self {
        let WatchOptions { movers, span_deg, seed, pan_every, .. } = plan.options;
        let person = Person::new(movers, span_deg, seed, plan.index, pan_every.is_some());
        Self {
            plan,
            person,
            seen: Seen::default(),
            held: Held::default(),
            asked: None,
            shown: false,
            cut: false,
            away_since: None,
            laid: None,
            glances: 0,
        }
    }

    pub(super) async fn run(mut self) -> Seen {
        loop {
            match self.session().await {
                End::Stop => return self.seen,
                End::Cut => {
                    self.cut = true;
                    let back_after = self.plan.options.back_within.mul_f64(rand::rng().random_range(0.0..1.0));
                    tokio::time::sleep(back_after).await;
                    self.away_since = Some(Instant::now());
                }
                end @ (End::Away(_) | End::Broken(_)) => {
                    self.note_end(&end);
                    self.away_since = self.away_since.or(Some(Instant::now()));
                    tokio::select! {
                        () = self.plan.crowd.stop.cancelled() => return self.seen,
                        () = tokio::time::sleep(AGAIN_AFTER) => {}
                    }
                }
            }
        }
    }

    async fn session(&mut self) -> End {
        let mut session = match self.open().await {
            Ok(session) => session,
            Err(error) => return End::Away(error),
        };
        let end = self.look(&mut session).await;
        self.held.picture = session.into_picture();
        end
    }

    async fn open(&mut self) -> Result<Session, LiveError> {
        // Those who come back after a cut all come at once: that is what is tried.
        let crowd = Arc::clone(&self.plan.crowd);
        let _turn = if self.cut { None } else { crowd.handshakes.acquire().await.ok() };
        let target = self.way().await?;
        let mut session = Session::open_with(&target, std::mem::take(&mut self.held.picture)).await?;
        if session.picture().tick > 0
            && let Some(view) = self.held.views.first().cloned()
        {
            self.asked = None;
            self.held.views.truncate(1);
            let sources = vec![Source { epoch: self.held.epoch, tick: session.picture().tick }];
            session.resume(Resume { sources, view: Some(view), level: self.held.level }).await?;
        } else {
            self.ask(&mut session).await?;
        }
        Ok(session)
    }

    /// To the server, over its own line if it has one.
    async fn way(&mut self) -> Result<Target, LiveError> {
        let Plan { target, options, .. } = &self.plan;
        if let (None, Some(line)) = (&self.laid, options.line) {
            let broken = |error| LiveError::Socket(Box::new(tokio_tungstenite::tungstenite::Error::Io(error)));
            self.laid = Some(line.lay(target.host()).await.map_err(broken)?);
        }
        Ok(self.laid.as_ref().map_or_else(|| target.clone(), |laid| target.by_way_of(laid.address())))
    }

    async fn ask(&mut self, session: &mut Session) -> Result<(), LiveError> {
        let view = self.person.view();
        self.asked = Some((view.view_id, Instant::now()));
        self.held.views.push(view.clone());
        self.seen.views += u64::from(self.counts());
        session.view(view).await
    }

    async fn look(&mut self, session: &mut Session) -> End {
        let crowd = Arc::clone(&self.plan.crowd);
        let mut next_act = Instant::now() + self.rest();
        let mut dragging = false;
        let mut glance = tokio::time::interval(GLANCE_EVERY);
        glance.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            let outcome = tokio::select! {
                () = crowd.stop.cancelled() => return End::Stop,
                () = crowd.cut.cancelled(), if !self.cut => return End::Cut,
                () = tokio::time::sleep_until(next_act), if self.plan.options.pan_every.is_some() => {
                    dragging = if dragging { self.person.go_on() } else { self.person.act() };
                    next_act = Instant::now() + if dragging { STEP_EVERY } else { self.rest() };
                    self.ask(session).await
                }
                _ = glance.tick(), if self.counts() => {
                    self.glance(session.picture());
                    Ok(())
                }
                frame = session.next() => match frame {
                    Ok(frame) => {
                        self.note(session, &frame);
                        session.acknowledge(&frame).await
                    }
                    Err(error) => Err(error),
                },
            };
            if let Err(error) = outcome {
                return End::Broken(error);
            }
        }
    }

    /// Around the time that was asked for, so that not all move at once.
    fn rest(&self) -> Duration {
        self.plan.options.pan_every.map_or(Duration::MAX / 4, |every| every.mul_f64(rand::rng().random_range(0.5..1.5)))
    }

    /// Whether everybody is in.
    fn counts(&self) -> bool {
        self.plan.crowd.started.initialized()
    }

    fn note(&mut self, session: &Session, frame: &Frame) {
        if let Some(hello) = &frame.hello {
            self.held.epoch = hello.epoch;
        }
        if frame.lag.is_some_and(|lag| lag.behind) {
            self.seen.behind += 1;
        }
        let Some(level) = frame.level.filter(|_| frame.tick > 0) else { return };
        self.held.level = level.h3_resolution;
        if let Some(echoed) = self.held.views.iter().position(|view| view.view_id == frame.view_id) {
            self.held.views.drain(..echoed);
        }
        if !std::mem::replace(&mut self.shown, true) {
            self.plan.crowd.note_shown();
        }
        let bytes = prost::Message::encoded_len(frame) as u64;
        if let Some(since) = self.away_since.take() {
            self.seen.reconnects += 1;
            self.seen.resumed_bytes += bytes;
            self.seen.reconnected.note_ms(since.elapsed().as_secs_f64() * 1e3);
        }
        let answered = self.asked.take_if(|(view_id, _)| *view_id == frame.view_id);
        if !self.counts() {
            return;
        }
        self.seen.frames += 1;
        self.seen.bytes += bytes;
        self.seen.coarsened += u64::from(level.coarsened);
        if let Some((_, since)) = answered {
            self.seen.view_answer.note_ms(since.elapsed().as_secs_f64() * 1e3);
        }
        self.note_cells(session.picture(), frame, level.h3_resolution, bytes);
    }

    fn note_end(&mut self, end: &End) {
        let (End::Away(error) | End::Broken(error)) = end else { return };
        match error {
            LiveError::Frame(FrameError::Checksum { .. }) => self.seen.checksum_errors += 1,
            LiveError::Frame(_) => self.seen.gaps += 1,
            LiveError::Bye(bye) => *self.seen.closed.entry(bye.code).or_default() += 1,
            // A handshake that fails is tried again, and shows in how long coming back took.
            LiveError::Socket(_) | LiveError::NoAnswer | LiveError::Closed if matches!(end, End::Away(_)) => {}
            LiveError::Socket(_) | LiveError::NoAnswer | LiveError::Closed => *self.seen.closed.entry(0).or_default() += 1,
        }
        if matches!(error, LiveError::Frame(_)) {
            // What is held is wrong: it begins anew.
            self.held = Held::default();
        }
        self.seen.last_error = Some(error.to_string());
    }
}
