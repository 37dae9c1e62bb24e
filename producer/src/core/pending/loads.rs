//! A lane's part in loads: takes what loaders found, gives what reads see; forgets what is invalidated.

use crate::core::delta::Row;
use crate::core::entry::Entry;
use crate::core::ledger::{Key, Ticket};
use crate::core::loaded::{Around, Found, Loaded};
use crate::core::pending::{CleanCopies, Lane};

impl Lane {
    /// A load of the row begins.
    pub(crate) fn load_begins(&mut self, key: &Key) {
        let forgotten = self.forgotten(key);
        self.entries.entry(Key::clone(key)).or_insert_with(|| Entry::over(None));
        self.change(key, |entry| {
            if !entry.has_writes() {
                // What an earlier load left here was passed on, and is no newer than this one's
                // answer.
                entry.invalidate();
            }
            entry.loads += 1;
            entry.suspect = entry.suspect.max(forgotten);
        });
    }

    /// A load that began found `found`; writes from `horizon` on were accepted after that.
    pub(crate) fn loaded(
        &mut self,
        key: &Key,
        found: &Found,
        horizon: Ticket,
        clean: &impl CleanCopies,
    ) -> Loaded {
        self.load_found(key, found, (horizon, true), clean)
    }

    /// The same for a load that began before the row was invalidated: whoever waits for it gets an
    /// answer, and nothing of it is kept.
    pub(crate) fn loaded_too_early(
        &mut self,
        key: &Key,
        found: &Found,
        horizon: Ticket,
        clean: &impl CleanCopies,
    ) -> Loaded {
        self.load_found(key, found, (horizon, false), clean)
    }

    fn load_found(
        &mut self,
        key: &Key,
        found: &Found,
        (horizon, keep): (Ticket, bool),
        clean: &impl CleanCopies,
    ) -> Loaded {
        let around = Around {
            horizon,
            keep,
            replicated: self.ledger.replicated(),
            first_unanswered: self.ledger.first_unanswered(),
            tail: self.rules.tail,
            forgotten: self.forgotten(key).max(self.entries.get(key).and_then(|e| e.suspect)),
        };
        let mut outcome = Loaded::Row(found.row.clone());
        self.change(key, |entry| outcome = entry.loaded(found, around));
        if !matches!(outcome, Loaded::WaitFor(_)) {
            // An earlier load may keep the entry, but reads look among the clean copies.
            match self.entries.get(key).and_then(Entry::only_loaded) {
                Some(Some(row)) => clean.keep(Key::clone(key), Row::clone(row)),
                Some(None) => clean.keep_missing(Key::clone(key)),
                None => {}
            }
            self.load_ends(key, clean);
        }
        outcome
    }

    /// A load is over, whatever it found.
    pub(crate) fn load_ends(&mut self, key: &Key, clean: &impl CleanCopies) {
        self.change(key, Entry::load_ends);
        self.let_leave(key, clean);
    }

    /// The database may hold another row than is known here. What is pending stays visible, but
    /// does not become a clean copy.
    pub(crate) fn invalidate(&mut self, key: &Key) {
        self.change(key, Entry::invalidate);
    }

    /// The same for every row.
    pub(crate) fn invalidate_all(&mut self) {
        for key in self.entries.keys().cloned().collect::<Vec<_>>() {
            self.invalidate(&key);
        }
    }
}
