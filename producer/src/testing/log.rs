//! The log of a test, read partition by partition.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{Offset as Position, TopicPartitionList};
use serde_json::Value;
use write_behind_librdkafka::headers;
use write_behind_shared::record::UNREADABLE;
use write_behind_shared::{Headers, NextOffset, Offset, Partition, RecordError, WriteId};

use super::broker::{Broker, TestContext, refused};
use super::error::TestingError;

/// One record of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its partition.
    pub partition: Partition,
    /// Its place there.
    pub offset: Offset,
    /// The row it speaks of.
    pub key: Option<Vec<u8>>,
    /// A JSON object of columns; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Names and values, as they were sent.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

/// A consumer that reads every partition of a topic in order and keeps what it read too much.
pub(super) struct LogReader {
    consumer: BaseConsumer<TestContext>,
    /// The embedded broker, kept alive; `None` if the log is elsewhere.
    embedded: Option<Broker>,
    topic: String,
    partitions: Vec<ReadAhead>,
}

/// What is read of a partition and not taken yet.
struct ReadAhead {
    partition: Partition,
    next: NextOffset,
    records: VecDeque<Record>,
}

/// How long the broker may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// One wait for records.
const POLL: Duration = Duration::from_millis(20);

impl ConsumerContext for TestContext {}

impl Broker {
    /// All that is in the log of `topic`, partition by partition.
    ///
    /// # Errors
    /// [`TestingError`]: there is no such topic, or the broker is down.
    pub fn log(&self, topic: &str) -> Result<Vec<Record>, TestingError> {
        let mut reader = LogReader::new(self, topic, "write-behind-testing-log")?;
        reader.read_ahead()?;
        Ok(reader.take(usize::MAX))
    }
}

impl Record {
    /// The key as text; empty if there is none.
    pub fn key_text(&self) -> String {
        self.key.as_deref().map(String::from_utf8_lossy).unwrap_or_default().into_owned()
    }

    /// The value as JSON; `None` if it is a tombstone or no JSON.
    pub fn json(&self) -> Option<Value> {
        self.value.as_deref().and_then(|value| serde_json::from_slice(value).ok())
    }

    /// The columns that are increments.
    pub fn added_columns(&self) -> Vec<&str> {
        let add = self.headers().ok().and_then(|headers| headers.add);
        add.map(|names| names.split(',').collect()).unwrap_or_default()
    }

    /// Which write it carries.
    pub fn write_id(&self) -> Option<WriteId> {
        self.headers().ok().and_then(|headers| headers.write_id)
    }

    pub(super) fn headers(&self) -> Result<Headers<'_>, RecordError> {
        Headers::read(self.headers.iter().map(|(name, value)| (&**name, value.as_deref())))
    }

    fn of(message: &BorrowedMessage<'_>) -> Self {
        let owned =
            |(name, value): (&str, Option<&[u8]>)| (name.to_owned(), value.map(<[u8]>::to_vec));
        Self {
            partition: Partition(message.partition()),
            offset: Offset(message.offset()),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            headers: headers(message, UNREADABLE).into_iter().map(owned).collect(),
        }
    }
}

