//! Reads some rows' records again from the log: those of rows that the database refused as a whole,
//! so that each can be applied or set aside alone.
//!
//! A consumer of its own, which joins no group and commits nothing. It is a rare event, and must
//! not disturb the one that polls. The consumer is made when it is first needed and then kept:
//! closing one can take minutes while no broker answers.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::{Offset as KafkaOffset, TopicPartitionList};
use write_behind_shared::kafka::KafkaSettings;
use write_behind_shared::{NextOffset, Offset, Partition};

use crate::apply::log::{Log, RereadError, gone};
use crate::config::memory::MemoryLimits;
use crate::core::batch::{Span, WantedKeys};
use crate::core::pipeline::heap_size;
use crate::core::record::{Incoming, RawRecord};
use crate::kafka::client::reader_config;
use crate::kafka::reading::fetch_ahead;

/// A log of which a range can be read again whole.
pub trait Scan: Send + Sync + 'static {
    /// The first offset that it still has. Blocks.
    fn begins(&self, topic: &str, partition: Partition) -> Result<NextOffset, RereadError>;

    /// Hands every record of `span` to `take`, in log order. Blocks. An error of `take` ends it.
    fn scan(
        &self,
        topic: &str,
        span: Span,
        take: &mut dyn FnMut(&Incoming<'_>) -> Result<(), RereadError>,
    ) -> Result<(), RereadError>;
}

/// What takes a record that was read.
type Take<'a> = &'a mut dyn FnMut(&BorrowedMessage<'_>) -> Result<(), RereadError>;

/// The limits of reading again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RereadLimits {
    /// What the records may take at most, in bytes; each connection has so much.
    pub bytes: usize,
    /// The memory of which the client fetches ahead its share.
    pub memory: MemoryLimits,
    /// How long to wait for the next record before the log counts as unavailable.
    pub silence: Duration,
}

impl RereadLimits {
    /// What suits a command that does nothing else.
    pub const STANDARD: Self = Self {
        bytes: 256 << 20,
        memory: MemoryLimits(256 << 20),
        silence: Duration::from_secs(30),
    };

    /// What suits a running consumer, where `connections` share the memory.
    #[must_use]
    pub fn of(memory: MemoryLimits, connections: usize) -> Self {
        let bytes = memory.read_again(connections);
        Self { bytes, memory, silence: Duration::from_secs(30) }
    }
}

/// The log in Kafka.
pub struct KafkaLog {
    config: ClientConfig,
    limits: RereadLimits,
    consumer: Mutex<Option<BaseConsumer>>,
}

impl KafkaLog {
    /// Reads with the settings of the consumer of `group`.
    pub fn new(settings: &KafkaSettings, group: &str, limits: RereadLimits) -> Self {
        let mut config = reader_config(settings, group);
        config.set("enable.partition.eof", "true");
        fetch_ahead(&mut config, settings, limits.memory);
        Self { config, limits, consumer: Mutex::new(None) }
    }
}

impl Log for KafkaLog {
    fn records(
        &self,
        topic: &str,
        spans: &[Span],
        wanted: &WantedKeys,
    ) -> Result<Vec<RawRecord>, RereadError> {
        self.with_consumer(|consumer| {
            let mut kept = Collected::new(self.limits.bytes);
            let read = self.read(consumer, topic, spans, &mut |message| kept.take(message, wanted));
            consumer.unassign().map_err(|error| unavailable(&error))?;
            read?;
            kept.records.sort_by_key(|record| (record.partition, record.offset));
            Ok(kept.records)
        })
    }
}

impl Scan for KafkaLog {
    fn begins(&self, topic: &str, partition: Partition) -> Result<NextOffset, RereadError> {
        self.with_consumer(|consumer| {
            let found = consumer.fetch_watermarks(topic, partition.0, self.limits.silence);
            found.map(|(low, _)| NextOffset(low)).map_err(|error| unavailable(&error))
        })
    }

    fn scan(
        &self,
        topic: &str,
        span: Span,
        take: &mut dyn FnMut(&Incoming<'_>) -> Result<(), RereadError>,
    ) -> Result<(), RereadError> {
        let mut take = |message: &BorrowedMessage<'_>| {
            let headers: Vec<(&str, Option<&[u8]>)> =
                message.headers().map_or(Vec::new(), |headers| {
                    headers.iter().map(|header| (header.key, header.value)).collect()
                });
            take(&Incoming {
                partition: Partition(message.partition()),
                offset: Offset(message.offset()),
                timestamp: message.timestamp().to_millis(),
                key: message.key(),
                value: message.payload(),
                headers: &headers,
            })
        };
        self.with_consumer(|consumer| {
            let read = self.read(consumer, topic, &[span], &mut take);
            consumer.unassign().map_err(|error| unavailable(&error))?;
            read
        })
    }
}

impl KafkaLog {
    fn with_consumer<T>(
        &self,
        ask: impl FnOnce(&BaseConsumer) -> Result<T, RereadError>,
    ) -> Result<T, RereadError> {
        // Whoever panicked left a consumer that the next assignment makes as good as new.
        let mut kept = self.consumer.lock().unwrap_or_else(PoisonError::into_inner);
        let consumer = match kept.take() {
            Some(consumer) => consumer,
            None => self.config.create().map_err(|error| unavailable(&error))?,
        };
        ask(kept.insert(consumer))
    }

