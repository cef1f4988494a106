//! What watchers saw: as a table for people, as JSON for scripts. Never decides an exit code.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::report::Form;

/// Times are kept in units of 10 us, up to an hour.
const UNITS_PER_MS: f64 = 100.0;
const LONGEST_UNITS: u64 = 360_000_000;

/// How long something took, many times.
#[derive(Debug)]
pub(super) struct Times(Histogram<u64>);

impl Default for Times {
    fn default() -> Self {
        Self(Histogram::new_with_max(LONGEST_UNITS, 2).expect("two digits and a bound above 2 are valid"))
    }
}

impl Times {
    pub(super) fn note_ms(&mut self, ms: f64) {
        self.0.saturating_record((ms.max(0.0) * UNITS_PER_MS).round() as u64);
    }

    pub(super) fn absorb(&mut self, other: &Self) {
        self.0.add(&other.0).expect("histograms of equal precision");
    }

    fn ms(&self, share: f64) -> f64 {
        self.0.value_at_quantile(share) as f64 / UNITS_PER_MS
    }

    fn count(&self) -> u64 {
        self.0.len()
    }
}

/// What one watcher, or all of them, saw.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) frames: u64,
    pub(super) bytes: u64,
    /// Markers that moved or entered in frames without a whole cell, and the bytes of those frames.
    pub(super) markers: u64,
    pub(super) marker_bytes: u64,
    pub(super) whole_cells: u64,
    pub(super) verified: u64,
    /// What did not fit what was held.
    pub(super) gaps: u64,
    pub(super) checksum_errors: u64,
    /// Frames that told a coarser level than the zoom asked for, or that the session is behind.
    pub(super) coarsened: u64,
    pub(super) behind: u64,
    pub(super) views: u64,
    pub(super) reconnects: u64,
    pub(super) resumed_bytes: u64,
    /// By the number of the goodbye; 0 stands for none.
    pub(super) closed: BTreeMap<u32, u64>,
    pub(super) last_error: Option<String>,
    /// From when a ping was due at its writer until the frame was here that shows it.
    pub(super) ping_to_frame: Times,
    /// How old the places on the screen are, whether they moved or not.
    pub(super) shown_age: Times,
    /// How often that was looked at, and the markers that were held then.
    pub(super) glances: u64,
    pub(super) held: u64,
    /// The age of the oldest change in a frame, by the server's word, when it was encoded.
    pub(super) frame_age: Times,
    /// From a view to the first frame that answers it.
    pub(super) view_answer: Times,
    /// From the cut of all, or from the wish to come back, to the first frame with content.
    pub(super) reconnected: Times,
}

impl Seen {
    pub(super) fn absorb(&mut self, other: Self) {
        for (mine, theirs) in [
            (&mut self.frames, other.frames),
            (&mut self.bytes, other.bytes),
            (&mut self.markers, other.markers),
            (&mut self.marker_bytes, other.marker_bytes),
            (&mut self.whole_cells, other.whole_cells),
            (&mut self.verified, other.verified),
            (&mut self.gaps, other.gaps),
            (&mut self.checksum_errors, other.checksum_errors),
            (&mut self.coarsened, other.coarsened),
            (&mut self.behind, other.behind),
            (&mut self.views, other.views),
            (&mut self.reconnects, other.reconnects),
            (&mut self.resumed_bytes, other.resumed_bytes),
            (&mut self.glances, other.glances),
            (&mut self.held, other.held),
        ] {
            *mine += theirs;
        }
        for (code, count) in other.closed {
            *self.closed.entry(code).or_default() += count;
        }
        self.last_error = other.last_error.or(self.last_error.take());
        self.ping_to_frame.absorb(&other.ping_to_frame);
        self.frame_age.absorb(&other.frame_age);
        self.shown_age.absorb(&other.shown_age);
        self.view_answer.absorb(&other.view_answer);
        self.reconnected.absorb(&other.reconnected);
    }
}

