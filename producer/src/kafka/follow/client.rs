//! The Kafka client of the tail: reads all partitions, and asks where they begin and end and what
//! the sink group has committed.
//!
//! It has the group's name to ask for its offsets, and never joins it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use tracing::debug;
use write_behind_shared::kafka::KafkaSettings;
use write_behind_shared::{NextOffset, Partition};

use crate::error::BuildError;
use crate::kafka::settings::{QuietContext, consumer_config};
use crate::partitions::tail::Tail;

/// Reads the log of one topic.
pub(crate) struct Client {
    pub(super) consumer: BaseConsumer<QuietContext>,
    /// Asks questions. On the connection that fetches, a question and the fetch that waits for a
    /// record would hold each other up.
    asker: BaseConsumer<QuietContext>,
    pub(super) topic: String,
    pub(super) partitions: i32,
    /// Where the partitions end, when that was asked last; taken by the reading thread.
    ends: Mutex<Option<Vec<NextOffset>>>,
    pub(super) tail: Arc<Tail>,
}

/// Ours, unless the user sets them: a bounded queue that is filled again at once when there is room.
const DEFAULTS: &[(&str, &str)] = &[
    ("queued.max.messages.kbytes", "16384"),
    ("fetch.queue.backoff.ms", "10"),
    // Kafka answers at once when there is a record; this is how soon it says that there is none.
    ("fetch.wait.max.ms", "100"),
];
/// Ours, always: it commits nothing, skips nothing, and hears of the log's end.
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

impl Client {
    /// A client for all partitions of `topic`, and for what `group` has committed there.
    pub(crate) fn new(
        settings: &KafkaSettings,
        group: &str,
        topic: &str,
        partitions: i32,
    ) -> Result<Self, BuildError> {
        let config = consumer_config(settings, group, DEFAULTS, FIXED);
        let client = || {
            let client = config.create_with_context(QuietContext);
            client.map_err(|error| BuildError::Client(error.to_string()))
        };
        Ok(Self {
            consumer: client()?,
            asker: client()?,
            topic: topic.to_owned(),
            partitions,
            ends: Mutex::default(),
            tail: Arc::new(Tail::new(partitions)),
        })
    }

    /// Asks where the log ends and leaves the answer to the reading thread.
    pub(super) fn ask_for_ends(&self) {
        match self.offsets(Offset::End) {
            Ok(ends) => {
                let mut latest = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
                if latest.replace(ends).is_some() {
                    self.tail.end_was_left();
                }
            }
            Err(error) => debug!(%error, topic = self.topic, "nobody says where the log ends"),
        }
    }

    /// Where the partitions ended when that was asked last, once.
    pub(super) fn take_ends(&self) -> Option<Vec<NextOffset>> {
        let taken = self.ends.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.tail.end_was_taken();
        taken
    }

    /// Where all partitions begin or end, in their order. One request to each leader.
    pub(super) fn offsets(&self, at: Offset) -> KafkaResult<Vec<NextOffset>> {
        // It is given no records; what it has to say of lost connections shows in its answers.
        while self.asker.poll(Duration::ZERO).is_some() {}
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

    /// What the group has committed of each partition, in their order; `None`: nothing yet.
    pub(super) fn committed(&self) -> KafkaResult<Vec<Option<NextOffset>>> {
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

    /// Reads all partitions on from these places.
    pub(super) fn assign(&self, at: &[NextOffset]) -> KafkaResult<()> {
        let list = self.list(|place| Offset::Offset(at.get(place).map_or(0, |next| next.0)))?;
        self.consumer.assign(&list)
    }

    fn list(&self, at: impl Fn(usize) -> Offset) -> KafkaResult<TopicPartitionList> {
        let mut list = TopicPartitionList::with_capacity(self.partitions as usize);
        for (place, partition) in self.partitions().enumerate() {
            list.add_partition_offset(&self.topic, partition.0, at(place))?;
        }
        Ok(list)
    }

    pub(super) fn partitions(&self) -> impl Iterator<Item = Partition> {
        (0..self.partitions).map(Partition)
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("topic", &self.topic).finish_non_exhaustive()
    }
}
