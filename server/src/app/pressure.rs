//! How far behind the node is, as one of the steps at which ingest lets go of more: by the lag of the map, by what an append takes, by memory. Lets go of
//! nothing by itself.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::Config;
use crate::ingest::pressure::Pressure;

/// From where on each measure presses; none: never.
#[derive(Clone, Copy, Debug)]
pub(super) struct Thresholds {
    pub(super) lag: Option<Duration>,
    pub(super) append: Option<Duration>,
    pub(super) memory_bytes: Option<u64>,
}

/// One look.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Measured {
    pub(super) lag: Duration,
    pub(super) append: Duration,
    pub(super) memory_bytes: u64,
}

/// Judges look after look. A step up takes a few looks in a row, for a disk that hiccups once is no reason to let go of anything; a step down
/// takes a while, for else a node at its limit would swing.
#[derive(Debug)]
pub(super) struct PressureGauge {
    thresholds: Thresholds,
    pressure: Pressure,
    /// Looks in a row that were above the present step.
    above: u8,
    /// Since when all looks were below it.
    below_since: Option<Instant>,
}

const LOOKS_ABOVE: u8 = 3;
const BELOW_FOR: Duration = Duration::from_secs(5);
/// Of the limit, in percent: the rest is for what is being worked on.
const MEMORY_STEPS: [u64; 4] = [85, 90, 95, 98];

impl Thresholds {
    pub(super) fn of(config: &Config) -> Self {
        let memory_bytes = match config.memory_limit_mb {
            0 => available_memory().map(|bytes| bytes / 5 * 4),
            limit_mb => Some(limit_mb.saturating_mul(1 << 20)),
        };
        Self {
            lag: (config.shed_lag_s > 0).then(|| Duration::from_secs(config.shed_lag_s)),
            append: (config.shed_append_ms > 0).then(|| Duration::from_millis(config.shed_append_ms)),
            memory_bytes,
        }
    }
}

impl PressureGauge {
    pub(super) fn new(thresholds: Thresholds) -> Self {
        Self { thresholds, pressure: Pressure::None, above: 0, below_since: None }
    }

    pub(super) fn judge(&mut self, now: Instant, measured: Measured) -> Pressure {
        let seen = self.step_of(measured);
        self.above = if seen > self.pressure { self.above + 1 } else { 0 };
        if self.above >= LOOKS_ABOVE {
            self.above = 0;
            self.pressure = seen;
        }
        if seen >= self.pressure {
            self.below_since = None;
        } else if now.duration_since(*self.below_since.get_or_insert(now)) >= BELOW_FOR {
            self.below_since = None;
            self.pressure = Pressure::ALL[self.pressure as usize - 1];
        }
        self.pressure
    }

    fn step_of(&self, measured: Measured) -> Pressure {
        let Thresholds { lag, append, memory_bytes } = self.thresholds;
        let by_time = |measured: Duration, limit: Option<Duration>| {
            let Some(limit) = limit else { return 0 };
            [1, 2, 4, 8].into_iter().filter(|times| measured >= limit * *times).count()
        };
        let by_memory = memory_bytes.map_or(0, |limit| MEMORY_STEPS.into_iter().filter(|step| measured.memory_bytes >= limit / 100 * step).count());
        Pressure::ALL[by_time(measured.lag, lag).max(by_time(measured.append, append)).max(by_memory)]
    }
}

/// What this process has in memory now; 0 where the system does not say.
pub(super) fn resident_bytes() -> u64 {
    kilobytes("/proc/self/status", "VmRSS:").unwrap_or(0)
}

/// Of the container, where it has a bound, else of the machine.
fn available_memory() -> Option<u64> {
    let container = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|text| text.trim().parse::<u64>().ok());
    kilobytes("/proc/meminfo", "MemTotal:").into_iter().chain(container).min()
}

/// The value of a line `name 1234 kB`, in bytes.
fn kilobytes(path: &str, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(path).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(name))?.trim().strip_suffix(" kB")?;
    Some(value.parse::<u64>().ok()?.saturating_mul(1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOK: Duration = Duration::from_millis(100);

    fn gauge() -> PressureGauge {
        let thresholds = Thresholds { lag: Some(Duration::from_secs(10)), append: Some(Duration::from_millis(500)), memory_bytes: Some(1_000_000) };
        PressureGauge::new(thresholds)
    }

    #[test]
    fn each_measure_presses_by_itself_and_the_worst_counts() {
        let table = [
            (Measured { lag: Duration::from_secs(9), append: Duration::from_millis(499), memory_bytes: 849_999 }, Pressure::None),
            (Measured { lag: Duration::from_secs(10), ..Measured::default() }, Pressure::Repeats),
            (Measured { append: Duration::from_secs(1), ..Measured::default() }, Pressure::Pings),
            (Measured { memory_bytes: 950_000, ..Measured::default() }, Pressure::AllButStatus),
            (Measured { lag: Duration::from_secs(80), append: Duration::from_millis(500), memory_bytes: 0 }, Pressure::Full),
        ];
        for (measured, expected) in table {
            assert_eq!(gauge().step_of(measured), expected, "{measured:?}");
        }
        let never = PressureGauge::new(Thresholds { lag: None, append: None, memory_bytes: None });
        assert_eq!(never.step_of(Measured { lag: Duration::MAX, append: Duration::MAX, memory_bytes: u64::MAX }), Pressure::None);
    }

    #[test]
    fn one_hiccup_lets_go_of_nothing_and_what_was_reached_is_left_step_by_step() {
        let mut gauge = gauge();
        let mut now = Instant::now();
        let mut look = |lag_s: u64, looks: u32| {
            let mut pressure = Pressure::None;
            for _ in 0..looks {
                now += LOOK;
                pressure = gauge.judge(now, Measured { lag: Duration::from_secs(lag_s), ..Measured::default() });
            }
            pressure
        };
        assert_eq!((look(30, 2), look(0, 1), look(30, 2)), (Pressure::None, Pressure::None, Pressure::None));
        assert_eq!(look(30, 1), Pressure::Pings);
        assert_eq!((look(15, 50), look(25, 1)), (Pressure::Pings, Pressure::Pings), "five seconds must be quiet, not most of them");
        assert_eq!((look(0, 50), look(0, 1)), (Pressure::Pings, Pressure::Repeats));
        assert_eq!((look(0, 50), look(0, 1)), (Pressure::Repeats, Pressure::None));
    }

    #[test]
    fn the_system_says_how_much_memory_there_is_and_how_much_is_used() {
        assert!(resident_bytes() > 1 << 20);
        assert!(available_memory().is_some_and(|bytes| bytes > resident_bytes()));
    }
}
