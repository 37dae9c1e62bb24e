//! Reads that ask the cache without the partition's lock: until the cache is as they are to find
//! it, the row may be pending.

use std::cell::Cell;

use super::*;
use crate::core::age::{KnownRow, KnownSince};
use crate::core::delta::Row;

/// A cache that is only changed while its row may be pending.
struct Watched {
    filter: Arc<RowFilter>,
    changes: Cell<usize>,
}

impl Watched {
    fn changes(&self, key: &[u8]) {
        assert!(self.filter.may_have(key), "a read finds the cache as it was before");
        self.changes.set(self.changes.get() + 1);
    }
}

impl Cache for Watched {
    fn get(&self, _: &[u8]) -> Option<KnownRow> {
        None
    }

    fn insert(&self, key: Key, _: Row, _: KnownSince) {
        self.changes(&key);
    }

    fn remove(&self, key: &[u8]) {
        self.changes(key);
    }
}

#[test]
fn a_row_may_be_pending_until_the_cache_is_as_reads_are_to_find_it() {
    let mut pending = Pending::new(Rules { exact: true, tail: None }, Bounds::STANDARD);
    let cache = Watched { filter: pending.filter(), changes: Cell::new(0) };
    let write = |pending: &mut Pending, offset: i64| {
        let sequence = pending.accept(b"7", Delta::Put(Row::from(*b"{}")), &cache);
        assert!(cache.filter.may_have(b"7"));
        pending.mark_sent(sequence);
        pending.acked(sequence as usize, offset, &cache);
    };
    write(&mut pending, 0);
    pending.committed_at_once(NextOffset(1), &cache);
    assert!(!cache.filter.may_have(b"7"), "it is in the database");
    write(&mut pending, 1);
    assert_eq!(pending.forget_some(usize::MAX, true, &cache), 1);
    assert!(!cache.filter.may_have(b"7"), "it was forgotten");
    pending.committed(NextOffset(3));
    write(&mut pending, 2);
    assert!(!cache.filter.may_have(b"7"), "the commit came before the answer");
    assert_eq!(cache.changes.get(), 3);
}
