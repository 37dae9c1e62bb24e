//! The outcome of writing a batch, and its cost.

use std::time::Duration;

use write_behind_shared::NextOffset;

use crate::core::batch::{Stop, Written};

/// The outcome of writing a batch.
#[derive(Debug)]
pub enum Applied {
    /// It is in the database.
    Written(Written, Stats),
    /// The database stands elsewhere: its next offset for each span, in order. Nothing was written.
    Fenced(Vec<Option<NextOffset>>),
    /// It can't be written until a person fixes this. Nothing was written, unless the answer to
    /// COMMIT was lost; then all of it may be: the bookkeeping knows.
    Stopped(Stop),
    /// It can't be written for now, for this reason, though the database answers others. Nothing was
    /// written, as with [`Applied::Stopped`]; it is tried again later, and must not hold up others.
    Held(String),
    /// A safety check refuses it, for this reason. Nothing was written.
    Refused(String),
    /// A row refers to a missing row, for this reason. Nothing was written.
    MissingReference(String),
    /// Shutdown came before it was written. An attempt whose answer was lost may have written it:
    /// the bookkeeping knows.
    Interrupted,
}

/// What writing a batch took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Rows written or deleted as they were folded.
    pub rows: usize,
    /// Records applied one by one.
    pub row_by_row: usize,
    /// Records set aside, including those that could not be decoded.
    pub dead_letters: usize,
    /// Rows and single records left out because the table has a newer version.
    pub older: u64,
    /// Failed attempts before the last one.
    pub retries: u32,
    /// How many of those asked too much of the database.
    pub saturated: u32,
    /// How long the last transaction took.
    pub took: Duration,
}

impl Applied {
    /// Adds the failed attempts to the outcome.
    pub(super) fn after(self, retries: u32, saturated: u32) -> Self {
        match self {
            Applied::Written(written, stats) => {
                Applied::Written(written, Stats { retries, saturated, ..stats })
            }
            other => other,
        }
    }
}
