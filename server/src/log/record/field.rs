//! Protobuf's wire form, field by field: what a record is written and read with. Knows no message.

use thiserror::Error;

use crate::model::id::InvalidId;

pub(super) const VARINT: u32 = 0;
pub(super) const FIXED64: u32 = 1;
pub(super) const BYTES: u32 = 2;
pub(super) const FIXED32: u32 = 5;

/// Why bytes are no record.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    #[error("the record ends too early")]
    Truncated,
    #[error("a number is longer than ten bytes")]
    LongNumber,
    #[error("a field has a wire type that Protobuf does not know")]
    WireType,
    #[error("a text is not UTF-8")]
    Text,
    #[error("an id {0}")]
    Id(#[from] InvalidId),
    #[error("an unknown status")]
    Status,
    #[error("{0} is missing")]
    Missing(&'static str),
}

/// A tag of a field below 16.
pub(super) const fn tag_byte(field: u32, wire: u32) -> u8 {
    (field << 3 | wire).to_le_bytes()[0]
}

fn put_tag(out: &mut Vec<u8>, field: u32, wire: u32) {
    put_varint(out, u64::from(field << 3 | wire));
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

pub(super) fn put_int(out: &mut Vec<u8>, field: u32, value: i64) {
    put_tag(out, field, VARINT);
    put_varint(out, value.cast_unsigned());
}

pub(super) fn put_bytes(out: &mut Vec<u8>, field: u32, value: &[u8]) {
    put_tag(out, field, BYTES);
    put_varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

/// Writes a message behind one byte of length, and moves it when it turns out to need more.
pub(super) fn put_message(out: &mut Vec<u8>, field: u32, write: impl FnOnce(&mut Vec<u8>)) {
    put_tag(out, field, BYTES);
    let start = out.len() + 1;
    out.push(0);
    write(out);
    let length = out.len() - start;
    if let Ok(short @ 0..0x80) = u8::try_from(length) {
        out[start - 1] = short;
        return;
    }
    let mut prefix = Vec::with_capacity(10);
    put_varint(&mut prefix, length as u64);
    out.splice(start - 1..start, prefix);
}

pub(super) fn text(bytes: &[u8]) -> Result<&str, DecodeError> {
    std::str::from_utf8(bytes).map_err(|_not_utf8| DecodeError::Text)
}

/// What is left to read of a message.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.0
    }

    /// The next field's number and wire type; `None` at the end.
    pub(super) fn tag(&mut self) -> Result<Option<(u32, u32)>, DecodeError> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = u32::try_from(self.varint()?).map_err(|_too_big| DecodeError::LongNumber)?;
        Ok(Some((tag >> 3, tag & 7)))
    }

    pub(super) fn varint(&mut self) -> Result<u64, DecodeError> {
        // Nearly all tags and lengths are one byte.
        if let Some((&byte @ 0..0x80, rest)) = self.0.split_first() {
            self.0 = rest;
            return Ok(u64::from(byte));
        }
        let mut value = 0;
        for (at, &byte) in self.0.iter().enumerate().take(10) {
            value |= u64::from(byte & 0x7f) << (7 * at);
            if byte < 0x80 {
                self.0 = &self.0[at + 1..];
                return Ok(value);
            }
        }
        Err(if self.0.len() < 10 { DecodeError::Truncated } else { DecodeError::LongNumber })
    }

    pub(super) fn int(&mut self) -> Result<i64, DecodeError> {
        Ok(self.varint()?.cast_signed())
    }

    pub(super) fn double(&mut self) -> Result<f64, DecodeError> {
        Ok(f64::from_le_bytes(self.array()?))
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (array, rest) = self.0.split_first_chunk().ok_or(DecodeError::Truncated)?;
        self.0 = rest;
        Ok(*array)
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = usize::try_from(self.varint()?).map_err(|_too_big| DecodeError::Truncated)?;
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(DecodeError::Truncated)?;
        self.0 = rest;
        Ok(bytes)
    }

    pub(super) fn text(&mut self) -> Result<&'a str, DecodeError> {
        text(self.bytes()?)
    }

    pub(super) fn skip(&mut self, wire: u32) -> Result<(), DecodeError> {
        match wire {
            VARINT => self.varint().map(drop),
            FIXED64 => self.array::<8>().map(drop),
            BYTES => self.bytes().map(drop),
            FIXED32 => self.array::<4>().map(drop),
            _ => Err(DecodeError::WireType),
        }
    }
}
