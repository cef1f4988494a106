//! Processes that the bench starts for itself: on a free port, in a folder of their own, ended with it. Never touches a service of the system.

use std::fs;
use std::net::TcpListener;
use std::process::Child;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Clock ticks a second in `/proc/PID/stat`, on every Linux that we know.
const TICKS_PER_S: f64 = 100.0;
/// What a system still does after a turn is waited for this long and charged to it.
const SETTLED_WITHIN: Duration = Duration::from_secs(3);

/// Ended with this signal when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    end: Signal,
}

impl Process {
    pub(crate) fn new(child: Child, end: Signal) -> Self {
        Self { child, end }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it did.
    pub(crate) fn ended(&mut self) -> Option<String> {
        self.child.try_wait().ok().flatten().map(|status| status.to_string())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that has ended already gets no signal: its number may be another's by now.
        if self.ended().is_none() && kill_process(Pid::from_child(&self.child), self.end).is_ok() {
            drop(self.child.wait());
        }
    }
}

/// A port of 127.0.0.1 that nobody had a moment ago.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound").port()
}

/// Seconds of CPU that a process and its children used so far, in user and kernel; children that ended are counted where their parent waited for them.
pub(crate) fn cpu_s(pid: u32) -> f64 {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let children = children.split_whitespace().filter_map(|child| child.parse().ok());
    own_cpu_s(pid) + children.map(own_cpu_s).sum::<f64>()
}

fn own_cpu_s(pid: u32) -> f64 {
    // It may have ended since it was listed; then its parent has its time.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // Fields are counted from behind the name, which may hold spaces: user, kernel, and the same of children waited for.
    let fields = stat.rsplit(')').next().unwrap_or("").split_whitespace();
    fields.skip(11).take(4).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / TICKS_PER_S
}

/// The same once the process has come to rest: what it does later for what it was asked is part of what that costs.
pub(crate) async fn settled_cpu_s(pid: u32) -> f64 {
    const LOOK_EVERY: Duration = Duration::from_millis(150);
    const IDLE_S: f64 = 0.015;
    let started = Instant::now();
    let mut before = cpu_s(pid);
    while started.elapsed() < SETTLED_WITHIN {
        tokio::time::sleep(LOOK_EVERY).await;
        let now = cpu_s(pid);
        if now - before < IDLE_S {
            return now;
        }
        before = now;
    }
    before
}
