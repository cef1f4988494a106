//! The `waypost-sim` command: arguments and exit codes. Never does work of its own.

fn main() {}
