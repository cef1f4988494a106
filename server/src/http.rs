//! The shell: accept loop, routes, credentials, problems, page. No domain rule lives here.

pub mod accept;
pub mod auth;
pub mod credentials;
pub mod devices;
pub mod events;
pub mod gate;
pub mod grants;
pub mod jwt;
pub mod keys;
pub mod live;
pub mod openapi;
pub mod origins;
pub mod page;
pub mod path_key;
pub mod phones;
pub mod problem;
pub mod read;
pub mod ready;
pub mod routes;
pub mod session;
pub mod stats;
pub mod stream;
