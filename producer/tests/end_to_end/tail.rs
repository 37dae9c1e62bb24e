//! Following the log when something is wrong: with Kafka, with the log, or with how much there is.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use prometheus::Registry;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use write_behind_producer::{
    BuildError, Event, LoadError, Loaded, Loader, NextOffset, ReadError, WhenFull,
};

use crate::embedded::{Kafka, score, soon, until};
use crate::follow::{Handle, follow, follower, metric, until_read};

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
    let refused = vec![RDKafkaRespErr::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE; 100_000];
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
    let before: Handle = kafka.builder(&[]).build().await.unwrap();
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
    soon("the writes to be persisted", after.persisted_all()).await.unwrap();
    for key in 0..ROWS {
        assert_eq!(after.get(&key).await.unwrap(), Some(score("x", key)), "row {key}");
    }
}

#[tokio::test]
async fn a_log_that_is_not_given_ends_the_building_with_an_error() {
    let kafka = Kafka::start(1);
    let before: Handle = kafka.builder(&[]).build().await.unwrap();
    before.put(&1, &score("x", 1)).await.unwrap().replicated().await.unwrap();
    let refused = vec![RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED; 10_000];
    kafka.cluster().request_errors(RDKafkaApiKey::Fetch, &refused);
    let handle = follower(&kafka).start_timeout(Duration::from_secs(1)).build();
    let error = soon("the error", handle).await.unwrap_err();
    assert!(matches!(&error, BuildError::NoAnswer(_)), "{error:?}");
    assert!(error.to_string().contains("1 records of the log were not given"), "{error}");
}
