//! The next frame of a session: all that it lacks, or as much of it as its link carries soon. Never looks at another session.

use std::time::Duration;

use bytes::Bytes;
use h3o::{CellIndex, LatLng};
use hashbrown::{HashMap, HashSet};

use super::{Session, Wholes};
use crate::live::chunk::{self, Base, Chunk, Verify};
use crate::live::follow::News;
use crate::live::held::Moment;
use crate::live::pace::Turn;
use crate::live::view::ActiveView;
use crate::live::{OutFrame, Settings};
use crate::map::TenantMap;
use crate::map::cells::{Cell, CellKey, Tick};
use crate::map::placed::Placed;
use crate::model::id::Handle;
use crate::model::time::UnixMs;
use crate::wire;

/// An enter with an id of 36 characters.
const BYTES_OF_ENTER: usize = 60;
const BYTES_OF_COUNTS: usize = 50;
const BYTES_OF_LEAVE: usize = 12;
const NOT_MISSED: Duration = Duration::from_millis(100);

/// A frame's cells, as many as there is room for; the first always fits.
struct Parcel {
    chunks: Vec<Bytes>,
    bytes: usize,
    room: usize,
    oldest: Option<UnixMs>,
}

impl Parcel {
    fn takes(&self, chunk: &Chunk) -> bool {
        self.bytes == 0 || self.bytes + chunk.bytes.len() <= self.room
    }

    fn put(&mut self, chunk: Chunk) {
        self.bytes += chunk.bytes.len();
        self.oldest = [self.oldest, chunk.oldest].into_iter().flatten().min();
        self.chunks.push(chunk.bytes);
    }
}

impl Session {
    /// A tick that cannot be sent: harmless when it holds nothing for this session.
    pub(in crate::live) fn fall_behind(&mut self, map: Option<&TenantMap>, now: UnixMs, tick: Tick) -> Option<OutFrame> {
        let followed = self.follow.as_ref().zip(map).is_some_and(|(follow, map)| follow.has_news(map, &self.scope));
        let owed = std::mem::take(&mut self.owed) || self.unanswered || self.pace.missed() || !self.is_whole() || followed;
        if !owed {
            self.held.told(tick, now);
            return None;
        }
        let lag = self.pace.miss()?;
        Some(OutFrame::new(self.format, &wire::Frame { lag: Some(lag), ..wire::Frame::default() }, Vec::new(), None))
    }

    /// Everything this session lacks, or what of it has to come first, as one frame; none when it lacks nothing.
    pub(in crate::live) fn frame(&mut self, map: &TenantMap, wholes: &mut Wholes, settings: &Settings, tick: Tick, now: UnixMs) -> Option<OutFrame> {
        self.owed = false;
        if self.turn == Turn::Shared && self.is_up_to_date() {
            self.held.told(tick, now);
            return None;
        }
        let view = self.view.clone()?;
        let mut parcel = Parcel { chunks: Vec::new(), bytes: 0, room: self.pace.link.room(settings), oldest: None };
        let shared = std::mem::take(&mut self.shared);
        let shared_bytes: usize = shared.iter().map(|(_, chunk)| chunk.bytes.len()).sum();
        if self.turn == Turn::Shared && shared_bytes > parcel.room {
            // As of the tick before everything is held evenly, so it can be told in parts as well.
            self.turn = Turn::CatchUp;
        } else {
            for (cell, chunk) in shared {
                self.put(&mut parcel, cell, chunk);
            }
        }
        // Before anything else is held: what comes whole now lacks nothing.
        let outdated = if self.turn == Turn::CatchUp { self.held.take_outdated(map, view.level) } else { Vec::new() };
        self.add_lacking(map, &view, wholes, &mut parcel, now);
        self.catch_up(map, &view, outdated, &mut parcel, now);
        self.held.told(tick, now);
        self.finish(map, &view, parcel, tick, now)
    }

