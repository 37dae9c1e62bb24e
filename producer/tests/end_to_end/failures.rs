//! What is told, and what reads see, when Kafka fails.

use std::time::Duration;

use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use write_behind_producer::{DeliveryError, Halt, WriteBehind, WriteError};

use crate::embedded::{DEADLINE, Kafka, Score, score, soon, until};

type Handle = WriteBehind<i64, Score>;

#[tokio::test]
async fn a_refused_record_fails_its_write_and_reads_see_what_they_saw_before() {
    let kafka = Kafka::start(1);
    let scores: Handle = kafka.builder(&[]).build().await.unwrap();
    scores.put(&1, &score("good", 1)).await.unwrap().replicated().await.unwrap();
    let refuse = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE];
    kafka.cluster.request_errors(RDKafkaApiKey::Produce, &refuse);
    let bad = scores.put(&1, &score("bad", 2)).await.unwrap();
    let error = soon("the failure", bad.replicated()).await.unwrap_err();
    assert!(matches!(error, DeliveryError::Failed(_)), "{error:?}");
    assert_eq!(scores.get(&1).await.unwrap(), Some(score("good", 1)));
    // The broker refuses nothing any more.
    kafka.cluster.clear_request_errors(RDKafkaApiKey::Produce);
    scores.put(&1, &score("next", 3)).await.unwrap().replicated().await.unwrap();
    kafka.commit_all();
    soon("the rest to be persisted", scores.flush()).await.unwrap();
    assert!(matches!(bad.persisted().await, Err(DeliveryError::Failed(_))), "still known");
    assert_eq!(kafka.log().len(), 2);
}

#[tokio::test]
async fn close_names_the_rows_that_could_not_be_delivered() {
    let kafka = Kafka::start(2);
    let scores: Handle = kafka.builder(&[]).build().await.unwrap();
    scores.put(&1, &score("there", 1)).await.unwrap().replicated().await.unwrap();
    kafka.cluster.broker_down(-1).unwrap();
    let lost = scores.put(&2, &score("lost", 1)).await.unwrap();
    scores.put(&3, &score("lost", 1)).await.unwrap();
    scores.put(&3, &score("lost", 2)).await.unwrap();
    let undelivered = scores.close(Duration::from_millis(300)).await.unwrap_err();
    assert_eq!(undelivered.keys, ["2", "3"]);
    assert_eq!(undelivered.writes, 3);
    let error = soon("an answer", lost.replicated()).await.unwrap_err();
    assert!(matches!(error, DeliveryError::Unknown(_)), "{error:?}");
    assert_eq!(scores.get(&2).await.unwrap(), Some(score("lost", 1)), "it may be in the log");
}

#[tokio::test]
async fn an_outage_of_kafka_delays_writes_and_loses_none() {
    let kafka = Kafka::start(2);
    let quick = [("reconnect.backoff.ms", "10"), ("reconnect.backoff.max.ms", "50")];
    let scores: Handle = kafka.builder(&quick).build().await.unwrap();
    scores.put(&1, &score("before", 1)).await.unwrap().replicated().await.unwrap();
    kafka.cluster.broker_down(-1).unwrap();
    for id in 0..100 {
        scores.put(&id, &score("during", id)).await.unwrap();
    }
    assert_eq!(scores.get(&42).await.unwrap(), Some(score("during", 42)));
    kafka.cluster.broker_up(-1).unwrap();
    soon("all to be replicated", scores.replicated_all()).await.unwrap();
    assert_eq!(kafka.log().len(), 101);
}

#[tokio::test]
async fn a_fatal_error_of_the_client_halts_writes_and_says_why() {
    let kafka = Kafka::start(1);
    let scores: Handle = kafka.builder(&[]).build().await.unwrap();
    scores.put(&1, &score("good", 1)).await.unwrap().replicated().await.unwrap();
    let fatal = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER; 3];
    kafka.cluster.request_errors(RDKafkaApiKey::Produce, &fatal);
    let write = scores.put(&1, &score("caught", 2)).await.unwrap();
    let error = soon("an answer", write.replicated()).await.unwrap_err();
    assert!(matches!(error, DeliveryError::Unknown(_)), "{error:?}");
    until("writes are halted", || scores.halted().is_some()).await;
    let halted = scores.put(&2, &score("late", 1)).await.unwrap_err();
    assert!(matches!(halted, WriteError::Halted(Halt::Fatal(_))), "{halted:?}");
    assert_eq!(scores.get(&2).await.unwrap(), None);
    scores.close(DEADLINE).await.unwrap();
}

#[tokio::test]
async fn an_acknowledgement_without_a_credible_offset_waits_for_the_end_of_the_log() {
    let kafka = Kafka::start(1);
    let scores: Handle = kafka.builder(&[]).build().await.unwrap();
    let duplicate = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_DUPLICATE_SEQUENCE_NUMBER];
    kafka.cluster.request_errors(RDKafkaApiKey::Produce, &duplicate);
    let first = scores.put(&1, &score("a", 1)).await.unwrap();
    soon("an acknowledgement", first.replicated()).await.unwrap();
    scores.put(&2, &score("b", 1)).await.unwrap().replicated().await.unwrap();
    kafka.commit_all();
    soon("both to be persisted", scores.flush()).await.unwrap();
}
