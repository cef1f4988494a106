//! Plays a recorded trace against a server, at any speed, and accounts for every row. Never repairs a row: the server judges it.

pub mod csv_file;
pub mod fold;
pub mod gpx_file;
pub mod row;

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use flate2::read::MultiGzDecoder;
use tokio_util::sync::CancellationToken;

use crate::check::{Scope, check};
use crate::client::Target;
use crate::clock;
use crate::event::{Envelope, Format, assigned, created, event, status};
use crate::fleet::RunError;
use crate::preflight::preflight;
use crate::report::{Report, bar};
use crate::sender::{Sender, SenderOptions};
use crate::wire::event::Payload;
use crate::wire::{Event, Location};

use self::fold::fold;
use self::row::{Columns, Row};

/// A larger file, unpacked, is refused.
const MAX_FILE_BYTES: u64 = 2 << 30;
/// Events handed to the lanes at once.
const CHUNK: usize = 2_000;

#[derive(Clone, Debug)]
pub struct TraceOptions {
    pub url: String,
    pub key: String,
    pub check_key: Option<String>,
    pub file: PathBuf,
    /// Needed for CSV; GPX has names of its own.
    pub columns: Option<Columns>,
    /// Times real time; 0 means as fast as the server takes it.
    pub speedup: f64,
    pub limit: Option<usize>,
    /// The first row happens now, and times are compressed by the speed-up.
    pub shift_to_now: bool,
    pub connections: usize,
    pub batch: usize,
    pub format: Format,
    pub check: Scope,
}

/// A file's rows in its order; what is no row at all is counted by reason.
#[derive(Debug, Default)]
pub struct Rows {
    pub rows: Vec<Row>,
    pub unreadable: BTreeMap<String, u64>,
}

impl Rows {
    pub fn push(&mut self, row: Result<Row, String>) {
        match row {
            Ok(row) => self.rows.push(row),
            Err(reason) => *self.unreadable.entry(reason).or_default() += 1,
        }
    }

    /// Rows of either kind.
    pub fn count(&self) -> u64 {
        self.rows.len() as u64 + self.unreadable.values().sum::<u64>()
    }
}

/// Plays the file once, or as much of it as there is time for until `shutdown`; then reports on what was played.
pub async fn run(options: TraceOptions, shutdown: CancellationToken) -> Result<Report, RunError> {
    let target = Target::new(&options.url, &options.key)?;
    let reader = Target::new(&options.url, options.check_key.as_deref().unwrap_or(&options.key))?;
    let read = read_rows(&options)?;
    let Some(first) = read.rows.first() else {
        let reasons: Vec<String> = read.unreadable.iter().map(|(reason, count)| format!("{count} with {reason}")).collect();
        return Err(RunError::Input(format!("{}: no row can be played: {} rows, {}", options.file.display(), read.count(), reasons.join(", "))));
    };
    preflight(&target, (options.check.sample > 0).then_some(&reader)).await?;
    let times = Times::new(&options, first.time_ms, clock::now_ms());
    let sender =
        Sender::start(&target, SenderOptions { connections: options.connections, batch: options.batch, format: options.format, obey: false });
    let started = Instant::now();
    let played = play(&read.rows, times, &sender, &shutdown).await;
    let (tally, ledger) = sender.finish().await;
    let seconds = started.elapsed().as_secs_f64();
    let mut folded = fold(&read.rows[..played], |row| times.time_ms(row));
    folded.expected.doubt_as(&ledger.expected());
    let refused = tally.rejected_by_code.clone();
    let checked = check(&reader, folded.expected, options.check).await;
    let mut report = Report::new("trace", tally, seconds, checked);
    if refused != folded.refusals {
        report.mismatched += 1;
        report.differences.push(format!("the server refused {refused:?}; by the schema it has to refuse {:?}", folded.refusals));
    }
    (report.teleports, report.teleports_seen) = (Some(folded.teleports.count), folded.teleports.told);
    let not_played = (read.rows.len() - played) as u64;
    Ok(Report { rows: Some(read.count()), rows_unreadable: read.unreadable, rows_not_played: not_played, ..report })
}

