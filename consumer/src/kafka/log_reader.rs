//! A reader of the log beside the group: it reads ranges of a topic from start to end.
//!
//! Its consumer joins no group and commits nothing, so it disturbs nobody who polls. The consumer
//! is made when it is first needed, and kept until a reading fails. [`SpanRead`] decides when a
//! range is finished; this file only carries out what it asks for.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset as KafkaOffset, TopicPartitionList};
use write_behind_shared::{NextOffset, Partition};

use crate::core::batch::Span;
use crate::core::record::Incoming;
use crate::core::span_read::{ReadFailure, ReadStep, SpanRead};
use crate::kafka::client::Quiet;
use crate::kafka::group::settle;
use crate::kafka::incoming::incoming;

/// How long a reader waits for the next record before the log counts as unavailable.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// How long one poll waits.
const POLL_WAIT: Duration = Duration::from_millis(100);

/// Why a range was not read to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// Kafka did not answer a question.
    #[error(transparent)]
    Client(#[from] KafkaError),
    /// The log of this topic did not have all of it.
    #[error("{1}")]
    Log(String, ReadFailure),
}

/// Reads ranges of topics.
pub(crate) struct LogReader {
    config: ClientConfig,
    /// How long to wait for the next record, and for each answer.
    patience: Duration,
    consumer: Mutex<Option<BaseConsumer<Quiet>>>,
}

impl LogReader {
    /// A reader with the properties of `config`, which are those of a client that reads records.
    /// It connects when it first reads.
    pub(crate) fn new(mut config: ClientConfig, patience: Duration) -> Self {
        config.set("enable.partition.eof", "true");
        Self { config, patience, consumer: Mutex::new(None) }
    }

    /// Where the log of the partition begins and ends, as its leader says. Blocks.
    pub(crate) fn ends(
        &self,
        topic: &str,
        partition: Partition,
    ) -> Result<(NextOffset, NextOffset), ReadError> {
        self.with_consumer(|consumer| ask_ends(consumer, topic, partition, self.patience))
            .inspect_err(|_| self.let_go())
    }

