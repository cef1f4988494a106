//! Whether this node serves, judged by its flow and not by its process: recovering, ready, or failing and why. Never judges; the app tells it.

use std::time::Duration;

use parking_lot::RwLock;

/// What `/readyz` says. Told by recovery and then by the sampler; asked by every route that needs the facts.
#[derive(Debug)]
pub struct Readiness(RwLock<State>);

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum State {
    Recovering(Recovery),
    Ready(Lag),
    Failing(Failure, Lag),
}

/// How far a start has come, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// The log is checked from its last snapshot to its end, and the ids for dedup are read.
    Log,
    Checkpoint,
    /// What the log holds after the checkpoint is dealt to the facts.
    Replay {
        blocks_done: u64,
        blocks_total: u64,
    },
}

/// How far the map is behind what is durable.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Lag {
    pub records: u64,
    /// The oldest record that is not on the map yet is at most this old.
    pub age: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A write to the log failed: nothing is acknowledged any more until a restart.
    LogPoisoned,
    /// Nothing was applied for this long although something waits.
    Stalled(Duration),
}

impl Default for Readiness {
    fn default() -> Self {
        Self(RwLock::new(State::Recovering(Recovery::Log)))
    }
}

impl Readiness {
    pub fn set(&self, state: State) {
        *self.0.write() = state;
    }

    pub fn get(&self) -> State {
        *self.0.read()
    }

    /// Recovery is over, so the facts can be asked; they can also while the flow fails.
    pub fn has_recovered(&self) -> bool {
        !matches!(self.get(), State::Recovering(_))
    }
}

impl Failure {
    /// A stable word for programs.
    pub fn code(self) -> &'static str {
        match self {
            Self::LogPoisoned => "log_poisoned",
            Self::Stalled(_) => "stalled",
        }
    }
}
