//! A marker as an enter tells it, wherever its place is told against. Never decides who is told.

use crate::map::cells::meta_of;
use crate::model::id::Handle;
use crate::model::marker::Marker;
use crate::model::time::UnixMs;
use crate::wire;

/// The followed marker with its absolute position.
pub(super) fn followed(marker: &Marker, now: UnixMs) -> wire::Enter {
    let meta = meta_of(marker);
    wire::Enter { lat_e7: marker.position().lat_e7(), lng_e7: marker.position().lng_e7(), ..enter_of(marker.handle(), meta, marker, now) }
}

pub(super) fn enter_of(handle: Handle, meta: u32, marker: &Marker, now: UnixMs) -> wire::Enter {
    wire::Enter {
        handle: handle.0,
        meta,
        driver: marker.driver().is_some(),
        id: marker.name().to_owned(),
        aboard: marker.aboard_count(),
        heard_s: u32::try_from(now.since(marker.heard()).as_secs()).unwrap_or(u32::MAX),
        ..wire::Enter::default()
    }
}
