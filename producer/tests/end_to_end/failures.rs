//! What is told, and what reads see, when Kafka fails.

use std::time::Duration;

use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use write_behind_producer::{DeliveryError, Event, WriteBehind};

use crate::embedded::{DEADLINE, Kafka, Score, TOPIC, score, soon};

type Handle = WriteBehind<i64, Score>;

#[tokio::test]
async fn a_refused_record_fails_its_write_and_reads_see_what_they_saw_before() {
    let kafka = Kafka::start(1);
    let scores: Handle = kafka.builder(&[]).build().await.unwrap();
    scores.put(&1, &score("good", 1)).await.unwrap().replicated().await.unwrap();
    let refuse = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE];
    kafka.cluster().request_errors(RDKafkaApiKey::Produce, &refuse);
    let bad = scores.put(&1, &score("bad", 2)).await.unwrap();
    let error = soon("the failure", bad.replicated()).await.unwrap_err();
    assert!(matches!(error, DeliveryError::Failed(_)), "{error:?}");
    assert_eq!(scores.get(&1).await.unwrap(), Some(score("good", 1)));
    // The broker refuses nothing any more.
    kafka.cluster().clear_request_errors(RDKafkaApiKey::Produce);
    let next = scores.put(&1, &score("next", 3)).await.unwrap();
    next.replicated().await.unwrap();
    kafka.commit_all();
    // Not `persisted_all`, which waits for the lost write too and fails as it did.
    soon("the rest to be persisted", next.persisted()).await.unwrap();
    assert!(matches!(bad.persisted().await, Err(DeliveryError::Failed(_))), "still known");
    assert_eq!(kafka.log().len(), 2);
}

/// Answers of brokers that may pass: rights are given, replicas come back, clocks are set right.
const PASSING: [RDKafkaRespErr; 6] = [
    RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
    RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART,
    RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
    RDKafkaRespErr::RD_KAFKA_RESP_ERR_POLICY_VIOLATION,
    RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP,
    RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN,
];

#[tokio::test]
async fn what_brokers_do_not_take_for_a_while_is_kept_and_goes_into_the_log_in_order() {
    let kafka = Kafka::start(1);
    let scores: Handle = kafka.builder(&[("batch.num.messages", "7")]).build().await.unwrap();
    let mut written = 0;
    for error in PASSING {
        kafka.cluster().request_errors(RDKafkaApiKey::Produce, &[error; 2]);
        for n in 0..100 {
            scores.put(&(n % 5), &score("kept", written)).await.unwrap();
            written += 1;
        }
        let all = soon("all to be replicated", scores.replicated_all()).await;
        assert_eq!(all, Ok(()), "{error:?}");
    }
    let mut last = None;
    for logged in kafka.log() {
        let sequence = logged.write_id.sequence;
        assert!(last.is_none_or(|last| last + 1 >= sequence), "{sequence} behind {last:?}");
        last = last.max(Some(sequence));
    }
    assert_eq!(last, Some(written as u64 - 1));
}

#[tokio::test]
async fn a_topic_that_kafka_says_is_gone_or_not_ours_for_a_while_keeps_its_writes() {
    for error in [
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
    ] {
        let kafka = Kafka::start(1);
        let quick = [
            ("topic.metadata.propagation.max.ms", "0"),
            ("topic.metadata.refresh.interval.ms", "50"),
            // The writes wait in the client's queue when it drops the topic.
            ("linger.ms", "300"),
        ];
        let scores: Handle = kafka.builder(&quick).build().await.unwrap();
        let mut events = scores.events();
        scores.put(&1, &score("before", 0)).await.unwrap().replicated().await.unwrap();
        kafka.cluster().topic_error(TOPIC, error).unwrap();
        for n in 0..500 {
            scores.put(&(n % 5), &score("during", n)).await.unwrap();
        }
        let held = soon("the partition to be held", events.next()).await;
        assert!(matches!(held, Some(Event::WritesHeld { partition: 0, .. })), "{held:?}");
        for n in 0..500 {
            scores.put(&(n % 5), &score("held", n)).await.unwrap();
        }
        assert_eq!(scores.get(&4).await.unwrap(), Some(score("held", 499)));
        kafka.cluster().topic_error(TOPIC, RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR).unwrap();
        let all = soon("all to be replicated", scores.replicated_all()).await;
        assert_eq!(all, Ok(()), "{error:?}");
        assert_eq!(kafka.fold()["4"], Some(serde_json::json!({"name": "held", "score": 499})));
    }
}

