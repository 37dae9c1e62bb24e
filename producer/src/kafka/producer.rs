//! Kafka's producer: records go out in the order of their sequences, and delivery reports come
//! back.
//!
//! Enqueueing is synchronous and names the partition, so that the caller, under the partition's
//! lock, decides the order of the log; `FutureProducer::send`, which retries out of order when the
//! queue is full, is never used.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext, PurgeConfig};
use tracing::{debug, warn};
use write_behind_shared::kafka::KafkaSettings;
use write_behind_shared::record::{ADD, WRITE_ID};
use write_behind_shared::{Partition, WriteId};

use crate::core::ledger::{HANDLE_BITS, LOW_BITS, Loss};
use crate::error::{BuildError, Refusal};
use crate::kafka::producer_client::{DeliveryReport, ProducerClient, ReportListener};
use crate::kafka::settings::{client_refused, log};
use crate::partitions::outlet::{Content, NotTaken, Outlet};

/// One life of a librdkafka producer.
pub(crate) struct KafkaProducer {
    client: BaseProducer<DeliveryReports>,
}

/// A client as the way of one handle's records to its topic.
#[derive(Debug)]
struct TopicOutlet {
    producer: Arc<KafkaProducer>,
    topic: Arc<str>,
    /// The handle's place among those that share the client.
    place: usize,
}

/// What librdkafka calls back with.
struct DeliveryReports {
    listener: Arc<dyn ReportListener>,
    /// How many answers came.
    count: AtomicU64,
    /// The polling thread waits for answers, so each is told at once.
    waited_for: AtomicBool,
    /// Its errors say nothing any more: what it had not delivered is sent again by another.
    replaced: AtomicBool,
    /// Reports that the handles have not been told yet. Only the polling thread takes this lock.
    gathered: Mutex<ReportBatch>,
    /// Reports in a batch at most, so that no partition is locked for long.
    batch_max: usize,
}

/// Reports for one partition, so that it is locked once for many.
#[derive(Default)]
struct ReportBatch {
    place: usize,
    partition: i32,
    answers: Vec<DeliveryReport>,
    /// Writes whose outcome is unknown: whether that is so is decided at the end of the turn.
    unknown: Vec<(usize, i32, usize, Loss)>,
}

/// How long the reports of purged records may take.
const PURGE_TIMEOUT: Duration = Duration::from_millis(500);

/// Ours, unless the user sets them: small batches leave early, and the queue is bounded by what a
/// service can spare, not by librdkafka's gigabyte.
const DEFAULTS: &[(&str, &str)] = &[
    ("linger.ms", "5"),
    ("queue.buffering.max.messages", "200000"),
    ("queue.buffering.max.kbytes", "131072"),
];
/// Ours, always; `RESERVED_BY_PRODUCER` says why.
const FIXED: &[(&str, &str)] = &[
    ("enable.idempotence", "true"),
    ("acks", "all"),
    ("message.timeout.ms", "0"),
    ("allow.auto.create.topics", "false"),
];

/// librdkafka's default of `message.max.bytes`.
const RECORD_BYTES_MAX: usize = 1_000_000;

/// The largest record that the client will take.
pub(crate) fn record_bytes_max(settings: &KafkaSettings) -> usize {
    let set = settings.get("message.max.bytes").and_then(|bytes| bytes.trim().parse().ok());
    set.unwrap_or(RECORD_BYTES_MAX)
}

impl KafkaProducer {
    /// A new client. `batch_max`: delivery reports told at once.
    pub(crate) fn new(
        settings: &KafkaSettings,
        listener: Arc<dyn ReportListener>,
        batch_max: usize,
    ) -> Result<Self, BuildError> {
        let config: ClientConfig = settings.with(DEFAULTS, FIXED).collect();
        let client = config.create_with_context(DeliveryReports {
            listener,
            count: AtomicU64::new(0),
            waited_for: AtomicBool::new(false),
            replaced: AtomicBool::new(false),
            gathered: Mutex::default(),
            batch_max,
        });
        let client = client.map_err(|error| client_refused(&error))?;
        Ok(Self { client })
    }
}

impl ProducerClient for KafkaProducer {
    fn outlet(self: Arc<Self>, topic: Arc<str>, place: usize) -> Arc<dyn Outlet> {
        Arc::new(TopicOutlet { producer: self, topic, place })
    }

    fn poll(&self, wait: Duration) -> bool {
        let answers = || self.client.context().count.load(Ordering::Relaxed);
        let before = answers();
        // A poll takes all of its time, also when an answer has come.
        self.client.context().waited_for.store(!wait.is_zero(), Ordering::Relaxed);
        self.client.poll(wait);
        answers() != before
    }

    fn tell_handles(&self) {
        let context = self.client.context();
        let mut gathered = context.lock();
        gathered.tell(&*context.listener);
        if !gathered.unknown.is_empty() {
            // Only now: librdkafka reports what a fatal error cut off before it says that it is fatal.
            // Told at once, a write that is sent again would count as lost.
            let resent = context.replaced.load(Ordering::Acquire) || self.fatal_error().is_some();
            for (place, partition, low_bits, loss) in std::mem::take(&mut gathered.unknown) {
                if !resent {
                    let mut answers = vec![(low_bits, Err(loss))];
                    context.listener.answered(place, Partition(partition), &mut answers);
                }
            }
        }
    }

    fn fatal_error(&self) -> Option<Arc<str>> {
        // The error event of a fatal error does not say that it is fatal, so the client is asked.
        self.client.client().fatal_error().map(|(_, reason)| reason.into())
    }

