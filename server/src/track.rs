//! One actor task a partition: events become facts, in offset order, with a single writer. Estimates do not live here.

pub mod clock_keeper;
pub mod dealer;
pub mod delivery;
pub mod partition;
pub mod state;
pub mod status;