    fn finish(&mut self, map: &TenantMap, view: &ActiveView, parcel: Parcel, tick: Tick, now: UnixMs) -> Option<OutFrame> {
        let followed = self.follow.as_mut().map_or_else(News::default, |follow| follow.news(map, &self.scope, tick, now));
        let is_whole = self.is_whole();
        let lag = if is_whole { self.pace.catch_up(now) } else { self.pace.miss() };
        let dropped = std::mem::take(&mut self.dropped);
        if parcel.chunks.is_empty() && dropped.is_empty() && followed.is_empty() && lag.is_none() && !self.unanswered {
            return None;
        }
        (self.unanswered, self.stamp) = (false, self.stamp.next_at(tick, self.held.floor()));
        let header = wire::Frame {
            tick: self.stamp.0,
            age_ms: parcel.oldest.map_or(0, |oldest| u32::try_from(now.since(oldest).as_millis()).unwrap_or(u32::MAX)),
            dropped: dropped.into_iter().map(u64::from).collect(),
            reset: std::mem::take(&mut self.reset),
            view_id: view.view_id,
            level: Some(view.level_message()),
            lag,
            followed: followed.marker,
            followed_delivery: followed.delivery,
            ..wire::Frame::default()
        };
        let frame = OutFrame::new(self.format, &header, parcel.chunks, parcel.oldest);
        self.pace.link.sent(self.stamp, frame.bytes_len(), now);
        self.held.sent(self.stamp);
        if !is_whole {
            self.pace.link.is_saturated();
        }
        Some(frame)
    }

    /// The quick look that most sessions need at most ticks.
    fn is_up_to_date(&self) -> bool {
        let news = !self.is_whole() || self.unanswered || self.pace.is_behind() || self.follow.is_some();
        self.shared.is_empty() && self.dropped.is_empty() && !news
    }

    fn put(&mut self, parcel: &mut Parcel, cell: CellIndex, chunk: Chunk) {
        if self.told.is_new(cell, &chunk) {
            parcel.put(chunk);
        }
    }

    /// What the cells that are not held yet come to, about.
    pub(super) fn lacking_bytes(&self, map: &TenantMap) -> usize {
        let Some(view) = self.view.as_ref().filter(|_| self.held.lacks_cells()) else { return 0 };
        let found = self.held.lacking().into_iter().filter_map(|cell| map.cell(CellKey { level: view.level, cell }));
        found.map(|cell| if view.level.is_counts() { BYTES_OF_COUNTS } else { cell.population() as usize * BYTES_OF_ENTER }).sum()
    }

    /// Cells that are not held, whole; from the middle of the view outwards when not all have room.
    fn add_lacking(&mut self, map: &TenantMap, view: &ActiveView, wholes: &mut Wholes, parcel: &mut Parcel, now: UnixMs) {
        if !self.held.lacks_cells() {
            return;
        }
        let mut lacking = self.held.lacking();
        if self.lacking_bytes(map) > parcel.room {
            let middle = view.viewport.middle();
            lacking.sort_by_cached_key(|cell| millimetres(middle, *cell));
        }
        let mut any_left = false;
        for cell in lacking {
            let key = CellKey { level: view.level, cell };
            let whole = map.cell(key).and_then(|cell| {
                wholes
                    .entry((self.tenant, key, view.lens, self.format))
                    .or_insert_with(|| chunk::encode(map, cell, &view.filter, Base::Nothing, Verify::Due, now, self.format))
                    .clone()
            });
            match whole {
                Some(whole) if !parcel.takes(&whole) => {
                    any_left = true;
                    break;
                }
                Some(whole) => self.put(parcel, cell, whole),
                None => {}
            }
            self.held.hold(cell);
        }
        self.held.lacks(any_left);
    }

