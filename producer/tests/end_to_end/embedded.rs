//! An embedded Kafka, and a database made of the log: what the end-to-end tests stand on.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::mocking::MockCluster;
use rdkafka::{Offset, TopicPartitionList};
use serde::{Deserialize, Serialize};
use write_behind_producer::{Builder, WriteBehind, testing};
use write_behind_shared::WriteId;

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

/// An embedded broker with one topic.
pub(crate) struct Kafka {
    pub(crate) broker: testing::Broker,
    pub(crate) partitions: i32,
}

/// One record of the log.
#[derive(Clone, Debug)]
pub(crate) struct Logged {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) key: String,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) write_id: WriteId,
    /// Those beside the ones of the wire contract.
    pub(crate) headers: Vec<(String, Vec<u8>)>,
}

impl Kafka {
    pub(crate) fn start(partitions: i32) -> Self {
        let broker = testing::Broker::start().expect("the broker starts");
        let broker = broker.topic(TOPIC, partitions).expect("the topic is created");
        Self { broker, partitions }
    }

    /// The broker itself, for its faults.
    pub(crate) fn cluster(&self) -> MockCluster<'_, impl ClientContext> {
        self.broker.cluster().expect("the broker is there")
    }

    pub(crate) fn properties(&self) -> Vec<(String, String)> {
        self.broker.properties()
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
            .set("bootstrap.servers", self.broker.bootstrap_servers())
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
        let log = self.broker.log(TOPIC).expect("the log can be read");
        let logged = |record: testing::Record| Logged {
            partition: record.partition.0,
            offset: record.offset.0,
            key: record.key_text(),
            write_id: record.write_id().expect("our records have a write-id"),
            headers: own_headers(&record),
            value: record.value,
        };
        log.into_iter().map(logged).collect()
    }

    /// The rows that a consumer would have made of the log; `None` for one that it deleted.
    pub(crate) fn fold(&self) -> HashMap<String, Option<serde_json::Value>> {
        let sink = self.broker.sink(TOPIC, "fold").expect("a sink is made");
        sink.apply_all().expect("the log can be applied");
        assert_eq!(sink.dead_letters(), [], "what we write can be read");
        let rows = sink.rows();
        let row = |logged: Logged| (logged.key.clone(), rows.get(&logged.key).cloned());
        self.log().into_iter().map(row).collect()
    }
}

fn own_headers(record: &testing::Record) -> Vec<(String, Vec<u8>)> {
    let own = |(name, _): &&(String, _)| !["write-id", "add"].contains(&&**name);
    let headers = record.headers.iter().filter(own);
    headers.map(|(name, value)| (name.clone(), value.clone().unwrap_or_default())).collect()
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
