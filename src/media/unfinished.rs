//! What is to be removed if its verb is stopped and cannot do that itself, since a drive keeps it waiting.

use crate::threads::lock;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};

/// How one is removed.
pub type Removal = Box<dyn FnOnce() + Send>;

/// All of it, and how each is removed.
#[derive(Default)]
pub struct Unfinished(Mutex<Noted>);

#[derive(Default)]
struct Noted {
    next: u64,
    removals: BTreeMap<u64, Removal>,
}

impl Unfinished {
    /// Takes note of something, until what is returned is dropped.
    pub fn note(self: &Arc<Unfinished>, removal: Removal) -> Note {
        let mut noted = lock(&self.0);
        let number = noted.next;
        noted.next += 1;
        noted.removals.insert(number, removal);
        Note { all: self.clone(), number }
    }

    /// Removes all of it, as far as drives let it.
    pub fn remove(&self) {
        let removals = std::mem::take(&mut lock(&self.0).removals);
        removals.into_values().for_each(|remove| remove());
    }
}

/// Something unfinished.
#[must_use = "what is not kept is not noted"]
pub struct Note {
    all: Arc<Unfinished>,
    number: u64,
}

impl fmt::Debug for Note {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("Note")
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        // Its end may hold the last handle of a directory: not while others wait for this lock.
        let removal = lock(&self.all.0).removals.remove(&self.number);
        drop(removal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn what_is_finished_is_not_removed_and_the_rest_is_once() {
        let (all, removed) = (Arc::new(Unfinished::default()), Arc::new(AtomicU32::new(0)));
        let note = |bit: u32| {
            let removed = removed.clone();
            all.note(Box::new(move || {
                removed.fetch_add(bit, Ordering::Relaxed);
            }))
        };
        let (first, second, third) = (note(1), note(2), note(4));
        drop(second);
        all.remove();
        all.remove();
        assert_eq!(removed.load(Ordering::Relaxed), 5);
        drop((first, third));
    }
}
