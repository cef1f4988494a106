//! The answer to a batch, item by item, as JSON or Protobuf. Decides nothing.
//!
//! JSON: `{"results":[{"event_id","status","code","pointer","detail","partition","offset"}]}`, what is empty left out. `status` is `accepted`,
//! `duplicate` or `rejected`; `code` is a refusal's, or `content_differs` for a duplicate that says something else.

use prost::encoding::{WireType, encode_key, encode_varint};
use serde::Serialize;
use serde::ser::{SerializeMap as _, Serializer};

use super::refusal::Refusal;
use crate::model::id::{EventId, Offset, PartitionId};

/// What became of one item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemResult {
    pub event_id: ItemId,
    pub outcome: Outcome,
}

/// What a sender calls an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ItemId {
    Event(EventId),
    /// Of an item that is no event: as the sender gave it; empty when it could not be read.
    Claimed(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Accepted {
        partition: PartitionId,
        offset: Offset,
    },
    /// The event stands in the log already, here; `content_differs`: under this id, but it says something else.
    Duplicate {
        partition: PartitionId,
        offset: Offset,
        content_differs: bool,
    },
    Rejected(Refusal),
}

impl Outcome {
    pub fn status(&self) -> &'static str {
        match self {
            Self::Accepted { .. } => "accepted",
            Self::Duplicate { .. } => "duplicate",
            Self::Rejected(_) => "rejected",
        }
    }

    pub fn code(&self) -> &'static str {
        match self {
            Self::Accepted { .. } | Self::Duplicate { content_differs: false, .. } => "",
            Self::Duplicate { content_differs: true, .. } => "content_differs",
            Self::Rejected(refusal) => refusal.code.as_str(),
        }
    }

    fn pointer(&self) -> &str {
        if let Self::Rejected(refusal) = self { &refusal.pointer } else { "" }
    }

    fn detail(&self) -> &str {
        if let Self::Rejected(refusal) = self { &refusal.detail } else { "" }
    }

    pub fn place(&self) -> Option<(PartitionId, Offset)> {
        match self {
            Self::Accepted { partition, offset } | Self::Duplicate { partition, offset, .. } => Some((*partition, *offset)),
            Self::Rejected(_) => None,
        }
    }
}

impl ItemId {
    /// Calls `f` with the id's text, without allocating.
    pub fn with_str<R>(&self, f: impl FnOnce(&str) -> R) -> R {
        match self {
            Self::Event(id) => id.with_str(f),
            Self::Claimed(text) => f(text),
        }
    }
}

impl Serialize for ItemId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.with_str(|text| serializer.serialize_str(text))
    }
}

impl Serialize for ItemResult {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut row = serializer.serialize_map(None)?;
        row.serialize_entry("event_id", &self.event_id)?;
        row.serialize_entry("status", self.outcome.status())?;
        for (name, text) in [("code", self.outcome.code()), ("pointer", self.outcome.pointer()), ("detail", self.outcome.detail())] {
            if !text.is_empty() {
                row.serialize_entry(name, text)?;
            }
        }
        if let Some((partition, offset)) = self.outcome.place() {
            row.serialize_entry("partition", &partition.0)?;
            row.serialize_entry("offset", &offset.0)?;
        }
        row.end()
    }
}

#[derive(Serialize)]
struct Rows<'a> {
    results: &'a [ItemResult],
}

pub fn to_json(results: &[ItemResult]) -> Vec<u8> {
    let mut out = Vec::with_capacity(results.len() * 110 + 16);
    serde_json::to_writer(&mut out, &Rows { results }).expect("strings and numbers are always JSON");
    out
}

