//! The tests of the whole server, one module a behaviour.

mod harness;
mod ingest;
mod killed;
mod simulated;
mod spine;
mod tidy;
