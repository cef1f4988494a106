//! The answer to a batch, item by item, as JSON or Protobuf. Decides nothing.
//!
//! JSON: `{"results":[{"event_id","status","code","pointer","detail","partition","offset"}]}`, what is empty left out. `status` is `accepted`,
//! `duplicate` or `rejected`; `code` is a refusal's, or `content_differs` for a duplicate that says something else.

use prost::Message as _;
use serde::Serialize;

use super::refusal::Refusal;
use crate::model::id::{Offset, PartitionId};
use crate::wire;

/// What became of one item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemResult {
    /// As the sender gave it; empty when it could not be read.
    pub event_id: String,
    pub outcome: Outcome,
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

    pub fn place(&self) -> Option<(PartitionId, Offset)> {
        match self {
            Self::Accepted { partition, offset } | Self::Duplicate { partition, offset, .. } => Some((*partition, *offset)),
            Self::Rejected(_) => None,
        }
    }
}

#[derive(Serialize)]
struct Row<'a> {
    event_id: &'a str,
    status: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    code: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pointer: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    partition: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
}

#[derive(Serialize)]
struct Rows<'a> {
    results: Vec<Row<'a>>,
}

pub fn to_json(results: &[ItemResult]) -> Vec<u8> {
    let results = results.iter().map(row).collect();
    serde_json::to_vec(&Rows { results }).expect("strings and numbers are always JSON")
}

pub fn to_protobuf(results: &[ItemResult]) -> Vec<u8> {
    let result = |result: &ItemResult| {
        let row = row(result);
        wire::ItemResult {
            event_id: row.event_id.into(),
            status: row.status.into(),
            code: row.code.into(),
            pointer: row.pointer.into(),
            partition: row.partition.map_or(0, u32::from),
            offset: row.offset,
            detail: row.detail.into(),
        }
    };
    wire::BatchResult { results: results.iter().map(result).collect() }.encode_to_vec()
}

fn row(result: &ItemResult) -> Row<'_> {
    let (pointer, detail) = match &result.outcome {
        Outcome::Rejected(refusal) => (refusal.pointer.as_str(), refusal.detail.as_str()),
        _ => ("", ""),
    };
    let place = result.outcome.place();
    Row {
        event_id: &result.event_id,
        status: result.outcome.status(),
        code: result.outcome.code(),
        pointer,
        detail,
        partition: place.map(|(partition, _)| partition.0),
        offset: place.map(|(_, offset)| offset.0),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::refusal::Code;
    use super::*;

    fn results() -> Vec<ItemResult> {
        let outcomes = [
            Outcome::Accepted { partition: PartitionId(0), offset: Offset(0) },
            Outcome::Duplicate { partition: PartitionId(7), offset: Offset(u64::MAX), content_differs: false },
            Outcome::Duplicate { partition: PartitionId(7), offset: Offset(3), content_differs: true },
            Outcome::Rejected(Refusal::new(Code::OutOfRange, "/payload/\"lat\"", "must be\na \u{1F69A}")),
        ];
        outcomes.into_iter().map(|outcome| ItemResult { event_id: "e\"\u{7f}".to_owned(), outcome }).collect()
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
        assert_eq!(read[3].pointer, "/payload/\"lat\"");
    }
}
