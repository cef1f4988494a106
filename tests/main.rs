//! The tests of the whole server, one module a behaviour.

mod access;
mod backpressure;
mod credentials;
mod dead_letters;
mod evolution;
mod harness;
mod hints;
mod hostile;
mod ingest;
mod killed;
mod limits;
mod logs;
mod metrics;
mod mutation;
mod openapi;
mod phones;
mod readiness;
mod simulated;
mod slow;
mod spine;
mod stopping;
mod streams;
mod tidy;
mod time;
mod tls;
mod walk;
