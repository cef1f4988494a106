//! What one stage tells the next: track tells marker facts by carrier, marker tells map markers by handle. Never holds state of its own.

use std::ops::Deref;
use std::sync::Arc;

use tokio::time::Instant;

use super::event::{Location, OrderKey};
use super::id::packed::IdText;
use super::id::{DeliveryId, DriverId, EventId, Handle, Offset, PartitionId, TenantId};
use super::marker::Marker;
use super::maybe::{Maybe, MaybeMs};
use super::position::Position;
use super::status::Status;
use super::terms::{Boarding, SharedTerms, Terms};
use super::time::UnixMs;

// ---------------------------------------------------------------------------------------------------------------- track -> marker

/// What a partition tells one marker shard: everything up to `through` that concerns the shard, in offset order.
/// A partition sends it to every shard for each batch it applied, also with no changes, so that each shard knows how far it is.
#[derive(Clone, Debug)]
pub struct FactChanges {
    pub partition: PartitionId,
    /// The last offset whose changes are in this message or an earlier one.
    pub through: Offset,
    /// The partition's log time: its greatest ingest time so far.
    pub log_time: UnixMs,
    /// The partition tells what it knew when it started, and has not told all of it yet.
    pub announcing: bool,
    pub changes: Vec<FactChange>,
}

#[derive(Clone, Debug)]
pub struct FactChange {
    pub tenant: TenantId,
    /// Whose marker it concerns; chooses the shard.
    pub carrier: Carrier,
    /// Ingest time of the record that caused it: what "last heard" and the age of a frame are counted from.
    pub ingest_time: UnixMs,
    pub kind: FactKind,
}

/// What a marker stands for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Carrier {
    Driver(DriverId),
    /// A delivery that no driver has: shown waiting at its pickup.
    Delivery(DeliveryId),
}

impl Carrier {
    pub fn as_str(&self) -> IdText<'_> {
        match self {
            Self::Driver(driver) => driver.as_str(),
            Self::Delivery(delivery) => delivery.as_str(),
        }
    }

    /// Tells carriers apart in this process; no part of any format.
    pub fn hash_with(&self, seed: u64) -> u64 {
        match self {
            Self::Driver(driver) => driver.hash_with(seed),
            Self::Delivery(delivery) => delivery.hash_with(!seed),
        }
    }

    /// Which of `shards` marker shards keeps this carrier.
    pub fn shard(&self, tenant: &TenantId, shards: usize) -> usize {
        let hash = xxhash_rust::xxh3::xxh3_64_with_seed(self.as_str().as_bytes(), xxhash_rust::xxh3::xxh3_64(tenant.as_str().as_bytes()));
        usize::try_from(hash % shards.max(1) as u64).expect("less than a usize")
    }
}

#[derive(Clone, Debug)]
pub enum FactKind {
    /// The driver's own ping (one that names no delivery) is now its newest.
    OwnFix { fix: Fix, handle: Handle },
    /// The newest ping that names this delivery, which is aboard the carrier.
    AboardFix { delivery: DeliveryId, fix: Fix },
    /// All that is known of the driver's duty, sorted by order key; empty means never sent, so on duty. With the name of the newest ping of its own, if there is
    /// one: who has no duty needs none.
    Duty { duty: Arc<[DutyFact]>, own_event: EventId, handle: Handle },
    /// The delivery is with this carrier and this is what is known of it; replaces what was said of it before.
    Board(Boarding),
    /// The delivery is not with this carrier any more: it went to another, or left the map with the status `ended`.
    Alight { delivery: DeliveryId, ended: Option<Status> },
    /// Something was heard that is older than what is known: it changes no fact, but the link is not silent.
    Heard,
    /// The driver's own facts left memory (7 silent days).
    Forget,
}

