//! The client that asks Kafka about the sink group and the topic. It never joins the group.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::metadata::MetadataTopic;
use rdkafka::{Offset, TopicPartitionList};
use write_behind_shared::{NextOffset, Partition};

use crate::core::reason::KafkaCause;
use crate::error::BuildError;
use crate::kafka::codes::{cause_of, reason_of_error};
use crate::kafka::connection::Connection;
use crate::kafka::offsets::{NoAnswer, Offsets};
use crate::kafka::settings::{QuietContext, client_refused, consumer_config, serve, serve_login};

/// Asks Kafka about the sink group and the topic.
pub(crate) struct GroupOffsets {
    consumer: BaseConsumer<QuietContext>,
    topic: String,
}

/// Fixed: it commits nothing, and creates no topic.
const FIXED: &[(&str, &str)] = &[
    // The end of the log must lie past our own records, even while another's transaction is open.
    ("isolation.level", "read_uncommitted"),
    ("enable.auto.commit", "false"),
    ("allow.auto.create.topics", "false"),
];
/// How long one question may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the leader of one partition may take, while the rows of all others wait.
const END_TIMEOUT: Duration = Duration::from_secs(2);

impl GroupOffsets {
    /// A client that asks for the offsets of `group` in `topic`.
    pub(crate) fn new(
        connection: &Connection,
        group: &str,
        topic: &str,
    ) -> Result<Self, BuildError> {
        let consumer = consumer_config(connection, group, &[], FIXED)
            .create_with_context(QuietContext::of(connection));
        let consumer = consumer.map_err(|error| client_refused(&error))?;
        Ok(Self { consumer, topic: topic.to_owned() })
    }

    /// How many partitions the topic has. Blocks until Kafka answers or `timeout` is over.
    pub(crate) fn partitions_within(&self, timeout: Duration) -> Result<i32, BuildError> {
        serve_login(&self.consumer, timeout);
        let metadata = self.consumer.fetch_metadata(Some(&self.topic), timeout);
        let metadata = metadata.map_err(|error| {
            // What the client had to say of its brokers is queued for this.
            serve(&self.consumer);
            let trouble = self.consumer.context().trouble();
            BuildError::NoAnswer(trouble.unwrap_or_else(|| reason_of_error(&error)))
        })?;
        let found = metadata.topics().iter().find(|topic| topic.name() == self.topic);
        let error = found.and_then(MetadataTopic::error).map(RDKafkaErrorCode::from);
        let count = found.map_or(0, |topic| topic.partitions().len() as i32);
        match error.map(cause_of) {
            None if count > 0 => Ok(count),
            Some(KafkaCause::NotAuthorized) => Err(BuildError::NotAuthorized(self.topic.clone())),
            _ => Err(BuildError::NoTopic(self.topic.clone())),
        }
    }

    /// How many replicas the partition with the fewest has. Blocks until Kafka answers or `timeout`
    /// is over.
    pub(crate) fn replicas_within(&self, timeout: Duration) -> Option<usize> {
        let metadata = self.consumer.fetch_metadata(Some(&self.topic), timeout).ok()?;
        let partitions = metadata.topics().iter().flat_map(MetadataTopic::partitions);
        partitions.map(|partition| partition.replicas().len()).min()
    }

    /// The cluster's id. Blocks until Kafka answers or `timeout` is over.
    pub(crate) fn cluster_id(&self, timeout: Duration) -> Result<String, BuildError> {
        let id = self.consumer.client().fetch_cluster_id(timeout);
        id.ok_or_else(|| BuildError::NoAnswer("no cluster id".into()))
    }

    /// What the group has committed, of these partitions; those without an answer are left out.
    pub(crate) fn committed_within(
        &self,
        timeout: Duration,
        partitions: &[Partition],
    ) -> Result<Vec<(Partition, NextOffset)>, NoAnswer> {
        serve(&self.consumer);
        let mut asked = TopicPartitionList::with_capacity(partitions.len());
        for partition in partitions {
            asked.add_partition(&self.topic, partition.0);
        }
        let answered = self.consumer.committed_offsets(asked, timeout)?;
        let committed = answered.elements().into_iter().filter_map(|element| {
            match (element.error(), element.offset()) {
                // No commit yet is an offset of its own kind, not a number.
                (Ok(()), Offset::Offset(next)) => {
                    Some((Partition(element.partition()), NextOffset(next)))
                }
                _ => None,
            }
        });
        Ok(committed.collect())
    }
}

impl Offsets for GroupOffsets {
    fn committed(
        &self,
        partitions: &[Partition],
    ) -> Result<Vec<(Partition, NextOffset)>, NoAnswer> {
        self.committed_within(ANSWER_TIMEOUT, partitions)
    }

    fn end(&self, partition: Partition) -> Result<NextOffset, NoAnswer> {
        let (_, end) = self.consumer.fetch_watermarks(&self.topic, partition.0, END_TIMEOUT)?;
        Ok(NextOffset(end))
    }

    fn partition_count(&self) -> Result<i32, NoAnswer> {
        self.partitions_within(ANSWER_TIMEOUT).map_err(|error| NoAnswer(error.to_string().into()))
    }
}

impl std::fmt::Debug for GroupOffsets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GroupOffsets").field("topic", &self.topic).finish_non_exhaustive()
    }
}
