//! The whole-system tests of the server, one module a behaviour.
