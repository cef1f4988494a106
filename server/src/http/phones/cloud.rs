//! `CloudEvents` over HTTP: finds the mode and answers as `/v1/events` does, for their senders are back offices, not phones.

use axum::body::Body;
use axum::http::Response;
use axum::http::header::CONTENT_TYPE;
use bytes::Bytes;

use super::{Call, header_text};
use crate::formats::cloudevents::{self, Read};
use crate::formats::problem::Problem;
use crate::http::events;
use crate::http::problem::{self, Kind};
use crate::ingest::{Answer, ReadItem, Refused};

const BATCH: &str = "application/cloudevents-batch+json";
const STRUCTURED: &str = "application/cloudevents+json";

pub(super) async fn answer(call: &Call<'_>) -> Result<Response<Body>, Problem> {
    let (items, single) = read(call)?;
    let item = |((read, claimed_id), raw): (Read, Bytes)| ReadItem { read, claimed_id, time_at: "/time".into(), raw };
    let items = items.into_iter().map(item).collect();
    let submitted = call.ingest.submit_read(call.principal.tenant, call.principal.scope.clone(), call.protocol(), items).await;
    Ok(submitted.map_or_else(|refused| problem::respond_refused(&refused), |answer| events::word(&Answer { single, ..answer }, false)))
}

/// The events with the bytes they came as, and whether the request is one event alone.
fn read(call: &Call<'_>) -> Result<(Vec<(Read, Bytes)>, bool), Problem> {
    let media = header_text(&call.head.headers, CONTENT_TYPE.as_str()).unwrap_or_default().to_ascii_lowercase();
    let media = media.split(';').next().unwrap_or("").trim();
    let (tenant, now) = (&call.principal.tenant, call.state.clock.now());
    if media == BATCH {
        let malformed = |refusal| problem::refused(&Refused::Malformed(refusal));
        let (max, items) = (call.ingest.limits().max_events, cloudevents::open_batch(&call.body).map_err(malformed)?);
        let (events, found) = cloudevents::decode_batch(items, max, tenant, now).map_err(malformed)?;
        if found > max {
            return Err(problem::refused(&Refused::TooMany { found, max }));
        }
        return Ok((events.into_iter().map(|(read, raw)| (read, call.body.slice_ref(raw))).collect(), false));
    }
    if media == STRUCTURED {
        return Ok((vec![(cloudevents::decode(&call.body, tenant, now), call.body.clone())], true));
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
    Ok((vec![(cloudevents::decode_binary(attributes.chain(typed), json, &call.body, tenant, now), call.body.clone())], true))
}
