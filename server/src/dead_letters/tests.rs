//! Holds the store against its promises: what is kept, in what bounds, for whom. Uses a folder of its own and a clock in the test's hand.

use sqlx::Connection as _;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::letter::{Protocol, Reason, Scope};
use super::*;
use crate::clock::ManualClock;
use crate::formats::claims::Claims;
use crate::formats::postmark::{Manner, Postmark};
use crate::model::id::{DriverId, Offset, PartitionId};

const NOW: UnixMs = UnixMs(1_790_000_000_000);

struct Rig {
    store: DeadLetters,
    clock: ManualClock,
    stop: CancellationToken,
    writer: JoinHandle<()>,
}

impl Rig {
    async fn open(folder: &Path, max_bytes: u64) -> Self {
        let clock = ManualClock::new(NOW);
        let bounds = Bounds { max_bytes, max_age: Duration::from_hours(2) };
        let (store, writer) = DeadLetters::open(folder, bounds, Clock::Manual(clock.clone())).await.expect("opens");
        let stop = CancellationToken::new();
        #[expect(clippy::disallowed_methods, reason = "the rig waits for the writer itself")]
        let writer = tokio::spawn(writer.run(stop.clone()));
        Self { store, clock, stop, writer }
    }

    async fn close(self) {
        self.stop.cancel();
        self.writer.await.expect("ends well");
        self.store.close().await;
    }

    async fn ids(&self, tenant: &str) -> Vec<String> {
        self.ids_of(tenant, &Filter::default()).await
    }

    async fn ids_of(&self, tenant_name: &str, filter: &Filter) -> Vec<String> {
        let page = self.store.page(tenant(tenant_name), filter, None, 1000).await.expect("reads");
        page.letters.into_iter().map(|kept| kept.about.claims.event_id).collect()
    }
}

fn tenant(name: &str) -> TenantId {
    TenantId::parse(name).expect("valid")
}

fn letter(tenant_name: &str, event_id: &str, raw: &[u8]) -> Letter {
    let fault = Fault { reason: Reason::of("out_of_range"), pointer: "/payload/lat", detail: "must be a number" };
    let claims = Claims { event_id: event_id.to_owned(), actor: format!("{event_id}-driver"), schema_version: Some(3) };
    Letter::refused(tenant(tenant_name), Protocol::JSON, Scope::Item, fault, claims, raw, NOW)
}

fn parked(offset: u64) -> Letter {
    let place = Place { partition: PartitionId(3), offset: Offset(offset) };
    Letter::parked(tenant("acme"), place, "index out of bounds", Claims::default(), b"record".to_vec(), NOW)
}

#[tokio::test]
async fn a_letter_comes_back_as_it_was_kept_also_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let rig = Rig::open(folder.path(), 1 << 20).await;
    let raw = b"{\"event_id\":\"\xff\0".to_vec();
    let driver = DriverId::parse("van-1").expect("valid");
    let postmark = Postmark::of(Manner::Query, Some("phone".to_owned())).by(Some(&driver));
    let sent = [letter("acme", "a", &raw).postmarked(postmark), parked(u64::MAX)];
    rig.store.keep(sent.to_vec()).await;
    rig.close().await;
    let rig = Rig::open(folder.path(), 1 << 20).await;
    for letter in &sent {
        let (kept, raw) = rig.store.get(letter.tenant, letter.about.id).await.expect("reads").expect("is there");
        assert_eq!((&kept.about, &raw), (&letter.about, &letter.raw));
        assert!(rig.store.get(tenant("globex"), letter.about.id).await.expect("reads").is_none(), "another's tenant");
    }
    rig.close().await;
}

