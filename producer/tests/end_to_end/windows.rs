//! Partitions that share a client: one that Kafka does not answer takes its own part of the queue.

use rdkafka::client::ClientContext;
use rdkafka::mocking::{MockCluster, MockCoordinator};
use write_behind_producer::{Kafka, WhenFull, WriteBehind};
use write_behind_shared::partition::partition_of;

use crate::embedded::{GROUP, Score, TOPIC, score, soon};

type Handle = WriteBehind<i64, Score>;

/// The first key of a partition, of two.
fn key_of(partition: i32) -> i64 {
    let of = |key: &i64| partition_of(key.to_string().as_bytes(), 2).0;
    (0..1_000).find(|key| of(key) == partition).expect("both partitions have keys")
}

/// Two brokers; each of `led_by_first` has its leader on the first, all others on the second. And a
/// client with a small queue.
fn start(
    topics: &[(&str, i32)],
    led_by_first: &[(&str, i32)],
) -> (MockCluster<'static, impl ClientContext>, Kafka) {
    let cluster = MockCluster::new(2).unwrap();
    cluster.coordinator(MockCoordinator::Group(GROUP.to_owned()), 2).unwrap();
    for (topic, partitions) in topics {
        cluster.create_topic(topic, *partitions, 2).unwrap();
        for partition in 0..*partitions {
            let leader = if led_by_first.contains(&(topic, partition)) { 1 } else { 2 };
            cluster.partition_leader(topic, partition, Some(leader)).unwrap();
        }
    }
    let client = Kafka::new([
        ("bootstrap.servers", &*cluster.bootstrap_servers()),
        ("reconnect.backoff.ms", "10"),
        ("reconnect.backoff.max.ms", "50"),
        ("queue.buffering.max.messages", "1000"),
    ]);
    (cluster, client.unwrap())
}

async fn handle(client: &Kafka, topic: &str) -> Handle {
    let builder = client.builder(topic).sink_group(GROUP);
    builder.max_pending(1 << 30, WhenFull::Reject).build().await.unwrap()
}

async fn write(handle: &Handle, key: i64) {
    let write = handle.put(&key, &score("flows", key)).await.unwrap();
    soon("a write that nothing holds up", write.replicated()).await.unwrap();
}

#[tokio::test]
async fn a_partition_that_kafka_does_not_answer_leaves_the_others_their_room_in_the_queue() {
    let (cluster, client) = start(&[(TOPIC, 2)], &[(TOPIC, 0)]);
    let scores = handle(&client, TOPIC).await;
    write(&scores, key_of(0)).await;
    write(&scores, key_of(1)).await;
    cluster.broker_down(1).unwrap();
    let mut stuck = Vec::new();
    for n in 0..3_000 {
        stuck.push(scores.put(&key_of(0), &score("stuck", n)).await.unwrap());
    }
    for _ in 0..50 {
        write(&scores, key_of(1)).await;
    }
    cluster.broker_up(1).unwrap();
    let last = stuck.pop().unwrap();
    soon("the partition that was stuck", last.replicated()).await.unwrap();
}

#[tokio::test]
async fn a_topic_that_kafka_does_not_answer_leaves_others_their_room_in_a_shared_client() {
    let (cluster, client) = start(&[(TOPIC, 2), ("other", 1)], &[(TOPIC, 0), (TOPIC, 1)]);
    let (scores, others) = (handle(&client, TOPIC).await, handle(&client, "other").await);
    write(&others, 1).await;
    write(&scores, key_of(0)).await;
    write(&scores, key_of(1)).await;
    cluster.broker_down(1).unwrap();
    for n in 0..3_000 {
        scores.put(&key_of(n % 2), &score("stuck", 0)).await.unwrap();
    }
    for _ in 0..50 {
        write(&others, 1).await;
    }
}
