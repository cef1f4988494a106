//! Redis from Debian, started for the bench alone, and its commands as bytes. Never uses a server that runs already.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::process::{Process, free_port};
use super::wire::{Wire, command};

/// How it keeps what it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keeping {
    /// In memory alone.
    Memory,
    /// In its append-only file, synced before each answer.
    FsyncAlways,
}

#[derive(Debug)]
pub(crate) struct Redis {
    pub(crate) process: Process,
    pub(crate) host: String,
    _folder: tempfile::TempDir,
}

/// The key of the positions.
pub(crate) const GEO: &[u8] = b"positions";
const READY_WITHIN: Duration = Duration::from_secs(20);

impl Redis {
    /// Settings besides these are its own defaults, but that it neither takes snapshots nor rewrites its file while it is measured: both would only cost it.
    pub(crate) async fn start(keeping: Keeping) -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let port = free_port();
        let appending = match keeping {
            Keeping::Memory => "appendonly no\n",
            Keeping::FsyncAlways => "appendonly yes\nappendfsync always\nauto-aof-rewrite-percentage 0\n",
        };
        let dir = folder.path().display();
        let config = format!("bind 127.0.0.1\nport {port}\ndir {dir}\ndaemonize no\nlogfile {dir}/redis.log\nsave \"\"\n{appending}");
        let file = folder.path().join("redis.conf");
        fs::write(&file, config).map_err(|error| error.to_string())?;
        let child = Command::new("redis-server").arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = child.map_err(|error| format!("redis-server does not start: {error} (Debian: apt-get install redis-server)"))?;
        let mut redis = Self { process: Process::new(child, Signal::KILL), host: format!("127.0.0.1:{port}"), _folder: folder };
        redis.ready().await?;
        Ok(redis)
    }

    async fn ready(&mut self) -> Result<(), String> {
        let started = Instant::now();
        loop {
            if let Ok(mut wire) = Wire::open(&self.host).await
                && wire.resp(b"PING\r\n", 1).await.is_ok()
            {
                return Ok(());
            }
            if let Some(ended) = self.process.ended() {
                return Err(format!("redis-server ended: {ended}"));
            }
            if started.elapsed() > READY_WITHIN {
                return Err("redis-server did not answer".to_owned());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) fn version() -> Option<String> {
        let output = Command::new("redis-server").arg("--version").output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        Some(text.split_whitespace().find_map(|word| word.strip_prefix("v="))?.to_owned())
    }

    /// How many positions it holds.
    pub(crate) async fn count(&self) -> Result<u64, String> {
        let mut wire = Wire::open(&self.host).await.map_err(|error| error.to_string())?;
        let mut card = Vec::new();
        command(&[b"ZCARD", GEO], &mut card);
        wire.resp(&card, 1).await?;
        let text = String::from_utf8_lossy(wire.answer()).into_owned();
        text.trim().trim_start_matches(':').parse().map_err(|error| format!("{text}: {error}"))
    }
}

/// One `GEOADD` of all these: the fastest way that Redis has for a batch.
pub(crate) fn geoadd<'a>(places: impl Iterator<Item = (&'a str, f64, f64)>) -> Vec<u8> {
    let mut words: Vec<Vec<u8>> = vec![b"GEOADD".to_vec(), GEO.to_vec()];
    for (id, lng, lat) in places {
        words.extend([format!("{lng:.7}").into_bytes(), format!("{lat:.7}").into_bytes(), id.as_bytes().to_vec()]);
    }
    let mut out = Vec::new();
    command(&words.iter().map(Vec::as_slice).collect::<Vec<_>>(), &mut out);
    out
}

/// An `XADD` for each event, pipelined; the stream keeps about the last million.
pub(crate) fn xadd<'a>(events: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    for event in events {
        command(&[b"XADD", b"events", b"MAXLEN", b"~", b"1000000", b"*", b"event", event], &mut out);
    }
    out
}

/// A `GEOSEARCH` that answers ids and coordinates of a box in degrees. Redis measures a box in kilometres on a sphere of its own radius, the width at each
/// position's own latitude.
pub(crate) fn geosearch([west, south, east, north]: [f64; 4]) -> Vec<u8> {
    const RADIUS_KM: f64 = 6_372.797_560_856;
    let (lng, lat) = (f64::midpoint(west, east), f64::midpoint(south, north));
    let height_km = (north - south).to_radians() * RADIUS_KM;
    // The great circle between two places of one latitude, as Redis has it.
    let width_km = 2.0 * RADIUS_KM * (lat.to_radians().cos() * ((east - west).to_radians() / 2.0).sin()).asin();
    let words = [lng, lat, width_km, height_km].map(|number| format!("{number:.9}"));
    let [lng, lat, width, height] = words.each_ref().map(String::as_bytes);
    let mut out = Vec::new();
    command(&[b"GEOSEARCH", GEO, b"FROMLONLAT", lng, lat, b"BYBOX", width, height, b"km", b"WITHCOORD"], &mut out);
    out
}

/// Whether there is one to start.
pub(crate) fn is_there() -> bool {
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|folder| Path::new(&folder).join("redis-server").is_file()))
}
