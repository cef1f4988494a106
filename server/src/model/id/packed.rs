//! The text of an id as it is kept, in 16 bytes: a UUID as its own, a short text as it is, any other one shared. Never says what is a valid id.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::num::NonZeroU8;
use std::ops::Deref;
use std::sync::{Arc, LazyLock};

use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::text::Text;

/// A text. A canonical UUID of RFC 9562 and a text of at most 15 bytes lie in place: comparing those asks no other memory. Any other is shared.
///
/// Equal texts are packed alike, so two are compared as they lie here.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Packed {
    Here(Here),
    Shared(Arc<Text>),
}

/// 16 bytes, of which the ninth says what they are: in a UUID it has the variant in its upper two bits, always 10; of a text it is the length.
/// As it is never zero and lies behind where a pointer would end, a packed text takes no more room than this.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Here {
    head: [u8; HEAD],
    kind: NonZeroU8,
    tail: [u8; 16 - HEAD - 1],
}

const HEAD: usize = 8;
const MAX_HERE: usize = 15;
const VARIANT: u8 = 0b1100_0000;
const RFC_VARIANT: u8 = 0b1000_0000;

/// Ids are chosen by who sends them: without it somebody could choose many that fall on one place of a table.
static SECRET: LazyLock<u64> = LazyLock::new(rand::random);

/// A text written out; dereferences to it.
pub struct IdText<'a>(Written<'a>);

enum Written<'a> {
    /// So many of these bytes.
    Bytes([u8; 36], usize),
    Text(&'a str),
}

impl IdText<'_> {
    pub const EMPTY: Self = Self(Written::Text(""));
}

impl Packed {
    /// No text from outside: it is a control character.
    pub(super) const NONE: Self = Self::Here(Here { head: [0; HEAD], kind: NonZeroU8::MIN, tail: [0; 16 - HEAD - 1] });

    /// A canonical UUID; none when the text is none.
    pub(super) fn uuid(text: &str) -> Option<Self> {
        let bytes = canonical_uuid(text.as_bytes())?;
        Some(Here::uuid(bytes).map_or_else(|| Self::Shared(Text::shared(text)), Self::Here))
    }

    pub(super) fn of_uuid(bytes: [u8; 16]) -> Self {
        Here::uuid(bytes).map_or_else(|| Self::Shared(Text::shared(&IdText(Written::Bytes(hyphenated_bytes(bytes), 36)))), Self::Here)
    }

    /// Of a canonical UUID its bytes.
    pub(super) fn bytes(&self) -> Option<[u8; 16]> {
        match self {
            Self::Here(here) => here.is_uuid().then(|| here.bytes()),
            Self::Shared(text) => canonical_uuid(text.bytes()),
        }
    }

    /// Of a text that is no canonical UUID.
    pub(super) fn text_of(text: &str) -> Self {
        Here::text(text).map_or_else(|| Self::Shared(Text::shared(text)), Self::Here)
    }

    /// Another one in each process.
    pub(super) fn hash_with(&self, seed: u64) -> u64 {
        let seed = seed ^ *SECRET;
        match self {
            Self::Here(here) => xxh3_64_with_seed(&here.bytes(), seed),
            Self::Shared(text) => xxh3_64_with_seed(text.bytes(), seed),
        }
    }

    /// Looks at these bytes, and at no other memory.
    pub(super) fn glance(&self) -> u8 {
        if let Self::Here(here) = self { here.kind.get() } else { 0 }
    }

    /// Looks at the memory of a text that lies elsewhere.
    pub(super) fn glance_at_text(&self) -> u8 {
        match self {
            Self::Here(here) => here.kind.get(),
            Self::Shared(text) => text.glance(),
        }
    }

    pub(super) fn text(&self) -> IdText<'_> {
        match self {
            Self::Here(here) => here.written(),
            Self::Shared(text) => IdText(Written::Text(text.as_str())),
        }
    }
}

impl Here {
    /// None for what is no UUID of the RFC: its ninth byte may be anything.
    fn uuid(bytes: [u8; 16]) -> Option<Self> {
        (bytes[HEAD] & VARIANT == RFC_VARIANT).then(|| Self::of(bytes)).flatten()
    }

