//! The answer to a batch, item by item, as JSON or Protobuf. Decides nothing.
//!
//! JSON: `{"results":[{"event_id","status","code","pointer","detail","partition","offset"}]}`, what is empty left out. `status` is `accepted`,
//! `duplicate`, `rejected` or `shed`; `code` is a refusal's, or `content_differs` for a duplicate that says something else, or what was let go.

use prost::encoding::{WireType, encoded_len_varint};

use super::refusal::Refusal;
use super::scalars::{put_key, put_string, put_text, put_varint, text_len};
use crate::model::id::{EventId, Offset, PartitionId};

/// What became of one item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemResult {
    pub event_id: ItemId,
    pub outcome: Outcome,
}

/// When the sender's next position is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next {
    pub interval_ms: u32,
    pub min_distance_m: u32,
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
    /// Let go by policy, because more came than could be worked off. Final: sending it again is of no use.
    Shed(Shed),
}

/// What was let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shed {
    /// A further ping of a driver within one second of event time.
    RepeatedPing,
    Ping,
    /// An event that is neither a ping nor a status.
    NoStatus,
}

impl Shed {
    pub const ALL: [Self; 3] = [Self::RepeatedPing, Self::Ping, Self::NoStatus];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::RepeatedPing => "repeated_ping",
            Self::Ping => "ping",
            Self::NoStatus => "no_status",
        }
    }
}

