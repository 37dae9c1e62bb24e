//! What the poll thread is told while it runs, and how it ends.

use write_behind_shared::NextOffset;

use crate::pipeline::action::{BatchId, Ended, Located, Place};

/// How the reading ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// As asked; what was held is written, or will be read again when the time was over.
    Drained {
        /// Whether all of it was written.
        clean: bool,
    },
    /// A safety check refuses to go on.
    Refused(String),
    /// It can't go on.
    Failed(String),
}

/// An answer or an order to the poll thread.
#[derive(Debug)]
pub(crate) enum Input {
    /// Where partitions stand.
    Located(Vec<Located>),
    /// A worker finished a batch.
    Finished(BatchId, Ended),
    /// Records from this offset on do not arrive: read the partition anew, if it still stands there.
    ReadAnew(Place, NextOffset),
    /// Stop reading, write what is held, and end.
    Drain,
    /// End now.
    End(Exit),
}
