//! The `testing` feature as a service's own tests would use it.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a broken test bed fails the test")]

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;
use write_behind_producer::testing::{Broker, Record, Sink, TestingError};
use write_behind_producer::{DeliveryError, ReadError, WriteBehind};

const DEADLINE: Duration = Duration::from_secs(20);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Score {
    name: String,
    points: i64,
}

type Scores = WriteBehind<u64, Score>;

fn ada(points: i64) -> Score {
    Score { name: "ada".to_owned(), points }
}

async fn handle(kafka: &Broker, sink: &Sink) -> Scores {
    WriteBehind::builder("scores", kafka.properties())
        .sink_group("sink")
        .poll_interval(Duration::from_millis(10))
        .loader(sink.loader())
        .build()
        .await
        .unwrap()
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.expect("it comes before the deadline")
}

#[tokio::test]
async fn what_is_applied_is_persisted_and_what_is_not_is_not() {
    let kafka = Broker::start().unwrap().topic("scores", 1).unwrap();
    let sink = kafka.sink("scores", "sink").unwrap();
    let scores = handle(&kafka, &sink).await;
    let first = scores.put(&7, &ada(1)).await.unwrap();
    let second = scores.add(&7, "points", 10).await.unwrap();
    scores.replicated_all().await.unwrap();

    sink.apply(1).unwrap();
    soon(first.persisted()).await.unwrap();
    assert_eq!(sink.row(&7).unwrap(), Some(json!({"name": "ada", "points": 1})));
    let early = tokio::time::timeout(Duration::from_millis(50), second.persisted()).await;
    assert!(early.is_err(), "one record was applied, not two");
    assert_eq!(scores.get(&7).await.unwrap(), Some(ada(11)));

    assert_eq!(sink.apply_all().unwrap(), 1);
    soon(scores.persisted_all()).await.unwrap();
    assert_eq!(
        sink.rows().into_iter().collect::<Vec<_>>(),
        [("7".to_owned(), json!({"name": "ada", "points": 11}))]
    );
    assert_eq!((sink.duplicates(), sink.gaps(), sink.dead_letters().len()), (0, 0, 0));
}

#[tokio::test]
async fn a_new_handle_reads_what_the_table_holds_and_adds_to_it_exactly() {
    let kafka = Broker::start().unwrap().topic("scores", 4).unwrap();
    let sink = kafka.sink("scores", "sink").unwrap();
    let before = handle(&kafka, &sink).await;
    before.put(&7, &ada(1)).await.unwrap();
    before.close(DEADLINE).await.unwrap();
    sink.apply_all().unwrap();

    let after = handle(&kafka, &sink).await;
    after.add(&7, "points", 10).await.unwrap();
    assert_eq!(after.get(&7).await.unwrap(), Some(ada(11)));
    after.replicated_all().await.unwrap();
    sink.apply_all().unwrap();
    assert_eq!(after.get(&7).await.unwrap(), Some(ada(11)), "the same once it is applied");
    assert_eq!(sink.row(&7).unwrap(), Some(json!({"name": "ada", "points": 11})));
}

#[tokio::test]
async fn the_brokers_go_away_and_come_back_with_all_they_had() {
    let kafka = Broker::start().unwrap().topic("scores", 2).unwrap();
    let sink = kafka.sink("scores", "sink").unwrap();
    let scores = handle(&kafka, &sink).await;
    soon(scores.put(&1, &ada(1)).await.unwrap().replicated()).await.unwrap();
    kafka.brokers_down().unwrap();
    let write = scores.put(&1, &ada(2)).await.unwrap();
    assert_eq!(scores.get(&1).await.unwrap(), Some(ada(2)), "visible all the same");
    assert_eq!(sink.apply_all().unwrap_err(), TestingError::BrokersDown);
    kafka.brokers_up().unwrap();
    soon(write.replicated()).await.unwrap();
    assert_eq!(sink.apply_all().unwrap(), 2);
    soon(scores.persisted_all()).await.unwrap();
    assert_eq!(sink.row(&1).unwrap(), Some(json!(ada(2))));
}

#[tokio::test]
async fn while_the_database_is_down_nothing_is_applied_and_loads_fail() {
    let kafka = Broker::start().unwrap().topic("scores", 1).unwrap();
    let sink = kafka.sink("scores", "sink").unwrap();
    let scores = handle(&kafka, &sink).await;
    soon(scores.put(&1, &ada(1)).await.unwrap().replicated()).await.unwrap();
    sink.database_down();
    assert_eq!(sink.apply_all().unwrap_err(), TestingError::DatabaseDown);
    assert_eq!(scores.get(&1).await.unwrap(), Some(ada(1)), "what is pending needs no database");
    assert!(matches!(scores.get(&2).await, Err(ReadError::Load(_))));
    sink.database_up();
    assert_eq!(sink.apply_all().unwrap(), 1);
    assert_eq!(scores.get(&2).await.unwrap(), None);
}

#[tokio::test]
async fn a_refused_write_fails_and_the_next_one_does_not() {
    let kafka = Broker::start().unwrap().topic("scores", 1).unwrap();
    let sink = kafka.sink("scores", "sink").unwrap();
    let scores = handle(&kafka, &sink).await;
    kafka.refuse_writes(1).unwrap();
    let refused = scores.put(&1, &ada(1)).await.unwrap();
    assert!(matches!(soon(refused.replicated()).await, Err(DeliveryError::Failed(_))));
    soon(scores.put(&1, &ada(2)).await.unwrap().replicated()).await.unwrap();
    assert_eq!(kafka.log("scores").unwrap().len(), 1);
}

