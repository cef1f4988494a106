//! Lanes to the server: what one courier says travels over one connection in order, gathered into batches. Full lanes make the caller wait.

use std::time::Instant;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::client::answer::ItemOutcome;
use crate::client::{Client, ClientError, Target};
use crate::clock;
use crate::event::{Format, encode};
use crate::ledger::Ledger;
use crate::obedience::Obedience;
use crate::report::Tally;
use crate::wire::Event;

/// Events that wait for one connection; when full, the sender waits.
const LANE_EVENTS: usize = 8_192;
/// Beyond this the server orders an event by its own clock (its default skew tolerance is 60 s).
const TRUSTED_AHEAD_MS: i64 = 55_000;

#[derive(Clone, Copy, Debug)]
pub struct SenderOptions {
    pub connections: usize,
    pub batch: usize,
    pub format: Format,
    /// Couriers speak one by one, and keep to when the server wants their next position.
    pub obey: bool,
}

#[derive(Debug)]
pub struct Sender {
    lanes: Vec<mpsc::Sender<Event>>,
    tasks: JoinSet<(Tally, Ledger)>,
}

impl Sender {
    pub fn start(target: &Target, options: SenderOptions) -> Self {
        let mut sender = Self { lanes: Vec::new(), tasks: JoinSet::new() };
        for _ in 0..options.connections.max(1) {
            let (lane, events) = mpsc::channel(LANE_EVENTS);
            sender.lanes.push(lane);
            let client = Client::new(target.clone());
            if options.obey {
                sender.tasks.spawn(run_obedient_lane(client, events, options.format));
            } else {
                sender.tasks.spawn(run_lane(client, events, options));
            }
        }
        sender
    }

    pub async fn send(&self, events: Vec<Event>) {
        for event in events {
            let hash = xxhash_rust::xxh3::xxh3_64(event.actor_id.as_bytes());
            let lane = &self.lanes[(hash % self.lanes.len() as u64) as usize];
            lane.send(event).await.expect("a lane lives until its sender is dropped");
        }
    }

    /// Waits until everything is answered or given up.
    pub async fn finish(self) -> (Tally, Ledger) {
        let Self { lanes, mut tasks } = self;
        drop(lanes);
        let (mut tally, mut ledger) = (Tally::default(), Ledger::default());
        while let Some(lane) = tasks.join_next().await {
            let (lane_tally, lane_ledger) = lane.expect("a lane neither panics nor is aborted");
            tally.absorb(lane_tally);
            ledger.absorb(lane_ledger);
        }
        (tally, ledger)
    }
}

async fn run_lane(mut client: Client, mut events: mpsc::Receiver<Event>, options: SenderOptions) -> (Tally, Ledger) {
    let (mut tally, mut ledger) = (Tally::default(), Ledger::default());
    let mut batch = Vec::with_capacity(options.batch);
    while events.recv_many(&mut batch, options.batch.max(1)).await > 0 {
        let sent_at_ms = clock::now_ms();
        let body = Bytes::from(encode(&batch, options.format, 0));
        tally.sent += batch.len() as u64;
        let started = Instant::now();
        match client.post(body, options.format, batch.len()).await {
            Ok(posted) => {
                tally.note_ack(started.elapsed());
                tally.retries += u64::from(posted.retries);
                for (event, outcome) in batch.iter().zip(&posted.outcomes) {
                    tally.note(outcome);
                    note(&mut ledger, event, outcome, sent_at_ms);
                }
            }
            Err(error) => fail(&mut tally, &mut ledger, &batch, &error),
        }
        batch.clear();
    }
    (tally, ledger)
}

/// An event a request, as a phone sends it: the answer to one says when the next of its courier is wanted.
async fn run_obedient_lane(mut client: Client, mut events: mpsc::Receiver<Event>, format: Format) -> (Tally, Ledger) {
    let (mut tally, mut ledger, mut obedience) = (Tally::default(), Ledger::default(), Obedience::default());
    while let Some(event) = events.recv().await {
        if obedience.spares(&event) {
            tally.spared += 1;
            continue;
        }
        let sent_at_ms = clock::now_ms();
        let batch = std::slice::from_ref(&event);
        tally.sent += 1;
        match client.post(Bytes::from(encode(batch, format, 0)), format, 1).await {
            Ok(posted) => {
                tally.note_ack(posted.took);
                tally.retries += u64::from(posted.retries);
                for outcome in &posted.outcomes {
                    tally.note(outcome);
                    note(&mut ledger, &event, outcome, sent_at_ms);
                }
                obedience.heed(&event, posted.next);
            }
            Err(error) => fail(&mut tally, &mut ledger, batch, &error),
        }
    }
    (tally, ledger)
}

fn note(ledger: &mut Ledger, event: &Event, outcome: &ItemOutcome, sent_at_ms: i64) {
    if !matches!(outcome, ItemOutcome::Accepted { .. } | ItemOutcome::Duplicate { content_differs: false }) {
        return;
    }
    ledger.note(event);
    if event.event_time_ms > sent_at_ms + TRUSTED_AHEAD_MS {
        ledger.doubt(event);
    }
}

/// A refusal of the whole request stored nothing; any other end leaves it open whether something was stored.
fn fail(tally: &mut Tally, ledger: &mut Ledger, batch: &[Event], error: &ClientError) {
    tally.last_error = Some(error.to_string());
    if let ClientError::Refused { status, .. } = error {
        tally.note_refused(status.as_u16(), batch.len());
        return;
    }
    tally.unanswered += batch.len() as u64;
    for event in batch {
        ledger.doubt(event);
    }
}
