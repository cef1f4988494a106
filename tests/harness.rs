//! What the tests of the whole server share: servers in this process and as processes, clients whose every read has a deadline. Holds no test.

pub(crate) mod clients;
pub(crate) mod events;
pub(crate) mod logged;
pub(crate) mod phone;
pub(crate) mod process;
pub(crate) mod server;
pub(crate) mod tokens;
pub(crate) mod uplink;

use std::time::{Duration, Instant};

pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Asks again until there is an answer, or fails at the deadline.
pub(crate) async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "{what}: not within {DEADLINE:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
