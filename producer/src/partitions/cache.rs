//! The cache of clean copies: takes rows that the database has just so, gives them to reads until
//! they are evicted, expire or are invalidated.
//!
//! Whatever is kept here may go at any moment: nothing that is pending is here (INV-1).

use std::time::Duration;

use ahash::RandomState;

use crate::core::delta::Row;
use crate::core::ledger::Key;
use crate::core::pending::CleanCopies;

/// What is kept, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Keeping {
    pub(crate) capacity: Capacity,
    pub(crate) time_to_live: Option<Duration>,
    pub(crate) time_to_idle: Option<Duration>,
    /// Whether it is remembered that a row is missing.
    pub(crate) misses: bool,
}

impl Default for Keeping {
    fn default() -> Self {
        let capacity = Capacity::Rows(100_000);
        Self { capacity, time_to_live: None, time_to_idle: None, misses: false }
    }
}

/// What bounds the copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Capacity {
    Rows(u64),
    Bytes(u64),
}

/// The cache of clean copies. A copy of `None` says that there is no such row.
#[derive(Debug)]
pub(crate) struct Clean {
    pub(crate) copies: moka::sync::Cache<Key, Option<Row>, RandomState>,
    pub(crate) misses: bool,
}

/// What a copy takes beyond its key and row: the map's entry and moka's two queues.
const OVERHEAD_BYTES: usize = 256;

impl Clean {
    pub(crate) fn new(keeping: Keeping) -> Self {
        let builder = moka::sync::Cache::builder();
        let builder = match keeping.capacity {
            Capacity::Rows(rows) => builder.max_capacity(rows),
            Capacity::Bytes(bytes) => builder.max_capacity(bytes).weigher(weight),
        };
        let builder = match keeping.time_to_live {
            Some(time) => builder.time_to_live(time),
            None => builder,
        };
        let builder = match keeping.time_to_idle {
            Some(time) => builder.time_to_idle(time),
            None => builder,
        };
        let copies = builder.build_with_hasher(RandomState::new());
        Self { copies, misses: keeping.misses }
    }

    /// The row, or that there is none; `None`: not known here.
    #[expect(clippy::option_option, reason = "not known, and known to be missing")]
    pub(crate) fn look_up(&self, key: &Key) -> Option<Option<Row>> {
        self.copies.get(key)
    }

    /// Forgets all copies.
    pub(crate) fn forget_all(&self) {
        self.copies.invalidate_all();
    }
}

/// An estimate of the memory that a copy takes, in bytes.
#[expect(clippy::ref_option, reason = "the shape that moka's weigher wants")]
fn weight(key: &Key, row: &Option<Row>) -> u32 {
    let bytes = OVERHEAD_BYTES + key.len() + row.as_ref().map_or(0, |row| row.len());
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

impl CleanCopies for Clean {
    fn get(&self, key: &Key) -> Option<Row> {
        self.copies.get(key).flatten()
    }

    fn keep(&self, key: Key, row: Row) {
        self.copies.insert(key, Some(row));
    }

    fn keep_missing(&self, key: Key) {
        if self.misses {
            self.copies.insert(key, None);
        } else {
            self.forget(&key);
        }
    }

    fn forget(&self, key: &Key) {
        self.copies.invalidate(key);
    }
}

#[cfg(test)]
#[path = "tests/cache.rs"]
mod tests;

#[cfg(test)]
#[path = "tests/eviction.rs"]
mod eviction;
