//! The names of things: tenants, drivers, deliveries, events, partitions, offsets, markers. Never knows what a name stands for.

mod maybe;
pub mod packed;
mod text;

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::sync::{Mutex, OnceLock, PoisonError};

pub use maybe::MaybeId;
use packed::{IdText, Packed};
use thiserror::Error;

/// Longest id accepted from outside, in bytes of UTF-8.
pub const MAX_ID_BYTES: usize = 64;

/// Why a text is no id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidId {
    #[error("must not be empty")]
    Empty,
    #[error("must be at most {MAX_ID_BYTES} bytes long")]
    TooLong,
    #[error("must not contain control characters")]
    ControlCharacter,
}

fn check(text: &str) -> Result<(), InvalidId> {
    if text.is_empty() {
        return Err(InvalidId::Empty);
    }
    if text.len() > MAX_ID_BYTES {
        return Err(InvalidId::TooLong);
    }
    // Nearly all ids are printable ASCII, which is told byte by byte.
    if !text.bytes().all(|byte| matches!(byte, b' '..=b'~')) && text.chars().any(char::is_control) {
        return Err(InvalidId::ControlCharacter);
    }
    Ok(())
}

fn packed(text: &str) -> Result<Packed, InvalidId> {
    // A UUID is no longer than it may be and has no control character.
    Packed::uuid(text).map_or_else(|| check(text).map(|()| Packed::text_of(text)), Ok)
}

/// A text of 1 to 64 bytes that names one `Of`. Cheap to clone; two of different kinds cannot be mixed up. A canonical UUID and a text of at
/// most 15 bytes lie in place, so that comparing them asks no other memory; a longer one is shared.
pub struct Id<Of>(Packed, PhantomData<fn() -> Of>);

/// A driver or a tracker: what moves on the map.
pub type DriverId = Id<Driver>;
/// A delivery: one parcel, meal or ride from its pickup to its destination.
pub type DeliveryId = Id<Delivery>;

/// Marks an id as a driver's.
#[derive(Debug)]
pub enum Driver {}
/// Marks an id as a delivery's.
#[derive(Debug)]
pub enum Delivery {}

impl<Of> Id<Of> {
    /// Takes a text of 1 to 64 bytes without control characters.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        Ok(Self(packed(text)?, PhantomData))
    }

    pub fn of_uuid(bytes: [u8; 16]) -> Self {
        Self(Packed::of_uuid(bytes), PhantomData)
    }

    /// Its bytes, when it is a UUID in its canonical form.
    pub fn uuid(&self) -> Option<[u8; 16]> {
        self.0.bytes()
    }

    /// The same text as the name of another kind of thing: for who keeps beside it what kind that is.
    pub fn renamed<Other>(self) -> Id<Other> {
        Id(self.0, PhantomData)
    }

    /// Whether both are the same text.
    pub fn is<Other>(&self, other: &Id<Other>) -> bool {
        self.0 == other.0
    }

    /// Tells ids apart in this process; no part of any format.
    pub fn hash_with(&self, seed: u64) -> u64 {
        self.0.hash_with(seed)
    }

    /// Written out, where it is kept as bytes.
    pub fn as_str(&self) -> IdText<'_> {
        self.0.text()
    }

    /// Looks at where the id lies, for who looks at many before the first. What it returns says nothing.
    pub fn glance(&self) -> u8 {
        self.0.glance()
    }

    /// And then at where its text lies, when that is somewhere else.
    pub fn glance_at_text(&self) -> u8 {
        self.0.glance_at_text()
    }
}

impl<Of> Clone for Id<Of> {
    fn clone(&self) -> Self {
        Self(self.0.clone(), PhantomData)
    }
}

impl<Of> PartialEq for Id<Of> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<Of> Eq for Id<Of> {}

impl<Of> PartialOrd for Id<Of> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<Of> Ord for Id<Of> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.cmp(&other.0)
    }
}

impl<Of> Hash for Id<Of> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl<Of> fmt::Debug for Id<Of> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl<Of> fmt::Display for Id<Of> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.as_str())
    }
}

/// Whose data it is. Comes from the credential alone, never from a body.
///
/// Every event, change and marker carries one, on every core at once: so each name is kept once for the life of the process and a tenant is
/// its number there, which is copied without a count. There are as many as have a key.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TenantId(u32);

