//! What an event that was refused says of itself, as far as it can be read. Proves nothing and refuses nothing.

use super::json::scan::Scanner;
use super::protobuf::fields::Fields;
use crate::model::id::MAX_ID_BYTES;

/// Empty texts were absent, could not be read or are too long for an id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    pub event_id: String,
    pub actor: String,
    pub schema_version: Option<u32>,
}

/// Reads a JSON event up to where it ceases to be one.
pub fn of_json(item: &[u8]) -> Claims {
    let text = item.utf8_chunks().next().map_or("", |chunk| chunk.valid());
    let mut claims = Claims::default();
    let read = Scanner::new(text, 0).whole_object("", |name, scanner| {
        let id = match name.text.as_ref() {
            "event_id" => &mut claims.event_id,
            "actor_id" => &mut claims.actor,
            "schema_version" => {
                claims.schema_version = scanner.raw()?.parse().ok();
                return Ok(());
            }
            _ => return scanner.raw().map(drop),
        };
        match scanner.attempt(|scanner| scanner.string("")) {
            Some((text, _raw)) => *id = as_id(text.as_deref().unwrap_or("")),
            None => drop(scanner.raw()?),
        }
        Ok(())
    });
    // What ends it may well be what the event is refused for.
    drop(read);
    claims
}

/// Reads a Protobuf event up to where it ceases to be one.
pub fn of_protobuf(item: &[u8]) -> Claims {
    let mut claims = Claims::default();
    let mut fields = Fields::new(item);
    while let Ok(Some(field)) = fields.read() {
        match field.tag {
            1 => claims.event_id = as_id(field.text("").unwrap_or("")),
            3 => claims.schema_version = field.varint("").ok().and_then(|version| u32::try_from(version).ok()),
            5 => claims.actor = as_id(field.text("").unwrap_or("")),
            _ => {}
        }
    }
    claims
}

/// The text when it is short enough for an id, else nothing.
pub fn as_id(text: &str) -> String {
    if text.len() <= MAX_ID_BYTES { text.to_owned() } else { String::new() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, proptest};
    use prost::Message as _;

    use super::*;
    use crate::wire;

    fn claims(event_id: &str, actor: &str, schema_version: Option<u32>) -> Claims {
        Claims { event_id: event_id.into(), actor: actor.into(), schema_version }
    }

    #[test]
    fn an_event_is_read_as_far_as_it_is_one() {
        for (item, expected) in [
            (br#"{"event_id":"e","actor_id":"d","schema_version":3,"payload":{}}"#.as_slice(), claims("e", "d", Some(3))),
            (br#"{"event_id":7,"actor_id":"d","schema_version":"3"}"#, claims("", "d", None)),
            (br#"{"actor_id":"d","payload":nope,"event_id":"e"}"#, claims("", "d", None)),
            (b"{\"event_id\":\"e\",\"x\":\"\xff\"}", claims("e", "", None)),
            (b"[1]", Claims::default()),
        ] {
            assert_eq!(of_json(item), expected, "{}", String::from_utf8_lossy(item));
        }
        let event = wire::Event { event_id: "e".into(), actor_id: "d".into(), schema_version: 2, ..wire::Event::default() };
        let mut bytes = event.encode_to_vec();
        bytes.push(0xff);
        assert_eq!(of_protobuf(&bytes), claims("e", "d", Some(2)));
        assert_eq!(of_json(format!("{{\"event_id\":\"{}\"}}", "x".repeat(65)).as_bytes()), Claims::default());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            drop((of_json(&bytes), of_protobuf(&bytes)));
        }
    }
}
