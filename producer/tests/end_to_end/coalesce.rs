//! Writes of one row that are gathered into one record.

use std::time::Duration;

use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use write_behind_producer::{DeliveryError, Priority, WhenFull, WriteBehind, WriteError};

use crate::embedded::{DEADLINE, Kafka, Score, score, soon};

type Handle = WriteBehind<i64, Score>;

#[tokio::test]
async fn ten_thousand_increments_become_a_handful_of_records_and_each_write_is_answered() {
    let kafka = Kafka::start(2);
    let builder = kafka.builder(&[]).coalesce(Duration::from_millis(100));
    let scores: Handle = builder.build().await.unwrap();
    scores.put(&7, &score("ada", 0)).await.unwrap();
    let mut writes = Vec::new();
    for n in 1..=10_000 {
        writes.push(scores.add(&7, "score", 1).await.unwrap());
        if n % 1_000 == 0 {
            let seen = scores.get(&7).await.unwrap();
            assert_eq!(seen, Some(score("ada", n)), "every write is visible at once");
        }
    }
    for write in writes {
        soon("a write", write.replicated()).await.unwrap();
    }
    let log = kafka.log();
    assert!(log.len() < 1_000, "{} records", log.len());
    assert_eq!(kafka.fold()["7"], Some(serde_json::json!(score("ada", 10_000))));
    kafka.commit_all();
    soon("all to be persisted", scores.persisted_all()).await.unwrap();
    scores.close(DEADLINE).await.unwrap();
}

#[tokio::test]
async fn what_one_record_cannot_say_is_a_record_of_its_own_in_order() {
    let kafka = Kafka::start(1);
    let scores: Handle = kafka.builder(&[]).coalesce(Duration::from_mins(1)).build().await.unwrap();
    scores.put(&1, &score("a", 1)).await.unwrap();
    scores.put(&2, &score("other", 1)).await.unwrap();
    scores.add(&1, "score", 5).await.unwrap();
    scores.delete(&1).await.unwrap();
    scores.put(&1, &score("b", 2)).await.unwrap();
    scores.update(&1, &serde_json::json!({"name": "c"})).await.unwrap();
    assert_eq!(scores.get(&1).await.unwrap(), Some(score("c", 2)));
    assert_eq!(kafka.log().len(), 0, "they wait for the window");
    // The window is not waited for at the end.
    scores.close(DEADLINE).await.unwrap();
    let log = kafka.log();
    let said: Vec<_> = log
        .iter()
        .map(|logged| (&*logged.key, logged.value.as_deref().map(String::from_utf8_lossy)))
        .collect();
    let put = r#"{"name":"c","score":2}"#;
    let other = r#"{"name":"other","score":1}"#;
    assert_eq!(
        said,
        [("1", None), ("2", Some(other.into())), ("1", Some(put.into()))],
        "the delete went with what it deletes; nothing goes with a delete before it"
    );
}

/// A handle that gathers for long and holds little.
async fn small(kafka: &Kafka) -> Handle {
    let builder = kafka.builder(&[]).coalesce(Duration::from_mins(1));
    builder.max_pending(2_000, WhenFull::Reject).build().await.unwrap()
}

#[tokio::test]
async fn what_is_gathered_counts_as_one_against_the_limit() {
    let kafka = Kafka::start(1);
    let scores = small(&kafka).await;
    for n in 0..1_000 {
        scores.try_put(&1, &score("x", n)).unwrap();
    }
    assert_eq!(scores.get(&1).await.unwrap(), Some(score("x", 999)));
    scores.close(DEADLINE).await.unwrap();
    assert_eq!(kafka.log().len(), 1);
}

#[tokio::test]
async fn a_full_handle_takes_an_increment_that_goes_with_an_earlier_one_of_its_row() {
    let kafka = Kafka::start(1);
    let scores = small(&kafka).await;
    scores.try_add(&1, "score", 1).unwrap();
    let mut others = 2..;
    let full = others.find_map(|id| scores.try_add(&id, "score", 1).err()).unwrap();
    assert!(matches!(full, WriteError::Overloaded(_)) && full.may_pass(), "{full}");
    for _ in 0..1_000 {
        scores.try_add(&1, "score", 1).unwrap();
    }
    let longer = scores.try_put(&1, &score(&"x".repeat(600), 1)).unwrap_err();
    assert!(matches!(longer, WriteError::Overloaded(_)), "it says more than there is room for");
    scores.close(DEADLINE).await.unwrap();
    let sum = kafka.fold()["1"].clone().unwrap();
    assert_eq!(sum["score"], serde_json::json!(1_001));
}

#[tokio::test]
async fn writes_that_are_lost_with_the_one_they_went_with_are_counted_each() {
    let kafka = Kafka::start(1);
    let scores: Handle =
        kafka.builder(&[]).coalesce(Duration::from_hours(1)).build().await.unwrap();
    let refuse = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE];
    kafka.cluster().request_errors(RDKafkaApiKey::Produce, &refuse);
    let mut writes = vec![scores.put(&1, &score("ada", 0)).await.unwrap()];
    for _ in 0..9 {
        writes.push(scores.add(&1, "score", 1).await.unwrap());
    }
    // It does not wait for its window.
    let lost = scores.with_priority(Priority::High).add(&1, "score", 1).await.unwrap();
    let error = soon("the loss", lost.replicated()).await.unwrap_err();
    assert!(matches!(error, DeliveryError::Failed(_)), "{error}");
    for write in writes {
        assert_eq!(write.replicated().await, Err(error.clone()), "each is told");
    }
    let stats = scores.stats();
    assert_eq!((stats.writes, stats.coalesced, stats.lost), (11, 10, 11));
}
