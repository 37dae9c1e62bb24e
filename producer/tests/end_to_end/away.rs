//! Handles that are built while Kafka is away: the same build again, or a start without it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use prometheus::Registry;
use write_behind_producer::{
    BuildError, Event, Halt, KafkaCause, LoadError, Loaded, Loader, Source, WriteBehind, WriteError,
};

use crate::embedded::{DEADLINE, Kafka, Score, score, soon};

type Handle = WriteBehind<i64, Score>;

const SOON: Duration = Duration::from_millis(200);

/// A loader that counts how often it was prepared, and finds a row only then.
struct Prepared(Arc<AtomicUsize>);

impl Loader<i64> for Prepared {
    async fn prepare(&self, source: &Source) -> Result<(), LoadError> {
        assert_eq!((&*source.topic, source.partitions), ("scores", 2));
        assert!(!source.cluster.is_empty());
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    async fn load(&self, id: &i64) -> Result<Loaded, LoadError> {
        assert!(self.0.load(Ordering::SeqCst) > 0, "it was not prepared");
        Loaded::row(&score("loaded", *id))
    }
}

#[tokio::test]
async fn a_handle_that_starts_offline_takes_writes_and_sends_them_once_kafka_answers() {
    let kafka = Kafka::start(2);
    kafka.broker.brokers_down().unwrap();
    let prepared = Arc::new(AtomicUsize::new(0));
    let builder = kafka.builder(&[]).start_timeout(SOON).start_offline(2);
    let scores: Handle = builder.loader(Prepared(Arc::clone(&prepared))).build().await.unwrap();
    let mut events = scores.events();
    let mut writes = Vec::new();
    for n in 0..100 {
        writes.push(scores.put(&n, &score("early", n)).await.unwrap());
    }
    assert_eq!(scores.get(&7).await.unwrap(), Some(score("early", 7)));
    assert_eq!(scores.stats().in_flight, 100);
    let reading = scores.clone();
    let reading = tokio::spawn(async move { reading.get(&1_000).await });
    kafka.broker.brokers_up().unwrap();
    for write in writes {
        soon("an early write", write.replicated()).await.unwrap();
    }
    assert_eq!(soon("an event", events.next()).await, Some(Event::Connected));
    let loaded = soon("a row that had to wait", reading).await.unwrap();
    assert_eq!(loaded.unwrap(), Some(score("loaded", 1_000)));
    assert_eq!(prepared.load(Ordering::SeqCst), 1);
    assert_eq!(kafka.log().len(), 100);
    kafka.commit_all();
    soon("all to be persisted", scores.persisted_all()).await.unwrap();
    scores.close(DEADLINE).await.unwrap();
}

#[tokio::test]
async fn with_another_partition_count_nothing_is_sent_and_the_handle_is_halted() {
    let kafka = Kafka::start(2);
    kafka.broker.brokers_down().unwrap();
    let builder = kafka.builder(&[]).start_timeout(SOON).start_offline(3);
    let scores: Handle = builder.build().await.unwrap();
    scores.put(&1, &score("early", 1)).await.unwrap();
    kafka.broker.brokers_up().unwrap();
    crate::embedded::until("the handle to be halted", || scores.halted().is_some()).await;
    assert_eq!(scores.halted(), Some(Halt::Repartitioned { was: 3, now: 2 }));
    let refused = scores.put(&2, &score("late", 2)).await.unwrap_err();
    assert!(matches!(refused, WriteError::Halted(_)) && !refused.may_pass());
    assert_eq!(kafka.log().len(), 0);
    let undelivered = scores.close(SOON).await.unwrap_err();
    assert_eq!(undelivered.keys, ["1"]);
}

#[tokio::test]
async fn a_handle_that_never_saw_kafka_ends_and_names_what_it_has() {
    let kafka = Kafka::start(1);
    kafka.broker.brokers_down().unwrap();
    let builder = kafka.builder(&[]).start_timeout(SOON).start_offline(1);
    let scores: Handle = builder.build().await.unwrap();
    scores.put(&1, &score("early", 1)).await.unwrap();
    let undelivered = soon("the end", scores.close(SOON)).await.unwrap_err();
    assert_eq!((undelivered.writes, &*undelivered.keys), (1, &["1".to_owned()][..]));
}

#[tokio::test]
async fn a_builder_can_be_tried_again_with_the_same_loader_and_registry() {
    let kafka = Kafka::start(2);
    kafka.broker.brokers_down().unwrap();
    let (registry, prepared) = (Registry::new(), Arc::new(AtomicUsize::new(0)));
    let builder = kafka.builder::<i64, Score>(&[]).start_timeout(SOON).metrics(&registry);
    let builder = builder.loader(Prepared(Arc::clone(&prepared)));
    let error = builder.clone().build().await.map(drop).unwrap_err();
    assert!(matches!(error, BuildError::NoAnswer(_)) && error.may_pass(), "{error}");
    let BuildError::NoAnswer(reason) = error else { panic!("no answer") };
    assert_eq!(reason.kafka(), Some(KafkaCause::Unreachable), "{reason}");
    kafka.broker.brokers_up().unwrap();
    let builder = builder.start_timeout(DEADLINE);
    let scores: Handle = builder.build().await.unwrap();
    assert_eq!(scores.get(&7).await.unwrap(), Some(score("loaded", 7)));
}

#[tokio::test]
async fn what_can_not_start_offline_is_refused() {
    let kafka = Kafka::start(1);
    for builder in [
        kafka.builder::<i64, Score>(&[]).start_offline(0),
        kafka.builder::<i64, Score>(&[]).start_offline(1).follow(true),
    ] {
        let error = builder.build().await.map(drop).unwrap_err();
        assert!(matches!(error, BuildError::Limit(_)) && !error.may_pass(), "{error}");
    }
    let error = kafka.builder::<i64, Score>(&[]).start_offline(2).build().await.map(drop);
    let error = error.unwrap_err();
    assert!(matches!(error, BuildError::Partitions { said: 2, has: 1 }), "{error}");
}
