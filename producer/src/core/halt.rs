//! Why a handle is halted.

use std::sync::Arc;

/// Why a handle takes no more writes, for good.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Halt {
    /// Rows would move to other partitions and lose the order of their writes.
    #[error(
        "the topic had {was} partitions and has {now}: keys now belong to other partitions. End every \
         writer, run `write-behind hand-over go-on` for the consumer, and start them again"
    )]
    Repartitioned {
        /// Partitions when the handle was built.
        was: i32,
        /// Partitions now.
        now: i32,
    },
    /// Kafka acknowledged writes past the end of the partition as it is now: the topic was deleted
    /// and created again, or the log was cut off. What was acknowledged may be gone.
    #[error(
        "partition {partition} ends at {end}, and Kafka had acknowledged a write at {acked}: the \
         topic was created again, or its log was cut off; check what the database has, then build a \
         new handle"
    )]
    LogReplaced {
        /// The partition.
        partition: i32,
        /// Where it ends now.
        end: i64,
        /// The offset of an acknowledged write.
        acked: i64,
    },
    /// The journal has ended: an error of its disk, which is never tried again on the same files.
    /// What was recorded is found by the next handle on the directory; what was not recorded yet is
    /// in memory alone, and is not sent.
    #[error("{0}")]
    Journal(Arc<str>),
    /// The handle was built while Kafka was away, from what its journal knew, and another cluster
    /// answered: nothing was sent.
    #[error(
        "the journal holds writes for the cluster {was:?}, and {now:?} answered; nothing was sent. \
         Start with the other cluster, or move the journal's directory away"
    )]
    AnotherCluster {
        /// The cluster of the journal.
        was: String,
        /// The one that answered.
        now: String,
    },
    /// A part of the handle panicked, which is a defect of this crate: what is pending here is no
    /// longer known for sure.
    #[error("a part of the handle panicked; build a new one, and please report the panic")]
    Panicked,
}
