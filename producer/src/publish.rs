//! To Kafka: takes records in the order of their tickets, gives Kafka's answers to the lanes.
//!
//! Enqueueing is synchronous and names the partition, so that whoever calls it under a lane's lock
//! decides the order of the log; `FutureProducer::send`, which retries out of order when the queue
//! is full, is never used.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext, PurgeConfig};
use tracing::{debug, error, info, warn};
use write_behind_shared::kafka::KafkaSettings;
use write_behind_shared::record::{ADD, WRITE_ID};
use write_behind_shared::{Partition, WriteId};

use crate::client::{Member, Members};
use crate::error::{BuildError, Refusal};
use crate::lane::State;
use crate::ledger::{HANDLE_BITS, LOW_BITS, Loss, Ticket};

/// One life of a Kafka client: until it fails for good or is closed.
pub(crate) struct Link {
    producer: BaseProducer<Answers>,
}

/// Where a handle's records go, and whose they are.
#[derive(Debug)]
pub(crate) struct Address {
    pub(crate) topic: String,
    /// The handle's place among those that share the client.
    pub(crate) place: usize,
}

/// A record's content.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Content<'r> {
    pub(crate) key: &'r [u8],
    /// `None`: a tombstone.
    pub(crate) value: Option<&'r [u8]>,
    pub(crate) add: Option<&'r str>,
}

/// Why the client did not take a record.
#[derive(Debug)]
pub(crate) enum NotTaken {
    /// Not now: its queue is full, or it failed for good and is to be replaced.
    Yet,
    /// Never.
    Refused(Refusal),
}

/// What librdkafka calls back with.
struct Answers {
    members: Arc<Members>,
    /// How many answers came.
    count: AtomicU64,
    /// The polling thread waits for answers, so each is told at once.
    waited_for: AtomicBool,
    /// Its errors say nothing any more: what it had not delivered is sent again by another.
    replaced: AtomicBool,
    /// Answers that the lanes have not been told yet. Only the polling thread takes this lock.
    gathered: Mutex<Gathered>,
}

/// Answers for one partition, so that its lane is locked once for many.
#[derive(Default)]
struct Gathered {
    place: usize,
    partition: i32,
    answers: Vec<(usize, Result<i64, Loss>)>,
    /// Writes whose outcome is unknown: whether that is so is decided at the end of the turn.
    unknown: Vec<(usize, i32, usize, Loss)>,
}

/// Answers gathered at most, so that no lane is locked for long.
const GATHERED_MAX: usize = 256;
/// Records handed over under one lock at most.
const HANDED_AT_ONCE: usize = 256;
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

impl Link {
    /// A new client.
    pub(crate) fn new(settings: &KafkaSettings, members: Arc<Members>) -> Result<Self, BuildError> {
        let mut config = ClientConfig::new();
        let own = DEFAULTS.iter().copied();
        for (name, value) in own.chain(settings.iter()).chain(FIXED.iter().copied()) {
            config.set(name, value);
        }
        let producer = config.create_with_context(Answers {
            members,
            count: AtomicU64::new(0),
            waited_for: AtomicBool::new(false),
            replaced: AtomicBool::new(false),
            gathered: Mutex::default(),
        });
        let producer = producer.map_err(|error| BuildError::Client(error.to_string()))?;
        Ok(Self { producer })
    }

    /// Hands a record to librdkafka, to be sent under this `write-id`. Never blocks.
    pub(crate) fn enqueue(
        &self,
        to: &Address,
        partition: Partition,
        write_id: WriteId,
        content: Content<'_>,
    ) -> Result<(), NotTaken> {
        let ticket = write_id.sequence as usize & LOW_BITS;
        let write_id = write_id.encode();
        let mut headers = OwnedHeaders::new_with_capacity(2)
            .insert(Header { key: WRITE_ID, value: Some(&write_id) });
        if let Some(add) = content.add {
            headers = headers.insert(Header { key: ADD, value: Some(add) });
        }
        let record = BaseRecord {
            topic: &to.topic,
            partition: Some(partition.0),
            payload: content.value,
            key: Some(content.key),
            timestamp: None,
            headers: Some(headers),
            delivery_opaque: to.place << (usize::BITS - HANDLE_BITS) | ticket,
        };
        self.producer.send(record).map_err(|(error, _)| not_taken(&error, content))
    }

    /// Takes what answers there are, or waits for one for up to `wait`. Says whether there were any.
    pub(crate) fn poll(&self, wait: Duration) -> bool {
        let answers = || self.producer.context().count.load(Ordering::Relaxed);
        let before = answers();
        // A poll takes all of its time, also when an answer has come.
        self.producer.context().waited_for.store(!wait.is_zero(), Ordering::Relaxed);
        self.producer.poll(wait);
        answers() != before
    }

