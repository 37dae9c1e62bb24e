//! Kafka's producer: records go out in the order of their sequences, and delivery reports come
//! back.
//!
//! Enqueueing is synchronous and names the partition, so that the caller, under the partition's
//! lock, decides the order of the log; `FutureProducer::send`, which retries out of order when the
//! queue is full, is never used.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseProducer, Producer, ProducerContext, PurgeConfig};
use tracing::{debug, warn};
use write_behind_librdkafka::{Record, Topic, may_be_in_the_log, send_now};
use write_behind_shared::kafka::KafkaSettings;
use write_behind_shared::record::{ADD, HIGH, PRIORITY, WRITE_ID};
use write_behind_shared::{Partition, WriteId};

use crate::core::ledger::{HANDLE_BITS, LOW_BITS};
use crate::core::lost_writes::Loss;
use crate::core::priority::Priority;
use crate::core::reason::{KafkaCause, Reason};
use crate::core::unanswered::{Failure, GivenBack};
use crate::core::window::Window;
use crate::error::BuildError;
use crate::kafka::batch_limit::BatchLimit;
use crate::kafka::codes::{given_back, not_taken, reason_of};
use crate::kafka::connection::{Connection, Tokens};
use crate::kafka::producer_client::{DeliveryReport, ProducerClient, ReportListener};
use crate::kafka::send_now::{Lingers, SendNow, linger_of};
use crate::kafka::settings::{LogLines, client_refused};
use crate::partitions::outlet::{Content, NotTaken, Outlet};

/// One life of a librdkafka producer.
pub(crate) struct KafkaProducer {
    client: Arc<BaseProducer<DeliveryReports>>,
    send_now: SendNow,
}

/// A client as the way of one handle's records to its topic.
#[derive(Debug)]
struct TopicOutlet {
    topic: Result<Topic<DeliveryReports>, RDKafkaErrorCode>,
    producer: Arc<KafkaProducer>,
    /// The handle's place among those that share the client.
    place: usize,
}

/// What librdkafka calls back with.
struct DeliveryReports {
    listener: Arc<dyn ReportListener>,
    batch_limit: Arc<BatchLimit>,
    /// The largest batch that this client makes.
    batch_bytes: usize,
    /// How many answers came.
    count: AtomicU64,
    /// The polling thread waits for answers, so each is told at once.
    waited_for: AtomicBool,
    /// What it has not delivered is given up: it is the last client.
    is_closing: AtomicBool,
    /// Reports that the handles have not been told yet. Only the polling thread takes this lock.
    gathered: Mutex<ReportBatch>,
    lines: LogLines,
    tokens: Tokens,
    /// Reports in a batch at most, so that no partition is locked for long.
    batch_max: usize,
}

/// Reports for one partition, so that it is locked once for many.
#[derive(Default)]
struct ReportBatch {
    place: usize,
    partition: i32,
    answers: Vec<DeliveryReport>,
    /// Writes that were not delivered, by place and partition: what that means is known at the end
    /// of the turn.
    failures: BTreeMap<(usize, i32), Vec<Undelivered>>,
}

/// A record that was not delivered.
struct Undelivered {
    low_bits: usize,
    code: RDKafkaErrorCode,
    may_be_logged: bool,
}

/// How long the reports of purged records may take.
const PURGE_TIMEOUT: Duration = Duration::from_millis(500);

/// Milliseconds that a batch waits for more records, unless set.
const LINGER_MS: &str = "5";
/// librdkafka counts in whole milliseconds.
const SHORTEST_FLUSH: Duration = Duration::from_millis(1);

