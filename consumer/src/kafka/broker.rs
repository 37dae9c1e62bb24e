//! Questions to Kafka that are no part of reading: the cluster's id, a topic's partitions, where a
//! log begins and ends, what the group has committed.
//!
//! Every call blocks until it is answered or its time is over, so it belongs on a blocking thread.
//! The client behind it never joins the group.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::MetadataTopic;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use write_behind_shared::kafka::KafkaSettings;
use write_behind_shared::{NextOffset, Offset as RecordOffset, Partition};

use crate::kafka::client::{ANSWER_WITHIN, BrokerError, Quiet, client_config, reader_config};
use crate::kafka::record_timestamps::RecordTimestamps;

/// A client for questions.
pub struct Broker {
    consumer: BaseConsumer<Quiet>,
    record_timestamps: RecordTimestamps,
}

/// A topic's partitions, and where the log of those begins and ends that were asked for.
#[derive(Debug)]
pub struct Logs {
    /// How many partitions the topic has.
    pub partitions: i32,
    /// The first offset and the end of each, in the order they were asked for; or why that is not
    /// known.
    pub ends: Vec<Result<(NextOffset, NextOffset), BrokerError>>,
}

impl Broker {
    /// A client of the cluster and group. Does not wait for a connection.
    pub fn new(settings: &KafkaSettings, group: &str) -> Result<Self, KafkaError> {
        let config = client_config(settings, group);
        let consumer = config.create_with_context(Quiet::default())?;
        Ok(Self {
            consumer,
            record_timestamps: RecordTimestamps::new(reader_config(settings, group)),
        })
    }

    /// The cluster's id.
    pub fn cluster_id(&self) -> Result<String, BrokerError> {
        self.forget_events();
        let id = self.consumer.client().fetch_cluster_id(ANSWER_WITHIN);
        id.ok_or_else(|| self.no_answer("no cluster id"))
    }

    /// How many partitions `topic` has.
    pub fn partitions(&self, topic: &str) -> Result<i32, BrokerError> {
        Ok(self.leaders(topic)?.len() as i32)
    }

    /// Where the log of each of `asked` begins and ends. One that has no leader, or whose leader does
    /// not answer, does not keep the others from their answer.
    pub fn logs(&self, topic: &str, asked: &[Partition]) -> Result<Logs, BrokerError> {
        let leaders = self.leaders(topic)?;
        let mut silent = BTreeSet::new();
        let ends = asked.iter().map(|partition| {
            let leader = leaders.get(partition).copied().filter(|leader| *leader >= 0);
            let leader =
                leader.ok_or_else(|| BrokerError::NoLeader(topic.to_owned(), *partition))?;
            if silent.contains(&leader) {
                return Err(BrokerError::Unreachable(format!("broker {leader} is silent")));
            }
            // The time of one unanswered question is spent once a leader, not once a partition.
            self.watermarks(topic, *partition).inspect_err(|_| {
                silent.insert(leader);
            })
        });
        Ok(Logs { ends: ends.collect(), partitions: leaders.len() as i32 })
    }

    /// The leader of each partition of `topic`; negative: none.
    fn leaders(&self, topic: &str) -> Result<BTreeMap<Partition, i32>, BrokerError> {
        self.forget_events();
        let metadata = self.consumer.fetch_metadata(Some(topic), ANSWER_WITHIN);
        let metadata = metadata.map_err(|error| self.no_answer(error))?;
        let found = metadata.topics().iter().find(|found| found.name() == topic);
        let partitions = found.map_or(&[][..], MetadataTopic::partitions);
        let leaders: BTreeMap<Partition, i32> =
            partitions.iter().map(|one| (Partition(one.id()), one.leader())).collect();
        match found.and_then(MetadataTopic::error).map(RDKafkaErrorCode::from) {
            None
            | Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic)
                if leaders.is_empty() =>
            {
                Err(BrokerError::NoTopic(topic.to_owned()))
            }
            Some(error) if leaders.is_empty() => Err(BrokerError::Unreachable(error.to_string())),
            _ => Ok(leaders),
        }
    }

    /// The first offset the log has, and its end.
    fn watermarks(
        &self,
        topic: &str,
        partition: Partition,
    ) -> Result<(NextOffset, NextOffset), BrokerError> {
        let answer = self.consumer.fetch_watermarks(topic, partition.0, ANSWER_WITHIN);
        let (low, high) = answer.map_err(|error| self.no_answer(error))?;
        Ok((NextOffset(low), NextOffset(high)))
    }

    /// How many replicas the partition of `topic` with the fewest has.
    pub fn replicas(&self, topic: &str) -> Result<Option<usize>, BrokerError> {
        self.forget_events();
        let metadata = self.consumer.fetch_metadata(Some(topic), ANSWER_WITHIN);
        let metadata = metadata.map_err(|error| self.no_answer(error))?;
        let found = metadata.topics().iter().find(|found| found.name() == topic);
        let partitions = found.map_or(&[][..], MetadataTopic::partitions);
        Ok(partitions.iter().map(|partition| partition.replicas().len()).min())
    }

    /// When the record at each offset was written, in milliseconds since 1970; `None`: there is no
    /// record, or it does not say. Without those partitions that did not answer in time. Every offset
    /// must lie within its log.
    pub fn timestamps(
        &self,
        topic: &str,
        wanted: &BTreeMap<Partition, RecordOffset>,
    ) -> Result<BTreeMap<Partition, Option<i64>>, BrokerError> {
        self.record_timestamps.timestamps(topic, wanted)
    }

    /// What the group has committed, where it has.
    pub fn committed(
        &self,
        topic: &str,
        partitions: &[Partition],
    ) -> Result<BTreeMap<Partition, NextOffset>, BrokerError> {
        self.forget_events();
        let mut asked = TopicPartitionList::with_capacity(partitions.len());
        for partition in partitions {
            asked.add_partition(topic, partition.0);
        }
        let answer = self.consumer.committed_offsets(asked, ANSWER_WITHIN);
        let answer = answer.map_err(|error| self.no_answer(error))?;
        let mut committed = BTreeMap::new();
        for element in answer.elements() {
            element.error().map_err(|error| self.no_answer(error))?;
            if let Offset::Offset(next) = element.offset() {
                committed.insert(Partition(element.partition()), NextOffset(next));
            }
        }
        Ok(committed)
    }

    fn no_answer(&self, error: impl std::fmt::Display) -> BrokerError {
        self.forget_events();
        let reason = self.consumer.context().take_reason();
        let reason = reason.map_or(String::new(), |reason| format!(" ({reason})"));
        BrokerError::Unreachable(format!("{error}{reason}"))
    }

    /// Errors are queued for a poll that never comes; throw away what has gathered.
    fn forget_events(&self) {
        while self.consumer.poll(Duration::ZERO).is_some() {}
    }
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Broker").finish_non_exhaustive()
    }
}
