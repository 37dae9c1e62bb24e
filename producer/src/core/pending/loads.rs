//! What loads do to pending rows, and invalidations.

use crate::core::delta::Row;
use crate::core::entry::Entry;
use crate::core::ledger::{Key, Sequence};
use crate::core::loaded::{LoadContext, LoadOutcome, LoadedRow};
use crate::core::pending::{Cache, Pending};

impl Pending {
    /// A load of the row begins.
    pub(crate) fn load_begins(&mut self, key: &Key) {
        let forgotten = self.forgotten_below(key);
        self.entries.entry(Key::clone(key)).or_insert_with(|| Entry::over(None));
        self.change(key, |entry| {
            if !entry.has_writes() {
                // What an earlier load left here was passed on, and is no newer than this one's
                // answer.
                entry.invalidate();
            }
            entry.loads += 1;
            entry.maybe_stale_below = entry.maybe_stale_below.max(forgotten);
        });
    }

    /// A load that began found `found`; writes from `horizon` on were accepted after that.
    pub(crate) fn loaded(
        &mut self,
        key: &Key,
        found: &LoadedRow,
        horizon: Sequence,
        cache: &impl Cache,
    ) -> LoadOutcome {
        self.load_found(key, found, (horizon, true), cache)
    }

    /// The same for a load that began before the row was invalidated: those who wait for it get an
    /// answer, and nothing of it is kept.
    pub(crate) fn loaded_too_early(
        &mut self,
        key: &Key,
        found: &LoadedRow,
        horizon: Sequence,
        cache: &impl Cache,
    ) -> LoadOutcome {
        self.load_found(key, found, (horizon, false), cache)
    }

    fn load_found(
        &mut self,
        key: &Key,
        found: &LoadedRow,
        (horizon, keep): (Sequence, bool),
        cache: &impl Cache,
    ) -> LoadOutcome {
        let context = LoadContext {
            horizon,
            keep,
            replicated: self.ledger.replicated(),
            first_unanswered: self.ledger.first_unanswered(),
            tail: self.rules.tail,
            forgotten_below: self
                .forgotten_below(key)
                .max(self.entries.get(key).and_then(|e| e.maybe_stale_below)),
        };
        let mut outcome = LoadOutcome::Row(found.row.clone());
        self.change(key, |entry| outcome = entry.loaded(found, context));
        if !matches!(outcome, LoadOutcome::WaitFor(_)) {
            // An earlier load may keep the entry, but reads look among the cached rows.
            match self.entries.get(key).and_then(Entry::only_loaded) {
                Some(Some(row)) => cache.insert(Key::clone(key), Row::clone(row)),
                Some(None) => cache.insert_missing(Key::clone(key)),
                None => {}
            }
            self.load_ends(key, cache);
        }
        outcome
    }

    /// A load is over, whatever it found.
    pub(crate) fn load_ends(&mut self, key: &Key, cache: &impl Cache) {
        self.change(key, Entry::load_ends);
        self.let_leave(key, cache);
    }

    /// The database may hold another row than is known here. What is pending stays visible, but
    /// does not become a cached row.
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
