//! Clients that ask Kafka the [`Questions`]. They never join the group.
//!
//! librdkafka's calls block until they are answered or their time is over, so each question is
//! asked on a thread that may block.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::MetadataTopic;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use write_behind_shared::kafka::KafkaSettings;
use write_behind_shared::{NextOffset, Offset as RecordOffset, Partition};

use crate::core::pipeline::watchdog::ProbeResult;
use crate::kafka::client::{
    ADOPTED, ANSWER_WITHIN, BrokerError, Quiet, client_config, reader_config,
};
use crate::kafka::failures::ConnectionFailures;
use crate::kafka::members;
use crate::kafka::newest_records::{NewestRecords, newest_records};
use crate::kafka::probe::probe;
use crate::kafka::questions::{GroupOffset, Logs, Questions};
use crate::kafka::record_timestamps::RecordTimestamps;

/// How often the first question looks for its answer.
const FIRST_LOOK: Duration = Duration::from_millis(100);
/// How long the first question waits at least, though every broker has failed once.
const HOPELESS_AFTER: Duration = Duration::from_millis(500);
/// How long it waits for brokers of which nothing is heard.
const SILENT_AFTER: Duration = Duration::from_secs(5);
/// What a broker says while a group has no coordinator yet, or gets another one.
const WITHOUT_COORDINATOR: [RDKafkaErrorCode; 3] = [
    RDKafkaErrorCode::NotCoordinator,
    RDKafkaErrorCode::CoordinatorNotAvailable,
    RDKafkaErrorCode::CoordinatorLoadInProgress,
];
/// How many of the client's events are heard after a question.
const EVENTS_MAX: usize = 100;

/// Kafka, as the clients of one cluster and group ask it.
#[derive(Clone)]
pub(crate) struct KafkaBroker(Arc<Clients>);

