//! What must hold of a command that has met a plant, whatever it was.

use super::plant::{Kind, Planted};
use super::scenes::{NAMED, Scene};
use super::snapshot::{Node, Tree};
use crate::site::Ran;
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use std::path::{Path, PathBuf};

/// The rights of a verb that meets a certain plant.
pub struct Judge<'a> {
    scene: &'a Scene,
    planted: &'a Planted,
    /// What may change.
    writes: GlobSet,
    /// What may be made there.
    makes: GlobSet,
    /// Directories whose time says only that something was made or removed in them.
    above: GlobSet,
}

fn globs(names: impl IntoIterator<Item = impl AsRef<str>>) -> GlobSet {
    let mut set = GlobSetBuilder::new();
    for name in names {
        set.add(GlobBuilder::new(name.as_ref()).literal_separator(true).build().unwrap());
    }
    set.build().unwrap()
}

/// Whether a name or a directory above it matches.
fn covers(globs: &GlobSet, name: &Path) -> bool {
    name.ancestors().any(|a| globs.is_match(a))
}

impl Judge<'_> {
    pub fn new<'a>(scene: &'a Scene, planted: &'a Planted) -> Judge<'a> {
        let mut writes: Vec<String> = scene.writes.iter().map(|w| (*w).to_owned()).collect();
        let mut makes = Vec::new();
        // Through a link that the user has named, a verb may do there what it may do here.
        if let Some((at, to)) = followed(planted) {
            let there = writes.iter().filter_map(|w| beneath(w, at)).map(|rest| format!("{}{rest}", to.display()));
            match planted.kind {
                Kind::LinkToOriginal => writes.extend(there.collect::<Vec<_>>()),
                _ => makes.extend(there),
            }
        }
        let ways = writes.iter().chain(&makes).flat_map(|w| Path::new(w).ancestors().skip(1));
        let above = globs(ways.map(|w| w.to_string_lossy().into_owned()));
        Judge { scene, planted, writes: globs(&writes), makes: globs(&makes), above }
    }

    /// Everything that is not as it must be.
    pub fn faults(&self, ran: &Ran, before: &Tree, after: &Tree, undisturbed: &Tree) -> Vec<String> {
        let mut faults: Vec<String> = self.disorder(ran).into_iter().collect();
        faults.extend(self.changes(before, after));
        if ran.code == Some(0) {
            faults.extend(self.wrong(after, undisturbed));
        }
        // From another directory the same words name something else.
        let works = ran.code == Some(self.scene.ends) || !self.scene.here.is_empty();
        if followed(self.planted).is_some() && self.planted.kind == Kind::LinkToOriginal && !works {
            faults.push("a link that the user has named is not followed".into());
        }
        faults
    }

    fn disorder(&self, ran: &Ran) -> Option<String> {
        if ran.hung {
            return Some("it hangs".into());
        }
        let internal = ran.stderr.contains("please report this").then_some("an internal error");
        ran.disorder().or(internal).map(str::to_owned)
    }

    /// What was changed and may not be.
    fn changes(&self, before: &Tree, after: &Tree) -> Vec<String> {
        let (mut faults, mut gone) = (Vec::new(), Path::new("-"));
        for (name, was) in before.iter().filter(|(name, was)| after.get(*name) != Some(was)) {
            let is = after.get(name);
            if !self.may_change(name, was, is) && !name.starts_with(gone) {
                faults.push(difference(name, was, is));
                gone = if is.is_none() { name } else { gone };
            }
        }
        let made = after.keys().filter(|name| !before.contains_key(*name));
        let may = |name: &&PathBuf| covers(&self.writes, name) || covers(&self.makes, name);
        faults.extend(made.filter(|name| !may(name)).map(|name| format!("{} was made", name.display())));
        faults
    }

    /// Whether something that has changed may have done so.
    fn may_change(&self, name: &Path, was: &Node, is: Option<&Node>) -> bool {
        let only_time = was.is_dir() && is.is_some_and(|is| is.is_like(was));
        match self.planted.all.iter().any(|planted| planted == name) {
            true => only_time || self.may_go(name),
            false => covers(&self.writes, name) || only_time && self.above.is_match(name),
        }
    }

    /// Whether the verb is documented to replace or remove what is planted.
    fn may_go(&self, name: &Path) -> bool {
        let Planted { at, kind, .. } = self.planted;
        let replaced = *kind != Kind::Directory && name == at && globs(self.scene.replaces).is_match(at);
        let removes = globs(self.scene.removes);
        let what = if name.starts_with(at) { at } else { name };
        // Only a directory is taken for the directory that is to be removed.
        replaced || covers(&removes, what) && (*kind == Kind::Directory || !removes.is_match(at))
    }

    /// What a command that has succeeded should have made, and has not.
    fn wrong(&self, after: &Tree, undisturbed: &Tree) -> Vec<String> {
        let result = globs(self.scene.result);
        let (mut faults, mut gone) = (Vec::new(), Path::new("-"));
        for (name, should) in undisturbed.iter().filter(|(name, _)| covers(&result, name)) {
            let followed = followed(self.planted).and_then(|(at, to)| Some(to.join(name.strip_prefix(at).ok()?)));
            let is = after.get(followed.as_ref().unwrap_or(name));
            if !name.starts_with(gone) && !is.is_some_and(|is| is.is_like(should)) {
                faults.push(format!("status 0, but {}", difference(name, should, is)));
                gone = if is.is_none_or(|is| !is.is_dir()) { name } else { gone };
            }
        }
        faults
    }
}

/// From where to where a link leads that the user has named.
fn followed(planted: &Planted) -> Option<(&Path, &Path)> {
    let named = NAMED.iter().any(|n| Path::new(n) == planted.at);
    planted.to.as_deref().filter(|_| named).map(|to| (&*planted.at, to))
}

/// What remains of a glob beneath a name: `/…`, or all if it is that name.
fn beneath(glob: &str, at: &Path) -> Option<String> {
    let mut globbed = glob.split('/');
    for name in at {
        let part = globbed.next()?;
        globs([part]).is_match(Path::new(name)).then_some(())?;
    }
    let rest: Vec<&str> = globbed.collect();
    Some(if rest.is_empty() { "/*".into() } else { format!("/{}", rest.join("/")) })
}

fn difference(name: &Path, was: &Node, is: Option<&Node>) -> String {
    let name = name.display();
    match is {
        None => format!("{name} is gone"),
        Some(is) if is.kind() != was.kind() => format!("{name} was {} and is {}", was.kind(), is.kind()),
        Some(is) if is.mode != was.mode => {
            format!("{name} had mode {:o} and has {:o}", was.mode & 0o7777, is.mode & 0o7777)
        }
        Some(is) if is.holds != was.holds => format!("{name} has other contents"),
        Some(_) => format!("{name} has another time"),
    }
}
