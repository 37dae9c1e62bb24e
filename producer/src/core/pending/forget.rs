//! Dropping rows from memory although the database does not have them yet.
//!
//! Only what Kafka has can be dropped, and [`Forgotten`](crate::core::forgotten::Forgotten) remembers
//! below which offset, so that a read of such a row says that it may be behind.

use crate::core::ledger::{Key, Needs};
use crate::core::pending::{CleanCopies, Lane};

/// How many due rows in a row may turn out to be kept before the search for more ends.
const IN_VAIN_MAX: usize = 256;

impl Lane {
    /// Forgets rows, the oldest first, until `enough` bytes are free: those that came only from the
    /// log, and if `own_too`, those that Kafka has of ours. The rest can't be read again from
    /// anywhere and stays. Gives how many rows were forgotten.
    pub(crate) fn forget_some(
        &mut self,
        enough: usize,
        own_too: bool,
        clean: &impl CleanCopies,
    ) -> u64 {
        let goal = self.bytes().saturating_sub(enough);
        let (mut forgotten, mut in_vain) = (0, 0);
        while self.bytes() > goal
            && let Some(key) = self.others.rows.pop_front()
        {
            forgotten += u64::from(self.forget(&key, false, clean));
        }
        let mut kept = Vec::new();
        while own_too
            && self.bytes() > goal
            && in_vain < IN_VAIN_MAX
            && let Some(due) = self.due.pop()
        {
            if self.forget(&due.key, true, clean) {
                forgotten += 1;
                in_vain = 0;
            } else if self.entries.contains_key(&due.key) {
                in_vain += 1;
                kept.push(due);
            }
        }
        self.due.extend(kept);
        if self.due.len() > 2 * self.entries.len() + 1_024 {
            let entries = &self.entries;
            self.due.retain(|due| entries.contains_key(&due.key));
        }
        forgotten
    }

    fn forget(&mut self, key: &Key, own_too: bool, clean: &impl CleanCopies) -> bool {
        let Some(entry) = self.entries.get(key) else { return false };
        let Needs::Commit(next) = entry.needs() else { return false };
        // What others wrote before it would else look like the newest there is.
        let is_tailed = self.rules.tail.is_none_or(|tail| next <= tail);
        if !is_tailed || !entry.can_be_forgotten(own_too) {
            return false;
        }
        self.remove(key);
        self.forgotten.add(key, next);
        clean.forget(key);
        true
    }
}