#[tokio::test]
async fn letters_of_before_postmarks_are_read_without_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = format!("sqlite:{}?mode=rwc", folder.path().join("dead_letters.db").display());
    let mut old = sqlx::SqliteConnection::connect(&path).await.expect("opens");
    let first = sqlx::migrate!("./migrations-dead-letters").iter().next().expect("one").clone();
    let only_first = sqlx::migrate::Migrator { migrations: vec![first].into(), ..sqlx::migrate::Migrator::DEFAULT };
    only_first.run_direct(None, &mut old, false).await.expect("migrates");
    let insert = "INSERT INTO letters (id, tenant, reason, pointer, detail, protocol, whole_body, event_id, actor, received_ms, kept_ms, came_bytes, tries, charge, raw) \
                  VALUES (randomblob(16), 'acme', 'out_of_range', '/lat', '', 'osmand', 0, 'old', '', ?1, ?1, 4, 0, 516, x'69643d37')";
    sqlx::query(insert).bind(NOW.0).execute(&mut old).await.expect("written");
    old.close().await.expect("closed");
    let rig = Rig::open(folder.path(), 1 << 20).await;
    let page = rig.store.page(tenant("acme"), &Filter::default(), None, 10).await.expect("reads");
    let told: Vec<_> = page.letters.iter().map(|kept| (kept.about.claims.event_id.as_str(), kept.about.postmark.clone())).collect();
    assert_eq!(told, [("old", None)]);
    rig.close().await;
}

#[tokio::test]
async fn a_place_of_the_log_is_parked_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let rig = Rig::open(folder.path(), 1 << 20).await;
    for _ in 0..2 {
        rig.store.keep(vec![parked(7), letter("acme", "e", b"x"), parked(8)]).await;
    }
    assert_eq!(rig.ids("acme").await.len(), 4);
    let found = rig.store.parked().await.expect("reads");
    let told: Vec<_> =
        found.iter().map(|parked| (parked.tenant.as_str(), parked.place.offset.0, parked.ingest_time, parked.record.as_slice())).collect();
    assert_eq!(told, [("acme", 7, NOW, b"record".as_slice()), ("acme", 8, NOW, b"record")]);
    rig.close().await;
}

