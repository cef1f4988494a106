//! One cell, or what changed in it, encoded once for all sessions that look at it through the same lens. Never knows who they are.

use std::borrow::Cow;

use bytes::Bytes;
use hashbrown::HashSet;
use prost::Message;

use super::Format;
use super::enter::enter_of;
use super::json;
use super::lens::Filter;
use super::moved::{checksum_of, columns, parts_of};
use super::tally;
use crate::map::TenantMap;
use crate::map::boxes::wrapped_e7;
use crate::map::cells::{Cell, Entry, Tick, meta_of};
use crate::map::placed::Placed;
use crate::model::marker::Marker;
use crate::model::position::Position;
use crate::model::scope::Overlap;
use crate::model::time::UnixMs;
use crate::wire;

/// What the receiver holds of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    Nothing,
    /// All of it as it was after this tick, or nothing if it was empty then.
    At(Tick),
    /// The same, and its origin: it was told whole on this connection.
    Told(Tick),
}

/// Whether the cell's checksum is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    Due,
    NotDue,
}

/// A cell's message in one format: for Protobuf an already tagged `cells` field, for JSON an element of the array.
#[derive(Clone, Debug)]
pub struct Chunk {
    pub bytes: Bytes,
    /// Ingest time of the oldest change in it; none in a whole cell, which is no news.
    pub oldest: Option<UnixMs>,
    /// What it counts, when it counts for a credential that sees a part alone.
    pub tally: Option<Tally>,
}

/// Counts in short: whether there are any, and their checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    pub is_empty: bool,
    pub checksum: u32,
}

/// Encodes what `base` lacks of a cell; nothing when it lacks nothing.
pub fn encode(map: &TenantMap, cell: &Cell, filter: &Filter, base: Base, verify: Verify, now: UnixMs, format: Format) -> Option<Chunk> {
    Build::new(map, cell, filter, now).chunk(base, verify, format)
}

/// Some markers that came into a cell, for who is told the rest of it later and holds what it held: it is as if each came in twice. None of them may be for
/// who looks through this lens.
pub fn encode_arrivals<'m>(
    map: &TenantMap,
    cell: &Cell,
    filter: &Filter,
    arrived: impl Iterator<Item = &'m Placed>,
    now: UnixMs,
    format: Format,
) -> Option<Chunk> {
    let mut build = Build::new(map, cell, filter, now);
    let mut message = build.header(cell.origin());
    for placed in arrived {
        let Some((entry, marker)) = build.seen(placed, placed.entry(cell.key.level)) else { continue };
        build.note_age(marker.changed());
        message.enters.push(build.enter(&entry, &marker));
    }
    (!message.enters.is_empty()).then(|| Chunk { bytes: spelled(&message, format), oldest: build.oldest, tally: None })
}

fn spelled(message: &wire::Cell, format: Format) -> Bytes {
    match format {
        Format::Proto => tagged(message),
        Format::Json => Bytes::from(json::cell(message)),
    }
}

fn tagged(message: &wire::Cell) -> Bytes {
    const CELLS_FIELD_LENGTH_DELIMITED: u8 = 1 << 3 | 2;
    let length = message.encoded_len();
    let mut bytes = Vec::with_capacity(length + 6);
    bytes.push(CELLS_FIELD_LENGTH_DELIMITED);
    message.encode_length_delimited(&mut bytes).expect("a Vec grows");
    Bytes::from(bytes)
}

struct Build<'a> {
    map: &'a TenantMap,
    cell: &'a Cell,
    filter: &'a Filter,
    /// How the area that may be seen lies to the cell's box.
    overlap: Overlap,
    now: UnixMs,
    oldest: Option<UnixMs>,
}

impl<'a> Build<'a> {
    fn new(map: &'a TenantMap, cell: &'a Cell, filter: &'a Filter, now: UnixMs) -> Self {
        Self { map, cell, filter, overlap: tally::overlap(cell, filter.scope()), now, oldest: None }
    }

