//! A second, independent reader of the live protocol: applies frames to what a client holds, and verifies checksums. It checks the server's
//! encoder, so it shares no code with it; it never talks to a server.

use std::collections::{BTreeMap, HashMap, HashSet};

use prost::Message;
use thiserror::Error;

use crate::wire::{Cell, Enter, Frame};

/// What a client holds. Bounded by the view: at most 512 cells and 20,000 markers are ever sent for one.
#[derive(Debug, Default)]
pub struct Picture {
    cells: HashMap<u64, CellContent>,
    markers: HashMap<u64, Marker>,
    /// The tick of the last frame with map content.
    pub tick: u64,
    /// Cells whose checksum was verified so far.
    pub verified: u64,
}

#[derive(Debug, Default)]
struct CellContent {
    /// What positions in it are told against.
    origin: (i32, i32),
    handles: HashSet<u64>,
    counts: BTreeMap<u32, u32>,
}

/// One moving point as the client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marker {
    pub cell: u64,
    pub id: String,
    pub driver: bool,
    pub aboard: u32,
    pub lat_e7: i32,
    pub lng_e7: i32,
    pub meta: u32,
}

#[derive(Debug, Error, PartialEq, Eq)]
pub enum FrameError {
    #[error("the bytes are no frame: {0}")]
    Bytes(String),
    #[error("cell {cell:x}: its moves are not five numbers each")]
    Moves { cell: u64 },
    #[error("cell {cell:x}: a difference of what was never told whole, and without an origin")]
    NoOrigin { cell: u64 },
    #[error("cell {cell:x}: handle {handle} moves, but is not held there")]
    UnknownMover { cell: u64, handle: u64 },
    #[error("cell {cell:x}: {held} entries held, {told} told")]
    Entries { cell: u64, held: usize, told: u32 },
    #[error("cell {cell:x}: checksum {held:08x} held, {told:08x} told")]
    Checksum { cell: u64, held: u32, told: u32 },
    #[error("handle {handle} enters without an id")]
    NoId { handle: u64 },
}

impl Picture {
    pub fn markers(&self) -> impl Iterator<Item = (u64, &Marker)> {
        self.markers.iter().map(|(handle, marker)| (*handle, marker))
    }

    pub fn marker(&self, handle: u64) -> Option<&Marker> {
        self.markers.get(&handle)
    }

    pub fn cells(&self) -> impl Iterator<Item = u64> {
        self.cells.keys().copied()
    }

    /// Status code and number of markers of a cell at a level of counts.
    pub fn counts(&self, cell: u64) -> impl Iterator<Item = (u32, u32)> {
        self.cells.get(&cell).into_iter().flat_map(|content| content.counts.iter().map(|(status, markers)| (*status, *markers)))
    }

    /// Decodes and applies one binary message.
    pub fn apply_bytes(&mut self, bytes: &[u8]) -> Result<Frame, FrameError> {
        let frame = Frame::decode(bytes).map_err(|error| FrameError::Bytes(error.to_string()))?;
        self.apply(&frame)?;
        Ok(frame)
    }

    /// `reset` first, then `dropped`, then `cells`; checksums last, for a marker may leave one cell and enter another in either order.
    pub fn apply(&mut self, frame: &Frame) -> Result<(), FrameError> {
        if frame.reset {
            self.cells.clear();
            self.markers.clear();
        }
        for cell in &frame.dropped {
            self.forget(*cell);
        }
        for cell in &frame.cells {
            self.apply_cell(cell)?;
        }
        for cell in &frame.cells {
            self.verify(cell)?;
        }
        if frame.tick > 0 {
            self.tick = frame.tick;
        }
        Ok(())
    }

    fn forget(&mut self, cell: u64) {
        let content = self.cells.remove(&cell).unwrap_or_default();
        for handle in content.handles {
            self.markers.remove(&handle);
        }
    }

    fn apply_cell(&mut self, cell: &Cell) -> Result<(), FrameError> {
        if cell.whole {
            self.forget(cell.cell);
        }
        match (cell.origin_lat_e7, cell.origin_lng_e7) {
            (Some(lat), Some(lng)) => self.cells.entry(cell.cell).or_default().origin = (lat, lng),
            _ if !self.cells.contains_key(&cell.cell) => return Err(FrameError::NoOrigin { cell: cell.cell }),
            _ => {}
        }
        for enter in &cell.enters {
            self.enter(cell, enter)?;
        }
        self.moves(cell)?;
        for leave in &cell.leaves {
            let content = self.cells.entry(cell.cell).or_default();
            if content.handles.remove(&leave.handle) {
                self.markers.remove(&leave.handle);
            }
        }
        let content = self.cells.entry(cell.cell).or_default();
        if cell.whole || !cell.counts.is_empty() {
            content.counts = cell.counts.iter().map(|count| (count.status.cast_unsigned(), count.markers)).collect();
        }
        Ok(())
    }

