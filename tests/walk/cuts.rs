//! Links are cut again and again, in the middle of a pan, with frames unacknowledged, twice in a row, and by a restart: at the first answer each client
//! holds what the server holds, and mostly by a difference. Never asks anew to get level.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::Value;

use super::BEYOND_THE_END;
use super::compare::{self, Empty};
use super::watcher::{Answers, Format, View, Watcher};
use super::world::World;
use crate::harness::clients::{Driver, Posted, Reader};
use crate::harness::server::TestServer;

const CUTS_A_RUN: usize = 500;
const WATCHERS: usize = 8;
/// Rounds between two looks at REST and at a session that has just come.
const LOOK_ROUND: usize = 8;
/// Rounds between two times that ten minutes pass, while everybody is away.
const OLD_AGE: usize = 25;

#[tokio::test]
async fn after_any_cut_the_first_answer_makes_a_client_hold_what_the_server_holds() {
    let seeds = match std::env::var("WAYPOST_SEED") {
        Ok(seed) => seed.parse().expect("a number")..=seed.parse().expect("a number"),
        Err(_) if std::env::var_os("WAYPOST_SOAK").is_some() => 1..=20,
        Err(_) => 1..=1,
    };
    for seed in seeds {
        let (verified, answers) = run(seed).await;
        assert!(verified > CUTS_A_RUN as u64, "{verified} checksums were verified");
        assert!(answers.by_difference > 2 * answers.anew, "a resume is answered with a difference: {answers:?}");
    }
}

/// Cuts until it is enough; returns how many checksums the clients verified, and how their resumes were answered.
async fn run(seed: u64) -> (u64, Answers) {
    let mut cuts = Cuts::open(seed).await;
    let mut round = 0;
    let mut restarted = false;
    while cuts.made < CUTS_A_RUN {
        round += 1;
        cuts.happen().await;
        cuts.look_about().await;
        let all = round % OLD_AGE == 0;
        cuts.cut(if all { 1.0 } else { 0.8 }).await;
        cuts.happen().await;
        if all {
            cuts.age().await;
        }
        if !restarted && cuts.made > CUTS_A_RUN / 2 {
            restarted = true;
            cuts = cuts.restart().await;
        }
        let agreed = cuts.come_back(round % LOOK_ROUND == 0).await;
        let why = || agreed.clone().err().unwrap_or_default();
        assert!(agreed.is_ok(), "WAYPOST_SEED={seed} in round {round}: {}\n{}", why(), cuts.told.join("\n"));
    }
    let verified = cuts.watchers.iter().map(|watcher| watcher.picture.verified).sum();
    let mut answers = Answers::default();
    cuts.watchers.iter().for_each(|watcher| answers.add(&watcher.answers));
    let Cuts { server, watchers, .. } = cuts;
    drop(watchers);
    server.stop().await;
    (verified, answers)
}

struct Cuts {
    rng: StdRng,
    server: TestServer,
    driver: Driver,
    reader: Reader,
    world: World,
    watchers: Vec<Watcher>,
    posted: Posted,
    made: usize,
    /// What was done, for whoever reads a failure.
    told: Vec<String>,
}

impl Cuts {
    async fn open(seed: u64) -> Self {
        let server = TestServer::start_with(|config| (config.view_changes_per_s, config.tick_ms) = (1000, 10)).await;
        let (mut rng, mut watchers) = (StdRng::seed_from_u64(seed), Vec::new());
        for index in 0..WATCHERS {
            let format = if index % 2 == 0 { Format::Proto } else { Format::Json };
            watchers.push(Watcher::open(&server.url, &server.dashboard, format, View::random(&mut rng)).await);
        }
        let (driver, reader) = (server.driver(), server.reader());
        Self { rng, server, driver, reader, world: World::default(), watchers, posted: Posted::default(), made: 0, told: Vec::new() }
    }

    async fn happen(&mut self) {
        for _ in 0..self.rng.random_range(1..3) {
            self.server.clock.advance(Duration::from_millis(self.rng.random_range(1..1500)));
            let events = self.world.happen(&mut self.rng, self.server.now_ms());
            self.told.push(events.iter().map(|event| format!("    {event}")).collect::<Vec<_>>().join("\n"));
            let (status, answer, position) = self.driver.post(&Value::Array(events)).await;
            assert_eq!(status, 200, "{answer}");
            self.posted.reached(position.as_deref());
        }
    }

    async fn look_about(&mut self) {
        for (index, watcher) in self.watchers.iter_mut().enumerate() {
            watcher.take_what_came().await;
            let deed = match self.rng.random_range(0..10) {
                0..=3 => {
                    let view = watcher.view().panned(&mut self.rng);
                    watcher.look(view).await
                }
                4 => {
                    let view = if self.rng.random_bool(0.5) { watcher.view().filtered(&mut self.rng) } else { View::random(&mut self.rng) };
                    watcher.look(view).await
                }
                5 => watcher.hold(),
                6 => watcher.release().await,
                _ => continue,
            };
            self.told.push(format!("watcher {index} {deed}"));
        }
    }

    /// Cuts some, and a part of them a second time before the first answer.
    async fn cut(&mut self, share: f64) {
        for (index, watcher) in self.watchers.iter_mut().enumerate() {
            if !self.rng.random_bool(share) {
                continue;
            }
            if self.rng.random_bool(0.5) {
                watcher.take_what_came().await;
            }
            self.told.push(format!("watcher {index} {}", watcher.cut()));
            self.made += 1;
            if self.rng.random_bool(0.2) {
                let told = watcher.come_back().await;
                self.told.push(format!("watcher {index} {told} and {}", watcher.cut()));
                self.made += 1;
            }
        }
    }

    /// Ten minutes pass, and what had ended leaves the map.
    async fn age(&mut self) {
        self.server.clock.advance(BEYOND_THE_END);
        self.world.forget_ended();
        self.told.push("ten minutes passed".to_owned());
        compare::rest_eventually(&self.reader, &self.world).await;
    }

    async fn restart(mut self) -> Self {
        self.server = self.server.restarted(|config| (config.view_changes_per_s, config.tick_ms) = (1000, 10)).await;
        (self.driver, self.reader) = (self.server.driver(), self.server.reader());
        self.watchers.iter_mut().for_each(|watcher| watcher.moves_to(&self.server.url));
        self.made += self.watchers.len();
        self.told.push("the server started anew".to_owned());
        self
    }

    /// Everybody comes back, and whoever was away holds at the first answer what the model says.
    async fn come_back(&mut self, looks_around: bool) -> Result<(), String> {
        // What REST shows after this is on the map, so the answers hold it.
        let position = self.posted.position();
        let (status, found) = self.reader.get("/v1/deliveries?limit=1", position.as_deref()).await;
        if status != 200 {
            return Err(format!("REST answers {status}: {found}"));
        }
        for (index, watcher) in self.watchers.iter_mut().enumerate().filter(|(_, watcher)| watcher.is_cut()) {
            let level = async {
                watcher.resume().await?;
                compare::model(watcher, &self.world, Empty::Forgiven)
            };
            let agreed = level.await;
            agreed.map_err(|difference| format!("watcher {index} {}: {difference}", watcher.words()))?;
        }
        if !looks_around {
            return Ok(());
        }
        for watcher in &mut self.watchers {
            compare::rest(&self.reader, &self.world, watcher.view(), position.as_deref()).await?;
            let mut fresh = Watcher::open(&self.server.url, &self.server.dashboard, watcher.format(), watcher.view().clone()).await;
            compare::fresh(watcher, &mut fresh).await?;
        }
        Ok(())
    }
}
