//! Who may see what, by brute force: plain lists and boxes, every delivery looked at each time. Shares no code with what it is held against.

use std::collections::BTreeMap;

use h3o::{CellIndex, LatLng, Resolution};

use super::fleet::tenant;
use crate::model::change::{Aboard, MarkerChange};
use crate::model::id::{DeliveryId, DriverId, Handle};
use crate::model::marker::{Marker, MarkerParts};
use crate::model::maybe::Maybe;
use crate::model::position::Position;
use crate::model::scope::{Area, Scope};
use crate::model::status::{Link, Motion, Status};
use crate::model::tags::Attributes;
use crate::model::time::UnixMs;
use crate::wire;

/// What a credential may see. An empty list lets nothing through, none at all everything.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Right {
    pub(super) drivers: Option<&'static [&'static str]>,
    pub(super) deliveries: Option<&'static [&'static str]>,
    /// West, south, east, north.
    pub(super) area: Option<[f64; 4]>,
}

/// What a client asks to see. Empty lists ask for nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wish {
    pub(super) statuses: &'static [i32],
    pub(super) drivers: &'static [&'static str],
    pub(super) tags: &'static [&'static str],
    pub(super) late_risk: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Parcel {
    pub(super) id: String,
    pub(super) status: Status,
    pub(super) tags: &'static [(&'static str, &'static str)],
    pub(super) late_risk: bool,
}

/// A van, or a parcel that waits: then it is the only one aboard.
#[derive(Clone, Debug)]
pub(super) struct Thing {
    pub(super) driver: Option<String>,
    pub(super) place: (f64, f64),
    pub(super) aboard: Vec<Parcel>,
}

/// What is seen of a thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) status: u32,
    pub(super) aboard: u32,
    pub(super) late_risk: bool,
}

impl Seen {
    /// After the comment of `Enter.meta`.
    pub(super) fn of_meta(meta: u32) -> Self {
        Self { status: meta & 0xf, aboard: meta >> 24 & 0x7f, late_risk: meta >> 31 == 1 }
    }
}

impl Thing {
    pub(super) fn id(&self) -> &str {
        self.driver.as_deref().unwrap_or_else(|| &self.aboard[0].id)
    }

    /// The parcels that exist for this right; none when the thing itself does not.
    fn visible(&self, right: &Right) -> Option<Vec<&Parcel>> {
        if let Some([west, south, east, north]) = right.area {
            let (lat, lng) = self.place;
            if lat < south || lat > north || lng < west || lng > east {
                return None;
            }
        }
        if let Some(drivers) = right.drivers
            && !self.driver.as_deref().is_some_and(|driver| drivers.contains(&driver))
        {
            return None;
        }
        let Some(deliveries) = right.deliveries else { return Some(self.aboard.iter().collect()) };
        let visible: Vec<&Parcel> = self.aboard.iter().filter(|parcel| deliveries.contains(&parcel.id.as_str())).collect();
        (!visible.is_empty()).then_some(visible)
    }

    pub(super) fn seen(&self, right: &Right) -> Option<Seen> {
        let visible = self.visible(right)?;
        let mut status = 0;
        let mut rank = -1;
        for parcel in &visible {
            let (code, waits) = (u32::from(parcel.status as u8), self.driver.is_none());
            let own_rank = if parcel.status == Status::Failed { 0 } else { i32::from(parcel.status as u8) };
            if waits || !ended(parcel.status) && own_rank > rank {
                (status, rank) = (code, own_rank);
            }
        }
        Some(Seen { status, aboard: u32::try_from(visible.len()).unwrap(), late_risk: visible.iter().any(|parcel| parcel.late_risk) })
    }

