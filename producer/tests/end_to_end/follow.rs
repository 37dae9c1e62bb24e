//! Following the log: what others write, and what was written in an earlier life.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use prometheus::Registry;
use rdkafka::config::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use serde_json::json;
use write_behind_producer::{
    BuildError, Builder, Event, LoadError, Loaded, Loader, NextOffset, ReadError, WhenFull,
    WriteBehind,
};
use write_behind_shared::metrics::render;
use write_behind_shared::partition::partition_of;

use crate::embedded::{DEADLINE, Kafka, Score, TOPIC, score, soon, until};

type Handle = WriteBehind<i64, Score>;

/// The embedded broker answers an empty fetch only when this is over.
const PROMPT: &[(&str, &str)] = &[("fetch.wait.max.ms", "10")];

fn follower(kafka: &Kafka) -> Builder<i64, Score> {
    kafka.builder(PROMPT).follow(true)
}

async fn follow(kafka: &Kafka) -> Handle {
    soon("the handle", follower(kafka).build()).await.unwrap()
}

/// Waits until `handle` reads `expected` under `key`.
async fn until_read(handle: &Handle, key: i64, expected: Option<Score>) {
    let start = Instant::now();
    loop {
        let read = handle.get(&key).await;
        if read.as_ref().is_ok_and(|read| *read == expected) {
            return;
        }
        assert!(start.elapsed() < DEADLINE, "row {key} reads {read:?}, not {expected:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A metric of the producer.
fn metric(registry: &Registry, name: &str) -> f64 {
    let text = render(registry).unwrap();
    let line =
        text.lines().find(|line| line.starts_with(&format!("write_behind_producer_{name}{{")));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).expect("the metric is there")
}

/// Any other Kafka client.
struct Foreign(BaseProducer);

impl Foreign {
    fn of(kafka: &Kafka) -> Self {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", kafka.cluster().bootstrap_servers());
        Self(config.create().unwrap())
    }

    fn send(&self, kafka: &Kafka, key: &[u8], value: Option<&[u8]>, add: Option<&str>) {
        let partition = partition_of(key, kafka.partitions).0;
        let mut record = BaseRecord::to(TOPIC).key(key).partition(partition);
        if let Some(value) = value {
            record = record.payload(value);
        }
        if let Some(add) = add {
            let header = Header { key: "add", value: Some(add) };
            record = record.headers(OwnedHeaders::new().insert(header));
        }
        self.0.send(record).map_err(|(error, _)| error).unwrap();
    }

    fn flush(&self) {
        self.0.flush(DEADLINE).unwrap();
    }
}

#[tokio::test]
async fn what_another_handle_writes_is_read_here() {
    let kafka = Kafka::start(4);
    let here = follow(&kafka).await;
    let there: Handle = kafka.builder(&[]).build().await.unwrap();
    there.put(&1, &score("ada", 1)).await.unwrap();
    until_read(&here, 1, Some(score("ada", 1))).await;
    there.update(&1, &json!({"name": "Ada"})).await.unwrap();
    until_read(&here, 1, Some(score("Ada", 1))).await;
    there.add(&1, "score", 10).await.unwrap();
    until_read(&here, 1, Some(score("Ada", 11))).await;
    here.add(&1, "score", 100).await.unwrap().replicated().await.unwrap();
    until_read(&here, 1, Some(score("Ada", 111))).await;
    there.delete(&1).await.unwrap();
    until_read(&here, 1, None).await;
}

#[tokio::test]
async fn two_followers_agree_with_the_log() {
    let kafka = Kafka::start(2);
    let (one, two) = (follow(&kafka).await, follow(&kafka).await);
    for round in 0..200_i64 {
        let (key, by) = (round % 5, if round % 2 == 0 { &one } else { &two });
        match round % 7 {
            0 => by.put(&key, &score("put", round)).await.unwrap(),
            3 => by.update(&key, &json!({"name": "updated", "score": round})).await.unwrap(),
            _ if round < 7 => by.put(&key, &score("first", round)).await.unwrap(),
            _ => by.add(&key, "score", round).await.unwrap(),
        };
    }
    one.replicated_all().await.unwrap();
    two.replicated_all().await.unwrap();
    for (key, row) in kafka.fold() {
        let row = row.map(|row| serde_json::from_value(row).unwrap());
        let key = key.parse().unwrap();
        until_read(&one, key, row.clone()).await;
        until_read(&two, key, row).await;
    }
}

#[tokio::test]
async fn a_restarted_service_reads_what_it_wrote_though_the_database_does_not_have_it() {
    let kafka = Kafka::start(4);
    let before: Handle = kafka.builder(&[]).build().await.unwrap();
    for key in 0..500 {
        before.put(&key, &score("first", key)).await.unwrap();
        before.add(&key, "score", 1).await.unwrap();
    }
    before.delete(&7).await.unwrap();
    before.replicated_all().await.unwrap();
    drop(before);
    let after = follow(&kafka).await;
    assert!(after.tail_is_current());
    // No waiting: it was read before the handle was built.
    for key in 0..500 {
        let expected = (key != 7).then(|| score("first", key + 1));
        assert_eq!(after.get(&key).await.unwrap(), expected, "row {key}");
    }
}

#[tokio::test]
async fn what_the_group_has_committed_is_not_read_again() {
    let kafka = Kafka::start(1);
    let before: Handle = kafka.builder(&[]).build().await.unwrap();
    for key in 0..10 {
        before.put(&key, &score("x", key)).await.unwrap();
    }
    before.replicated_all().await.unwrap();
    kafka.commit(0, 6);
    let registry = Registry::new();
    let after = follower(&kafka).metrics(&registry).build();
    let after = soon("the handle", after).await.unwrap();
    assert_eq!(after.get(&5).await.unwrap(), None, "it would come from the loader");
    assert_eq!(after.get(&6).await.unwrap(), Some(score("x", 6)));
    until("four are counted", || metric(&registry, "followed_total") > 3.5).await;
    assert!(metric(&registry, "followed_total") < 4.5);
}

#[tokio::test]
async fn what_a_follower_writes_itself_counts_once() {
    let kafka = Kafka::start(1);
    let registry = Registry::new();
    let here = soon("the handle", follower(&kafka).metrics(&registry).build()).await.unwrap();
    here.put(&1, &score("x", 0)).await.unwrap();
    for count in 1..=300 {
        here.add(&1, "score", 1).await.unwrap();
        assert_eq!(here.get(&1).await.unwrap(), Some(score("x", count)));
    }
    here.replicated_all().await.unwrap();
    // When this shows up, everything before it was read from the log too.
    let there: Handle = kafka.builder(&[]).build().await.unwrap();
    there.put(&2, &score("mark", 0)).await.unwrap();
    until_read(&here, 2, Some(score("mark", 0))).await;
    assert_eq!(here.get(&1).await.unwrap(), Some(score("x", 300)));
    until("the mark is counted", || metric(&registry, "followed_total") > 0.5).await;
    assert!(metric(&registry, "followed_total") < 1.5);
    kafka.commit_all();
    soon("the writes to be persisted", here.flush()).await.unwrap();
    assert_eq!(here.get(&1).await.unwrap(), Some(score("x", 300)));
}

#[tokio::test]
async fn records_of_any_kafka_client_count() {
    let kafka = Kafka::start(3);
    let foreign = Foreign::of(&kafka);
    foreign.send(&kafka, b"1", Some(br#"{"name": "kcat", "score": 5}"#), None);
    foreign.flush();
    let here = follow(&kafka).await;
    assert_eq!(here.get(&1).await.unwrap(), Some(score("kcat", 5)));
    foreign.send(&kafka, b"1", Some(br#"{"score": 2}"#), Some("score"));
    foreign.send(&kafka, b"1", Some(br#"{"score": 2}"#), Some("score"));
    foreign.flush();
    until_read(&here, 1, Some(score("kcat", 9))).await;
    foreign.send(&kafka, b"1", None, None);
    foreign.flush();
    until_read(&here, 1, None).await;
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_passed_by() {
    let kafka = Kafka::start(1);
    let foreign = Foreign::of(&kafka);
    foreign.send(&kafka, b"1", Some(br#"{"name": "good", "score": 1}"#), None);
    for bad in [&b"null"[..], b"{", b"", b"\xff", br#"{"score":1,"score":2}"#] {
        foreign.send(&kafka, b"1", Some(bad), None);
    }
    foreign.send(&kafka, b"1", Some(br#"{"score": "many"}"#), Some("score"));
    foreign.send(&kafka, b"\xff\xfe", Some(br#"{"score": 1}"#), None);
    foreign.flush();
    let here = follow(&kafka).await;
    assert_eq!(here.get(&1).await.unwrap(), Some(score("good", 1)));
    foreign.send(&kafka, b"1", Some(b"bad again"), None);
    foreign.send(&kafka, b"2", Some(br#"{"name": "next", "score": 2}"#), None);
    foreign.flush();
    until_read(&here, 2, Some(score("next", 2))).await;
    assert_eq!(here.get(&1).await.unwrap(), Some(score("good", 1)));
    until("the tail is current", || here.tail_is_current()).await;
}

#[tokio::test]
async fn a_tail_that_cannot_keep_up_says_so_and_then_catches_up() {
    let kafka = Kafka::start(2);
    let registry = Registry::new();
    let here = soon("the handle", follower(&kafka).metrics(&registry).build()).await.unwrap();
    let there: Handle = kafka.builder(&[]).build().await.unwrap();
    there.put(&1, &score("before", 1)).await.unwrap();
    until_read(&here, 1, Some(score("before", 1))).await;
    assert!(here.tail_is_current());
    kafka.cluster().broker_down(1).unwrap();
    until("the tail says that it is behind", || !here.tail_is_current()).await;
    assert_eq!(here.get(&1).await.unwrap(), Some(score("before", 1)), "reads go on");
    assert!(here.read(&1).await.unwrap().may_be_behind, "and say so");
    there.put(&1, &score("after", 2)).await.unwrap();
    kafka.cluster().broker_up(1).unwrap();
    until_read(&here, 1, Some(score("after", 2))).await;
    until("the tail is current again", || here.tail_is_current()).await;
    until("nothing is left to be read", || metric(&registry, "follow_lag_records") < 0.5).await;
}

#[tokio::test]
async fn a_tail_whose_place_the_broker_refuses_finds_its_way_back() {
    let kafka = Kafka::start(2);
    let here = follow(&kafka).await;
    let there: Handle = kafka.builder(&[]).build().await.unwrap();
    for round in 0..3 {
        let gone = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE];
        kafka.cluster().request_errors(RDKafkaApiKey::Fetch, &gone);
        for key in 0..8 {
            there.put(&key, &score("x", round)).await.unwrap();
        }
        for key in 0..8 {
            until_read(&here, key, Some(score("x", round))).await;
        }
    }
}

#[tokio::test]
async fn a_tail_that_retention_has_passed_says_what_is_lost_and_goes_on() {
    let kafka = Kafka::start(1);
    let here = follow(&kafka).await;
    let mut events = here.events();
    let there: Handle = kafka.builder(&[]).build().await.unwrap();
    there.put(&1, &score("before", 1)).await.unwrap();
    until_read(&here, 1, Some(score("before", 1))).await;
    // Nothing can be fetched while more is written than the embedded log keeps.
    let refused = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE; 100_000];
    kafka.cluster().request_errors(RDKafkaApiKey::Fetch, &refused);
    let long = "x".repeat(100_000);
    for key in 0..80 {
        there.put(&key, &score(&long, key)).await.unwrap();
    }
    there.replicated_all().await.unwrap();
    until("the tail says that it is behind", || !here.tail_is_current()).await;
    assert!(here.read(&1).await.unwrap().may_be_behind);
    kafka.cluster().clear_request_errors(RDKafkaApiKey::Fetch);
    let event = soon("the event", events.next()).await.unwrap();
    assert!(matches!(event, Event::LogLost { partition: 0, below: 1.. }), "{event:?}");
    until_read(&here, 79, Some(score(&long, 79))).await;
    until("the tail is current again", || here.tail_is_current()).await;
}

#[tokio::test]
async fn records_that_are_gone_before_the_database_has_them_are_not_waited_for() {
    let kafka = Kafka::start(1);
    // The embedded log keeps five megabytes.
    let before: WriteBehind<i64, Score> = kafka.builder(&[]).build().await.unwrap();
    let long = "x".repeat(100_000);
    for key in 0..80 {
        before.put(&key, &score(&long, key)).await.unwrap();
    }
    before.replicated_all().await.unwrap();
    let after = follow(&kafka).await;
    assert_eq!(after.get(&79).await.unwrap(), Some(score(&long, 79)));
    assert!(matches!(after.get(&0).await, Err(ReadError::MayBeBehind)), "its record is gone");
    until("the tail is current", || after.tail_is_current()).await;
}

/// A database that has the rows `0..next`, each from the record at the offset of its key.
#[derive(Clone, Default)]
struct Database(Arc<AtomicI64>);

impl Loader<i64> for Database {
    async fn load(&self, key: &i64) -> Result<Loaded, LoadError> {
        let next = self.0.load(Ordering::SeqCst);
        let found = if *key < next { Loaded::row(&score("x", *key))? } else { Loaded::missing() };
        Ok(found.at(NextOffset(next)))
    }
}

#[tokio::test]
async fn a_backlog_larger_than_the_limit_takes_no_more_memory_and_no_room_from_writes() {
    const ROWS: i64 = 3_000;
    const LIMIT: usize = 256 << 10;
    let kafka = Kafka::start(1);
    let before: Handle = kafka.builder(&[]).build().await.unwrap();
    for key in 0..ROWS {
        before.put(&key, &score("x", key)).await.unwrap();
    }
    before.replicated_all().await.unwrap();
    let (database, registry) = (Database::default(), Registry::new());
    let after = follower(&kafka).max_pending(LIMIT, WhenFull::Reject).loader(database.clone());
    let after = soon("the handle", after.metrics(&registry).build()).await.unwrap();
    until("the memory is measured", || metric(&registry, "pending_bytes") > 0.0).await;
    assert!(metric(&registry, "pending_bytes") <= LIMIT as f64, "memory is bounded");
    let (mut exact, mut behind) = (0, 0);
    for key in 0..ROWS {
        let read = after.read(&key).await.unwrap();
        if read.may_be_behind {
            behind += 1;
            assert!(matches!(after.get(&key).await, Err(ReadError::MayBeBehind)));
        } else {
            exact += 1;
            assert_eq!(read.row, Some(score("x", key)), "row {key}");
        }
    }
    assert!(exact > 100 && behind > 100, "{exact} are known, {behind} may be behind");
    for key in ROWS..ROWS + 100 {
        after.try_put(&key, &score("mine", key)).expect("others do not take the room");
    }
    after.replicated_all().await.unwrap();
    database.0.store(ROWS + 100, Ordering::SeqCst);
    kafka.commit_all();
    soon("the writes to be persisted", after.flush()).await.unwrap();
    for key in 0..ROWS {
        assert_eq!(after.get(&key).await.unwrap(), Some(score("x", key)), "row {key}");
    }
}

#[tokio::test]
async fn a_log_that_is_not_given_ends_the_building_with_an_error() {
    let kafka = Kafka::start(1);
    let before: Handle = kafka.builder(&[]).build().await.unwrap();
    before.put(&1, &score("x", 1)).await.unwrap().replicated().await.unwrap();
    let refused = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED; 10_000];
    kafka.cluster().request_errors(RDKafkaApiKey::Fetch, &refused);
    let handle = follower(&kafka).start_timeout(Duration::from_secs(1)).build();
    let error = soon("the error", handle).await.unwrap_err();
    assert!(matches!(&error, BuildError::NoAnswer(_)), "{error:?}");
    assert!(error.to_string().contains("1 records of the log were not given"), "{error}");
}
