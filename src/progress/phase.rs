//! What a verb may be busy with, and what moves in that.

/// What a verb is busy with. Those that move no bytes that are counted are named too: nothing that may last is silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Arguments, keys and drives are looked at.
    Start,
    /// The sources are walked, or looked at again.
    Walk,
    /// What was left by something interrupted is removed.
    Remove,
    /// What is written to is made ready.
    Prepare,
    /// Segments are packed to see how long they become.
    Estimate,
    /// Drives are tried for how fast they are.
    Probe,
    /// Reading, sealing and writing segments.
    Export,
    /// Reading again what was written before an interruption.
    Recheck,
    /// Inventory, manifest and what else lies beside the volumes.
    Metadata,
    /// What was written becomes durable.
    Sync,
    /// Reading back what was written.
    ReadBack,
    /// The manifest is signed.
    Sign,
    /// The set is found, and whom it is signed by.
    Open,
    /// The key slot is opened.
    Unlock,
    /// The inventory is read.
    Contents,
    /// Reading and judging volumes.
    Verify,
    /// Metadata are compared, and what is damaged is judged.
    Judge,
    /// Opening segments and placing files.
    Import,
    /// Links, modes and times are set.
    Finish,
    /// What was made gets its final name.
    Name,
    /// Rebuilding volumes and reading them back.
    Repair,
    /// A person or another program is awaited.
    Wait,
}

impl Phase {
    /// All there are.
    pub const ALL: [Phase; 22] = [
        Phase::Start,
        Phase::Walk,
        Phase::Remove,
        Phase::Prepare,
        Phase::Estimate,
        Phase::Probe,
        Phase::Export,
        Phase::Recheck,
        Phase::Metadata,
        Phase::Sync,
        Phase::ReadBack,
        Phase::Sign,
        Phase::Open,
        Phase::Unlock,
        Phase::Contents,
        Phase::Verify,
        Phase::Judge,
        Phase::Import,
        Phase::Finish,
        Phase::Name,
        Phase::Repair,
        Phase::Wait,
    ];

    /// A word for programs, which stays the same.
    pub fn word(self) -> &'static str {
        match self {
            Phase::Start => "start",
            Phase::Walk => "walk",
            Phase::Remove => "remove",
            Phase::Prepare => "prepare",
            Phase::Estimate => "estimate",
            Phase::Probe => "probe",
            Phase::Export => "export",
            Phase::Recheck => "recheck",
            Phase::Metadata => "metadata",
            Phase::Sync => "sync",
            Phase::ReadBack => "read-back",
            Phase::Sign => "sign",
            Phase::Open => "open",
            Phase::Unlock => "unlock",
            Phase::Contents => "contents",
            Phase::Verify => "verify",
            Phase::Judge => "judge",
            Phase::Import => "import",
            Phase::Finish => "finish",
            Phase::Name => "name",
            Phase::Repair => "repair",
            Phase::Wait => "wait",
        }
    }
}

/// A drive that bytes move from or to in a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lane {
    /// Its number in the set.
    pub number: u32,
    /// How many bytes will move; `None` if that is not known before. Then each drive says with `Progress::share` how much of the
    /// total is done on it, and the total is done as far as the slowest is.
    pub bytes: Option<u64>,
}
