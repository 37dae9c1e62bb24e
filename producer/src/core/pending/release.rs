//! Release: rows that are in the database leave, in two steps, with the cache between them.
//!
//! The cache may keep a caller waiting while it cleans up, so it is not touched under the
//! partition's lock. A row is cached while its entry is still here and answers all reads; then the
//! entry goes, unless something happened to the row in between. What was cached of such a row is
//! removed, and it is tried again.

use crate::core::age::KnownSince;
use crate::core::cache::Cache;
use crate::core::commit_queue::CommitWaiter;
use crate::core::delta::Row;
use crate::core::entry::RowState;
use crate::core::leaves::Leaves;
use crate::core::ledger::Key;
use crate::core::pending::Pending;

/// A row on its way to the cache.
#[derive(Debug)]
pub(crate) struct Leaving {
    key: Key,
    copy: Copied,
}

/// What the cache is to hold of a row that leaves.
#[derive(Debug)]
enum Copied {
    Row(Row, KnownSince),
    Missing(KnownSince),
    /// It may hold the row as it was before these writes; they are in the database now, so a read
    /// of it would go back in time.
    Nothing,
    AsBefore,
}

impl Leaving {
    /// Puts the row into the cache. Its entry must still be pending.
    pub(crate) fn put_into(&self, cache: &impl Cache) {
        match &self.copy {
            Copied::Row(row, since) => cache.insert(Key::clone(&self.key), Row::clone(row), *since),
            Copied::Missing(since) => cache.insert_missing(Key::clone(&self.key), *since),
            Copied::Nothing => cache.remove(&self.key),
            Copied::AsBefore => {}
        }
    }
}

impl Pending {
    /// Takes rows whose last logged write is passed, as many as may be under one lock, and says
    /// whether there are more. They stay pending until `finish_release`.
    pub(crate) fn begin_release(&mut self, cache: &impl Cache) -> (Vec<Leaving>, bool) {
        let mut leaving = Vec::new();
        let Some(passed) = self.passed() else { return (leaving, false) };
        let is_passed = |waiter: &CommitWaiter| waiter.next <= passed;
        // A base that was given up is not found again without a loader.
        let loads = self.rules.exact;
        for _ in 0..self.rows_at_once {
            if !self.waiters.peek().is_some_and(is_passed) {
                return (leaving, false);
            }
            let Some(CommitWaiter { key, .. }) = self.waiters.pop() else { break };
            self.change(&key, |entry| {
                entry.is_waiting = false;
                entry.prune(passed);
                if loads {
                    entry.age(passed, cache);
                }
            });
            self.wait_for_commit(&key);
            if let Some(copy) = self.leaves(&key, cache) {
                leaving.push(Leaving { key, copy });
            }
        }
        (leaving, self.waiters.peek().is_some_and(is_passed))
    }

    /// The rows are in the cache, so their entries go. Says whether some must be taken again,
    /// because something happened to them meanwhile.
    pub(crate) fn finish_release(&mut self, leaving: Vec<Leaving>, cache: &impl Cache) -> bool {
        let mut again = false;
        for Leaving { key, .. } in leaving {
            let passed = self.passed();
            let Some(entry) = self.entries.get_mut(&key) else { continue };
            let is_unchanged = std::mem::take(&mut entry.leaves) == Leaves::Unchanged;
            let may_leave = entry.may_leave(passed);
            if is_unchanged && may_leave {
                self.remove(&key);
                continue;
            }
            // What was put there is the row from before the change.
            cache.remove(&key);
            self.wait_for_commit(&key);
            if may_leave && let Some(next) = passed {
                self.waiters.push(CommitWaiter { next, key });
                again = true;
            }
        }
        again
    }

    /// What the cache is to hold of a row that may leave.
    fn leaves(&mut self, key: &Key, cache: &impl Cache) -> Option<Copied> {
        let passed = self.passed();
        let entry = self.entries.get_mut(key)?;
        if !entry.may_leave(passed) || entry.leaves != Leaves::No {
            return None;
        }
        entry.leaves = Leaves::Unchanged;
        let (row, since) = entry.cached(cache);
        Some(match row {
            RowState::Known(_) if entry.outdates_cache && !cache.keeps_written() => Copied::Nothing,
            RowState::Known(Some(row)) => Copied::Row(row, since),
            RowState::Known(None) => Copied::Missing(since),
            RowState::Unknown if entry.outdates_cache => Copied::Nothing,
            RowState::Unknown => Copied::AsBefore,
        })
    }

    /// The row goes to the cache in the same step in which it stops being pending, so that no
    /// read falls between the two.
    pub(crate) fn let_leave(&mut self, key: &Key, cache: &impl Cache) {
        if let Some(copy) = self.leaves(key, cache) {
            // A read that finds the entry gone looks in the cache afterwards, so the row must be
            // there before the lock is released.
            Leaving { key: Key::clone(key), copy }.put_into(cache);
            self.remove(key);
        }
    }

    /// The group has committed `next`, and rows leave in one step. Says whether more wait for that.
    #[cfg(test)]
    pub(crate) fn committed_at_once(
        &mut self,
        next: write_behind_shared::NextOffset,
        cache: &impl Cache,
    ) -> bool {
        self.committed(next);
        self.release_at_once(cache)
    }

    /// Both steps in one.
    #[cfg(test)]
    pub(crate) fn release_at_once(&mut self, cache: &impl Cache) -> bool {
        let (leaving, more) = self.begin_release(cache);
        for row in &leaving {
            row.put_into(cache);
        }
        self.finish_release(leaving, cache) || more
    }
}
