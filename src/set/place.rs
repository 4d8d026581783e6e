//! Where a set is looked for, and whom its signature has to be from.

use crate::error::{Error, Result};
use crate::format::manifest::{self, Manifest, set_dir_name};
use crate::format::names;
use crate::format::signers::{self, Signers};
use crate::media::dir::Dir;
use crate::media::disk::Disk;
use crate::media::fence::Needs;
use crate::media::guarded::{self, Kind};
use crate::media::sets::{self, Found, Layout, Said};
use crate::progress::{Progress, Silent};
use crate::set::revoked;
use crate::set::trust::{self, Conditions, Trust};
use crate::set::trusted_manifest::{Signed, trusted_manifest};
use crate::text::{human_bytes, mark_of_encoding, printable};
use jiff::tz::TimeZone;
use std::cell::OnceCell;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// What the directory of a set looks like.
const LAYOUT: Layout = Layout {
    suffix: names::SET_SUFFIX,
    infix: names::PART_INFIX,
    marks: [names::MANIFEST, names::SIGNATURE],
    copies: &names::COPIES,
};

/// Where to look, and whom to trust.
#[derive(Debug, Default, Clone)]
pub struct Where {
    /// What drives are read through.
    pub disk: Disk,
    /// Drives, or directories of sets.
    pub drives: Vec<PathBuf>,
    /// Label, or the first digits of the id.
    pub set: Option<String>,
    /// A file of trusted signers; `None` if it is not known where there could be one.
    pub signers: Option<PathBuf>,
    /// Who of them must have signed; anybody if nobody is named.
    pub signer: Option<OsString>,
    /// A file of keys that count for nobody.
    pub revoked: Option<PathBuf>,
    /// The time at which signers must be valid.
    pub now: jiff::Timestamp,
    /// The time zone of this machine; `None` if it cannot be read.
    pub zone: Option<TimeZone>,
}

impl Where {
    /// What looking there needs.
    pub fn needs(&self) -> Needs {
        // Who names the directory of further copies means the one above.
        let above = |drive: &PathBuf| {
            let whole = std::path::absolute(drive).ok()?;
            names::COPIES
                .iter()
                .any(|sub| whole.file_name() == Some(OsStr::new(sub)))
                .then(|| whole.parent().map(Path::to_owned))
                .flatten()
        };
        let places = self.drives.iter().chain(&self.signers).chain(&self.revoked).cloned();
        let read = places.chain(self.drives.iter().filter_map(above)).collect();
        let errands = self.revoked.iter().flat_map(|path| revoked::errands(path)).collect();
        Needs { read, errands, ..Needs::default() }
    }

    /// What lies there and could be the set, trusted or not.
    pub(super) fn find(&self) -> Result<Found> {
        // Only one who has to choose needs to know who is trusted, which may be nobody.
        let trust = OnceCell::new();
        let trusted = || trust.get_or_init(|| self.trust(&Silent::default()).ok()).as_ref();
        let describe = |found: &Found| describe(found, trusted());
        sets::find(&self.disk, &self.drives, self.set.as_deref(), &LAYOUT, &what_it_says, &describe)
    }

    /// Which signers are asked for, and which count for nobody.
    pub(super) fn conditions(&self, progress: &dyn Progress) -> Result<Conditions> {
        Conditions::read(&self.disk, self.signer.as_deref(), self.revoked.as_deref(), progress)
    }

    /// Who is trusted, and under which conditions.
    pub(super) fn trust(&self, progress: &dyn Progress) -> Result<Trust> {
        let Some(path) = self.signers.as_deref() else {
            return Err(Error::untrusted(
                "it is not known whom to trust: neither CKVAULT_HOME nor HOME says where the list is",
                "set HOME, or CKVAULT_HOME, to an absolute path",
            ));
        };
        let trust =
            Trust::new(path, load_signers(path, self.zone.clone(), progress)?, self.conditions(progress)?, self.now)?;
        trust.warnings().iter().for_each(|warning| progress.warn(warning));
        Ok(trust)
    }
}

