//! The tests of the whole server, one module a behaviour.

mod access;
mod backpressure;
mod credentials;
mod evolution;
mod harness;
mod hints;
mod ingest;
mod killed;
mod limits;
mod metrics;
mod openapi;
mod phones;
mod readiness;
mod simulated;
mod spine;
mod stopping;
mod streams;
mod tidy;
mod time;
mod walk;