    /// Tells the lanes what came. Once the client has failed for good, what it could not deliver is
    /// to be sent again, so it is not lost.
    pub(crate) fn tell_lanes(&self) {
        let context = self.producer.context();
        let mut gathered = context.lock();
        gathered.tell(&context.members);
        if !gathered.unknown.is_empty() {
            let resent = context.replaced.load(Ordering::Acquire) || self.fatal_error().is_some();
            for (place, partition, low_bits, loss) in std::mem::take(&mut gathered.unknown) {
                if !resent && let Some(member) = context.members.at(place) {
                    member.metrics.lost();
                    let answer = std::iter::once((low_bits, Err(loss)));
                    member.lanes.answered(Partition(partition), answer);
                }
            }
        }
    }

    /// Why the client failed for good. The error event of a fatal error does not say that it is
    /// fatal, so the client is asked.
    pub(crate) fn fatal_error(&self) -> Option<Arc<str>> {
        self.producer.client().fatal_error().map(|(_, reason)| reason.into())
    }

    /// Ends the client, and takes the answers it still has. `replaced`: what it has not delivered
    /// will be sent by another; otherwise each such write is told that it is not known.
    pub(crate) fn end(&self, replaced: bool) {
        self.producer.context().replaced.store(replaced, Ordering::Release);
        self.producer.purge(PurgeConfig::default().queue().inflight());
        if let Err(error) = self.producer.flush(PURGE_TIMEOUT) {
            debug!(%error, "purged records were not all reported");
        }
        self.tell_lanes();
    }
}

impl Member {
    /// Hands over what waits in the lane, in order, as far as it is due and the client takes it.
    /// Says whether more is due that was only left for the next time.
    pub(crate) fn hand_over(&self, partition: Partition, state: &mut State, now: Instant) -> bool {
        let Some(link) = state.handing.link.clone() else { return false };
        let due_below = state.handing.due_below(state.core.ledger().next(), now, state.closed);
        for _ in 0..HANDED_AT_ONCE {
            let Some((ticket, key, delta)) = state.core.next_to_hand() else { return false };
            if ticket >= due_below {
                return false;
            }
            let write_id = WriteId { writer: self.lanes.writer, sequence: ticket };
            let taken = match delta.to_record() {
                Some((value, add)) => {
                    let content = Content { key, value: value.as_deref(), add: add.as_deref() };
                    link.enqueue(&self.address, partition, write_id, content)
                }
                None => Err(NotTaken::Refused(Refusal::NotOneRecord)),
            };
            match taken {
                Ok(()) => {}
                Err(NotTaken::Yet) => return false,
                Err(NotTaken::Refused(refusal)) => {
                    warn!(topic = self.address.topic, %refusal, "a write cannot be sent");
                    self.refuse(state, ticket, &refusal);
                }
            }
            state.core.hand(ticket);
        }
        true
    }

    fn refuse(&self, state: &mut State, ticket: Ticket, refusal: &Refusal) {
        self.metrics.lost();
        let loss = Loss::Failed(refusal.to_string().into());
        state.core.lost(ticket as usize & LOW_BITS, loss, &self.lanes.clean);
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

impl ProducerContext for Answers {
    /// The handle's place and the ticket, as far as it fits: enough to tell writes in flight apart.
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
        if !same || gathered.answers.len() >= GATHERED_MAX {
            gathered.tell(&self.members);
            (gathered.place, gathered.partition) = (place, partition);
        }
        match at {
            Err(loss @ Loss::Unknown(_)) => {
                gathered.unknown.push((place, partition, low_bits, loss));
            }
            at => {
                if at.is_err()
                    && let Some(member) = self.members.at(place)
                {
                    member.metrics.lost();
                }
                gathered.answers.push((low_bits, at));
            }
        }
        if self.waited_for.load(Ordering::Relaxed) {
            gathered.tell(&self.members);
            if let Some(member) = self.members.at(place) {
                member.lanes.publish(Partition(partition));
            }
        }
    }
}

impl Answers {
    fn lock(&self) -> std::sync::MutexGuard<'_, Gathered> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gathered {
    /// Tells the lanes what came; nothing is gathered afterwards.
    fn tell(&mut self, members: &Members) {
        if !self.answers.is_empty() {
            match members.at(self.place) {
                Some(member) => {
                    member.lanes.answered(Partition(self.partition), self.answers.drain(..));
                }
                // Its handle was closed without waiting for them.
                None => self.answers.clear(),
            }
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
        self.members.each(|member| member.metrics.client_error());
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

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("failed", &self.fatal_error()).finish_non_exhaustive()
    }
}
