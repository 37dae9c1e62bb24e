//! To Kafka: takes records in the order of their tickets, gives Kafka's answers to the lanes.
//!
//! Enqueueing is synchronous and names the partition, so that whoever calls it under a lane's lock
//! decides the order of the log; `FutureProducer::send`, which retries out of order when the queue
//! is full, is never used. One thread of our own polls for answers.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle, park_timeout};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext, PurgeConfig};
use tracing::{debug, error, info, warn};
use uuid::Uuid;
use write_behind_shared::kafka::KafkaSettings;
use write_behind_shared::record::{ADD, WRITE_ID};
use write_behind_shared::{Partition, WriteId};

use crate::encode::Prepared;
use crate::error::{BuildError, Full, Halt, Refusal, WriteError};
use crate::lanes::Lanes;
use crate::ledger::{Loss, Ticket};
use crate::metrics::Metrics;

/// The Kafka client of one handle.
pub(crate) struct Publisher {
    producer: BaseProducer<Answers>,
    topic: String,
    writer: Uuid,
}

/// What librdkafka calls back with.
struct Answers {
    lanes: Arc<Lanes>,
    metrics: Arc<Metrics>,
    /// How many answers came.
    count: AtomicU64,
    /// Answers that the lanes have not been told yet. Only the polling thread takes this lock.
    gathered: Mutex<Gathered>,
}

/// Answers for one partition, so that its lane is locked once for many.
#[derive(Default)]
struct Gathered {
    partition: i32,
    answers: Vec<(usize, Result<i64, Loss>)>,
}

/// The thread that polls for answers.
#[derive(Debug)]
pub(crate) struct Polling {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

/// How long the thread blocks in a poll when no answers have come lately. A poll spins for the last
/// part of a millisecond of its time, because librdkafka counts in whole ones, so it is not short.
const IDLE_POLL: Duration = Duration::from_millis(50);
/// How long answers are left to gather while they keep coming. It bounds how late waiters learn of
/// their watermark under load.
const GATHER: Duration = Duration::from_millis(1);
/// How often the metrics are brought up to date.
const METRICS_INTERVAL: Duration = Duration::from_millis(100);
/// Polls of one turn at most, so that whoever waits is told however many answers keep coming.
const POLLS_OF_A_TURN: usize = 64;
/// Answers gathered at most, so that no lane is locked for long.
const GATHERED_MAX: usize = 256;
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

impl Publisher {
    /// Makes a client whose answers go to `lanes`.
    pub(crate) fn new(
        settings: &KafkaSettings,
        topic: &str,
        lanes: Arc<Lanes>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, BuildError> {
        let mut config = ClientConfig::new();
        let own = DEFAULTS.iter().copied();
        for (name, value) in own.chain(settings.iter()).chain(FIXED.iter().copied()) {
            config.set(name, value);
        }
        let producer = config.create_with_context(Answers {
            lanes,
            metrics,
            count: AtomicU64::new(0),
            gathered: Mutex::default(),
        });
        let producer = producer.map_err(|error| BuildError::Client(error.to_string()))?;
        Ok(Self { producer, topic: topic.to_owned(), writer: Uuid::new_v4() })
    }

    /// Hands a write to librdkafka, to be sent as the record of this ticket. Never blocks.
    pub(crate) fn enqueue(&self, write: &Prepared, ticket: Ticket) -> Result<(), WriteError> {
        let write_id = WriteId { writer: self.writer, sequence: ticket }.encode();
        let mut headers = OwnedHeaders::new_with_capacity(2)
            .insert(Header { key: WRITE_ID, value: Some(&write_id) });
        if let Some(add) = &write.add {
            headers = headers.insert(Header { key: ADD, value: Some(add) });
        }
        let record = BaseRecord {
            topic: &self.topic,
            partition: Some(write.partition.0),
            payload: write.value.as_deref(),
            key: Some(&*write.key),
            timestamp: None,
            headers: Some(headers),
            delivery_opaque: ticket as usize,
        };
        self.producer.send(record).map_err(|(error, _)| self.refusal(&error, write))
    }

    fn refusal(&self, error: &KafkaError, write: &Prepared) -> WriteError {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::QueueFull) => WriteError::Overloaded(Full::Queue),
            Some(RDKafkaErrorCode::MessageSizeTooLarge) => {
                let bytes = write.key.len() + write.value.as_ref().map_or(0, |value| value.len());
                WriteError::Refused(Refusal::TooLarge { bytes, limit: bytes - 1 })
            }
            Some(RDKafkaErrorCode::Fatal) => {
                let reason = self.producer.client().fatal_error();
                let reason = reason.map_or_else(|| error.to_string(), |(_, reason)| reason);
                WriteError::Halted(Halt::Fatal(reason.into()))
            }
            _ => WriteError::Refused(Refusal::Record(error.to_string())),
        }
    }

    /// Polls for answers on a thread of its own, until it is stopped or `self` has no other owner.
    pub(crate) fn poll_on_a_thread(self: &Arc<Self>) -> Result<Polling, BuildError> {
        let stop = Arc::new(AtomicBool::new(false));
        let (publisher, stopped) = (Arc::clone(self), Arc::clone(&stop));
        let builder = Builder::new().name("write-behind-publish".to_owned());
        let thread = builder.spawn(move || publisher.poll_until(&stopped))?;
        Ok(Polling { stop, thread })
    }