    fn chunk(&mut self, base: Base, verify: Verify, format: Format) -> Option<Chunk> {
        let message = self.message(base, verify)?;
        let tally = (self.cell.key.level.is_counts() && self.filter.is_narrowed())
            .then(|| Tally { is_empty: message.counts.is_empty(), checksum: message.checksum.unwrap_or_default() });
        Some(Chunk { bytes: spelled(&message, format), oldest: self.oldest, tally })
    }

    fn message(&mut self, base: Base, verify: Verify) -> Option<wire::Cell> {
        if let Base::At(tick) | Base::Told(tick) = base
            && self.cell.changed() <= tick
        {
            return None;
        }
        // No marker in it was ever inside: there is nothing to tell, also not that there is nothing.
        if self.overlap == Overlap::None {
            return None;
        }
        if self.cell.key.level.is_counts() {
            return self.counts(base);
        }
        match base {
            // Who sees a part was not told of the cell while that was empty.
            Base::Told(tick) if self.cell.reaches_back_to(tick) && !self.filter.is_narrowed() => self.difference(tick, self.name(), verify),
            Base::At(tick) | Base::Told(tick) if self.cell.reaches_back_to(tick) => {
                let difference = self.difference(tick, self.header(self.cell.origin()), verify)?;
                Some(self.or_whole(difference))
            }
            _ => Some(self.whole()).filter(|whole| base != Base::Nothing || !self.filter.is_narrowed() || !whole.enters.is_empty()),
        }
    }

    /// After a long time there is more to say of what came and went than of what is there.
    fn or_whole(&self, difference: wire::Cell) -> wire::Cell {
        let told = difference.enters.len() + difference.leaves.len();
        if self.filter.is_narrowed() || told < self.cell.population() as usize {
            return difference;
        }
        let whole = self.whole();
        if whole.encoded_len() < difference.encoded_len() { whole } else { difference }
    }

    fn header(&self, at: Position) -> wire::Cell {
        wire::Cell { origin_lat_e7: Some(at.lat_e7()), origin_lng_e7: Some(at.lng_e7()), ..self.name() }
    }

    fn name(&self) -> wire::Cell {
        wire::Cell { cell: u64::from(self.cell.key.cell), ..wire::Cell::default() }
    }

    /// Counts always come complete.
    fn counts(&mut self, base: Base) -> Option<wire::Cell> {
        let tally = tally::of(self.map, self.cell, self.filter);
        if base != Base::Nothing {
            self.note_age(self.now);
        }
        let rows = (0_u8..).zip(tally.counts).filter(|(_, markers)| *markers > 0);
        let checksum = rows.clone().fold(0_u32, |sum, (code, markers)| sum.wrapping_add(checksum_of(u64::from(code), 0, 0, markers)));
        let counts: Vec<wire::Count> = rows.map(|(code, markers)| wire::Count { status: i32::from(code), markers }).collect();
        if base == Base::Nothing && self.filter.is_narrowed() && counts.is_empty() {
            return None;
        }
        let entries = u32::try_from(counts.len()).expect("at most thirteen");
        Some(wire::Cell { whole: true, counts, entries: Some(entries), checksum: Some(checksum), ..self.header(tally.place) })
    }

    fn whole(&self) -> wire::Cell {
        let mut enters: Vec<wire::Enter> = self.matching().map(|(entry, marker)| self.enter(&entry, &marker)).collect();
        enters.sort_unstable_by_key(|enter| enter.handle);
        let (entries, checksum) = self.checksum();
        wire::Cell { whole: true, enters, entries: Some(entries), checksum: Some(checksum), ..self.header(self.cell.origin()) }
    }

