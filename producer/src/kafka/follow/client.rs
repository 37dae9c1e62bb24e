//! The Kafka client of the tail: reads all partitions, and asks where they begin and end and what
//! the sink group has committed.
//!
//! It has the group's name to ask for its offsets, and never joins it.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use write_behind_librdkafka::headers;
use write_behind_shared::record::UNREADABLE;
use write_behind_shared::{NextOffset, Partition};

use crate::error::BuildError;
use crate::kafka::connection::Connection;
use crate::kafka::follow::source::{Lost, TailEvent, TailRecord, TailSource};
use crate::kafka::offsets::NoAnswer;
use crate::kafka::settings::{QuietContext, client_refused, consumer_config, serve, serve_login};

/// Reads the log of one topic.
pub(crate) struct TailClient {
    consumer: BaseConsumer<QuietContext>,
    /// Asks questions. On the connection that fetches, a question and the fetch that waits for a
    /// record would hold each other up.
    asker: BaseConsumer<QuietContext>,
    topic: String,
    partitions: i32,
}

/// Ours, unless the user sets them: a bounded queue that is filled again at once when there is
/// room.
const DEFAULTS: &[(&str, &str)] = &[
    ("queued.max.messages.kbytes", "16384"),
    ("fetch.queue.backoff.ms", "10"),
    // Kafka answers at once when there is a record; this is how soon it says that there is none.
    ("fetch.wait.max.ms", "100"),
];
/// Fixed: it commits nothing, skips nothing, and hears of the log's end.
const FIXED: &[(&str, &str)] = &[
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("allow.auto.create.topics", "false"),
    ("auto.offset.reset", "error"),
    ("isolation.level", "read_committed"),
    ("check.crcs", "true"),
    ("enable.partition.eof", "true"),
];
/// How long one question may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// How long one seek may take.
const SEEK_TIMEOUT: Duration = Duration::from_secs(1);

impl TailClient {
    /// A client for all partitions of `topic`, and for what `group` has committed there.
    pub(crate) fn new(
        connection: &Connection,
        group: &str,
        topic: &str,
        partitions: i32,
    ) -> Result<Self, BuildError> {
        let config = consumer_config(connection, group, DEFAULTS, FIXED);
        let client = || {
            let client = config.create_with_context(QuietContext::of(connection));
            client.map_err(|error| client_refused(&error))
        };
        let (consumer, asker) = (client()?, client()?);
        serve_login(&consumer, ANSWER_TIMEOUT);
        serve_login(&asker, ANSWER_TIMEOUT);
        Ok(Self { consumer, asker, topic: topic.to_owned(), partitions })
    }

    /// Where all partitions begin or end, in their order. One request to each leader.
    fn offsets(&self, at: Offset) -> KafkaResult<Vec<NextOffset>> {
        serve(&self.asker);
        let asked = self.list(|_| at)?;
        let answered = self.asker.offsets_for_times(asked, ANSWER_TIMEOUT)?;
        let mut offsets = vec![None; self.partitions as usize];
        for element in answered.elements() {
            element.error()?;
            if let (Offset::Offset(offset), Some(place)) =
                (element.offset(), offsets.get_mut(element.partition() as usize))
            {
                *place = Some(NextOffset(offset));
            }
        }
        let all: Option<Vec<_>> = offsets.into_iter().collect();
        all.ok_or(KafkaError::OffsetFetch(RDKafkaErrorCode::NoOffset))
    }

    fn list(&self, at: impl Fn(usize) -> Offset) -> KafkaResult<TopicPartitionList> {
        let mut list = TopicPartitionList::with_capacity(self.partitions as usize);
        for (place, partition) in self.partitions().enumerate() {
            list.add_partition_offset(&self.topic, partition.0, at(place))?;
        }
        Ok(list)
    }
}

impl TailSource for TailClient {
    fn poll(&self, wait: Duration, hear: &mut impl FnMut(TailEvent<'_>)) -> bool {
        match self.consumer.poll(wait) {
            None => return false,
            Some(Ok(message)) => {
                let headers = headers(&message, UNREADABLE);
                hear(TailEvent::Record(TailRecord {
                    partition: Partition(message.partition()),
                    offset: write_behind_shared::Offset(message.offset()),
                    key: message.key(),
                    value: message.payload(),
                    headers: &mut headers.into_iter(),
                }));
            }
            Some(Err(error)) => hear(heard(&error)),
        }
        true
    }

    fn begins(&self) -> Result<Vec<NextOffset>, NoAnswer> {
        Ok(self.offsets(Offset::Beginning)?)
    }

    fn ends(&self) -> Result<Vec<NextOffset>, NoAnswer> {
        Ok(self.offsets(Offset::End)?)
    }

    fn committed(&self) -> Result<Vec<Option<NextOffset>>, NoAnswer> {
        serve(&self.asker);
        let asked = self.list(|_| Offset::Invalid)?;
        let answered = self.asker.committed_offsets(asked, ANSWER_TIMEOUT)?;
        let mut offsets = vec![None; self.partitions as usize];
        for element in answered.elements() {
            element.error()?;
            if let (Offset::Offset(next), Some(place)) =
                (element.offset(), offsets.get_mut(element.partition() as usize))
            {
                *place = Some(NextOffset(next));
            }
        }
        Ok(offsets)
    }

    fn assign(&self, at: &[NextOffset]) -> Result<(), NoAnswer> {
        let list = self.list(|place| Offset::Offset(at.get(place).map_or(0, |next| next.0)))?;
        self.consumer.assign(&list)?;
        // librdkafka stops what was assigned before by and by, and ends the process by an assertion if
        // the next change of the assignment comes sooner, as when the client is closed. Its thread
        // answers these questions after the stops: the first has them begun, the second ended.
        for _ in 0..2 {
            self.consumer.assignment()?;
        }
        Ok(())
    }

    fn seek(&self, partition: Partition, at: NextOffset) -> Result<(), NoAnswer> {
        let at = Offset::Offset(at.0);
        Ok(self.consumer.seek(&self.topic, partition.0, at, SEEK_TIMEOUT)?)
    }

    fn topic(&self) -> &str {
        &self.topic
    }

    fn partition_count(&self) -> i32 {
        self.partitions
    }
}

/// What an error means. librdkafka reconnects by itself.
fn heard(error: &KafkaError) -> TailEvent<'static> {
    use RDKafkaErrorCode::{AutoOffsetReset, LogTruncation, OffsetOutOfRange};
    match error {
        KafkaError::PartitionEOF(partition) => TailEvent::End(Partition(*partition)),
        KafkaError::MessageConsumption(AutoOffsetReset | OffsetOutOfRange) => {
            TailEvent::Lost(Lost::Place, error.to_string())
        }
        KafkaError::MessageConsumption(LogTruncation) => {
            TailEvent::Lost(Lost::Tail, error.to_string())
        }
        _ => TailEvent::Failed(error.to_string()),
    }
}

impl std::fmt::Debug for TailClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TailClient").field("topic", &self.topic).finish_non_exhaustive()
    }
}
