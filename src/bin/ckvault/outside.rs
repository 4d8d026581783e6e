//! The fence and what lies outside of it: raises the fence, and starts the helper process that runs other programs there. The helper
//! is this same binary.

use crate::ui::screen;
use ckvault::error::{Error, Result};
use ckvault::media::device;
use ckvault::media::disk::{Disk, Media};
use ckvault::media::errand::{self, Done, Errand};
use ckvault::media::fence::{self, Fence, Needs};
use ckvault::media::{memory, program};
use ckvault::progress::DriveWanted;
use ckvault::text::{listing, printable};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

/// The hidden verb of the helper.
pub const VERB: &str = "run-errands";

/// Where rules of time zones lie, by which signers may be valid.
const ZONES: [&str; 4] = ["/etc/localtime", "/usr/share/zoneinfo", "/usr/share/lib/zoneinfo", "/etc/zoneinfo"];

/// Who the owners of keys and lists are, and who else is in their groups.
const ACCOUNTS: [&str; 2] = ["/etc/passwd", "/etc/group"];

/// Programs are looked for in directories that PATH names in full. A relative one may be a drive: this program is then run anew
/// without it.
pub fn search_absolute_only() -> Result<()> {
    let Some(path) = std::env::var_os("PATH") else { return Ok(()) };
    let all: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let absolute: Vec<&PathBuf> = all.iter().filter(|dir| dir.is_absolute()).collect();
    if absolute.len() == all.len() {
        return Ok(());
    }
    let clean = std::env::join_paths(absolute).map_err(|e| Error::Internal(e.to_string()))?;
    let mut arguments = std::env::args_os();
    let mut again = Command::new(program::OWN);
    if let Some(name) = arguments.next() {
        again.arg0(name);
    }
    let error = again.args(arguments).env("PATH", clean).exec();
    Err(Error::usage(
        format!("PATH names directories that are relative to the current one, and cannot be cleaned: {error}"),
        "name directories in PATH from the root",
    ))
}

/// Where this process stands: whether there is a fence, and whether somebody runs programs outside of it.
#[derive(Clone, Default)]
pub struct Outside(Arc<Inner>);

#[derive(Default)]
struct Inner {
    verbose: bool,
    /// Run by `sh -c` when another drive is needed.
    next_drive_command: Option<String>,
    helper: Mutex<Option<Child>>,
    fence: Mutex<Option<Fence>>,
}

impl Outside {
    /// Nothing is fenced in yet.
    pub fn new(verbose: bool, next_drive_command: Option<String>) -> Outside {
        Outside(Arc::new(Inner { verbose, next_drive_command, ..Inner::default() }))
    }

    /// The way to file systems, through which a verb says what it needs.
    pub fn disk(&self) -> Disk {
        Disk::new(self.clone())
    }

    /// The fence that stands.
    pub fn fence(&self) -> Fence {
        let fence = self.0.fence.lock().unwrap_or_else(PoisonError::into_inner).clone();
        fence.unwrap_or_else(|| Fence::none("nothing was done that needs one"))
    }

    /// Whether more is said on standard error.
    pub fn is_verbose(&self) -> bool {
        self.0.verbose
    }

    /// Whether a command changes drives.
    pub fn changes_drives(&self) -> bool {
        self.0.next_drive_command.is_some()
    }

    /// Runs the command that mounts the next drive, if there is one; says whether it is there.
    pub fn change_drive(&self, wanted: &DriveWanted) -> Option<bool> {
        let number = wanted.number.map(|n| n.to_string()).unwrap_or_default();
        let errand = self.next_drive(&wanted.place, &number)?;
        Some(Media::run(self, &errand).is_ok_and(|done| done.success))
    }

