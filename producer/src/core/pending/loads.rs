//! Loads and invalidations of pending rows.

use write_behind_shared::NextOffset;

use crate::core::cache::Cache;
use crate::core::delta::Row;
use crate::core::entry::Entry;
use crate::core::ledger::{Key, Sequence};
use crate::core::loaded::{LoadContext, Loaded, Reading, Validity};
use crate::core::pending::Pending;

impl Pending {
    /// A load of the row begins.
    pub(crate) fn load_begins(&mut self, key: &Key) {
        // Noted before the loader reads: the group may commit past the forgotten write while the
        // loader is at work, and its row may still be the one before that write.
        let forgotten = self.forgotten_below(key);
        if !self.entries.contains_key(key) {
            self.insert(Key::clone(key), Entry::over(None));
        }
        self.change(key, |entry| {
            if !entry.has_writes() && entry.pins == 0 {
                // What an earlier load left here was passed on, and is no newer than this one's
                // answer. A pinned row is as good as a cached one: a modification depends on it.
                entry.invalidate();
            }
            entry.loads += 1;
            entry.maybe_stale_below = entry.maybe_stale_below.max(forgotten.into());
        });
    }

    /// A load that began found `found`; writes from `horizon` on were accepted after that. `Err`:
    /// whether the database already holds an increment in flight can only be told once Kafka has
    /// answered the write of this sequence; offer the same row again then.
    pub(crate) fn loaded(
        &mut self,
        key: &Key,
        found: &Loaded,
        (horizon, validity): (Sequence, Validity),
        cache: &impl Cache,
    ) -> Result<Reading, Sequence> {
        let context = LoadContext {
            now: cache.now(),
            horizon,
            validity,
            replicated: self.ledger.replicated(),
            first_unanswered: self.ledger.first_unanswered(),
            tail: self.rules.tail,
            forgotten_below: self
                .forgotten_below(key)
                .max(self.entries.get(key).and_then(|e| e.maybe_stale_below.get())),
        };
        let mut outcome = Ok(Reading::of(found.row.clone()));
        self.change(key, |entry| outcome = entry.loaded(found, context));
        let reading = outcome?;
        // With another load of the row under way the entry stays, without writes, and reads look
        // in the cache: if this row were not there too, they would load what was just loaded.
        match self.entries.get(key).and_then(Entry::only_loaded) {
            Some((Some(row), since)) => cache.insert(Key::clone(key), Row::clone(row), since),
            Some((None, since)) => cache.insert_missing(Key::clone(key), since),
            None => {}
        }
        self.load_ends(key, cache);
        Ok(reading)
    }

    /// A load is over, whatever it found.
    pub(crate) fn load_ends(&mut self, key: &Key, cache: &impl Cache) {
        let passed = self.passed();
        self.change(key, |entry| {
            entry.load_ends();
            // The commit that passed them left them to this load; a pinned row stays, and the next
            // load of it could never tell which of them its row holds.
            entry.prune(passed.unwrap_or(NextOffset::ZERO));
        });
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
