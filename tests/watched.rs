//! The simulator's watchers against the real binary: what people who pan are shown of movers in cities, through a cut of all of them.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use waypost_sim::event::Format;
use waypost_sim::load::cities::{self, CityOptions};
use waypost_sim::movers::Movers;
use waypost_sim::watch::{self, WatchOptions};

use crate::harness::process::{Data, ServerProcess, create_key};

#[tokio::test]
async fn watchers_see_what_moves_without_a_gap_and_come_back_after_a_cut_with_what_they_held() {
    const SESSIONS: usize = 30;
    let data = Data::new();
    let key = create_key(data.path(), "bench", "admin");
    let server = ServerProcess::start(data.path());
    server.ready().await;
    let movers = Movers::new(3, 0.02, 7).expect("valid settings");
    let writing = CityOptions {
        url: server.url.clone(),
        key: key.clone(),
        movers,
        objects: 300,
        updates_per_s: 600.0,
        duration: None,
        batch: 30,
        connections: 2,
        format: Format::Proto,
        seed: 1,
    };
    let watching = WatchOptions {
        url: server.url.clone(),
        key,
        sessions: SESSIONS,
        span_deg: 0.05,
        movers,
        pan_every: Some(Duration::from_millis(500)),
        duration: Duration::from_secs(4),
        seed: 1,
        cut_after: Some(Duration::from_secs(2)),
        back_within: Duration::from_millis(500),
        line: None,
        warm_up: Duration::ZERO,
    };
    let enough = CancellationToken::new();
    let seen = async {
        let seen = watch::run(watching, CancellationToken::new()).await.expect("watched");
        enough.cancel();
        seen
    };
    let (wrote, seen) = tokio::join!(cities::run(writing, enough.clone()), seen);
    let wrote = wrote.expect("written");
    assert!(wrote.is_good() && wrote.accepted == wrote.sent && wrote.sent > 0, "{wrote:?}");
    assert!(seen.is_good(), "{seen:?}");
    assert_eq!((seen.shown, seen.reconnects), (SESSIONS as u64, SESSIONS as u64), "{seen:?}");
    assert!(seen.checksums_verified > 0 && seen.views > 0, "{seen:?}");
    // The age of a marker is told by its place; a wrong round of its circle would be half a minute and more.
    assert!(seen.ping_to_frame_samples > 0 && seen.ping_to_frame_max_ms < 20_000.0, "{seen:?}");
}
