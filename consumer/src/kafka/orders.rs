//! What the poll thread is told while it runs, and how it ends.

use write_behind_shared::{NextOffset, Partition};

use crate::kafka::assign::Refusal;
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

impl Exit {
    /// The end because of one partition.
    pub(crate) fn refused(topic: &str, partition: Partition, refusal: &Refusal) -> Self {
        Exit::Refused(format!("topic {topic}, partition {partition}: {refusal}"))
    }
}

/// An answer or an order to the poll thread.
#[derive(Debug)]
pub(crate) enum Input {
    /// Where partitions stand.
    Located(Vec<Located>),
    /// The database was found elsewhere than at these offsets, where it had been left, or the records
    /// from there on do not arrive.
    Doubted(Vec<(Place, NextOffset)>),
    /// A worker finished a batch.
    Finished(BatchId, Ended),
    /// Stop reading, write what is held, and end.
    Drain,
    /// End now.
    End(Exit),
}
