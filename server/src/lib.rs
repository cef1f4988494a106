//! Waypost: the map of the house. Modules stand in the order of an event's way; each imports only from those below it (ARCHITECTURE.md).

pub mod live;

pub mod map;

pub mod log;

pub mod clock;
pub mod model;
pub mod progress;
pub mod wire;
