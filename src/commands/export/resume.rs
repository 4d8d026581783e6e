//! Interrupted exports: going on with one, and what lies in the way of a new one.

use super::job::{check_destinations, finish, metadata_estimate, own, survey};
use super::options::Options;
use super::report::{Report, Totals};
use crate::error::{Error, Result};
use crate::format::inventory::{Entry, Name};
use crate::format::manifest::set_dir_name;
use crate::format::signature::public_line;
use crate::media::dir::Dir;
use crate::pack::{
    Begun, Export, Source, State, Unfinished, Walk, changed, is_on, load_signing_key, remove_from, unfinished,
};
use crate::progress::{Ask, Nobody, Progress};
use crate::set::program_to_travel;
use crate::stages::seal::recipients::{Named, Recipients};
use std::ffi::OsString;
use std::path::PathBuf;

const MOST_SHOWN: usize = 20;

/// Goes on with an interrupted export.
pub(super) fn run(options: &Options, which: Option<&str>, ask: &impl Ask, progress: &dyn Progress) -> Result<Report> {
    let (state, mut unfinished) = take_up(options, which)?;
    if options.probe {
        progress.warn("--probe: where volumes go was settled when the export was begun, and nothing is tried again");
    }
    let mut begun = unfinished.begun.clone();
    require_same(options, &begun, progress)?;
    let held = relocate(&mut begun, options)?;
    let moved = !options.drives.is_empty();
    let key = load_signing_key(&options.disk, &begun.signing_key, ask, progress)?;
    if public_line(&key.public()) != begun.signer {
        return Err(Error::usage(
            format!("{} is not the key that this export was begun with", begun.signing_key.display()),
            "give that key with --signing-key",
        ));
    }
    let program = begun.program.as_ref().map(|path| program_to_travel(&options.disk, path)).transpose()?;
    let drives: Vec<Dir> = held.iter().flatten().cloned().collect();
    check_destinations(&options.disk, &begun.sources, &drives)?;
    let state_dir = Dir::given(&options.host, &options.state_dir).ok();
    let how = Walk {
        links: begun.links,
        skip_special: begun.skip_special,
        exclude: begun.exclude.clone(),
        exclude_caches: begun.exclude_caches,
        own: own(&drives, state_dir.as_ref()),
    };
    drop(drives);
    let (mut walked, tar_bytes) = survey(&options.disk, &begun.sources, &how, progress)?;
    if let Some(mtime) = begun.root_mtime.filter(|_| walked.changing_root()) {
        walked.entries[0].mtime = mtime;
    }
    check_sources(&walked.entries, &begun)?;
    let (totals, metadata) = (
        Totals::of(&walked, &begun.recipients, &options.own, &key.public(), &begun.slot().unwrap_or_default()),
        metadata_estimate(&walked, program.as_ref()),
    );
    let source = Source::new(&options.disk, walked, tar_bytes, begun.plan.segment_bytes);
    let mut export = Export::new((&options.disk, held), begun, source, key, state, (program, metadata))?;
    if !unfinished.part_begun {
        unfinished.known.clear();
        unfinished.marks.clear();
    }
    export.stand_at(unfinished);
    export.replace(&options.replaced)?;
    export.moved = moved;
    finish(options, export, totals, ask, progress)
}

