//! Pinned rows: they stay in memory, so that a write can depend on what the row still is.

use crate::core::cache::Cache;
use crate::core::delta::Row;
use crate::core::entry::{Entry, RowState};
use crate::core::leaves::Leaves;
use crate::core::ledger::Key;
use crate::core::pending::Pending;

impl Pending {
    /// Keeps the row in memory until it is unpinned, as far as it is known or will be loaded.
    pub(crate) fn pin(&mut self, key: &Key, cache: &impl Cache) {
        if !self.entries.contains_key(key) {
            self.insert(Key::clone(key), Entry::known(cache.known(key)));
        }
        self.change(key, |entry| {
            entry.age_unwritten(cache);
            entry.pins += 1;
        });
    }

    /// A pinned row as reads see it. None: what lies beneath its changes must be loaded first.
    #[expect(clippy::option_option, reason = "not known, and known to be missing")]
    pub(crate) fn pinned(&mut self, key: &[u8]) -> Option<Option<Row>> {
        match self.entries.get_mut(key)?.read() {
            RowState::Known(row) => Some(row),
            RowState::Unknown => None,
        }
    }

    /// Lets the row go.
    pub(crate) fn unpin(&mut self, key: &Key, cache: &impl Cache) {
        self.change(key, |entry| entry.pins = entry.pins.saturating_sub(1));
        let passed = self.passed();
        let is_untouched = |entry: &Entry| {
            !entry.outdates_cache && entry.may_leave(passed) && entry.leaves == Leaves::No
        };
        if self.entries.get(key).is_some_and(is_untouched) {
            // The cache has the row, unless it has thrown it out: put there again, the row would be
            // served for longer than `time_to_live`.
            self.remove(key);
        } else {
            self.let_leave(key, cache);
        }
    }
}