/// A set among several, for a person who has to choose: label, date, signer, size, drives. Who signed it is known only of what is
/// trusted; the rest is what its directories say.
fn describe(found: &Found, trust: Option<&Trust>) -> String {
    let name = printable(found.name.as_bytes());
    let signed = |trust: &Trust| found.parts.iter().map(|part| trusted_manifest(part, trust).ok()).collect();
    let signed: Option<Vec<Signed>> = trust.and_then(signed);
    let parsed =
        |all: &[Signed]| all.iter().map(|s| Manifest::parse(&s.bytes).ok().map(said_by)).collect::<Option<Vec<Said>>>();
    // What somebody trusted says of it; else what anybody does.
    let (signer, parts): (String, Vec<Said>) = match signed.as_ref().and_then(|all| Some((all.first()?, parsed(all)?)))
    {
        Some((first, parts)) => (format!("signed by {}", first.signer.name), parts),
        None => ("NOT VERIFIED".to_owned(), found.parts.iter().filter_map(|part| part.said.clone()).collect()),
    };
    let Some(said) = parts.first() else { return format!("{name}, which has no manifest that can be read") };
    let label = said.label.as_ref().map(|label| format!("label {}, ", printable(label.as_bytes()))).unwrap_or_default();
    let (drives, bytes) = parts.iter().fold((0u32, 0u64), |(drives, bytes), part| {
        (drives.saturating_add(part.drives), bytes.saturating_add(part.bytes))
    });
    let (here, created) = (found.parts.iter().map(|p| p.dirs.len()).sum::<usize>(), printable(said.created.as_bytes()));
    let drives = format!("{drives} drive{}", if drives == 1 { "" } else { "s" });
    format!("{name}: {label}created {created}, {signer}, {}, {drives}, {here} here", human_bytes(bytes))
}

/// What the manifests in a directory say of it, signed or not.
fn what_it_says(dir: &Dir) -> Vec<Said> {
    let mut seen = Vec::new();
    let mut read = |name: String| {
        let bytes = dir.read(&name, manifest::LONGEST).ok()?;
        let hash = blake3::hash(&bytes);
        let is_new = !seen.contains(&hash);
        seen.push(hash);
        is_new.then(|| Manifest::parse(&bytes).ok()).flatten()
    };
    names::copies(names::MANIFEST).filter_map(&mut read).map(said_by).collect()
}

/// What a manifest says of its set.
fn said_by(m: Manifest) -> Said {
    Said {
        name: set_dir_name(m.label.as_deref(), &m.set, m.part),
        bytes: m.volumes().fold(0, |sum, (_, _, _, v)| v.bytes.saturating_add(sum)),
        set: m.set,
        label: m.label,
        part: m.part,
        drives: m.drives.into(),
        created: m.created,
    }
}

