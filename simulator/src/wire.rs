//! The wire schema as generated from the server's `proto/waypost.proto`. Nothing is added here.

#![allow(
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    unreachable_pub,
    unused_qualifications,
    reason = "generated code is not ours to lint"
)]

include!(concat!(env!("OUT_DIR"), "/waypost.v1.rs"));
