//! The group's committed offsets, as they reach a partition: rows that are in the database leave it.

use std::thread::yield_now;

use write_behind_shared::{NextOffset, Partition};

use crate::core::ledger::Sequence;
use crate::partitions::Partitions;
use crate::partitions::partition::SharedPending;

impl Partitions {
    /// The group committed `next` of `partition`.
    pub(crate) fn committed(&self, partition: Partition, next: NextOffset) {
        let Some(pending) = self.of(partition) else { return };
        self.change(pending.lock(), |state, _| state.core.committed(next));
        self.release(pending);
        pending.notify_waiters();
    }

    /// Releases what is in the database, a few rows under each lock. The cache may keep a caller
    /// waiting, so it is not touched while others wait for the lock.
    pub(super) fn release(&self, pending: &SharedPending) {
        loop {
            let taken = self.change(pending.lock(), |state, cache| state.core.begin_release(cache));
            let (leaving, mut more) = taken;
            if !leaving.is_empty() {
                for row in &leaving {
                    row.put_into(&self.cache);
                }
                more |= self.change(pending.lock(), |state, cache| {
                    state.core.finish_release(leaving, cache)
                });
            }
            if !more {
                return;
            }
            // Those who wait for the lock get it: it is not handed on by itself.
            yield_now();
        }
    }

    /// The log of `partition` ended at `end` after all writes below `mark` were answered.
    pub(crate) fn sampled(&self, partition: Partition, mark: Sequence, end: NextOffset) {
        let Some(pending) = self.of(partition) else { return };
        self.change(pending.lock(), |state, cache| {
            state.core.sampled(mark, end, cache);
        });
        pending.notify_waiters();
    }
}
