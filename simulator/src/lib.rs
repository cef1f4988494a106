//! Fleets, traces and load for a Waypost server. Speaks HTTP and WebSocket only; never depends on the server crate.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "a model of couriers turns metres, shares and milliseconds into each other all the time; every range is far inside f64 and i64"
)]

pub mod wire;

pub mod clock;
pub mod event;
pub mod geodesy;
pub mod movers;

pub mod roads;

pub mod courier;
pub mod faults;

pub mod frame;

pub mod client;

pub mod expected;
pub mod ledger;
pub mod lifecycle;

pub mod line;
pub mod live;
pub mod obedience;
pub mod preflight;

pub mod check;
pub mod report;
pub mod sender;

pub mod fleet;
pub mod load;
pub mod trace;
pub mod watch;
