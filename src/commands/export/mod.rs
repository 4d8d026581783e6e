//! `ckvault export`: from sources to a signed set on drives.

mod job;
mod options;
mod probed;
mod report;
mod resume;

pub use options::{Options, Restated};
pub use report::{Destination, Report};

pub(super) use job::{check_inventory, metadata_estimate, only_read, survey};

use crate::error::{Error, Result};
use crate::format::hex;
use crate::format::inventory::Kind;
use crate::format::signature::{SigningKey, public_line};
use crate::media::dir::Dir;
use crate::media::drive::{self, Drive};
use crate::media::fence::Needs;
use crate::media::guarded;
use crate::media::process::require_open_files;
use crate::pack::{
    Aside, Begun, Export, Plan, Request, Source, State, Walk, Walked, cannot_hold, estimate, expected, has_room,
    load_signing_key, plan, snapshot,
};
use crate::progress::{Ask, Phase, Progress};
use crate::set::program_to_travel;
use crate::stages::seal::recipients::Recipients;
use crate::stages::seal::{SetIdentity, SetRecipient};
use crate::text::for_shell;
use base64::Engine as _;
use job::{check_destinations, finish, own};
use report::{Forecast, Totals};
use std::path::{Path, PathBuf};

/// Packs, seals, writes, reads back, signs.
pub fn run(options: &Options, ask: impl Ask + Clone + 'static, progress: &dyn Progress) -> Result<Report> {
    // What is resumed is encrypted to whom the state says.
    if let Ok(dir) = Dir::given(&options.host, &options.state_dir) {
        guarded::check_dir(&dir, progress)?;
    }
    match &options.resume {
        Some(which) => resume::run(options, which.as_deref(), &ask, progress),
        None => begin(options, ask, progress),
    }
}

fn begin(options: &Options, ask: impl Ask + Clone + 'static, progress: &dyn Progress) -> Result<Report> {
    check_label(options.label.as_deref())?;
    let recipients = Recipients::parse_all(&options.recipient, &options.recipients, ask.clone(), progress)?;
    agree_to_only_own(options, &recipients, &ask)?;
    let slot = Slot::made_for(&recipients)?;
    let no_key = || Error::usage("there is no signing key: nobody could trust the set", "give --signing-key FILE");
    let key_file = options.signing_key.as_ref().ok_or_else(no_key)?;
    let key = load_signing_key(&options.disk, key_file, &ask, progress)?;
    let program = options.program.as_ref().map(|path| program_to_travel(&options.disk, path)).transpose()?;
    // Opened once: what is checked and measured is what is written to.
    let open = |path: &PathBuf| drive::open(&options.disk, &absolute(path)?);
    let held = options.drives.iter().map(open).collect::<Result<Vec<Dir>>>()?;
    check_destinations(&options.disk, &options.sources, &held)?;
    // There before the sources are looked at, in which it may lie.
    let state_dir = match options.dry_run {
        true => None,
        false => Some(
            Dir::given_or_made_private(&options.host, &options.state_dir)
                .map_err(Error::io("create", &options.state_dir))?,
        ),
    };
    let how = Walk {
        links: options.links,
        skip_special: options.skip_special,
        exclude: options.exclude.clone(),
        exclude_caches: options.exclude_caches,
        own: own(&held, state_dir.as_ref()),
    };
    let (walked, tar_bytes) = survey(&options.disk, &options.sources, &how, progress)?;
    require_something(&walked)?;
    progress.stage(Phase::Prepare);
    let in_the_way = match options.dry_run {
        true => resume::InTheWay::default(),
        false => resume::in_the_way(options, &held)?,
    };
    let mut drives = held.iter().map(drive::examine).collect::<Result<Vec<Drive>>>()?;
    for drive in drives.iter_mut().filter(|drive| drive.free != drive::UNTOLD) {
        drive.free = drive.free.saturating_add(in_the_way.bytes_on(drive.device));
    }
    check_apart(options, &drives, progress)?;
    let metadata = metadata_estimate(&walked, program.as_ref());
    let request = Request { may_go_on: ask.can_change_drives(), ..options.request.clone() };
    let mut plan = plan(&request, &drives, tar_bytes, metadata)?;
    let source = Source::new(&options.disk, walked, tar_bytes, plan.segment_bytes);
    let aside = || Aside::of(source.entries(), program.as_ref(), metadata);
    let mut forecast = forecast(options, &request, &plan, (&source, &drives, &aside), progress)?;
    plan.require_room(&request, &drives, forecast.as_ref().map(|f| &f.expected.enough[..]))?;
    // All volumes of a group, and of each drive itself, its directories and its lock.
    require_open_files(plan.placement.len() + 4 * drives.len())?;
    check_inventory(source.entries(), source.segments(), &mut plan, request.may_go_on)?;
    let mut totals = Totals::of(source.walked(), recipients.named(), &options.own, &key.public(), &slot.bytes);
    if !options.dry_run {
        if let Some((_, drive)) = held.iter().zip(&drives).find(|(dir, d)| !d.can_hold(plan.volume_bytes, Some(dir))) {
            return Err(cannot_hold(drive, plan.volume_bytes));
        }
        // Only now: nothing of an earlier export is lost to a mistake in this command.
        progress.stage(Phase::Remove);
        in_the_way.remove()?;
    }
    // Only now: that was in the way of a test, too.
    if let Some(forecast) = forecast.as_mut().filter(|_| options.probe) {
        totals = totals.with(probed::probed(
            options,
            &mut plan,
            forecast,
            (&held, (&source, &drives[..], metadata)),
            progress,
        )?);
    }
    if let Some(forecast) = forecast.filter(|_| options.dry_run) {
        return Ok(report::planned(options, &plan, &drives, &forecast, totals));
    }
    let mounted = held.iter().map(Dir::is_mount_point).collect();
    let begun = Begun { mounted, ..begun(options, &plan, (&recipients, slot), &key, key_file, source.walked())? };
    let state = State::create(&options.host, &options.state_dir, &begun)?;
    let held = held.into_iter().map(Some).collect();
    let mut export = Export::new((&options.disk, held), begun, source, key, state, (program, metadata))?;
    export.tried = options.probe;
    finish(options, export, totals, &ask, progress)
}

