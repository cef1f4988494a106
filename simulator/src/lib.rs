//! Fleets, traces and load for a Waypost server. Speaks HTTP and WebSocket only; never depends on the server crate.