struct Clients {
    /// `bootstrap.servers`.
    bootstrap: String,
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
        Self::with(&client_config(settings, group), settings, group)
    }

    /// The same, for a person: a log ends behind the records of open transactions, which nobody reads
    /// before they are committed.
    ///
    /// # Errors
    /// The settings are not such that a client can be made.
    pub(crate) fn to_the_high_watermark(
        settings: &KafkaSettings,
        group: &str,
    ) -> Result<Self, KafkaError> {
        let mut config = client_config(settings, group);
        config.set("isolation.level", "read_uncommitted");
        Self::with(&config, settings, group)
    }

    fn with(
        config: &ClientConfig,
        settings: &KafkaSettings,
        group: &str,
    ) -> Result<Self, KafkaError> {
        let consumer = config.create_with_context(Quiet::default())?;
        let reader = reader_config(settings, group);
        let record_timestamps = RecordTimestamps::new(reader.clone());
        let bootstrap = settings.get("bootstrap.servers").unwrap_or_default().to_owned();
        Ok(Self(Arc::new(Clients { bootstrap, consumer, record_timestamps, reader })))
    }

    /// How many replicas the partition of `topic` with the fewest has.
    pub(crate) async fn replicas(&self, topic: &str) -> Result<Option<usize>, BrokerError> {
        let topic = topic.to_owned();
        self.ask(move |clients| clients.replicas(&topic)).await
    }

    /// The newest records of `topic`, which has this many partitions.
    pub(crate) async fn newest_records(
        &self,
        topic: &str,
        partitions: i32,
    ) -> Result<NewestRecords, BrokerError> {
        let topic = topic.to_owned();
        self.ask(move |clients| newest_records(clients.reader.clone(), &topic, partitions)).await
    }

    /// How many members the group has that reads `topic`, at least.
    pub(crate) async fn members(&self, group: &str, topic: &str) -> Result<usize, BrokerError> {
        let (group, topic) = (group.to_owned(), topic.to_owned());
        self.ask(move |clients| members::count(&clients.consumer, &clients.reader, &group, &topic))
            .await
    }

    /// The host of each member of the group; `None`: Kafka does not tell.
    pub(crate) async fn member_hosts(
        &self,
        group: &str,
    ) -> Result<Option<Vec<String>>, BrokerError> {
        let group = group.to_owned();
        self.ask(move |clients| members::hosts(&clients.consumer, &group)).await
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
    ) -> Result<BTreeMap<Partition, GroupOffset>, BrokerError> {
        let begun = Instant::now();
        loop {
            let (topic, partitions) = (topic.to_owned(), partitions.to_vec());
            let committed = self.ask(move |clients| clients.committed(&topic, &partitions)).await?;
            match committed {
                Some(committed) => return Ok(committed),
                // A young cluster makes the topic of all groups' offsets only now.
                None if begun.elapsed() < ANSWER_WITHIN => tokio::time::sleep(FIRST_LOOK).await,
                None => {
                    let why = "the group has no coordinator yet".to_owned();
                    return Err(BrokerError::Unreachable(why));
                }
            }
        }
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
    /// The first question of all. It ends as soon as no broker is left that could answer, and a client
    /// that is connected goes on waiting between two questions.
    fn cluster_id(&self) -> Result<String, BrokerError> {
        let asked = Instant::now();
        // A client connects once it is asked for metadata; for the id it would wait until it does so by
        // itself, which takes a second. No answer is one to the question below, too.
        let _ = self.consumer.fetch_metadata(None, FIRST_LOOK);
        loop {
            if let Some(id) = self.consumer.client().fetch_cluster_id(FIRST_LOOK) {
                return self.answered(Ok(id));
            }
            self.hear_events();
            let waited = asked.elapsed();
            let is_hopeless = self.failures().all_down() && waited >= HOPELESS_AFTER;
            if is_hopeless || waited >= SILENT_AFTER {
                let silent = || silence(&self.bootstrap);
                return Err(self.failures().causes().map_or_else(silent, BrokerError::Unreachable));
            }
        }
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
        let metadata = self.answered(self.consumer.fetch_metadata(Some(topic), ANSWER_WITHIN))?;
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
        let (low, high) = self.answered(answer)?;
        Ok((NextOffset(low), NextOffset(high)))
    }

    fn replicas(&self, topic: &str) -> Result<Option<usize>, BrokerError> {
        let metadata = self.answered(self.consumer.fetch_metadata(Some(topic), ANSWER_WITHIN))?;
        let found = metadata.topics().iter().find(|found| found.name() == topic);
        let partitions = found.map_or(&[][..], MetadataTopic::partitions);
        Ok(partitions.iter().map(|partition| partition.replicas().len()).min())
    }

    /// What the group has committed; `None`: it has no coordinator yet.
    fn committed(
        &self,
        topic: &str,
        partitions: &[Partition],
    ) -> Result<Option<BTreeMap<Partition, GroupOffset>>, BrokerError> {
        let mut asked = TopicPartitionList::with_capacity(partitions.len());
        for partition in partitions {
            asked.add_partition(topic, partition.0);
        }
        let answer = self.consumer.committed_offsets(asked, ANSWER_WITHIN);
        let code = answer.as_ref().err().and_then(KafkaError::rdkafka_error_code);
        if code.is_some_and(|code| WITHOUT_COORDINATOR.contains(&code)) {
            return Ok(None);
        }
        let answer = self.answered(answer)?;
        let mut committed = BTreeMap::new();
        for element in answer.elements() {
            element.error().map_err(|error| BrokerError::Unreachable(error.to_string()))?;
            if let Offset::Offset(next) = element.offset() {
                let was_adopted = element.metadata() == ADOPTED;
                let offset = GroupOffset { next: NextOffset(next), was_adopted };
                committed.insert(Partition(element.partition()), offset);
            }
        }
        Ok(Some(committed))
    }

    /// Notes that Kafka answered, if it did; otherwise tells why its brokers can't be reached.
    fn answered<T>(&self, answer: Result<T, KafkaError>) -> Result<T, BrokerError> {
        self.hear_events();
        match answer {
            Ok(answer) => {
                self.failures().clear();
                Ok(answer)
            }
            Err(error) => {
                let causes = self.failures().causes();
                Err(BrokerError::Unreachable(causes.unwrap_or_else(|| error.to_string())))
            }
        }
    }

    fn failures(&self) -> &ConnectionFailures {
        &self.consumer.context().failures
    }

    /// Drains the client's event queue, which nothing else polls.
    fn hear_events(&self) {
        // `None` may also mean that an event was dealt with, so it does not end the loop.
        for _ in 0..EVENTS_MAX {
            self.consumer.poll(Duration::ZERO);
        }
    }
}

/// What to say of brokers that are silent. Whether they take a connection is all that can be found out.
fn silence(bootstrap: &str) -> BrokerError {
    let first = bootstrap.split(',').next().unwrap_or(bootstrap).trim();
    let address = first.split_once("://").map_or(first, |(_, address)| address);
    let resolved = address.to_socket_addrs().ok().and_then(|mut found| found.next());
    let takes = |address| TcpStream::connect_timeout(&address, FIRST_LOOK * 10).is_ok();
    let why = if resolved.is_some_and(takes) {
        "it takes the connection and answers nothing: is it a TLS port, or no Kafka?"
    } else {
        "it does not take the connection: is there a firewall?"
    };
    BrokerError::Unreachable(format!("{address}: {why}"))
}
