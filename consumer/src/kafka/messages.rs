//! What the poll thread is told while it runs, and how it ends.

use write_behind_shared::{NextOffset, Partition};

use crate::core::assign::Refusal;
use crate::core::batch::{Batch, BatchId, RoutePartition};
use crate::core::pipeline::action::{BatchResult, Closed, Located};

/// How the reading ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PollExit {
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

/// What a worker is given to write.
#[derive(Debug)]
pub(crate) enum Work {
    /// A batch that was just closed.
    Closed(Closed),
    /// One that was rolled back.
    Again(BatchId, Box<Batch>),
}

impl PollExit {
    /// The end because of one partition.
    pub(crate) fn refused(topic: &str, partition: Partition, refusal: &Refusal) -> Self {
        PollExit::Refused(format!("topic {topic}, partition {partition}: {refusal}"))
    }
}

/// An answer or an order to the poll thread.
#[derive(Debug)]
pub(crate) enum PollMessage {
    /// Where partitions stand.
    Located(Vec<Located>),
    /// The database was found elsewhere than at these offsets, where it had been left, or the records
    /// from there on do not arrive.
    Doubted(Vec<(RoutePartition, NextOffset)>),
    /// A worker finished a batch.
    Finished(BatchId, BatchResult),
    /// A row of this batch refers to one that is not there; nothing was written.
    MissingReference(BatchId, Box<Batch>),
    /// A batch can't be written until a person mends this; nothing was written.
    Stopped(BatchId, String),
    /// Where logs end.
    Ends(Vec<(RoutePartition, NextOffset)>),
    /// Stop reading, write what is held, and end.
    Drain,
    /// End now.
    End(PollExit),
}