/// How many rows were handed over.
async fn play(rows: &[Row], times: Times, sender: &Sender, shutdown: &CancellationToken) -> usize {
    let bar = bar(rows.len() as u64, "rows");
    let mut trips = Trips::default();
    let started = Instant::now();
    let mut chunk = Vec::with_capacity(CHUNK);
    let mut played = 0;
    for row in rows {
        let early = times.due(row).saturating_sub(started.elapsed());
        if early > Duration::from_millis(20) || chunk.len() >= CHUNK {
            sender.send(std::mem::take(&mut chunk)).await;
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = tokio::time::sleep(early) => {}
            }
        }
        trips.events(row, times.time_ms(row), &mut chunk);
        bar.inc(1);
        played += 1;
    }
    sender.send(chunk).await;
    bar.finish_and_clear();
    played
}

/// When a row is played, and when it says that it happened.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    speedup: f64,
    first_ms: i64,
    shift_to_ms: Option<i64>,
}

impl Times {
    pub fn new(options: &TraceOptions, first_ms: i64, now_ms: i64) -> Self {
        Self { speedup: options.speedup, first_ms, shift_to_ms: options.shift_to_now.then_some(now_ms) }
    }

    /// From the start of the run.
    fn due(&self, row: &Row) -> Duration {
        if self.speedup <= 0.0 {
            return Duration::ZERO;
        }
        Duration::from_secs_f64(((row.time_ms - self.first_ms) as f64 / 1000.0 / self.speedup).clamp(0.0, 1e9))
    }

    pub fn time_ms(&self, row: &Row) -> i64 {
        let factor = if self.speedup > 0.0 { self.speedup } else { 1.0 };
        self.shift_to_ms.map_or(row.time_ms, |now_ms| now_ms + ((row.time_ms - self.first_ms) as f64 / factor) as i64)
    }
}

/// Turns rows into events: a `location` each, and what a change of the trip column says.
#[derive(Debug, Default)]
pub struct Trips {
    /// By actor: whether a trip was on at its last row, and the delivery it opened.
    by_actor: HashMap<String, (bool, Option<String>)>,
}

impl Trips {
    pub fn events(&mut self, row: &Row, time_ms: i64, out: &mut Vec<Event>) {
        let fix = Location {
            lat: row.place.lat,
            lng: row.place.lng,
            accuracy_m: row.accuracy_m,
            speed_mps: row.speed_mps,
            heading_deg: row.heading_deg,
            altitude_m: row.altitude_m,
            battery: None,
        };
        // The ids of one row sort in the order in which its events belong.
        let mut say = |suffix: &str, delivery: &str, payload: Payload| {
            let id = format!("{}{suffix}", row.id);
            out.push(event(Envelope { id, actor: row.actor.clone(), delivery: delivery.to_owned(), time_ms }, payload));
        };
        say("", "", Payload::Location(fix));
        let Some(on) = row.trip else { return };
        let (before, open) = self.by_actor.entry(row.actor.clone()).or_insert((on, None));
        match (*before, on) {
            (false, true) => {
                let delivery = format!("{}-{}", row.actor, row.time_text);
                say("-1", &delivery, created(Some(row.place), None, None));
                say("-2", &delivery, assigned(&row.actor));
                *open = Some(delivery);
            }
            (true, false) => {
                if let Some(delivery) = open.take() {
                    say("-3", &delivery, status("delivered", ""));
                }
            }
            _ => {}
        }
        *before = on;
    }
}

/// Reads at most `limit` rows of the file, unpacking it if its name ends in `.gz`.
pub fn read_rows(options: &TraceOptions) -> Result<Rows, RunError> {
    let named = |error: String| RunError::Input(format!("{}: {error}", options.file.display()));
    let data = read_file(&options.file).map_err(|error| named(error.to_string()))?;
    let unpacked = if is_named(&options.file, "gz") { options.file.with_extension("") } else { options.file.clone() };
    let limit = options.limit.unwrap_or(usize::MAX);
    if is_named(&unpacked, "gpx") {
        let stem = unpacked.file_stem().map_or_else(|| "gpx".to_owned(), |stem| stem.to_string_lossy().into_owned());
        return gpx_file::read(&data, &stem, limit).map_err(named);
    }
    let columns = options.columns.as_ref();
    let columns = columns.ok_or_else(|| named(format!("a CSV file needs --columns HEADER=FIELD,..; it has {}", csv_file::columns_of(&data))))?;
    csv_file::read(&data, columns, limit).map_err(named)
}

