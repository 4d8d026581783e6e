//! What can go wrong, what to do about it, and the exit code that says so.

use rustix::io::Errno;
use std::io;
use std::path::{Path, PathBuf};

/// Success, or an [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The error of every verb: what happened, and where there is something to do, what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command line asks for something that cannot be.
    #[error("{message}")]
    Usage {
        /// What happened.
        message: String,
        /// What to do.
        hint: String,
    },
    /// A file that is not on a drive could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, a verb.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The source cannot be exported as it is.
    #[error("{message}")]
    Source {
        /// What happened.
        message: String,
        /// What to do.
        hint: String,
    },
    /// What the set asks for is refused, or the target is.
    #[error("{message}")]
    Refused {
        /// What happened.
        message: String,
        /// What to do.
        hint: String,
    },
    /// No trusted pair of manifest and signature.
    #[error("{message}")]
    Untrusted {
        /// What happened.
        message: String,
        /// What to do.
        hint: String,
    },
    /// No identity opens the key slot.
    #[error("{message}")]
    Identity {
        /// What happened.
        message: String,
        /// What to do.
        hint: String,
    },
    /// A drive failed, is full, is the wrong one or is not here.
    #[error("{message}")]
    Drive {
        /// What happened.
        message: String,
        /// What to do.
        hint: String,
    },
    /// Beyond repair, whatever is brought.
    #[error("{message}")]
    Lost {
        /// What happened.
        message: String,
        /// What to do.
        hint: String,
    },
    /// A signed or sealed file breaks a rule of the format.
    #[error("{message}")]
    Format {
        /// What happened.
        message: String,
        /// What to do.
        hint: String,
    },
    /// A set was written for a later version than this one.
    #[error("{message}")]
    Newer {
        /// What happened.
        message: String,
        /// What to do.
        hint: String,
    },
    /// What stopped a verb that left something: what it can go on with, or what it could not remove.
    #[error("{cause}")]
    Left {
        /// What happened.
        cause: Box<Error>,
        /// What to do about it, and then about what is left.
        hint: String,
    },
    /// SIGINT.
    #[error("interrupted")]
    Interrupted,
    /// A thread of ours ended early; never expected.
    #[error("internal error: {0}")]
    Internal(String),
}

/// What to do where something of which nobody knows what it is has a name of ours.
pub const IN_THE_WAY: &str = "look at what it is and who put it there, and move it away, then run the command again";

