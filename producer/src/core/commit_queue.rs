//! Heap entry: a row and the committed offset that releases it.

use std::cmp::Ordering;

use write_behind_shared::NextOffset;

use crate::core::ledger::Key;

/// A row and what it waits for: the lowest offset comes first out of a heap.
#[derive(Debug)]
pub(crate) struct CommitWaiter {
    pub(crate) next: NextOffset,
    pub(crate) key: Key,
}

impl Ord for CommitWaiter {
    /// Reversed: the heap gives the largest first.
    fn cmp(&self, other: &Self) -> Ordering {
        other.next.cmp(&self.next)
    }
}

impl PartialOrd for CommitWaiter {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for CommitWaiter {
    fn eq(&self, other: &Self) -> bool {
        self.next == other.next
    }
}

impl Eq for CommitWaiter {}