/// A `BatchResult`, written field by field: an answer to a hundred events would else cost some four hundred allocations.
pub fn to_protobuf(results: &[ItemResult]) -> Vec<u8> {
    let mut out = Vec::with_capacity(results.len() * 64);
    let mut row = Vec::with_capacity(64);
    for result in results {
        row.clear();
        result.event_id.with_str(|id| put_text(&mut row, 1, id));
        put_text(&mut row, 2, result.outcome.status());
        put_text(&mut row, 3, result.outcome.code());
        put_text(&mut row, 4, result.outcome.pointer());
        if let Some((partition, offset)) = result.outcome.place() {
            if partition.0 != 0 {
                encode_key(5, WireType::Varint, &mut row);
                encode_varint(u64::from(partition.0), &mut row);
            }
            encode_key(6, WireType::Varint, &mut row);
            encode_varint(offset.0, &mut row);
        }
        put_text(&mut row, 7, result.outcome.detail());
        put_bytes(&mut out, 1, &row);
    }
    out
}

/// Proto3 leaves out what is empty.
fn put_text(out: &mut Vec<u8>, field: u32, text: &str) {
    if !text.is_empty() {
        put_bytes(out, field, text.as_bytes());
    }
}

fn put_bytes(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    encode_key(field, WireType::LengthDelimited, out);
    encode_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use serde_json::{Value, json};

    use super::super::refusal::Code;
    use super::*;
    use crate::wire;

    fn results() -> Vec<ItemResult> {
        let outcomes = [
            Outcome::Accepted { partition: PartitionId(0), offset: Offset(0) },
            Outcome::Duplicate { partition: PartitionId(7), offset: Offset(u64::MAX), content_differs: false },
            Outcome::Duplicate { partition: PartitionId(7), offset: Offset(3), content_differs: true },
            Outcome::Rejected(Refusal::new(Code::OutOfRange, "/payload/\"lat\"", "must be\na \u{1F69A}")),
        ];
        outcomes.into_iter().map(|outcome| ItemResult { event_id: ItemId::Claimed("e\"\u{7f}".to_owned()), outcome }).collect()
    }

    #[test]
    fn results_are_json_with_what_is_empty_left_out() {
        let read: Value = serde_json::from_slice(&to_json(&results())).expect("JSON");
        let id = "e\"\u{7f}";
        let expected = json!({"results": [
            {"event_id": id, "status": "accepted", "partition": 0, "offset": 0},
            {"event_id": id, "status": "duplicate", "partition": 7, "offset": u64::MAX},
            {"event_id": id, "status": "duplicate", "code": "content_differs", "partition": 7, "offset": 3},
            {"event_id": id, "status": "rejected", "code": "out_of_range", "pointer": "/payload/\"lat\"", "detail": "must be\na \u{1F69A}"},
        ]});
        assert_eq!(read, expected);
        assert_eq!(to_json(&[]), br#"{"results":[]}"#);
    }

    #[test]
    fn results_are_the_same_in_protobuf() {
        let read = wire::BatchResult::decode(to_protobuf(&results()).as_slice()).expect("Protobuf").results;
        let told: Vec<_> = read.iter().map(|result| (result.status.as_str(), result.code.as_str(), result.partition, result.offset)).collect();
        let expected = [
            ("accepted", "", 0, Some(0)),
            ("duplicate", "", 7, Some(u64::MAX)),
            ("duplicate", "content_differs", 7, Some(3)),
            ("rejected", "out_of_range", 0, None),
        ];
        assert_eq!(told, expected);
        assert_eq!((read[3].pointer.as_str(), read[3].detail.as_str()), ("/payload/\"lat\"", "must be\na \u{1F69A}"));
        let uuid = EventId::parse("0192f0c1-2345-7abc-8def-0123456789ab").expect("valid");
        let stored = ItemResult { event_id: ItemId::Event(uuid), outcome: Outcome::Accepted { partition: PartitionId(3), offset: Offset(0) } };
        let read = wire::BatchResult::decode(to_protobuf(&[stored]).as_slice()).expect("Protobuf").results;
        assert_eq!((read[0].event_id.as_str(), read[0].offset), ("0192f0c1-2345-7abc-8def-0123456789ab", Some(0)));
    }
}