    /// Held cells, by difference, the longest untold first. What there is no room for stays as it was told.
    fn catch_up(&mut self, map: &TenantMap, view: &ActiveView, outdated: Vec<(CellIndex, Moment)>, parcel: &mut Parcel, now: UnixMs) {
        let mut owed: HashMap<CellIndex, Moment> = outdated.iter().copied().collect();
        let found = |cell| map.cell(CellKey { level: view.level, cell });
        let most: usize = outdated.iter().filter_map(|(cell, base)| Some(most_of(found(*cell)?, *base))).sum();
        // What is told a moment later is not missed, and would be told twice.
        let is_slow = self.pace.link.time_for(most).is_some_and(|time| time > NOT_MISSED);
        let at_once = parcel.bytes + most <= parcel.room || !is_slow;
        for (cell, base) in outdated {
            let Some(found) = found(cell) else { continue };
            let chunk = chunk::encode(map, found, &view.filter, Base::At(base.tick), Verify::NotDue, now, self.format);
            if chunk.as_ref().is_some_and(|chunk| !parcel.takes(chunk)) {
                break;
            }
            owed.remove(&cell);
            if let Some(chunk) = chunk {
                self.put(parcel, cell, chunk);
                self.arrived.remove(&cell);
                if !at_once {
                    let went = went_elsewhere(map, found, base, |there, who| {
                        let is_later = owed.contains_key(&there) || self.held.is_lacking(there);
                        is_later && self.arrived.entry(there).or_default().insert(who)
                    });
                    self.tell_where_they_went(map, view, went, parcel, now);
                }
            }
        }
        if owed.is_empty() {
            self.arrived.clear();
        }
        owed.into_iter().for_each(|(cell, base)| self.held.leave_behind(cell, base));
    }

    /// What left for a cell that is told later is told there now, and alone: it would be nowhere meanwhile. A cell that is lacking has just appeared, most
    /// likely, and is told whole.
    fn tell_where_they_went(&mut self, map: &TenantMap, view: &ActiveView, went: Went<'_>, parcel: &mut Parcel, now: UnixMs) {
        for (cell, arrived) in went {
            let Some(found) = map.cell(CellKey { level: view.level, cell }) else { continue };
            let chunk = if !self.held.is_lacking(cell) {
                chunk::encode_arrivals(map, found, &view.filter, arrived.into_iter(), now, self.format)
            } else if found.population() as usize * BYTES_OF_ENTER <= parcel.room {
                self.held.hold(cell);
                chunk::encode(map, found, &view.filter, Base::Nothing, Verify::NotDue, now, self.format)
            } else {
                None
            };
            if let Some(chunk) = chunk {
                self.put(parcel, cell, chunk);
            }
        }
    }
}

/// By where they are now.
type Went<'m> = HashMap<CellIndex, Vec<&'m Placed>>;

/// What left a cell since `base` for one of those that are told later.
fn went_elsewhere<'m>(map: &'m TenantMap, left: &Cell, base: Moment, mut is_news: impl FnMut(CellIndex, Handle) -> bool) -> Went<'m> {
    let mut went = Went::new();
    let mut seen = HashSet::new();
    for removal in left.removals_since(base.tick) {
        // Whoever went to and fro has a removal for each time.
        let Some(placed) = map.marker(removal.handle()).filter(|_| seen.insert(removal.handle())) else { continue };
        let there = left.key.level.cell_above(map.finest(placed));
        if there != left.key.cell && is_news(there, removal.handle()) {
            went.entry(there).or_default().push(placed);
        }
    }
    went
}

/// What a cell's difference comes to at most, about.
fn most_of(cell: &Cell, base: Moment) -> usize {
    cell.population() as usize * BYTES_OF_ENTER + cell.removals_since(base.tick).count() * BYTES_OF_LEAVE
}

fn millimetres(from: LatLng, cell: CellIndex) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates; a distance is not negative")]
    let millimetres = (from.distance_m(LatLng::from(cell)) * 1_000.0) as u64;
    millimetres
}
