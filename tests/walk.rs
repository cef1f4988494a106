//! A random walk through a real socket: whatever is posted, panned, filtered, withheld or cut, in the end each client holds what the server holds.
//!
//! Three truths must agree: a model of what was posted, REST's answer, and the whole view of a session that has just come. `WAYPOST_SEED` repeats one walk.

mod compare;
mod cuts;
mod watcher;
mod world;

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::Value;

use crate::harness::clients::{Driver, Posted, Reader};
use crate::harness::server::TestServer;
use compare::Empty;
use watcher::{Format, View, Watcher};
use world::World;

const STEPS: u32 = 60;
/// Longer than an ended delivery stays on the map.
const BEYOND_THE_END: Duration = Duration::from_secs(601);

#[tokio::test]
async fn after_any_walk_each_client_holds_what_the_server_holds() {
    let seeds = match std::env::var("WAYPOST_SEED") {
        Ok(seed) => seed.parse().expect("a number")..=seed.parse().expect("a number"),
        Err(_) if std::env::var_os("WAYPOST_SOAK").is_some() => 1..=200,
        Err(_) => 1..=8,
    };
    let (mut verified, mut walks) = (0, 0);
    for seed in seeds {
        verified += walk(seed).await;
        walks += 1;
    }
    assert!(verified > 20 * walks, "{verified} checksums were verified on {walks} walks");
}

/// Walks once; returns how many checksums the clients verified.
async fn walk(seed: u64) -> u64 {
    let server = TestServer::start_with(|config| (config.view_changes_per_s, config.tick_ms) = (1000, 10)).await;
    let mut walk = Walk {
        rng: StdRng::seed_from_u64(seed),
        world: World::default(),
        driver: server.driver(),
        reader: server.reader(),
        watchers: Vec::new(),
        posted: Posted::default(),
        seed,
        step: 0,
        told: Vec::new(),
    };
    for format in [Format::Proto, Format::Json, Format::Proto, Format::Json] {
        let view = View::random(&mut walk.rng);
        walk.watchers.push(Watcher::open(&server.url, &server.dashboard, format, view).await);
    }
    for step in 0..STEPS {
        walk.step = step;
        walk.act(&server).await;
        if step % 12 == 11 {
            walk.compare(&server).await;
        }
    }
    walk.end_of_time(&server).await;
    let verified = walk.watchers.iter().map(|watcher| watcher.picture.verified).sum();
    drop(walk);
    server.stop().await;
    verified
}

struct Walk {
    rng: StdRng,
    world: World,
    driver: Driver,
    reader: Reader,
    watchers: Vec<Watcher>,
    posted: Posted,
    seed: u64,
    step: u32,
    /// What was done, for whoever reads a failure.
    told: Vec<String>,
}

impl Walk {
    async fn act(&mut self, server: &TestServer) {
        server.clock.advance(Duration::from_millis(self.rng.random_range(1..1500)));
        let events = self.world.happen(&mut self.rng, server.now_ms());
        self.post(events).await;
        let index = self.rng.random_range(0..self.watchers.len());
        let watcher = &mut self.watchers[index];
        let deed = match self.rng.random_range(0..10) {
            0..=3 => {
                let view = watcher.view().panned(&mut self.rng);
                watcher.look(view).await
            }
            4 => watcher.look(View::random(&mut self.rng)).await,
            5 => {
                let view = watcher.view().filtered(&mut self.rng);
                watcher.look(view).await
            }
            6 => watcher.hold(),
            7 => watcher.release().await,
            _ => watcher.cut(),
        };
        self.told.push(format!("{}: watcher {index} {deed}", self.step));
        for (index, watcher) in self.watchers.iter_mut().enumerate() {
            if watcher.is_cut() && self.rng.random_bool(0.2) {
                self.told.push(format!("{}: watcher {index} {}", self.step, watcher.come_back().await));
            }
            watcher.take_what_came().await;
        }
    }

    async fn post(&mut self, events: Vec<Value>) {
        let told: Vec<String> = events.iter().map(ToString::to_string).collect();
        self.told.push(format!("{}: {}", self.step, told.join("\n    ")));
        let (status, answer, position) = self.driver.post(&Value::Array(events)).await;
        let accepted = |result: &Value| result["status"] == "accepted";
        assert!(status == 200 && answer["results"].as_array().is_some_and(|results| results.iter().all(accepted)), "{answer}");
        self.posted.reached(position.as_deref());
    }

    async fn compare(&mut self, server: &TestServer) {
        let agreed = self.differs(server).await;
        let told = || self.told.join("\n");
        assert!(agreed.is_ok(), "WAYPOST_SEED={} at step {}: {}\n{}", self.seed, self.step, agreed.err().unwrap_or_default(), told());
    }

    async fn differs(&mut self, server: &TestServer) -> Result<(), String> {
        for watcher in &self.watchers {
            // What REST shows after this is on the map, so the answer to the next view holds it.
            compare::rest(&self.reader, &self.world, watcher.view(), self.posted.position().as_deref()).await?;
        }
        let world = &self.world;
        let agree = self.watchers.iter_mut().enumerate().map(async |(index, watcher)| {
            let mut fresh = Watcher::open(&server.url, &server.dashboard, watcher.format(), watcher.view().clone()).await;
            let agree = async {
                watcher.catch_up().await?;
                compare::model(watcher, world, Empty::Judged)?;
                compare::fresh(watcher, &mut fresh).await
            };
            agree.await.map_err(|difference| format!("watcher {index} {}: {difference}", watcher.words()))
        });
        futures_util::future::join_all(agree).await.into_iter().collect()
    }

    /// Ten minutes pass, and what had ended is gone from every client.
    async fn end_of_time(&mut self, server: &TestServer) {
        for level in futures_util::future::join_all(self.watchers.iter_mut().map(Watcher::catch_up)).await {
            level.expect("all are level before the clock is moved");
        }
        server.clock.advance(BEYOND_THE_END);
        self.world.forget_ended();
        self.told.push("ten minutes passed".to_owned());
        compare::rest_eventually(&self.reader, &self.world).await;
        self.compare(server).await;
    }
}