/// Times in milliseconds, sizes in bytes, rates a second.
#[derive(Clone, Debug, Default, Serialize)]
pub struct WatchReport {
    pub run: String,
    pub sessions: u64,
    /// Sessions that were shown something.
    pub shown: u64,
    pub seconds: f64,
    pub frames_per_s: f64,
    /// Markers moved or entered in frames of changes.
    pub markers: u64,
    pub markers_per_s: f64,
    pub bytes_per_s: f64,
    /// Of frames of changes: all their bytes for each marker in them.
    pub bytes_per_marker: f64,
    /// From when a ping was due at its writer (`load --pattern cities` with the same seed, cities and sigma) to the frame that shows it.
    pub ping_to_frame_p50_ms: f64,
    pub ping_to_frame_p99_ms: f64,
    pub ping_to_frame_max_ms: f64,
    /// How many markers that was measured of.
    pub ping_to_frame_samples: u64,
    /// How old the places on a screen are, some four times a second, moved or not: the time between two pings of a mover is part of it.
    pub shown_age_p50_ms: f64,
    pub shown_age_p99_ms: f64,
    pub shown_age_max_ms: f64,
    /// On a screen, on average.
    pub markers_held: f64,
    /// Age of the oldest change in a frame when it was encoded, since its ingest.
    pub frame_age_p50_ms: f64,
    pub frame_age_p99_ms: f64,
    pub view_answer_p50_ms: f64,
    pub view_answer_p99_ms: f64,
    pub views: u64,
    pub whole_cells: u64,
    /// Frames that did not fit what was held, and checksums that differed. Both have to be 0.
    pub gaps: u64,
    pub checksum_errors: u64,
    pub checksums_verified: u64,
    pub frames_coarsened: u64,
    pub times_behind: u64,
    pub reconnects: u64,
    pub reconnected_p50_ms: f64,
    pub reconnected_p99_ms: f64,
    pub reconnected_max_ms: f64,
    /// Bytes of the first frames after reconnecting, for each of them.
    pub bytes_per_reconnect: f64,
    /// Sessions that ended before their time, by the number of the server's goodbye; 0 is without one.
    pub closed: BTreeMap<u32, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

impl WatchReport {
    pub(super) fn new(sessions: usize, shown: u64, seconds: f64, seen: Seen) -> Self {
        let round = |value: f64| (value * 100.0).round() / 100.0;
        let per_s = |count: u64| round(count as f64 / seconds.max(1e-3));
        let each = |bytes: u64, of: u64| if of == 0 { 0.0 } else { round(bytes as f64 / of as f64) };
        Self {
            run: "watch".to_owned(),
            sessions: sessions as u64,
            shown,
            seconds: round(seconds),
            frames_per_s: per_s(seen.frames),
            markers: seen.markers,
            markers_per_s: per_s(seen.markers),
            bytes_per_s: per_s(seen.bytes),
            bytes_per_marker: each(seen.marker_bytes, seen.markers),
            ping_to_frame_p50_ms: seen.ping_to_frame.ms(0.5),
            ping_to_frame_p99_ms: seen.ping_to_frame.ms(0.99),
            ping_to_frame_max_ms: seen.ping_to_frame.ms(1.0),
            ping_to_frame_samples: seen.ping_to_frame.count(),
            shown_age_p50_ms: seen.shown_age.ms(0.5),
            shown_age_p99_ms: seen.shown_age.ms(0.99),
            shown_age_max_ms: seen.shown_age.ms(1.0),
            markers_held: each(seen.held, seen.glances),
            frame_age_p50_ms: seen.frame_age.ms(0.5),
            frame_age_p99_ms: seen.frame_age.ms(0.99),
            view_answer_p50_ms: seen.view_answer.ms(0.5),
            view_answer_p99_ms: seen.view_answer.ms(0.99),
            views: seen.views,
            whole_cells: seen.whole_cells,
            gaps: seen.gaps,
            checksum_errors: seen.checksum_errors,
            checksums_verified: seen.verified,
            frames_coarsened: seen.coarsened,
            times_behind: seen.behind,
            reconnects: seen.reconnects,
            reconnected_p50_ms: seen.reconnected.ms(0.5),
            reconnected_p99_ms: seen.reconnected.ms(0.99),
            reconnected_max_ms: seen.reconnected.ms(1.0),
            bytes_per_reconnect: each(seen.resumed_bytes, seen.reconnects),
            closed: seen.closed,
            last_error: seen.last_error,
        }
    }

    /// Everybody was shown something to the end, and nothing of it was wrong.
    pub fn is_good(&self) -> bool {
        self.shown == self.sessions && self.gaps == 0 && self.checksum_errors == 0 && self.closed.is_empty()
    }

    pub fn print(&self, form: Form) -> String {
        match form {
            Form::Json => serde_json::to_string(self).expect("plain fields can always be written") + "\n",
            Form::Table => self.table(),
        }
    }

    fn table(&self) -> String {
        let mut out = String::new();
        let mut row = |name: &str, value: String| writeln!(out, "{name:<32}{value}").expect("a String takes everything");
        row("sessions, shown something", format!("{}, {}", self.sessions, self.shown));
        row("seconds", self.seconds.to_string());
        row("frames/s", self.frames_per_s.to_string());
        row("markers/s, bytes each", format!("{}, {}", self.markers_per_s, self.bytes_per_marker));
        let [p50, p99, max] = [self.ping_to_frame_p50_ms, self.ping_to_frame_p99_ms, self.ping_to_frame_max_ms];
        row("ping to frame p50, p99, max ms", format!("{p50}, {p99}, {max} ({} markers)", self.ping_to_frame_samples));
        let [p50, p99, max] = [self.shown_age_p50_ms, self.shown_age_p99_ms, self.shown_age_max_ms];
        row("age on screen p50, p99, max ms", format!("{p50}, {p99}, {max} ({} markers on a screen)", self.markers_held));
        row("oldest in a frame p50, p99 ms", format!("{}, {}", self.frame_age_p50_ms, self.frame_age_p99_ms));
        row("views, answered p50, p99 ms", format!("{}, {}, {}", self.views, self.view_answer_p50_ms, self.view_answer_p99_ms));
        row("gaps, checksum errors", format!("{}, {} ({} verified)", self.gaps, self.checksum_errors, self.checksums_verified));
        row("coarsened frames, times behind", format!("{}, {}", self.frames_coarsened, self.times_behind));
        if self.reconnects > 0 {
            let [p50, p99, max] = [self.reconnected_p50_ms, self.reconnected_p99_ms, self.reconnected_max_ms];
            row("reconnects, p50, p99, max ms", format!("{}, {p50}, {p99}, {max} ({} bytes each)", self.reconnects, self.bytes_per_reconnect));
        }
        for (code, count) in &self.closed {
            row("  closed", format!("{count}  code {code}"));
        }
        if let Some(error) = &self.last_error {
            row("problem", error.clone());
        }
        out
    }
}
