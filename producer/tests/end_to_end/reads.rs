//! Reads: pending, cached rows, loader.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Semaphore;
use write_behind_producer::{LoadError, Loaded, Loader, NextOffset, ReadError, WriteBehind};

use crate::embedded::{Kafka, Score, score, soon, until};

type Handle = WriteBehind<i64, Score>;

/// A database of one answer, given when a permit comes.
#[derive(Clone)]
struct Slow {
    asked: Arc<AtomicUsize>,
    permits: Arc<Semaphore>,
    answer: Option<Score>,
    next: i64,
}

impl Slow {
    fn new(answer: Option<Score>, next: i64) -> Self {
        Self { asked: Arc::default(), permits: Arc::new(Semaphore::new(0)), answer, next }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Loader<i64> for Slow {
    async fn load(&self, _: &i64) -> Result<Loaded, LoadError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.permits.acquire().await.map_err(LoadError::new)?.forget();
        let found = self.answer.as_ref().map_or(Ok(Loaded::missing()), Loaded::row)?;
        Ok(found.at(NextOffset(self.next)))
    }
}

#[tokio::test]
async fn many_readers_of_a_row_share_one_load_and_then_its_clean_copy() {
    let kafka = Kafka::start(1);
    let slow = Slow::new(Some(score("stored", 1)), 0);
    let scores: Handle = kafka.builder(&[]).loader(slow.clone()).build().await.unwrap();
    let readers: Vec<_> = (0..20)
        .map(|_| {
            let scores = scores.clone();
            tokio::spawn(async move { scores.get(&1).await.unwrap() })
        })
        .collect();
    until("the loader is asked", || slow.asked() == 1).await;
    slow.permits.add_permits(1);
    for reader in readers {
        assert_eq!(soon("a reader", reader).await.unwrap(), Some(score("stored", 1)));
    }
    assert_eq!(scores.get(&1).await.unwrap(), Some(score("stored", 1)));
    assert_eq!(slow.asked(), 1);
}

#[tokio::test]
async fn a_reader_that_goes_away_takes_nothing_from_the_others() {
    let kafka = Kafka::start(1);
    let slow = Slow::new(Some(score("stored", 1)), 0);
    let scores: Handle = kafka.builder(&[]).loader(slow.clone()).build().await.unwrap();
    let first = {
        let scores = scores.clone();
        tokio::spawn(async move { scores.get(&1).await })
    };
    until("the loader is asked", || slow.asked() == 1).await;
    first.abort();
    let second = {
        let scores = scores.clone();
        tokio::spawn(async move { scores.get(&1).await })
    };
    assert!(first.await.unwrap_err().is_cancelled());
    slow.permits.add_permits(1);
    assert_eq!(soon("the other", second).await.unwrap().unwrap(), Some(score("stored", 1)));
    assert_eq!(slow.asked(), 1);
}

#[tokio::test]
async fn a_put_during_a_load_wins() {
    let kafka = Kafka::start(1);
    let slow = Slow::new(Some(score("old", 1)), 0);
    let scores: Handle = kafka.builder(&[]).loader(slow.clone()).build().await.unwrap();
    let reader = {
        let scores = scores.clone();
        tokio::spawn(async move { scores.get(&1).await.unwrap() })
    };
    until("the loader is asked", || slow.asked() == 1).await;
    let write = scores.put(&1, &score("new", 2)).await.unwrap();
    write.replicated().await.unwrap();
    kafka.commit_all();
    soon("the put to be persisted", write.persisted()).await.unwrap();
    slow.permits.add_permits(1);
    assert_eq!(soon("the reader", reader).await.unwrap(), Some(score("new", 2)));
    assert_eq!(scores.get(&1).await.unwrap(), Some(score("new", 2)));
    assert_eq!(slow.asked(), 1, "the put is cached now");
}

#[tokio::test]
async fn an_increment_over_a_row_that_is_only_stored_is_added_once() {
    let kafka = Kafka::start(1);
    // The database holds the first increment, and says so.
    let slow = Slow::new(Some(score("stored", 101)), 1);
    let scores: Handle = kafka.builder(&[]).loader(slow.clone()).build().await.unwrap();
    scores.add(&1, "score", 1).await.unwrap();
    scores.add(&1, "score", 10).await.unwrap();
    slow.permits.add_permits(1);
    let seen = soon("the load", scores.get(&1)).await.unwrap();
    assert_eq!(seen, Some(score("stored", 111)));
}

#[tokio::test]
async fn a_closure_is_a_loader() {
    let kafka = Kafka::start(1);
    let loader = |id: i64| async move {
        if id < 0 { Err("no such shard") } else { Ok((id == 1).then(|| score("stored", 1))) }
    };
    let scores: Handle = kafka.builder(&[]).loader(loader).build().await.unwrap();
    assert_eq!(scores.get(&1).await.unwrap(), Some(score("stored", 1)));
    assert_eq!(scores.get(&2).await.unwrap(), None);
    let error = scores.get(&-1).await.unwrap_err();
    assert!(matches!(&error, ReadError::Load(_)), "{error:?}");
    assert_eq!(error.to_string(), "the row could not be loaded: no such shard");
    scores.update(&1, &serde_json::json!({"name": "new"})).await.unwrap();
    assert_eq!(scores.get(&1).await.unwrap(), Some(score("new", 1)));
}

#[tokio::test]
async fn a_loader_that_panics_is_an_error_and_the_next_read_asks_again() {
    let kafka = Kafka::start(1);
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let loader = move |_: i64| {
        let first = count.fetch_add(1, Ordering::SeqCst) == 0;
        async move {
            assert!(!first, "the first load panics, as the test wants");
            Ok::<_, LoadError>(Some(score("stored", 1)))
        }
    };
    let scores: Handle = kafka.builder(&[]).loader(loader).build().await.unwrap();
    assert!(matches!(scores.get(&1).await, Err(ReadError::Load(_))));
    assert_eq!(scores.get(&1).await.unwrap(), Some(score("stored", 1)));
}

#[tokio::test]
async fn without_a_loader_an_unknown_row_beneath_a_change_is_an_error_not_a_guess() {
    let kafka = Kafka::start(1);
    let scores: Handle = kafka.builder(&[]).build().await.unwrap();
    assert_eq!(scores.get(&1).await.unwrap(), None);
    scores.add(&1, "score", 1).await.unwrap();
    assert!(matches!(scores.get(&1).await, Err(ReadError::NoLoader)));
    scores.put(&1, &score("x", 1)).await.unwrap();
    assert_eq!(scores.get(&1).await.unwrap(), Some(score("x", 1)));
}

#[tokio::test]
async fn a_row_that_does_not_fit_the_type_is_an_error() {
    let kafka = Kafka::start(1);
    let scores: Handle = kafka.builder(&[]).build().await.unwrap();
    scores.put(&1, &score("x", 1)).await.unwrap();
    scores.update(&1, &serde_json::json!({"score": "many"})).await.unwrap();
    assert!(matches!(scores.get(&1).await, Err(ReadError::Type(_))));
}
