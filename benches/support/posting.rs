//! Fills a server with events as fast as it takes them. Measures nothing.

use std::sync::Arc;

use indicatif::ProgressBar;
use waypost_sim::check::Scope;
use waypost_sim::client::Target;
use waypost_sim::event::Format;
use waypost_sim::load::{self, LoadOptions, Workload};
use waypost_sim::wire::Event;

use super::Server;

/// Posts all of these in batches of `batch`; each has to be accepted.
pub(crate) fn post(server: &Server, events: usize, batch: usize, all: impl Iterator<Item = Event>) {
    let options = LoadOptions {
        url: server.url.clone(),
        key: server.key.clone(),
        check_key: None,
        events,
        batch,
        format: Format::Proto,
        connections: 16,
        drivers: 1,
        seed: 0,
        rate: None,
        check: Scope::default(),
    };
    server.ready();
    let work = Arc::new(Workload::of(all, batch, Format::Proto));
    let target = Target::new(&server.url, &server.key).expect("an address");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let sent = runtime.block_on(load::send(&target, &work, 0..work.bodies(), &options, &ProgressBar::hidden())).expect("sent");
    assert_eq!(sent.tally.accepted, events as u64, "every event is accepted: {:?}", sent.tally.last_error);
}
