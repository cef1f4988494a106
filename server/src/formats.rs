//! Foreign bytes to and from the model. Pure: no clock, no IO, no state.

pub mod checks;
pub mod claims;
pub mod geojson;
pub mod json;
pub mod problem;
pub mod protobuf;
pub mod refusal;
pub mod results;
pub mod scope;
pub mod time;