    fn end(&self, replaced: bool) {
        // Before the purge, whose reports must not tell of a loss what another client sends again.
        self.client.context().replaced.store(replaced, Ordering::Release);
        self.client.purge(PurgeConfig::default().queue().inflight());
        if let Err(error) = self.client.flush(PURGE_TIMEOUT) {
            debug!(%error, "purged records were not all reported");
        }
        self.tell_handles();
    }
}

impl Outlet for TopicOutlet {
    fn enqueue(
        &self,
        partition: Partition,
        write_id: WriteId,
        content: Content<'_>,
    ) -> Result<(), NotTaken> {
        let sequence = write_id.sequence as usize & LOW_BITS;
        let write_id = write_id.encode();
        let mut headers = OwnedHeaders::new_with_capacity(2)
            .insert(Header { key: WRITE_ID, value: Some(&write_id) });
        if let Some(add) = content.add {
            headers = headers.insert(Header { key: ADD, value: Some(add) });
        }
        let record = BaseRecord {
            topic: &self.topic,
            partition: Some(partition.0),
            payload: content.value,
            key: Some(content.key),
            timestamp: None,
            headers: Some(headers),
            delivery_opaque: self.place << (usize::BITS - HANDLE_BITS) | sequence,
        };
        self.producer.client.send(record).map_err(|(error, _)| not_taken(&error, content))
    }
}

fn not_taken(error: &KafkaError, content: Content<'_>) -> NotTaken {
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::QueueFull | RDKafkaErrorCode::Fatal) => NotTaken::Yet,
        Some(RDKafkaErrorCode::MessageSizeTooLarge) => {
            let bytes = content.key.len() + content.value.map_or(0, <[u8]>::len);
            NotTaken::Refused(Refusal::TooLarge { bytes, limit: bytes - 1 })
        }
        _ => NotTaken::Refused(Refusal::Record(error.to_string())),
    }
}

impl ProducerContext for DeliveryReports {
    /// The handle's place and the sequence, as far as it fits: enough to tell writes in flight
    /// apart.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, opaque: usize) {
        self.count.fetch_add(1, Ordering::Relaxed);
        let (place, low_bits) = (opaque >> (usize::BITS - HANDLE_BITS), opaque & LOW_BITS);
        let (partition, at) = match result {
            Ok(message) => (message.partition(), Ok(message.offset())),
            Err((error, message)) => (message.partition(), Err(loss(error))),
        };
        let mut gathered = self.lock();
        let same = (gathered.place, gathered.partition) == (place, partition);
        if !same || gathered.answers.len() >= self.batch_max {
            gathered.tell(&*self.listener);
            (gathered.place, gathered.partition) = (place, partition);
        }
        match at {
            Err(loss @ Loss::Unknown(_)) => {
                gathered.unknown.push((place, partition, low_bits, loss));
            }
            at => gathered.answers.push((low_bits, at)),
        }
        if self.waited_for.load(Ordering::Relaxed) {
            gathered.tell(&*self.listener);
            self.listener.notify_waiters(place, Partition(partition));
        }
    }
}

impl DeliveryReports {
    fn lock(&self) -> std::sync::MutexGuard<'_, ReportBatch> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ReportBatch {
    /// Tells the handle what came; the batch is empty afterwards.
    fn tell(&mut self, listener: &dyn ReportListener) {
        if !self.answers.is_empty() {
            listener.answered(self.place, Partition(self.partition), &mut self.answers);
        }
    }
}

/// Whether a record that was reported with `error` may be in the log. Only what a broker refuses,
/// or what could never be sent to one, is certain not to be.
fn loss(error: &KafkaError) -> Loss {
    use RDKafkaErrorCode::{
        ClusterAuthorizationFailed, InvalidRecord, InvalidTimestamp, InvalidTopic,
        MessageBatchTooLarge, MessageSizeTooLarge, PolicyViolation, TopicAuthorizationFailed,
        UnknownPartition, UnknownTopic, UnknownTopicOrPartition, UnsupportedCompressionType,
    };
    let reason = error.to_string().into();
    match error.rdkafka_error_code() {
        Some(
            MessageSizeTooLarge
            | MessageBatchTooLarge
            | InvalidRecord
            | InvalidTimestamp
            | UnsupportedCompressionType
            | InvalidTopic
            | PolicyViolation
            | UnknownTopic
            | UnknownPartition
            | UnknownTopicOrPartition
            | TopicAuthorizationFailed
            | ClusterAuthorizationFailed,
        ) => Loss::Failed(reason),
        _ => Loss::Unknown(reason),
    }
}

impl ClientContext for DeliveryReports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.listener.client_error();
        warn!(%error, reason, "kafka client");
    }
}

impl std::fmt::Debug for KafkaProducer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaProducer").field("failed", &self.fatal_error()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_broker_refuses_for_what_it_is_has_certainly_failed_and_silence_has_not() {
        use RDKafkaErrorCode as Code;
        let loss = |code| loss(&KafkaError::MessageProduction(code));
        for refused in [
            Code::MessageSizeTooLarge,
            Code::MessageBatchTooLarge,
            Code::InvalidRecord,
            Code::InvalidTimestamp,
            Code::UnsupportedCompressionType,
        ] {
            assert!(matches!(loss(refused), Loss::Failed(_)), "{refused}");
        }
        for silent in [Code::PurgeInflight, Code::RequestTimedOut, Code::NotEnoughReplicas] {
            assert!(matches!(loss(silent), Loss::Unknown(_)), "{silent}");
        }
    }
}
