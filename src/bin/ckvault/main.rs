//! The command: arguments to options, a verb, its report, an exit code.

#![deny(missing_docs)]

mod cli;
mod demo;
mod home;
mod outside;
mod reports;
mod signals;
mod time_zone;
mod ui;

use ckvault::commands::{export, import, inspect, keygen, list, plan, repair, verify};
use ckvault::error::{Error, Result};
use ckvault::media::disk::Disk;
use ckvault::progress::{Phase, Progress};
use clap::Parser;
use cli::{Cli, Shape, Verb};
use outside::Outside;
use serde::Serialize;
use signals::Stop;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

const USAGE: u8 = 2;
/// What the first thread has.
const STACK: usize = 8 << 20;

fn main() -> ExitCode {
    ckvault::media::process::harden();
    ckvault::media::process::raise_open_files();
    signals::survive_limits();
    // Whoever wants JSON gets it for errors too, of the command line itself among them.
    let json = std::env::args_os().skip(1).any(|argument| argument == "--json");
    if let Err(error) = outside::search_absolute_only().and_then(|()| ckvault::media::process::require_threads()) {
        return failed(&error, json);
    }
    if let Err(error) = ckvault::media::processor::check().and_then(|()| cli::refuse_secrets(std::env::args_os())) {
        return failed(&error, json);
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(stopped) => return not_run(&stopped, json),
    };
    let outside = Outside::new(cli.verbose, cli.verb.next_drive_command());
    let disk = outside.disk();
    let stop = match signals::listen(&cli.verb, json, &disk) {
        Ok(stop) => stop,
        Err(error) => return failed(&error, json),
    };
    let verb = std::thread::Builder::new().name("verb".into()).stack_size(STACK);
    match verb.spawn(move || carry_out(cli, disk, &outside, &stop, json)).map(std::thread::JoinHandle::join) {
        Ok(Ok(code)) => code,
        Ok(Err(panic)) => std::panic::resume_unwind(panic),
        Err(error) => failed(&Error::Internal(format!("threads: {error}")), json),
    }
}

/// Not in the first thread, which a signal is given to before any other: one that waits for a drive does not take it.
fn carry_out(cli: Cli, disk: Disk, outside: &Outside, stop: &Arc<Stop>, json: bool) -> ExitCode {
    let may_be_cut = cli.verb.may_be_cut();
    let person = ui::Person::new(outside.clone(), stop.asked());
    let bars = ui::Bars::new(stop.clone(), cli.progress.how());
    let ended = run(cli.verb, disk, outside, person, &bars, cli.progress);
    stop.end();
    bars.end();
    bars.warn_of_what_came_up();
    outside.conclude();
    let ended = match ended {
        // A question that was not answered because of a signal, for example.
        Err(error) if stop.asked().load(Ordering::Relaxed) && !matches!(error, Error::Left { .. }) => {
            Err(Error::Interrupted)
        }
        other => other,
    };
    match (ended, ui::unwritten(may_be_cut)) {
        (Ok(code), None) => code,
        (Ok(_), Some(error)) => {
            ui::complain(&error);
            ExitCode::from(error.exit_code())
        }
        (Err(error), _) => failed(&error, json),
    }
}

/// Says what went wrong; the exit code says so too.
fn failed(error: &Error, json: bool) -> ExitCode {
    ui::complain(error);
    if json {
        reports::json_error(error);
    }
    ExitCode::from(error.exit_code())
}

/// Nothing was to be run: help was asked for, or the command line is wrong.
fn not_run(stopped: &clap::Error, json: bool) -> ExitCode {
    let written = stopped.print().and_then(|()| std::io::Write::flush(&mut std::io::stdout()));
    if stopped.use_stderr() {
        if json {
            let text = stopped.render().to_string();
            let message = text.trim_start_matches("error: ").lines().next().unwrap_or_default().to_owned();
            reports::json_error(&Error::usage(message, "ckvault --help"));
        }
        return ExitCode::from(USAGE);
    }
    ui::wrote(written);
    match ui::unwritten(true) {
        None => ExitCode::SUCCESS,
        Some(error) => {
            ui::complain(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(
    verb: Verb,
    disk: Disk,
    outside: &Outside,
    person: ui::Person,
    bars: &ui::Bars,
    shape: Shape,
) -> Result<ExitCode> {
    if !matches!(verb, Verb::Demo | Verb::RunErrands) {
        bars.stage(Phase::Start);
    }
    let (begun, asked) = (Instant::now(), person.clone());
    // While a person is awaited, nothing is slow.
    let worked = || begun.elapsed().saturating_sub(asked.waited());
    match verb {
        Verb::Keygen(typed) => {
            let options = typed.meant(disk)?;
            let report = keygen::run(&options, &person, bars)?;
            bars.end();
            reports::keygen(&report);
        }
        Verb::Plan(typed) => {
            let (options, json) = typed.meant(disk)?;
            let report = plan::run(&options, bars)?;
            bars.end();
            show(&report, json, outside, reports::plan)?;
            return Ok(ExitCode::from(report.exit_code()));
        }
        Verb::Export(typed) => {
            let (options, json) = typed.meant(disk)?;
            let report = export::run(&options, person, bars)?;
            bars.end();
            show(&report, json, outside, |r| reports::export(r, worked()))?;
        }
        Verb::Verify(typed) => {
            let (options, json) = typed.meant(disk)?;
            let report = verify::run(&options, bars)?;
            bars.end();
            show(&report, json, outside, |r| reports::verify(r, worked(), outside.is_verbose()))?;
            complain_of_set(&report);
            return Ok(ExitCode::from(report.exit_code()));
        }
        Verb::Repair(typed) => {
            let (options, json) = typed.meant(disk)?;
            let report = repair::run(&options, bars)?;
            bars.end();
            show(&report, json, outside, |r| reports::repair(r, worked()))?;
            if let Some(why) = &report.trouble {
                ui::complain_of(&why.message, &why.hint);
            }
            return Ok(ExitCode::from(report.exit_code()));
        }
        Verb::Import(typed) => {
            let (options, json) = typed.meant(disk)?;
            let report = import::run(&options, person, bars)?;
            bars.end();
            show(&report, json, outside, |r| reports::import(r, worked()))?;
            return Ok(ExitCode::from(report.exit_code()));
        }
        Verb::List(typed) => {
            let (options, json) = typed.meant(disk)?;
            let report = list::run(&options, person, bars)?;
            bars.end();
            show(&report, json, outside, reports::list)?;
        }
        Verb::Inspect(typed) => {
            let (place, json) = typed.meant(disk);
            let report = inspect::run(&place, bars)?;
            bars.end();
            show(&report, json, outside, reports::inspect)?;
        }
        Verb::Demo => demo::run(bars, outside.is_verbose(), shape)?,
        Verb::RunErrands => outside::serve()?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Why a set was not judged by what is in it.
fn complain_of_set(report: &verify::Report) {
    if let Some((message, hint)) = &report.untrusted {
        ui::complain(&Error::untrusted(message, hint));
    }
    if let Some((message, hint)) = &report.newer {
        ui::complain(&Error::newer(message, hint));
    }
}

fn show<R: Serialize>(report: &R, json: bool, outside: &Outside, human: impl FnOnce(&R)) -> Result<()> {
    if !json {
        human(report);
        return Ok(());
    }
    reports::json(report, outside.fence()).map_err(|e| Error::Internal(e.to_string()))
}
