//! What a run did and whether the server holds it: as a table for people, as JSON for scripts. Never decides an exit code.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::check::Checked;
use crate::client::answer::ItemOutcome;

/// A progress bar of this length; indicatif draws it on a terminal only.
pub fn bar(length: u64, unit: &'static str) -> ProgressBar {
    let template = format!("{{elapsed_precise}} {{wide_bar}} {{human_pos}} of {{human_len}} {unit}, {{eta}} to go");
    let style = ProgressStyle::with_template(&template).expect("a constant template");
    ProgressBar::new(length).with_style(style)
}

/// How a report is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Form {
    #[default]
    Table,
    Json,
}

/// Acks are measured up to an hour; a longer one counts as an hour. (A histogram that grows by itself would not grow in `saturating_record`.)
const LONGEST_ACK_US: u64 = 3_600_000_000;

/// Begins the codes under which the items of a request count that was refused as a whole.
const WHOLE_REQUEST: &str = "http_";

/// Counts of one run. `sent = accepted + duplicate + rejected + shed + unanswered`.
#[derive(Debug)]
pub struct Tally {
    pub sent: u64,
    pub accepted: u64,
    pub duplicate: u64,
    pub content_differs: u64,
    pub shed: u64,
    /// Pings that were not sent because the server did not want them yet.
    pub spared: u64,
    pub unanswered: u64,
    pub retries: u64,
    pub without_offset: u64,
    pub rejected_by_code: BTreeMap<String, u64>,
    pub last_error: Option<String>,
    ack_us: Histogram<u64>,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            sent: 0,
            accepted: 0,
            duplicate: 0,
            content_differs: 0,
            shed: 0,
            spared: 0,
            unanswered: 0,
            retries: 0,
            without_offset: 0,
            rejected_by_code: BTreeMap::new(),
            last_error: None,
            ack_us: Histogram::new_with_max(LONGEST_ACK_US, 3).expect("three digits and a bound above 2 are valid"),
        }
    }
}

impl Tally {
    pub fn note(&mut self, outcome: &ItemOutcome) {
        match outcome {
            ItemOutcome::Accepted { has_offset } => {
                self.accepted += 1;
                self.without_offset += u64::from(!has_offset);
            }
            ItemOutcome::Duplicate { content_differs } => {
                self.duplicate += 1;
                self.content_differs += u64::from(*content_differs);
            }
            ItemOutcome::Rejected { code } => *self.rejected_by_code.entry(code.clone()).or_default() += 1,
            ItemOutcome::Shed => self.shed += 1,
        }
    }

    /// Notes a request of `events` events that was refused as a whole.
    pub fn note_refused(&mut self, status: u16, events: usize) {
        *self.rejected_by_code.entry(format!("{WHOLE_REQUEST}{status}")).or_default() += events as u64;
    }

