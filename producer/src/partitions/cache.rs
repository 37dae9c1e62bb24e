//! The cache: rows as the database has them, until they are evicted, expire or are invalidated.
//!
//! Whatever is kept here may go at any moment: nothing that is pending is here (INV-1).

use std::time::{Duration, Instant};

use ahash::RandomState;

use crate::core::age::{KnownRow, KnownSince};
use crate::core::cache::Cache;
use crate::core::delta::Row;
use crate::core::ledger::Key;

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

/// The cached rows.
pub(crate) struct RowCache {
    rows: moka::sync::Cache<Key, Cached, RandomState>,
    misses: bool,
    writes: bool,
    time_to_live: Option<Duration>,
    built: Instant,
}

/// What the database has under a key.
#[derive(Clone, Debug)]
pub(crate) struct Cached {
    /// `None` says that there is no such row.
    row: Option<Row>,
    /// A row may have been cached again since, with more folded over what was known then.
    since: KnownSince,
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
        let CacheConfig { misses, writes, time_to_live, .. } = config;
        Self { rows, misses, writes, time_to_live, built: Instant::now() }
    }

    /// The row, or that there is none; `None`: not known here.
    #[expect(clippy::option_option, reason = "not known, and known to be missing")]
    pub(crate) fn look_up(&self, key: &[u8]) -> Option<Option<Row>> {
        Some(self.find(key)?.row)
    }

    /// moka counts the time to live from the moment that a row was put here; what is beneath its
    /// latest writes may be older.
    fn find(&self, key: &[u8]) -> Option<Cached> {
        self.rows.get(key).filter(|cached| !self.is_too_old(cached.since))
    }

    /// Removes all rows.
    pub(crate) fn clear(&self) {
        self.rows.invalidate_all();
    }
}

/// An estimate of the memory that a cached row takes, in bytes.
fn weight(key: &Key, cached: &Cached) -> u32 {
    let bytes = OVERHEAD_BYTES + key.len() + cached.row.as_ref().map_or(0, |row| row.len());
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

impl Cache for RowCache {
    fn get(&self, key: &[u8]) -> Option<KnownRow> {
        let Cached { row, since } = self.find(key)?;
        Some((row?, since))
    }

    fn now(&self) -> KnownSince {
        // Nobody asks how old anything is without a time to live, so the clock is not read.
        let built = self.time_to_live.map(|_| self.built.elapsed());
        KnownSince::at(built.map_or(0, |elapsed| elapsed.as_millis() as u64))
    }

    fn is_too_old(&self, since: KnownSince) -> bool {
        let is_over = |live: Duration| u128::from(self.now().after(since)) >= live.as_millis();
        self.time_to_live.is_some_and(is_over)
    }

    fn known(&self, key: &[u8]) -> Option<(Option<Row>, KnownSince)> {
        let Cached { row, since } = self.find(key)?;
        Some((row, since))
    }

    fn keeps_written(&self) -> bool {
        self.writes
    }

    fn insert(&self, key: Key, row: Row, since: KnownSince) {
        self.rows.insert(key, Cached { row: Some(row), since });
    }

    fn insert_missing(&self, key: Key, since: KnownSince) {
        if self.misses {
            self.rows.insert(key, Cached { row: None, since });
        } else {
            self.remove(&key);
        }
    }

    fn remove(&self, key: &[u8]) {
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
