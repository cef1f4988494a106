//! Whoever hangs up changes nothing of what becomes of what was sent. Holds the way in against a log that takes its time.

use std::task::{Context, Poll, Waker};

use tokio::sync::Semaphore;

use super::redrive::Rig;
use super::*;
use crate::dead_letters::filter::Filter;

/// Sends it and hangs up while the log has it.
fn hang_up<T>(sent: impl Future<Output = T>) {
    let mut sent = Box::pin(sent);
    assert!(matches!(sent.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Pending), "the log takes its time");
}

async fn reasons(rig: &Rig) -> Vec<String> {
    rig.ingest.unanswered.close();
    rig.ingest.unanswered.wait().await;
    let page = rig.store.page(tenant(), &Filter::default(), None, 10).await.expect("reads");
    page.letters.iter().map(|kept| kept.about.reason.as_str().to_owned()).collect()
}

#[tokio::test]
async fn what_was_refused_is_kept_also_when_its_sender_does_not_wait_for_the_log() {
    let gate = Arc::new(Semaphore::new(0));
    let rig = Rig::start_on(MemoryLog { gate: Some(Arc::clone(&gate)), ..MemoryLog::default() }).await;
    let body = json!([ping("a", 57.7), ping("bad", 91.0), ping("a", 57.8)]).to_string().into();
    let request = Request { tenant: tenant(), scope: Scope::ALL, media: MediaType::Json, encoding: Encoding::Identity, body };
    hang_up(rig.ingest.submit(request));
    gate.add_permits(1);
    assert_eq!(reasons(&rig).await, ["content_differs", "out_of_range"]);
    let totals = rig.ingest.ledger().totals(tenant());
    assert_eq!((totals.received, totals.accepted, totals.duplicate, totals.rejected, totals.in_flight), (3, 1, 1, 1, 0));
    rig.stop().await;
}

#[tokio::test]
async fn what_an_app_was_refused_is_kept_also_when_its_phone_hangs_up() {
    let gate = Arc::new(Semaphore::new(0));
    let rig = Rig::start_on(MemoryLog { gate: Some(Arc::clone(&gate)), ..MemoryLog::default() }).await;
    let refused = ReadItem { read: Err(Refusal::missing("/lat")), ..read_items::item("r", NOW) };
    hang_up(rig.ingest.submit_read(read_items::request(vec![read_items::item("a", NOW), refused])));
    gate.add_permits(1);
    assert_eq!(reasons(&rig).await, ["missing_field"]);
    assert_eq!(rig.ingest.counts().totals().rejected, 1);
    rig.stop().await;
}

#[tokio::test]
async fn who_does_not_wait_until_the_log_refuses_has_not_paid_either() {
    let (gate, clock) = (Arc::new(Semaphore::new(0)), ManualClock::new(UnixMs(NOW)));
    let limits = Limits { driver: Some(Rate::new(10, 3)), tenant: Some(Rate::new(10, 3)), ..Limits::of_requests(100, 1 << 20) };
    let log = MemoryLog { gate: Some(Arc::clone(&gate)), fails: Some(AppendError::Overloaded), ..MemoryLog::default() };
    let ingest = Ingest::new(Arc::new(log), Clock::Manual(clock), limits, Arc::new(Attention::new(1)));
    let request = || {
        let body = json!([ping("a", 57.7), ping("b", 57.7), ping("c", 57.7)]).to_string().into();
        Request { tenant: tenant(), scope: Scope::ALL, media: MediaType::Json, encoding: Encoding::Identity, body }
    };
    hang_up(ingest.submit(request()));
    assert!(matches!(ingest.submit(request()).await, Err(Refused::Limited(_))), "it has paid as long as it is not known");
    gate.add_permits(2);
    ingest.unanswered.close();
    ingest.unanswered.wait().await;
    assert!(matches!(ingest.submit(request()).await, Err(Refused::Log(AppendError::Overloaded))), "nor this time");
    assert_eq!(ingest.ledger().totals(tenant()).refused, 7, "one that is over its limit is not read");
}