    pub fn note_ack(&mut self, took: Duration) {
        self.ack_us.saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    /// How long this share of the batches took at most to be answered, in milliseconds.
    pub fn ack_ms(&self, share: f64) -> f64 {
        self.ack_us.value_at_quantile(share) as f64 / 1e3
    }

    pub fn absorb(&mut self, other: Self) {
        self.sent += other.sent;
        self.accepted += other.accepted;
        self.duplicate += other.duplicate;
        self.content_differs += other.content_differs;
        self.shed += other.shed;
        self.spared += other.spared;
        self.unanswered += other.unanswered;
        self.retries += other.retries;
        self.without_offset += other.without_offset;
        for (code, count) in other.rejected_by_code {
            *self.rejected_by_code.entry(code).or_default() += count;
        }
        self.last_error = other.last_error.or(self.last_error.take());
        self.ack_us.add(&other.ack_us).expect("histograms of equal precision");
    }
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    pub run: String,
    /// Rows read from a trace, and those of them that are no event at all, by reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub rows_unreadable: BTreeMap<String, u64>,
    /// Left over when a run was ended early.
    #[serde(skip_serializing_if = "is_zero")]
    pub rows_not_played: u64,
    pub sent: u64,
    pub accepted: u64,
    pub duplicate: u64,
    pub content_differs: u64,
    pub rejected: u64,
    pub rejected_by_code: BTreeMap<String, u64>,
    /// Let go by the server's policy, for good.
    pub shed: u64,
    /// Pings that were not sent because the server did not want them yet (`--obey-hints`).
    #[serde(skip_serializing_if = "is_zero")]
    pub spared: u64,
    pub unanswered: u64,
    pub retries: u64,
    pub seconds: f64,
    pub events_per_s: f64,
    /// Of a batch, from its first attempt to its answer.
    pub ack_p50_ms: f64,
    pub ack_p99_ms: f64,
    pub ack_max_ms: f64,
    /// Steps of a trace that nothing on a road can take: played, accepted and named here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub teleports: Option<u64>,
    /// The first of them, in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub teleports_seen: Vec<String>,
    /// Drivers and deliveries asked for one by one.
    pub checked: u64,
    /// Deliveries compared in the paged list, and markers compared on the live map.
    pub listed: u64,
    pub shown: u64,
    /// Entities that the server does not know, and accepted events for which it named no offset.
    pub lost: u64,
    /// What differs, counted once for each place where it was seen.
    pub mismatched: u64,
    /// Drivers and deliveries that the server shows and this run knows nothing of.
    pub extra: u64,
    /// The first differences, in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check_failed: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Report {
    pub fn new(run: &str, tally: Tally, seconds: f64, checked: Checked) -> Self {
        let ms = |us: u64| (us as f64 / 10.0).round() / 100.0;
        let answered = tally.sent - tally.unanswered;
        Self {
            run: run.to_owned(),
            sent: tally.sent,
            accepted: tally.accepted,
            duplicate: tally.duplicate,
            content_differs: tally.content_differs,
            rejected: tally.rejected_by_code.values().sum(),
            shed: tally.shed,
            spared: tally.spared,
            unanswered: tally.unanswered,
            retries: tally.retries,
            seconds: (seconds * 1000.0).round() / 1000.0,
            events_per_s: (answered as f64 / seconds.max(1e-3)).round(),
            ack_p50_ms: ms(tally.ack_us.value_at_quantile(0.5)),
            ack_p99_ms: ms(tally.ack_us.value_at_quantile(0.99)),
            ack_max_ms: ms(tally.ack_us.max()),
            checked: checked.checked,
            listed: checked.listed,
            shown: checked.shown,
            extra: checked.extra,
            lost: checked.lost + tally.without_offset,
            mismatched: checked.mismatched,
            rejected_by_code: tally.rejected_by_code,
            differences: checked.differences,
            check_failed: checked.failed,
            last_error: tally.last_error,
            ..Self::default()
        }
    }

    /// Everything was answered, no request was refused as a whole, and what was checked is what the server holds.
    pub fn is_good(&self) -> bool {
        let refused_whole = self.rejected_by_code.keys().any(|code| code.starts_with(WHOLE_REQUEST));
        self.lost == 0 && self.mismatched == 0 && self.unanswered == 0 && !refused_whole && self.check_failed.is_none()
    }

    pub fn print(&self, form: Form) -> String {
        match form {
            Form::Json => serde_json::to_string(self).expect("plain fields can always be written") + "\n",
            Form::Table => self.table(),
        }
    }

    fn table(&self) -> String {
        let mut out = String::new();
        let mut row = |name: &str, value: String| writeln!(out, "{name:<24}{value}").expect("a String takes everything");
        row("run", self.run.clone());
        if let Some(rows) = self.rows {
            row("rows", rows.to_string());
        }
        for (reason, count) in &self.rows_unreadable {
            row("  unreadable", format!("{count}  {reason}"));
        }
        if self.rows_not_played > 0 {
            row("  not played", self.rows_not_played.to_string());
        }
        row("sent", self.sent.to_string());
        row("accepted", self.accepted.to_string());
        row("duplicate", format!("{} ({} with other content)", self.duplicate, self.content_differs));
        row("rejected", self.rejected.to_string());
        for (code, count) in &self.rejected_by_code {
            row("  rejected", format!("{count}  {code}"));
        }
        row("shed", self.shed.to_string());
        if self.spared > 0 {
            row("spared", self.spared.to_string());
        }
        row("unanswered", self.unanswered.to_string());
        row("retries", self.retries.to_string());
        row("seconds", format!("{:.2}", self.seconds));
        row("events/s", format!("{:.0}", self.events_per_s));
        row("ack p50, p99, max ms", format!("{}, {}, {}", self.ack_p50_ms, self.ack_p99_ms, self.ack_max_ms));
        if let Some(teleports) = self.teleports {
            row("teleports", teleports.to_string());
        }
        for teleport in &self.teleports_seen {
            row("  teleport", teleport.clone());
        }
        row("checked", format!("{}, {} in the list, {} on the map", self.checked, self.listed, self.shown));
        row("lost", self.lost.to_string());
        row("mismatched", self.mismatched.to_string());
        row("extra", self.extra.to_string());
        for difference in &self.differences {
            row("  difference", difference.clone());
        }
        for problem in self.check_failed.iter().chain(&self.last_error) {
            row("problem", problem.clone());
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(ms: std::ops::RangeInclusive<u64>) -> Tally {
        let mut tally = Tally::default();
        for ms in ms {
            tally.sent += 1;
            tally.note_ack(Duration::from_millis(ms));
            tally.note(&ItemOutcome::Accepted { has_offset: true });
        }
        tally
    }

    #[test]
    fn percentiles_of_several_lanes_are_those_of_all_acks() {
        let mut all = tally(1..=50);
        all.absorb(tally(51..=100));
        let report = Report::new("test", all, 2.0, Checked::default());
        assert!((report.ack_p50_ms - 50.0).abs() < 0.2, "{}", report.ack_p50_ms);
        assert!((report.ack_p99_ms - 99.0).abs() < 0.2, "{}", report.ack_p99_ms);
        assert!((report.ack_max_ms - 100.0).abs() < 0.2, "{}", report.ack_max_ms);
        assert!((report.events_per_s - 50.0).abs() < 1e-9);
        assert!(report.is_good());
    }

    #[test]
    fn an_accepted_event_without_an_offset_counts_as_lost() {
        let mut tally = tally(1..=2);
        tally.note(&ItemOutcome::Accepted { has_offset: false });
        let report = Report::new("test", tally, 1.0, Checked::default());
        assert_eq!(report.lost, 1);
        assert!(!report.is_good());
    }

    #[test]
    fn refused_items_are_the_senders_fault_and_a_refused_request_is_a_bad_run() {
        let mut items = tally(1..=2);
        items.note(&ItemOutcome::Rejected { code: "null_island".into() });
        assert!(Report::new("test", items, 1.0, Checked::default()).is_good());
        let mut request = tally(1..=2);
        request.note_refused(413, 2_000);
        let report = Report::new("test", request, 1.0, Checked::default());
        assert_eq!((report.rejected, report.is_good()), (2_000, false));
    }

    #[test]
    fn the_json_report_carries_what_scripts_read() {
        let text = Report::new("test", tally(1..=2), 1.0, Checked::default()).print(Form::Json);
        let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        for name in "sent accepted duplicate rejected seconds events_per_s ack_p50_ms ack_p99_ms lost mismatched".split(' ') {
            assert!(json.get(name).is_some_and(serde_json::Value::is_number), "{name}");
        }
    }
}