    pub(super) fn seen_as_wished(&self, right: &Right, wish: &Wish) -> Option<Seen> {
        let seen = self.seen(right)?;
        let status = wish.statuses.is_empty() || wish.statuses.contains(&seen.status.cast_signed());
        let driver = wish.drivers.is_empty() || self.driver.as_deref().is_some_and(|driver| wish.drivers.contains(&driver));
        let tagged = |parcel: &Parcel| {
            let has = |tag: &&str| parcel.tags.iter().any(|(name, value)| tag == name || *tag == format!("{name}={value}"));
            wish.tags.is_empty() || wish.tags.iter().any(has)
        };
        let asked = !wish.tags.is_empty() || wish.late_risk;
        let aboard = !asked || self.visible(right)?.iter().any(|parcel| tagged(parcel) && (parcel.late_risk || !wish.late_risk));
        (status && driver && aboard).then_some(seen)
    }

    /// The parcel of this id, if it is aboard and exists for this right.
    pub(super) fn carries(&self, right: &Right, id: &str) -> Option<&Parcel> {
        self.visible(right)?.into_iter().find(|parcel| parcel.id == id)
    }

    pub(super) fn cell(&self, resolution: u32) -> u64 {
        let finest = LatLng::new(self.place.0, self.place.1).unwrap().to_cell(Resolution::Eight);
        let resolution = Resolution::try_from(u8::try_from(resolution).unwrap()).unwrap();
        u64::from(finest.parent(resolution).map_or(finest, |parent: CellIndex| parent))
    }

    pub(super) fn put(&self, handle: Handle) -> MarkerChange {
        let aboard = self.aboard.iter().map(|parcel| {
            let attributes = Attributes::new(parcel.tags.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect());
            Aboard::of(DeliveryId::parse(&parcel.id).unwrap(), parcel.status, parcel.late_risk, attributes)
        });
        let all = self.seen(&Right::default()).unwrap();
        let marker = Marker::of(MarkerParts {
            handle,
            driver: self.driver.as_ref().map(|driver| DriverId::parse(driver).unwrap()),
            position: Position::from_degrees(self.place.0, self.place.1).unwrap(),
            heading_deg: Maybe::NONE,
            speed_mps: 0.0,
            status: Status::from_code(u8::try_from(all.status).unwrap()),
            motion: Motion::Stopped,
            link: Link::Live,
            late_risk: all.late_risk,
            accuracy_m: Maybe::NONE,
            aboard: aboard.collect::<Vec<_>>().into(),
            fix_time: UnixMs(0),
            heard: UnixMs(0),
            changed: UnixMs(0),
        });
        MarkerChange::Put { tenant: tenant(), marker }
    }
}

impl Right {
    pub(super) fn scope(&self) -> Scope {
        let drivers = self.drivers.map(|ids| ids.iter().map(|id| DriverId::parse(id).unwrap()).collect());
        let deliveries = self.deliveries.map(|ids| ids.iter().map(|id| DeliveryId::parse(id).unwrap()).collect());
        Scope::new(drivers, deliveries, self.area.map(|[west, south, east, north]| Area::new(west, south, east, north).unwrap())).unwrap()
    }

    pub(super) fn is_all(&self) -> bool {
        self.drivers.is_none() && self.deliveries.is_none() && self.area.is_none()
    }
}

impl Wish {
    pub(super) fn wire(&self) -> wire::Filter {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        wire::Filter { statuses: self.statuses.to_vec(), drivers: owned(self.drivers), tags: owned(self.tags), late_risk: self.late_risk }
    }
}

/// One of 81, in some cells of the finest level.
pub(super) fn place((a, b): (u8, u8)) -> (f64, f64) {
    (57.69 + f64::from(a % 9) * 0.004, 11.95 + f64::from(b % 9) * 0.006)
}

pub(super) fn ended(status: Status) -> bool {
    matches!(status, Status::Delivered | Status::Returned | Status::Cancelled)
}

/// By status code, of all that this right and wish show in a cell of a level of counts.
pub(super) fn counts<'t>(things: impl Iterator<Item = &'t Thing>, cell: u64, resolution: u32, right: &Right, wish: &Wish) -> BTreeMap<i32, u32> {
    let mut counts = BTreeMap::new();
    for seen in things.filter(|thing| thing.cell(resolution) == cell).filter_map(|thing| thing.seen_as_wished(right, wish)) {
        *counts.entry(seen.status.cast_signed()).or_default() += 1;
    }
    counts
}
