//! An honest set, and the ways to change what it says: each is one edit of what an honest exporter would have written. Shared with
//! the vectors.

use crate::compose::{Edit, Recipe, Segment};
use crate::ustar::{Item, dir, file};
use serde_json::Value;

/// An honest set with a directory and a file of five bytes: lines 0 head, 1 directory, 2 file, 3 segment.
pub fn small() -> Recipe {
    Recipe::new(vec![dir(""), file("a", "hello")])
}

/// The same with a program that travels with it; where that lies, nothing is.
pub fn with_program() -> Recipe {
    small().manifest(|m| list_program(m, 1000))
}

pub fn list_program(manifest: &mut Value, bytes: u64) {
    manifest["files"]["ckvault"] = serde_json::json!({ "bytes": bytes, "blake3": "0".repeat(64) });
}

/// These entries after the directory itself.
pub fn with(items: impl IntoIterator<Item = Item>) -> Recipe {
    Recipe::new([dir("")].into_iter().chain(items).collect())
}

impl Recipe {
    /// Changes one line of the inventory.
    pub fn line(mut self, number: usize, edit: impl Fn(&mut Value) + 'static) -> Recipe {
        self.edit_lines = Box::new(move |lines| {
            let mut value = serde_json::from_slice(&lines[number]).unwrap();
            edit(&mut value);
            lines[number] = value.to_string().into_bytes();
        });
        self
    }

    /// Sets one field of a line.
    pub fn field(self, number: usize, name: &'static str, value: impl Into<Value>) -> Recipe {
        let value = value.into();
        self.line(number, move |line| line[name] = value.clone())
    }

    /// Replaces text in a line of the inventory, whatever becomes of it as JSON.
    pub fn text(mut self, number: usize, from: &'static str, to: &str) -> Recipe {
        let to = to.to_owned();
        self.edit_lines = Box::new(move |lines| replace(&mut lines[number], from, &to));
        self
    }

    pub fn lines(mut self, edit: impl Fn(&mut Vec<Vec<u8>>) + 'static) -> Recipe {
        self.edit_lines = Box::new(edit);
        self
    }

    pub fn tar(mut self, edit: impl Fn(&mut Vec<u8>) + 'static) -> Recipe {
        self.edit_tar = Box::new(edit);
        self
    }

    /// Lays other entries into the tar stream than the inventory has.
    pub fn shows(self, items: Vec<Item>) -> Recipe {
        self.tar(move |tar| *tar = crate::ustar::stream(&items).0)
    }

    pub fn segments(mut self, edit: impl Fn(&mut Vec<Segment>) + 'static) -> Recipe {
        self.edit_segments = Box::new(edit);
        self
    }

    pub fn manifest(mut self, edit: impl Fn(&mut Value) + 'static) -> Recipe {
        self.edit_manifest = Box::new(edit);
        self
    }

    /// Replaces text in the manifest, whatever becomes of it as JSON.
    pub fn signed(mut self, from: &'static str, to: &str) -> Recipe {
        let to = to.to_owned();
        self.edit_signed = Box::new(move |bytes| replace(bytes, from, &to));
        self
    }

    pub fn volumes(mut self, edit: impl Fn(&mut Vec<Vec<u8>>) + 'static) -> Recipe {
        self.edit_volumes = Box::new(edit);
        self
    }

    /// Writes the inventory.
    pub fn inventory(
        mut self,
        write: impl Fn(&[Vec<u8>], &mut dyn std::io::Write) -> std::io::Result<()> + 'static,
    ) -> Recipe {
        self.write_inventory = Box::new(write);
        self
    }

    pub fn with_edit<T: 'static>(
        mut self,
        which: impl Fn(&mut Recipe) -> &mut Edit<T>,
        edit: impl Fn(&mut T) + 'static,
    ) -> Recipe {
        *which(&mut self) = Box::new(edit);
        self
    }
}

/// Replaces the first occurrence of `from`, which must be there.
fn replace(bytes: &mut Vec<u8>, from: &str, to: &str) {
    let at = bytes.windows(from.len()).position(|w| w == from.as_bytes());
    let at = at.unwrap_or_else(|| panic!("no {from:?} in {}", String::from_utf8_lossy(bytes)));
    bytes.splice(at..at + from.len(), to.bytes());
}
