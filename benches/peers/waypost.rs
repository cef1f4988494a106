//! Requests to Waypost as bytes, and what of its answers is counted. Never starts it: that is `support`'s.

use prost::Message as _;
use waypost_sim::event::{Format, encode};
use waypost_sim::wire::{BatchResult, Event};

use super::support::Server;

/// The address of a running server, and the key to it, as every request needs them.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    pub(crate) host: String,
    key: String,
}

impl Door {
    pub(crate) fn of(server: &Server) -> Self {
        Self { host: server.url.trim_start_matches("http://").to_owned(), key: server.key.clone() }
    }

    pub(crate) fn post(&self, events: &[Event], format: Format) -> Vec<u8> {
        let (body, kind) = (encode(events, format, 0), format.content_type());
        let (host, key, length) = (&self.host, &self.key, body.len());
        let head = format!(
            "POST /v1/events HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\nContent-Type: {kind}\r\nAccept: {kind}\r\nContent-Length: {length}\r\n\r\n"
        );
        [head.into_bytes(), body].concat()
    }

    pub(crate) fn get(&self, path: &str, accept: &str) -> Vec<u8> {
        let (host, key) = (&self.host, &self.key);
        format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\nAccept: {accept}\r\n\r\n").into_bytes()
    }
}

/// Reads what is counted from an answer's body.
pub(crate) type Count = fn(&[u8]) -> Result<u64, String>;

/// Events of a batch that were taken.
#[expect(clippy::unnecessary_wraps, reason = "it is a `Count`")]
pub(crate) fn accepted_json(body: &[u8]) -> Result<u64, String> {
    Ok(occurrences(body, b"\"accepted\""))
}

pub(crate) fn accepted_proto(body: &[u8]) -> Result<u64, String> {
    let answer = BatchResult::decode(body).map_err(|error| error.to_string())?;
    Ok(answer.results.iter().filter(|result| result.status == "accepted").count() as u64)
}

/// Features of a collection.
#[expect(clippy::unnecessary_wraps, reason = "it is a `Count`")]
pub(crate) fn features(body: &[u8]) -> Result<u64, String> {
    Ok(occurrences(body, b"\"type\":\"Feature\""))
}

/// Ids of a page of deliveries in Protobuf; nothing else of it is decoded, as nothing else of the others' answers is.
pub(crate) fn ids(mut page: &[u8]) -> Result<u64, String> {
    const ID: u32 = 3;
    let mut found = 0;
    while !page.is_empty() {
        let (field, kind) = prost::encoding::decode_key(&mut page).map_err(|error| error.to_string())?;
        found += u64::from(field == ID);
        let context = prost::encoding::DecodeContext::default();
        prost::encoding::skip_field(kind, field, &mut page, context).map_err(|error| error.to_string())?;
    }
    Ok(found)
}

fn occurrences(body: &[u8], part: &[u8]) -> u64 {
    memchr::memmem::find_iter(body, part).count() as u64
}
