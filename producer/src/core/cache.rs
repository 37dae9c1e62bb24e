//! The cache, as the core knows it: rows that are in the database, until they are pending again.

use crate::core::age::{KnownRow, KnownSince};
use crate::core::delta::Row;
use crate::core::ledger::Key;

/// Holds rows that stopped being pending, until they are pending again or evicted.
pub(crate) trait Cache {
    /// The row, if it is cached and not too old.
    fn get(&self, key: &[u8]) -> Option<KnownRow>;
    /// The same, or that there is no such row.
    fn known(&self, key: &[u8]) -> Option<(Option<Row>, KnownSince)> {
        self.get(key).map(|(row, since)| (Some(row), since))
    }
    /// Now. All moments are one where rows are never too old.
    fn now(&self) -> KnownSince {
        KnownSince::default()
    }
    /// Whether what is known since then is no longer to be relied on.
    fn is_too_old(&self, _: KnownSince) -> bool {
        false
    }
    /// Whether a row is kept as it was written here. The table may have made another one of it.
    fn keeps_written(&self) -> bool {
        true
    }
    /// The row is in the database exactly like this.
    fn insert(&self, key: Key, row: Row, since: KnownSince);
    /// The database has no such row.
    fn insert_missing(&self, key: Key, _: KnownSince) {
        self.remove(&key);
    }
    /// What the database holds is no longer known here.
    fn remove(&self, key: &[u8]);
}
