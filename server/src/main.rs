//! The `waypost` command: arguments and exit codes. Never does work of its own.

fn main() {}
