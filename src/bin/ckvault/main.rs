//! The command: arguments to options, a verb, its report, an exit code.

#![deny(missing_docs)]

mod cli;
mod demo;
mod home;
mod ui;

use ckvault::commands::{export, import, inspect, keygen, list, repair, verify};
use ckvault::error::{Error, Result};
use clap::Parser;
use cli::{Cli, Verb};
use serde::Serialize;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

const INTERRUPTED: i32 = 130;

fn main() -> ExitCode {
    if let Err(error) = ckvault::media::processor::check().and_then(|()| cli::refuse_secrets(std::env::args_os())) {
        ui::complain(&error);
        return ExitCode::from(error.exit_code());
    }
    let cli = Cli::parse();
    match listen(cli.verb.only_reads()).and_then(|stop| run(cli.verb, &ui::Bars::new(stop))) {
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

fn run(verb: Verb, bars: &ui::Bars) -> Result<ExitCode> {
    let begun = Instant::now();
    match verb {
        Verb::Keygen(typed) => ui::keygen(&keygen::run(&typed.meant()?, bars)?),
        Verb::Export(typed) => {
            let person = ui::Person { next_drive_command: typed.next_drive_command.clone() };
            let (options, json) = typed.meant()?;
            let report = export::run(&options, person, bars)?;
            show(&report, json, |r| ui::export(r, begun.elapsed()))?;
        }
        Verb::Verify(typed) => {
            let (options, json) = typed.meant()?;
            let report = verify::run(&options, bars)?;
            show(&report, json, |r| ui::verify(r, begun.elapsed()))?;
            if let Some((message, hint)) = &report.untrusted {
                ui::complain(&Error::untrusted(message, hint));
            }
            return Ok(ExitCode::from(report.exit_code()));
        }
        Verb::Repair(typed) => {
            let (options, json) = typed.meant()?;
            let report = repair::run(&options, bars)?;
            show(&report, json, |r| ui::repair(r, begun.elapsed()))?;
            if let Some(why) = &report.trouble {
                ui::complain_of(&why.message, &why.hint);
            }
            return Ok(ExitCode::from(report.exit_code()));
        }
        Verb::Import(typed) => {
            let person = ui::Person { next_drive_command: typed.next_drive_command.clone() };
            let (options, json) = typed.meant()?;
            let report = import::run(&options, person, bars)?;
            show(&report, json, |r| ui::import(r, begun.elapsed()))?;
            return Ok(ExitCode::from(report.exit_code()));
        }
        Verb::List(typed) => {
            let (options, json) = typed.meant()?;
            show(&list::run(&options, ui::Person::default(), bars)?, json, ui::list)?;
        }
        Verb::Inspect(typed) => {
            let (place, json) = typed.meant();
            show(&inspect::run(&place, bars)?, json, ui::inspect)?;
        }
        Verb::Demo => demo::run(bars)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn show<R: Serialize>(report: &R, json: bool, human: impl FnOnce(&R)) -> Result<()> {
    if !json {
        human(report);
        return Ok(());
    }
    ui::json(report).map_err(|e| Error::Internal(e.to_string()))
}
