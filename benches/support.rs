//! What every benchmark needs: the real server as a process of its own, what it used, and a table. Never measures anything by itself.

pub(crate) mod asker;
pub(crate) mod posting;

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Clock ticks a second in `/proc/PID/stat`, on every Linux that we know.
const TICKS_PER_S: f64 = 100.0;
const READY_WITHIN: Duration = Duration::from_mins(2);

/// Live sessions that the server has, by its own word.
pub(crate) fn open_sessions(server: &Server) -> usize {
    server.metrics("waypost_live_sessions").first().map_or(0, |(_, count)| format!("{count:.0}").parse().unwrap_or(0))
}

/// `waypost serve` on a free port; killed when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) url: String,
    pub(crate) key: String,
    started: Instant,
}

impl Server {
    /// Starts on `data` with these settings (`WAYPOST_*`); returns as soon as the port is open.
    pub(crate) fn start(data: &Path, settings: &[(&str, &str)]) -> Self {
        Self::start_of(Path::new(env!("CARGO_BIN_EXE_waypost")), data, settings)
    }

    /// As `start`, of another build of the server.
    pub(crate) fn start_of(binary: &Path, data: &Path, settings: &[(&str, &str)]) -> Self {
        let key = key_of(data, "bench");
        let started = Instant::now();
        let mut child = Command::new(binary)
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(data)
            .envs(settings.iter().copied())
            .env("WAYPOST_LOG", "warn")
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("the first line");
        let url = line.trim().strip_prefix("listening on ").expect("the promised first line").to_owned();
        Self { child, url, key, started }
    }

    /// Waits for `/readyz`; returns the time since the process was started.
    pub(crate) fn ready(&self) -> Duration {
        while self.get("/readyz").is_none() {
            assert!(self.started.elapsed() < READY_WITHIN, "the server did not become ready");
            std::thread::sleep(Duration::from_millis(5));
        }
        self.started.elapsed()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Seconds of CPU used so far, in user and kernel.
    pub(crate) fn cpu_s(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("a running process");
        // Fields are counted from behind the name, which may hold spaces.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
        let ticks = |index: usize| fields[index].parse::<f64>().expect("a number");
        (ticks(11) + ticks(12)) / TICKS_PER_S
    }

    /// Resident memory in MB.
    pub(crate) fn rss_mb(&self) -> f64 {
        self.status_mb("VmRSS:")
    }

    /// The most that it ever was.
    pub(crate) fn peak_mb(&self) -> f64 {
        self.status_mb("VmHWM:")
    }

    fn status_mb(&self, name: &str) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("a running process");
        let line = status.lines().find(|line| line.starts_with(name)).expect("Linux tells it");
        line.split_whitespace().nth(1).expect("a number").parse::<f64>().expect("a number") / 1024.0
    }

    /// Every number of `/metrics` whose line starts with `name`, by what follows the name.
    pub(crate) fn metrics(&self, name: &str) -> Vec<(String, f64)> {
        let text = self.get("/metrics").unwrap_or_default();
        let line = |line: &str| {
            let (head, value) = line.strip_prefix(name)?.rsplit_once(' ')?;
            Some((head.to_owned(), value.parse().ok()?))
        };
        text.lines().filter_map(line).collect()
    }

    /// How often each bucket of a histogram was met so far: its upper bound and the count up to it.
    pub(crate) fn buckets(&self, name: &str) -> Vec<(f64, f64)> {
        let bound = |(labels, count): (String, f64)| {
            let le = labels.split("le=\"").nth(1)?.split('"').next()?;
            Some((if le == "+Inf" { f64::INFINITY } else { le.parse().ok()? }, count))
        };
        self.metrics(&format!("{name}_bucket")).into_iter().filter_map(bound).collect()
    }

    /// Records that are durable and not yet on the map, as the last sample of the server said.
    pub(crate) fn lag(&self) -> f64 {
        self.metrics("consumer_lag").first().map_or(f64::INFINITY, |(_, records)| *records)
    }

    /// SIGTERM, and the end waited for.
    pub(crate) fn stop(mut self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").arg(&pid).status().expect("kill runs").success());
        assert!(self.child.wait().expect("it ends").success(), "the server ended badly");
    }

    /// SIGKILL.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("reaped");
    }

    fn get(&self, path: &str) -> Option<String> {
        use std::io::{Read as _, Write as _};
        let host = self.url.strip_prefix("http://")?;
        let mut stream = std::net::TcpStream::connect(host).ok()?;
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        head.starts_with("HTTP/1.1 200").then(|| body.to_owned())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.child.kill().is_ok() {
            drop(self.child.wait());
        }
    }
}

/// An admin key of a tenant; works while a server runs on `data`.
pub(crate) fn key_of(data: &Path, tenant: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_waypost"))
        .args(["keys", "create", "--tenant", tenant, "--role", "admin", "--data"])
        .arg(data)
        .output()
        .expect("the binary runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

/// Below which value this share of what came between two readings of a histogram lies, interpolated inside its bucket.
pub(crate) fn quantile(before: &[(f64, f64)], after: &[(f64, f64)], share: f64) -> f64 {
    let counts: Vec<(f64, f64)> =
        after.iter().enumerate().map(|(index, (bound, count))| (*bound, count - before.get(index).map_or(0.0, |(_, count)| *count))).collect();
    let wanted = counts.last().map_or(0.0, |(_, all)| *all) * share;
    let (mut low, mut below) = (0.0, 0.0);
    for (bound, count) in counts {
        if count >= wanted && count > below {
            return if bound.is_finite() { low + (bound - low) * (wanted - below) / (count - below) } else { low };
        }
        (low, below) = (bound, count);
    }
    low
}

/// The whole number in an environment variable, or a default.
pub(crate) fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}
