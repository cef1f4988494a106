//! What the system gives the process for its connections: file descriptors and the queue of the kernel. Raises what it may and says what is short.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::http::accept::BACKLOG;

/// For the log, the key store, checkpoints and what libraries open.
const RESERVED: u64 = 512;

/// Raises the soft limit as far as it goes, and warns when that is too little for `max_connections`, or the kernel's queue too short.
pub fn prepare(max_connections: usize) {
    let held = getrlimit(Resource::Nofile);
    if held.current != held.maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: held.maximum, maximum: held.maximum })
    {
        tracing::warn!(%error, "the limit of open files cannot be raised");
    }
    let places = places();
    if places < max_connections {
        tracing::warn!(
            max_connections,
            places,
            "the limit of open files (ulimit -n) is too low for max_connections: what comes beyond it is refused"
        );
    }
    let queue = std::fs::read_to_string("/proc/sys/net/core/somaxconn").ok().and_then(|text| text.trim().parse::<u32>().ok());
    if let Some(somaxconn) = queue.filter(|queue| *queue < BACKLOG) {
        tracing::warn!(
            somaxconn,
            wanted = BACKLOG,
            "net.core.somaxconn cuts the queue of connections short: a reconnect storm will be refused in part"
        );
    }
}

/// How many connections the process has descriptors for.
pub fn places() -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    limit.map_or(usize::MAX, |limit| usize::try_from(limit.saturating_sub(RESERVED).max(16)).unwrap_or(usize::MAX))
}