static TENANTS: Mutex<BTreeMap<&'static str, TenantId>> = Mutex::new(BTreeMap::new());
/// Names by number, each piece with twice as many as the one before, so that none ever moves: who reads one takes no lock.
static NAMES: [OnceLock<Box<[OnceLock<&'static str>]>>; 32] = [const { OnceLock::new() }; 32];

impl TenantId {
    /// Takes a text of 1 to 64 bytes without control characters. Never call it with what anybody may send: it is kept for ever.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        check(text)?;
        let mut tenants = TENANTS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tenant) = tenants.get(text) {
            return Ok(*tenant);
        }
        let (name, tenant): (&'static str, _) = (Box::leak(Box::from(text)), Self(u32::try_from(tenants.len()).expect("fewer than 2^32 tenants")));
        let (piece, place) = tenant.place();
        let piece = NAMES[piece].get_or_init(|| (0..1_u64 << piece).map(|_| OnceLock::new()).collect());
        piece[place].get_or_init(|| name);
        tenants.insert(name, tenant);
        Ok(tenant)
    }

    pub fn as_str(&self) -> &str {
        let (piece, place) = self.place();
        NAMES[piece].get().and_then(|piece| piece[place].get()).expect("who has a number has a name")
    }

    /// Another one for each tenant, and perhaps another one in each process.
    pub fn number(&self) -> u64 {
        u64::from(self.0)
    }

    /// In which piece of `NAMES` its name is, and where there.
    fn place(self) -> (usize, usize) {
        let number = u64::from(self.0) + 1;
        let piece = number.ilog2() as usize;
        (piece, usize::try_from(number - (1 << piece)).expect("less than a usize"))
    }
}

impl PartialOrd for TenantId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for TenantId {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl fmt::Debug for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The idempotency key of an event: a UUID in its canonical lower-case form (kept as 16 bytes) or any other text of 1 to 64 bytes.
///
/// Ordered as its text is.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId(Packed);

impl EventId {
    /// Takes a text of 1 to 64 bytes without control characters.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        packed(text).map(Self)
    }

    pub fn of_uuid(bytes: [u8; 16]) -> Self {
        Self(Packed::of_uuid(bytes))
    }

    /// Its bytes, when it is a UUID in its canonical form.
    pub fn uuid(&self) -> Option<[u8; 16]> {
        self.0.bytes()
    }

    /// Calls `f` with the id's text, without allocating.
    pub fn with_str<R>(&self, f: impl FnOnce(&str) -> R) -> R {
        f(&self.0.text())
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with_str(|text| fmt::Debug::fmt(text, f))
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with_str(|text| f.write_str(text))
    }
}

/// One of the `P` partitions of the log; `P` is fixed when the log is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PartitionId(pub u16);

impl PartitionId {
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// A place inside a partition: ordered, otherwise opaque, and not dense for every engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Offset(pub u64);

/// The number that stands for an entity on the wire: `partition << 37 | counter`, given at first sight in offset order, never reused.
/// Below 2^53 for every partition below 2^16, so exact in JavaScript.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Handle(pub u64);

impl Handle {
    pub const COUNTER_BITS: u32 = 37;

    pub fn new(partition: PartitionId, counter: u64) -> Self {
        debug_assert!(counter < 1 << Self::COUNTER_BITS, "2^37 entities of a partition were never seen");
        Self((u64::from(partition.0) << Self::COUNTER_BITS) | counter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_canonical_uuid_is_kept_as_bytes_and_any_other_spelling_as_text() {
        for text in [
            "0192f0c1-2345-7abc-8def-0123456789ab",
            "0192F0C1-2345-7ABC-8DEF-0123456789AB",
            "0192f0c123457abc8def0123456789ab",
            "0192f0c1-2345-7abc-8def-0123456789ag",
            "0192f0c1-2345-7abc-8def+0123456789ab",
            "x",
        ] {
            let id = EventId::parse(text).expect("a valid id");
            assert_eq!(id.to_string(), text);
        }
    }

    #[test]
    fn event_ids_are_ordered_as_their_texts() {
        let mut texts = ["0192f0c1-2345-7abc-8def-0123456789ab", "0192f0c1-2345-7abc-8def-0123456789ac", "0", "1", "a", "0192F"];
        let mut ids: Vec<EventId> = texts.iter().map(|t| EventId::parse(t).expect("a valid id")).collect();
        texts.sort_unstable();
        ids.sort();
        assert_eq!(ids.iter().map(ToString::to_string).collect::<Vec<_>>(), texts);
    }

    #[test]
    fn an_id_has_1_to_64_bytes_and_no_control_character() {
        assert_eq!(DriverId::parse(""), Err(InvalidId::Empty));
        assert_eq!(DriverId::parse("a\nb"), Err(InvalidId::ControlCharacter));
        assert_eq!(DriverId::parse(&"x".repeat(65)), Err(InvalidId::TooLong));
        assert!(DriverId::parse(&"x".repeat(64)).is_ok());
        assert_eq!(EventId::parse(""), Err(InvalidId::Empty));
    }

    #[test]
    fn a_tenant_is_the_same_one_however_often_its_name_is_read() {
        let again = String::from("acme");
        assert_eq!(TenantId::parse("acme"), TenantId::parse(&again));
        assert_ne!(TenantId::parse("acme"), TenantId::parse("acme2"));
        assert_eq!(TenantId::parse("x\ty"), Err(InvalidId::ControlCharacter));
        let many: Vec<TenantId> = (0..100).map(|number| TenantId::parse(&format!("tenant-{number}")).expect("valid")).collect();
        assert!((0..100).zip(&many).all(|(number, tenant)| tenant.as_str() == format!("tenant-{number}")));
    }

    #[test]
    fn the_greatest_handle_is_exact_in_javascript() {
        let greatest = Handle::new(PartitionId(u16::MAX), (1 << Handle::COUNTER_BITS) - 1);
        assert!(greatest.0 < 1 << 53);
    }
}
