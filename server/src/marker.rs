//! Facts re-keyed by what moves on the map: a driver with the deliveries aboard, or a delivery that waits. Estimates live here.

pub mod estimate;
pub mod join;
pub mod shard;