fn is_named(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|held| held.eq_ignore_ascii_case(extension))
}

fn read_file(path: &Path) -> std::io::Result<Vec<u8>> {
    let file = std::io::BufReader::new(std::fs::File::open(path)?);
    let gzipped = is_named(path, "gz");
    let mut reader: Box<dyn Read> = if gzipped { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
    let mut data = Vec::new();
    reader.by_ref().take(MAX_FILE_BYTES + 1).read_to_end(&mut data)?;
    if data.len() as u64 > MAX_FILE_BYTES {
        return Err(std::io::Error::other(format!("more than {MAX_FILE_BYTES} bytes unpacked")));
    }
    Ok(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(csv: &str, folder: &Path) -> TraceOptions {
        let file = folder.join("trace.csv");
        std::fs::write(&file, csv).expect("a temporary folder");
        TraceOptions {
            url: String::new(),
            key: String::new(),
            check_key: None,
            file,
            columns: Some("cab=actor,timestamp=time,lat=lat,lon=lng,occupied=trip".parse().expect("valid columns")),
            speedup: 2.0,
            limit: None,
            shift_to_now: false,
            connections: 1,
            batch: 10,
            format: Format::Json,
            check: Scope::default(),
        }
    }

    fn events(options: &TraceOptions) -> Vec<Event> {
        let rows = read_rows(options).expect("readable").rows;
        let times = Times::new(options, rows[0].time_ms, 9_000_000);
        let (mut trips, mut out) = (Trips::default(), Vec::new());
        for row in &rows {
            trips.events(row, times.time_ms(row), &mut out);
        }
        out
    }

    #[test]
    fn a_trip_creates_and_assigns_a_delivery_and_its_end_delivers_it() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let csv = "cab,timestamp,lat,lon,occupied\na,100,1.5,2,1\na,160,1.5,2,0\na,220,1.6,2,1\nb,220,1.6,2,0\na,280,1.7,2,1\na,340,1.7,2,0\n";
        let options = options(csv, folder.path());
        let said: Vec<(String, String, i64)> = events(&options)
            .into_iter()
            .filter(|event| event.event_name != "location")
            .map(|event| (event.event_name, event.entity_id, event.event_time_ms))
            .collect();
        let expected = [("delivery.created", 220_000), ("delivery.assigned", 220_000), ("delivery.status", 340_000)];
        assert_eq!(said, expected.map(|(name, time)| (name.to_owned(), "a-220".to_owned(), time)));
        assert_eq!(events(&options), events(&options), "a second run says the same under the same ids");
    }

    #[test]
    fn a_shift_puts_the_first_row_at_now_and_compresses_time_by_the_speedup() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let base = options("cab,timestamp,lat,lon,occupied\na,100,1,2,0\na,160,1,2,0\n", folder.path());
        let times = |options: &TraceOptions| events(options).iter().map(|event| event.event_time_ms).collect::<Vec<_>>();
        assert_eq!(times(&base), [100_000, 160_000]);
        assert_eq!(times(&TraceOptions { shift_to_now: true, ..base }), [9_000_000, 9_030_000]);
    }

    #[test]
    fn dirty_rows_are_counted_by_reason_and_strange_places_are_left_to_the_server() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let csv = "cab,timestamp,lat,lon,occupied\na,100,91,2,0\na,x,1,2,0\n,100,1,2,0\na,100,,2,0\na,100\na,100,0,0,0\n";
        let rows = read_rows(&options(csv, folder.path())).expect("readable");
        assert_eq!(rows.count(), 6);
        assert_eq!(rows.rows.iter().map(|row| row.place.lat).collect::<Vec<_>>(), [91.0, 0.0]);
        assert_eq!(rows.unreadable.values().sum::<u64>(), 4);
        assert_eq!(rows.unreadable.get("no time"), Some(&1));
    }
}