/// What all is expected to become, where that is wanted: in a dry run, for how long it takes, and where it decides whether there is room.
fn forecast(
    options: &Options,
    request: &Request,
    plan: &Plan,
    (source, drives, aside): (&Source, &[Drive], &dyn Fn() -> Aside),
    progress: &dyn Progress,
) -> Result<Option<Forecast>> {
    let decides = request.trust_estimate && !request.may_go_on && !has_room(drives, &plan.needed);
    if !options.dry_run && !options.probe && !decides {
        return Ok(None);
    }
    if options.dry_run {
        let drives = options.drives.iter().filter(|_| options.probe);
        let write = drives.map(absolute).collect::<Result<_>>()?;
        options.disk.confine(&Needs { write, ..only_read() });
    }
    let estimate = estimate(source, plan.compression, progress)?;
    let aside = aside();
    let expected = expected(plan, drives.len(), source.tar_bytes(), &estimate, &aside);
    Ok(Some(Forecast { estimate, aside, expected }))
}

/// A set without any file of which something was left out is not what was meant.
pub(super) fn require_something(walked: &Walked) -> Result<()> {
    let has_files = walked.entries.iter().any(|entry| !matches!(entry.kind, Kind::Dir));
    let noticed = &walked.noticed;
    match has_files || noticed.left_out.is_empty() && noticed.skipped.is_empty() {
        true => Ok(()),
        false => Err(Error::source(
            "there is nothing to export: all files of the sources are left out",
            "look at --exclude, --exclude-caches and --skip-special, and name other sources",
        )),
    }
}