/// Reads the trusted signers; that there are none is an error with the command that helps.
fn load_signers(path: &Path, zone: Option<TimeZone>, progress: &dyn Progress) -> Result<Signers> {
    let help = format!("put the sender's line into {}, or give --signers sender.pub", path.display());
    let file = match guarded::read(path, signers::LONGEST, Kind::Trust, progress)? {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::untrusted(format!("there is no list of trusted signers ({})", path.display()), help));
        }
        other => other.map_err(Error::io("read", path))?,
    };
    if let Some(encoding) = mark_of_encoding(&file) {
        progress.warn(&format!(
            "{} begins with a byte order mark (BOM) of {encoding}, which is taken for the beginning of its first line, as ssh-keygen does: save it as plain UTF-8 without one",
            printable(path.as_os_str().as_encoded_bytes())
        ));
    }
    if zone.is_none() {
        progress.warn("TZ names what is no file of a time zone: local times in the list of signers are taken for UTC");
    }
    let signers = Signers::parse(&file, &zone.unwrap_or(TimeZone::UTC));
    match (signers.is_empty(), signers.bad_lines()) {
        (false, _) => Ok(signers),
        (true, []) => Err(Error::untrusted(format!("{} names no signer", path.display()), help)),
        (true, _) => Err(Error::untrusted(
            trust::bad_lines(path, &signers),
            "mend it; the format of a line is that of ssh-keygen(1), ALLOWED SIGNERS",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::manifest::tests::sample;
    use crate::progress::{Lane, Phase};
    use crate::set::part::tests::{Exporter, drive, file, list};
    use std::sync::Mutex;

    /// Hears warnings.
    #[derive(Default)]
    struct Heard(Mutex<Vec<String>>);

    impl Progress for Heard {
        fn begin(&self, _: Phase, _: u64, _: &[Lane]) {}
        fn warn(&self, message: &str) {
            self.0.lock().unwrap().push(message.to_owned());
        }
    }

    fn warnings(list: &str, zone: Option<TimeZone>) -> (Result<Signers>, Vec<String>) {
        let (file, heard) = (file(list.as_bytes()), Heard::default());
        (load_signers(file.path(), zone, &heard), heard.0.into_inner().unwrap())
    }

    #[test]
    fn a_list_that_trusts_nobody_is_refused_with_the_reason() {
        let utc = || Some(TimeZone::UTC);
        let why = |list: &str| match warnings(list, utc()).0 {
            Err(Error::Untrusted { message, .. }) => message,
            other => panic!("{:?}", other.is_ok()),
        };
        assert!(why("# nobody\n").contains("names no signer"));
        assert!(why("me\n").contains("line 1"));
        let alice = list(&[&Exporter::named("alice")]);
        assert!(warnings(&format!("me\n{alice}"), utc()).0.is_ok());
        let temp = tempfile::tempdir().unwrap();
        let load = |path: &Path| load_signers(path, utc(), &Silent::default()).map(drop).unwrap_err();
        assert!(load(&temp.path().join("none")).to_string().contains("there is no list of trusted signers"));
        assert!(!load(temp.path()).to_string().contains("there is no list of trusted signers"), "it is a directory");
    }

    #[test]
    fn what_makes_a_list_mean_something_else_than_it_seems_is_warned_of() {
        let alice = list(&[&Exporter::named("alice")]);
        assert!(warnings(&alice, Some(TimeZone::UTC)).1.is_empty());
        assert!(matches!(&warnings(&alice, None).1[..], [one] if one.contains("are taken for UTC")));
        let marked = format!("\u{feff}# a list\n{alice}");
        assert!(matches!(&warnings(&marked, Some(TimeZone::UTC)).1[..], [one] if one.contains("byte order mark")));
    }

    #[test]
    fn lines_that_cannot_be_read_are_told_to_who_opens_a_set() {
        let signers = file(format!("me\n{}", list(&[&Exporter::named("alice")])).as_bytes());
        let place = Where { signers: Some(signers.path().to_owned()), zone: Some(TimeZone::UTC), ..Where::default() };
        let heard = Heard::default();
        place.trust(&heard).unwrap();
        assert!(matches!(&heard.0.into_inner().unwrap()[..], [one] if one.contains("line 1")));
        assert!(matches!(Where::default().trust(&Silent::default()), Err(Error::Untrusted { .. })));
    }

    /// What is not among these cannot be read any more once the fence stands.
    #[test]
    fn all_that_looking_takes_is_needed() {
        let paths = |place: &Where| place.needs().read;
        let (usb, copy) = (PathBuf::from("/mnt/usb"), PathBuf::from("/mnt/usb/x.ckvault/copy"));
        let all = Where {
            drives: vec![usb.clone(), copy.clone()],
            signers: Some("/etc/signers".into()),
            revoked: Some("/etc/revoked".into()),
            ..Where::default()
        };
        let above = PathBuf::from("/mnt/usb/x.ckvault");
        assert_eq!(paths(&all), [usb.clone(), copy, "/etc/signers".into(), "/etc/revoked".into(), above]);
        assert_eq!(all.needs().errands, revoked::errands(Path::new("/etc/revoked")));
        let few = Where { drives: vec![usb.clone()], ..Where::default() };
        assert_eq!((paths(&few), few.needs().errands.len()), (vec![usb], 0));
    }

    /// Who has to choose among several sets sees who signed each, if that can be trusted.
    #[test]
    fn a_set_is_described_by_what_is_trusted_or_else_said_not_to_be_verified() {
        let (alice, bob) = (Exporter::named("alice"), Exporter::named("bob"));
        let (temp, dir) = drive();
        let manifest = sample(1, 1, 1);
        alice.put(&manifest, temp.path());
        let place = Where { drives: vec![temp.path().to_owned()], ..Where::default() };
        let found = place.find().unwrap();
        let trusted = |by: &Exporter| describe(&found, Some(&crate::set::part::tests::trust(&[by])));
        let set = set_dir_name(Some("llama"), &manifest.set, 1);
        let rest = "384.00 KiB, 2 drives, 1 here";
        let said = |by: &str| format!("{set}: label llama, created {}, {by}, {rest}", manifest.created);
        assert_eq!(trusted(&alice), said("signed by alice"));
        assert_eq!(trusted(&bob), said("NOT VERIFIED"));
        assert_eq!(describe(&found, None), said("NOT VERIFIED"));
        // Each different manifest that lies there says something, and the same once.
        assert_eq!(what_it_says(&dir).len(), 1);
        std::fs::create_dir(temp.path().join(names::COPY)).unwrap();
        alice.put(&manifest, &temp.path().join(names::COPY));
        assert_eq!(what_it_says(&dir).len(), 1);
        alice.put(&Manifest { label: None, ..manifest }, &temp.path().join(names::COPY));
        assert_eq!(
            what_it_says(&dir).iter().map(|said| said.label.as_deref()).collect::<Vec<_>>(),
            [Some("llama"), None]
        );
    }
}
