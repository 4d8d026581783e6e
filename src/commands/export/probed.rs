//! With `--probe`, drives are tried before anything of a set is written to them: where volumes go, and how long all takes, depends on that.

use super::options::Options;
use super::report::{Forecast, Measured};
use crate::commands::reported;
use crate::error::Result;
use crate::media::dir::Dir;
use crate::media::drive::Drive;
use crate::media::probe;
use crate::pack::{Plan, Source, expected, on_device_of};
use crate::progress::Progress;

/// Finds out how fast drives are, and has the plan, and what is expected of it, follow from that.
pub(super) fn probed(
    options: &Options,
    plan: &mut Plan,
    forecast: &mut Forecast,
    (held, all): (&[Dir], (&Source, &[Drive], u64)),
    progress: &dyn Progress,
) -> Result<Measured> {
    let (source, drives, metadata) = all;
    let speeds = probe::speeds(held, drives, &plan.needed, progress)?;
    plan.favour(&options.request, (drives, &speeds), (source.tar_bytes(), metadata));
    forecast.expected = expected(plan, drives.len(), source.tar_bytes(), &forecast.estimate, &forecast.aside);
    // Directories on one file system are written to at the same time, and share its speed.
    let load = |d: usize| (on_device_of(d, drives, &forecast.expected.on_drives), speeds[d]);
    let seconds = reported::seconds((0..drives.len()).map(load), options.read_back);
    Ok(Measured { speeds, seconds })
}