#[tokio::test]
async fn a_topic_that_a_broker_does_not_know_yet_is_asked_for_again() {
    let kafka = Kafka::start(1);
    let unknown = RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
    kafka.cluster().topic_error(TOPIC, unknown).unwrap();
    let spreads = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        kafka.cluster().topic_error(TOPIC, RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR).unwrap();
    };
    let (built, ()) = tokio::join!(kafka.builder(&[]).build(), spreads);
    let scores: Handle = built.unwrap();
    scores.put(&1, &score("known", 1)).await.unwrap().replicated().await.unwrap();
}

/// The first attempt may be in the log, though the second is refused.
#[tokio::test]
async fn a_write_that_is_refused_after_an_answer_was_lost_is_told_as_unknown_and_not_as_failed() {
    let kafka = Kafka::start(1);
    let scores: Handle = kafka.builder(&[]).build().await.unwrap();
    scores.put(&1, &score("good", 1)).await.unwrap().replicated().await.unwrap();
    let refusals = [
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_RECORD,
    ];
    kafka.cluster().request_errors(RDKafkaApiKey::Produce, &refusals);
    let write = scores.put(&1, &score("perhaps", 2)).await.unwrap();
    let error = soon("an end", write.replicated()).await.unwrap_err();
    assert!(matches!(error, DeliveryError::Unknown(_)), "{error:?}");
    assert_eq!(scores.get(&1).await.unwrap(), Some(score("perhaps", 2)), "it may be in the log");
}

#[tokio::test]
async fn the_neighbours_of_a_record_that_a_broker_refuses_are_in_the_log() {
    let kafka = Kafka::start(1);
    let scores: Handle = kafka.builder(&[("linger.ms", "50")]).build().await.unwrap();
    scores.put(&1, &score("good", 1)).await.unwrap().replicated().await.unwrap();
    // The batch, and then the second of its records alone.
    let invalid = RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_RECORD;
    let fine = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR;
    kafka.cluster().request_errors(RDKafkaApiKey::Produce, &[invalid, fine, invalid]);
    let mut writes = Vec::new();
    for id in 2..6 {
        writes.push(scores.put(&id, &score("batch", id)).await.unwrap());
    }
    let mut ends = Vec::new();
    for write in &writes {
        ends.push(soon("an end", write.replicated()).await);
    }
    assert!(matches!(ends[1], Err(DeliveryError::Failed(_))), "{ends:?}");
    assert_eq!((&ends[0], &ends[2], &ends[3]), (&Ok(()), &Ok(()), &Ok(())));
    assert_eq!(scores.get(&3).await.unwrap(), None, "it is nowhere");
    let keys: Vec<String> = kafka.log().into_iter().map(|logged| logged.key).collect();
    assert_eq!(keys, ["1", "2", "4", "5"]);
}

#[tokio::test]
async fn a_batch_that_is_too_large_is_sent_again_in_smaller_ones_and_none_of_its_writes_fails() {
    let kafka = Kafka::start(1);
    let scores: Handle = kafka.builder(&[("linger.ms", "50")]).build().await.unwrap();
    scores.put(&1, &score("good", 1)).await.unwrap().replicated().await.unwrap();
    let too_large = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE];
    kafka.cluster().request_errors(RDKafkaApiKey::Produce, &too_large);
    for id in 2..200 {
        scores.put(&id, &score("batch", id)).await.unwrap();
    }
    assert_eq!(soon("all to be replicated", scores.replicated_all()).await, Ok(()));
    assert_eq!(kafka.log().len(), 199);
}

#[tokio::test]
async fn close_names_the_rows_that_could_not_be_delivered() {
    let kafka = Kafka::start(2);
    let scores: Handle = kafka.builder(&[]).build().await.unwrap();
    scores.put(&1, &score("there", 1)).await.unwrap().replicated().await.unwrap();
    kafka.cluster().broker_down(-1).unwrap();
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
    kafka.cluster().broker_down(-1).unwrap();
    for id in 0..100 {
        scores.put(&id, &score("during", id)).await.unwrap();
    }
    assert_eq!(scores.get(&42).await.unwrap(), Some(score("during", 42)));
    kafka.cluster().broker_up(-1).unwrap();
    soon("all to be replicated", scores.replicated_all()).await.unwrap();
    assert_eq!(kafka.log().len(), 101);
}

