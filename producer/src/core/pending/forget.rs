//! Forgetting: rows are dropped from memory although the database does not have them yet.
//!
//! Only what Kafka has can be dropped, and [`Forgotten`](crate::core::forgotten::Forgotten)
//! remembers below which offset, so that a read of such a row says that it may be behind.

use crate::core::cache::Cache;
use crate::core::ledger::Key;
use crate::core::pending::Pending;
use crate::core::unanswered::PersistedWhen;

/// The search stops after this many consecutive rows that must be kept.
const IN_VAIN_MAX: usize = 256;

impl Pending {
    /// Forgets rows, the oldest first, until `enough` bytes are free: those that came only from the
    /// log, and if `own_too`, those that Kafka has of ours. The rest can't be read again from
    /// anywhere and stays. Returns how many rows were forgotten.
    pub(crate) fn forget_some(&mut self, enough: usize, own_too: bool, cache: &impl Cache) -> u64 {
        let goal = self.bytes().saturating_sub(enough);
        let (mut forgotten, mut in_vain) = (0, 0);
        while self.bytes() > goal
            && let Some(key) = self.foreign.rows.pop_front()
        {
            forgotten += u64::from(self.forget(&key, false, cache));
        }
        let mut kept = Vec::new();
        while own_too
            && self.bytes() > goal
            && in_vain < IN_VAIN_MAX
            && let Some(waiter) = self.waiters.pop()
        {
            if self.forget(&waiter.key, true, cache) {
                forgotten += 1;
                in_vain = 0;
            } else if self.entries.contains_key(&waiter.key) {
                in_vain += 1;
                kept.push(waiter);
            }
        }
        self.waiters.extend(kept);
        if self.waiters.len() > 2 * self.entries.len() + 1_024 {
            let entries = &self.entries;
            self.waiters.retain(|waiter| entries.contains_key(&waiter.key));
        }
        forgotten
    }

    fn forget(&mut self, key: &Key, own_too: bool, cache: &impl Cache) -> bool {
        let Some(entry) = self.entries.get(key) else { return false };
        let PersistedWhen::Committed(next) = entry.persisted_when() else { return false };
        // The tail has not passed it: what it brings from before this write would make a new entry,
        // and that would look like the newest row there is.
        let is_tailed = self.rules.tail.is_none_or(|tail| next <= tail);
        if !is_tailed || !entry.can_be_forgotten(own_too) {
            return false;
        }
        // The cached row is older still. First, because reads ask the cache without the lock as
        // soon as the entry is gone.
        cache.remove(key);
        // Under one lock: a read in between would find no entry and no warning, load the row, and
        // return what the database had before this handle's last write as if it were current.
        self.remove(key);
        self.forgotten.add(key, next);
        true
    }
}
