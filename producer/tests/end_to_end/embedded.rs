//! An embedded Kafka, and a database made of the log: what the end-to-end tests stand on.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::{Offset, TopicPartitionList};
use serde::{Deserialize, Serialize};
use write_behind_producer::{Builder, WriteBehind};
use write_behind_shared::{WriteId, record};

pub(crate) const TOPIC: &str = "scores";
pub(crate) const GROUP: &str = "sink";
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// A row.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Score {
    pub(crate) name: String,
    pub(crate) score: i64,
}

pub(crate) fn score(name: &str, score: i64) -> Score {
    Score { name: name.to_owned(), score }
}

/// A mock cluster with one topic.
pub(crate) struct Kafka {
    pub(crate) cluster: MockCluster<'static, DefaultProducerContext>,
    pub(crate) partitions: i32,
}

/// One record of the log.
#[derive(Clone, Debug)]
pub(crate) struct Logged {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) key: String,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) add: Option<String>,
    pub(crate) write_id: WriteId,
}

impl Kafka {
    pub(crate) fn start(partitions: i32) -> Self {
        let cluster = MockCluster::new(1).expect("the mock cluster starts");
        cluster.create_topic(TOPIC, partitions, 1).expect("the topic is created");
        Self { cluster, partitions }
    }

    pub(crate) fn properties(&self) -> Vec<(String, String)> {
        vec![("bootstrap.servers".to_owned(), self.cluster.bootstrap_servers())]
    }

    pub(crate) fn builder<K, V>(&self, more: &[(&str, &str)]) -> Builder<K, V>
    where
        K: Serialize + Clone + Send + Sync + 'static,
        V: Serialize + for<'d> Deserialize<'d>,
    {
        let more = more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        WriteBehind::builder(TOPIC, self.properties().into_iter().chain(more))
            .sink_group(GROUP)
            .poll_interval(Duration::from_millis(10))
    }

    fn client(&self) -> BaseConsumer {
        ClientConfig::new()
            .set("bootstrap.servers", self.cluster.bootstrap_servers())
            .set("group.id", GROUP)
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "earliest")
            .create()
            .expect("a consumer is made")
    }

    /// Commits `next` of `partition` for the sink group, as the consumer would.
    pub(crate) fn commit(&self, partition: i32, next: i64) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(TOPIC, partition, Offset::Offset(next)).expect("an offset");
        self.client().commit(&list, CommitMode::Sync).expect("the offset is committed");
    }

    /// Commits everything that is in the log.
    pub(crate) fn commit_all(&self) {
        let client = self.client();
        let mut list = TopicPartitionList::new();
        for partition in 0..self.partitions {
            let (_, end) = client.fetch_watermarks(TOPIC, partition, DEADLINE).expect("the end");
            list.add_partition_offset(TOPIC, partition, Offset::Offset(end)).expect("an offset");
        }
        client.commit(&list, CommitMode::Sync).expect("the offsets are committed");
    }

    /// The whole log, partition by partition.
    pub(crate) fn log(&self) -> Vec<Logged> {
        let client = self.client();
        let mut list = TopicPartitionList::new();
        let mut expected = 0;
        for partition in 0..self.partitions {
            let (_, end) = client.fetch_watermarks(TOPIC, partition, DEADLINE).expect("the end");
            expected += usize::try_from(end).expect("an end is not negative");
            list.add_partition_offset(TOPIC, partition, Offset::Beginning).expect("an offset");
        }
        client.assign(&list).expect("the partitions are assigned");
        let (mut log, start) = (Vec::new(), Instant::now());
        while log.len() < expected {
            assert!(start.elapsed() < DEADLINE, "{} of {expected} records were read", log.len());
            let Some(message) = client.poll(Duration::from_millis(100)) else { continue };
            let message = message.expect("a record");
            let header = |name| {
                let headers = message.headers().expect("our records have headers");
                headers.iter().find(|h| h.key == name).and_then(|h| h.value.map(<[u8]>::to_vec))
            };
            log.push(Logged {
                partition: message.partition(),
                offset: message.offset(),
                key: String::from_utf8(message.key().expect("a key").to_vec()).expect("UTF-8"),
                value: message.payload().map(<[u8]>::to_vec),
                add: header(record::ADD).map(|add| String::from_utf8(add).expect("UTF-8")),
                write_id: WriteId::decode(&header(record::WRITE_ID).expect("a write-id"))
                    .expect("24 bytes"),
            });
        }
        log
    }

    /// The rows that a consumer would have made of the log.
    pub(crate) fn fold(&self) -> HashMap<String, Option<serde_json::Value>> {
        let mut changes = HashMap::new();
        for logged in self.log() {
            let change = record::decode(logged.value.as_deref(), logged.add.as_deref());
            let change = change.expect("what we write can be read");
            let row: &mut write_behind_shared::Change =
                changes.entry(logged.key).or_insert_with(write_behind_shared::Change::delete);
            row.fold(change);
        }
        let row = |change: write_behind_shared::Change| {
            let row = change.to_row().expect("numbers are added to numbers");
            row.map(|row| serde_json::from_slice(&row).expect("a row is JSON"))
        };
        changes.into_iter().map(|(key, change)| (key, row(change))).collect()
    }
}

/// Waits until `ready`, and says what it waited for if that does not come.
pub(crate) async fn until(what: &str, mut ready: impl FnMut() -> bool) {
    let start = Instant::now();
    while !ready() {
        assert!(start.elapsed() < DEADLINE, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits for `future`, but not for ever.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(DEADLINE, future).await;
    waited.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}