    /// Calls `take` with every record of `spans`, in log order within a partition, and with the
    /// number of offsets that the reading advanced by. Blocks.
    ///
    /// # Errors
    /// [`ReadError`], or the first error of `take`, which ends the reading.
    pub(crate) fn read<E: From<ReadError>>(
        &self,
        topic: &str,
        spans: &[Span],
        take: &mut dyn FnMut(&Incoming<'_>, u64) -> Result<(), E>,
    ) -> Result<(), E> {
        self.carry_out(topic, &mut SpanRead::new(spans, self.patience), take)
    }

    /// Calls `take` with what can be read of `spans` while the patience lasts, which is for all of
    /// it. Returns the partitions whose spans were not read to their ends. Blocks.
    pub(crate) fn read_best_effort(
        &self,
        topic: &str,
        spans: &[Span],
        take: &mut dyn FnMut(&Incoming<'_>),
    ) -> Result<Vec<Partition>, KafkaError> {
        let mut read = SpanRead::best_effort(spans, self.patience);
        let mut take = |record: &Incoming<'_>, _| {
            take(record);
            Ok(())
        };
        match self.carry_out(topic, &mut read, &mut take) {
            Err(ReadError::Client(error)) => return Err(error),
            Err(error @ ReadError::Log(..)) => tracing::debug!(%error, "not all could be read"),
            Ok(()) => {}
        }
        let unfinished = read.unfinished();
        if !unfinished.is_empty() {
            self.let_go();
        }
        Ok(unfinished)
    }

    fn carry_out<E: From<ReadError>>(
        &self,
        topic: &str,
        read: &mut SpanRead,
        take: &mut dyn FnMut(&Incoming<'_>, u64) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut has_taker_stopped = false;
        let mut take = |record: &Incoming<'_>, advanced| {
            take(record, advanced).inspect_err(|_| has_taker_stopped = true)
        };
        let outcome = self.with_consumer(|consumer| {
            let asked = Instant::now();
            self.assign(consumer, topic, read.unread()).map_err(ReadError::from)?;
            read.asked_for(asked.elapsed());
            let outcome = read_assigned(consumer, topic, read, &mut take);
            consumer.unassign().and_then(|()| settle(consumer)).map_err(ReadError::from)?;
            outcome
        });
        // A client that knows a topic by an earlier id may get no record of it ever again.
        if outcome.is_err() && !has_taker_stopped {
            self.let_go();
        }
        outcome
    }

    fn with_consumer<T, E: From<ReadError>>(
        &self,
        ask: impl FnOnce(&BaseConsumer<Quiet>) -> Result<T, E>,
    ) -> Result<T, E> {
        // A panic left a consumer that the next assignment makes as good as new.
        let mut kept = self.consumer.lock().unwrap_or_else(PoisonError::into_inner);
        let consumer = match kept.take() {
            Some(consumer) => consumer,
            None => self.config.create_with_context(Quiet::default()).map_err(ReadError::Client)?,
        };
        ask(kept.insert(consumer))
    }

    fn assign(
        &self,
        consumer: &BaseConsumer<Quiet>,
        topic: &str,
        spans: &[Span],
    ) -> KafkaResult<()> {
        let mut start = TopicPartitionList::with_capacity(spans.len());
        for span in spans {
            let at = KafkaOffset::Offset(span.start.0);
            start.add_partition_offset(topic, span.partition.0, at)?;
        }
        // A client that does not know the topic's leaders yet would look for them a second later.
        consumer.fetch_metadata(Some(topic), self.patience)?;
        consumer.assign(&start)?;
        // It may remember a pause from the last time.
        consumer.resume(&start)
    }

    /// Lets the consumer close itself on a thread of its own: while no broker answers, that takes
    /// minutes.
    fn let_go(&self) {
        let kept = self.consumer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(consumer) = kept {
            std::thread::spawn(move || drop(consumer));
        }
    }
}

fn read_assigned<E: From<ReadError>>(
    consumer: &BaseConsumer<Quiet>,
    topic: &str,
    read: &mut SpanRead,
    take: &mut dyn FnMut(&Incoming<'_>, u64) -> Result<(), E>,
) -> Result<(), E> {
    loop {
        match read.step() {
            ReadStep::Poll => {}
            ReadStep::AskEnds(partition) => {
                let asked = Instant::now();
                let ends = ask_ends(consumer, topic, partition, read.answer_within());
                read.asked_for(asked.elapsed());
                match ends {
                    Ok((low, high)) => read.ends(low, high),
                    Err(error) if read.no_answer() => {
                        tracing::debug!(%error, topic, %partition, "no answer");
                    }
                    Err(error) => return Err(error.into()),
                }
                continue;
            }
            ReadStep::Finished => return Ok(()),
            ReadStep::Failed(why) => return Err(ReadError::Log(topic.to_owned(), why).into()),
        }
        let asked = Instant::now();
        let polled = consumer.poll(POLL_WAIT);
        read.waited(asked.elapsed());
        match polled {
            None => {}
            Some(Ok(message)) => {
                incoming(&message, |record| match read.record(record.partition, record.offset) {
                    Some(advanced) => take(record, advanced),
                    None => Ok(()),
                })?;
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                let at = position(consumer, topic, partition).map_err(ReadError::from)?;
                read.end_of_log(Partition(partition), at);
            }
            Some(Err(KafkaError::MessageConsumption(RDKafkaErrorCode::AutoOffsetReset))) => {
                read.out_of_range();
            }
            // librdkafka reconnects by itself; what matters is whether records still come.
            Some(Err(error)) => {
                tracing::debug!(%error, topic, "the log can't be read yet");
            }
        }
        pause(consumer, topic, &read.take_ended()).map_err(ReadError::from)?;
    }
}

/// Stops fetching partitions that are fully read.
fn pause(consumer: &BaseConsumer<Quiet>, topic: &str, partitions: &[Partition]) -> KafkaResult<()> {
    if partitions.is_empty() {
        return Ok(());
    }
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for partition in partitions {
        list.add_partition(topic, partition.0);
    }
    consumer.pause(&list)
}

fn ask_ends(
    consumer: &BaseConsumer<Quiet>,
    topic: &str,
    partition: Partition,
    within: Duration,
) -> Result<(NextOffset, NextOffset), ReadError> {
    let (low, high) = consumer.fetch_watermarks(topic, partition.0, within)?;
    Ok((NextOffset(low), NextOffset(high)))
}

/// The offset after the last record or marker that the client has passed on since it was assigned
/// the partition, if there was one.
fn position(
    consumer: &BaseConsumer<Quiet>,
    topic: &str,
    partition: i32,
) -> KafkaResult<Option<NextOffset>> {
    let positions = consumer.position()?;
    let found = positions.find_partition(topic, partition).map(|found| found.offset());
    Ok(match found {
        Some(KafkaOffset::Offset(next)) => Some(NextOffset(next)),
        _ => None,
    })
}

impl Drop for LogReader {
    fn drop(&mut self) {
        self.let_go();
    }
}

impl fmt::Debug for LogReader {
    /// Without the configuration, which may hold passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogReader").field("patience", &self.patience).finish_non_exhaustive()
    }
}
