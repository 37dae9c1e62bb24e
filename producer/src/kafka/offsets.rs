//! Questions about the sink group and the topic's log.

use write_behind_shared::{NextOffset, Partition};

use crate::core::reason::Reason;

/// Answers what the sink group has committed and where the log ends: Kafka, or what stands in for
/// it.
pub(crate) trait Offsets: Send {
    /// What the group has committed, of these partitions; those without an answer are left out.
    fn committed(&self, partitions: &[Partition])
    -> Result<Vec<(Partition, NextOffset)>, NoAnswer>;

    /// Where the partition's log ends.
    fn end(&self, partition: Partition) -> Result<NextOffset, NoAnswer>;

    /// How many partitions the topic has now.
    fn partition_count(&self) -> Result<i32, NoAnswer>;
}

/// Why Kafka did not answer, in its client's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct NoAnswer(pub(crate) Reason);