    fn difference(&mut self, base: Tick, mut message: wire::Cell, verify: Verify) -> Option<wire::Cell> {
        let mut moved = Vec::new();
        for placed in self.map.changed_since(self.cell, base) {
            let (handle, entry) = (placed.marker.handle(), placed.entry(self.cell.key.level));
            // A base older than the last change of status may or may not have shown it through this lens, and neither does it say on which side
            // of the area's edge it was: an enter that overwrites and a leave that counts only if it is there are right either way.
            let unsure = self.filter.is_unsure(&entry, base) || self.overlap == Overlap::Some;
            let Some((entry, marker)) = self.seen(placed, entry) else {
                if unsure || entry.entered > base {
                    self.leave(&mut message, wire::Leave { handle: handle.0, ended: 0, gone: false }, placed, base);
                }
                continue;
            };
            self.note_age(marker.changed());
            if entry.entered > base || unsure {
                message.enters.push(self.enter(&entry, &marker));
            } else {
                let (dlat, dlng) = self.delta(entry.position);
                moved.push((parts_of(handle), dlat, dlng, entry.meta));
            }
        }
        self.removals(&mut message, base);
        message.moves = columns(moved);
        let anything = !message.moves.is_empty() || !message.enters.is_empty() || !message.leaves.is_empty();
        let mut due = verify == Verify::Due;
        if due {
            let (entries, checksum) = self.checksum();
            (message.entries, message.checksum) = (Some(entries), Some(checksum));
            due = entries > 0 || !self.filter.is_narrowed();
        }
        (anything || due).then_some(message)
    }

    fn removals(&self, message: &mut wire::Cell, base: Tick) {
        let mut seen = HashSet::new();
        for removal in self.cell.removals_since(base) {
            let elsewhere = self.map.marker(removal.handle());
            if !seen.insert(removal.handle()) || elsewhere.is_some_and(|placed| self.map.stands_in(placed, self.cell.key)) {
                continue;
            }
            // Whose status it was is not known any more: who sees a part is told the bare number, which says nothing to who does not know it.
            let ended = removal.ended().filter(|_| !self.filter.is_narrowed()).map_or(0, |status| i32::from(status.code()));
            let leave = wire::Leave { handle: removal.handle().0, ended, gone: removal.is_gone() };
            match elsewhere {
                Some(placed) => self.leave(message, leave, placed, base),
                None => message.leaves.push(leave),
            }
        }
    }

    /// Says that a marker is not here any more, unless it cannot have been here for who looks through this lens: neither its ids nor what it
    /// carries were ever for them.
    fn leave(&self, message: &mut wire::Cell, leave: wire::Leave, placed: &Placed, base: Tick) {
        let entry = placed.entry(self.cell.key.level);
        let never = self.filter.is_narrowed() && entry.status_changed <= base && !self.filter.scope().holds_ids(&placed.marker);
        if !never {
            message.leaves.push(leave);
        }
    }

    /// What the lens shows of a marker of this cell.
    fn seen<'m>(&self, placed: &'m Placed, mut entry: Entry) -> Option<(Entry, Cow<'m, Marker>)> {
        let (level, marker) = (self.cell.key.level, self.filter.seen(&placed.marker)?);
        if let Cow::Owned(part) = &marker {
            entry.meta = level.masked(meta_of(part));
        }
        Some((entry, marker))
    }

    fn matching(&self) -> impl Iterator<Item = (Entry, Cow<'_, Marker>)> {
        self.map.members(self.cell).filter_map(|placed| self.seen(placed, placed.entry(self.cell.key.level)))
    }

    fn checksum(&self) -> (u32, u32) {
        self.matching().fold((0, 0), |(entries, sum), (entry, marker)| {
            let of = checksum_of(marker.handle().0, entry.position.lat_e7(), entry.position.lng_e7(), entry.meta);
            (entries + 1, sum.wrapping_add(of))
        })
    }

    fn enter(&self, entry: &Entry, marker: &Marker) -> wire::Enter {
        let (dlat_e7, dlng_e7) = self.delta(entry.position);
        wire::Enter { dlat_e7, dlng_e7, ..enter_of(marker.handle(), entry.meta, marker, self.now) }
    }

    fn delta(&self, position: Position) -> (i32, i32) {
        let origin = self.cell.origin();
        (position.lat_e7() - origin.lat_e7(), wrapped_e7(i64::from(position.lng_e7()) - i64::from(origin.lng_e7())))
    }

    fn note_age(&mut self, changed: UnixMs) {
        self.oldest = Some(self.oldest.map_or(changed, |oldest| oldest.min(changed)));
    }
}
