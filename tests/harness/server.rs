//! The whole server in this process, on a free port, with a temporary folder and a clock that stands still until it is moved.

use tokio::net::TcpListener;
use tokio::sync::{Mutex, MutexGuard};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use waypost::app::Server;
use waypost::clock::{Clock, ManualClock};
use waypost::config::Config;
use waypost::http::auth::Role;
use waypost::http::keys::Keys;
use waypost::model::id::TenantId;
use waypost::model::time::UnixMs;

use super::clients::{Driver, Reader};
use super::{DEADLINE, eventually, logged};

/// 2026-11-24T08:30:00Z, when the clocks of these tests start.
pub(crate) const START_MS: i64 = 1_795_509_000_000;

/// The log and the metrics are the process's, so its servers run one after the other.
static ALONE: Mutex<()> = Mutex::const_new(());

pub(crate) struct TestServer {
    pub(crate) url: String,
    pub(crate) clock: ManualClock,
    pub(crate) ingest: String,
    pub(crate) dashboard: String,
    pub(crate) operator: String,
    /// Buys one session that may read.
    pub(crate) ticket: String,
    folder: tempfile::TempDir,
    stop: CancellationToken,
    running: JoinHandle<anyhow::Result<()>>,
    alone: MutexGuard<'static, ()>,
}

impl TestServer {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(settings: impl FnOnce(&mut Config)) -> Self {
        let alone = ALONE.lock().await;
        logged::collect();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let clock = ManualClock::new(UnixMs(START_MS));
        let keys = create_keys(&folder).await;
        Self::open(folder, clock, keys, alone, settings).await
    }

    /// The same data and clock under a server that started anew, at another address.
    pub(crate) async fn restarted(self, settings: impl FnOnce(&mut Config)) -> Self {
        end(&self.stop, self.running).await;
        Self::open(self.folder, self.clock, [self.ingest, self.dashboard, self.operator], self.alone, settings).await
    }

    async fn open(
        folder: tempfile::TempDir,
        clock: ManualClock,
        [ingest, dashboard, operator]: [String; 3],
        alone: MutexGuard<'static, ()>,
        settings: impl FnOnce(&mut Config),
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let mut config = Config { data: folder.path().to_owned(), partitions: 8, tick_ms: 20, ..Config::default() };
        settings(&mut config);
        let stop = CancellationToken::new();
        let server = Server::open(config, Clock::Manual(clock.clone())).await.expect("opens");
        let ticket = server.auth().ticket(TenantId::parse("acme").expect("valid"), Role::Dashboard).expect("a ticket");
        let running = spawn(server.run(listener, stop.clone()));
        let mut server = Self { url, clock, ingest, dashboard, operator, ticket, folder, stop, running, alone };
        tokio::select! {
            () = ready(&server.url) => {}
            ended = &mut server.running => panic!("run ended at its start: {ended:?}; logged: {:?}", logged::take()),
        }
        server
    }

    pub(crate) fn driver(&self) -> Driver {
        Driver::new(&self.url, &self.ingest)
    }

    /// An ingest key of another tenant.
    pub(crate) async fn key_of(&self, tenant: &str) -> String {
        self.key(tenant, Role::Ingest).await
    }

    pub(crate) fn reader(&self) -> Reader {
        Reader::new(&self.url, &self.dashboard)
    }

    /// Another key, made while the server runs.
    pub(crate) async fn key(&self, tenant: &str, role: Role) -> String {
        let keys = Keys::open(self.folder.path()).await.expect("a key store");
        let key = keys.create(&TenantId::parse(tenant).expect("valid"), role, &Clock::System).await.expect("a key");
        keys.close().await;
        key
    }

    pub(crate) fn data(&self) -> &std::path::Path {
        self.folder.path()
    }

    pub(crate) fn now_ms(&self) -> i64 {
        Clock::Manual(self.clock.clone()).now().0
    }

    /// Asserts that `run` ended well, that it left no task behind, and that nothing was logged at WARN or above.
    pub(crate) async fn stop(self) {
        self.stop_explaining(&[]).await;
    }

    /// As `stop`; lines that hold one of `explained` were meant to be logged.
    pub(crate) async fn stop_explaining(self, explained: &[&str]) {
        end(&self.stop, self.running).await;
        // Connections of clients end a moment after their server.
        let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
        eventually("no task is left", async || (tasks() == 0).then_some(())).await;
        let unexplained: Vec<_> = logged::take().into_iter().filter(|line| !explained.iter().any(|words| line.contains(words))).collect();
        assert!(unexplained.is_empty(), "logged:\n{}", unexplained.join("\n"));
        self.folder.close().expect("the folder goes");
    }
}

async fn end(stop: &CancellationToken, running: JoinHandle<anyhow::Result<()>>) {
    stop.cancel();
    let ended = tokio::time::timeout(DEADLINE, running).await.expect("run ends in time");
    ended.expect("run does not panic").expect("run ends well");
}

async fn ready(url: &str) {
    let client = reqwest::Client::new();
    let asks = async || client.get(format!("{url}/readyz")).timeout(DEADLINE).send().await.ok().filter(|answer| answer.status().is_success());
    eventually("ready", async || asks().await.map(drop)).await;
}

/// For all of `acme`.
async fn create_keys(folder: &tempfile::TempDir) -> [String; 3] {
    let keys = Keys::open(folder.path()).await.expect("a key store");
    let tenant = TenantId::parse("acme").expect("valid");
    let mut made = Vec::new();
    for role in [Role::Ingest, Role::Dashboard, Role::Operator] {
        made.push(keys.create(&tenant, role, &Clock::System).await.expect("a key"));
    }
    keys.close().await;
    made.try_into().expect("three")
}

#[expect(clippy::disallowed_methods, reason = "the server is awaited by `stop`")]
fn spawn(run: impl Future<Output = anyhow::Result<()>> + Send + 'static) -> JoinHandle<anyhow::Result<()>> {
    tokio::spawn(run)
}