impl LogReader {
    /// Of a topic of the embedded broker.
    pub(super) fn new(kafka: &Broker, topic: &str, group: &str) -> Result<Self, TestingError> {
        let partitions = kafka.partitions(topic)?;
        let mut properties = kafka.properties();
        // The embedded broker answers when this is over, not when there are records.
        let impatient = [("fetch.wait.max.ms", "5"), ("fetch.error.backoff.ms", "10")];
        properties.extend(impatient.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let consumer = consumer(&properties, group)?;
        Self::of(consumer, Some(kafka.clone()), topic, partitions)
    }

    /// Of a topic of the Kafka that `properties` lead to.
    pub(super) fn elsewhere(
        properties: &[(String, String)],
        topic: &str,
        group: &str,
    ) -> Result<Self, TestingError> {
        let consumer = consumer(properties, group)?;
        let metadata = consumer.fetch_metadata(Some(topic), DEADLINE);
        let metadata = metadata.map_err(|error| no_answer(&error))?;
        let found = metadata.topics().iter().find(|found| found.name() == topic);
        let partitions = found.map_or(0, |topic| topic.partitions().len()) as i32;
        if partitions == 0 {
            return Err(TestingError::NoTopicThere(topic.to_owned()));
        }
        Self::of(consumer, None, topic, partitions)
    }

    fn of(
        consumer: BaseConsumer<TestContext>,
        embedded: Option<Broker>,
        topic: &str,
        partitions: i32,
    ) -> Result<Self, TestingError> {
        let partitions = (0..partitions).map(|partition| ReadAhead {
            partition: Partition(partition),
            next: NextOffset::ZERO,
            records: VecDeque::new(),
        });
        let partitions = partitions.collect();
        let reader = Self { consumer, embedded, topic: topic.to_owned(), partitions };
        let start = reader.positions(|_| NextOffset::ZERO)?;
        reader.consumer.assign(&start).map_err(refused)?;
        Ok(reader)
    }

    pub(super) fn is_embedded(&self) -> bool {
        self.embedded.is_some()
    }

    pub(super) fn partitions(&self) -> i32 {
        self.partitions.len() as i32
    }

    /// Reads everything that is in the log now and was not read before; gives how many records can
    /// be taken.
    pub(super) fn read_ahead(&mut self) -> Result<usize, TestingError> {
        if self.embedded.as_ref().is_some_and(Broker::is_down) {
            return Err(TestingError::BrokersDown);
        }
        let mut ends = Vec::with_capacity(self.partitions.len());
        for read in &self.partitions {
            let bounds = self.consumer.fetch_watermarks(&self.topic, read.partition.0, DEADLINE);
            let (begin, end) = bounds.map_err(|error| no_answer(&error))?;
            if begin > read.next.0 {
                let begin = NextOffset(begin);
                return Err(TestingError::LogGone {
                    partition: read.partition,
                    next: read.next,
                    begin,
                });
            }
            ends.push(NextOffset(end));
        }
        let mut heard = Instant::now();
        let mut last_error = KafkaError::ConsumerQueueClose(RDKafkaErrorCode::RequestTimedOut);
        while self.partitions.iter().zip(&ends).any(|(read, end)| read.next < *end) {
            if heard.elapsed() > DEADLINE {
                return Err(no_answer(&last_error));
            }
            match self.consumer.poll(POLL) {
                Some(Ok(message)) => {
                    heard = Instant::now();
                    let record = Record::of(&message);
                    let at = usize::try_from(record.partition.0).unwrap_or(usize::MAX);
                    if let Some(read) = self.partitions.get_mut(at) {
                        read.next = record.offset.next();
                        read.records.push_back(record);
                    }
                }
                // The client recovers from most errors itself, so only the deadline ends the wait.
                Some(Err(error)) => last_error = error,
                None => {}
            }
        }
        Ok(self.partitions.iter().map(|read| read.records.len()).sum())
    }

    /// The next `records`, or as many as were read, partition by partition.
    pub(super) fn take(&mut self, records: usize) -> Vec<Record> {
        let mut taken = Vec::new();
        for read in &mut self.partitions {
            let wanted = read.records.len().min(records - taken.len());
            taken.extend(read.records.drain(..wanted));
        }
        taken
    }

    /// Commits for the group that everything below `next` of each partition is applied.
    pub(super) fn commit(
        &self,
        next: impl Fn(Partition) -> NextOffset,
    ) -> Result<(), TestingError> {
        let list = self.positions(next)?;
        self.consumer.commit(&list, CommitMode::Sync).map_err(|error| no_answer(&error))
    }

    fn positions(
        &self,
        next: impl Fn(Partition) -> NextOffset,
    ) -> Result<TopicPartitionList, TestingError> {
        let mut list = TopicPartitionList::new();
        for read in &self.partitions {
            let next = Position::Offset(next(read.partition).0);
            let added = list.add_partition_offset(&self.topic, read.partition.0, next);
            added.map_err(refused)?;
        }
        Ok(list)
    }
}

fn consumer(
    properties: &[(String, String)],
    group: &str,
) -> Result<BaseConsumer<TestContext>, TestingError> {
    let mut config = ClientConfig::new();
    for (name, value) in properties {
        config.set(name, value);
    }
    config
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "error")
        .create_with_context(TestContext)
        .map_err(refused)
}

fn no_answer(error: &KafkaError) -> TestingError {
    TestingError::NoAnswer { seconds: DEADLINE.as_secs(), reason: error.to_string() }
}