/// What is said again of an export must be as when it was begun: then the very command that was interrupted goes on with it.
fn require_same(options: &Options, begun: &Begun, progress: &dyn Progress) -> Result<()> {
    let (said, plan) = (&options.restated, &begun.plan);
    let absolute = |paths: &[PathBuf]| paths.iter().map(std::path::absolute).collect::<std::io::Result<Vec<_>>>().ok();
    let recipients = match options.recipients.is_empty() && options.recipient.is_empty() {
        true => None,
        false => Some(Recipients::parse_all(&options.recipient, &options.recipients, Nobody, progress)?),
    };
    let texts = |named: &[Named]| {
        let mut all: Vec<String> = named.iter().map(|n| n.recipient.clone()).collect();
        all.sort();
        all
    };
    let differs = [
        ("the sources", !said.sources.is_empty() && absolute(&said.sources).as_ref() != Some(&begun.sources)),
        ("the recipients", recipients.is_some_and(|r| texts(r.named()) != texts(&begun.recipients))),
        ("--label", options.label.is_some() && options.label != begun.label),
        ("--parity", options.request.parity.is_some_and(|parity| parity != (plan.k, plan.m))),
        ("--survive-drives", options.request.survive.is_some() && options.request.survive != begun.survive),
        ("--volume-size", options.request.volume_bytes.is_some_and(|bytes| bytes != plan.volume_bytes)),
        ("--block-size", options.request.block_bytes.is_some_and(|bytes| bytes != plan.block.bytes())),
        ("--segment-size", options.request.segment_bytes.is_some_and(|bytes| bytes != u64::from(plan.segment_bytes))),
        ("--compress", said.compression.is_some_and(|how| how != plan.compression)),
        ("--links", said.links.is_some_and(|how| how != begun.links)),
        ("--skip-special", options.skip_special && !begun.skip_special),
        ("--exclude", !options.exclude.is_empty() && options.exclude != begun.exclude),
        ("--exclude-caches", options.exclude_caches && !begun.exclude_caches),
        ("--no-read-back", !options.read_back && begun.read_back),
    ];
    match differs.iter().find(|(_, differs)| *differs) {
        None => Ok(()),
        Some((what, _)) => Err(Error::usage(
            format!("{what}: this differs from what the interrupted export was begun with"),
            "leave it out, or begin anew with --discard instead of --resume",
        )),
    }
}

fn take_up(options: &Options, which: Option<&str>) -> Result<(State, Unfinished)> {
    let (dir, mut found) = unfinished(&options.host, &options.state_dir)?.unzip();
    let mut found = found.take().unwrap_or_default();
    found.retain(|(id, _)| which.is_none_or(|w| id.starts_with(w)));
    let busy = |id: &str| {
        Error::refused(format!("the export {id} is being written by another ckvault"), "wait for it, or stop it")
    };
    match (&found[..], dir) {
        ([(id, Ok(None))], _) => Err(busy(id)),
        ([(id, _)], Some(dir)) => State::take_up(&dir, id)?.ok_or_else(|| busy(id)),
        ([], _) | (_, None) => Err(Error::usage(
            match which {
                Some(which) => format!("no interrupted export has an id that begins with {which:?}"),
                None => "there is no interrupted export".into(),
            },
            format!("what could be resumed is kept in {}", options.state_dir.display()),
        )),
        (several, _) => {
            let lines: String = several.iter().map(|(id, u)| format!("\n  {}", described(id, u))).collect();
            Err(Error::usage(format!("several exports were interrupted:{lines}"), "choose one: --resume ID"))
        }
    }
}

fn described(id: &str, kept: &Result<Option<Unfinished>>) -> String {
    match kept {
        Ok(unfinished) => describe(id, unfinished.as_ref()),
        Err(error) => format!("{id}: {error}"),
    }
}

fn describe(id: &str, unfinished: Option<&Unfinished>) -> String {
    match unfinished {
        None => format!("{id}, being written now"),
        Some(u) => {
            let sources = u.begun.sources.iter().map(|s| s.display().to_string()).collect::<Vec<_>>().join(", ");
            format!("{id}, of {sources}, begun {}", u.begun.created)
        }
    }
}

/// What is elsewhere now: drives, the signing key, and the program that travels with the set. Returns those of the drives that are
/// here, opened.
fn relocate(begun: &mut Begun, options: &Options) -> Result<Vec<Option<Dir>>> {
    let open = |drive: &PathBuf| Dir::given(&options.disk, drive).ok();
    let absolute = |path: &PathBuf| std::path::absolute(path).map_err(Error::io("resolve", path));
    if !options.drives.is_empty() {
        if options.drives.len() != begun.drives.len() {
            return Err(Error::usage(
                format!("this export writes to {} drive(s) at a time", begun.drives.len()),
                "give as many --to as when it was begun, in the same order, or none",
            ));
        }
        begun.drives = options.drives.iter().map(absolute).collect::<Result<_>>()?;
    }
    let held: Vec<Option<Dir>> = begun.drives.iter().map(open).collect();
    if !options.drives.is_empty() {
        begun.mounted = held.iter().map(|dir| dir.as_ref().is_some_and(Dir::is_mount_point)).collect();
    }
    if let Some(key) = &options.signing_key {
        begun.signing_key = key.clone();
    }
    match (&options.program, &begun.program) {
        (None, _) => {}
        (Some(path), Some(_)) => begun.program = Some(absolute(path)?),
        (Some(_), None) => {
            return Err(Error::usage(
                "this export was begun without a program",
                "leave --with-tool out; or begin anew with --discard",
            ));
        }
    }
    Ok(held)
}

