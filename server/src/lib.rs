//! Waypost: the map of the house. Modules stand floor by floor; each imports only from those below it (ARCHITECTURE.md).

pub mod app;
pub mod cli;

pub mod http;

pub mod ingest;
pub mod marker;
pub mod track;

pub mod live;
pub mod map;

pub mod log;

pub mod dead_letters;
pub mod formats;

pub mod attention;
pub mod beat;
pub mod clock;
pub mod config;
pub mod courtesy;
pub mod data_dir;
pub mod devices;
pub mod ended;
pub mod logging;
pub mod metrics;
pub mod progress;
pub mod readiness;
pub mod slots;
pub mod wire;

pub mod model;
