//! How a batch ended, and what it took.

use std::time::Duration;

use write_behind_shared::NextOffset;

use crate::core::batch::{Stop, Written};

/// How a batch ended.
#[derive(Debug)]
pub enum Applied {
    /// It is in the database.
    Written(Written, Stats),
    /// The database stands elsewhere: what it says of each span, in their order. Nothing was
    /// written.
    Fenced(Vec<Option<NextOffset>>),
    /// It can't be written until a person mends this. Nothing was written, or all of it when the
    /// answer to COMMIT was lost: the bookkeeping knows.
    Stopped(Stop),
    /// A row refers to one that is not there, for this reason. Nothing was written.
    MissingReference(String),
    /// Told to shut down before it was written. An attempt whose answer was lost may have written
    /// it: the bookkeeping knows.
    Interrupted,
}

/// How a batch was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Rows written or deleted as they were folded.
    pub rows: usize,
    /// Records applied alone.
    pub row_by_row: usize,
    /// Records set aside, those that could not be decoded included.
    pub dead_letters: usize,
    /// Rows and single records left out because the table has a newer version.
    pub older: u64,
    /// Attempts that failed before.
    pub retries: u32,
    /// Those of them that asked too much of the database.
    pub saturated: u32,
    /// How long the last transaction took.
    pub took: Duration,
}

impl Applied {
    /// The same, after attempts that failed.
    pub(super) fn after(self, retries: u32, saturated: u32) -> Self {
        match self {
            Applied::Written(written, stats) => {
                Applied::Written(written, Stats { retries, saturated, ..stats })
            }
            other => other,
        }
    }
}