    fn next_drive(&self, place: &Path, number: &str) -> Option<Errand> {
        Some(Errand {
            program: "sh".into(),
            arguments: vec!["-c".into(), self.0.next_drive_command.clone()?.into()],
            variables: vec![
                ("CKVAULT_DRIVE".into(), place.as_os_str().to_owned()),
                ("CKVAULT_DRIVE_NUMBER".into(), number.into()),
            ],
            answers: false,
            input: Vec::new(),
        })
    }

    /// Starts the helper if there will be anything for it to do.
    fn start_helper(&self, needs: &Needs) -> io::Result<()> {
        let changes = needs.changed.iter().filter_map(|place| self.next_drive(place, ""));
        let errands: Vec<Errand> = needs.errands.iter().cloned().chain(changes).collect();
        let mut helper = self.0.helper.lock().unwrap_or_else(PoisonError::into_inner);
        if errands.is_empty() || helper.is_some() {
            return Ok(());
        }
        let mut command = Command::new(program::OWN);
        command.arg0("ckvault").arg(VERB);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        errand::settle(child.stdin.as_mut().ok_or(io::ErrorKind::BrokenPipe)?, &errands)?;
        *helper = Some(child);
        Ok(())
    }

    fn explain(&self, needs: &Needs, fence: &Fence) {
        let names = |paths: &[PathBuf]| listing(paths.iter().map(|p| p.as_os_str().as_bytes()));
        let abi = fence.landlock_abi.map(|abi| format!(" (Landlock ABI {abi})")).unwrap_or_default();
        let why = fence.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        crate::ui::note(&format!("fence: {}{abi}{why}", fence.level));
        if fence.level != "none" {
            for (what, paths) in [("reads", &needs.read), ("writes", &needs.write), ("moves into", &needs.receive)] {
                if !paths.is_empty() {
                    crate::ui::note(&format!("fence: {what}{}", names(paths)));
                }
            }
        }
    }

    /// What can be said of secrets when a verb has ended.
    pub fn conclude(&self) {
        if self.0.verbose && memory::was_refused() {
            crate::ui::note(
                "not all secrets could be kept out of swap: the limit of locked memory is too low (ulimit -l)",
            );
        }
    }
}

impl Media for Outside {
    fn confine(&self, needs: &Needs) {
        let mut needs = needs.clone();
        needs.read.extend(
            ZONES.into_iter().chain(ACCOUNTS).chain(device::SOURCES).map(PathBuf::from).chain(zone_of_the_user()),
        );
        // The thread that shows progress is to be behind it too.
        let fence = screen::without_thread(|| match self.start_helper(&needs) {
            Ok(()) => fence::raise(&needs),
            Err(error) => Fence::none(format!("what runs programs outside of it could not be started: {error}")),
        });
        if self.0.verbose {
            self.explain(&needs, &fence);
        }
        // One that is raised within another only takes away.
        self.0.fence.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(fence);
    }

    fn run(&self, errand: &Errand) -> io::Result<Done> {
        let mut helper = self.0.helper.lock().unwrap_or_else(PoisonError::into_inner);
        // Who is run may have something to say, or to ask.
        screen::awaiting(|| match helper.as_mut().and_then(|child| child.stdin.as_mut().zip(child.stdout.as_mut())) {
            Some((to, from)) => errand::ask(to, from, errand),
            None => errand.run(io::stderr().into()),
        })
    }
}

/// Files of time zones that the environment names.
fn zone_of_the_user() -> impl Iterator<Item = PathBuf> {
    let path = |value: OsString| {
        let bytes = value.as_bytes();
        PathBuf::from(OsStr::from_bytes(bytes.strip_prefix(b":").unwrap_or(bytes)))
    };
    ["TZ", "TZDIR"].into_iter().filter_map(std::env::var_os).map(path).filter(|path| path.is_absolute())
}

/// The helper: stays outside, and runs what it is told to.
pub fn serve() -> Result<()> {
    let served = errand::serve(io::stdin().lock(), io::stdout().lock(), || io::stderr().into());
    served.map_err(|e| Error::Internal(format!("{VERB}: {}", printable(e.to_string().as_bytes()))))
}