/// A position fact: a ping's place in the order, and what of it decides where a marker stands and how it moves. Goes from stage to stage by
/// value: one that is shared would be a further place in memory to go to, for every ping and in every stage.
#[derive(Clone, Debug, PartialEq)]
pub struct Fix {
    pub order: OrderKey,
    pub position: Position,
    pub accuracy_m: Maybe<f32>,
    pub speed_mps: Maybe<f32>,
    /// Clockwise from true north, 0.0..360.0.
    pub heading_deg: Maybe<f32>,
}

impl Fix {
    pub fn of(order: OrderKey, location: &Location) -> Self {
        let Location { position, accuracy_m, speed_mps, heading_deg, .. } = *location;
        Self { order, position, accuracy_m: accuracy_m.into(), speed_mps: speed_mps.into(), heading_deg: heading_deg.into() }
    }
}

/// From this moment on (by order key) the driver is on or off duty, until the next one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DutyFact {
    pub order: OrderKey,
    pub on: bool,
}

// ---------------------------------------------------------------------------------------------------------------- marker -> map

/// What a marker shard tells the map at most once a tick: the latest of each marker that changed, whatever happened in between.
#[derive(Clone, Debug)]
pub struct MarkerChanges {
    pub shard: usize,
    /// How far into each partition this shard has come; only those that advanced.
    pub applied: Vec<(PartitionId, Offset)>,
    pub changes: ChangeParts,
    /// When this shard speaks next, be it to say that there is nothing; none: not before there is something.
    pub again: Option<Instant>,
}

/// Marker changes in their order, in parts of a bounded size: a flood needs no single piece of memory of megabytes, which the system would have
/// to clear anew each tick, and the map is locked for one part at a time.
#[derive(Clone, Debug, Default)]
pub struct ChangeParts(Vec<Vec<MarkerChange>>);

impl ChangeParts {
    pub const PART: usize = 256;

    pub fn push(&mut self, change: MarkerChange) {
        match self.0.last_mut() {
            Some(part) if part.len() < Self::PART => part.push(change),
            _ => {
                let mut part = Vec::with_capacity(if self.0.is_empty() { 4 } else { Self::PART });
                part.push(change);
                self.0.push(part);
            }
        }
    }

    pub fn append(&mut self, later: Self) {
        self.0.extend(later.0);
    }

    pub fn len(&self) -> usize {
        self.0.iter().map(Vec::len).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &MarkerChange> {
        self.0.iter().flatten()
    }

    pub fn into_parts(self) -> impl Iterator<Item = Vec<MarkerChange>> {
        self.0.into_iter()
    }
}

impl FromIterator<MarkerChange> for ChangeParts {
    fn from_iter<I: IntoIterator<Item = MarkerChange>>(changes: I) -> Self {
        let mut parts = Self::default();
        changes.into_iter().for_each(|change| parts.push(change));
        parts
    }
}

#[derive(Clone, Debug)]
pub enum MarkerChange {
    /// Appeared or changed.
    Put { tenant: TenantId, marker: Marker },
    /// Left the map; `ended` is the status of the delivery that ended it, when one did.
    Remove { tenant: TenantId, handle: Handle, ended: Option<Status>, ingest_time: UnixMs },
}

/// The deliveries that a marker lists, shared by all of its versions that list the same. Nothing aboard is nothing shared: cores that work on
/// many idle drivers at once would all count one reference up and down. One, as many carry, has its place here.
#[derive(Clone, Debug, Default)]
pub struct AboardList(List);

#[derive(Clone, Debug, Default)]
enum List {
    #[default]
    Nothing,
    One(Aboard),
    /// Behind one pointer, so that the list takes no more room than the one.
    Many(Arc<Many>),
}

#[derive(Debug)]
struct Many {
    listed: Vec<Aboard>,
    /// How many more there are.
    beyond: u32,
}

impl AboardList {
    /// Of those listed, when there are so many in all.
    pub fn of(mut listed: Vec<Aboard>, count: usize) -> Self {
        let beyond = u32::try_from(count.saturating_sub(listed.len())).unwrap_or(u32::MAX);
        Self(if listed.len() > 1 || beyond > 0 {
            List::Many(Arc::new(Many { listed, beyond }))
        } else {
            listed.pop().map_or(List::Nothing, List::One)
        })
    }

