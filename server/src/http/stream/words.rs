//! The messages of an ingest connection in both spellings, binary and JSON. Never looks into an event.

use std::borrow::Cow;

use axum::extract::ws::Message;
use bytes::Bytes;
use prost::Message as _;
use prost::encoding;
use serde_json::json;

use crate::formats::json::items;
use crate::formats::json::scan::Scanner;
use crate::formats::problem::Problem;
use crate::formats::protobuf::fields::Fields;
use crate::formats::refusal::Refusal;
use crate::formats::results;
use crate::http::events;
use crate::ingest::{Answer, MediaType};
use crate::live::Goodbye;
use crate::wire;
use crate::wire::stream_server_message::Kind;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Proto,
    Json,
}

/// What a client says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    Auth {
        token: String,
    },
    Batch(NumberedBatch),
    /// A ping, a pong, the beginning of a close: the connection lives.
    Nothing,
}

/// A batch as it came, for ingest to take apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NumberedBatch {
    pub(super) number: u64,
    pub(super) body: Bytes,
}

impl Format {
    /// Chooses among what the client offers in `Sec-WebSocket-Protocol` (comma separated): binary before JSON; none known is none.
    pub(super) fn negotiate(offered: &str) -> Option<Self> {
        let offers = |format: &Self| offered.split(',').any(|offer| offer.trim() == format.subprotocol());
        [Self::Proto, Self::Json].into_iter().find(offers)
    }

    pub(super) fn subprotocol(self) -> &'static str {
        match self {
            Self::Proto => "waypost.ingest.v1.proto",
            Self::Json => "waypost.ingest.v1.json",
        }
    }

    pub(super) fn media(self) -> MediaType {
        match self {
            Self::Proto => MediaType::Protobuf,
            Self::Json => MediaType::Json,
        }
    }

    pub(super) fn read(self, message: Message, max_bytes: usize) -> Result<Said, Goodbye> {
        let said = match (message, self) {
            (Message::Binary(bytes), _) if bytes.len() > max_bytes => return Err(Goodbye::MessageTooLarge),
            (Message::Text(text), _) if text.len() > max_bytes => return Err(Goodbye::MessageTooLarge),
            (Message::Binary(bytes), Self::Proto) => proto(&bytes).ok().flatten(),
            (Message::Text(text), Self::Json) => json_text(&Bytes::from(text)),
            (Message::Binary(_) | Message::Text(_), _) => None,
            (Message::Ping(_) | Message::Pong(_) | Message::Close(_), _) => Some(Said::Nothing),
        };
        said.ok_or(Goodbye::BadMessage)
    }

    pub(super) fn hello(self, hello: wire::StreamHello) -> Message {
        match self {
            Self::Proto => binary(Kind::Hello(hello)),
            Self::Json => text(&json!({"hello": {
                "max_unacked_batches": hello.max_unacked_batches, "max_events": hello.max_events, "max_bytes": hello.max_bytes, "ping_s": hello.ping_s,
                "server_version": hello.server_version, "server_time_ms": hello.server_time_ms,
            }})),
        }
    }

    pub(super) fn acknowledged(self, number: u64, answer: &Answer) -> Message {
        let position = answer.position.to_string();
        match self {
            Self::Json => {
                let members = results::to_json(&answer.results, events::next(answer));
                let members = String::from_utf8_lossy(&members[1..]);
                let position = if position.is_empty() { String::new() } else { format!("\"position\":\"{position}\",") };
                Message::Text(format!("{{\"ack\":{{\"number\":{number},{position}{members}}}").into())
            }
            // Written around the results as they are encoded for any other answer.
            Self::Proto => {
                let mut ack = Vec::new();
                encoding::uint64::encode(1, &number, &mut ack);
                encoding::bytes::encode(2, &results::to_protobuf(&answer.results, events::next(answer)), &mut ack);
                if !position.is_empty() {
                    encoding::string::encode(3, &position, &mut ack);
                }
                let mut message = Vec::with_capacity(ack.len() + 8);
                encoding::bytes::encode(2, &ack, &mut message);
                Message::Binary(message.into())
            }
        }
    }

    /// Nothing of the batch was stored.
    pub(super) fn refused(self, number: u64, problem: &Problem, retry_in_ms: u32) -> Message {
        match self {
            Self::Json => text(&json!({"ack": {"number": number, "refused": {
                "code": problem.code, "pointer": problem.pointer, "detail": problem.detail, "retry_in_ms": retry_in_ms,
            }}})),
            Self::Proto => {
                let Problem { code, pointer, detail, .. } = problem;
                let refused = wire::BatchRefusal { code: (*code).to_owned(), pointer: pointer.clone(), detail: detail.clone(), retry_in_ms };
                binary(Kind::Ack(wire::BatchAck { number, refused: Some(refused), ..wire::BatchAck::default() }))
            }
        }
    }

    pub(super) fn bye(self, goodbye: Goodbye, reason: &str, reconnect_in_ms: u32) -> Message {
        let code = goodbye.code();
        match self {
            Self::Json => text(&json!({"bye": {"code": code, "reason": reason, "reconnect_in_ms": reconnect_in_ms}})),
            Self::Proto => binary(Kind::Bye(wire::Bye { code: u32::from(code), reason: reason.to_owned(), reconnect_in_ms })),
        }
    }
}