/// What `keygen` puts into the default list is the key of this machine: a set for nobody else is seldom what is meant.
fn agree_to_only_own(options: &Options, recipients: &Recipients, ask: &dyn Ask) -> Result<()> {
    let Some((only, others)) = recipients.named().split_first() else { return Ok(()) };
    if others.iter().any(|other| !other.recipient.eq_ignore_ascii_case(&only.recipient)) {
        return Ok(());
    }
    if !options.recipients_by_default || options.dry_run || !options.own.may_be(&only.recipient) {
        return Ok(());
    }
    let list = options.recipients.first().map(|path| for_shell(path)).unwrap_or_default();
    let why = match options.own.is(&only.recipient) {
        true => format!("{list} names only the key of this machine: nobody else could open the set"),
        // Its own key is behind a passphrase.
        false => format!("{list} names one key, perhaps that of this machine: then nobody else could open the set"),
    };
    match ask.agree(&format!("{why}. Press Enter if that is meant, or type q:")) {
        Some(true) => Ok(()),
        _ => Err(Error::usage(
            why,
            format!(
                "give --recipients FILE, or -r, with the key of the machine that imports; or, if that is meant, --recipients {list}"
            ),
        )),
    }
}

/// The set's own identity, made and forgotten again: only the slot has it.
struct Slot {
    recipient: SetRecipient,
    bytes: Vec<u8>,
}

impl Slot {
    /// A new one; whoever cannot be encrypted to is found out now.
    fn made_for(recipients: &Recipients) -> Result<Slot> {
        let identity = SetIdentity::generate();
        Ok(Slot { recipient: identity.recipient(), bytes: identity.slot(recipients)? })
    }
}

/// Settles everything that stays the same for all of the set.
fn begun(
    options: &Options,
    plan: &Plan,
    (recipients, slot): (&Recipients, Slot),
    key: &SigningKey,
    key_file: &Path,
    walked: &Walked,
) -> Result<Begun> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|e| Error::Internal(e.to_string()))?;
    let seconds = jiff::Timestamp::from_second(options.now.as_second()).unwrap_or(options.now);
    Ok(Begun {
        tool: Begun::version(),
        set: hex(&id),
        label: options.label.clone(),
        created: seconds.to_string(),
        recipient: slot.recipient,
        recipients: recipients.named().to_vec(),
        survive: options.request.survive,
        slot: base64::engine::general_purpose::STANDARD.encode(slot.bytes),
        signer: public_line(&key.public()),
        signing_key: absolute(&key_file.to_owned())?,
        sources: options.sources.iter().map(absolute).collect::<Result<_>>()?,
        drives: options.drives.iter().map(absolute).collect::<Result<_>>()?,
        mounted: Vec::new(),
        links: options.links,
        skip_special: options.skip_special,
        exclude: options.exclude.clone(),
        exclude_caches: options.exclude_caches,
        root_mtime: walked.changing_root().then(|| walked.entries[0].mtime),
        read_back: options.read_back,
        program: options.program.as_ref().map(absolute).transpose()?,
        plan: plan.clone(),
        sources_were: snapshot(&walked.entries),
    })
}

fn absolute(path: &PathBuf) -> Result<PathBuf> {
    std::path::absolute(path).map_err(Error::io("resolve", path))
}

/// Directories of one file system are lost together: that is said, and refused if the set is to survive otherwise.
fn check_apart(options: &Options, drives: &[Drive], progress: &dyn Progress) -> Result<()> {
    let together = together(drives);
    if let (Some((one, other)), Some(_), false) = (together.first(), options.request.survive, options.same_device_ok) {
        return Err(Error::usage(
            format!(
                "drives {one} and {other} are on one file system, and would be lost together: --survive-drives promises otherwise"
            ),
            "check that each drive is mounted; if that is meant all the same, --same-device-ok",
        ));
    }
    if !options.same_device_ok {
        for (one, other) in &together {
            progress.warn(&format!("drives {one} and {other} are on one file system: they are lost together"));
        }
    }
    Ok(())
}

/// Pairs of drives, by their numbers, that are on one file system.
fn together(drives: &[Drive]) -> Vec<(usize, usize)> {
    let first = |other: usize| drives[..other].iter().position(|d| d.device == drives[other].device);
    (1..drives.len()).filter_map(|other| Some((first(other)? + 1, other + 1))).collect()
}

fn check_label(label: Option<&str>) -> Result<()> {
    match label {
        Some(label) if !crate::format::valid_label(label) => Err(Error::usage(
            format!("the label {label:?} is not valid"),
            "letters, digits, dots, underscores and hyphens, at most 64, the first a letter or digit; it is public",
        )),
        _ => Ok(()),
    }
}
