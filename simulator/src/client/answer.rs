//! Reads the results that a server gives for a batch. Tolerant of members it does not know; never of a result it does not understand.

use std::borrow::Cow;

use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use serde::Deserialize;

/// When the server wants the sender's next position: after this time, once it has moved this far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next {
    pub interval_ms: u32,
    pub min_distance_m: u32,
}

/// What a server answers to a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answered {
    /// One outcome for each item, in order.
    pub outcomes: Vec<ItemOutcome>,
    pub next: Option<Next>,
}

/// What became of one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ItemOutcome {
    /// Stored for the first time. A server that stores it says where.
    Accepted {
        has_offset: bool,
    },
    Duplicate {
        content_differs: bool,
    },
    Rejected {
        code: String,
    },
    /// Let go by the server's policy, for good.
    Shed,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Answer<'a> {
    Object {
        #[serde(borrow)]
        results: Vec<Item<'a>>,
    },
    List(#[serde(borrow)] Vec<Item<'a>>),
}

#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow)]
    status: Cow<'a, str>,
    #[serde(borrow, default)]
    code: Option<Cow<'a, str>>,
    #[serde(default)]
    offset: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Plain<'a> {
    #[serde(borrow)]
    results: Vec<Item<'a>>,
    #[serde(default)]
    next_interval_ms: Option<u32>,
    #[serde(default)]
    min_distance_m: Option<u32>,
}

/// Reads an answer; the reason if the body makes no sense.
pub fn read_results(body: &[u8], protobuf: bool) -> Result<Answered, String> {
    if protobuf {
        return read_protobuf(body).ok_or_else(|| "the answer is no BatchResult".to_owned())?;
    }
    // The usual form first: an untagged enum buffers everything it reads.
    let mut next = None;
    let items = match serde_json::from_slice::<Plain<'_>>(body) {
        Ok(plain) => {
            next = next_of(plain.next_interval_ms, plain.min_distance_m);
            plain.results
        }
        Err(_) => match serde_json::from_slice::<Answer<'_>>(body).map_err(|error| error.to_string())? {
            Answer::Object { results } | Answer::List(results) => results,
        },
    };
    let outcomes = items.iter().map(|item| outcome(&item.status, item.code.as_deref().unwrap_or(""), item.offset.is_some()));
    Ok(Answered { outcomes: outcomes.collect::<Result<_, _>>()?, next })
}

fn next_of(interval_ms: Option<u32>, min_distance_m: Option<u32>) -> Option<Next> {
    interval_ms.map(|interval_ms| Next { interval_ms, min_distance_m: min_distance_m.unwrap_or(0) })
}

/// Reads a `BatchResult` for what an outcome needs and nothing more: a load generator that allocates four texts an event measures itself.
fn read_protobuf(mut body: &[u8]) -> Option<Result<Answered, String>> {
    let mut outcomes = Vec::new();
    let (mut interval_ms, mut min_distance_m) = (None, None);
    while let Some((tag, value)) = next_field(&mut body).ok()? {
        let mut item = match (tag, value) {
            (1, Value::Bytes(item)) => item,
            (2, Value::Number(number)) => {
                interval_ms = u32::try_from(number).ok();
                continue;
            }
            (3, Value::Number(number)) => {
                min_distance_m = u32::try_from(number).ok();
                continue;
            }
            _ => continue,
        };
        let (mut status, mut code, mut has_offset) = ("", "", false);
        while let Some((tag, value)) = next_field(&mut item).ok()? {
            match (tag, value) {
                (2, Value::Bytes(text)) => status = std::str::from_utf8(text).ok()?,
                (3, Value::Bytes(text)) => code = std::str::from_utf8(text).ok()?,
                (6, Value::Number(_)) => has_offset = true,
                _ => {}
            }
        }
        match outcome(status, code, has_offset) {
            Ok(outcome) => outcomes.push(outcome),
            Err(reason) => return Some(Err(reason)),
        }
    }
    Some(Ok(Answered { outcomes, next: next_of(interval_ms, min_distance_m) }))
}

