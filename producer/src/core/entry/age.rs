//! Age of one row's base: a base that is too old is given up, so that the row is loaded again.
//!
//! A row that is added to all the time never stops being pending, so nothing else would ever end a
//! base that others have outdated.

use write_behind_shared::NextOffset;

use super::{Entry, RowState};
use crate::core::cache::Cache;
use crate::core::maybe_next::MaybeNext;

impl Entry {
    /// Drops a base that is too old, if the database has everything below `passed` and it was read
    /// here.
    ///
    /// Changes that were folded together over it can't be told apart any more, so they must all be
    /// in the database: whatever a load finds from then on holds them. Those that come meanwhile
    /// are kept apart.
    pub(crate) fn age(&mut self, passed: NextOffset, cache: &impl Cache) {
        let RowState::Known(row) = &mut self.base else { return };
        *row = self.logged.settle_versions(row.take(), passed);
        let since = *self.since.get_or_insert_with(|| cache.now());
        if !cache.is_too_old(since) {
            return;
        }
        if self.old_below == NextOffset::ZERO {
            self.old_below = self.known_end;
        }
        // A load under way may have read the row before the changes that would be forgotten here.
        if self.old_below <= passed && self.loads == 0 && self.logged.all_are_placed() {
            self.forget_base();
            self.logged.forget_below(Some(passed));
            self.forget_what_rests_on_the_log();
        }
    }

    /// Gives up a base that is too old, if nothing is written over it. Pins keep it here, however
    /// long they follow each other.
    pub(crate) fn age_unwritten(&mut self, cache: &impl Cache) {
        if !self.has_writes() && self.since.is_some_and(|since| cache.is_too_old(since)) {
            self.invalidate();
        }
    }

    /// What is beneath the changes is no longer known.
    pub(super) fn forget_base(&mut self) {
        self.base = RowState::Unknown;
        self.as_of = MaybeNext::NONE;
        self.since = None;
        self.old_below = NextOffset::ZERO;
    }
}
