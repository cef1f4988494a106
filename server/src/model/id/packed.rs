//! The text of an id as it is kept: a UUID as its 16 bytes, any other text as it is. Never says what is a valid id.

use std::cmp::Ordering;
use std::fmt;
use std::ops::Deref;

use smol_str::SmolStr;
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// A text. One that is a canonical UUID lies in 16 bytes, one of at most 23 bytes in place: comparing those asks no other memory. A longer one is shared.
///
/// Equal texts are packed alike, so two are compared as they lie here.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) enum Packed {
    Uuid([u8; 16]),
    Text(SmolStr),
}

/// A text written out; dereferences to it.
pub struct IdText<'a>(Written<'a>);

enum Written<'a> {
    Uuid([u8; 36]),
    Text(&'a str),
}

impl IdText<'_> {
    pub const EMPTY: Self = Self(Written::Text(""));
}

impl Packed {
    pub(super) fn uuid(text: &str) -> Option<Self> {
        canonical_uuid(text.as_bytes()).map(Self::Uuid)
    }

    pub(super) fn bytes(&self) -> Option<[u8; 16]> {
        if let Self::Uuid(bytes) = self { Some(*bytes) } else { None }
    }

    /// Of a text that is no canonical UUID.
    pub(super) fn text_of(text: &str) -> Self {
        Self::Text(SmolStr::new(text))
    }

    pub(super) fn hash_with(&self, seed: u64) -> u64 {
        match self {
            Self::Uuid(bytes) => xxh3_64_with_seed(bytes, seed),
            Self::Text(text) => xxh3_64_with_seed(text.as_bytes(), seed),
        }
    }

    pub(super) fn text(&self) -> IdText<'_> {
        IdText(match self {
            Self::Text(text) => Written::Text(text),
            Self::Uuid(bytes) => {
                let mut written = [0; 36];
                Uuid::from_bytes(*bytes).hyphenated().encode_lower(&mut written);
                Written::Uuid(written)
            }
        })
    }
}

/// As the texts are ordered: for two canonical UUIDs that is the order of their bytes.
impl Ord for Packed {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Uuid(a), Self::Uuid(b)) => a.cmp(b),
            _ => self.text().cmp(&*other.text()),
        }
    }
}

impl PartialOrd for Packed {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Debug for Packed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.text(), f)
    }
}

impl Deref for IdText<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match &self.0 {
            Written::Uuid(written) => std::str::from_utf8(written).expect("hex digits and hyphens are text"),
            Written::Text(text) => text,
        }
    }
}

impl PartialEq for IdText<'_> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl PartialEq<&str> for IdText<'_> {
    fn eq(&self, other: &&str) -> bool {
        **self == **other
    }
}

impl PartialEq<String> for IdText<'_> {
    fn eq(&self, other: &String) -> bool {
        **self == **other
    }
}

impl fmt::Debug for IdText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl fmt::Display for IdText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

/// Reads the one spelling of a UUID that survives a round trip: 36 bytes, lower case, hyphens in place.
fn canonical_uuid(text: &[u8]) -> Option<[u8; 16]> {
    /// Where each byte's two digits stand.
    const AT: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];
    let text: &[u8; 36] = text.try_into().ok()?;
    let mut bytes = [0_u8; 16];
    let mut wrong = [8, 13, 18, 23].into_iter().fold(0, |wrong, at| wrong | (text[at] ^ b'-'));
    for (byte, at) in bytes.iter_mut().zip(AT) {
        let (high, low) = (NIBBLES[usize::from(text[at])], NIBBLES[usize::from(text[at + 1])]);
        wrong |= (high | low) & 0xf0;
        *byte = high << 4 | low;
    }
    (wrong == 0).then_some(bytes)
}

/// The value of each lower-case hex digit; 0xf0 for what is none.
const NIBBLES: [u8; 256] = {
    let mut nibbles = [0xf0; 256];
    let mut value = 0;
    while value < 16 {
        nibbles[b"0123456789abcdef"[value as usize] as usize] = value;
        value += 1;
    }
    nibbles
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_packed_text_is_as_small_as_one_that_is_shared() {
        assert_eq!((size_of::<Packed>(), size_of::<Option<Packed>>()), (24, 24));
    }

    proptest! {
        /// Few digits, so that many are equal up to their last.
        #[test]
        fn packed_texts_are_written_compared_and_ordered_as_the_texts(a in "[0-1a]{8}-[0-1]{4}-[0-1]{4}-[0-1]{4}-[0-1A]{12}|[0-1aA-]{1,40}", b in "[0-1a]{8}-[0-1]{4}-[0-1]{4}-[0-1]{4}-[0-1]{12}|[0-1aA-]{1,40}") {
            let packed = |text: &str| Packed::uuid(text).unwrap_or_else(|| Packed::text_of(text));
            let (packed_a, packed_b) = (packed(&a), packed(&b));
            prop_assert_eq!(&*packed_a.text(), &a);
            prop_assert_eq!(packed_a == packed_b, a == b);
            prop_assert_eq!(packed_a.cmp(&packed_b), a.cmp(&b));
        }
    }
}
