//! Clients that ask Kafka the [`Questions`]. They never join the group.
//!
//! librdkafka's calls block until they are answered or their time is over, so each question is
//! asked on a thread that may block.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::MetadataTopic;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use write_behind_shared::kafka::KafkaSettings;
use write_behind_shared::{NextOffset, Offset as RecordOffset, Partition};

use crate::core::pipeline::watchdog::ProbeResult;
use crate::kafka::client::{ANSWER_WITHIN, BrokerError, Quiet, client_config, reader_config};
use crate::kafka::probe::probe;
use crate::kafka::questions::{Logs, Questions};
use crate::kafka::record_timestamps::RecordTimestamps;

/// Kafka, as the clients of one cluster and group ask it.
#[derive(Clone)]
pub(crate) struct KafkaBroker(Arc<Clients>);

struct Clients {
    consumer: BaseConsumer<Quiet>,
    record_timestamps: RecordTimestamps,
    /// The properties of a client that reads records.
    reader: ClientConfig,
}

impl KafkaBroker {
    /// Clients of the cluster and group. Does not wait for a connection.
    ///
    /// # Errors
    /// The settings are not such that a client can be made.
    pub(crate) fn new(settings: &KafkaSettings, group: &str) -> Result<Self, KafkaError> {
        let consumer = client_config(settings, group).create_with_context(Quiet::default())?;
        let reader = reader_config(settings, group);
        let record_timestamps = RecordTimestamps::new(reader.clone());
        Ok(Self(Arc::new(Clients { consumer, record_timestamps, reader })))
    }

    /// How many replicas the partition of `topic` with the fewest has.
    pub(crate) async fn replicas(&self, topic: &str) -> Result<Option<usize>, BrokerError> {
        let topic = topic.to_owned();
        self.ask(move |clients| clients.replicas(&topic)).await
    }

    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Clients) -> Result<T, BrokerError> + Send + 'static,
    ) -> Result<T, BrokerError> {
        let clients = Arc::clone(&self.0);
        let answer = tokio::task::spawn_blocking(move || question(&clients)).await;
        answer.unwrap_or_else(|error| Err(BrokerError::Unreachable(error.to_string())))
    }
}

impl Questions for KafkaBroker {
    async fn cluster_id(&self) -> Result<String, BrokerError> {
        self.ask(Clients::cluster_id).await
    }

    async fn partitions(&self, topic: &str) -> Result<i32, BrokerError> {
        let topic = topic.to_owned();
        self.ask(move |clients| Ok(clients.leaders(&topic)?.len() as i32)).await
    }

    async fn committed(
        &self,
        topic: &str,
        partitions: &[Partition],
    ) -> Result<BTreeMap<Partition, NextOffset>, BrokerError> {
        let (topic, partitions) = (topic.to_owned(), partitions.to_vec());
        self.ask(move |clients| clients.committed(&topic, &partitions)).await
    }

    async fn logs(&self, topic: &str, partitions: &[Partition]) -> Result<Logs, BrokerError> {
        let (topic, partitions) = (topic.to_owned(), partitions.to_vec());
        self.ask(move |clients| clients.logs(&topic, &partitions)).await
    }

    async fn timestamps(
        &self,
        topic: &str,
        wanted: &BTreeMap<Partition, RecordOffset>,
    ) -> Result<BTreeMap<Partition, Option<i64>>, BrokerError> {
        let (topic, wanted) = (topic.to_owned(), wanted.clone());
        self.ask(move |clients| clients.record_timestamps.timestamps(&topic, &wanted)).await
    }

    async fn probe(&self, topic: &str, partition: Partition, next: NextOffset) -> ProbeResult {
        let topic = topic.to_owned();
        let asked = self.ask(move |clients| {
            probe(clients.reader.clone(), &topic, partition, next)
                .map_err(|error| BrokerError::Unreachable(error.to_string()))
        });
        asked.await.unwrap_or_else(|error| {
            tracing::debug!(%error, "another client has no answer either");
            ProbeResult::NoAnswer
        })
    }
}

impl Clients {
    fn cluster_id(&self) -> Result<String, BrokerError> {
        self.forget_events();
        let id = self.consumer.client().fetch_cluster_id(ANSWER_WITHIN);
        id.ok_or_else(|| self.no_answer("no cluster id"))
    }

    fn logs(&self, topic: &str, asked: &[Partition]) -> Result<Logs, BrokerError> {
        let leaders = self.leaders(topic)?;
        let mut silent = BTreeSet::new();
        let ends = asked.iter().map(|partition| {
            let leader = leaders.get(partition).copied().filter(|leader| *leader >= 0);
            let leader =
                leader.ok_or_else(|| BrokerError::NoLeader(topic.to_owned(), *partition))?;
            if silent.contains(&leader) {
                return Err(BrokerError::Unreachable(format!("broker {leader} is silent")));
            }
            // The time of one unanswered question is spent once per leader, not once per partition.
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

    fn replicas(&self, topic: &str) -> Result<Option<usize>, BrokerError> {
        self.forget_events();
        let metadata = self.consumer.fetch_metadata(Some(topic), ANSWER_WITHIN);
        let metadata = metadata.map_err(|error| self.no_answer(error))?;
        let found = metadata.topics().iter().find(|found| found.name() == topic);
        let partitions = found.map_or(&[][..], MetadataTopic::partitions);
        Ok(partitions.iter().map(|partition| partition.replicas().len()).min())
    }

    fn committed(
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