fn binary(kind: Kind) -> Message {
    Message::Binary(wire::StreamServerMessage { kind: Some(kind) }.encode_to_vec().into())
}

fn text(message: &serde_json::Value) -> Message {
    Message::Text(message.to_string().into())
}

/// Read field by field, so that the events stay the bytes they are.
fn proto(message: &Bytes) -> Result<Option<Said>, Refusal> {
    let mut said = None;
    let mut fields = Fields::new(message);
    while let Some(field) = fields.read()? {
        said = match field.tag {
            1 => Some(Said::Auth { token: token(field.bytes("/auth")?)? }),
            2 => Some(Said::Batch(numbered(message, field.bytes("/batch")?)?)),
            _ => continue,
        };
    }
    Ok(said)
}

fn token(auth: &[u8]) -> Result<String, Refusal> {
    let (mut token, mut fields) = ("", Fields::new(auth));
    while let Some(field) = fields.read()? {
        if field.tag == 1 {
            token = field.text("/auth/token")?;
        }
    }
    Ok(token.to_owned())
}

fn numbered(message: &Bytes, batch: &[u8]) -> Result<NumberedBatch, Refusal> {
    let mut numbered = NumberedBatch { number: 0, body: Bytes::new() };
    let mut fields = Fields::new(batch);
    while let Some(field) = fields.read()? {
        match field.tag {
            1 => numbered.number = field.varint("/batch/number")?,
            2 => numbered.body = message.slice_ref(field.bytes("/batch/batch")?),
            _ => {}
        }
    }
    Ok(numbered)
}

