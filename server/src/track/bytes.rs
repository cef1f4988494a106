//! Numbers, texts, options and lists as bytes: the letters that `codec.rs` writes in. Reads never trust a length beyond the bytes that follow it.

use thiserror::Error;

use crate::model::id::{EventId, Id};
use crate::model::time::UnixMs;

/// The bytes are not what this version writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CodecError {
    #[error("ends too early")]
    Truncated,
    #[error("holds a value that is none")]
    Invalid,
}

pub fn put_u8(out: &mut Vec<u8>, value: u8) {
    out.push(value);
}

pub fn take_u8(input: &mut &[u8]) -> Result<u8, CodecError> {
    let [value] = take_array(input)?;
    Ok(value)
}

/// Seven bits a byte, the least first.
#[expect(clippy::cast_possible_truncation, reason = "masked to seven bits")]
pub fn put_u64(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub fn take_u64(input: &mut &[u8]) -> Result<u64, CodecError> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take_u8(input)?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(CodecError::Invalid)
}

pub fn take_u32(input: &mut &[u8]) -> Result<u32, CodecError> {
    u32::try_from(take_u64(input)?).ok().ok_or(CodecError::Invalid)
}

pub fn put_time(out: &mut Vec<u8>, time: UnixMs) {
    out.extend_from_slice(&time.0.to_le_bytes());
}

pub fn take_time(input: &mut &[u8]) -> Result<UnixMs, CodecError> {
    Ok(UnixMs(i64::from_le_bytes(take_array(input)?)))
}

pub fn put_str(out: &mut Vec<u8>, text: &str) {
    put_u64(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

pub fn take_str<'a>(input: &mut &'a [u8]) -> Result<&'a str, CodecError> {
    let length = usize::try_from(take_u64(input)?).ok().ok_or(CodecError::Truncated)?;
    let (text, rest) = input.split_at_checked(length).ok_or(CodecError::Truncated)?;
    *input = rest;
    std::str::from_utf8(text).ok().ok_or(CodecError::Invalid)
}

pub fn take_id<Of>(input: &mut &[u8]) -> Result<Id<Of>, CodecError> {
    Id::parse(take_str(input)?).ok().ok_or(CodecError::Invalid)
}

pub fn put_event_id(out: &mut Vec<u8>, id: &EventId) {
    match id.uuid() {
        Some(bytes) => put_uuid(out, bytes),
        None => id.with_str(|text| put_str(out, text)),
    }
}

pub fn take_event_id(input: &mut &[u8]) -> Result<EventId, CodecError> {
    match take_uuid(input)? {
        Some(bytes) => Ok(EventId::of_uuid(bytes)),
        None => EventId::parse(take_str(input)?).ok().ok_or(CodecError::Invalid),
    }
}

/// A canonical UUID as its 16 bytes after a zero; any other text begins with its length, which is never zero.
fn put_uuid(out: &mut Vec<u8>, bytes: [u8; 16]) {
    put_u8(out, 0);
    out.extend_from_slice(&bytes);
}

fn take_uuid(input: &mut &[u8]) -> Result<Option<[u8; 16]>, CodecError> {
    let Some(rest) = input.strip_prefix(&[0]) else { return Ok(None) };
    *input = rest;
    take_array(input).map(Some)
}

pub fn put_option<T>(out: &mut Vec<u8>, value: Option<T>, put: impl FnOnce(&mut Vec<u8>, T)) {
    put_u8(out, u8::from(value.is_some()));
    if let Some(value) = value {
        put(out, value);
    }
}

pub fn take_option<'a, T>(input: &mut &'a [u8], take: impl FnOnce(&mut &'a [u8]) -> Result<T, CodecError>) -> Result<Option<T>, CodecError> {
    match take_u8(input)? {
        0 => Ok(None),
        1 => take(input).map(Some),
        _ => Err(CodecError::Invalid),
    }
}

pub fn put_length(out: &mut Vec<u8>, length: usize) {
    put_u64(out, length as u64);
}

/// Every item of a list takes at least one byte, so a length beyond what is left is refused before room is made for it.
pub fn take_list<'a, T>(input: &mut &'a [u8], mut take: impl FnMut(&mut &'a [u8]) -> Result<T, CodecError>) -> Result<Vec<T>, CodecError> {
    let length = usize::try_from(take_u64(input)?).ok().filter(|length| *length <= input.len()).ok_or(CodecError::Truncated)?;
    (0..length).map(|_| take(input)).collect()
}

pub fn take_array<const N: usize>(input: &mut &[u8]) -> Result<[u8; N], CodecError> {
    let (array, rest) = input.split_first_chunk().ok_or(CodecError::Truncated)?;
    *input = rest;
    Ok(*array)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_texts_survive_and_short_input_is_refused() {
        let mut out = Vec::new();
        for value in [0, 127, 128, u64::MAX] {
            put_u64(&mut out, value);
        }
        put_str(&mut out, "göteborg");
        let mut input = out.as_slice();
        for value in [0, 127, 128, u64::MAX] {
            assert_eq!(take_u64(&mut input), Ok(value));
        }
        assert_eq!(take_str(&mut input), Ok("göteborg"));
        assert_eq!(take_u8(&mut input), Err(CodecError::Truncated));
        assert_eq!(take_str(&mut [200_u8, 1, b'x'].as_slice()), Err(CodecError::Truncated));
        assert_eq!(take_list(&mut [9_u8, 1].as_slice(), take_u8), Err(CodecError::Truncated));
    }
}