enum Value<'a> {
    Bytes(&'a [u8]),
    /// A varint; of other numbers nothing is asked.
    Number(u64),
}

/// Bytes that are no message.
struct NoMessage;

/// The next field of a message; `None` is its end.
fn next_field<'a>(message: &mut &'a [u8]) -> Result<Option<(u32, Value<'a>)>, NoMessage> {
    if message.is_empty() {
        return Ok(None);
    }
    let (tag, kind) = decode_key(message).map_err(|_broken| NoMessage)?;
    if kind == WireType::LengthDelimited {
        let length = decode_varint(message).map_err(|_broken| NoMessage)?;
        let length = usize::try_from(length).map_err(|_longer_than_memory| NoMessage)?;
        let (bytes, rest) = message.split_at_checked(length).ok_or(NoMessage)?;
        *message = rest;
        return Ok(Some((tag, Value::Bytes(bytes))));
    }
    if kind == WireType::Varint {
        return Ok(Some((tag, Value::Number(decode_varint(message).map_err(|_broken| NoMessage)?))));
    }
    skip_field(kind, tag, message, DecodeContext::default()).map_err(|_broken| NoMessage)?;
    Ok(Some((tag, Value::Number(0))))
}

fn outcome(status: &str, code: &str, has_offset: bool) -> Result<ItemOutcome, String> {
    match status {
        "accepted" => Ok(ItemOutcome::Accepted { has_offset }),
        "duplicate" => Ok(ItemOutcome::Duplicate { content_differs: code == "content_differs" }),
        "rejected" => Ok(ItemOutcome::Rejected { code: if code.is_empty() { "no_code".into() } else { code.to_owned() } }),
        "shed" => Ok(ItemOutcome::Shed),
        other => Err(format!("an item has the unknown status `{other}`")),
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::wire::{BatchResult, ItemResult};

    #[test]
    fn json_and_protobuf_answers_say_the_same() {
        let json = br#"{"results":[{"event_id":"a","status":"accepted","offset":7,"new":1},
            {"event_id":"b","status":"duplicate","code":"content_differs"},{"event_id":"c","status":"rejected","code":"null_island"},
            {"event_id":"d","status":"shed","code":"ping"}]}"#;
        let item = |status: &str, code: &str, offset| ItemResult { status: status.into(), code: code.into(), offset, ..ItemResult::default() };
        let results = vec![
            item("accepted", "", Some(7)),
            item("duplicate", "content_differs", Some(3)),
            item("rejected", "null_island", None),
            item("shed", "ping", None),
        ];
        let expected = vec![
            ItemOutcome::Accepted { has_offset: true },
            ItemOutcome::Duplicate { content_differs: true },
            ItemOutcome::Rejected { code: "null_island".into() },
            ItemOutcome::Shed,
        ];
        let read = |body: &[u8], protobuf| read_results(body, protobuf).map(|answered| (answered.outcomes, answered.next));
        assert_eq!(read(json, false), Ok((expected.clone(), None)));
        let next = Some(Next { interval_ms: 2_000, min_distance_m: 5 });
        let told = BatchResult { results, next_interval_ms: Some(2_000), min_distance_m: Some(5) };
        assert_eq!(read(&told.encode_to_vec(), true), Ok((expected, next)));
        assert_eq!(read(br#"{"results":[],"next_interval_ms":2000,"min_distance_m":5}"#, false), Ok((Vec::new(), next)));
        assert_eq!(read(br#"[{"status":"accepted"}]"#, false), Ok((vec![ItemOutcome::Accepted { has_offset: false }], None)));
        assert!(read_results(br#"{"results":[{"status":"maybe"}]}"#, false).is_err());
        assert!(read_results(&[0x0a, 5, 0x12, 9], true).is_err());
        let results = vec![ItemResult { status: "maybe".into(), ..ItemResult::default() }];
        let unknown = BatchResult { results, ..BatchResult::default() };
        assert!(read_results(&unknown.encode_to_vec(), true).is_err());
    }
}
