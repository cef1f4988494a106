//! What a watcher measures of its frames and of its screen. Never talks to a server.

use super::Watcher;
use crate::clock;
use crate::frame::{Marker, Picture, moves};
use crate::geodesy::Place;
use crate::movers::Movers;
use crate::wire::Frame;

/// Levels of this resolution and finer: their positions are exact, so they tell when their ping was due.
const EXACT_RESOLUTION: u32 = 7;
/// Of so many moved markers one is asked for its age, once a watcher has seen many.
const MEASURED_OF: u64 = 8;
const MANY: u64 = 512;
/// Of all sessions together.
const MARKERS_AT_A_GLANCE: usize = 10_000;

impl Watcher {
    pub(super) fn note_cells(&mut self, picture: &Picture, frame: &Frame, resolution: u32, bytes: u64) {
        let whole = frame.cells.iter().filter(|cell| cell.whole).count() as u64;
        self.seen.whole_cells += whole;
        self.seen.verified += frame.cells.iter().filter(|cell| cell.checksum.is_some()).count() as u64;
        if whole > 0 || frame.reset {
            return;
        }
        if frame.age_ms > 0 {
            self.seen.frame_age.note_ms(f64::from(frame.age_ms));
        }
        self.seen.marker_bytes += bytes;
        let now = clock::now_ms_exact();
        for cell in &frame.cells {
            self.seen.markers += cell.enters.len() as u64;
            for moved in moves(cell).into_iter().flatten() {
                self.seen.markers += 1;
                let measured = self.seen.markers < MANY || self.seen.markers.is_multiple_of(MEASURED_OF);
                if resolution >= EXACT_RESOLUTION && measured {
                    self.note_age(picture, moved.handle, now);
                }
            }
        }
    }

    fn note_age(&mut self, picture: &Picture, handle: u64, now: f64) {
        if let Some(age_ms) = picture.marker(handle).and_then(|marker| self.age_of(marker, now)) {
            self.seen.ping_to_frame.note_ms(age_ms);
        }
    }

    fn age_of(&self, marker: &Marker, now: f64) -> Option<f64> {
        let object = Movers::number_of(&marker.id)?;
        let place = Place { lat: f64::from(marker.lat_e7) / 1e7, lng: f64::from(marker.lng_e7) / 1e7 };
        self.plan.options.movers.time_at(object, place, now).map(|due| now - due)
    }

    /// How old is what is on the screen, moved or not? Of some of it, if many look.
    pub(super) fn glance(&mut self, picture: &Picture) {
        let held = picture.markers().count();
        self.seen.glances += 1;
        self.seen.held += held as u64;
        if self.held.level < EXACT_RESOLUTION {
            return;
        }
        let step = (held * self.plan.options.sessions / MARKERS_AT_A_GLANCE).max(1);
        self.glances += 1;
        let now = clock::now_ms_exact();
        for (_, marker) in picture.markers().skip(self.glances % step).step_by(step) {
            if let Some(age_ms) = self.age_of(marker, now) {
                self.seen.shown_age.note_ms(age_ms);
            }
        }
    }
}
