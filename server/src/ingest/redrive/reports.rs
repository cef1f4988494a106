//! One letter read again as its protocol reads it: an event of ours, or a phone's report, whose driver is found now where nobody knew it. Appends nothing.

use std::borrow::Cow;

use crate::dead_letters::Kept;
use crate::dead_letters::letter::Scope;
use crate::devices::DevicesError;
use crate::devices::phone_book::PhoneBook;
use crate::formats::phone::app::App;
use crate::formats::phone::{Item, Report};
use crate::formats::postmark::Postmark;
use crate::formats::refusal::Refusal;
use crate::formats::{cloudevents, json, protobuf};
use crate::ingest::{MediaType, letters};
use crate::model::event::Event;
use crate::model::id::TenantId;

/// How a letter is to be read.
pub(super) enum Way<'a> {
    Event(MediaType),
    Body(MediaType),
    Report(App, &'a Postmark),
}

/// An event or why it is none, and what its sender calls its time.
pub(super) struct ReadAgain {
    pub(super) read: Result<Event, Refusal>,
    pub(super) time_at: Cow<'static, str>,
}

impl<'a> Way<'a> {
    /// Nothing when the letter was cut, when its protocol is none of ours, when its event stands in the log already, and when it is a phone's and is
    /// older than postmarks or came with more beside it than is kept.
    pub(super) fn of(kept: &'a Kept, raw: &[u8]) -> Option<Self> {
        let about = &kept.about;
        if about.came_bytes != raw.len() as u64 {
            return None;
        }
        match (MediaType::of(&about.protocol), about.scope) {
            (Some(media), Scope::Item) => Some(Self::Event(media)),
            (Some(media), Scope::Body) => Some(Self::Body(media)),
            (None, Scope::Item) => Some(Self::Report(App::of(about.protocol.as_str())?, about.postmark.as_deref()?)),
            (None, Scope::Body) => None,
        }
    }
}

impl ReadAgain {
    pub(super) fn event(media: MediaType, raw: &[u8], tenant: TenantId) -> Self {
        let read = if media == MediaType::Protobuf { protobuf::decode(raw, &tenant) } else { json::decode(raw, &tenant) };
        Self { read, time_at: "/event_time".into() }
    }

    /// Nothing when there is nothing to store in it, as its app is understood by now.
    pub(super) async fn report(
        book: &PhoneBook,
        app: App,
        postmark: &Postmark,
        (kept, raw): (&Kept, &[u8]),
        tenant: TenantId,
    ) -> Result<Option<Self>, DevicesError> {
        if app == App::CloudEvents {
            let (read, _claims) = postmark.manner.cloud_event(raw, &tenant, kept.about.received);
            return Ok(Some(Self { read, time_at: cloudevents::TIME_AT.into() }));
        }
        let heard = postmark.manner.report(app, raw, book.osmand_speed_unit);
        let Some(Item { device, read, .. }) = heard.items.into_iter().next() else { return Ok(None) };
        let report: Report = match read {
            Ok(Some(report)) => report,
            Ok(None) => return Ok(None),
            Err(refusal) => return Ok(Some(Self { read: Err(refusal), time_at: Cow::default() })),
        };
        let (device, time_at) = (device.unwrap_or_default(), report.words.time.clone());
        // By whom it was then, unless that was what it was refused for last.
        let then = postmark.driver().filter(|_driver| !letters::is_for_whom_it_is_by(&kept.about.reason));
        let owner = if let Some(driver) = then {
            Ok(driver)
        } else {
            let names = if device.is_empty() { postmark.unnamed.as_slice() } else { &device };
            book.owner(tenant, &kept.about.authority, app, names).await?
        };
        // By the same rule as at first: the id that is derived for a report without one is the same again.
        let named = device.first().map(String::as_str);
        let read = owner.and_then(|driver| report.event(named, &driver, &tenant, kept.about.received));
        Ok(Some(Self { read, time_at }))
    }
}
