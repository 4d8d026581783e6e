//! From segments to volumes: what one part holds of the source, sealed, with parity, durable on its drives.

use crate::error::Result;
use crate::pack::packing::Packing;
use crate::pack::seal_segments::fill;
use crate::pack::writers::{Drives, Packed, Writer};
use crate::progress::Progress;
use crate::threads::{FirstError, lock};
use std::cell::Cell;
use std::sync::{Mutex, PoisonError};

/// Packs the segments of the source, as far as there is room, into the volumes of a part, durable on the drives.
pub fn pack(packing: &Packing, progress: &dyn Progress) -> Result<Packed> {
    let (plan, dirs) = (packing.plan, packing.dirs);
    let (sink, queues) = Drives::new(plan, packing.header.clone(), dirs.dirs.len(), packing.log);
    let (failure, copies) = (FirstError::default(), Mutex::new(Vec::new()));
    let end = std::thread::scope(|scope| {
        for (drive, queue) in queues.into_iter().enumerate() {
            let volumes = (0..plan.placement.len()).filter(|v| plan.placement[*v] == drive).collect();
            let (template, written) = (packing.header.clone(), Cell::new(0));
            let writer = Writer { drive, dirs, volumes, template, written, progress, drives: &sink };
            let (failure, copies) = (&failure, &copies);
            // When a writer ends early, the next order to it stops the workers.
            let run = move || writer.run(&queue).map(|written| lock(copies).extend(written));
            scope.spawn(move || failure.keep(run(), || ()));
        }
        let end = fill(packing, &sink, &failure, progress);
        // The end of the queues is what lets the writers end.
        sink.close();
        end
    });
    // Writers whose orders ended say that they were interrupted: what went wrong says more.
    let end = match end {
        Ok(end) => end,
        Err(error) => {
            failure.keep(Err(error), || ());
            0
        }
    };
    failure.check()?;
    Ok(sink.finish(end, copies.into_inner().unwrap_or_else(PoisonError::into_inner)))
}
