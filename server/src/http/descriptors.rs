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
    if let Some(somaxconn) = std::fs::read_to_string("/proc/sys/net/core/somaxconn").ok().as_deref().and_then(too_short) {
        tracing::warn!(
            somaxconn,
            wanted = BACKLOG,
            "net.core.somaxconn cuts the queue of connections short: a reconnect storm will be refused in part"
        );
    }
}

/// What the kernel makes of a queue of `BACKLOG`, when that is less.
fn too_short(somaxconn: &str) -> Option<u32> {
    somaxconn.trim().parse().ok().filter(|queue| *queue < BACKLOG)
}

/// How many connections the process has descriptors for.
pub fn places() -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    limit.map_or(usize::MAX, |limit| usize::try_from(limit.saturating_sub(RESERVED).max(16)).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_that_the_kernel_cuts_is_told() {
        assert_eq!(["128\n", "4095\n", "4096\n", "65535\n", "", "many"].map(too_short), [Some(128), Some(4_095), None, None, None, None]);
    }
}
