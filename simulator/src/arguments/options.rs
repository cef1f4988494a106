//! Turns arguments into the options of the library.

use std::time::Duration;

use super::{Common, FleetArgs, LoadArgs, Spread, TraceArgs, WatchArgs};
use waypost_sim::check::{Company, Scope};
use waypost_sim::fleet::{FleetOptions, RunError};
use waypost_sim::line::Line;
use waypost_sim::load::LoadOptions;
use waypost_sim::load::cities::CityOptions;
use waypost_sim::movers::Movers;
use waypost_sim::trace::TraceOptions;
use waypost_sim::watch::WatchOptions;

impl Common {
    fn scope(&self) -> Scope {
        Scope { sample: self.check, company: if self.alone { Company::Alone } else { Company::Others } }
    }
}

impl Spread {
    fn movers(&self, seed: u64) -> Result<Movers, RunError> {
        Movers::new(self.cities, self.sigma, seed).map_err(|bad| RunError::Input(bad.to_string()))
    }
}

fn seconds(value: f64) -> Result<Duration, RunError> {
    Duration::try_from_secs_f64(value).map_err(|error| RunError::Input(format!("{value} seconds: {error}")))
}

/// 0 is none.
fn some_seconds(value: f64) -> Result<Option<Duration>, RunError> {
    Ok(Some(seconds(value)?).filter(|duration| !duration.is_zero()))
}

pub(crate) fn fleet_options(args: FleetArgs) -> Result<FleetOptions, RunError> {
    let check = args.common.scope();
    Ok(FleetOptions {
        check_key: args.common.check_key,
        interval: seconds(args.interval)?,
        seed: args.seed,
        speedup: args.speedup,
        duration: some_seconds(args.seconds)?,
        faults: args.faults,
        connections: args.connections,
        batch: args.batch,
        format: args.common.format,
        obey_hints: args.obey_hints,
        check,
        ..FleetOptions::new(args.common.url, args.common.key, args.drivers)
    })
}

pub(crate) fn trace_options(args: TraceArgs) -> TraceOptions {
    let check = args.common.scope();
    TraceOptions {
        url: args.common.url,
        key: args.common.key,
        check_key: args.common.check_key,
        file: args.file,
        columns: args.columns,
        speedup: args.speedup,
        limit: args.limit,
        shift_to_now: args.shift_to_now,
        connections: args.connections,
        batch: args.batch,
        format: args.common.format,
        check,
    }
}

pub(crate) fn load_options(args: LoadArgs) -> LoadOptions {
    let check = args.common.scope();
    LoadOptions {
        url: args.common.url,
        key: args.common.key,
        check_key: args.common.check_key,
        events: args.events,
        batch: args.batch,
        format: args.common.format,
        connections: args.connections,
        drivers: args.drivers,
        seed: args.seed.unwrap_or_else(|| waypost_sim::clock::now_ms().unsigned_abs()),
        rate: args.rate.filter(|rate| *rate > 0.0),
        check,
    }
}

pub(crate) fn city_options(args: LoadArgs) -> Result<CityOptions, RunError> {
    Ok(CityOptions {
        url: args.common.url,
        key: args.common.key,
        movers: args.spread.movers(args.seed.unwrap_or(1))?,
        objects: args.objects,
        updates_per_s: args.updates_per_s,
        duration: some_seconds(args.seconds)?,
        batch: args.batch,
        connections: args.connections,
        format: args.common.format,
        seed: waypost_sim::clock::now_ms().unsigned_abs(),
    })
}

pub(crate) fn watch_options(args: WatchArgs) -> Result<WatchOptions, RunError> {
    Ok(WatchOptions {
        url: args.url,
        key: args.key,
        sessions: args.sessions,
        span_deg: args.span,
        movers: args.spread.movers(args.seed)?,
        pan_every: some_seconds(args.pan_every)?,
        duration: seconds(args.seconds)?,
        seed: args.seed,
        cut_after: args.cut_after.map(seconds).transpose()?,
        back_within: seconds(args.back_within)?,
        line: args.line_kbit.map(|kbit| Line { bits_per_s: kbit * 1e3, delay: Duration::from_millis(args.line_delay_ms) }),
        warm_up: seconds(args.warm_up)?,
    })
}