/// Ours, unless the user sets them: small batches leave early, and the queue is bounded by what a
/// service can spare, not by librdkafka's gigabyte.
const DEFAULTS: &[(&str, &str)] = &[
    ("linger.ms", LINGER_MS),
    ("queue.buffering.max.messages", "200000"),
    ("queue.buffering.max.kbytes", "131072"),
    // How long a client that heard of no such topic takes it for gone after it is there again.
    ("topic.metadata.propagation.max.ms", "1000"),
];
/// Fixed; `RESERVED_BY_PRODUCER` says why.
const FIXED: &[(&str, &str)] = &[
    ("enable.idempotence", "true"),
    // A client that sends on behind a batch that a broker refused would put later writes into the
    // log ahead of those (INV-15). This one stops, and another sends all of them again, in order.
    ("enable.gapless.guarantee", "true"),
    ("acks", "all"),
    ("message.timeout.ms", "0"),
    ("allow.auto.create.topics", "false"),
];

/// How much the client queues at most.
pub(crate) fn queue_of(settings: &KafkaSettings) -> Window {
    let of = |name: &str| {
        let default = DEFAULTS.iter().find(|(other, _)| *other == name).map(|(_, value)| *value);
        let limit = settings.get(name).or(default)?.trim().parse::<usize>().ok()?;
        // 0 is no limit.
        (limit > 0).then_some(limit)
    };
    let kilobytes = of("queue.buffering.max.kbytes").unwrap_or(usize::MAX);
    let writes = of("queue.buffering.max.messages").unwrap_or(usize::MAX);
    Window::queue(writes, kilobytes.saturating_mul(1024))
}

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
        Connection { settings, tokens }: &Connection,
        listener: Arc<dyn ReportListener>,
        batch_limit: Arc<BatchLimit>,
        batch_max: usize,
    ) -> Result<Self, BuildError> {
        let mut config: ClientConfig = settings.with(DEFAULTS, FIXED).collect();
        let tokens = tokens.clone();
        let reports =
            DeliveryReports { tokens, ..DeliveryReports::new(listener, batch_limit, batch_max) };
        config.set("batch.size", reports.batch_bytes.to_string());
        let client = config.create_with_context(reports);
        let client = client.map_err(|error| client_refused(&error))?;
        let linger = linger_of(settings, LINGER_MS);
        Ok(Self { client: Arc::new(client), send_now: SendNow::new(linger) })
    }
}

impl Lingers for KafkaProducer {
    fn send_now(&self, at_most: Duration) {
        send_now(self.client.client(), at_most.max(SHORTEST_FLUSH));
    }
}

impl ProducerClient for KafkaProducer {
    fn outlet(self: Arc<Self>, topic: Arc<str>, place: usize) -> Arc<dyn Outlet> {
        let topic = Topic::new(Arc::clone(&self.client), &topic);
        Arc::new(TopicOutlet { topic, producer: self, place })
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
        if !gathered.failures.is_empty() {
            let has_failed = self.fatal_error().is_some();
            for ((place, partition), failures) in std::mem::take(&mut gathered.failures) {
                context.tell_failures(place, Partition(partition), failures, has_failed);
            }
        }
    }

    fn fatal_error(&self) -> Option<Reason> {
        // The error event of a fatal error does not say that it is fatal, so the client is asked.
        let error = self.client.client().fatal_error();
        error.map(|(_, text)| Reason::of_kafka(KafkaCause::ClientFailed, text))
    }

    fn end(&self, replaced: bool) {
        // Before the purge: its reports must not count as lost what another client sends again.
        self.client.context().is_closing.store(!replaced, Ordering::Release);
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
        let sequence = content.sequence as usize & LOW_BITS;
        let write_id = write_id.encode();
        let add = content.add.map(|add| (ADD, add.as_bytes()));
        let is_high = content.priority == Priority::High;
        let high = is_high.then_some((PRIORITY, HIGH.as_bytes()));
        let others = content.headers.iter().flat_map(|headers| headers.iter());
        let headers = [(WRITE_ID, &write_id[..])].into_iter().chain(add).chain(high).chain(others);
        let (key, value) = (content.key, content.value);
        let record = Record { partition: partition.0, key, value, headers };
        let opaque = self.place << (usize::BITS - HANDLE_BITS) | sequence;
        let topic = self.topic.as_ref().map_err(|code| not_taken(*code, content))?;
        topic.send(record, opaque).map_err(|code| not_taken(code, content))?;
        if is_high {
            self.send_now();
        }
        Ok(())
    }

