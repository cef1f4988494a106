//! The live task: applies marker changes to the map and ticks. The only writer of the map; never waits for a session.

use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use metrics::{counter, gauge, histogram};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::{Instant, MissedTickBehavior};

use super::sessions::{Frames, Sessions};
use super::{OutFrame, SessionCommand, Settings};
use crate::attention::Attention;
use crate::beat::Beat;
use crate::clock::Clock;
use crate::courtesy;
use crate::map::SharedMap;
use crate::map::cells::SessionId;
use crate::model::change::MarkerChanges;
use crate::progress::Progress;

/// Messages taken up between two looks at the time.
const MESSAGES_AT_ONCE: usize = 64;
/// What fits into a session's outbox: the unacknowledged frames, and what needs no acknowledgement. A full one ends the session.
pub const OUTBOX: usize = 16;

/// What the live task stands on.
#[derive(Debug)]
pub struct Ground {
    pub map: SharedMap,
    pub progress: Arc<Progress>,
    pub attention: Arc<Attention>,
    pub clock: Clock,
    pub beat: Beat,
}

/// Runs until `input` ends.
///
/// A tick runs when something changed: at once if none ran lately, else on the next beat, when the shards that promised to speak then have spoken.
pub async fn run(mut input: mpsc::Receiver<MarkerChanges>, mut commands: mpsc::Receiver<SessionCommand>, ground: Ground, settings: Settings) {
    let beat = ground.beat;
    let mut live = Live { sessions: Sessions::new(rand::random(), settings), outboxes: HashMap::new(), ground, promised: Vec::new(), work: false };
    let mut due = Instant::now();
    let mut timer = tokio::time::interval(Duration::from_secs(1));
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut changes, mut wishes) = (Vec::new(), Vec::new());
    let mut commands_open = true;
    loop {
        tokio::select! {
            // The tick stands first: under a flood of changes it would never come otherwise.
            biased;
            () = tokio::time::sleep_until(live.tick_at(due, &beat)), if live.work => {
                live.tick();
                due = beat.after(Instant::now(), beat.length());
            }
            _ = timer.tick() => live.timer(),
            got = commands.recv_many(&mut wishes, MESSAGES_AT_ONCE), if commands_open => {
                commands_open = got > 0;
                wishes.drain(..).for_each(|command| live.command(command));
                live.answer_views();
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
    ground: Ground,
    /// By shard: when it said that it would speak again.
    promised: Vec<Option<Instant>>,
    /// There is something for a tick to do.
    work: bool,
}

impl Live {
    /// A shard that promised to speak by now is waited for, for half a beat: what it says would be a whole beat late otherwise.
    fn tick_at(&self, due: Instant, beat: &Beat) -> Instant {
        let owed = self.promised.iter().flatten().any(|promised| *promised <= due);
        if owed { due + beat.length() / 2 } else { due }
    }

    fn apply(&mut self, message: MarkerChanges) {
        if self.promised.len() <= message.shard {
            self.promised.resize(message.shard + 1, None);
        }
        self.promised[message.shard] = message.again;
        if message.applied.is_empty() && message.changes.is_empty() {
            return;
        }
        let shows_nothing = message.changes.is_empty();
        let tick = self.sessions.applying();
        // One lock for each part, so that a query never waits for a whole flood.
        for part in message.changes.into_parts() {
            let mut map = self.ground.map.write();
            map.look_ahead(&part);
            let some = part.len();
            for change in part {
                map.apply(change, tick);
            }
            drop(map);
            courtesy::worked(some);
        }
        for (partition, offset) in message.applied {
            // REST reads the map as it is, so the offset counts from here on; those who wait are woken by the tick.
            self.ground.progress.set_mapped(partition, message.shard, offset);
        }
        if shows_nothing {
            // Most shards are not concerned by a ping. A tick for their positions would keep the one that is waiting for a beat.
            self.ground.progress.mapped_now();
        } else {
            self.work = true;
        }
    }

    fn command(&mut self, command: SessionCommand) {
        let now = self.ground.clock.now();
        let refused = match command {
            SessionCommand::Open { session, tenant, scope, format, outbox } => {
                let hello = self.sessions.open(session, tenant, scope, format, now, env!("CARGO_PKG_VERSION"));
                self.outboxes.insert(session, outbox);
                Some((session, hello))
            }
            SessionCommand::View { session, view } => self.sessions.on_view(session, &view).map(|bye| (session, bye)),
            SessionCommand::Resume { session, resume } => self.sessions.on_resume(session, &resume).map(|bye| (session, bye)),
            SessionCommand::Follow { session, delivery } => self.sessions.on_follow(session, &delivery).map(|bye| (session, bye)),
            SessionCommand::Ack { session, tick } => {
                self.work |= self.sessions.on_ack(session, tick, now);
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

    fn answer_views(&mut self) {
        let frames = self.sessions.on_views(&self.ground.map, self.ground.clock.now());
        if !frames.is_empty() {
            self.hand_out(frames);
        }
    }

    fn tick(&mut self) {
        let started = Instant::now();
        let frames = self.sessions.on_tick(&self.ground.map, self.ground.clock.now());
        self.work = self.sessions.is_unfinished();
        self.hand_out(frames);
        self.ground.progress.mapped_now();
        counter!("waypost_ticks_total").increment(1);
        histogram!("waypost_tick_seconds").record(started.elapsed().as_secs_f64());
    }

    fn timer(&mut self) {
        let mut frames = Frames::new();
        self.work |= self.sessions.on_timer(&self.ground.map, self.ground.clock.now(), &mut frames);
        self.hand_out(frames);
        self.ground.attention.set_watched(self.sessions.watched(&self.ground.map));
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
        self.sessions.close(session, &self.ground.map);
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::RwLock;
    use prost::Message;

    use super::super::Format;
    use super::*;
    use crate::clock::ManualClock;
    use crate::map::Map;
    use crate::model::change::{AboardList, ChangeParts, MarkerChange};
    use crate::model::id::{DriverId, Handle, Offset, PartitionId, TenantId};
    use crate::model::marker::{Marker, MarkerParts};
    use crate::model::maybe::Maybe;
    use crate::model::position::Position;
    use crate::model::scope::Scope;
    use crate::model::status::{Link, Motion};
    use crate::model::time::UnixMs;
    use crate::progress::Stage;
    use crate::wire;

    fn changes(lat: f64, offset: u64) -> MarkerChanges {
        let marker = Marker::of(MarkerParts {
            handle: Handle(7),
            driver: Some(DriverId::parse("van-7").unwrap()),
            position: Position::from_degrees(lat, 11.9).unwrap(),
            heading_deg: Maybe::NONE,
            speed_mps: 0.0,
            status: None,
            motion: Motion::Stopped,
            link: Link::Live,
            late_risk: false,
            accuracy_m: Maybe::NONE,
            aboard: AboardList::default(),
            fix_time: UnixMs(0),
            heard: UnixMs(0),
            changed: UnixMs(40),
        });
        MarkerChanges {
            shard: 0,
            applied: vec![(PartitionId(0), Offset(offset))],
            changes: [MarkerChange::Put { tenant: TenantId::parse("acme").unwrap(), marker }].into_iter().collect(),
            again: None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_lone_change_is_sent_at_once_and_later_ones_wait_for_the_tick() {
        let map: SharedMap = Arc::new(RwLock::new(Map::default()));
        let progress = Arc::new(Progress::new(1, 2));
        let (input, inputs) = mpsc::channel(4);
        let (commands, wishes) = mpsc::channel(4);
        let mut tasks = tokio::task::JoinSet::new();
        let ground = Ground {
            map: Arc::clone(&map),
            progress: Arc::clone(&progress),
            attention: Arc::new(Attention::new(1)),
            clock: Clock::Manual(ManualClock::new(UnixMs(100))),
            beat: Beat::starting_now(Settings::default().tick),
        };
        tasks.spawn(run(inputs, wishes, ground, Settings::default()));
        let session = SessionId(1);
        let (outbox, mut frames) = mpsc::channel(OUTBOX);
        let tenant = TenantId::parse("acme").unwrap();
        commands.send(SessionCommand::Open { session, tenant, scope: Scope::ALL, format: Format::Proto, outbox }).await.unwrap();
        let view = wire::View { west: 11.0, south: 57.0, east: 12.0, north: 58.0, zoom: 14.0, filter: None, view_id: 3 };
        commands.send(SessionCommand::View { session, view }).await.unwrap();
        assert!(wire::Frame::decode(frames.recv().await.unwrap().join()).unwrap().hello.is_some());
        assert_eq!(wire::Frame::decode(frames.recv().await.unwrap().join()).unwrap().view_id, 3);
        tokio::time::sleep(Duration::from_secs(1)).await;

        let began = Instant::now();
        // A shard that the ping does not concern tells its position, and does so first.
        let again = Some(began + Duration::from_millis(100));
        input.send(MarkerChanges { shard: 1, applied: vec![(PartitionId(0), Offset(5))], changes: ChangeParts::default(), again }).await.unwrap();
        tokio::task::yield_now().await;
        input.send(changes(57.5, 4)).await.unwrap();
        let frame = wire::Frame::decode(frames.recv().await.unwrap().join()).unwrap();
        assert_eq!((frame.cells.len(), frame.tick > 0, began.elapsed() < Duration::from_millis(5)), (1, true, true));
        commands.send(SessionCommand::Ack { session, tick: frame.tick }).await.unwrap();
        assert!(progress.wait(Stage::Mapped, PartitionId(0), Offset(4), Duration::from_secs(1)).await);
        input.send(changes(57.5001, 5)).await.unwrap();
        let frame = wire::Frame::decode(frames.recv().await.unwrap().join()).unwrap();
        assert_eq!((!frame.cells[0].moves.is_empty(), frame.age_ms), (true, 60));
        assert!(began.elapsed() >= Duration::from_millis(95));

        drop(input);
        tasks.join_all().await;
        assert!(frames.recv().await.is_none());
    }
}
