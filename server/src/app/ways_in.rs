//! What the ways in besides `POST /v1/events` are given of the settings: phones and ingest connections. Starts nothing.

use std::sync::Arc;

use crate::clock::Clock;
use crate::config::Config;
use crate::devices::Devices;
use crate::devices::phone_book::PhoneBook;
use crate::http::auth::Auth;
use crate::http::events::EventsState;
use crate::http::live::LiveState;
use crate::http::stream::{Settings, StreamState, Terms};
use crate::live::seats::Seats;

pub(super) fn phone_book(config: &Config, devices: &Arc<Devices>) -> PhoneBook {
    PhoneBook { devices: Arc::clone(devices), unlisted: config.devices, osmand_speed_unit: config.osmand_speed_unit }
}

/// Beside live views: a stop waits for the goodbyes of both, and the same pages may use them.
pub(super) fn stream(config: &Config, auth: &Arc<Auth>, events: &EventsState, live: &LiveState, clock: &Clock) -> StreamState {
    let settings = Settings { max_unacked_batches: config.max_unacked_batches, max_message_bytes: config.max_body_bytes, ..Settings::default() };
    StreamState {
        auth: Arc::clone(auth),
        ingest: Arc::clone(&events.ingest),
        seats: Seats::new(config.max_streams_per_key),
        sockets: live.sockets.clone(),
        origins: live.origins.clone(),
        terms: Terms { settings, clock: clock.clone(), shutdown: live.serving.shutdown.clone() },
    }
}