#[tokio::test]
async fn a_client_that_fails_for_good_is_replaced_and_what_it_had_is_sent_again_in_order() {
    let kafka = Kafka::start(1);
    let scores: Handle = kafka.builder(&[]).build().await.unwrap();
    let mut events = scores.events();
    scores.put(&1, &score("good", 1)).await.unwrap().replicated().await.unwrap();
    let fatal = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER; 3];
    kafka.cluster().request_errors(RDKafkaApiKey::Produce, &fatal);
    for n in 2..20 {
        scores.put(&(n % 3), &score("caught", n)).await.unwrap();
        scores.add(&7, "score", 1).await.unwrap();
    }
    let failed = soon("the failure", events.next()).await;
    assert!(matches!(failed, Some(Event::ClientFailed { .. })), "{failed:?}");
    kafka.cluster().clear_request_errors(RDKafkaApiKey::Produce);
    // Writes go on while the client is replaced.
    scores.put(&1, &score("meanwhile", 20)).await.unwrap();
    assert_eq!(soon("the recovery", events.next()).await, Some(Event::Recovered));
    soon("all to be replicated", scores.replicated_all()).await.unwrap();
    let sequences: Vec<u64> = kafka.log().iter().map(|logged| logged.write_id.sequence).collect();
    let expected: Vec<u64> = (0..=37).collect();
    assert_eq!(sequences, expected, "each once, in the order in which they were accepted");
    assert_eq!(scores.halted(), None);
    kafka.commit_all();
    soon("all to be persisted", scores.persisted_all()).await.unwrap();
    scores.close(DEADLINE).await.unwrap();
}

#[tokio::test]
async fn an_acknowledgement_without_a_credible_offset_waits_for_the_end_of_the_log() {
    let kafka = Kafka::start(1);
    let scores: Handle = kafka.builder(&[]).build().await.unwrap();
    let duplicate = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_DUPLICATE_SEQUENCE_NUMBER];
    kafka.cluster().request_errors(RDKafkaApiKey::Produce, &duplicate);
    let first = scores.put(&1, &score("a", 1)).await.unwrap();
    soon("an acknowledgement", first.replicated()).await.unwrap();
    scores.put(&2, &score("b", 1)).await.unwrap().replicated().await.unwrap();
    kafka.commit_all();
    soon("both to be persisted", scores.persisted_all()).await.unwrap();
}

/// A write that a broker refuses, and nobody waits for.
async fn lose_one(kafka: &Kafka, scores: &Handle) {
    let mut events = scores.events();
    let refuse = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE];
    kafka.cluster().request_errors(RDKafkaApiKey::Produce, &refuse);
    scores.put(&1, &score("bad", 2)).await.unwrap();
    let event = soon("the loss", events.next()).await;
    assert!(matches!(event, Some(Event::WriteLost { .. })), "{event:?}");
    kafka.cluster().clear_request_errors(RDKafkaApiKey::Produce);
}

#[tokio::test]
async fn a_loss_that_nobody_was_told_of_is_told_by_the_next_call_that_waits_for_all() {
    let kafka = Kafka::start(1);
    let scores: Handle = kafka.builder(&[]).build().await.unwrap();
    lose_one(&kafka, &scores).await;
    scores.put(&2, &score("good", 1)).await.unwrap().replicated().await.unwrap();
    let told = soon("an answer", scores.replicated_all()).await;
    assert!(matches!(told, Err(DeliveryError::Failed(_))), "{told:?}");
    assert_eq!(scores.replicated_all().await, Ok(()), "it was told");
    lose_one(&kafka, &scores).await;
    kafka.commit_all();
    let told = soon("an answer", scores.persisted_all()).await;
    assert!(matches!(told, Err(DeliveryError::Failed(_))), "{told:?}");
    assert_eq!(soon("an answer", scores.persisted_all()).await, Ok(()), "it was told");
    lose_one(&kafka, &scores).await;
    let told = scores.close(DEADLINE).await.unwrap_err();
    assert!(matches!(told.lost, Some(DeliveryError::Failed(_))), "{told}");
    assert_eq!((told.writes, told.keys.len()), (0, 0));
    assert_eq!(scores.close(DEADLINE).await, Ok(()), "it was told");
}
