//! The pieces that answers written by hand are made of: texts of JSON; keys, numbers and texts of Protobuf. Knows no message.

use prost::encoding::{WireType, encode_varint, encoded_len_varint};

/// A text of JSON.
pub(super) fn put_string(out: &mut Vec<u8>, text: &str) {
    // Looks at all bytes, which is quicker than to stop at the first: hardly any text has one that is escaped.
    if text.bytes().fold(false, |escaped, byte| escaped | matches!(byte, b'"' | b'\\' | ..b' ')) {
        serde_json::to_writer(out, text).expect("a text is always JSON");
        return;
    }
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}

/// Of a text's field, with its key and length.
pub(super) fn text_len(text: &str) -> usize {
    if text.is_empty() { 0 } else { 1 + encoded_len_varint(text.len() as u64) + text.len() }
}

/// Proto3 leaves out what is empty.
pub(super) fn put_text(out: &mut Vec<u8>, field: u8, text: &str) {
    if !text.is_empty() {
        put_key(out, field, WireType::LengthDelimited);
        put_varint(out, text.len() as u64);
        out.extend_from_slice(text.as_bytes());
    }
}

/// Of a field below 16: one byte.
pub(super) fn put_key(out: &mut Vec<u8>, field: u8, wire: WireType) {
    out.push(field << 3 | wire as u8);
}

pub(super) fn put_varint(out: &mut Vec<u8>, number: u64) {
    match u8::try_from(number) {
        Ok(byte @ ..0x80) => out.push(byte),
        _ => encode_varint(number, out),
    }
}

/// A `sint32` as the varint that stands for it: small numbers of either sign stay small.
pub fn zigzag(number: i32) -> u64 {
    u64::from((number << 1 ^ number >> 31).cast_unsigned())
}
