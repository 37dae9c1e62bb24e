//! What can go wrong in a test bed, each with what to do about it.

use write_behind_shared::key::KeyError;
use write_behind_shared::{NextOffset, Partition};

/// Why the embedded broker or its sink did not do as asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TestingError {
    /// librdkafka's mock cluster refused.
    #[error("the embedded broker refused: {0}")]
    Broker(String),
    /// A topic needs at least one partition.
    #[error("the topic {topic:?} cannot have {partitions} partitions; give it one or more")]
    Partitions {
        /// The topic.
        topic: String,
        /// What was asked for.
        partitions: i32,
    },
    /// A topic is created once.
    #[error("the topic {0:?} is there already")]
    TopicExists(String),
    /// The topic was not created.
    #[error(
        "the embedded broker has no topic {topic:?}, only {known:?}; create it with \
         `.topic({topic:?}, partitions)`"
    )]
    NoTopic {
        /// What was asked for.
        topic: String,
        /// The topics that exist.
        known: Vec<String>,
    },
    /// The Kafka that was pointed at has no such topic.
    #[error("the topic {0:?} does not exist; create it first, with its final partition count")]
    NoTopicThere(String),
    /// `brokers_down` was called, and `brokers_up` was not.
    #[error("the embedded broker is down, as the test wanted; call `brokers_up` first")]
    BrokersDown,
    /// `database_down` was called, and `database_up` was not.
    #[error("the database is down, as the test wanted; call `database_up` first")]
    DatabaseDown,
    /// The broker did not answer in time.
    #[error("Kafka did not answer within {seconds} s: {reason}")]
    NoAnswer {
        /// How long it was waited for.
        seconds: u64,
        /// The client's last error.
        reason: String,
    },
    /// There are fewer records than were to be applied.
    #[error(
        "{wanted} records were to be applied, and the log holds only {found} more; wait for \
         `replicated_all()` first"
    )]
    TooFew {
        /// What was asked for.
        wanted: usize,
        /// How many records there are.
        found: usize,
    },
    /// The broker threw records away before they were applied.
    #[error(
        "records of partition {partition} are gone: its log begins at {begin}, and {next} was to be \
         applied next; the embedded broker keeps about 5 MB a partition, so apply more often or \
         use more partitions"
    )]
    LogGone {
        /// The partition.
        partition: Partition,
        /// What was to be applied next.
        next: NextOffset,
        /// Where its log begins.
        begin: NextOffset,
    },
    /// The key has no canonical text.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A thread could not be started.
    #[error("a thread cannot be started: {0}")]
    Thread(String),
}
