//! What was refused, as letters to be kept. It is found by taking the body apart a second time, so that what is accepted pays nothing for it.

use std::borrow::Cow;

use crate::dead_letters::letter::{Fault, Letter, Protocol, Reason, Scope};
use crate::formats::claims::{self, Claims};
use crate::formats::json::MAX_EVENT_BYTES;
use crate::formats::json::items::{self, Item, Items};
use crate::formats::phone::app::App;
use crate::formats::postmark::Postmark;
use crate::formats::protobuf;
use crate::formats::refusal::{Code, Refusal};
use crate::formats::results::{ItemResult, Outcome};
use crate::ingest::body::BodyError;
use crate::ingest::{MediaType, Refused, Request};
use crate::model::id::{DriverId, TenantId};
use crate::model::scope::Scope as Authority;
use crate::model::time::UnixMs;

/// Whose body it is, how it is written and when it came.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    pub(super) tenant: TenantId,
    /// What its sender may speak of.
    pub(super) authority: Authority,
    pub(super) media: MediaType,
    pub(super) received: UnixMs,
}

/// The same of what the protocol of an app has read.
#[derive(Clone, Debug)]
pub(super) struct ReadOrigin {
    pub(super) tenant: TenantId,
    pub(super) authority: Authority,
    pub(super) app: App,
    pub(super) received: UnixMs,
    pub(super) postmark: Postmark,
}

/// Why an item is to be kept; nothing when it stands in the log or was let go by policy.
pub(super) fn fault(outcome: &Outcome) -> Option<Fault<'_>> {
    match outcome {
        Outcome::Rejected(refusal) => Some(fault_of(refusal)),
        Outcome::Duplicate { content_differs: true, .. } => {
            Some(Fault { reason: Reason::CONTENT_DIFFERS, pointer: "", detail: "another event stands in the log under this id" })
        }
        Outcome::Accepted { .. } | Outcome::Duplicate { content_differs: false, .. } | Outcome::Shed(_) => None,
    }
}

pub(super) fn fault_of(refusal: &Refusal) -> Fault<'_> {
    Fault { reason: Reason::of(refusal.code.as_str()), pointer: &refusal.pointer, detail: &refusal.detail }
}

/// Whether something was refused because its sender may not speak for whom it is by, or not of what it speaks of.
pub(super) fn is_for_whom_it_is_by(reason: &Reason) -> bool {
    reason.as_str() == Code::OutOfScope.as_str()
}

/// Names the time at fault as its sender does.
pub(super) fn word(outcome: &mut Outcome, time_at: Cow<'static, str>) {
    if let Outcome::Rejected(refusal) = outcome
        && refusal.code == Code::TimeTooFarAhead
    {
        refusal.pointer = time_at.into_owned();
    }
}

impl ReadOrigin {
    /// The body of a request that cannot be read at all, as `Origin::whole` has it.
    pub(super) fn whole(&self, body: &[u8], refused: &Refused) -> Option<Letter> {
        whole(Protocol::of(self.app.name()), refused, |protocol, fault| {
            Letter::refused(self.tenant, protocol, Scope::Body, fault, Claims::default(), body, self.received).sent_by(self.authority.clone())
        })
    }

    /// One of the items, if it is to be kept: by its `driver` or, when nobody knows him, by whom it says.
    pub(super) fn refused(&self, result: &ItemResult, driver: Option<&DriverId>, actor: &str, raw: &[u8]) -> Option<Letter> {
        let fault = fault(&result.outcome)?;
        let actor = driver.map_or_else(|| claims::as_id(actor), DriverId::to_string);
        let claims = Claims { event_id: result.event_id.with_str(claims::as_id), actor, schema_version: None };
        // One that was refused for whom it is by is by whom the phone is when it is read again.
        let driver = driver.filter(|_driver| !is_for_whom_it_is_by(&fault.reason));
        let protocol = Protocol::of(self.app.name());
        let letter = Letter::refused(self.tenant, protocol, Scope::Item, fault, claims, raw, self.received);
        Some(letter.cut_to(MAX_EVENT_BYTES).sent_by(self.authority.clone()).postmarked(self.postmark.clone().by(driver)))
    }
}

impl Origin {
    /// Those of the body's items that were refused; `results` has one for each item.
    pub(super) fn refused(&self, body: &[u8], results: &[ItemResult]) -> Vec<Letter> {
        let mut letters = Vec::new();
        let mut keep = |result: &ItemResult, raw: &[u8], claims: fn(&[u8]) -> Claims| {
            if let Some(fault) = fault(&result.outcome) {
                let raw_kept = Letter::refused(self.tenant, self.media.protocol(), Scope::Item, fault, claims(raw), raw, self.received);
                letters.push(raw_kept.cut_to(MAX_EVENT_BYTES).sent_by(self.authority.clone()));
            }
        };
        if self.media == MediaType::Protobuf {
            let items = protobuf::split(body, results.len()).unwrap_or_default();
            for (result, raw) in results.iter().zip(items.events) {
                keep(result, raw, claims::of_protobuf);
            }
            return letters;
        }
        let Ok(mut items) = self.media.open(body) else { return letters };
        for result in results {
            // It could be taken apart before, so it can be now.
            let Ok(Some(Item::Cut(raw))) = items.next(|_text| None::<((), usize)>) else { break };
            keep(result, raw, claims::of_json);
        }
        letters
    }

