//! The tests of the whole server, one module a behaviour.

mod harness;
mod killed;
mod spine;
mod tidy;
