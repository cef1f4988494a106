//! The tests of the whole server, one module a behaviour.

mod tidy;
