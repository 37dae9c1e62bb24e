//! Bounds: how much a partition remembers, how far batch sizes move, and how long the pipeline waits
//! before it tries again.
//!
//! No setting changes them. They are given at construction, so that a test reaches a bound with a
//! handful of records.

use std::time::Duration;

/// Bounds that no setting changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Writers that a partition remembers.
    pub writers: usize,
    /// Shapes of values that a partition remembers. With more, its values have no pattern worth
    /// remembering.
    pub shapes: usize,
    /// The smallest target of a batch: fewer rows are not worth a transaction.
    pub rows_min: usize,
    /// How many times the target a buffer may fold while it waits for its turn.
    pub denser: usize,
    /// How many times as long as a batch took its route leaves the database alone, before a batch
    /// goes that is not worth writing yet. `None`: such a batch waits for its `max_age`.
    pub rest: Option<u32>,
    /// Failed tries of a parked batch, with nothing ahead of it any more, before the row counts as
    /// refused.
    pub parked_tries: u32,
    /// Waits between the tries of a parked batch.
    pub parked: Waits,
    /// Waits between the probes of a stopped route, and before a held partition is read again. A
    /// probe that meets no record for the longest one ends: the route runs if the log has none, and
    /// otherwise another partition is tried.
    pub stopped: Waits,
    /// How long a partition stands still before its end until that is looked at.
    pub stands_still: Duration,
    /// Waits after commits that failed.
    pub commit: Waits,
    /// A commit without an answer counts as failed after this time.
    pub commit_answer: Duration,
}

/// Waits that double.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waits {
    /// The first wait.
    pub first: Duration,
    /// The longest wait.
    pub longest: Duration,
}

impl Bounds {
    /// Those of production.
    pub const STANDARD: Self = Self {
        writers: 10_000,
        shapes: 64,
        rows_min: 100,
        denser: 8,
        rest: Some(4),
        parked_tries: 4,
        parked: Waits { first: Duration::from_millis(100), longest: Duration::from_secs(5) },
        stopped: Waits { first: Duration::from_millis(500), longest: Duration::from_secs(10) },
        stands_still: Duration::from_secs(10),
        commit: Waits { first: Duration::from_millis(100), longest: Duration::from_secs(10) },
        commit_answer: Duration::from_mins(1),
    };
}

impl Waits {
    /// The wait after `last`; zero counts as no wait yet.
    pub fn after(&self, last: Duration) -> Duration {
        last.saturating_mul(2).clamp(self.first, self.longest)
    }
}
