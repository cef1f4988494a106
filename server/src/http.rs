//! The shell: accept loop, routes, credentials, problems, page. No domain rule lives here.

pub mod accept;
pub mod auth;
pub mod connections;
pub mod credentials;
pub mod descriptors;
pub mod events;
pub mod exchange;
pub mod gate;
pub mod grants;
pub mod guarded;
pub mod jwt;
pub mod keys;
pub mod live;
pub mod openapi;
pub mod origins;
pub mod paced;
pub mod page;
pub mod problem;
pub mod pulse;
pub mod read;
pub mod ready;
pub mod routes;
pub mod session;
pub mod shares;
pub mod stats;
pub mod tls;