    fn send_now(&self) {
        self.producer.send_now.ask(|| Arc::downgrade(&self.producer));
    }
}

impl ProducerContext for DeliveryReports {
    /// The handle's place and the sequence, as far as it fits: enough to tell writes in flight
    /// apart.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, opaque: usize) {
        self.count.fetch_add(1, Ordering::Relaxed);
        let (place, low_bits) = (opaque >> (usize::BITS - HANDLE_BITS), opaque & LOW_BITS);
        let mut gathered = self.lock();
        let (partition, offset) = match result {
            Ok(message) => (message.partition(), message.offset()),
            Err((error, message)) => {
                let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
                let failures = gathered.failures.entry((place, message.partition())).or_default();
                let may_be_logged = may_be_in_the_log(message);
                failures.push(Undelivered { low_bits, code, may_be_logged });
                return;
            }
        };
        let same = (gathered.place, gathered.partition) == (place, partition);
        if !same || gathered.answers.len() >= self.batch_max {
            gathered.tell(&*self.listener);
            (gathered.place, gathered.partition) = (place, partition);
        }
        // What failed before this one is told before it: a write that it has overtaken must be known
        // as that. The client goes on, so it has not failed for good.
        if !gathered.failures.is_empty()
            && let Some(failures) = gathered.failures.remove(&(place, partition))
        {
            gathered.tell(&*self.listener);
            self.tell_failures(place, Partition(partition), failures, false);
        }
        gathered.answers.push((low_bits, Ok(offset)));
        if self.waited_for.load(Ordering::Relaxed) {
            gathered.tell(&*self.listener);
            self.listener.notify_waiters(place, Partition(partition));
        }
    }
}

impl DeliveryReports {
    fn new(
        listener: Arc<dyn ReportListener>,
        batch_limit: Arc<BatchLimit>,
        batch_max: usize,
    ) -> Self {
        Self {
            listener,
            batch_bytes: batch_limit.bytes(),
            batch_limit,
            count: AtomicU64::new(0),
            waited_for: AtomicBool::new(false),
            is_closing: AtomicBool::new(false),
            gathered: Mutex::default(),
            lines: LogLines::default(),
            tokens: Tokens::default(),
            batch_max,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, ReportBatch> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell_failures(
        &self,
        place: usize,
        partition: Partition,
        failures: Vec<Undelivered>,
        has_failed: bool,
    ) {
        let failures = failures.into_iter();
        if self.is_closing.load(Ordering::Acquire) {
            let unknown = |Undelivered { low_bits, code, .. }| {
                (low_bits, Err(Loss::Unknown(reason_of(code))))
            };
            self.listener.answered(place, partition, &mut failures.map(unknown).collect());
        } else {
            let failure = |Undelivered { low_bits, code, may_be_logged }| {
                let how = given_back(code, has_failed)?;
                Some(Failure { low_bits, how, reason: reason_of(code), may_be_logged })
            };
            let mut failures: Vec<Failure> = failures.filter_map(failure).collect();
            let too_large = |failure: &&Failure| failure.how == GivenBack::BatchTooLarge;
            if failures.iter().filter(too_large).count() > 1
                && !self.batch_limit.refused(self.batch_bytes)
            {
                // No smaller batch helps, so each goes alone.
                for failure in &mut failures {
                    failure.how = GivenBack::Refused;
                }
            }
            self.listener.failed(place, partition, &failures);
        }
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

impl ClientContext for DeliveryReports {
    // Asked only where librdkafka has no token of its own.
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        let token = self.tokens.next();
        self.lines.tell_login(&token);
        token
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.lines.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.listener.client_error();
        if self.lines.is_news(&error.to_string()) {
            warn!(%error, reason, "kafka client");
        }
    }
}

impl std::fmt::Debug for KafkaProducer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaProducer").field("failed", &self.fatal_error()).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "tests/producer.rs"]
mod tests;
