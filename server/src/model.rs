//! The words everything else is said in: ids, times, positions, events, changes. Pure; imports nothing of ours and does no IO.

pub mod change;
pub mod coarse;
pub mod device;
pub mod event;
pub mod id;
pub mod marker;
pub mod maybe;
pub mod position;
pub mod scope;
pub mod short;
pub mod speed;
pub mod status;
pub mod tags;
pub mod terms;
pub mod time;
