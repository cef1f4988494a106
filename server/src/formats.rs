//! Foreign bytes to and from the model. Pure: no clock, no IO, no state.

pub mod checks;
pub mod claims;
pub mod cloudevents;
pub mod delivery_page;
pub mod geojson;
pub mod gpslogger;
pub mod json;
pub mod osmand;
pub mod overland;
pub mod owntracks;
pub mod phone;
pub mod postmark;
pub mod problem;
pub mod protobuf;
pub mod refusal;
pub mod results;
pub mod scalars;
pub mod scope;
pub mod time;
pub mod traccar;
