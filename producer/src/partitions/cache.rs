//! The cache: rows as the database has them, until they are evicted, expire or are invalidated.
//!
//! Whatever is kept here may go at any moment: nothing that is pending is here (INV-1).

use std::time::Duration;

use ahash::RandomState;

use crate::core::delta::Row;
use crate::core::ledger::Key;
use crate::core::pending::Cache;

/// What is kept, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CacheConfig {
    pub(crate) capacity: Capacity,
    pub(crate) time_to_live: Option<Duration>,
    pub(crate) time_to_idle: Option<Duration>,
    /// Whether it is remembered that a row is missing.
    pub(crate) misses: bool,
    /// Whether a row that was written here is kept as it was written.
    pub(crate) writes: bool,
}

impl Default for CacheConfig {
    fn default() -> Self {
        let capacity = Capacity::Rows(100_000);
        Self { capacity, time_to_live: None, time_to_idle: None, misses: false, writes: true }
    }
}

/// What bounds the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Capacity {
    Rows(u64),
    Bytes(u64),
}

/// The cached rows. `None` says that there is no such row.
pub(crate) struct RowCache {
    rows: moka::sync::Cache<Key, Option<Row>, RandomState>,
    misses: bool,
    writes: bool,
}

/// What a cached row takes beyond its key and row, in bytes: the map's entry and moka's two queues.
const OVERHEAD_BYTES: usize = 256;

impl RowCache {
    pub(crate) fn new(config: CacheConfig) -> Self {
        let builder = moka::sync::Cache::builder();
        let builder = match config.capacity {
            Capacity::Rows(rows) => builder.max_capacity(rows),
            Capacity::Bytes(bytes) => builder.max_capacity(bytes).weigher(weight),
        };
        let builder = match config.time_to_live {
            Some(time) => builder.time_to_live(time),
            None => builder,
        };
        let builder = match config.time_to_idle {
            Some(time) => builder.time_to_idle(time),
            None => builder,
        };
        let rows = builder.build_with_hasher(RandomState::new());
        Self { rows, misses: config.misses, writes: config.writes }
    }

    /// The row, or that there is none; `None`: not known here.
    #[expect(clippy::option_option, reason = "not known, and known to be missing")]
    pub(crate) fn look_up(&self, key: &Key) -> Option<Option<Row>> {
        self.rows.get(key)
    }

    /// Removes all rows.
    pub(crate) fn clear(&self) {
        self.rows.invalidate_all();
    }
}

/// An estimate of the memory that a cached row takes, in bytes.
#[expect(clippy::ref_option, reason = "the shape that moka's weigher wants")]
fn weight(key: &Key, row: &Option<Row>) -> u32 {
    let bytes = OVERHEAD_BYTES + key.len() + row.as_ref().map_or(0, |row| row.len());
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

impl Cache for RowCache {
    fn get(&self, key: &Key) -> Option<Row> {
        self.rows.get(key).flatten()
    }

    fn keeps_written(&self) -> bool {
        self.writes
    }

    fn insert(&self, key: Key, row: Row) {
        self.rows.insert(key, Some(row));
    }

    fn insert_missing(&self, key: Key) {
        if self.misses {
            self.rows.insert(key, None);
        } else {
            self.remove(&key);
        }
    }

    fn remove(&self, key: &Key) {
        self.rows.invalidate(key);
    }
}

impl std::fmt::Debug for RowCache {
    /// Without the rows.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RowCache").field("rows", &self.rows.entry_count()).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "tests/cache.rs"]
mod tests;

#[cfg(test)]
#[path = "tests/eviction.rs"]
mod eviction;
