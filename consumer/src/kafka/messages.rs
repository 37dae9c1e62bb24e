//! Messages between the poll thread, the workers and the tasks, and how the polling ends.

use write_behind_shared::{NextOffset, Partition};

use crate::core::assign::Refusal;
use crate::core::batch::{Batch, BatchId, RoutePartition, Stop};
use crate::core::pipeline::action::{BatchResult, Closed, Located};
use crate::core::pipeline::ahead::Survey;
use crate::core::pipeline::skips::{LookId, SkipFacts};

/// How the polling ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PollExit {
    /// As asked. If the time ran out, what is not written will be read again.
    Drained {
        /// Whether all of it was written.
        clean: bool,
    },
    /// A safety check refuses to go on.
    Refused(String),
    /// It can't go on, for another reason.
    Failed(String),
}

/// A batch for a worker to write.
#[derive(Debug)]
pub enum Work {
    /// It was just closed.
    Closed(Closed),
    /// It was rolled back.
    Again(BatchId, Box<Batch>),
}

impl PollExit {
    /// A refusal that concerns one partition.
    pub(crate) fn refused(topic: &str, partition: Partition, refusal: &Refusal) -> Self {
        PollExit::Refused(format!("topic {topic}, partition {partition}: {refusal}"))
    }

    /// The client is beyond repair.
    pub(crate) fn undelivered(topic: &str, partition: Partition, next: NextOffset) -> Self {
        PollExit::Failed(format!(
            "topic {topic}, partition {partition}: the log has records from offset {next} on, but \
             Kafka's client does not deliver them, even after the partition was read again; restart \
             the process: it begins with a new client"
        ))
    }
}

/// An answer or an order to the poll thread.
#[derive(Debug)]
pub enum PollMessage {
    /// Where partitions stand.
    Located(Vec<Located>),
    /// These partitions must be located again: the database no longer stands at the offset where it
    /// was left, or the records from there on do not arrive.
    Doubted(Vec<(RoutePartition, NextOffset)>),
    /// A worker finished a batch.
    Finished(BatchId, BatchResult),
    /// A row of this batch refers to a missing one; nothing was written. Where all partitions stood
    /// after that.
    MissingReference(BatchId, Box<Batch>, Survey),
    /// A batch can't be written until an operator mends this; nothing was written.
    Stopped(BatchId, Stop),
    /// A batch can't be written for now, for this reason; nothing was written.
    Held(BatchId, String),
    /// What another client found where offsets were skipped, or why nothing is known.
    LookedAtSkip(RoutePartition, LookId, Result<SkipFacts, String>),
    /// Where logs end.
    Ends(Vec<(RoutePartition, NextOffset)>),
    /// Stop reading, write what is held, then end.
    Drain,
    /// End now.
    End(PollExit),
}
