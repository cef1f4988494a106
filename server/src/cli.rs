//! Commands that talk to a running server over REST. They see of it what any client sees, and import nothing of its stages.

pub mod arguments;
pub mod dead_letters;