fn shown(name: &Name) -> String {
    if name.0.is_empty() { ".".into() } else { name.printable() }
}

/// The sources must be what they were: half of an old checkpoint and half of a new one is none.
fn check_sources(entries: &[Entry], begun: &Begun) -> Result<()> {
    let (different, gone) = changed(entries, &begun.sources_were);
    if different.is_empty() && gone == 0 {
        return Ok(());
    }
    let mut list: String = different.iter().take(MOST_SHOWN).map(|n| format!("\n  {}", shown(n))).collect();
    if different.len() > MOST_SHOWN {
        list.push_str(&format!("\n  and {} more", different.len() - MOST_SHOWN));
    }
    if gone > 0 {
        list.push_str(&format!("\n  {gone} that were there are gone or renamed"));
    }
    Err(Error::source(
        format!("the sources have changed since the export was begun:{list}"),
        "export anew with --discard; what was written holds the old state",
    ))
}

/// What interrupted exports have left on the drives of a new one, and where their states are.
#[derive(Default)]
pub(super) struct InTheWay {
    states: Option<Dir>,
    all: Vec<(String, Vec<(Dir, String)>)>,
}

/// Finds that; refuses to begin beside it unless it may be removed.
pub(super) fn in_the_way(options: &Options, drives: &[Dir]) -> Result<InTheWay> {
    let Some((dir, all)) = unfinished(&options.host, &options.state_dir)? else { return Ok(InTheWay::default()) };
    let mut found = InTheWay { states: Some(dir), all: Vec::new() };
    for (id, unfinished) in all {
        // Another process writes there: two exports have two directories, and do not meet.
        // Nor does it meet one that nobody can go on with.
        let Ok(Some(unfinished)) = unfinished else { continue };
        let left = left_on(drives, &unfinished);
        if left.is_empty() {
            continue;
        }
        if !options.discard {
            let short = &unfinished.begun.set[..8];
            return Err(Error::refused(
                format!("an interrupted export is on these drives: {}", describe(&id, Some(&unfinished))),
                format!("`ckvault export --resume {short}` goes on with it; --discard removes it and begins anew"),
            ));
        }
        found.all.push((id, left));
    }
    Ok(found)
}

impl InTheWay {
    /// Bytes that will be free on the file system of a drive when this is removed.
    pub(super) fn bytes_on(&self, device: u64) -> u64 {
        let on_device = |dir: &Dir| dir.metadata().is_ok_and(|stat| stat.st_dev == device);
        let left = self.all.iter().flat_map(|(_, left)| left).filter(|(drive, _)| on_device(drive));
        left.map(|(drive, name)| drive.dir(name).map_or(0, |dir| bytes_in(&dir))).sum()
    }

    /// Removes it.
    pub(super) fn remove(self) -> Result<()> {
        for (id, left) in &self.all {
            let Some((state, _)) = self.states.as_ref().map(|dir| State::take_up(dir, id)).transpose()?.flatten()
            else {
                continue;
            };
            left.iter().try_for_each(|(drive, name)| remove_from(drive, name))?;
            state.remove()?;
        }
        Ok(())
    }
}

/// Bytes of the files in the directory of a set, further copies left out.
fn bytes_in(dir: &Dir) -> u64 {
    let size = |name: &OsString| dir.stat(name).ok().flatten().map_or(0, |stat| stat.st_size as u64);
    dir.names().unwrap_or_default().iter().map(size).sum()
}

/// The directories of all parts of an interrupted export that are on these drives.
fn left_on(drives: &[Dir], unfinished: &Unfinished) -> Vec<(Dir, String)> {
    let begun = &unfinished.begun;
    let names = (1..=unfinished.part()).map(|part| set_dir_name(begun.label.as_deref(), &begun.set, part));
    let all = names.flat_map(|name| drives.iter().map(move |drive| (drive.clone(), name.clone())));
    all.filter(|(drive, name)| is_on(drive, name)).collect()
}