    fn poll_until(&self, stopped: &AtomicBool) {
        let Answers { lanes, metrics, .. } = &**self.producer.context();
        let (mut measured, mut idle) = (Instant::now(), true);
        while !stopped.load(Ordering::Acquire) {
            self.poll_once(&mut idle);
            self.producer.context().tell_lanes();
            lanes.turn_ends();
            self.notice_fatal_error();
            if measured.elapsed() >= METRICS_INTERVAL {
                measured = Instant::now();
                metrics.measured(&lanes.glance(measured));
            }
        }
        // What is still here can't be waited for any longer. The reports of what is purged tell
        // each of those writes so.
        lanes.stop_intake();
        self.producer.purge(PurgeConfig::default().queue().inflight());
        let undelivered = lanes.glance(Instant::now()).in_flight;
        if undelivered > 0 {
            warn!(
                topic = self.topic,
                undelivered, "closed with writes that kafka has not answered"
            );
        }
        if let Err(error) = self.producer.flush(PURGE_TIMEOUT) {
            debug!(%error, "purged records were not all reported");
        }
        self.producer.context().tell_lanes();
        lanes.close();
        metrics.measured(&lanes.glance(Instant::now()));
    }

    /// One turn: blocks when idle; otherwise takes what there is and lets more gather.
    fn poll_once(&self, idle: &mut bool) {
        let answers = || self.producer.context().count.load(Ordering::Relaxed);
        let before = answers();
        if *idle {
            self.producer.poll(IDLE_POLL);
        } else {
            for _ in 0..POLLS_OF_A_TURN {
                let before = answers();
                self.producer.poll(Duration::ZERO);
                if answers() == before {
                    break;
                }
            }
            park_timeout(GATHER);
        }
        let waited_for = self.lanes().line.length.load(Ordering::Acquire) > 0;
        *idle = answers() == before && !waited_for;
    }

    /// The error event of a fatal error does not say that it is fatal, so the client is asked.
    fn notice_fatal_error(&self) {
        if self.lanes().halt.get().is_none()
            && let Some((code, reason)) = self.producer.client().fatal_error()
        {
            error!(topic = self.topic, %code, reason, "the kafka client failed for good");
            self.lanes().halt(Halt::Fatal(reason.into()));
        }
    }

    fn lanes(&self) -> &Lanes {
        &self.producer.context().lanes
    }
}

impl Polling {
    /// Ends the thread soon; writes that Kafka has not answered are given up.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    /// Waits for the thread. Blocks.
    pub(crate) fn join(self) {
        self.stop();
        if self.thread.join().is_err() {
            error!("the polling thread panicked");
        }
    }
}

impl ProducerContext for Answers {
    /// The ticket, or on a 32-bit machine its low half: enough to tell writes in flight apart.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, low_bits: usize) {
        self.count.fetch_add(1, Ordering::Relaxed);
        let (partition, at) = match result {
            Ok(message) => (message.partition(), Ok(message.offset())),
            Err((error, message)) => {
                self.metrics.lost();
                (message.partition(), Err(loss(error)))
            }
        };
        let mut gathered = self.gathered.lock().unwrap_or_else(PoisonError::into_inner);
        if gathered.partition != partition || gathered.answers.len() >= GATHERED_MAX {
            gathered.tell(&self.lanes);
            gathered.partition = partition;
        }
        gathered.answers.push((low_bits, at));
    }
}

impl Answers {
    /// Tells the lanes what came; nothing is gathered afterwards.
    fn tell_lanes(&self) {
        let mut gathered = self.gathered.lock().unwrap_or_else(PoisonError::into_inner);
        gathered.tell(&self.lanes);
    }
}

impl Gathered {
    fn tell(&mut self, lanes: &Lanes) {
        if !self.answers.is_empty() {
            lanes.answered(Partition(self.partition), self.answers.drain(..));
        }
    }
}

/// Whether a record that was reported with `error` may be in the log. Only what a broker refuses,
/// or what could never be sent to one, is certain not to be.
fn loss(error: &KafkaError) -> Loss {
    use RDKafkaErrorCode::{
        ClusterAuthorizationFailed, InvalidRecord, InvalidTopic, MessageSizeTooLarge,
        PolicyViolation, TopicAuthorizationFailed, UnknownPartition, UnknownTopic,
        UnknownTopicOrPartition,
    };
    let reason = error.to_string().into();
    match error.rdkafka_error_code() {
        Some(
            MessageSizeTooLarge
            | InvalidRecord
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

impl ClientContext for Answers {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.metrics.client_error();
        warn!(%error, reason, "kafka client");
    }
}

/// librdkafka's own log lines.
pub(crate) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg
        | RDKafkaLogLevel::Alert
        | RDKafkaLogLevel::Critical
        | RDKafkaLogLevel::Error => error!(target: "librdkafka", facility, "{message}"),
        RDKafkaLogLevel::Warning => warn!(target: "librdkafka", facility, "{message}"),
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
            info!(target: "librdkafka", facility, "{message}");
        }
        RDKafkaLogLevel::Debug => debug!(target: "librdkafka", facility, "{message}"),
    }
}

impl std::fmt::Debug for Publisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Publisher").field("topic", &self.topic).finish_non_exhaustive()
    }
}
