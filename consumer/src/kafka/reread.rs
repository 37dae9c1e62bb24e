//! Records read from the log a second time: those of rows that the database refused, so that each
//! can be applied or set aside alone, and those after a dead letter that is replayed.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use write_behind_shared::kafka::KafkaSettings;
use write_behind_shared::{NextOffset, Partition};

use crate::apply::log::{Log, RereadError, RereadPart, gone};
use crate::core::batch::{Span, WantedKeys};
use crate::core::memory::MemoryLimits;
use crate::core::pipeline::heap_size;
use crate::core::record::{Incoming, RawRecord};
use crate::core::span_read::ReadFailure;
use crate::kafka::client::reader_config;
use crate::kafka::log_reader::{LogReader, PATIENCE, ReadError};
use crate::kafka::reading::fetch_ahead;

/// A log of which a whole range can be read again.
pub trait Scan: Send + Sync + 'static {
    /// The first offset that the log still has. Blocks.
    ///
    /// # Errors
    /// [`RereadError::Unavailable`].
    fn begins(&self, topic: &str, partition: Partition) -> Result<NextOffset, RereadError>;

    /// Calls `take` with every record of `span`, in log order. Blocks.
    ///
    /// # Errors
    /// [`RereadError`], or the first error of `take`, which ends the scan.
    fn scan(
        &self,
        topic: &str,
        span: Span,
        take: &mut dyn FnMut(&Incoming<'_>) -> Result<(), RereadError>,
    ) -> Result<(), RereadError>;
}

/// The limits of reading again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RereadLimits {
    /// The most bytes that the records of one part may occupy, unless it is a single one.
    pub bytes: usize,
    /// The memory of which the client uses its share to fetch ahead.
    pub memory: MemoryLimits,
    /// How long to wait for the next record before the log counts as unavailable.
    pub silence: Duration,
}

impl RereadLimits {
    /// For a command that does nothing else.
    pub const STANDARD: Self =
        Self { bytes: 256 << 20, memory: MemoryLimits(256 << 20), silence: PATIENCE };

    /// For a running consumer, whose memory is shared by `connections` rereads.
    #[must_use]
    pub fn of(memory: MemoryLimits, connections: usize) -> Self {
        Self { bytes: memory.read_again(connections), memory, ..Self::STANDARD }
    }
}

/// The log in Kafka.
pub struct KafkaLog {
    reader: Arc<LogReader>,
    bytes_max: usize,
}

impl KafkaLog {
    /// Reads with the settings of the consumer of `group`.
    pub fn new(settings: &KafkaSettings, group: &str, limits: RereadLimits) -> Self {
        let mut config = reader_config(settings, group);
        fetch_ahead(&mut config, settings, limits.memory, 1);
        let reader = Arc::new(LogReader::new(config, limits.silence));
        Self { reader, bytes_max: limits.bytes }
    }
}

impl Log for KafkaLog {
    async fn records(
        &self,
        topic: Arc<str>,
        spans: Vec<Span>,
        wanted: Arc<WantedKeys>,
    ) -> Result<RereadPart, RereadError> {
        let (reader, bytes_max) = (Arc::clone(&self.reader), self.bytes_max);
        let reading = tokio::task::spawn_blocking(move || {
            wanted_records(&reader, &topic, &spans, &wanted, bytes_max)
        });
        reading.await.map_err(|error| RereadError::Unavailable(error.to_string()))?
    }
}

/// Why a reading ended before its spans did.
enum Ended {
    /// The memory for one part is full.
    Full,
    Failed(ReadError),
}

impl From<ReadError> for Ended {
    fn from(error: ReadError) -> Self {
        Self::Failed(error)
    }
}

/// The first records of the `wanted` keys, as many as fit `bytes_max`. Blocks.
fn wanted_records(
    reader: &LogReader,
    topic: &str,
    spans: &[Span],
    wanted: &WantedKeys,
    bytes_max: usize,
) -> Result<RereadPart, RereadError> {
    let (mut records, mut bytes) = (Vec::new(), 0);
    let mut rest = spans.to_vec();
    let read = reader.read(topic, spans, &mut |record, _| {
        let key = record.key.map(|key| (record.partition, Box::from(key)));
        if key.is_some_and(|key| wanted.contains(&key)) {
            let record = RawRecord::from(record);
            bytes += heap_size::of_record(&record);
            if bytes > bytes_max && !records.is_empty() {
                return Err(Ended::Full);
            }
            records.push(record);
        }
        for span in rest.iter_mut().filter(|span| span.partition == record.partition) {
            span.start = record.offset.next();
        }
        Ok(())
    });
    match read {
        Ok(()) => rest.clear(),
        Err(Ended::Full) => rest.retain(|span| span.start < span.end),
        Err(Ended::Failed(error)) => return Err(error.into()),
    }
    records.sort_by_key(|record: &RawRecord| (record.partition, record.offset));
    Ok(RereadPart { records, rest })
}

impl Scan for KafkaLog {
    fn begins(&self, topic: &str, partition: Partition) -> Result<NextOffset, RereadError> {
        Ok(self.reader.ends(topic, partition)?.0)
    }

    fn scan(
        &self,
        topic: &str,
        span: Span,
        take: &mut dyn FnMut(&Incoming<'_>) -> Result<(), RereadError>,
    ) -> Result<(), RereadError> {
        self.reader.read(topic, &[span], &mut |record, _| take(record))
    }
}

impl fmt::Debug for KafkaLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaLog").field("reader", &self.reader).finish_non_exhaustive()
    }
}

impl From<ReadError> for RereadError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Log(topic, ReadFailure::Gone) => gone(&topic),
            other => RereadError::Unavailable(other.to_string()),
        }
    }
}