    /// Reads `spans`, and hands every record of them on.
    fn read(
        &self,
        consumer: &BaseConsumer,
        topic: &str,
        spans: &[Span],
        take: Take<'_>,
    ) -> Result<(), RereadError> {
        let mut start = TopicPartitionList::new();
        for span in spans {
            let at = KafkaOffset::Offset(span.start.0);
            let added = start.add_partition_offset(topic, span.partition.0, at);
            added.map_err(|error| unavailable(&error))?;
        }
        // A client that does not know the topic's leaders yet would look for them a second later.
        let found = consumer.fetch_metadata(Some(topic), self.limits.silence);
        found.map_err(|error| unavailable(&error))?;
        for span in spans {
            self.reaches_its_end(consumer, topic, span)?;
        }
        consumer.assign(&start).map_err(|error| unavailable(&error))?;
        let mut unfinished: Vec<_> =
            spans.iter().copied().filter(|span| span.start < span.end).collect();
        let mut last_heard = Instant::now();
        while !unfinished.is_empty() {
            if last_heard.elapsed() > self.limits.silence {
                let silence = self.limits.silence;
                return Err(RereadError::Unavailable(format!("no answer within {silence:?}")));
            }
            let finished = match consumer.poll(Duration::from_millis(100)) {
                None => continue,
                Some(Ok(message)) => within(&unfinished, &message, take)?,
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    let partition = Partition(partition);
                    let early = unfinished.iter().find(|span| span.partition == partition);
                    if let Some(span) = early {
                        self.reaches_its_end(consumer, topic, span)?;
                    }
                    Some(partition)
                }
                Some(Err(KafkaError::MessageConsumption(RDKafkaErrorCode::AutoOffsetReset))) => {
                    return Err(gone(topic));
                }
                // librdkafka reconnects by itself; what matters is whether records still come.
                Some(Err(error)) => {
                    tracing::debug!(%error, topic, "the log can't be read again yet");
                    continue;
                }
            };
            last_heard = Instant::now();
            if let Some(partition) = finished {
                // It is not paused: the next assignment of this consumer would find it so.
                unfinished.retain(|span| span.partition != partition);
            }
        }
        Ok(())
    }

    /// Whether the log shows all of the span. A leader that was just elected may show less for a
    /// moment, and its end of the log is then not the end of the span: records would be missed.
    /// (The last offsets of a span may be a transaction's markers, so records alone can't tell.)
    fn reaches_its_end(
        &self,
        consumer: &BaseConsumer,
        topic: &str,
        span: &Span,
    ) -> Result<(), RereadError> {
        let found = consumer.fetch_watermarks(topic, span.partition.0, self.limits.silence);
        let (low, high) = found.map_err(|error| unavailable(&error))?;
        if !(low..=high).contains(&span.start.0) {
            return Err(gone(topic));
        }
        if NextOffset(high) >= span.end {
            return Ok(());
        }
        let (partition, end) = (span.partition, span.end);
        let why = format!("partition {partition} of {topic} ends at {high}, before {end}");
        Err(RereadError::Unavailable(why))
    }
}

impl Drop for KafkaLog {
    /// Lets the consumer close itself, without waiting for it.
    fn drop(&mut self) {
        let kept = self.consumer.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        std::thread::spawn(move || drop(kept));
    }
}

impl fmt::Debug for KafkaLog {
    /// Without the configuration, which may hold passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaLog").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// Hands a record on that is in a span. Says which partition is finished with it.
fn within(
    unfinished: &[Span],
    message: &BorrowedMessage<'_>,
    take: Take<'_>,
) -> Result<Option<Partition>, RereadError> {
    let (partition, offset) = (Partition(message.partition()), Offset(message.offset()));
    let Some(span) = unfinished.iter().find(|span| span.partition == partition) else {
        return Ok(None);
    };
    if span.end.is_past(offset) {
        take(message)?;
    }
    Ok((offset.next() >= span.end).then_some(partition))
}

/// The records that were wanted, as far as they were read.
struct Collected {
    records: Vec<RawRecord>,
    bytes: usize,
    bytes_max: usize,
}

impl Collected {
    fn new(bytes_max: usize) -> Self {
        Self { records: Vec::new(), bytes: 0, bytes_max }
    }

    fn take(
        &mut self,
        message: &BorrowedMessage<'_>,
        wanted: &WantedKeys,
    ) -> Result<(), RereadError> {
        let partition = Partition(message.partition());
        let key: Option<Box<[u8]>> = message.key().map(Into::into);
        if key.as_ref().is_some_and(|key| wanted.contains(&(partition, key.clone()))) {
            let record = raw(message, key);
            self.bytes += heap_size::of_record(&record);
            if self.bytes > self.bytes_max {
                return Err(RereadError::Stop(format!(
                    "the records of a row that the database refuses take more than {} bytes of \
                     memory; close batches earlier (`max_age`, `max_bytes`)",
                    self.bytes_max
                )));
            }
            self.records.push(record);
        }
        Ok(())
    }
}

fn raw(message: &BorrowedMessage<'_>, key: Option<Box<[u8]>>) -> RawRecord {
    let headers = message.headers().map_or(Vec::new(), |headers| {
        let owned = |value: Option<&[u8]>| value.map(Into::into);
        headers.iter().map(|header| (header.key.to_owned(), owned(header.value))).collect()
    });
    RawRecord {
        partition: Partition(message.partition()),
        offset: Offset(message.offset()),
        key,
        value: message.payload().map(Into::into),
        headers,
    }
}

fn unavailable(error: &KafkaError) -> RereadError {
    RereadError::Unavailable(error.to_string())
}
