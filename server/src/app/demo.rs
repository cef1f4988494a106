//! `waypost demo`: a server and a simulated fleet in one process. The fleet speaks HTTP like any driver app.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;
use waypost_sim::fleet::{self, FleetOptions};

use super::{Server, announce};
use crate::clock::Clock;
use crate::config::Config;
use crate::http::auth::Role;
use crate::http::descriptors;
use crate::http::keys::Keys;
use crate::http::page;
use crate::model::id::TenantId;

/// How long the fleet may take over its last answers once it is told to stop.
const FLEET_STOP: Duration = Duration::from_secs(1);

/// Runs until `stop`. Without `data` everything is kept in a folder that goes with the demo.
pub async fn run(drivers: u32, listen: SocketAddr, data: Option<PathBuf>, stop: CancellationToken) -> anyhow::Result<()> {
    let temporary = std::env::temp_dir().join(format!("waypost-demo-{}", std::process::id()));
    let kept = data.is_some();
    let data = data.unwrap_or_else(|| temporary.clone());
    std::fs::create_dir_all(&data).with_context(|| format!("the data folder {} cannot be made", data.display()))?;
    let ended = Box::pin(run_in(&data, drivers, listen, stop)).await;
    if !kept && let Err(error) = std::fs::remove_dir_all(&temporary) {
        tracing::warn!(%error, folder = %temporary.display(), "the demo's folder could not be removed");
    }
    ended
}

async fn run_in(data: &Path, drivers: u32, listen: SocketAddr, stop: CancellationToken) -> anyhow::Result<()> {
    let tenant = TenantId::parse("demo").context("the demo's tenant")?;
    let keys = Keys::open(data).await?;
    let key = keys.create(&tenant, Role::Ingest, &Clock::System).await?;
    keys.close().await;
    let config = Config { data: data.to_owned(), listen, ..Config::default() };
    descriptors::prepare(config.max_connections);
    let server = Server::open(config, Clock::System).await?;
    let ticket = server.auth().ticket(tenant, Role::Dashboard)?;
    let listener = server.bind()?;
    let address = listener.local_addr()?;
    if !page::is_built() {
        announce("this binary has no dashboard in it; the address below serves the API")?;
    }
    announce(&format!("http://{address}/#ticket={ticket}"))?;
    // The fleet stops first, so that its last pings are answered before the server goes.
    let server_stop = CancellationToken::new();
    let fleet_stop = stop.child_token();
    let driving = async {
        let ended = drive(address, key, drivers, fleet_stop.clone()).await;
        server_stop.cancel();
        ended
    };
    let serving = async {
        let ended = server.run(listener, server_stop.clone()).await;
        fleet_stop.cancel();
        ended
    };
    let (server_ended, fleet_ended) = tokio::join!(serving, driving);
    server_ended?;
    fleet_ended
}

async fn drive(address: SocketAddr, key: String, drivers: u32, stop: CancellationToken) -> anyhow::Result<()> {
    let mut options = FleetOptions::new(format!("http://{address}"), key, drivers);
    options.interval = Duration::from_secs(2);
    let fleet = fleet::run(options, stop.clone());
    let too_long = async {
        stop.cancelled().await;
        tokio::time::sleep(FLEET_STOP).await;
    };
    tokio::select! {
        report = fleet => {
            report.context("the fleet could not drive")?;
        }
        () = too_long => tracing::info!("the fleet's last answers were not waited for"),
    }
    Ok(())
}
