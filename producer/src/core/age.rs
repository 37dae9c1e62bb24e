//! Age of a known row: the time since it was last loaded, or written whole.

use std::num::NonZeroU64;

use crate::core::delta::Row;

/// A moment, counted in milliseconds from when the handle was built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct KnownSince(NonZeroU64);

/// A row that was known before its pending changes, and since when.
pub(crate) type KnownRow = (Row, KnownSince);

impl KnownSince {
    /// This many milliseconds after the handle was built.
    pub(crate) const fn at(milliseconds: u64) -> Self {
        // Never 0, so that none of them takes no more room than one.
        Self(NonZeroU64::MIN.saturating_add(milliseconds))
    }

    /// The milliseconds from `earlier` to this moment.
    pub(crate) fn after(self, earlier: Self) -> u64 {
        self.0.get().saturating_sub(earlier.0.get())
    }
}

impl Default for KnownSince {
    fn default() -> Self {
        Self::at(0)
    }
}
