//! Limits, pressure and the ledger, held against a log in memory. Never opens a file.

use std::time::Duration;

use super::*;

/// What is asked of a request that is not let in: nothing of it was stored, and it says when to come again.
#[test]
fn a_request_over_a_limit_is_refused_whole_and_fits_when_it_says() {
    let clock = ManualClock::new(UnixMs(NOW));
    let limits = Limits { driver: Some(Rate::new(10, 20)), tenant: Some(Rate::new(100, 60)), ..Limits::of_requests(100, 1 << 20) };
    let ingest = Ingest::new(Arc::new(MemoryLog::default()), Clock::Manual(clock.clone()), limits, Arc::new(Attention::new(1)));
    let batch = |from: usize, drivers: [&str; 2]| {
        let events = drivers.into_iter().enumerate().flat_map(|(index, driver)| {
            (0..10).map(move |number| {
                let mut event = ping(&format!("{driver}-{}", from + index + number * 2), 57.7);
                event["actor_id"] = json!(driver);
                event
            })
        });
        json!(events.collect::<Vec<_>>()).to_string()
    };
    for (from, drivers) in [(0, ["ann", "bob"]), (100, ["ann", "cy"])] {
        assert!(submit(&ingest, MediaType::Json, batch(from, drivers)).is_ok());
    }
    let Err(Refused::Limited(limited)) = submit(&ingest, MediaType::Json, batch(200, ["bob", "ann"])) else { panic!("ann has none left") };
    assert_eq!((limited.of, limited.wait), (limits::Limit::Driver { event: 10 }, Duration::from_secs(1)));
    assert_eq!(ingest.log.seen.lock().expect("whole").len(), 40);
    clock.advance(Duration::from_millis(999));
    assert!(matches!(submit(&ingest, MediaType::Json, batch(200, ["bob", "ann"])), Err(Refused::Limited(_))));
    clock.advance(Duration::from_millis(1));
    assert!(submit(&ingest, MediaType::Json, batch(200, ["bob", "ann"])).is_ok());
    clock.advance(Duration::from_millis(0));
    let totals = ingest.ledger().totals(tenant());
    assert_eq!((totals.received, totals.accepted, totals.refused), (60, 60, 40));
}

#[test]
fn under_pressure_items_are_let_go_for_good_and_a_status_never_is() {
    let ingest = ingest(None);
    let status = json!({"event_id": "s", "event_name": "delivery.status", "entity_id": "o", "event_time": NOW, "payload": {"status": "delivered"}});
    let batch = json!([ping("a", 57.7), ping("b", 57.8), ping("bad", 91.0), status]).to_string();
    ingest.valve().set(pressure::Pressure::Repeats);
    let answer = submit(&ingest, MediaType::Json, batch.clone()).expect("answered");
    let expected = [("a", "accepted", ""), ("b", "shed", "repeated_ping"), ("bad", "rejected", "out_of_range"), ("s", "accepted", "")];
    assert_eq!(told(&answer), expected);
    ingest.valve().set(pressure::Pressure::AllButStatus);
    let answer = submit(&ingest, MediaType::Json, batch.clone()).expect("answered");
    assert_eq!(told(&answer)[3], ("s", "duplicate", ""));
    ingest.valve().set(pressure::Pressure::Full);
    assert!(matches!(submit(&ingest, MediaType::Json, batch), Err(Refused::Pressure)));
    let answer = submit(&ingest, MediaType::Json, json!([ping("c", 57.7)]).to_string()).expect("answered, for nothing of it must come again");
    assert_eq!(told(&answer), [("c", "shed", "ping")]);
    let totals = ingest.ledger().totals(tenant());
    let columns = [totals.received, totals.accepted, totals.duplicate, totals.rejected, totals.shed, totals.in_flight, totals.refused];
    assert_eq!(columns, [9, 2, 1, 2, 4, 0, 4]);
}

#[test]
fn what_the_log_refuses_is_taken_back_from_what_was_received() {
    let ingest = ingest(Some(AppendError::Overloaded));
    assert!(submit(&ingest, MediaType::Json, json!([ping("a", 57.7), ping("bad", 91.0)]).to_string()).is_err());
    let totals = ingest.ledger().totals(tenant());
    assert_eq!((totals.received, totals.rejected, totals.in_flight, totals.refused), (0, 0, 0, 2));
    assert_eq!(ingest.counts().totals().refused, 2);
}

#[test]
fn who_was_refused_by_the_log_has_not_paid() {
    let limits = Limits { driver: Some(Rate::new(10, 10)), tenant: Some(Rate::new(100, 10)), ..Limits::of_requests(100, 1 << 20) };
    let log = |fails| Arc::new(MemoryLog { fails, ..MemoryLog::default() });
    let mut ingest =
        Ingest::new(log(Some(AppendError::Overloaded)), Clock::Manual(ManualClock::new(UnixMs(NOW))), limits, Arc::new(Attention::new(1)));
    let batch = || json!((0..10).map(|number| ping(&format!("e{number}"), 57.7)).collect::<Vec<_>>()).to_string();
    for _ in 0..3 {
        assert!(matches!(submit(&ingest, MediaType::Json, batch()), Err(Refused::Log(AppendError::Overloaded))), "never a limit");
    }
    ingest.log = log(None);
    assert!(submit(&ingest, MediaType::Json, batch()).is_ok());
    assert!(matches!(submit(&ingest, MediaType::Json, json!([ping("more", 57.7)]).to_string()), Err(Refused::Limited(_))), "what was stored is paid");
}