#[tokio::test]
async fn pages_follow_each_other_and_each_filter_lets_its_own_through() {
    let folder = tempfile::tempdir().expect("a folder");
    let rig = Rig::open(folder.path(), 1 << 20).await;
    let mut letters: Vec<Letter> = (0..10).map(|number| letter("acme", &format!("e{number}"), b"x")).collect();
    letters[3].about.received = UnixMs(NOW.0 - 1000);
    letters[4].about.reason = Reason::of("null_island");
    letters[5].about.protocol = Protocol::PROTOBUF;
    let id = letters[6].about.id;
    rig.store.keep(letters).await;
    rig.store.keep(vec![letter("globex", "other", b"x")]).await;
    let (mut seen, mut before) = (Vec::new(), None);
    loop {
        let page = rig.store.page(tenant("acme"), &Filter::default(), before, 4).await.expect("reads");
        seen.extend(page.letters.into_iter().map(|kept| kept.about.claims.event_id));
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(seen, (0..10).rev().map(|number| format!("e{number}")).collect::<Vec<_>>(), "the newest first");
    for (filter, expected) in [
        (Filter { until: Some(NOW), ..Filter::default() }, "e3"),
        (Filter { reason: Some("null_island".into()), ..Filter::default() }, "e4"),
        (Filter { protocol: Some("protobuf".into()), since: Some(NOW), ..Filter::default() }, "e5"),
        (Filter { ids: vec![id], ..Filter::default() }, "e6"),
        (Filter { actor: Some("e7-driver".into()), ..Filter::default() }, "e7"),
    ] {
        assert_eq!(rig.ids_of("acme", &filter).await, [expected], "{filter:?}");
    }
    let batch = rig.store.batch(tenant("acme"), &Filter::default(), None, 100, 2).await.expect("reads");
    assert_eq!(batch.letters.iter().map(|(kept, _)| kept.about.claims.event_id.as_str()).collect::<Vec<_>>(), ["e0", "e1", "e2"], "the oldest first");
    let rest = rig.store.batch(tenant("acme"), &Filter::default(), batch.next, 7, 100).await.expect("reads");
    assert_eq!((rest.letters.len(), rest.next), (7, None), "exactly the last is not followed by an empty page");
    rig.close().await;
}

#[tokio::test]
async fn a_flood_of_one_tenant_stays_within_the_bound_and_washes_away_nothing_of_another() {
    let folder = tempfile::tempdir().expect("a folder");
    let raw = vec![b'x'; 10_000];
    let rig = Rig::open(folder.path(), 200_000).await;
    rig.store.keep(vec![letter("globex", "small", b"x")]).await;
    for number in 0..10 {
        rig.store.keep((0..10).map(|part| letter("acme", &format!("{}", number * 10 + part), &raw)).collect()).await;
    }
    let kept = rig.ids("acme").await;
    let charge = letter("acme", "", &raw).charge();
    let room = (200_000 - letter("globex", "", b"x").charge()) / charge;
    assert_eq!(kept, (0..100).rev().take(usize::try_from(room).expect("few")).map(|number| number.to_string()).collect::<Vec<_>>());
    assert_eq!(rig.ids("globex").await, ["small"]);
    rig.close().await;

    // What is held is known again, so the first letter after a start lets as much go as it needs.
    let rig = Rig::open(folder.path(), 200_000).await;
    rig.store.keep(vec![letter("acme", "100", &raw)]).await;
    assert_eq!(rig.ids("acme").await.len() as u64, room);
    rig.close().await;
}

#[tokio::test]
async fn what_is_too_old_goes_and_no_more() {
    let folder = tempfile::tempdir().expect("a folder");
    let rig = Rig::open(folder.path(), 1 << 20).await;
    rig.store.keep((0..1000).map(|number| letter("acme", &format!("old{number}"), b"x")).collect()).await;
    rig.clock.advance(Duration::from_hours(1));
    rig.store.keep(vec![letter("acme", "young", b"x")]).await;
    rig.clock.advance(Duration::from_hours(1) + Duration::from_millis(1));
    let deadline = Instant::now() + Duration::from_secs(20);
    while rig.ids("acme").await.len() > 1 {
        assert!(Instant::now() < deadline, "the writer looks every second");
    }
    assert_eq!(rig.ids("acme").await, ["young"]);
    rig.close().await;
}

#[tokio::test]
async fn what_was_tried_is_taken_out_or_learns_why_not_inside_its_tenant_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let rig = Rig::open(folder.path(), 1 << 20).await;
    rig.store.keep(["a", "b", "c"].map(|id| letter("acme", id, b"x")).to_vec()).await;
    let page = rig.store.page(tenant("acme"), &Filter::default(), None, 10).await.expect("reads");
    let cursors: Vec<Cursor> = page.letters.iter().map(|kept| kept.cursor).collect();
    assert_eq!(rig.store.settle(tenant("globex"), cursors.clone(), Vec::new()).await.expect("settles"), 0);
    let fault = Fault { reason: Reason::of("null_island"), pointer: "/payload", detail: "0,0" };
    let again = vec![RefusedAgain { cursor: cursors[1], fault }];
    assert_eq!(rig.store.settle(tenant("acme"), vec![cursors[0]], again).await.expect("settles"), 1);
    let page = rig.store.page(tenant("acme"), &Filter::default(), None, 10).await.expect("reads");
    let told: Vec<_> = page.letters.iter().map(|kept| (kept.about.claims.event_id.as_str(), kept.about.reason.as_str(), kept.about.tries)).collect();
    assert_eq!(told, [("b", "null_island", 1), ("a", "out_of_range", 0)]);
    assert_eq!(page.letters[0].about.tried, Some(NOW));
    let id = page.letters[1].about.id;
    assert!(!rig.store.remove(tenant("globex"), id).await.expect("asks") && rig.store.remove(tenant("acme"), id).await.expect("removes"));
    assert!(!rig.store.remove(tenant("acme"), id).await.expect("asks"), "it is gone");
    rig.close().await;
}

#[tokio::test]
async fn what_a_letter_is_replaced_by_stands_in_its_place_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let rig = Rig::open(folder.path(), 1 << 20).await;
    rig.store.keep(vec![letter("acme", "whole", b"x"), letter("acme", "other", b"x")]).await;
    let page = rig.store.page(tenant("acme"), &Filter::default(), None, 10).await.expect("reads");
    let parts = || vec![letter("acme", "part-1", b"x"), letter("acme", "part-2", b"x")];
    for _ in 0..2 {
        rig.store.replace(tenant("acme"), page.letters[1].cursor, parts()).await.expect("replaces");
    }
    assert_eq!(rig.ids("acme").await, ["part-2", "part-1", "other"], "who comes second finds it gone, and brings nothing");
    rig.close().await;
}

