//! What is known of every delivery and driver: facts folded from the log, one single-writer actor a partition. Never estimates, and never reads a clock.

pub mod checkpoint;
pub mod clock_keeper;
pub mod coordinator;
pub mod dealer;
pub mod due_times;
pub mod partition;

pub mod snapshot;
pub mod state;
pub mod view;

pub mod bits;
pub mod bytes;
pub mod codec;
pub mod delivery;
pub mod driver;
pub mod duty;
pub mod expiry;
mod overview;
pub mod parking;
pub mod piece;
pub mod ping;
pub mod roster;
pub mod said;
pub mod status;
mod telling;

#[cfg(test)]
mod fault;
#[cfg(test)]
pub(crate) mod sample;