    fn enter(&mut self, cell: &Cell, enter: &Enter) -> Result<(), FrameError> {
        if enter.id.is_empty() {
            return Err(FrameError::NoId { handle: enter.handle });
        }
        let origin = self.cells.entry(cell.cell).or_default().origin;
        let (lat_e7, lng_e7) = absolute(origin, enter.dlat_e7, enter.dlng_e7);
        let marker = Marker { cell: cell.cell, id: enter.id.clone(), driver: enter.driver, aboard: enter.aboard, lat_e7, lng_e7, meta: enter.meta };
        if let Some(before) = self.markers.insert(enter.handle, marker)
            && before.cell != cell.cell
            && let Some(left) = self.cells.get_mut(&before.cell)
        {
            left.handles.remove(&enter.handle);
        }
        self.cells.entry(cell.cell).or_default().handles.insert(enter.handle);
        Ok(())
    }

    fn moves(&mut self, cell: &Cell) -> Result<(), FrameError> {
        let origin = self.cells.entry(cell.cell).or_default().origin;
        for moved in moves(cell)? {
            let held = self.markers.get_mut(&moved.handle).filter(|marker| marker.cell == cell.cell);
            let marker = held.ok_or(FrameError::UnknownMover { cell: cell.cell, handle: moved.handle })?;
            (marker.lat_e7, marker.lng_e7) = absolute(origin, moved.dlat_e7, moved.dlng_e7);
            marker.meta = moved.meta;
        }
        Ok(())
    }

    fn verify(&mut self, cell: &Cell) -> Result<(), FrameError> {
        let Some(content) = self.cells.get(&cell.cell) else { return Ok(()) };
        let held = content.handles.len() + content.counts.len();
        if let Some(told) = cell.entries
            && held as u64 != u64::from(told)
        {
            return Err(FrameError::Entries { cell: cell.cell, held, told });
        }
        let Some(told) = cell.checksum else { return Ok(()) };
        let of_marker = |handle: &u64| self.markers.get(handle).map_or(0, |m| share_of(*handle, m.lat_e7, m.lng_e7, m.meta));
        let markers = content.handles.iter().map(of_marker);
        let counts = content.counts.iter().map(|(status, count)| share_of(u64::from(*status), 0, 0, *count));
        let held = markers.chain(counts).fold(0_u32, u32::wrapping_add);
        if held != told {
            return Err(FrameError::Checksum { cell: cell.cell, held, told });
        }
        self.verified += 1;
        Ok(())
    }
}

/// A marker that moved inside its cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    pub handle: u64,
    pub dlat_e7: i32,
    pub dlng_e7: i32,
    pub meta: u32,
}

/// Takes `Cell.moves` apart.
pub fn moves(cell: &Cell) -> Result<impl Iterator<Item = Moved>, FrameError> {
    if !cell.moves.len().is_multiple_of(5) {
        return Err(FrameError::Moves { cell: cell.cell });
    }
    let mut low = 0_u64;
    Ok(cell.moves.chunks_exact(5).map(move |numbers| {
        low = low.wrapping_add(numbers[0]);
        let unfold = |number: u64| ((number >> 1) as i32) ^ -((number & 1) as i32);
        Moved { handle: numbers[1] << LOW_BITS | low, dlat_e7: unfold(numbers[2]), dlng_e7: unfold(numbers[3]), meta: numbers[4] as u32 }
    }))
}

/// Where a handle is cut in two in `Cell.moves`.
const LOW_BITS: u32 = 37;

/// Positions are sent as differences to the cell's origin; a longitude past 180 degrees comes back on the other side.
fn absolute((origin_lat_e7, origin_lng_e7): (i32, i32), dlat_e7: i32, dlng_e7: i32) -> (i32, i32) {
    const HALF_TURN: i64 = 1_800_000_000;
    let lng = i64::from(origin_lng_e7) + i64::from(dlng_e7);
    let wrapped = (lng + HALF_TURN).rem_euclid(2 * HALF_TURN) - HALF_TURN;
    (origin_lat_e7.wrapping_add(dlat_e7), wrapped as i32)
}

/// One entry's share of its cell's checksum, as ARCHITECTURE.md, "Cell checksum" has it: a chain of `MurmurHash3` finalisers.
fn share_of(handle: u64, lat_e7: i32, lng_e7: i32, meta: u32) -> u32 {
    let mut hash = finalise((handle as u32) ^ 0x9e37_79b9);
    for word in [(handle >> 32) as u32, lat_e7.cast_unsigned(), lng_e7.cast_unsigned(), meta] {
        hash = finalise(hash ^ word);
    }
    hash
}

