//! The `waypost-sim` command: runs what its arguments ask for, prints the report, ends with an exit code. Never does work of its own.

mod arguments;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use tokio_util::sync::CancellationToken;

use arguments::{Cli, Command, Pattern, options};
use waypost_sim::fleet::{self, RunError};
use waypost_sim::load::{self, cities};
use waypost_sim::report::{Form, Report};
use waypost_sim::trace;
use waypost_sim::watch::{self, WatchReport};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How a run went, in print.
struct Printed {
    text: String,
    good: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a machine that can run threads");
    match runtime.block_on(run(cli.command)) {
        Ok(Printed { text, good }) => {
            // Whoever closed our stdout does not want the report.
            let printed = std::io::stdout().write_all(text.as_bytes()).is_ok();
            if good && printed { ExitCode::SUCCESS } else { ExitCode::from(1) }
        }
        Err(error) => {
            drop(writeln!(std::io::stderr(), "waypost-sim: {error}"));
            ExitCode::from(2)
        }
    }
}

async fn run(command: Command) -> Result<Printed, RunError> {
    match command {
        Command::Fleet(args) => {
            let (form, options) = (args.common.report, options::fleet_options(args)?);
            Ok(print(&until_ctrl_c(|shutdown| fleet::run(options, shutdown)).await?, form))
        }
        Command::Trace(args) => {
            let (form, options) = (args.common.report, options::trace_options(args));
            Ok(print(&until_ctrl_c(|shutdown| trace::run(options, shutdown)).await?, form))
        }
        Command::Load(args) if args.pattern == Pattern::Cities => {
            let (form, options) = (args.common.report, options::city_options(args)?);
            Ok(print(&until_ctrl_c(|shutdown| cities::run(options, shutdown)).await?, form))
        }
        Command::Load(args) => {
            let (form, options) = (args.common.report, options::load_options(args));
            Ok(print(&load::run(options).await?, form))
        }
        Command::Watch(args) => {
            let (form, options) = (args.report, options::watch_options(args)?);
            let report: WatchReport = until_ctrl_c(|shutdown| watch::run(options, shutdown)).await?;
            Ok(Printed { text: report.print(form), good: report.is_good() })
        }
    }
}

fn print(report: &Report, form: Form) -> Printed {
    Printed { text: report.print(form), good: report.is_good() }
}

/// Ctrl-C ends a run early, and its report tells how far it came; a second one ends the process.
async fn until_ctrl_c<Told, Run: Future<Output = Result<Told, RunError>>>(start: impl FnOnce(CancellationToken) -> Run) -> Result<Told, RunError> {
    let shutdown = CancellationToken::new();
    let run = start(shutdown.clone());
    tokio::pin!(run);
    tokio::select! {
        report = &mut run => return report,
        _ = tokio::signal::ctrl_c() => shutdown.cancel(),
    }
    tokio::select! {
        report = &mut run => report,
        _ = tokio::signal::ctrl_c() => Err(RunError::Input("ended before everything was answered".into())),
    }
}