    /// The body of a request that cannot be read at all; nothing when it was refused whole for another reason: then it comes again.
    pub(super) fn whole(&self, request: &Request, refused: &Refused) -> Option<Letter> {
        whole(self.media.protocol(), refused, |protocol, fault| {
            Letter::refused(self.tenant, protocol, Scope::Body, fault, Claims::default(), &request.body, self.received)
                .sent_by(self.authority.clone())
        })
    }
}

/// The letter of a body of this protocol, if it is to be kept whole.
fn whole(protocol: Protocol, refused: &Refused, letter: impl FnOnce(Protocol, Fault<'_>) -> Letter) -> Option<Letter> {
    match refused {
        Refused::Malformed(refusal) => Some(letter(protocol, fault_of(refusal))),
        // What it would be when it could be unpacked is nobody's to know.
        Refused::Body(BodyError::Corrupt(packing)) => {
            let fault = Fault { reason: Reason::of("malformed_encoding"), pointer: "", detail: "cannot be unpacked" };
            Some(letter(Protocol::of(packing), fault))
        }
        _ => None,
    }
}

impl MediaType {
    pub(super) fn protocol(self) -> Protocol {
        match self {
            Self::Json => Protocol::JSON,
            Self::NdJson => Protocol::NDJSON,
            Self::Protobuf => Protocol::PROTOBUF,
        }
    }

    /// How letters of `protocol` are read again; nothing when that cannot be done here.
    pub(super) fn of(protocol: &Protocol) -> Option<Self> {
        [Self::Json, Self::NdJson, Self::Protobuf].into_iter().find(|media| media.protocol() == *protocol)
    }

    /// Opens a body that is text.
    fn open(self, body: &[u8]) -> Result<Items<'_>, Refusal> {
        if self == Self::NdJson { Ok(items::open_lines(body)) } else { items::open(body) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, prop_assert_eq, proptest};

    use super::*;
    use crate::formats::results::ItemId;
    use crate::model::id::{Offset, PartitionId};

    /// What an array may hold between two commas, and a line: JSON or nearly.
    const ITEMS: [&[u8]; 8] =
        [b"{}", b"{\"event_id\":\"e\",\"a\":[\"],\\\"\"]}", b"7", b"nul", b"[1,[2]]", b"{\"x\":\"\xff\"}", b"\"a,b\"", b"{\"y\" : }"];

    proptest! {
        #[test]
        fn of_any_body_exactly_the_refused_items_become_letters(
            drawn in prop::collection::vec((0..ITEMS.len(), 0_u8..3), 1..20),
            media in prop::sample::select(vec![MediaType::Json, MediaType::NdJson, MediaType::Protobuf]),
            spaced in any::<bool>(),
        ) {
            let refusal = Refusal::new(Code::OutOfRange, "/payload", "why");
            let outcome = |kind| match kind {
                0 => Outcome::Rejected(refusal.clone()),
                1 => Outcome::Duplicate { partition: PartitionId(1), offset: Offset(2), content_differs: true },
                _ => Outcome::Accepted { partition: PartitionId(1), offset: Offset(3) },
            };
            let results: Vec<ItemResult> =
                drawn.iter().map(|(_, kind)| ItemResult { event_id: ItemId::Claimed(String::new()), outcome: outcome(*kind) }).collect();
            let items: Vec<&[u8]> = drawn.iter().map(|(item, _)| ITEMS[*item]).collect();
            let body = match media {
                MediaType::NdJson => items.join(if spaced { b" \r\n\n".as_slice() } else { b"\n" }),
                MediaType::Json => [b"[".as_slice(), &items.join(if spaced { b" ,\n ".as_slice() } else { b"," }), b"]"].concat(),
                MediaType::Protobuf => {
                    let mut body = Vec::new();
                    for item in &items {
                        protobuf::fields::keep_nested(1, item, &mut body);
                    }
                    body
                }
            };
            let origin = Origin { tenant: TenantId::parse("acme").expect("valid"), authority: Authority::default(), media, received: UnixMs(5) };
            let letters = origin.refused(&body, &results);
            let told: Vec<(&[u8], &str)> = letters.iter().map(|letter| (letter.raw.as_slice(), letter.about.reason.as_str())).collect();
            let reasons = ["out_of_range", "content_differs"];
            let expected: Vec<(&[u8], &str)> =
                drawn.iter().filter(|(_, kind)| *kind < 2).map(|(item, kind)| (ITEMS[*item], reasons[usize::from(*kind)])).collect();
            prop_assert_eq!(told, expected);
        }
    }
}
