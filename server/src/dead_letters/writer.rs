//! The one task that writes the table: gathers what waits into one transaction, keeps the bounds, takes out what is settled. Never judges a letter.

use std::time::Duration;

use metrics::counter;
use sqlx::pool::PoolConnection;
use sqlx::{Connection as _, Sqlite, SqliteConnection};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::filter::Cursor;
use super::held::Held;
use super::letter::{Letter, Reason};
use super::{Bounds, DeadLettersError, changes};
use crate::clock::Clock;
use crate::model::id::TenantId;

/// Letters of one transaction, about; what a parcel brings is not divided.
const LETTERS_AT_ONCE: usize = 512;
const LOOKS_EVERY: Duration = Duration::from_secs(1);
/// A disk that fails goes on failing: it is said again only after this long.
const COMPLAINS_EVERY: Duration = Duration::from_mins(1);

/// What the writer takes in, in this order and from one queue.
#[derive(Debug)]
pub(super) enum Command {
    Keep(Parcel),
    /// The sender is told how many letters were taken out; dropped when none could be.
    Settle(TenantId, Settlement, oneshot::Sender<u64>),
}

/// Letters with the room they take up in the queue.
#[derive(Debug)]
pub(super) struct Parcel {
    pub(super) letters: Vec<Letter>,
    #[expect(dead_code, reason = "held until the letters are written: that is all it is for")]
    pub(super) room: OwnedSemaphorePermit,
    pub(super) written: oneshot::Sender<()>,
}

/// What became of letters that were tried again. All of it is written, or nothing.
#[derive(Debug, Default)]
pub(super) struct Settlement {
    pub(super) removed: Vec<Cursor>,
    /// Written when something was removed: they stand for it.
    pub(super) parts: Vec<Letter>,
    #[expect(dead_code, reason = "held until the parts are written: that is all it is for")]
    pub(super) room: Option<OwnedSemaphorePermit>,
    /// With the newest reason, pointer and detail.
    pub(super) again: Vec<(Cursor, Reason, String, String)>,
}

/// What a transaction did.
#[derive(Clone, Copy, Debug, Default)]
struct Done {
    removed: u64,
    kept: u64,
    /// Had to go for those that were kept.
    evicted: u64,
}

/// Writes until its inbox ends or it is told to stop.
#[derive(Debug)]
pub struct Writer {
    connection: PoolConnection<Sqlite>,
    inbox: mpsc::Receiver<Command>,
    bounds: Bounds,
    clock: Clock,
    /// Absent when a transaction failed: what it had counted is not so, and the table is asked within the next one.
    held: Option<Held>,
    complained: Option<Instant>,
}

impl Writer {
    pub(super) async fn new(
        mut connection: PoolConnection<Sqlite>,
        inbox: mpsc::Receiver<Command>,
        bounds: Bounds,
        clock: Clock,
    ) -> Result<Self, DeadLettersError> {
        let held = Held::load(&mut connection).await?;
        held.tell();
        Ok(Self { connection, inbox, bounds, clock, held: Some(held), complained: None })
    }

