//! What came beside the bytes of a phone's report and is needed to read them again, as JSON. Never finds out whose a phone is.

use serde::{Deserialize, Serialize};

use super::json::MAX_EVENT_BYTES;
use super::phone::Heard;
use super::phone::app::App;
use super::scope::quoted_bytes;
use super::{cloudevents, gpslogger, osmand, overland, owntracks, traccar};
use crate::model::id::{DriverId, TenantId};
use crate::model::speed::SpeedUnit;
use crate::model::time::UnixMs;

/// The same for all reports of a request, but for the driver.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Postmark {
    pub manner: Manner,
    /// What the phone is called when its report does not say it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unnamed: Option<String>,
    /// Whose the phone was when the report came.
    #[serde(skip_serializing_if = "Option::is_none")]
    driver: Option<String>,
}

/// How a report was said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Manner {
    /// In the body, and all of it there.
    #[default]
    Body,
    /// In the query of the address.
    Query,
    /// In the body, with this query of the address beside it.
    Addressed(String),
    /// In the body, and whose it is besides.
    OwnTracks(owntracks::Origin),
    /// A `CloudEvent` in binary mode: attributes as headers, `json` when its data is to be that.
    Attributes { attributes: Vec<(String, String)>, json: bool },
}

/// What is larger is not kept: no report may be as large.
const MAX_BYTES: usize = MAX_EVENT_BYTES;

impl Postmark {
    /// Of a report by nobody that is known yet.
    pub fn of(manner: Manner, unnamed: Option<String>) -> Self {
        Self { manner, unnamed, driver: None }
    }

    /// Of a report by this driver.
    #[must_use]
    pub fn by(mut self, driver: Option<&DriverId>) -> Self {
        self.driver = driver.map(|driver| driver.as_str().to_owned());
        self
    }

    pub fn driver(&self) -> Option<DriverId> {
        self.driver.as_deref().and_then(|driver| DriverId::parse(driver).ok())
    }

    /// What it takes up when it is written down, at most.
    pub fn bytes(&self) -> usize {
        /// Braces and the members' names.
        const FRAME_BYTES: usize = 96;
        let text = |text: &Option<String>| text.as_deref().map_or(0, quoted_bytes);
        let manner = match &self.manner {
            Manner::Body | Manner::Query => 0,
            Manner::Addressed(query) => quoted_bytes(query),
            Manner::OwnTracks(origin) => text(&origin.user) + text(&origin.device) + text(&origin.login),
            Manner::Attributes { attributes, .. } => attributes.iter().map(|(name, value)| quoted_bytes(name) + quoted_bytes(value) + 4).sum(),
        };
        FRAME_BYTES + manner + text(&self.unnamed) + text(&self.driver)
    }

    /// As it is written down; nothing when it is too large for that.
    pub fn to_text(&self) -> Option<String> {
        let text = serde_json::to_string(self).expect("texts are JSON");
        Some(text).filter(|text| text.len() <= MAX_BYTES)
    }

    /// Reads what `to_text` wrote; nothing when a later version wrote more than can be read here.
    pub fn of_text(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

impl Manner {
    /// The report in these bytes of this app; `unit` is that of an `OsmAnd` speed whose own is not said.
    pub fn report(&self, app: App, raw: &[u8], unit: SpeedUnit) -> Heard {
        let (query, body) = match self {
            Self::Query => (raw, [].as_slice()),
            Self::Addressed(query) => (query.as_bytes(), raw),
            _ => ([].as_slice(), raw),
        };
        match app {
            App::OsmAnd => osmand::decode(query, body, unit),
            App::GpsLogger => gpslogger::decode(query, body),
            App::Traccar => traccar::decode(body),
            App::OwnTracks => match self {
                Self::OwnTracks(origin) => owntracks::decode(body, origin),
                _ => owntracks::decode(body, &owntracks::Origin::default()),
            },
            App::Overland => overland::decode_feature(body),
            App::CloudEvents => Heard::default(),
        }
    }

    /// The `CloudEvent` in these bytes, which came at `received`.
    pub fn cloud_event(&self, raw: &[u8], tenant: &TenantId, received: UnixMs) -> cloudevents::Read {
        let Self::Attributes { attributes, json } = self else { return cloudevents::decode(raw, tenant, received) };
        let attributes = attributes.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        cloudevents::decode_binary(attributes, *json, raw, tenant, received)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_down_is_read_as_it_was_and_what_is_not_known_is_not_guessed() {
        let origin = owntracks::Origin { user: Some("anna".to_owned()), device: None, login: Some("x\"y".to_owned()) };
        let attributes = Manner::Attributes { attributes: vec![("id".to_owned(), "ä%20".to_owned())], json: true };
        for manner in [Manner::Body, Manner::Query, Manner::Addressed("id=7&x=\"".to_owned()), Manner::OwnTracks(origin), attributes] {
            let driver = DriverId::parse("van-1").expect("valid");
            let postmark = Postmark { manner, unnamed: Some("phone".to_owned()), driver: None }.by(Some(&driver));
            let text = postmark.to_text().expect("small");
            let read = Postmark::of_text(&text).expect("reads");
            assert_eq!((read.driver(), &read), (Some(driver), &postmark), "{text}");
            assert!((text.len()..text.len() + 100).contains(&postmark.bytes()), "{text}");
        }
        assert_eq!(Postmark::of_text("{}"), Some(Postmark::default()));
        assert_eq!(Postmark::of_text(r#"{"manner":"by_pigeon"}"#), None);
        let large = Postmark { unnamed: Some("x".repeat(MAX_BYTES)), ..Postmark::default() };
        assert_eq!(large.to_text(), None);
    }

    #[test]
    fn a_query_that_looks_like_an_object_is_still_a_query() {
        let raw = br#"{"lat":57.7,"lon":11.9,"id":"7"}"#;
        let read = |manner: Manner| manner.report(App::GpsLogger, raw, SpeedUnit::Mps).items.remove(0).read;
        assert!(matches!(read(Manner::Body), Ok(Some(_))));
        assert_eq!(read(Manner::Query), Ok(None));
    }
}