fn finalise(hash: u32) -> u32 {
    let hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
    let hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
    hash ^ (hash >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Count, Leave};

    fn packed(moves: &[(u64, i32, i32, u32)]) -> Vec<u64> {
        let fold = |value: i32| u64::from(((value << 1) ^ (value >> 31)).cast_unsigned());
        moves.iter().flat_map(|(step, dlat, dlng, meta)| [*step, 0, fold(*dlat), fold(*dlng), u64::from(*meta)]).collect()
    }

    fn enter(handle: u64, dlat_e7: i32, dlng_e7: i32) -> Enter {
        Enter { handle, dlat_e7, dlng_e7, id: format!("d{handle}"), driver: true, ..Enter::default() }
    }

    fn cell(cell: u64) -> Cell {
        Cell { cell, origin_lat_e7: Some(100), origin_lng_e7: Some(1_799_999_990), ..Cell::default() }
    }

    fn frame(tick: u64, cells: Vec<Cell>) -> Frame {
        Frame { tick, cells, ..Frame::default() }
    }

    fn held(picture: &Picture) -> BTreeMap<u64, (u64, i32, i32)> {
        picture.markers().map(|(handle, m)| (handle, (m.cell, m.lat_e7, m.lng_e7))).collect()
    }

    #[test]
    fn a_marker_that_changes_cells_is_held_once_whichever_cell_comes_first() {
        for reversed in [false, true] {
            let mut picture = Picture::default();
            picture.apply(&frame(1, vec![Cell { whole: true, enters: vec![enter(5, 1, 2), enter(6, 3, 4)], ..cell(1) }])).expect("valid");
            let leave = Cell { leaves: vec![Leave { handle: 5, ..Leave::default() }], entries: Some(1), ..cell(1) };
            let come = Cell { enters: vec![enter(5, 7, 8)], entries: Some(1), ..cell(2) };
            let mut cells = vec![leave, come];
            if reversed {
                cells.reverse();
            }
            picture.apply(&frame(2, cells)).expect("valid");
            assert_eq!(held(&picture), BTreeMap::from([(5, (2, 107, 1_799_999_998)), (6, (1, 103, 1_799_999_994))]));
            picture.apply(&Frame { dropped: vec![1], ..frame(3, vec![]) }).expect("valid");
            assert_eq!(held(&picture).keys().copied().collect::<Vec<_>>(), [5]);
            picture.apply(&Frame { reset: true, ..frame(4, vec![]) }).expect("valid");
            assert_eq!(held(&picture).len(), 0);
        }
    }

    #[test]
    fn moves_are_columns_with_handle_differences_and_longitudes_wrap() {
        let mut picture = Picture::default();
        picture.apply(&frame(1, vec![Cell { enters: vec![enter(5, 0, 0), enter(9, 0, 0)], ..cell(1) }])).expect("valid");
        let moves = packed(&[(5, 1, 10, 7), (4, -2, 11, 8)]);
        let told = Cell { moves: moves.clone(), origin_lat_e7: None, origin_lng_e7: None, ..cell(1) };
        picture.apply(&frame(2, vec![told])).expect("valid");
        assert_eq!(held(&picture), BTreeMap::from([(5, (1, 101, -1_800_000_000)), (9, (1, 98, -1_799_999_999))]));
        let elsewhere = picture.apply(&frame(3, vec![Cell { moves: moves.clone(), ..cell(2) }]));
        assert_eq!(elsewhere, Err(FrameError::UnknownMover { cell: 2, handle: 5 }));
        let uneven = picture.apply(&frame(4, vec![Cell { moves: moves[1..].to_vec(), ..cell(1) }]));
        assert_eq!(uneven, Err(FrameError::Moves { cell: 1 }));
        let unheard_of = picture.apply(&frame(5, vec![Cell { cell: 9, moves, ..Cell::default() }]));
        assert_eq!(unheard_of, Err(FrameError::NoOrigin { cell: 9 }));
    }

    #[test]
    fn a_wrong_checksum_or_count_of_entries_is_noticed() {
        let checksum = share_of(5, 101, 1_799_999_992, 0).wrapping_add(share_of(6, 100, 1_799_999_990, 0));
        let good = Cell { whole: true, enters: vec![enter(5, 1, 2), enter(6, 0, 0)], entries: Some(2), checksum: Some(checksum), ..cell(1) };
        let mut picture = Picture::default();
        picture.apply_bytes(&frame(1, vec![good.clone()]).encode_to_vec()).expect("valid");
        assert_eq!((picture.verified, picture.tick), (1, 1));
        let wrong = picture.apply(&frame(2, vec![Cell { checksum: Some(checksum ^ 1), ..good.clone() }]));
        assert!(matches!(wrong, Err(FrameError::Checksum { .. })), "{wrong:?}");
        let short = picture.apply(&frame(2, vec![Cell { entries: Some(3), ..good }]));
        assert!(matches!(short, Err(FrameError::Entries { held: 2, told: 3, .. })), "{short:?}");
    }

    #[test]
    fn counts_replace_each_other_whole() {
        let counts = |markers| vec![Count { status: 6, markers }, Count { status: 0, markers: 2 }];
        let mut picture = Picture::default();
        picture.apply(&frame(1, vec![Cell { whole: true, counts: counts(4), ..cell(1) }])).expect("valid");
        let checksum = Some(share_of(6, 0, 0, 5).wrapping_add(share_of(0, 0, 0, 2)));
        picture.apply(&frame(2, vec![Cell { whole: true, counts: counts(5), entries: Some(2), checksum, ..cell(1) }])).expect("valid");
        assert_eq!(picture.counts(1).collect::<Vec<_>>(), [(0, 2), (6, 5)]);
    }
}
