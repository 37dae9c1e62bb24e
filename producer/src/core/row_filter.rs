//! Filter of one partition: whether a row may be pending there, without the partition's lock.
//!
//! Most reads are of rows that are only cached. The filter counts the pending rows by a hash of
//! their keys; where it counts none, the cache alone is asked. Rows that share a count are not told
//! apart, which costs a look under the lock and nothing else.

use std::sync::atomic::{AtomicU8, Ordering};

use write_behind_shared::partition::murmur2;

/// Counts of pending rows, by a hash of their keys.
pub(crate) struct RowFilter(Box<[AtomicU8]>);

/// A power of two; a count takes a byte.
const COUNTS: usize = 1 << 14;
/// A count that was ever this high stays there: which of its rows have left is not known any more.
const STUCK: u8 = u8::MAX;

impl RowFilter {
    /// No row.
    pub(crate) fn new() -> Self {
        Self((0..COUNTS).map(|_| AtomicU8::new(0)).collect())
    }

    /// Whether the row may be pending. False: whatever stopped it from being so is done.
    pub(crate) fn may_have(&self, key: &[u8]) -> bool {
        // What a row left in the cache before it went is seen by a read that sees it gone.
        self.count(key).load(Ordering::Acquire) > 0
    }

    /// The row is about to be pending. Only under the partition's lock.
    pub(crate) fn add(&self, key: &[u8]) {
        let count = self.count(key);
        let before = count.load(Ordering::Relaxed);
        count.store(before.saturating_add(1), Ordering::Release);
    }

    /// The row is pending no longer, and the cache has what it left. Only under the partition's
    /// lock.
    pub(crate) fn remove(&self, key: &[u8]) {
        let count = self.count(key);
        let before = count.load(Ordering::Relaxed);
        if before < STUCK {
            count.store(before.saturating_sub(1), Ordering::Release);
        }
    }

    fn count(&self, key: &[u8]) -> &AtomicU8 {
        // The upper bits: the lower ones say which partition the key is in.
        &self.0[(murmur2(key) >> 15) as usize & (COUNTS - 1)]
    }
}

impl std::fmt::Debug for RowFilter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RowFilter")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_found_from_when_it_is_added_until_it_is_removed_also_where_counts_overflow() {
        let filter = RowFilter::new();
        let key = |n: u32| n.to_be_bytes();
        (0..100_000).for_each(|n| filter.add(&key(n)));
        assert!((0..100_000).all(|n| filter.may_have(&key(n))));
        (0..50_000).for_each(|n| filter.remove(&key(n)));
        assert!((50_000..100_000).all(|n| filter.may_have(&key(n))));
        (50_000..100_000).for_each(|n| filter.remove(&key(n)));
        assert!((0..100_000).all(|n| !filter.may_have(&key(n))));
        (0..300).for_each(|_| filter.add(b"7"));
        (0..299).for_each(|_| filter.remove(b"7"));
        assert!(filter.may_have(b"7"), "one is left");
    }
}