    /// How many there are, also beyond those listed.
    pub fn count(&self) -> u32 {
        u32::try_from(self.len()).unwrap_or(u32::MAX).saturating_add(self.beyond())
    }

    fn beyond(&self) -> u32 {
        if let List::Many(many) = &self.0 { many.beyond } else { 0 }
    }

    /// Whether both are one list, and not only lists that say the same.
    pub fn is(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (List::Many(list), List::Many(other)) => Arc::ptr_eq(list, other),
            (List::One(one), List::One(other)) => {
                SharedTerms::ptr_eq(&one.terms, &other.terms) && (one.late_risk, one.eta) == (other.late_risk, other.eta)
            }
            (List::Nothing, List::Nothing) => true,
            _ => false,
        }
    }

    pub fn of_one(aboard: Aboard) -> Self {
        Self(List::One(aboard))
    }

    /// Whether any of them is at risk of being late.
    pub fn late_risk(&self) -> bool {
        self.iter().any(|aboard| aboard.late_risk)
    }
}

impl From<Vec<Aboard>> for AboardList {
    fn from(list: Vec<Aboard>) -> Self {
        let count = list.len();
        Self::of(list, count)
    }
}

impl Deref for AboardList {
    type Target = [Aboard];

    fn deref(&self) -> &[Aboard] {
        match &self.0 {
            List::Nothing => &[],
            List::One(one) => std::slice::from_ref(one),
            List::Many(many) => &many.listed,
        }
    }
}

impl PartialEq for AboardList {
    fn eq(&self, other: &Self) -> bool {
        **self == **other && self.beyond() == other.beyond()
    }
}

/// A delivery aboard, as a marker lists it.
#[derive(Clone, Debug)]
pub struct Aboard {
    pub terms: SharedTerms,
    /// It has not ended, and either its promise has passed or it is expected after it.
    pub late_risk: bool,
    /// Expected at its destination (before pickup: at its pickup): reported, or our own estimate.
    pub eta: MaybeMs,
}

impl Deref for Aboard {
    type Target = Terms;

    fn deref(&self) -> &Terms {
        &self.terms
    }
}

#[cfg(test)]
impl Aboard {
    /// Of which no more is known than this.
    pub(crate) fn of(delivery: DeliveryId, status: Status, late_risk: bool, attributes: super::tags::Attributes) -> Self {
        let mut terms = Terms { status, ..Terms::new(delivery, Handle(0)) };
        terms.set_attributes(attributes);
        Self { terms: SharedTerms::new(terms), late_risk, eta: MaybeMs::none() }
    }
}

/// In what a marker says of it.
impl PartialEq for Aboard {
    fn eq(&self, other: &Self) -> bool {
        let said = |aboard: &Self| (aboard.status, aboard.late_risk, aboard.eta, aboard.promised_by);
        said(self) == said(other) && self.delivery == other.delivery && self.is_tagged_as(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_counts_those_beyond_it_and_takes_no_more_room_for_that() {
        let listed = |ids: &[&str]| -> Vec<Aboard> {
            let listed = |id: &&str| Aboard::of(DeliveryId::parse(id).unwrap(), Status::Assigned, false, super::super::tags::Attributes::default());
            ids.iter().map(listed).collect()
        };
        for (ids, count, said) in
            [(&[][..], 0, 0), (&["a"], 1, 1), (&["a", "b"], 2, 2), (&["a", "b"], 7, 7), (&["a"], 9, 9), (&[], 3, 3), (&["a", "b"], 1, 2)]
        {
            let list = AboardList::of(listed(ids), count);
            assert_eq!((list.len(), list.count()), (ids.len(), said));
            assert!(list.is(&list.clone()) && list == list.clone());
        }
        assert_ne!(AboardList::of(listed(&["a"]), 1), AboardList::of(listed(&["a"]), 2));
        assert!(size_of::<AboardList>() <= 16 && size_of::<MarkerChange>() <= 80, "{}", size_of::<MarkerChange>());
    }
}
