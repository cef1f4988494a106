//! The live task: applies marker changes to the map and ticks. The only writer of the map; never waits for a session.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use metrics::{counter, gauge, histogram};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::{Instant, MissedTickBehavior};

use super::session::{Frames, Sessions};
use super::{OutFrame, SessionCommand, Settings};
use crate::clock::Clock;
use crate::map::SharedMap;
use crate::map::cells::{SessionId, Tick};
use crate::model::change::MarkerChanges;
use crate::progress::Progress;

/// Changes applied under one lock of the map, so that a query never waits for a whole flood.
const CHANGES_PER_LOCK: usize = 1_024;
/// Messages taken up between two looks at the time.
const MESSAGES_AT_ONCE: usize = 64;
/// What fits into a session's outbox: two unacknowledged frames, and what needs no acknowledgement. A full one ends the session.
pub const OUTBOX: usize = 8;

/// Runs until `input` ends.
///
/// A tick runs when something changed: at once if none ran for a tick length, else a tick length after the last.
pub async fn run(
    mut input: mpsc::Receiver<MarkerChanges>,
    mut commands: mpsc::Receiver<SessionCommand>,
    map: SharedMap,
    progress: Arc<Progress>,
    clock: Clock,
    settings: Settings,
) {
    let length = settings.tick;
    let mut live = Live { sessions: Sessions::new(rand::random(), settings), outboxes: HashMap::new(), map, progress, clock, work: false };
    let mut due = Instant::now();
    let mut timer = tokio::time::interval(Duration::from_secs(1));
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut changes, mut wishes) = (Vec::new(), Vec::new());
    let mut commands_open = true;
    loop {
        tokio::select! {
            // The tick stands first: under a flood of changes it would never come otherwise.
            biased;
            () = tokio::time::sleep_until(due), if live.work => {
                live.tick();
                due = Instant::now() + length;
            }
            _ = timer.tick() => live.timer(),
            got = commands.recv_many(&mut wishes, MESSAGES_AT_ONCE), if commands_open => {
                commands_open = got > 0;
                wishes.drain(..).for_each(|command| live.command(command));
            }
            got = input.recv_many(&mut changes, MESSAGES_AT_ONCE) => {
                if got == 0 {
                    break;
                }
                changes.drain(..).for_each(|message| live.apply(message));
            }
        }
    }
    live.tick();
}

struct Live {
    sessions: Sessions,
    outboxes: HashMap<SessionId, mpsc::Sender<OutFrame>>,
    map: SharedMap,
    progress: Arc<Progress>,
    clock: Clock,
    /// There is something for a tick to do.
    work: bool,
}

impl Live {
    fn apply(&mut self, message: MarkerChanges) {
        let tick = self.sessions.applying();
        let mut changes = message.changes.into_iter().peekable();
        while changes.peek().is_some() {
            let mut map = self.map.write();
            changes.by_ref().take(CHANGES_PER_LOCK).for_each(|change| map.apply(change, tick));
            drop(map);
        }
        for (partition, offset) in message.applied {
            // REST reads the map as it is, so the offset counts from here on; those who wait are woken by the tick.
            self.progress.set_mapped(partition, message.shard, offset);
        }
        self.work = true;
    }

    fn command(&mut self, command: SessionCommand) {
        let now = self.clock.now();
        let refused = match command {
            SessionCommand::Open { session, tenant, format, outbox } => {
                let hello = self.sessions.open(session, tenant, format, now, env!("CARGO_PKG_VERSION"));
                self.outboxes.insert(session, outbox);
                Some((session, hello))
            }
            SessionCommand::View { session, view } => self.sessions.on_view(session, &view).map(|bye| (session, bye)),
            SessionCommand::Resume { session, resume } => self.sessions.on_resume(session, &resume).map(|bye| (session, bye)),
            SessionCommand::Follow { session, delivery } => {
                self.sessions.on_follow(session, &delivery);
                None
            }
            SessionCommand::Ack { session, tick } => {
                self.work |= self.sessions.on_ack(session, Tick(tick), now);
                return;
            }
            SessionCommand::Close { session } => {
                self.close(session);
                return;
            }
        };
        self.work = true;
        self.hand_out(refused.into_iter().collect());
    }

    fn tick(&mut self) {
        let started = Instant::now();
        let frames = self.sessions.on_tick(&self.map, self.clock.now());
        self.work = false;
        self.hand_out(frames);
        self.progress.mapped_now();
        counter!("waypost_ticks_total").increment(1);
        histogram!("waypost_tick_seconds").record(started.elapsed().as_secs_f64());
    }

    fn timer(&mut self) {
        let mut frames = Frames::new();
        self.work |= self.sessions.on_timer(&self.map, self.clock.now(), &mut frames);
        self.hand_out(frames);
    }

    /// A session whose outbox is full does not read at all; it is closed, for nothing is ever queued for it.
    fn hand_out(&mut self, frames: Frames) {
        for (session, frame) in frames {
            let ends = frame.close.is_some();
            let sent = self.outboxes.get(&session).map(|outbox| outbox.try_send(frame));
            if ends || matches!(sent, Some(Err(TrySendError::Full(_) | TrySendError::Closed(_)))) {
                self.close(session);
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "a gauge of at most some ten thousand sessions")]
        gauge!("waypost_live_sessions").set(self.sessions.len() as f64);
    }

    fn close(&mut self, session: SessionId) {
        // The socket sees its outbox end and closes.
        self.outboxes.remove(&session);
        self.sessions.close(session, &self.map);
    }
}