/// Whether an error is one of the drive, its cable or its file system, and not of what is there.
pub fn is_failure(error: &io::Error) -> bool {
    let failures = [
        Errno::IO,
        Errno::NODEV,
        Errno::NXIO,
        Errno::NOTCONN,
        Errno::STALE,
        Errno::UCLEAN,
        Errno::REMOTEIO,
        Errno::TIMEDOUT,
        Errno::BADMSG,
    ];
    failures.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// What hints end with.
const AGAIN: &str = "run the command again";
/// What to do where there is no room.
/// What to do when a drive does not keep what is written to it.
pub const ANOTHER_DRIVE: &str = "do not use this drive: it is failing, or its capacity is faked; use another";
const MORE_DRIVES: &str = "use an emptier drive, or more drives (--to again)";

/// What to do with what a verb has left.
pub fn goes_on(command: &str) -> String {
    format!("`{command}` goes on where this stopped")
}

macro_rules! constructors {
    ($($name:ident => $variant:ident),* $(,)?) => {
        impl Error {
            $(
                #[doc = concat!("An [`Error::", stringify!($variant), "`] from its two sentences.")]
                pub fn $name(message: impl Into<String>, hint: impl Into<String>) -> Error {
                    Error::$variant { message: message.into(), hint: hint.into() }
                }
            )*
        }
    };
}

constructors! {
    usage => Usage, source => Source, refused => Refused, untrusted => Untrusted, identity => Identity,
    drive => Drive, lost => Lost, format => Format, newer => Newer,
}

impl Error {
    /// For `map_err`: an operation on a file that is not on a drive.
    pub fn io(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Error {
        move |source| match source.kind() {
            io::ErrorKind::StorageFull => Error::drive(
                format!("cannot {action} {}: {source}", path.as_ref().display()),
                "make room there, then run the command again",
            ),
            io::ErrorKind::QuotaExceeded => Error::drive(
                format!("cannot {action} {}: {source}", path.as_ref().display()),
                "what this user may use there is used up: make room, or have the quota raised, then run the command again",
            ),
            _ => Error::Io { action, path: path.as_ref().to_owned(), source },
        }
    }

    /// For `map_err`: an operation on a file of a drive.
    pub fn on_drive(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Error {
        move |source| {
            const MOST_OPEN: [i32; 2] = [24, 23];
            let hint = match source.kind() {
                _ if source.raw_os_error().is_some_and(|code| MOST_OPEN.contains(&code)) => {
                    "raise the limit of open files (ulimit -n 4096), then run the command again"
                }
                io::ErrorKind::StorageFull => MORE_DRIVES,
                io::ErrorKind::QuotaExceeded => {
                    "what this user may use there is used up: have the quota raised, or use another drive"
                }
                io::ErrorKind::FileTooLarge => {
                    "files cannot be that long there, or for this user (ulimit -f): allow longer ones, or export with a smaller --volume-size"
                }
                io::ErrorKind::NotFound => "check the path, and that the drive is mounted",
                io::ErrorKind::ReadOnlyFilesystem => "mount the drive for writing",
                // What we make is a file or a directory, and something else has its place.
                io::ErrorKind::InvalidData
                | io::ErrorKind::AlreadyExists
                | io::ErrorKind::NotADirectory
                | io::ErrorKind::IsADirectory
                | io::ErrorKind::DirectoryNotEmpty => IN_THE_WAY,
                io::ErrorKind::PermissionDenied => {
                    "mount the drive so that you may read and write it, or change the permissions of the files"
                }
                // What does not come from the system is about bytes that did not come.
                _ if is_failure(&source) || source.raw_os_error().is_none() => {
                    "check the cable and the drive (dmesg), then run the command again"
                }
                _ => "the system may say more of it (dmesg): mend that, then run the command again",
            };
            Error::drive(format!("cannot {action} {}: {source}", path.as_ref().display()), hint)
        }
    }

    /// The same error, of a verb that goes on with `command`.
    pub fn resumable(self, command: &str) -> Error {
        let more = goes_on(command);
        let hint = match self.first_to_do() {
            "" => more,
            // Other drives would be other ones than it was begun with.
            MORE_DRIVES => format!("make room there, then {more}"),
            ANOTHER_DRIVE => format!(
                "do not use this drive: it is failing, or its capacity is faked; put another in its place, and add --replace-drive \
                 with its number: {more}"
            ),
            // That would begin anew.
            hint => match hint.strip_suffix(AGAIN) {
                Some(first) => format!("{first}{more}"),
                None => format!("{hint}; then {more}"),
            },
        };
        Error::Left { cause: Box::new(self), hint }
    }

    /// The same error, of a verb that could not remove what it had begun.
    pub fn leaving(self, path: &Path) -> Error {
        self.left(format!("remove {}, which could not be removed either", path.display()))
    }

    fn left(self, more: String) -> Error {
        let hint = match self.first_to_do() {
            "" => more,
            hint => format!("{hint}; {more}"),
        };
        Error::Left { cause: Box::new(self), hint }
    }

    /// What to do before going on, where that is possible.
    fn first_to_do(&self) -> &str {
        if matches!(self, Error::Interrupted) { "" } else { self.hint() }
    }

    /// What to do next.
    pub fn hint(&self) -> &str {
        match self {
            Error::Usage { hint, .. }
            | Error::Source { hint, .. }
            | Error::Refused { hint, .. }
            | Error::Untrusted { hint, .. }
            | Error::Identity { hint, .. }
            | Error::Drive { hint, .. }
            | Error::Format { hint, .. }
            | Error::Newer { hint, .. }
            | Error::Left { hint, .. }
            | Error::Lost { hint, .. } => hint,
            Error::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => "check the path",
            Error::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "check its permissions, or run as a user who may"
            }
            Error::Io { source, .. } if source.kind() == io::ErrorKind::ReadOnlyFilesystem => {
                "mount it for writing, or choose another place"
            }
            Error::Io { source, .. } if source.kind() == io::ErrorKind::InvalidData => "mend the file, or name another",
            // What the system says, not our own limits.
            Error::Io { source, .. }
                if source.kind() == io::ErrorKind::FileTooLarge && source.raw_os_error().is_some() =>
            {
                "files on this file system cannot be that long (on FAT 4 GiB): choose another, or only some files with --only"
            }
            Error::Io { .. } => "",
            Error::Interrupted => "run the command again to begin anew",
            Error::Internal(_) => "please report this with the command line that led to it",
        }
    }

    /// A word for programs, which stays the same.
    pub fn code(&self) -> &'static str {
        match self {
            Error::Usage { .. } => "usage",
            Error::Io { .. } => "io",
            Error::Source { .. } => "source",
            Error::Refused { .. } => "refused",
            Error::Untrusted { .. } => "untrusted",
            Error::Identity { .. } => "identity",
            Error::Drive { .. } => "drive",
            Error::Lost { .. } => "lost",
            Error::Format { .. } => "format",
            Error::Newer { .. } => "newer",
            Error::Interrupted => "interrupted",
            Error::Internal(_) => "internal",
            Error::Left { cause, .. } => cause.code(),
        }
    }

    /// The exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Io { .. }
            | Error::Source { .. }
            | Error::Refused { .. }
            | Error::Format { .. }
            | Error::Newer { .. }
            | Error::Internal(_) => 1,
            Error::Left { cause, .. } => cause.exit_code(),
            Error::Usage { .. } => 2,
            Error::Lost { .. } => 4,
            Error::Untrusted { .. } => 5,
            Error::Identity { .. } => 6,
            Error::Drive { .. } => 7,
            Error::Interrupted => 130,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_do_before_going_on_does_not_begin_anew() {
        let of = |error: io::Error| Error::on_drive("write", "there")(error).resumable("x --resume").hint().to_owned();
        let goes_on = "`x --resume` goes on where this stopped";
        assert_eq!(of(io::ErrorKind::Other.into()), format!("check the cable and the drive (dmesg), then {goes_on}"));
        assert_eq!(of(io::ErrorKind::StorageFull.into()), format!("make room there, then {goes_on}"));
        assert_eq!(
            of(io::ErrorKind::ReadOnlyFilesystem.into()),
            format!("mount the drive for writing; then {goes_on}")
        );
        assert!(of(io::ErrorKind::AlreadyExists.into()).ends_with(&format!("move it away, then {goes_on}")));
        // What no cable can mend.
        let blames = |errno: Errno| of(errno.into()).contains("cable");
        assert!([Errno::IO, Errno::NODEV, Errno::TIMEDOUT].into_iter().all(blames));
        let others = [Errno::NOTDIR, Errno::ISDIR, Errno::NOTEMPTY, Errno::EXIST, Errno::BUSY, Errno::INVAL];
        assert!(!others.into_iter().any(blames));
        assert_eq!(Error::Interrupted.resumable("x --resume").hint(), goes_on);
    }
}
