//! Letters are tried again, held against a log in memory and a store in a folder of the test's own.

use sqlx::{Connection as _, SqliteConnection};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::config::devices::UnlistedDevices;
use crate::dead_letters::filter::Filter;
use crate::dead_letters::letter::{Fault, Letter, Protocol, Reason, Scope as Kind};
use crate::dead_letters::{Bounds, Kept};
use crate::devices::Devices;
use crate::formats::claims::Claims;
use crate::formats::phone::app::App;
use crate::formats::postmark::{Manner, Postmark};
use crate::ingest::redrive::{RedriveError, Redriven};
use crate::model::id::DriverId;
use crate::model::speed::SpeedUnit;

/// A way in that keeps what it refuses.
pub(super) struct Rig {
    pub(super) ingest: Ingest<MemoryLog>,
    pub(super) store: DeadLetters,
    clock: ManualClock,
    folder: TempDir,
    stop: CancellationToken,
    writer: JoinHandle<()>,
}

impl Rig {
    async fn start() -> Self {
        Self::start_on(MemoryLog::default()).await
    }

    pub(super) async fn start_on(log: MemoryLog) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let bounds = Bounds { max_bytes: 1 << 20, max_age: std::time::Duration::from_hours(2) };
        let clock = ManualClock::new(UnixMs(NOW));
        let (store, writer) = DeadLetters::open(folder.path(), bounds, Clock::Manual(clock.clone())).await.expect("opens");
        let stop = CancellationToken::new();
        #[expect(clippy::disallowed_methods, reason = "the rig waits for the writer itself")]
        let writer = tokio::spawn(writer.run(stop.clone()));
        let devices = Arc::new(Devices::open(folder.path(), Clock::Manual(clock.clone())).await.expect("opens"));
        let book = PhoneBook { devices, unlisted: UnlistedDevices::Open, osmand_speed_unit: SpeedUnit::Knots };
        let limits = Limits::of_requests(100, 1 << 20);
        let ingest = Ingest::new(Arc::new(log), Clock::Manual(clock.clone()), limits, Arc::new(Attention::new(1)));
        Self { ingest: ingest.keeping(store.clone()).knowing(book), store, clock, folder, stop, writer }
    }

    pub(super) async fn stop(self) {
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

/// A report of a phone that was refused for a fault that has gone since.
fn report(raw: &str) -> Letter {
    let fault = Fault { reason: Reason::of("out_of_range"), pointer: "/lat", detail: "by a parser of before" };
    Letter::refused(tenant(), Protocol::of("osmand"), Kind::Item, fault, Claims::default(), raw.as_bytes(), UnixMs(NOW))
}

#[tokio::test]
async fn a_report_without_a_time_happened_when_it_came_and_not_when_it_is_tried_again() {
    let rig = Rig::start().await;
    let postmark = || Postmark::of(Manner::Query, Some("van-9".to_owned()));
    rig.store.keep(vec![report("id=van-1&lat=57.7&lon=11.9").postmarked(postmark()), report("lat=57.7&lon=11.9").postmarked(postmark())]).await;
    rig.clock.advance(std::time::Duration::from_hours(1));
    assert_eq!(rig.redrive().await.expect("redriven"), [2, 0, 0, 0]);
    let told = |event: &Event| (event.actor.as_ref().map(|actor| actor.as_str().to_owned()), event.event_time);
    let seen: Vec<_> = rig.ingest.log.seen.lock().expect("whole").iter().map(told).collect();
    assert_eq!(seen, [(Some("van-1".to_owned()), UnixMs(NOW)), (Some("van-9".to_owned()), UnixMs(NOW))]);
    rig.stop().await;
}

#[tokio::test]
async fn a_report_of_a_phone_that_is_older_than_postmarks_stays_as_it_is() {
    let rig = Rig::start().await;
    rig.store.keep(vec![report("id=van-1&lat=57.7&lon=11.9")]).await;
    assert_eq!(rig.redrive().await.expect("redriven"), [0, 0, 0, 1]);
    assert_eq!(rig.kept().await, [item("out_of_range")]);
    rig.stop().await;
}

#[tokio::test]
async fn one_of_two_reports_under_one_id_is_kept_and_differs_still_when_it_is_tried_again() {
    let rig = Rig::start().await;
    let book = rig.ingest.phone_book.clone().expect("a book");
    // What is told apart by nothing that goes into an id without a time: the same place in the same moment, at another speed.
    for raw in ["lat=57.7&lon=11.9&speed=1", "lat=57.7&lon=11.9&speed=2"] {
        let heard = Manner::Query.report(App::OsmAnd, raw.as_bytes(), book.osmand_speed_unit).items.remove(0);
        let driver = DriverId::parse("van-1").expect("valid");
        let read = heard.read.expect("reads").expect("a report").event(None, &driver, &tenant(), UnixMs(NOW));
        let items = vec![ReadItem { read, claims: Claims::default(), time_at: "/timestamp".into(), driver: Some(driver), raw: raw.into() }];
        let postmark = Postmark::of(Manner::Query, None);
        let request = ReadRequest { tenant: tenant(), scope: Scope::ALL, app: App::OsmAnd, received: UnixMs(NOW), postmark, items };
        rig.ingest.submit_read(request).await.expect("answered");
        // It is read a little later than it came.
        rig.clock.advance(std::time::Duration::from_millis(3));
    }
    assert_eq!(rig.kept().await, [item("content_differs")]);
    assert_eq!(rig.redrive().await.expect("redriven"), [0, 0, 1, 0], "it would be accepted if its id were another now");
    rig.stop().await;
}

#[tokio::test]
async fn a_report_that_was_refused_for_whom_it_is_by_is_by_whom_its_phone_is_now() {
    let rig = Rig::start().await;
    let driver = |name| DriverId::parse(name).expect("valid");
    let postmark = Postmark::of(Manner::Query, None).by(Some(&driver("van-2")));
    let authority = Scope::new(Some(vec![driver("van-1")]), None, None).expect("few");
    rig.store.keep(vec![report("id=7&lat=57.7&lon=11.9").postmarked(postmark).sent_by(authority)]).await;
    assert_eq!(rig.redrive().await.expect("redriven"), [0, 0, 1, 0]);
    assert_eq!(rig.kept().await, [item("out_of_scope")]);
    // No device is listed any more, so it is the one driver's whom its key is for.
    assert_eq!(rig.redrive().await.expect("redriven"), [1, 0, 0, 0]);
    assert_eq!(rig.ingest.log.seen.lock().expect("whole")[0].actor, Some(driver("van-1")));
    rig.stop().await;
}
