//! The settings of reads: how rows are cached, and where the others are found.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Builder;
use crate::load::Loader;
use crate::partitions::cache::Capacity;

/// The cache counts no further; it is as good as for ever.
const KEPT_MAX: Duration = Duration::from_hours(24 * 365 * 100);

impl<K, V> Builder<K, V>
where
    K: Serialize + Clone + Send + Sync + 'static,
    V: Serialize + DeserializeOwned,
{
    /// How many rows are cached, 100,000 unless set. Pending rows do not count and are never
    /// evicted.
    pub fn capacity(mut self, rows: u64) -> Self {
        self.cache_config.capacity = Capacity::Rows(rows);
        self
    }

    /// How much memory cached rows may take, in bytes, instead of how many there may be: each
    /// counts as its key, its row and 256 bytes. A row larger than that is never kept.
    pub fn capacity_bytes(mut self, bytes: u64) -> Self {
        self.cache_config.capacity = Capacity::Bytes(bytes);
        self
    }

    /// How long a row may be served after it was read from the database or written whole here,
    /// without limit unless set. Set it where others write the same rows: what others did is seen
    /// after that time, also in a row that this handle adds to or updates all the while.
    ///
    /// A row with changes that are not in the database is loaded again as soon as those are that
    /// were made until it was too old; while the database takes nothing, that waits. If the loader
    /// does not say which offset its row holds, such a read may count an increment twice until the
    /// group's commit of it is heard; a table loader always says it.
    pub fn time_to_live(mut self, time: Duration) -> Self {
        self.cache_config.time_to_live = Some(time.min(KEPT_MAX));
        self
    }

    /// How long a cached row is kept that nobody reads, without limit unless set.
    pub fn time_to_idle(mut self, time: Duration) -> Self {
        self.cache_config.time_to_idle = Some(time.min(KEPT_MAX));
        self
    }

    /// Whether the cache remembers, as it does a row, that the loader found no row or that a delete
    /// is in the database; not unless set. A write of the row by this process ends it at once; what
    /// others insert is not seen before [`time_to_live`](Self::time_to_live).
    pub fn cache_misses(mut self, remember: bool) -> Self {
        self.cache_config.misses = remember;
        self
    }

    /// Whether a row is cached as this handle wrote it, once that is in the database: it is unless
    /// set. Otherwise its next read after that loads it.
    ///
    /// Set it to false where the table may hold another row than was written: where columns round,
    /// pad or cut values, as `numeric(6, 2)` and `char(3)` do; and where triggers, generated columns
    /// or defaults change them.
    pub fn cache_writes(mut self, keep: bool) -> Self {
        self.cache_config.writes = keep;
        self
    }

    /// How long a load may take, 30 s unless set: the loader's answer and, where the row that it
    /// found may hold a pending increment or not, Kafka's. Then the load is given up and its
    /// readers get an error.
    pub fn load_timeout(mut self, time: Duration) -> Self {
        self.load_timeout = time;
        self
    }

    /// Where rows are found that are neither pending nor cached: a [`Loader`], or an async closure
    /// from a key to `Result<Option<row>, error>`.
    pub fn loader(mut self, loader: impl Loader<K>) -> Self {
        self.loader = Some(Arc::new(loader));
        self
    }
}
