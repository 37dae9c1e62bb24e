//! Which row is to be looked at next as offsets advance: takes rows and what they wait for, orders
//! them for a heap.

use std::cmp::Ordering;

use write_behind_shared::NextOffset;

use crate::core::ledger::Key;

/// A row and what it waits for: the lowest offset comes first out of a heap.
#[derive(Debug)]
pub(crate) struct Due {
    pub(crate) next: NextOffset,
    pub(crate) key: Key,
}

impl Ord for Due {
    /// Reversed: the heap gives the largest first.
    fn cmp(&self, other: &Self) -> Ordering {
        other.next.cmp(&self.next)
    }
}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.next == other.next
    }
}

impl Eq for Due {}