    fn text(text: &str) -> Option<Self> {
        let mut bytes = [0; 16];
        let (head, rest) = text.as_bytes().split_at_checked(HEAD).unwrap_or((text.as_bytes(), &[]));
        bytes[..head.len()].copy_from_slice(head);
        bytes[HEAD] = u8::try_from(text.len()).ok().filter(|length| usize::from(*length) <= MAX_HERE)?;
        bytes[HEAD + 1..][..rest.len()].copy_from_slice(rest);
        Self::of(bytes)
    }

    /// None when the ninth is zero.
    fn of(bytes: [u8; 16]) -> Option<Self> {
        Some(Self { head: *bytes.first_chunk()?, kind: NonZeroU8::new(bytes[HEAD])?, tail: *bytes.last_chunk()? })
    }

    fn is_uuid(self) -> bool {
        self.kind.get() & VARIANT == RFC_VARIANT
    }

    fn bytes(self) -> [u8; 16] {
        let mut bytes = [self.kind.get(); 16];
        bytes[..HEAD].copy_from_slice(&self.head);
        bytes[HEAD + 1..].copy_from_slice(&self.tail);
        bytes
    }

    fn number(self) -> u128 {
        u128::from_ne_bytes(self.bytes())
    }

    fn written(self) -> IdText<'static> {
        if self.is_uuid() {
            return IdText(Written::Bytes(hyphenated_bytes(self.bytes()), 36));
        }
        let mut written = [0; 36];
        written[..HEAD].copy_from_slice(&self.head);
        written[HEAD..MAX_HERE].copy_from_slice(&self.tail);
        IdText(Written::Bytes(written, usize::from(self.kind.get())))
    }
}

impl PartialEq for Here {
    fn eq(&self, other: &Self) -> bool {
        self.number() == other.number()
    }
}

impl Eq for Here {}

impl Hash for Packed {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::Here(here) => state.write_u128(here.number()),
            Self::Shared(text) => text.bytes().hash(state),
        }
    }
}

/// As the texts are ordered: for two canonical UUIDs that is the order of their bytes.
impl Ord for Packed {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Here(a), Self::Here(b)) if a.is_uuid() && b.is_uuid() => a.bytes().cmp(&b.bytes()),
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
            Written::Bytes(written, length) => std::str::from_utf8(&written[..*length]).expect("a text was packed, or digits and hyphens"),
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

fn hyphenated_bytes(bytes: [u8; 16]) -> [u8; 36] {
    let mut written = [0; 36];
    Uuid::from_bytes(bytes).hyphenated().encode_lower(&mut written);
    written
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
    fn a_packed_text_takes_the_bytes_of_a_uuid() {
        assert_eq!((size_of::<Packed>(), size_of::<Text>()), (16, 48));
    }

    #[test]
    fn nobody_can_tell_a_hash_from_the_text() {
        let near = Packed::text_of("van-7");
        let long = Packed::text_of(&"n".repeat(40));
        assert_ne!(long.hash_with(7), xxh3_64_with_seed("n".repeat(40).as_bytes(), 7));
        assert_eq!(near.hash_with(7), Packed::text_of("van-7").hash_with(7));
        assert_ne!(near.hash_with(7), near.hash_with(8));
    }

    #[test]
    fn what_has_the_form_of_a_uuid_keeps_its_bytes_whatever_its_variant_says() {
        for text in ["0192f0c1-2345-7abc-8def-0123456789ab", "0192f0c1-2345-7abc-0def-0123456789ab", "0192f0c1-2345-7abc-cdef-0123456789ab"] {
            let packed = Packed::uuid(text).unwrap();
            let again = Packed::of_uuid(packed.bytes().unwrap());
            assert!(packed == again && *again.text() == *text, "{text}");
        }
        for text in
            ["", "x", "order-8", "order-10", "order-100", "exactly-15-byte", "16-bytes-is-more", &"n".repeat(46), &"f".repeat(47), &"x".repeat(64)]
        {
            assert!(*Packed::text_of(text).text() == *text && Packed::text_of(text).bytes().is_none(), "{text}");
        }
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
