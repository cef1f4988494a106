//! What moves on the map: facts re-keyed by carrier, joined to one marker each, estimated, thinned and sent once a tick. Never holds up the facts and never reads a clock.

mod due;
mod entry;
pub mod eta;
pub mod fold;
pub mod join;
pub mod link;
mod load;
pub mod motion;
mod nearby;
mod rare;
pub mod seen;
pub mod settings;
pub mod shard;
pub mod significance;
mod told;
