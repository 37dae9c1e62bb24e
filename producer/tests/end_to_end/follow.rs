//! Following the log: what others write, and what was written in an earlier life.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use prometheus::Registry;
use rdkafka::config::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::json;
use uuid::Uuid;
use write_behind_producer::{Builder, LoadError, Loader, WriteBehind};
use write_behind_shared::metrics::render;
use write_behind_shared::partition::partition_of;
use write_behind_shared::{WriteId, record};

use crate::embedded::{DEADLINE, Kafka, Score, TOPIC, score, soon, until};
use crate::raw_record::RawRecord;

pub(crate) type Handle = WriteBehind<i64, Score>;

/// The embedded broker answers an empty fetch only when this is over.
pub(crate) const PROMPT: &[(&str, &str)] = &[("fetch.wait.max.ms", "10")];

pub(crate) fn follower(kafka: &Kafka) -> Builder<i64, Score> {
    kafka.builder(PROMPT).follow(true)
}

pub(crate) async fn follow(kafka: &Kafka) -> Handle {
    soon("the handle", follower(kafka).build()).await.unwrap()
}

/// Waits until `handle` reads `expected` under `key`.
pub(crate) async fn until_read(handle: &Handle, key: i64, expected: Option<Score>) {
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
pub(crate) fn metric(registry: &Registry, name: &str) -> f64 {
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
        self.send_as(kafka, key, value, add, None);
    }

    fn send_as(
        &self,
        kafka: &Kafka,
        key: &[u8],
        value: Option<&[u8]>,
        add: Option<&str>,
        write_id: Option<WriteId>,
    ) {
        let partition = partition_of(key, kafka.partitions).0;
        let mut message = BaseRecord::to(TOPIC).key(key).partition(partition);
        if let Some(value) = value {
            message = message.payload(value);
        }
        let mut headers = OwnedHeaders::new();
        if let Some(add) = add {
            headers = headers.insert(Header { key: record::ADD, value: Some(add) });
        }
        if let Some(id) = write_id {
            headers = headers.insert(Header { key: record::WRITE_ID, value: Some(&id.encode()) });
        }
        self.0.send(message.headers(headers)).map_err(|(error, _)| error).unwrap();
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
    soon("the writes to be persisted", here.persisted_all()).await.unwrap();
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
async fn a_producers_duplicate_counts_once() {
    let kafka = Kafka::start(1);
    let foreign = Foreign::of(&kafka);
    let here = follow(&kafka).await;
    let writer = Uuid::new_v4();
    foreign.send(&kafka, b"1", Some(br#"{"name": "x", "score": 0}"#), None);
    for sequence in [0, 1, 1, 2, 0, 2, 3] {
        let id = Some(WriteId { writer, sequence });
        foreign.send_as(&kafka, b"1", Some(br#"{"score": 1}"#), Some("score"), id);
    }
    foreign.send(&kafka, b"2", Some(br#"{"name": "mark", "score": 0}"#), None);
    foreign.flush();
    until_read(&here, 2, Some(score("mark", 0))).await;
    assert_eq!(here.get(&1).await.unwrap(), Some(score("x", 4)));
}

/// Counts the loads of rows that are all alike.
fn counting(loads: &Arc<AtomicI64>) -> impl Loader<i64> + use<> {
    let loads = Arc::clone(loads);
    move |_: i64| {
        loads.fetch_add(1, Ordering::SeqCst);
        async { Ok::<_, LoadError>(Some(score("stored", 1))) }
    }
}

#[tokio::test]
async fn a_clean_copy_gives_way_to_what_another_writes() {
    let kafka = Kafka::start(1);
    let loads = Arc::new(AtomicI64::new(0));
    let registry = Registry::new();
    let here = follower(&kafka).loader(counting(&loads)).metrics(&registry).build();
    let here = soon("the handle", here).await.unwrap();
    let there: Handle = kafka.builder(&[]).build().await.unwrap();
    there.put(&1, &score("x", 1)).await.unwrap();
    until_read(&here, 1, Some(score("x", 1))).await;
    until("the row is measured as pending", || metric(&registry, "pending_rows") > 0.5).await;
    kafka.commit_all();
    until("the row is cached", || metric(&registry, "pending_rows") < 0.5).await;
    let loads_before = loads.load(Ordering::SeqCst);
    assert_eq!(here.get(&1).await.unwrap(), Some(score("x", 1)));
    assert_eq!(loads.load(Ordering::SeqCst), loads_before);
    there.add(&1, "score", 4).await.unwrap();
    until_read(&here, 1, Some(score("x", 5))).await;
    there.delete(&1).await.unwrap();
    until_read(&here, 1, None).await;
}

#[tokio::test]
async fn a_row_that_a_closure_found_is_not_kept_while_following() {
    let kafka = Kafka::start(1);
    let loads = Arc::new(AtomicI64::new(0));
    let here = follower(&kafka).loader(counting(&loads)).build();
    let here = soon("the handle", here).await.unwrap();
    for _ in 0..3 {
        assert_eq!(here.get(&1).await.unwrap(), Some(score("stored", 1)));
    }
    assert_eq!(loads.load(Ordering::SeqCst), 3, "it may miss what the tail will not bring again");
    let there: Handle = kafka.builder(&[]).build().await.unwrap();
    there.put(&1, &score("new", 2)).await.unwrap();
    until_read(&here, 1, Some(score("new", 2))).await;
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
async fn a_header_whose_name_is_no_text_makes_a_bad_record_and_the_tail_goes_on() {
    let kafka = Kafka::start(1);
    let here = follow(&kafka).await;
    let broker = kafka.cluster().bootstrap_servers();
    for (header, score) in [(&b"\xffx"[..], 1), (b"fine", 2), (b"\xff\xfe", 3)] {
        let value = json!({ "name": "raw", "score": score }).to_string();
        RawRecord { key: b"7", value: value.as_bytes(), header }.send(&broker, TOPIC, 0);
    }
    let there: Handle = kafka.builder(&[]).build().await.unwrap();
    there.put(&8, &score("after", 8)).await.unwrap();
    until_read(&here, 8, Some(score("after", 8))).await;
    until_read(&here, 7, Some(score("raw", 2))).await;
}