impl Outcome {
    pub fn status(&self) -> &'static str {
        match self {
            Self::Accepted { .. } => "accepted",
            Self::Duplicate { .. } => "duplicate",
            Self::Rejected(_) => "rejected",
            Self::Shed(_) => "shed",
        }
    }

    pub fn code(&self) -> &'static str {
        match self {
            Self::Accepted { .. } | Self::Duplicate { content_differs: false, .. } => "",
            Self::Duplicate { content_differs: true, .. } => "content_differs",
            Self::Rejected(refusal) => refusal.code.as_str(),
            Self::Shed(shed) => shed.as_str(),
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
            Self::Rejected(_) | Self::Shed(_) => None,
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

/// Written by hand, as the Protobuf answer is: an answer to a hundred events is made of the same few pieces a hundred times.
pub fn to_json(results: &[ItemResult], next: Option<Next>) -> Vec<u8> {
    let mut out = Vec::with_capacity(results.len() * 128 + 16);
    let mut number = itoa::Buffer::new();
    out.extend_from_slice(br#"{"results":["#);
    for (index, ItemResult { event_id, outcome }) in results.iter().enumerate() {
        out.extend_from_slice(if index == 0 { br#"{"event_id":"# } else { br#",{"event_id":"# });
        event_id.with_str(|id| put_string(&mut out, id));
        let texts: [(&[u8], &str); 4] = [
            (br#","status":"#, outcome.status()),
            (br#","code":"#, outcome.code()),
            (br#","pointer":"#, outcome.pointer()),
            (br#","detail":"#, outcome.detail()),
        ];
        for (name, text) in texts {
            if !text.is_empty() {
                out.extend_from_slice(name);
                put_string(&mut out, text);
            }
        }
        if let Some((partition, offset)) = outcome.place() {
            out.extend_from_slice(br#","partition":"#);
            out.extend_from_slice(number.format(partition.0).as_bytes());
            out.extend_from_slice(br#","offset":"#);
            out.extend_from_slice(number.format(offset.0).as_bytes());
        }
        out.push(b'}');
    }
    out.push(b']');
    if let Some(Next { interval_ms, min_distance_m }) = next {
        out.extend_from_slice(br#","next_interval_ms":"#);
        out.extend_from_slice(number.format(interval_ms).as_bytes());
        out.extend_from_slice(br#","min_distance_m":"#);
        out.extend_from_slice(number.format(min_distance_m).as_bytes());
    }
    out.push(b'}');
    out
}

/// A `BatchResult`, written field by field: an answer to a hundred events would else cost some four hundred allocations.
pub fn to_protobuf(results: &[ItemResult], next: Option<Next>) -> Vec<u8> {
    let mut out = Vec::with_capacity(results.len() * 72);
    for ItemResult { event_id, outcome } in results {
        event_id.with_str(|id| put_row(&mut out, id, outcome));
    }
    if let Some(Next { interval_ms, min_distance_m }) = next {
        for (field, value) in [(2, interval_ms), (3, min_distance_m)] {
            put_key(&mut out, field, WireType::Varint);
            put_varint(&mut out, u64::from(value));
        }
    }
    out
}

fn put_row(out: &mut Vec<u8>, id: &str, outcome: &Outcome) {
    let (before, detail) = ([(1, id), (2, outcome.status()), (3, outcome.code()), (4, outcome.pointer())], outcome.detail());
    let place = outcome.place().map(|(partition, offset)| (u64::from(partition.0), offset.0));
    let place_len = place.map_or(0, |(partition, offset)| {
        let partition_len = if partition == 0 { 0 } else { 1 + encoded_len_varint(partition) };
        partition_len + 1 + encoded_len_varint(offset)
    });
    let texts_len = before.iter().map(|(_, text)| text_len(text)).sum::<usize>() + text_len(detail);
    put_key(out, 1, WireType::LengthDelimited);
    put_varint(out, (texts_len + place_len) as u64);
    for (field, text) in before {
        put_text(out, field, text);
    }
    if let Some((partition, offset)) = place {
        if partition != 0 {
            put_key(out, 5, WireType::Varint);
            put_varint(out, partition);
        }
        // An offset of 0 is a place, so it is written too.
        put_key(out, 6, WireType::Varint);
        put_varint(out, offset);
    }
    put_text(out, 7, detail);
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
            Outcome::Rejected(Refusal::new(Code::TooLarge, "", "long".repeat(100))),
        ];
        outcomes.into_iter().map(|outcome| ItemResult { event_id: ItemId::Claimed("e\"\u{7f}".to_owned()), outcome }).collect()
    }

    #[test]
    fn results_are_json_with_what_is_empty_left_out() {
        let read: Value = serde_json::from_slice(&to_json(&results(), None)).expect("JSON");
        let id = "e\"\u{7f}";
        let expected = json!({"results": [
            {"event_id": id, "status": "accepted", "partition": 0, "offset": 0},
            {"event_id": id, "status": "duplicate", "partition": 7, "offset": u64::MAX},
            {"event_id": id, "status": "duplicate", "code": "content_differs", "partition": 7, "offset": 3},
            {"event_id": id, "status": "rejected", "code": "out_of_range", "pointer": "/payload/\"lat\"", "detail": "must be\na \u{1F69A}"},
            {"event_id": id, "status": "rejected", "code": "too_large", "detail": "long".repeat(100)},
        ]});
        assert_eq!(read, expected);
        assert_eq!(to_json(&[], None), br#"{"results":[]}"#);
    }

    #[test]
    fn when_the_next_position_is_wanted_is_said_beside_the_results() {
        let next = Some(Next { interval_ms: 2_000, min_distance_m: 5 });
        let read: Value = serde_json::from_slice(&to_json(&results()[..1], next)).expect("JSON");
        assert_eq!((&read["next_interval_ms"], &read["min_distance_m"]), (&json!(2_000), &json!(5)));
        let read = wire::BatchResult::decode(to_protobuf(&results(), next).as_slice()).expect("Protobuf");
        assert_eq!((read.next_interval_ms, read.min_distance_m, read.results.len()), (Some(2_000), Some(5), 5));
    }

    #[test]
    fn results_are_the_same_in_protobuf() {
        let read = wire::BatchResult::decode(to_protobuf(&results(), None).as_slice()).expect("Protobuf").results;
        let told: Vec<_> = read.iter().map(|result| (result.status.as_str(), result.code.as_str(), result.partition, result.offset)).collect();
        let expected = [
            ("accepted", "", 0, Some(0)),
            ("duplicate", "", 7, Some(u64::MAX)),
            ("duplicate", "content_differs", 7, Some(3)),
            ("rejected", "out_of_range", 0, None),
            ("rejected", "too_large", 0, None),
        ];
        assert_eq!(told, expected);
        assert_eq!(
            wire::BatchResult { results: read.clone(), ..wire::BatchResult::default() }.encode_to_vec(),
            to_protobuf(&results(), None),
            "byte for byte as prost writes it"
        );
        assert_eq!((read[3].pointer.as_str(), read[3].detail.as_str()), ("/payload/\"lat\"", "must be\na \u{1F69A}"));
        let uuid = EventId::parse("0192f0c1-2345-7abc-8def-0123456789ab").expect("valid");
        let stored = ItemResult { event_id: ItemId::Event(uuid), outcome: Outcome::Accepted { partition: PartitionId(3), offset: Offset(0) } };
        let read = wire::BatchResult::decode(to_protobuf(&[stored], None).as_slice()).expect("Protobuf").results;
        assert_eq!((read[0].event_id.as_str(), read[0].offset), ("0192f0c1-2345-7abc-8def-0123456789ab", Some(0)));
    }
}