#[tokio::test]
async fn a_store_that_fails_holds_up_nobody_and_goes_on_when_it_is_mended() {
    let folder = tempfile::tempdir().expect("a folder");
    let rig = Rig::open(folder.path(), 1 << 20).await;
    rig.store.keep(vec![letter("acme", "before", b"x")]).await;
    let page = rig.store.page(tenant("acme"), &Filter::default(), None, 10).await.expect("reads");
    let alter = async |sql: &'static str| sqlx::query(sql).execute(&rig.store.pool).await.expect("altered");
    alter("ALTER TABLE letters RENAME TO lost").await;
    let began = Instant::now();
    rig.store.keep(vec![letter("acme", "during", b"x")]).await;
    let settled = rig.store.settle(tenant("acme"), vec![page.letters[0].cursor], Vec::new()).await;
    assert!(matches!(settled, Err(DeadLettersError::NotWritten)) && began.elapsed() < PATIENCE, "{settled:?}");
    alter("ALTER TABLE lost RENAME TO letters").await;
    rig.store.keep(vec![letter("acme", "after", b"x")]).await;
    assert_eq!(rig.ids("acme").await, ["after", "before"]);
    let held: (i64, i64) = sqlx::query_as("SELECT letters, bytes FROM held").fetch_one(&rig.store.pool).await.expect("reads");
    assert_eq!(held, (2, 2 * letter("acme", "", b"x").charge().cast_signed()), "what was not kept is not counted");
    rig.close().await;
}

#[tokio::test]
async fn what_was_counted_for_a_write_that_failed_counts_no_more_though_the_table_could_not_be_asked_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let rig = Rig::open(folder.path(), 1 << 20).await;
    let page = async || rig.store.page(tenant("acme"), &Filter::default(), None, 10).await.expect("reads").letters;
    rig.store.keep(vec![letter("acme", "before", b"x"), letter("acme", "settled", b"x")]).await;
    let alter = async |sql: &'static str| sqlx::query(sql).execute(&rig.store.pool).await.expect("altered");
    // Letters can be written still, and what is held neither written nor read.
    alter("ALTER TABLE held RENAME TO away").await;
    rig.store.keep((0..5).map(|number| letter("acme", &number.to_string(), b"x")).collect()).await;
    let settled = rig.store.settle(tenant("acme"), vec![page().await[0].cursor], Vec::new()).await;
    assert!(matches!(settled, Err(DeadLettersError::NotWritten)), "{settled:?}");
    alter("ALTER TABLE away RENAME TO held").await;
    rig.store.keep(vec![letter("acme", "after", b"x")]).await;
    assert_eq!(rig.ids("acme").await, ["after", "settled", "before"]);
    let held: (i64, i64) = sqlx::query_as("SELECT letters, bytes FROM held").fetch_one(&rig.store.pool).await.expect("reads");
    assert_eq!(held, (3, 3 * letter("acme", "", b"x").charge().cast_signed()));
    rig.close().await;
}

#[tokio::test]
async fn who_brings_letters_waits_for_room_and_gives_up_after_a_moment() {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = Clock::Manual(ManualClock::new(NOW));
    let bounds = Bounds { max_bytes: 1 << 30, max_age: Duration::from_hours(2) };
    let (store, writer) = DeadLetters::open(folder.path(), bounds, clock).await.expect("opens");
    // Nobody writes yet: the queue takes 8 MiB and not a letter more.
    let large = |id: usize| letter("acme", &id.to_string(), &vec![b'x'; 1 << 20]);
    tokio::time::pause();
    let began = Instant::now();
    store.keep((0..10).map(large).collect()).await;
    // Timers go by whole milliseconds.
    assert!((PATIENCE..PATIENCE + Duration::from_millis(2)).contains(&began.elapsed()), "{:?}", began.elapsed());
    tokio::time::resume();
    let stop = CancellationToken::new();
    stop.cancel();
    writer.run(stop).await;
    let page = store.page(tenant("acme"), &Filter::default(), None, 100).await.expect("reads");
    let kept: Vec<_> = page.letters.iter().map(|kept| kept.about.claims.event_id.as_str()).collect();
    assert_eq!(kept, ["6", "5", "4", "3", "2", "1", "0"], "what was taken is written, also after the stop");
    // The writer has ended: what comes now is dropped at once.
    let began = Instant::now();
    store.keep(vec![large(11)]).await;
    assert!(began.elapsed() < PATIENCE);
    store.close().await;
}
