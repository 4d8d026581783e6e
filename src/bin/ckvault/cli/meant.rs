//! From what was typed to what a verb is asked: defaults come from the home directory and the environment.

use super::again;
use super::{
    Export, Import, Inspect, Keygen, LinksArg, List, Packing, Place, PlacedLinks, PlacedModes, Plan, Repair, Signers,
    Verify,
};
use crate::{home, time_zone};
use ckvault::commands::export::Restated;
use ckvault::commands::keygen::{OwnKey, files};
use ckvault::commands::plan::Drives;
use ckvault::commands::{export, import, keygen, list, plan, repair, verify};
use ckvault::error::{Error, Result};
use ckvault::media::disk::Disk;
use ckvault::pack::Links;
use ckvault::pack::Request;
use ckvault::restore::Leftovers;
use ckvault::set::Where;
use std::path::PathBuf;

/// What is given, else the default one. A default is looked for only where it is needed.
fn or_default(given: Option<PathBuf>, name: &str) -> Result<PathBuf> {
    given.map_or_else(|| home::file(name), Ok)
}

fn all_or_default(given: Vec<PathBuf>, name: &str) -> Result<Vec<PathBuf>> {
    if given.is_empty() { Ok(vec![home::file(name)?]) } else { Ok(given) }
}

fn or_here(given: Vec<PathBuf>) -> Vec<PathBuf> {
    if given.is_empty() { vec![".".into()] } else { given }
}

impl Place {
    fn meant(self, signers: Option<PathBuf>, trusted: Signers, disk: Disk) -> Where {
        Where {
            disk,
            drives: or_here(self.drives),
            set: self.set,
            signers,
            signer: trusted.signer,
            revoked: trusted.revoked,
            now: jiff::Timestamp::now(),
            zone: time_zone::of_this_machine(),
        }
    }

    fn trusting(self, mut trusted: Signers, disk: Disk) -> Result<Where> {
        let signers = or_default(trusted.signers.take(), files::ALLOWED_SIGNERS)?;
        Ok(self.meant(Some(signers), trusted, disk))
    }
}

impl Keygen {
    /// What is meant.
    pub fn meant(self, disk: Disk) -> Result<keygen::Options> {
        let user = std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).unwrap_or_else(|_| "user".into());
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let plain =
            |text: &str| text.chars().filter(|c| c.is_ascii_alphanumeric() || "._-".contains(*c)).collect::<String>();
        let principal = self.name.unwrap_or_else(|| format!("{}@{}", plain(&user), plain(host.trim())));
        Ok(keygen::Options {
            disk,
            out: self.out.map_or_else(home::config, Ok)?,
            principal,
            show: self.show,
            passphrase: self.passphrase,
        })
    }
}

impl Packing {
    fn links(&self) -> Option<Links> {
        self.links.map(|links| match links {
            LinksArg::Keep => Links::Keep,
            LinksArg::Follow => Links::Follow,
        })
    }

    fn request(&self) -> Request {
        Request {
            parity: self.parity,
            survive: self.survive_drives,
            volume_bytes: self.volume_size,
            block_bytes: self.block_size,
            segment_bytes: self.segment_size,
            compression: self.compress.unwrap_or_default(),
            may_go_on: false,
            trust_estimate: self.trust_estimate,
        }
    }
}

impl Plan {
    /// What is meant, and whether JSON is wanted.
    pub fn meant(self, disk: Disk) -> Result<(plan::Options, bool)> {
        let mut these = Vec::new();
        let drives = match <[Drives; 1]>::try_from(self.drives) {
            Ok([only]) => only,
            Err(several) => {
                for drives in several {
                    match drives {
                        Drives::These(free) => these.extend(free),
                        Drives::AsManyOf(_) => {
                            return Err(Error::usage(
                                "as many drives as are needed are all alike",
                                "give --drives once, or say of each how many there are, as in 1x2T",
                            ));
                        }
                    }
                }
                Drives::These(these)
            }
        };
        let packing = self.packing;
        let options = plan::Options {
            disk,
            sources: or_here(self.sources),
            drives,
            request: packing.request(),
            links: packing.links().unwrap_or_default(),
            skip_special: packing.skip_special,
            exclude: packing.exclude,
            exclude_caches: packing.exclude_caches,
            rate: self.rate,
            read_back: !self.no_read_back,
        };
        Ok((options, self.json))
    }
}