/// An object with one member, `auth` or `batch`. The batch is cut off by its brackets: what is wrong inside an event stays inside it.
fn json_text(message: &Bytes) -> Option<Said> {
    let whole = message.trim_ascii();
    if !whole.starts_with(b"{") {
        return None;
    }
    let [auth] = items::members(whole, [b"\"auth\""]);
    if let Some(auth) = auth {
        let mut token = None;
        let scanner = Scanner::new(std::str::from_utf8(auth).ok()?, 1);
        let read = scanner.whole_object("", |name, scanner| {
            if name.text == "token" {
                token = scanner.string("/auth/token")?.map(Cow::into_owned);
                return Ok(());
            }
            scanner.raw().map(drop)
        });
        return read.ok().and(token).map(|token| Said::Auth { token });
    }
    let [batch] = items::members(whole, [b"\"batch\""]);
    let batch = batch.filter(|batch| batch.starts_with(b"{"))?;
    let [events, number] = items::members(batch, [b"\"events\"", b"\"number\""]);
    events.filter(|events| events.starts_with(b"["))?;
    let number = std::str::from_utf8(number?).ok()?.parse().ok()?;
    Some(Said::Batch(NumberedBatch { number, body: message.slice_ref(batch) }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, proptest};

    use super::*;
    use crate::formats::results::{ItemId, ItemResult, Outcome};
    use crate::ingest::hints::Hint;
    use crate::ingest::position::LogPosition;
    use crate::model::id::{Offset, PartitionId};

    fn answer() -> Answer {
        let (partition, offset) = (PartitionId(3), Offset(7));
        let result = ItemResult { event_id: ItemId::Claimed("e1".to_owned()), outcome: Outcome::Accepted { partition, offset } };
        let hint = Some(Hint { next_interval_ms: 5000, min_distance_m: 20 });
        Answer { results: vec![result], single: false, hint, position: LogPosition::of(8, [(partition, offset)].into_iter()) }
    }

    #[test]
    fn the_binary_subprotocol_wins_and_an_unknown_one_is_none() {
        assert_eq!(Format::negotiate("waypost.ingest.v1.json, waypost.ingest.v1.proto"), Some(Format::Proto));
        assert_eq!(Format::negotiate("x,waypost.ingest.v1.json"), Some(Format::Json));
        assert_eq!(Format::negotiate("waypost.v1.json"), None);
    }

    #[test]
    fn a_batch_is_the_very_bytes_that_ingest_takes() {
        let batch = wire::EventBatch { events: vec![wire::Event { event_id: "e1".into(), ..wire::Event::default() }], sent_at_ms: 5 };
        let kind = wire::stream_client_message::Kind::Batch(wire::NumberedBatch { number: 4, batch: Some(batch.clone()) });
        let message = wire::StreamClientMessage { kind: Some(kind) }.encode_to_vec();
        let read = Format::Proto.read(Message::Binary(message.into()), 100).expect("a message");
        assert_eq!(read, Said::Batch(NumberedBatch { number: 4, body: batch.encode_to_vec().into() }));
        let text = r#" {"batch": {"number": 4, "sent_at": 5, "events": [{"a":}, [[]]]}} "#;
        let read = Format::Json.read(Message::Text(text.into()), 100).expect("a message");
        let body = r#"{"number": 4, "sent_at": 5, "events": [{"a":}, [[]]]}"#;
        assert_eq!(read, Said::Batch(NumberedBatch { number: 4, body: body.into() }), "what is wrong inside an event stays there");
    }

    #[test]
    fn what_is_no_message_or_too_large_a_one_is_refused_by_number() {
        let auth = r#"{"auth":{"token":"wpk_1"}}"#;
        assert_eq!(Format::Json.read(Message::Text(auth.into()), 100), Ok(Said::Auth { token: "wpk_1".to_owned() }));
        for text in
            ["", "{}", "7", r#"{"batch":{"events":[]}}"#, r#"{"batch":{"number":-1,"events":[]}}"#, r#"{"batch":{"number":1}}"#, r#"{"batch":[]}"#]
        {
            assert_eq!(Format::Json.read(Message::Text(text.into()), 100), Err(Goodbye::BadMessage), "{text}");
        }
        assert_eq!(Format::Proto.read(Message::Text(auth.into()), 100), Err(Goodbye::BadMessage));
        assert_eq!(Format::Json.read(Message::Text(auth.into()), 10), Err(Goodbye::MessageTooLarge));
        assert_eq!(Format::Proto.read(Message::Binary(vec![0x12, 0x7f].into()), 10), Err(Goodbye::BadMessage));
    }

    #[test]
    fn an_acknowledgement_says_the_same_in_both_spellings() {
        let Message::Binary(bytes) = Format::Proto.acknowledged(4, &answer()) else { unreachable!("binary") };
        let Some(Kind::Ack(ack)) = wire::StreamServerMessage::decode(bytes).expect("Protobuf").kind else { unreachable!("an ack") };
        assert_eq!((ack.number, ack.position.as_str(), ack.refused), (4, "3:7", None));
        let result = ack.result.expect("a result");
        assert_eq!((result.results[0].offset, result.next_interval_ms, result.min_distance_m), (Some(7), Some(5000), Some(20)));
        let Message::Text(text) = Format::Json.acknowledged(4, &answer()) else { unreachable!("text") };
        let read: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let row = json!({"event_id": "e1", "status": "accepted", "partition": 3, "offset": 7});
        assert_eq!(read, json!({"ack": {"number": 4, "position": "3:7", "results": [row], "next_interval_ms": 5000, "min_distance_m": 20}}));
    }

    proptest! {
        #[test]
        fn no_message_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..80), text in "[{}\\[\\]\",:a-z0-9 ]{0,40}|\\{\"(auth|batch)\":\\PC{0,40}") {
            drop(Format::Proto.read(Message::Binary(bytes.into()), 1000));
            drop(Format::Json.read(Message::Text(text.into()), 1000));
        }
    }
}
