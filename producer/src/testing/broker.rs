//! An embedded broker: librdkafka's mock cluster, and the faults it can be told to have.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::KafkaError;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, DeliveryResult, Producer, ProducerContext};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use tracing::debug;

use super::error::TestingError;

/// An embedded broker; clones are the same one. It ends when the last clone, sink and loader of it
/// are dropped.
#[derive(Clone)]
pub struct Broker {
    inner: Arc<MockBroker>,
}

struct MockBroker {
    /// It sends nothing: the mock cluster lives in it.
    client: BaseProducer<TestContext>,
    partitions_by_topic: Mutex<BTreeMap<String, i32>>,
    down: AtomicBool,
}

/// What librdkafka says goes to the debug log: a test bed has nothing to tell an operator.
pub(crate) struct TestContext;

impl ClientContext for TestContext {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        debug!(target: "librdkafka", facility, "{message}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        debug!(%error, reason, "kafka client of the test bed");
    }
}

impl ProducerContext for TestContext {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &DeliveryResult<'_>, (): ()) {}
}

/// All brokers, for librdkafka.
const ALL: i32 = -1;

impl Broker {
    /// Starts a broker on a free port of this machine.
    ///
    /// # Errors
    /// [`TestingError::Broker`].
    pub fn start() -> Result<Self, TestingError> {
        let mut config = ClientConfig::new();
        let client = config.set("test.mock.num.brokers", "1").create_with_context(TestContext);
        let broker = MockBroker {
            client: client.map_err(refused)?,
            partitions_by_topic: Mutex::default(),
            down: AtomicBool::new(false),
        };
        Ok(Self { inner: Arc::new(broker) })
    }

    /// Creates a topic.
    ///
    /// # Errors
    /// [`TestingError`]: no partitions, or it is there already.
    pub fn topic(self, topic: &str, partitions: i32) -> Result<Self, TestingError> {
        if partitions < 1 {
            return Err(TestingError::Partitions { topic: topic.to_owned(), partitions });
        }
        let mut topics = self.topics();
        if topics.contains_key(topic) {
            return Err(TestingError::TopicExists(topic.to_owned()));
        }
        self.cluster()?.create_topic(topic, partitions, 1).map_err(refused)?;
        topics.insert(topic.to_owned(), partitions);
        drop(topics);
        Ok(self)
    }

    /// Where the broker listens, as `host:port`.
    pub fn bootstrap_servers(&self) -> String {
        self.inner
            .client
            .client()
            .mock_cluster()
            .map_or_else(String::new, |cluster| cluster.bootstrap_servers())
    }

    /// The properties for [`WriteBehind::builder`](crate::WriteBehind::builder): the broker, and
    /// impatience, so that the end of an outage is noticed within milliseconds.
    pub fn properties(&self) -> Vec<(String, String)> {
        let properties = [
            ("bootstrap.servers", self.bootstrap_servers()),
            ("reconnect.backoff.ms", "10".to_owned()),
            ("reconnect.backoff.max.ms", "50".to_owned()),
        ];
        properties.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// The broker goes away: writes are accepted, visible and not replicated.
    ///
    /// # Errors
    /// [`TestingError::Broker`].
    pub fn brokers_down(&self) -> Result<(), TestingError> {
        self.inner.down.store(true, Ordering::Release);
        self.cluster()?.broker_down(ALL).map_err(refused)
    }

    /// The broker comes back, with all that it had.
    ///
    /// # Errors
    /// [`TestingError::Broker`].
    pub fn brokers_up(&self) -> Result<(), TestingError> {
        self.cluster()?.broker_up(ALL).map_err(refused)?;
        self.inner.down.store(false, Ordering::Release);
        Ok(())
    }

    /// The broker answers every request this much later.
    ///
    /// # Errors
    /// [`TestingError::Broker`].
    pub fn answer_late(&self, by: Duration) -> Result<(), TestingError> {
        self.cluster()?.broker_round_trip_time(ALL, by).map_err(refused)
    }

    /// The broker refuses the next `requests` to write because of what is in them. A request carries
    /// all writes of one partition that were waiting to be sent. A write that is refused alone ends
    /// in [`DeliveryError::Failed`](crate::DeliveryError::Failed); those that are refused together
    /// are sent again, a few of them one by one with a request each, many in halves.
    ///
    /// # Errors
    /// [`TestingError::Broker`].
    pub fn refuse_writes(&self, requests: usize) -> Result<(), TestingError> {
        let refusals = vec![RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_RECORD; requests];
        self.cluster()?.request_errors(RDKafkaApiKey::Produce, &refusals);
        Ok(())
    }

    /// librdkafka's mock cluster itself, for faults that have no method here.
    ///
    /// # Errors
    /// [`TestingError::Broker`].
    pub fn cluster(&self) -> Result<MockCluster<'_, impl ClientContext>, TestingError> {
        let cluster = self.inner.client.client().mock_cluster();
        cluster.ok_or_else(|| TestingError::Broker("it was not started".to_owned()))
    }

    pub(super) fn is_down(&self) -> bool {
        self.inner.down.load(Ordering::Acquire)
    }

    pub(super) fn partitions(&self, topic: &str) -> Result<i32, TestingError> {
        let topics = self.topics();
        topics.get(topic).copied().ok_or_else(|| TestingError::NoTopic {
            topic: topic.to_owned(),
            known: topics.keys().cloned().collect(),
        })
    }

    fn topics(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, i32>> {
        self.inner.partitions_by_topic.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the mock cluster refused.
#[expect(clippy::needless_pass_by_value, reason = "it stands in `map_err`")]
pub(super) fn refused(error: KafkaError) -> TestingError {
    TestingError::Broker(error.to_string())
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Broker").field("bootstrap_servers", &self.bootstrap_servers()).finish()
    }
}