    /// On `stop` what waits is written still, and nothing more is taken.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut looks = tokio::time::interval(LOOKS_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stopping = false;
        loop {
            tokio::select! {
                // First what is rare, so that a flood does not keep it waiting.
                biased;
                () = stop.cancelled(), if !stopping => {
                    stopping = true;
                    self.inbox.close();
                }
                _ = looks.tick() => self.expire().await,
                command = self.inbox.recv() => match command {
                    Some(command) => self.take(command).await,
                    None => return,
                },
            }
        }
    }

    /// Takes this one and what else waits already, so that one transaction does for many.
    async fn take(&mut self, first: Command) {
        let (mut parcels, mut letters) = (Vec::new(), 0);
        let mut next = Some(first);
        while let Some(command) = next {
            match command {
                Command::Keep(parcel) => {
                    letters += parcel.letters.len();
                    parcels.push(parcel);
                }
                // What was kept before it may be what it is about.
                Command::Settle(tenant, settlement, done) => {
                    self.write(std::mem::take(&mut parcels)).await;
                    self.settle(tenant, &settlement, done).await;
                }
            }
            next = if letters < LETTERS_AT_ONCE { self.inbox.try_recv().ok() } else { None };
        }
        self.write(parcels).await;
    }

    async fn write(&mut self, parcels: Vec<Parcel>) {
        let letters: Vec<&Letter> = parcels.iter().flat_map(|parcel| &parcel.letters).collect();
        if letters.is_empty() {
            return;
        }
        match self.try_write(&letters).await {
            Ok(done) => done.count(),
            Err(error) => {
                counter!("waypost_dead_letters_dropped_total").increment(letters.len() as u64);
                self.failed(&error);
            }
        }
        self.tell();
        for parcel in parcels {
            // Who waited for it may have lost patience.
            parcel.written.send(()).ok();
        }
    }

    async fn try_write(&mut self, letters: &[&Letter]) -> Result<Done, DeadLettersError> {
        let mut transaction = self.connection.begin().await?;
        let mut held = known(&mut self.held, &mut transaction).await?;
        let kept = changes::insert(&mut transaction, letters, self.clock.now(), &mut held).await?;
        let evicted = changes::evict(&mut transaction, &mut held, self.bounds.max_bytes).await?;
        held.save(&mut transaction).await?;
        transaction.commit().await?;
        self.held = Some(held);
        Ok(Done { removed: 0, kept, evicted })
    }

    async fn settle(&mut self, tenant: TenantId, settlement: &Settlement, answer: oneshot::Sender<u64>) {
        match self.try_settle(tenant, settlement).await {
            Ok(done) => {
                done.count();
                // Who asked may have gone.
                answer.send(done.removed).ok();
            }
            Err(error) => self.failed(&error),
        }
        self.tell();
    }

    async fn try_settle(&mut self, tenant: TenantId, Settlement { removed, parts, again, .. }: &Settlement) -> Result<Done, DeadLettersError> {
        let (now, parts) = (self.clock.now(), parts.iter().collect::<Vec<_>>());
        let mut transaction = self.connection.begin().await?;
        let mut held = known(&mut self.held, &mut transaction).await?;
        let mut done = Done { removed: changes::remove(&mut transaction, tenant, removed, &mut held).await?, ..Done::default() };
        changes::note_tries(&mut transaction, tenant, again, now).await?;
        if done.removed > 0 && !parts.is_empty() {
            done.kept = changes::insert(&mut transaction, &parts, now, &mut held).await?;
            done.evicted = changes::evict(&mut transaction, &mut held, self.bounds.max_bytes).await?;
        }
        held.save(&mut transaction).await?;
        transaction.commit().await?;
        self.held = Some(held);
        Ok(done)
    }

    /// Lets go what is too old, the oldest first.
    async fn expire(&mut self) {
        while !self.held.as_ref().is_some_and(Held::is_empty) {
            match self.try_expire().await {
                Ok(0) => return,
                Ok(expired) => counter!("waypost_dead_letters_evicted_total", "cause" => "age").increment(expired),
                Err(error) => return self.failed(&error),
            }
            self.tell();
        }
    }

    async fn try_expire(&mut self) -> Result<u64, DeadLettersError> {
        let oldest_kept = self.clock.now() - self.bounds.max_age;
        let mut transaction = self.connection.begin().await?;
        let mut held = known(&mut self.held, &mut transaction).await?;
        let expired = changes::expire(&mut transaction, oldest_kept, &mut held).await?;
        if expired > 0 {
            held.save(&mut transaction).await?;
        }
        transaction.commit().await?;
        self.held = Some(held);
        Ok(expired)
    }

    fn failed(&mut self, error: &DeadLettersError) {
        if self.complained.is_none_or(|last| last.elapsed() >= COMPLAINS_EVERY) {
            self.complained = Some(Instant::now());
            tracing::error!(
                error = error as &dyn std::error::Error,
                "the store of dead letters failed; what could not be kept is counted as dropped"
            );
        }
    }

    /// While nobody knows what is held, the gauges stay as they are.
    fn tell(&self) {
        self.held.iter().for_each(Held::tell);
    }
}

impl Done {
    fn count(self) {
        counter!("waypost_dead_letters_kept_total").increment(self.kept);
        counter!("waypost_dead_letters_evicted_total", "cause" => "size").increment(self.evicted);
    }
}

/// What is held as the last transaction left it, else as the table has it. Taken out, and put back only when the transaction at hand is committed.
async fn known(held: &mut Option<Held>, connection: &mut SqliteConnection) -> Result<Held, DeadLettersError> {
    match held.take() {
        Some(held) => Ok(held),
        None => Held::load(connection).await,
    }
}
