//! What a delivery is tagged with, its attributes, and a wish for some of them. Pure; never says which deliveries there are.

use std::cmp::Ordering;
use std::fmt;
use std::sync::{Arc, Weak};

use hashbrown::HashTable;
use parking_lot::Mutex;
use thiserror::Error;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// Attributes of one delivery.
pub const MAX_ATTRIBUTES: usize = 32;
/// Of an attribute, in bytes: so a delivery has at most 10 KiB of them.
pub const MAX_NAME_BYTES: usize = 64;
pub const MAX_VALUE_BYTES: usize = 256;

/// A name and its value.
pub type Attribute = (Box<str>, Box<str>);

/// The attributes of a delivery, sorted by name, names unique. One pointer; none at all is no memory. Equal ones are one piece of memory, however many
/// deliveries have them, so two are compared by where they lie.
#[derive(Clone, Default)]
pub struct Attributes(Option<Arc<Set>>);

struct Set {
    hash: u64,
    /// A bit for each name and each pair: a wish that has no bit in common is not met, and no text is compared.
    bits: u64,
    pairs: Box<[Attribute]>,
}

const SHARDS: usize = 16;
type Shard = Mutex<HashTable<(u64, Weak<Set>)>>;
/// All sets alive, by their hash. A set leaves when the last who has it drops it.
static KNOWN: [Shard; SHARDS] = [const { Mutex::new(HashTable::new()) }; SHARDS];

impl Attributes {
    pub const NONE: Self = Self(None);

    /// Of a name given twice the last value holds.
    pub fn new(mut pairs: Vec<Attribute>) -> Self {
        if pairs.is_empty() {
            return Self::default();
        }
        pairs.reverse();
        pairs.sort_by(|a, b| a.0.cmp(&b.0));
        pairs.dedup_by(|earlier, kept| earlier.0 == kept.0);
        let hash = pairs.iter().fold(0, |seed, (name, value)| pair_hash(xxh3_64_with_seed(name.as_bytes(), seed), value));
        // Declared before the lock, and so dropped after it: whoever drops a set takes the lock.
        let mut others = Vec::new();
        let mut known = shard(hash).lock();
        for (_, weak) in known.iter_hash(hash) {
            let Some(set) = weak.upgrade() else { continue };
            if set.hash == hash && *set.pairs == *pairs {
                return Self(Some(set));
            }
            others.push(set);
        }
        let bits = pairs.iter().fold(0, |bits, (name, value)| bits | name_bit(name) | pair_bit(name, value));
        let set = Arc::new(Set { hash, bits, pairs: pairs.into() });
        known.insert_unique(hash, (hash, Arc::downgrade(&set)), |(hash, _)| *hash);
        Self(Some(set))
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Attribute> {
        self.pairs().iter()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        let pairs = self.pairs();
        pairs.binary_search_by(|(known, _)| (**known).cmp(name)).ok().map(|index| &*pairs[index].1)
    }

    fn pairs(&self) -> &[Attribute] {
        self.0.as_ref().map_or(&[], |set| &set.pairs)
    }
}

impl PartialEq for Attributes {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(set), Some(other)) => Arc::ptr_eq(set, other),
            (set, other) => set.is_none() && other.is_none(),
        }
    }
}

impl Eq for Attributes {}

impl PartialOrd for Attributes {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// By content, so that the order is the same in every process.
impl Ord for Attributes {
    fn cmp(&self, other: &Self) -> Ordering {
        self.pairs().cmp(other.pairs())
    }
}

impl fmt::Debug for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(|(name, value)| (name, value))).finish()
    }
}

impl Drop for Set {
    fn drop(&mut self) {
        let mut known = shard(self.hash).lock();
        // An equal set may have come since this one's last owner let it go: only what is dead goes.
        while let Ok(dead) = known.find_entry(self.hash, |(hash, weak)| *hash == self.hash && weak.strong_count() == 0) {
            dead.remove();
        }
    }
}

fn shard(hash: u64) -> &'static Shard {
    &KNOWN[usize::try_from(hash >> 32).unwrap_or_default() % SHARDS]
}

/// An attribute that is wished for: by its name, with this value or with any.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Tag {
    name: Box<str>,
    value: Option<Box<str>>,
    bit: u64,
}

/// Any of some attributes; empty wishes nothing. Of two that say the same both are equal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TagWish {
    tags: Box<[Tag]>,
    bits: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidTag {
    #[error("at most {max} tags may be listed", max = TagWish::MAX_TAGS)]
    TooMany,
    #[error("must be name or name=value: a name of 1 to {MAX_NAME_BYTES} bytes, a value of at most {MAX_VALUE_BYTES}")]
    Tag,
}

impl TagWish {
    pub const MAX_TAGS: usize = 64;

