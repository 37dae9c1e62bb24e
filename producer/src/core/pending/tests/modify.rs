//! Read-modify-writes: what a closure was given is the truth when its write is taken.

use super::super::*;
use super::log::{Name, key, value};
use super::world::{Doubt, World};

impl World {
    pub(super) fn modify_reads(&mut self, name: Name) {
        if !self.modifies.contains_key(&name) {
            self.pending.pin(&key(name), &self.copies);
            self.modifies.insert(name, None);
            self.modify_reads_again(name);
        }
    }

    pub(super) fn modify_reads_again(&mut self, name: Name) {
        let row = self.pending.pinned(&key(name)).map(RowState::Known);
        if let Some(given) = self.modifies.get_mut(&name) {
            *given = row;
            self.check_pinned(name);
        }
    }

    pub(super) fn modify_writes(&mut self, name: Name, delta: &Delta) {
        let Some(given) = self.modifies.get(&name) else { return };
        if given.is_some() && *given == self.pending.pinned(&key(name)).map(RowState::Known) {
            self.check_pinned(name);
            self.write(name, delta, false);
        }
        self.modify_ends(name);
    }

    pub(super) fn modify_ends(&mut self, name: Name) {
        if self.modifies.remove(&name).is_some() {
            self.pending.unpin(&key(name), &self.copies);
        }
    }

    /// A pinned row, pending or not, is the truth: nothing that was accepted is missing from it.
    fn check_pinned(&mut self, name: Name) {
        let Some(row) = self.pending.pinned(&key(name)) else { return };
        if self.doubts.get(&name) != Some(&Doubt::All) {
            let truth = self.truth(name, self.tail);
            assert_eq!(value(row.as_deref()), truth, "a pinned row {name}");
        }
    }
}
