//! From accepted to replicated to persisted.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::json;
use write_behind_producer::{BuildError, Change, DeliveryError, WriteBehind, WriteError};

use crate::embedded::{DEADLINE, GROUP, Kafka, Score, TOPIC, score, soon};

type Handle = WriteBehind<i64, Score>;

/// Long enough for a watermark to move if it wrongly would.
async fn stays_pending<T>(future: impl Future<Output = T>) -> bool {
    tokio::time::timeout(Duration::from_millis(150), future).await.is_err()
}

#[tokio::test]
async fn a_write_is_visible_at_once_then_replicated_then_persisted() {
    let kafka = Kafka::start(4);
    let scores: Handle = kafka.builder(&[]).build().await.unwrap();
    let write = scores.put(&7, &score("ada", 3)).await.unwrap();
    assert_eq!(scores.get(&7).await.unwrap(), Some(score("ada", 3)));
    soon("the write to be replicated", write.replicated()).await.unwrap();
    let log = kafka.log();
    assert_eq!(log.len(), 1);
    assert_eq!(log[0].key, "7");
    assert_eq!(log[0].write_id.sequence, 0);
    let sent: Score = serde_json::from_slice(log[0].value.as_ref().unwrap()).unwrap();
    assert_eq!(sent, score("ada", 3));

    assert!(stays_pending(write.persisted()).await, "nothing is committed");
    kafka.commit(log[0].partition, log[0].offset);
    assert!(stays_pending(write.persisted()).await, "the write's own offset is not past it");
    kafka.commit(log[0].partition, log[0].offset + 1);
    soon("the write to be persisted", write.persisted()).await.unwrap();
    assert_eq!(scores.get(&7).await.unwrap(), Some(score("ada", 3)), "now cached");
    scores.close(DEADLINE).await.unwrap();
}

#[tokio::test]
async fn an_offset_past_the_end_of_the_log_persists_nothing() {
    let kafka = Kafka::start(1);
    let scores: Handle = kafka.builder(&[]).build().await.unwrap();
    let write = scores.put(&7, &score("ada", 3)).await.unwrap();
    write.replicated().await.unwrap();
    kafka.commit(0, 999_999);
    assert!(stays_pending(write.persisted()).await);
    kafka.commit(0, 1);
    soon("the write to be persisted", write.persisted()).await.unwrap();
}

#[tokio::test]
async fn every_kind_of_write_is_read_back_and_folds_to_the_same_in_the_log() {
    let kafka = Kafka::start(3);
    let scores: Handle = kafka.builder(&[]).build().await.unwrap();
    for id in 0..20 {
        scores.put(&id, &score("x", id)).await.unwrap();
        scores.add(&id, "score", 5).await.unwrap();
        scores.update(&id, &json!({"name": format!("n{id}")})).await.unwrap();
        let change = Change::new().set("name", &"both").unwrap().add("score", -1);
        scores.change(&id, change).await.unwrap();
        if id % 2 == 0 {
            scores.delete(&id).await.unwrap();
        }
    }
    scores.replicated_all().await.unwrap();
    let rows = kafka.fold();
    for id in 0..20 {
        let seen = scores.get(&id).await.unwrap().map(|row| json!(row));
        assert_eq!(seen.as_ref(), rows[&id.to_string()].as_ref(), "row {id}");
        assert_eq!(seen.is_some(), id % 2 == 1);
    }
    kafka.commit_all();
    soon("all to be persisted", scores.persisted_all()).await.unwrap();
}

#[tokio::test]
async fn write_ids_count_from_zero_without_gaps_in_every_partition() {
    let kafka = Kafka::start(3);
    let scores: Handle = kafka.builder(&[]).build().await.unwrap();
    for id in 0..300 {
        scores.try_put(&id, &score("x", id)).unwrap();
    }
    scores.replicated_all().await.unwrap();
    let mut next: HashMap<i32, u64> = HashMap::new();
    for logged in kafka.log() {
        let expected = next.entry(logged.partition).or_default();
        assert_eq!(logged.write_id.sequence, *expected, "partition {}", logged.partition);
        *expected += 1;
    }
    assert_eq!(next.len(), 3, "all partitions are used");
    assert_eq!(next.values().sum::<u64>(), 300);
}

#[tokio::test]
async fn waiting_can_be_cancelled_and_done_again_later() {
    let kafka = Kafka::start(1);
    let scores: Handle = kafka.builder(&[("linger.ms", "200")]).build().await.unwrap();
    let write = scores.put(&1, &score("a", 1)).await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(5), write.replicated()).await;
    assert!(early.is_err());
    soon("the write all the same", write.replicated()).await.unwrap();
    write.replicated().await.unwrap();
}

#[tokio::test]
async fn a_topic_that_does_not_exist_is_an_error_and_is_not_made() {
    let kafka = Kafka::start(1);
    let builder = WriteBehind::<i64, Score>::builder("no-such-topic", kafka.properties());
    let error = builder.sink_group(GROUP).build().await.unwrap_err();
    assert!(matches!(error, BuildError::NoTopic(topic) if topic == "no-such-topic"));
}

#[tokio::test]
async fn a_handle_needs_a_sink_group_and_no_reserved_property() {
    let properties = [("bootstrap.servers", "localhost:1")];
    let handle = WriteBehind::<i64, Score>::builder(TOPIC, properties);
    assert!(matches!(handle.build().await, Err(BuildError::NoSinkGroup)));
    let properties = [("bootstrap.servers", "localhost:1"), ("acks", "1")];
    let handle = WriteBehind::<i64, Score>::builder(TOPIC, properties).sink_group(GROUP);
    assert!(matches!(handle.build().await, Err(BuildError::Settings(_))));
}

#[tokio::test]
async fn a_closed_handle_has_delivered_all_and_takes_no_more() {
    let kafka = Kafka::start(2);
    let scores: Handle = kafka.builder(&[("linger.ms", "100")]).build().await.unwrap();
    for id in 0..50 {
        scores.put(&id, &score("x", id)).await.unwrap();
    }
    let last = scores.put(&50, &score("x", 50)).await.unwrap();
    scores.close(DEADLINE).await.unwrap();
    assert_eq!(kafka.log().len(), 51);
    assert_eq!(scores.put(&1, &score("y", 1)).await.unwrap_err(), WriteError::Closed);
    assert_eq!(scores.try_delete(&1).unwrap_err(), WriteError::Closed);
    assert_eq!(last.replicated().await, Ok(()));
    assert_eq!(last.persisted().await, Err(DeliveryError::Closed));
    scores.close(DEADLINE).await.unwrap();
}
