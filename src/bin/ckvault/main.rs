//! The command: arguments to options, a verb, its report, an exit code.

#![deny(missing_docs)]

mod cli;
mod demo;
mod home;
mod outside;
mod reports;
mod ui;

use ckvault::commands::{export, import, inspect, keygen, list, repair, verify};
use ckvault::error::{Error, Result};
use clap::Parser;
use cli::{Cli, Verb};
use outside::Outside;
use serde::Serialize;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

const INTERRUPTED: i32 = 130;

fn main() -> ExitCode {
    ckvault::media::process::harden();
    if let Err(error) = ckvault::media::processor::check().and_then(|()| cli::refuse_secrets(std::env::args_os())) {
        ui::complain(&error);
        return ExitCode::from(error.exit_code());
    }
    let cli = Cli::parse();
    let outside = Outside::new(cli.verbose, cli.verb.next_drive_command());
    let only_reads = cli.verb.only_reads();
    let ended = listen(only_reads).and_then(|stop| run(cli.verb, &outside, &ui::Bars::new(stop)));
    outside.conclude();
    match ended {
        Ok(code) => code,
        Err(error) => {
            ui::complain(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

/// The first SIGINT asks a verb that writes to stop and tidy up, and the second ends the process at once. A verb that only reads
/// ends at the first, whatever it is busy with: a drive decides what that is, and nothing has to be tidied up.
fn listen(only_reads: bool) -> Result<Arc<AtomicBool>> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    use signal_hook::iterator::Signals;
    let (all, stop) = ([SIGINT, SIGTERM, SIGHUP], Arc::new(AtomicBool::new(false)));
    let failed = |e| Error::Internal(format!("signals: {e}"));
    if only_reads {
        let mut signals = Signals::new(all).map_err(failed)?;
        std::thread::spawn(move || {
            signals.forever().next();
            ui::complain(&Error::Interrupted);
            std::process::exit(INTERRUPTED);
        });
        return Ok(stop);
    }
    for signal in all {
        let set = signal_hook::flag::register_conditional_shutdown(signal, INTERRUPTED, stop.clone())
            .and_then(|_| signal_hook::flag::register(signal, stop.clone()));
        set.map_err(failed)?;
    }
    Ok(stop)
}

fn run(verb: Verb, outside: &Outside, bars: &ui::Bars) -> Result<ExitCode> {
    let (begun, disk) = (Instant::now(), outside.disk());
    let person = ui::Person(outside.clone());
    match verb {
        Verb::Keygen(typed) => {
            let options = typed.meant()?;
            disk.confine(&options.needs());
            reports::keygen(&keygen::run(&options, bars)?);
        }
        Verb::Export(typed) => {
            let (options, json) = typed.meant(disk)?;
            let report = export::run(&options, person, bars)?;
            show(&report, json, outside, |r| reports::export(r, begun.elapsed()))?;
        }
        Verb::Verify(typed) => {
            let (options, json) = typed.meant(disk)?;
            let report = verify::run(&options, bars)?;
            show(&report, json, outside, |r| reports::verify(r, begun.elapsed()))?;
            if let Some((message, hint)) = &report.untrusted {
                ui::complain(&Error::untrusted(message, hint));
            }
            return Ok(ExitCode::from(report.exit_code()));
        }
        Verb::Repair(typed) => {
            let (options, json) = typed.meant(disk)?;
            let report = repair::run(&options, bars)?;
            show(&report, json, outside, |r| reports::repair(r, begun.elapsed()))?;
            if let Some(why) = &report.trouble {
                ui::complain_of(&why.message, &why.hint);
            }
            return Ok(ExitCode::from(report.exit_code()));
        }
        Verb::Import(typed) => {
            let (options, json) = typed.meant(disk)?;
            let report = import::run(&options, person, bars)?;
            show(&report, json, outside, |r| reports::import(r, begun.elapsed()))?;
            return Ok(ExitCode::from(report.exit_code()));
        }
        Verb::List(typed) => {
            let (options, json) = typed.meant(disk)?;
            show(&list::run(&options, person, bars)?, json, outside, reports::list)?;
        }
        Verb::Inspect(typed) => {
            let (place, json) = typed.meant(disk);
            show(&inspect::run(&place, bars)?, json, outside, reports::inspect)?;
        }
        Verb::Demo => demo::run(bars, outside.is_verbose())?,
        Verb::RunErrands => outside::serve()?,
    }
    Ok(ExitCode::SUCCESS)
}

fn show<R: Serialize>(report: &R, json: bool, outside: &Outside, human: impl FnOnce(&R)) -> Result<()> {
    if !json {
        human(report);
        return Ok(());
    }
    reports::json(report, outside.fence()).map_err(|e| Error::Internal(e.to_string()))
}