#[tokio::test]
async fn what_a_database_would_refuse_is_a_dead_letter_and_its_writer_is_told() {
    let kafka = Broker::start().unwrap().topic("scores", 1).unwrap();
    let sink = kafka.sink("scores", "sink").unwrap();
    let scores = handle(&kafka, &sink).await;
    scores.put(&1, &ada(1)).await.unwrap();
    let bad = scores.add(&1, "name", 1).await.unwrap();
    scores.replicated_all().await.unwrap();
    sink.apply_all().unwrap();
    assert!(matches!(soon(bad.persisted()).await, Err(DeliveryError::DeadLetter(_))));
    assert_eq!(scores.get(&1).await.unwrap(), Some(ada(1)), "reads no longer see it");
    assert_eq!(sink.dead_letters().len(), 1);
}

#[tokio::test]
async fn a_broker_that_answers_late_delays_and_loses_nothing() {
    let kafka = Broker::start().unwrap().topic("scores", 1).unwrap();
    let sink = kafka.sink("scores", "sink").unwrap();
    let scores = handle(&kafka, &sink).await;
    soon(scores.put(&1, &ada(1)).await.unwrap().replicated()).await.unwrap();
    kafka.answer_late(Duration::from_millis(500)).unwrap();
    let late = scores.put(&1, &ada(2)).await.unwrap();
    let early = late.replicated_within(Duration::from_millis(100)).await;
    assert_eq!(early, Err(DeliveryError::TimedOut));
    soon(late.replicated()).await.unwrap();
}

#[tokio::test]
async fn records_that_the_broker_dropped_before_they_were_applied_are_told_not_skipped() {
    let kafka = Broker::start().unwrap().topic("scores", 1).unwrap();
    let sink = kafka.sink("scores", "sink").unwrap();
    let scores = handle(&kafka, &sink).await;
    let large = Score { name: "x".repeat(100_000), points: 1 };
    for id in 0..60 {
        scores.put(&id, &large).await.unwrap();
    }
    soon(scores.replicated_all()).await.unwrap();
    let gone = sink.apply_all().unwrap_err();
    assert!(matches!(gone, TestingError::LogGone { .. }), "{gone}");
    assert_eq!((sink.applied(), sink.rows().len()), (0, 0));
}

#[tokio::test]
async fn the_log_shows_what_was_sent() {
    let kafka = Broker::start().unwrap().topic("scores", 1).unwrap();
    let sink = kafka.sink("scores", "sink").unwrap();
    let scores = handle(&kafka, &sink).await;
    scores.put(&7, &ada(1)).await.unwrap();
    scores.add(&7, "points", 10).await.unwrap();
    scores.delete(&7).await.unwrap();
    scores.replicated_all().await.unwrap();
    let log = kafka.log("scores").unwrap();
    let values: Vec<_> = log.iter().map(Record::json).collect();
    assert_eq!(values, [Some(json!(ada(1))), Some(json!({"points": 10})), None]);
    assert_eq!(log[1].added_columns(), ["points"]);
    let sequences: Vec<_> = log.iter().map(|r| r.write_id().map(|id| id.sequence)).collect();
    assert_eq!(sequences, [Some(0), Some(1), Some(2)]);
    assert!(log.iter().all(|record| record.key_text() == "7"));
}

#[tokio::test]
async fn a_sink_that_applies_by_itself_persists_what_comes() {
    let kafka = Broker::start().unwrap().topic("scores", 2).unwrap();
    let sink = kafka.sink("scores", "sink").unwrap();
    let scores = handle(&kafka, &sink).await;
    let applying = sink.apply_every(Duration::from_millis(5)).unwrap();
    for id in 0..100 {
        scores.put(&id, &ada(1)).await.unwrap();
    }
    soon(scores.persisted_all()).await.unwrap();
    assert_eq!((sink.rows().len(), sink.applied()), (100, 100));
    drop(applying);
    let late = scores.put(&7, &ada(2)).await.unwrap();
    soon(late.replicated()).await.unwrap();
    let never = tokio::time::timeout(Duration::from_millis(50), late.persisted()).await;
    assert!(never.is_err(), "dropped, it applies nothing any more");
}

#[test]
fn mistakes_are_told_with_what_to_do() {
    let kafka = Broker::start().unwrap();
    let none = kafka.clone().topic("scores", 0).unwrap_err();
    assert_eq!(
        none.to_string(),
        "the topic \"scores\" cannot have 0 partitions; give it one or more"
    );
    let kafka = kafka.topic("scores", 1).unwrap();
    let twice = kafka.clone().topic("scores", 1).unwrap_err();
    assert_eq!(twice, TestingError::TopicExists("scores".to_owned()));
    let misspelt = kafka.sink("score", "sink").unwrap_err();
    assert_eq!(
        misspelt.to_string(),
        "the embedded broker has no topic \"score\", only [\"scores\"]; create it with \
         `.topic(\"score\", partitions)`"
    );
    let sink = kafka.sink("scores", "sink").unwrap();
    assert_eq!(sink.apply(1).unwrap_err(), TestingError::TooFew { wanted: 1, found: 0 });
    assert!(matches!(sink.row(&1.5), Err(TestingError::Key(_))));
}
