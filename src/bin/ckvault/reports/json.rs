//! Reports and errors as JSON, each on one line.

use crate::ui::wrote;
use ckvault::error::Error;
use ckvault::media::fence::Fence;
use ckvault::text::{PlainJson, without_secrets};
use serde::Serialize;
use std::io::{BufWriter, Write};

/// An error as JSON, in the place of a report.
#[derive(Serialize)]
struct Failed<'a> {
    error: String,
    hint: &'a str,
    code: &'static str,
    exit_code: u8,
}

/// An error as JSON, on one line.
pub fn json_error(error: &Error) {
    let message = without_secrets(&error.to_string()).into_owned();
    let failed = Failed { error: message, hint: error.hint(), code: error.code(), exit_code: error.exit_code() };
    let _ = one_line(&failed);
}

/// A report and the fence behind which it was made.
#[derive(Serialize)]
struct Fenced<'a, R> {
    #[serde(flatten)]
    report: &'a R,
    fence: Fence,
}

/// A report as JSON, on one line.
pub fn json(report: &impl Serialize, fence: Fence) -> Result<(), serde_json::Error> {
    let report = Fenced { report, fence };
    one_line(&report)
}

fn one_line(value: &impl Serialize) -> Result<(), serde_json::Error> {
    let mut out = PlainJson::new(BufWriter::new(std::io::stdout().lock()));
    match serde_json::to_writer(&mut out, value) {
        Err(error) if !error.is_io() => return Err(error),
        Err(error) => wrote(Err(error.into())),
        Ok(()) => {
            let mut out = out.into_inner();
            wrote(out.write_all(b"\n").and_then(|()| out.flush()));
        }
    }
    Ok(())
}
