//! `CloudEvents` over HTTP: finds the mode and answers as `/v1/events` does, for their senders are back offices, not phones.

use axum::body::Body;
use axum::http::Response;
use axum::http::header::CONTENT_TYPE;
use bytes::Bytes;

use super::{Call, header_text};
use crate::formats::cloudevents::{self, Read};
use crate::formats::postmark::Manner;
use crate::formats::problem::Problem;
use crate::http::events;
use crate::http::problem::{self, Kind};
use crate::ingest::read::{ReadItem, ReadRequest};
use crate::ingest::{Answer, Refused};

const BATCH: &str = "application/cloudevents-batch+json";
const STRUCTURED: &str = "application/cloudevents+json";

pub(super) async fn answer(call: &Call<'_>) -> Result<Result<Response<Body>, Refused>, Problem> {
    let Said { events, manner, single } = match read(call)? {
        Ok(said) => said,
        Err(refused) => return Ok(Err(refused)),
    };
    let item = |((read, claims), raw): (Read, Bytes)| ReadItem { read, claims, time_at: cloudevents::TIME_AT.into(), driver: None, raw };
    let items = events.into_iter().map(item).collect();
    let source_at = if matches!(manner, Manner::Attributes { .. }) { "/ce-source" } else { call.app.device_at() };
    let submitted = call.ingest.submit_read(ReadRequest { items, ..call.request(manner, None) }).await;
    Ok(Ok(
        submitted.map_or_else(|refused| problem::respond_refused_of(&refused, source_at), |answer| events::word(&Answer { single, ..answer }, false))
    ))
}

/// What a request says.
struct Said {
    /// With the bytes that each came as.
    events: Vec<(Read, Bytes)>,
    manner: Manner,
    /// It is one event alone.
    single: bool,
}

fn read(call: &Call<'_>) -> Result<Result<Said, Refused>, Problem> {
    let media = header_text(&call.head.headers, CONTENT_TYPE.as_str()).unwrap_or_default().to_ascii_lowercase();
    let media = media.split(';').next().unwrap_or("").trim();
    if media == BATCH {
        return Ok(Said::batch(call));
    }
    if media == STRUCTURED {
        return Ok(Ok(Said::one(call, Manner::Body)));
    }
    if !call.head.headers.contains_key("ce-specversion") {
        let detail =
            format!("Content-Type must be {STRUCTURED} or {BATCH}, or the attributes must be headers (ce-id, ce-type, ce-source, ce-specversion)");
        return Err(Kind::MediaType.says(detail));
    }
    let attributes = call.head.headers.iter().filter_map(|(name, value)| Some((name.as_str().strip_prefix("ce-")?, value.to_str().ok()?)));
    let json = media.is_empty() || media == "application/json" || media.ends_with("+json");
    // What `datacontenttype` says in the other modes, the Content-Type says here.
    let typed = (!media.is_empty()).then_some(("datacontenttype", media));
    let attributes = attributes.chain(typed).map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    Ok(Ok(Said::one(call, Manner::Attributes { attributes, json })))
}

impl Said {
    fn batch(call: &Call<'_>) -> Result<Self, Refused> {
        let (max, items) = (call.ingest.limits().max_events, cloudevents::open_batch(&call.body).map_err(Refused::Malformed)?);
        let (events, found) = cloudevents::decode_batch(items, max, &call.principal.tenant, call.received).map_err(Refused::Malformed)?;
        if found > max {
            return Err(Refused::TooMany { found, max });
        }
        let events = events.into_iter().map(|(read, raw)| (read, call.body.slice_ref(raw))).collect();
        Ok(Self { events, manner: Manner::Body, single: false })
    }

    /// Read in the way in which a letter of it would be read again.
    fn one(call: &Call<'_>, manner: Manner) -> Self {
        let read = manner.cloud_event(&call.body, &call.principal.tenant, call.received);
        Self { events: vec![(read, call.body.clone())], manner, single: true }
    }
}
