//! The real binary as a process of its own, for what only a process can show: being killed, refused, short of disk.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{DEADLINE, eventually};

/// A data folder that goes with the test, and the keys made in it.
pub(crate) struct Data {
    folder: tempfile::TempDir,
    pub(crate) ingest: String,
    pub(crate) dashboard: String,
}

impl Data {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let ingest = create_key(folder.path(), "acme", "ingest");
        let dashboard = create_key(folder.path(), "acme", "dashboard");
        Self { folder, ingest, dashboard }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }
}

pub(crate) fn create_key(data: &Path, tenant: &str, role: &str) -> String {
    keys_command(&["create", "--tenant", tenant, "--role", role], data).trim().to_owned()
}

/// `waypost keys ..`: what it says on stdout.
pub(crate) fn keys_command(arguments: &[&str], data: &Path) -> String {
    let output = Command::new(binary()).arg("keys").args(arguments).arg("--data").arg(data).output().expect("the binary runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// Runs a command of the binary to its end and returns its stdout.
pub(crate) fn command(arguments: &[&str]) -> String {
    let output = Command::new(binary()).args(arguments).output().expect("the binary runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

fn binary() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_waypost"))
}

/// The real server as a process of its own; killed when dropped.
pub(crate) struct ServerProcess {
    child: Child,
    pub(crate) url: String,
}

impl ServerProcess {
    pub(crate) fn start(data: &Path) -> Self {
        let mut command = Command::new(binary());
        command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(data);
        Self::spawn(command)
    }

    /// Under limits that a shell sets first.
    pub(crate) fn start_limited(data: &Path, limits: &str, settings: &[(&str, &str)]) -> Self {
        let mut command = Command::new("bash");
        command.arg("-c").arg(format!("{limits}; exec \"$0\" serve --listen 127.0.0.1:0 --data \"$1\"")).arg(binary()).arg(data);
        command.envs(settings.iter().copied());
        Self::spawn(command)
    }

    /// With settings, and with what it says on stderr in a file.
    pub(crate) fn start_logged(data: &Path, settings: &[(&str, &str)], log: &Path) -> Self {
        let mut command = Command::new(binary());
        let file = std::fs::File::create(log).expect("a file for the log");
        command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(data).envs(settings.iter().copied()).stderr(file);
        Self::spawn(command)
    }

    /// With what it says on stderr.
    pub(crate) fn start_listening(data: &Path) -> (Self, Said) {
        Self::start_listening_to(data, "info")
    }

    /// With what it says on stderr at this level.
    pub(crate) fn start_listening_to(data: &Path, level: &str) -> (Self, Said) {
        let mut command = Command::new(binary());
        command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(data).stderr(Stdio::piped()).env("WAYPOST_LOG", level);
        let mut server = Self::spawn(command);
        let stderr = server.child.stderr.take().expect("piped");
        let (lines, said) = tokio::sync::mpsc::channel(1000);
        std::thread::spawn(move || BufReader::new(stderr).lines().map_while(Result::ok).all(|line| lines.blocking_send(line).is_ok()));
        (server, Said(said))
    }

    fn spawn(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the binary starts");
        let stdout = child.stdout.take().expect("piped");
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).expect("the first line");
        let url = line.trim().strip_prefix("listening on ").expect("the promised first line").to_owned();
        Self { child, url }
    }

    /// Starts a server that must not start, and returns what it said.
    pub(crate) fn refused(data: &Path) -> String {
        Self::refused_with(data, &[])
    }

    pub(crate) fn refused_with(data: &Path, settings: &[(&str, &str)]) -> String {
        let mut command = Command::new(binary());
        command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(data).envs(settings.iter().copied());
        let output = command.output().expect("the binary runs");
        assert!(!output.status.success(), "it started");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// As a power cut would: no warning, no clean-up.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("reaped");
    }

    /// SIGTERM; asserts a clean end.
    pub(crate) fn stop(self) {
        self.terminate();
        self.ended();
    }

    pub(crate) fn terminate(&self) {
        self.signal("TERM");
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().expect("kill runs").success());
    }

    /// Asserts that it ended well.
    pub(crate) fn ended(mut self) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.child.try_wait().expect("waits") {
                assert!(status.success(), "the server ended with {status}");
                return;
            }
            assert!(Instant::now() < deadline, "the server did not stop");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until recovery is over.
    pub(crate) async fn ready(&self) {
        let client = reqwest::Client::new();
        eventually("ready", async || {
            let answer = client.get(format!("{}/readyz", self.url)).send().await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await;
    }
}

/// What a server says on stderr, line by line.
pub(crate) struct Said(tokio::sync::mpsc::Receiver<String>);

impl Said {
    /// All of it to the end of the process. To be awaited while it runs: who is not listened to stands still.
    pub(crate) async fn all(mut self) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(line) = self.0.recv().await {
            lines.push(line);
        }
        lines
    }

    pub(crate) async fn line_with(mut self, words: &str) -> String {
        let found = async {
            loop {
                let line = self.0.recv().await.expect("more lines");
                if line.contains(words) {
                    return line;
                }
            }
        };
        tokio::time::timeout(DEADLINE, found).await.expect("said in time")
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        if self.child.kill().is_ok() {
            drop(self.child.wait());
        }
    }
}
