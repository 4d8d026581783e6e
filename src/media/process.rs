//! What this process asks of the system for its own protection: no core dumps, no debugger.

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// No other process of this user may look into its memory, and none of that is written to a core file. A system that refuses
/// is no reason to stop.
pub fn harden() {
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
}