impl Export {
    /// What is meant, and whether JSON is wanted.
    pub fn meant(self, disk: Disk) -> Result<(export::Options, bool)> {
        let begins = self.resume.is_none();
        let no_recipient = begins && self.recipients.is_empty() && self.recipient.is_empty();
        let packing = self.packing;
        let links = packing.links();
        let options = export::Options {
            disk,
            host: Disk::default(),
            restated: Restated { sources: self.sources.clone(), compression: packing.compress, links },
            sources: or_here(self.sources),
            drives: self.to,
            recipients: if no_recipient { vec![home::file(files::RECIPIENTS)?] } else { self.recipients },
            recipient: self.recipient,
            recipients_by_default: no_recipient,
            own: home::file(files::IDENTITY).map(|path| OwnKey::of(&path)).unwrap_or_default(),
            signing_key: match begins {
                true => Some(or_default(self.signing_key, files::SIGNING_KEY)?),
                false => self.signing_key,
            },
            label: self.label,
            request: packing.request(),
            links: links.unwrap_or_default(),
            skip_special: packing.skip_special,
            exclude: packing.exclude,
            exclude_caches: packing.exclude_caches,
            same_device_ok: self.same_device_ok,
            read_back: !self.no_read_back,
            program: self.with_tool,
            probe: self.probe,
            dry_run: self.dry_run,
            replaced: self.replace_drive,
            resume: self.resume,
            discard: self.discard,
            // Who only plans needs none.
            state_dir: if self.dry_run { PathBuf::new() } else { home::state()? },
            now: jiff::Timestamp::now(),
        };
        Ok((options, self.json))
    }
}

impl Verify {
    /// What is meant, and whether JSON is wanted.
    pub fn meant(self, disk: Disk) -> Result<(verify::Options, bool)> {
        let place = self.place.trusting(self.signers, disk)?;
        Ok((verify::Options { place, this_drive: self.this_drive }, self.json))
    }
}

impl Repair {
    /// What is meant, and whether JSON is wanted.
    pub fn meant(self, disk: Disk) -> Result<(repair::Options, bool)> {
        Ok((repair::Options { place: self.place.trusting(self.signers, disk)?, to: self.to }, self.json))
    }
}

impl Import {
    /// What is meant, and whether JSON is wanted.
    pub fn meant(self, disk: Disk) -> Result<(import::Options, bool)> {
        let options = import::Options {
            place: self.place.trusting(self.signers, disk)?,
            to: self.to,
            identities: all_or_default(self.identity.identity, files::IDENTITY)?,
            only: self.only,
            links: match self.links {
                None => import::Links::Refuse,
                Some(PlacedLinks::Keep) => import::Links::Keep,
                Some(PlacedLinks::Copy) => import::Links::Copy,
            },
            leftovers: match (self.resume, self.discard) {
                (true, _) => Leftovers::Resume,
                (_, true) => Leftovers::Discard,
                _ => Leftovers::Refuse,
            },
            salvage: self.salvage,
            exact_modes: matches!(self.modes, Some(PlacedModes::Exact)),
            to_go_on: Some(again::with_verb("import", " --resume")),
        };
        Ok((options, self.json))
    }
}

impl List {
    /// What is meant, and whether JSON is wanted.
    pub fn meant(self, disk: Disk) -> Result<(list::Options, bool)> {
        let place = self.place.trusting(self.signers, disk)?;
        let identities = all_or_default(self.identity.identity, files::IDENTITY)?;
        Ok((list::Options { place, identities }, self.json))
    }
}

impl Inspect {
    /// What is meant, and whether JSON is wanted.
    pub fn meant(self, disk: Disk) -> (Where, bool) {
        // It shows what anyone can see: without a list of signers, nobody vouches for that.
        let mut trusted = self.signers;
        let signers = trusted.signers.take().or_else(|| home::file(files::ALLOWED_SIGNERS).ok());
        (self.place.meant(signers, trusted, disk), self.json)
    }
}