    /// Reads `name=value`, split at the first `=`, or `name` alone, which stands for any value.
    pub fn parse<'t>(texts: impl IntoIterator<Item = &'t str>) -> Result<Self, InvalidTag> {
        let mut tags = texts.into_iter().take(Self::MAX_TAGS + 1).map(Tag::parse).collect::<Result<Vec<_>, _>>()?;
        if tags.len() > Self::MAX_TAGS {
            return Err(InvalidTag::TooMany);
        }
        tags.sort_unstable();
        // A name alone stands before its values, and holds all of them.
        tags.dedup_by(|later, kept| later.name == kept.name && (kept.value.is_none() || later.value == kept.value));
        let bits = tags.iter().fold(0, |bits, tag| bits | tag.bit);
        Ok(Self { tags: tags.into(), bits })
    }

    pub fn is_empty(&self) -> bool {
        self.tags.is_empty()
    }

    /// Whether a delivery has any of them.
    pub fn is_met_by(&self, attributes: &Attributes) -> bool {
        let Some(set) = &attributes.0 else { return false };
        let has = |tag: &Tag| attributes.get(&tag.name).is_some_and(|value| tag.value.as_deref().is_none_or(|wished| wished == value));
        self.bits & set.bits != 0 && self.tags.iter().any(|tag| tag.bit & set.bits != 0 && has(tag))
    }
}

impl Tag {
    fn parse(text: &str) -> Result<Self, InvalidTag> {
        let (name, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
        if name.is_empty() || name.len() > MAX_NAME_BYTES || value.is_some_and(|value| value.len() > MAX_VALUE_BYTES) {
            return Err(InvalidTag::Tag);
        }
        let bit = value.map_or_else(|| name_bit(name), |value| pair_bit(name, value));
        Ok(Self { name: name.into(), value: value.map(Box::from), bit })
    }
}

fn name_bit(name: &str) -> u64 {
    1 << (xxh3_64(name.as_bytes()) % 64)
}

fn pair_bit(name: &str, value: &str) -> u64 {
    1 << (pair_hash(xxh3_64(name.as_bytes()), value) % 64)
}

fn pair_hash(name: u64, value: &str) -> u64 {
    xxh3_64_with_seed(value.as_bytes(), name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Attributes {
        Attributes::new(pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect())
    }

    fn wish(tags: &[&str]) -> TagWish {
        TagWish::parse(tags.iter().copied()).unwrap()
    }

    #[test]
    fn equal_attributes_are_one_piece_of_memory_while_anyone_has_them() {
        let (first, second) = (of(&[("b-here", "2"), ("a", "0"), ("a", "1")]), of(&[("a", "1"), ("b-here", "2")]));
        assert!(Arc::ptr_eq(first.0.as_ref().unwrap(), second.0.as_ref().unwrap()));
        assert_eq!((first.get("a"), first.get("b"), first.iter().len()), (Some("1"), None, 2), "the last value of a name holds");
        assert_ne!(first, of(&[("a", "1")]));
        assert_eq!(size_of::<Attributes>(), 8);
        let hash = first.0.as_ref().unwrap().hash;
        let known = || shard(hash).lock().iter_hash(hash).count();
        drop(first);
        assert_eq!(known(), 1);
        drop(second);
        assert_eq!(known(), 0);
    }

    #[test]
    fn a_wish_is_by_name_or_by_name_and_value_and_its_order_does_not_matter() {
        let parcel = of(&[("size", "xl"), ("express", ""), ("note", "a=b")]);
        for met in [&["size=xl"][..], &["size"], &["express="], &["express"], &["nothing", "size=xl"], &["note=a=b"]] {
            assert!(wish(met).is_met_by(&parcel), "{met:?}");
        }
        for missed in [&["size=x"][..], &["size="], &["xl"], &["Size=xl"], &["siz"], &["note=a"], &[]] {
            assert!(!wish(missed).is_met_by(&parcel), "{missed:?}");
        }
        assert!(!wish(&["size"]).is_met_by(&Attributes::default()));
        assert_eq!(wish(&["b", "a=1", "a", "a=0", "b"]), wish(&["a", "b"]));
        assert_ne!(wish(&["a=1", "a=0"]), wish(&["a=1"]));
        for wrong in ["", "=", "=x", &"n".repeat(65), &format!("n={}", "v".repeat(257))] {
            assert_eq!(TagWish::parse([wrong]), Err(InvalidTag::Tag), "{wrong}");
        }
        let many: Vec<String> = (0..65).map(|n| n.to_string()).collect();
        assert_eq!(TagWish::parse(many.iter().map(String::as_str)), Err(InvalidTag::TooMany));
    }

    proptest! {
        #[test]
        fn a_wish_is_met_as_looking_at_each_attribute_says(pairs in prop::collection::vec(("[a-d]{1,2}", "[x-z]{0,1}"), 0..6), tags in prop::collection::vec("[a-d]{1,2}(=[x-z]{0,1})?", 0..4)) {
            let attributes = Attributes::new(pairs.iter().map(|(name, value)| (name.as_str().into(), value.as_str().into())).collect());
            let holds: std::collections::BTreeMap<_, _> = pairs.into_iter().collect();
            let met = tags.iter().any(|tag| holds.iter().any(|(name, value)| tag == name || *tag == format!("{name}={value}")));
            prop_assert_eq!(TagWish::parse(tags.iter().map(String::as_str)).unwrap().is_met_by(&attributes), met);
        }
    }
}
