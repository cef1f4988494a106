//! What a dashboard does with frames, after the comments of `waypost.proto` alone. Never looks into the server.

use std::collections::BTreeMap;

use prost::Message;

use crate::live::{Settings, moved};
use crate::wire;

#[derive(Debug, Default)]
pub(super) struct Client {
    /// handle -> (cell, lat, lng, meta, id)
    pub(super) markers: BTreeMap<u64, (u64, i32, i32, u32, String)>,
    pub(super) counts: BTreeMap<u64, Vec<(i32, u32)>>,
    /// What positions in a cell are told against.
    origins: BTreeMap<u64, (i32, i32)>,
    pub(super) tick: u64,
    pub(super) level: u32,
    pub(super) view_id: u32,
    pub(super) followed: Option<wire::Enter>,
    pub(super) unacked: Vec<u64>,
    checks: usize,
    pub(super) bye: Option<u32>,
    pub(super) behind: bool,
    /// Nothing came on this connection yet.
    pub(super) fresh: bool,
}

impl Client {
    pub(super) fn apply(&mut self, bytes: &[u8]) {
        let frame = wire::Frame::decode(bytes).unwrap();
        self.bye = frame.bye.map(|bye| bye.code);
        if let Some(lag) = frame.lag {
            self.behind = lag.behind;
        }
        if frame.tick == 0 {
            return;
        }
        assert!(frame.tick > self.tick || self.fresh, "ticks of a session only grow");
        self.fresh = false;
        if frame.reset {
            self.markers.clear();
            self.counts.clear();
            self.origins.clear();
        }
        frame.dropped.iter().for_each(|cell| self.forget(*cell));
        for cell in &frame.cells {
            self.apply_cell(cell);
        }
        // Checksums are of the whole frame's outcome: a marker may have gone from one cell to another within it.
        for cell in &frame.cells {
            self.check(cell);
        }
        (self.tick, self.level, self.view_id) = (frame.tick, frame.level.unwrap().h3_resolution, frame.view_id);
        self.followed = frame.followed.or(self.followed.take());
        self.unacked.push(frame.tick);
        assert!(self.unacked.len() <= Settings::default().max_frames_in_flight, "no more frames are unacknowledged");
    }

    fn forget(&mut self, cell: u64) {
        self.markers.retain(|_, marker| marker.0 != cell);
        self.origins.remove(&cell);
        self.counts.remove(&cell);
    }

    fn apply_cell(&mut self, cell: &wire::Cell) {
        if cell.whole {
            self.forget(cell.cell);
        }
        if let (Some(lat), Some(lng)) = (cell.origin_lat_e7, cell.origin_lng_e7) {
            self.origins.insert(cell.cell, (lat, lng));
        }
        let origin = *self.origins.get(&cell.cell).expect("what is told by difference was told whole, or comes with its origin");
        let place = |dlat: i32, dlng: i32| {
            let lng = (i64::from(origin.1) + i64::from(dlng) + 1_800_000_000).rem_euclid(3_600_000_000) - 1_800_000_000;
            (origin.0 + dlat, i32::try_from(lng).unwrap())
        };
        for enter in &cell.enters {
            let (lat, lng) = place(enter.dlat_e7, enter.dlng_e7);
            self.markers.insert(enter.handle, (cell.cell, lat, lng, enter.meta, enter.id.clone()));
        }
        let mut low = 0;
        for moved in cell.moves.chunks(5) {
            let &[step, high, dlat, dlng, meta] = moved else { panic!("five numbers a marker, not {moved:?}") };
            low += step;
            let unfold = |number: u64| i32::try_from((number >> 1).cast_signed() ^ -(number & 1).cast_signed()).unwrap();
            let (lat, lng) = place(unfold(dlat), unfold(dlng));
            let known = self.markers.get_mut(&(high << 37 | low)).expect("only what is held moves");
            assert_eq!(known.0, cell.cell, "only inside its cell does a marker move");
            (known.1, known.2, known.3) = (lat, lng, u32::try_from(meta).unwrap());
        }
        for leave in &cell.leaves {
            if self.markers.get(&leave.handle).is_some_and(|known| known.0 == cell.cell) {
                self.markers.remove(&leave.handle);
            }
        }
        if !cell.counts.is_empty() {
            self.counts.insert(cell.cell, cell.counts.iter().map(|count| (count.status, count.markers)).collect());
        }
    }

    fn check(&mut self, cell: &wire::Cell) {
        let (Some(entries), Some(checksum)) = (cell.entries, cell.checksum) else { return };
        let markers: Vec<_> = self.markers.iter().filter(|(_, marker)| marker.0 == cell.cell).collect();
        let counts = self.counts.get(&cell.cell).cloned().unwrap_or_default();
        assert_eq!(entries as usize, markers.len() + counts.len());
        let of_markers = markers.iter().map(|(handle, m)| moved::checksum_of(**handle, m.1, m.2, m.3));
        let of_counts = counts.iter().map(|(status, markers)| moved::checksum_of(u64::try_from(*status).unwrap(), 0, 0, *markers));
        assert_eq!(checksum, of_markers.chain(of_counts).fold(0, u32::wrapping_add));
        self.checks += 1;
    }
}
