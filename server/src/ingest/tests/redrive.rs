//! Letters are tried again, held against a log in memory and a store in a folder of the test's own.

use sqlx::{Connection as _, SqliteConnection};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::dead_letters::filter::Filter;
use crate::dead_letters::letter::{Fault, Reason, Scope as Kind};
use crate::dead_letters::{Bounds, Kept};
use crate::formats::claims::Claims;
use crate::ingest::redrive::{RedriveError, Redriven};

/// A way in that keeps what it refuses.
struct Rig {
    ingest: Ingest<MemoryLog>,
    store: DeadLetters,
    folder: TempDir,
    stop: CancellationToken,
    writer: JoinHandle<()>,
}

impl Rig {
    async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let bounds = Bounds { max_bytes: 1 << 20, max_age: std::time::Duration::from_hours(2) };
        let (store, writer) = DeadLetters::open(folder.path(), bounds, Clock::Manual(ManualClock::new(UnixMs(NOW)))).await.expect("opens");
        let stop = CancellationToken::new();
        #[expect(clippy::disallowed_methods, reason = "the rig waits for the writer itself")]
        let writer = tokio::spawn(writer.run(stop.clone()));
        Self { ingest: ingest(None).keeping(store.clone()), store, folder, stop, writer }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.writer.await.expect("ends well");
        self.store.close().await;
    }

    /// Keeps a body that could not be taken apart when it came, and can be now.
    async fn keep_body(&self, body: &Value) {
        let fault = Fault { reason: Reason::of("malformed_json"), pointer: "", detail: "by a parser of before" };
        self.store
            .keep(vec![Letter::refused(tenant(), Protocol::JSON, Kind::Body, fault, Claims::default(), body.to_string().as_bytes(), UnixMs(NOW))])
            .await;
    }

    async fn redrive(&self) -> Result<[u64; 4], RedriveError> {
        let Redriven { accepted, duplicate, refused, skipped, .. } = self.ingest.redrive(tenant(), &Filter::default(), None, 100).await?;
        Ok([accepted, duplicate, refused, skipped])
    }

    /// What is kept, the oldest first: whether it is a body, and why.
    async fn kept(&self) -> Vec<(bool, String)> {
        let told = |kept: &Kept| (kept.about.scope == Kind::Body, kept.about.reason.as_str().to_owned());
        let page = self.store.page(tenant(), &Filter::default(), None, 100).await.expect("reads");
        page.letters.iter().rev().map(told).collect()
    }

    async fn alter(&self, sql: &'static str) {
        let path = format!("sqlite:{}", self.folder.path().join("dead_letters.db").display());
        let mut connection = SqliteConnection::connect(&path).await.expect("opens");
        sqlx::query(sql).execute(&mut connection).await.expect("altered");
        connection.close().await.expect("closed");
    }
}

fn body() -> (bool, String) {
    (true, "malformed_json".to_owned())
}

fn item(reason: &str) -> (bool, String) {
    (false, reason.to_owned())
}

#[tokio::test]
async fn a_body_stays_until_what_is_refused_of_it_is_written() {
    let rig = Rig::start().await;
    rig.keep_body(&json!([ping("good", 57.7), ping("bad", 91.0)])).await;
    rig.keep_body(&json!([ping("worse", 92.0)])).await;
    rig.alter("CREATE TRIGGER full BEFORE INSERT ON letters BEGIN SELECT RAISE(ABORT, 'no room'); END").await;
    for _ in 0..2 {
        let redriven = rig.redrive().await;
        assert!(matches!(redriven, Err(RedriveError::Store(_))), "{redriven:?}");
        assert_eq!(rig.kept().await, [body(), body()]);
    }
    rig.alter("DROP TRIGGER full").await;
    assert_eq!(rig.redrive().await.expect("redriven"), [0, 1, 1, 0], "the good one was taken at the first attempt");
    assert_eq!(rig.kept().await, [item("out_of_range"), item("out_of_range")], "each once");
    rig.stop().await;
}

#[tokio::test]
async fn a_body_of_which_something_was_let_go_stays_whole_and_nothing_of_it_is_kept_twice() {
    let rig = Rig::start().await;
    rig.keep_body(&json!([ping("good", 57.7), ping("bad", 91.0)])).await;
    let page = rig.store.batch(tenant(), &Filter::default(), None, 100, 1 << 20).await.expect("reads");
    // It rose after the redrive had begun.
    rig.ingest.valve().set(pressure::Pressure::Pings);
    for attempt in 1..=2 {
        let mut total = Redriven::default();
        rig.ingest.redrive_page(&rig.store, tenant(), &page.letters, &mut total).await.expect("redriven");
        assert_eq!((total.skipped, rig.kept().await), (1, vec![body()]), "attempt {attempt}");
    }
    rig.ingest.valve().set(pressure::Pressure::None);
    assert_eq!(rig.redrive().await.expect("redriven"), [1, 0, 0, 0]);
    assert_eq!(rig.kept().await, [item("out_of_range")]);
    rig.stop().await;
}
