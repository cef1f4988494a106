//! What a protocol of its own has read, held against a log in memory: the same rules as for any body. Never opens a file.

use super::*;
use crate::formats::claims::Claims;
use crate::formats::phone::app::App;
use crate::formats::postmark::Postmark;
use crate::formats::results::Outcome;

pub(super) fn item(id: &str, at: i64) -> ReadItem {
    let text = json!({"event_id": id, "event_name": "location", "actor_id": "d", "event_time": at, "payload": {"lat": 1, "lng": 1}}).to_string();
    ReadItem {
        read: json::decode(text.as_bytes(), &tenant()),
        claims: Claims { event_id: id.to_owned(), ..Claims::default() },
        time_at: "/tst".into(),
        driver: None,
        raw: Bytes::from_static(b"as it came"),
    }
}

pub(super) fn request(items: Vec<ReadItem>) -> ReadRequest {
    ReadRequest { tenant: tenant(), scope: Scope::ALL, app: App::OwnTracks, received: UnixMs(NOW), postmark: Postmark::default(), items }
}

fn limited(limits: Limits) -> Ingest<MemoryLog> {
    Ingest::new(Arc::new(MemoryLog::default()), Clock::Manual(ManualClock::new(UnixMs(NOW))), limits, Arc::new(Attention::new(1)))
}

#[tokio::test]
async fn each_item_is_answered_in_its_place_and_a_wrong_time_is_named_in_the_senders_words() {
    let ingest = limited(Limits::of_requests(4, 1000));
    let refused = ReadItem { read: Err(Refusal::missing("/lat")), ..item("r", NOW) };
    let items = vec![item("a", NOW), item("a", NOW), item("b", NOW + 100_000_000), refused];
    let answer = ingest.submit_read(request(items)).await.expect("not refused whole");
    let told: Vec<_> = answer.results.iter().map(|result| (result.outcome.status(), result.outcome.code())).collect();
    assert_eq!(told, [("accepted", ""), ("duplicate", ""), ("rejected", "time_too_far_ahead"), ("rejected", "missing_field")]);
    let Outcome::Rejected(refusal) = &answer.results[2].outcome else { unreachable!("rejected") };
    assert_eq!(refusal.pointer, "/tst");
    let many = (0..5).map(|n| item(&n.to_string(), NOW)).collect();
    assert!(matches!(ingest.submit_read(request(many)).await, Err(Refused::TooMany { found: 5, max: 4 })));
    let totals = ingest.ledger().totals(tenant());
    assert_eq!((totals.received, totals.accepted, totals.duplicate, totals.rejected, totals.refused), (4, 1, 1, 2, 5));
    assert_eq!(ingest.log.seen.lock().expect("no panic").len(), 1);
}

#[tokio::test]
async fn limits_and_pressure_hold_for_it_as_well() {
    let ingest = limited(Limits { driver: Some(Rate::new(1, 2)), ..Limits::of_requests(10, 1000) });
    let of = |ids: [&str; 2]| ids.into_iter().map(|id| item(id, NOW)).collect();
    assert!(ingest.submit_read(request(of(["a", "b"]))).await.is_ok());
    assert!(matches!(ingest.submit_read(request(of(["c", "d"]))).await, Err(Refused::Limited(_))));
    let ingest = limited(Limits::of_requests(10, 1000));
    ingest.valve().set(pressure::Pressure::Pings);
    let answer = ingest.submit_read(request(of(["a", "b"]))).await.expect("answered");
    assert!(answer.results.iter().all(|result| result.outcome.status() == "shed"), "{answer:?}");
}
