//! Cached rows: how long they are right, and how they are made to go.

use std::time::Duration;

use tokio::task::JoinHandle;
use write_behind_producer::{LoadError, ReadError, WriteBehind};

use crate::by_hand::ByHand;
use crate::embedded::{Kafka, Score, score, soon, until};

type Handle = WriteBehind<i64, Score>;

async fn handle(kafka: &Kafka, loader: &ByHand) -> Handle {
    kafka.builder(&[]).loader(loader.clone()).build().await.unwrap()
}

fn get(scores: &Handle, key: i64) -> JoinHandle<Result<Option<Score>, ReadError>> {
    let scores = scores.clone();
    tokio::spawn(async move { scores.get(&key).await })
}

fn refresh(scores: &Handle, key: i64) -> JoinHandle<Result<Option<Score>, ReadError>> {
    let scores = scores.clone();
    tokio::spawn(async move { scores.refresh(&key).await })
}

/// The row becomes a cached row by the load of this number.
async fn load(scores: &Handle, by_hand: &ByHand, number: usize, row: Option<Score>) {
    let reader = get(scores, 1);
    by_hand.answer(number, &[row]).await;
    soon("the reader", reader).await.unwrap().unwrap();
}

async fn persist(kafka: &Kafka, write: write_behind_producer::Receipt) {
    soon("the write", write.replicated()).await.unwrap();
    kafka.commit_all();
    soon("the write to be persisted", write.persisted()).await.unwrap();
}

#[tokio::test]
async fn refresh_replaces_the_clean_copy_and_until_then_others_read_it() {
    let (kafka, by_hand) = (Kafka::start(1), ByHand::default());
    let scores = handle(&kafka, &by_hand).await;
    load(&scores, &by_hand, 0, Some(score("old", 1))).await;
    let refreshed = refresh(&scores, 1);
    by_hand.question(1).await;
    assert_eq!(scores.get(&1).await.unwrap(), Some(score("old", 1)));
    by_hand.answer(1, &[Some(score("new", 2))]).await;
    assert_eq!(soon("the refresh", refreshed).await.unwrap().unwrap(), Some(score("new", 2)));
    assert_eq!(scores.get(&1).await.unwrap(), Some(score("new", 2)));

    let refreshed = refresh(&scores, 1);
    by_hand.fail(2).await;
    assert!(soon("the refresh", refreshed).await.unwrap().is_err());
    assert_eq!(scores.get(&1).await.unwrap(), Some(score("new", 2)), "a failure changes nothing");

    let refreshed = refresh(&scores, 1);
    by_hand.answer(3, &[None]).await;
    assert_eq!(soon("the refresh", refreshed).await.unwrap().unwrap(), None);
    let reader = get(&scores, 1);
    by_hand.question(4).await;
    by_hand.answer(4, &[None]).await;
    assert_eq!(soon("the reader", reader).await.unwrap().unwrap(), None, "the copy is gone");
}

#[tokio::test]
async fn refresh_never_puts_a_row_over_what_is_pending() {
    let (kafka, by_hand) = (Kafka::start(1), ByHand::default());
    let scores = handle(&kafka, &by_hand).await;
    load(&scores, &by_hand, 0, Some(score("old", 1))).await;
    let refreshed = refresh(&scores, 1);
    by_hand.question(1).await;
    let write = scores.put(&1, &score("mine", 3)).await.unwrap();
    assert_eq!(scores.refresh(&1).await.unwrap(), Some(score("mine", 3)), "without a question");
    persist(&kafka, write).await;
    by_hand.answer(1, &[Some(score("stale", 2))]).await;
    assert_eq!(soon("the refresh", refreshed).await.unwrap().unwrap(), Some(score("mine", 3)));
    assert_eq!(scores.get(&1).await.unwrap(), Some(score("mine", 3)));
    assert_eq!(by_hand.asked(), 2);
    scores.delete(&1).await.unwrap();
    assert_eq!(scores.refresh(&1).await.unwrap(), None);
}

#[tokio::test]
async fn a_row_that_was_invalidated_is_loaded_again() {
    let (kafka, by_hand) = (Kafka::start(2), ByHand::default());
    let scores = handle(&kafka, &by_hand).await;
    load(&scores, &by_hand, 0, Some(score("old", 1))).await;
    scores.invalidate(&1).unwrap();
    load(&scores, &by_hand, 1, Some(score("newer", 2))).await;
    assert_eq!(scores.get(&1).await.unwrap(), Some(score("newer", 2)));
    scores.invalidate_all();
    load(&scores, &by_hand, 2, Some(score("newest", 3))).await;
    assert_eq!(scores.get(&1).await.unwrap(), Some(score("newest", 3)));
}

/// H20: the load had read the row before it was changed, and answers after it was invalidated.
#[tokio::test]
async fn a_load_that_was_under_way_when_its_row_was_invalidated_is_not_kept() {
    for all in [false, true] {
        for late in [false, true] {
            let (kafka, by_hand) = (Kafka::start(1), ByHand::default());
            let scores = handle(&kafka, &by_hand).await;
            let early = get(&scores, 1);
            by_hand.question(0).await;
            if all {
                scores.invalidate_all();
            } else {
                scores.invalidate(&1).unwrap();
            }
            let after = get(&scores, 1);
            by_hand.question(1).await;
            let old = [Some(score("old", 1))];
            if late {
                by_hand.answer(1, &[Some(score("new", 2))]).await;
                soon("the read after", after).await.unwrap().unwrap();
                by_hand.answer(0, &old).await;
                soon("the early read", early).await.unwrap().unwrap();
            } else {
                by_hand.answer(0, &old).await;
                let found = soon("the early read", early).await.unwrap().unwrap();
                assert_eq!(found, Some(score("old", 1)), "who asked before may see it");
                by_hand.answer(1, &[Some(score("new", 2))]).await;
                let found = soon("the read after", after).await.unwrap().unwrap();
                assert_eq!(found, Some(score("new", 2)), "all {all}, late {late}");
            }
            assert_eq!(scores.get(&1).await.unwrap(), Some(score("new", 2)));
            assert_eq!(by_hand.asked(), 2, "all {all}, late {late}");
        }
    }
}

#[tokio::test]
async fn what_was_pending_when_its_row_was_invalidated_does_not_become_a_clean_copy() {
    let (kafka, by_hand) = (Kafka::start(1), ByHand::default());
    let scores = handle(&kafka, &by_hand).await;
    for (number, all) in [(0, false), (1, true)] {
        let write = scores.put(&1, &score("mine", 1)).await.unwrap();
        if all {
            scores.invalidate_all();
        } else {
            scores.invalidate(&1).unwrap();
        }
        assert_eq!(scores.get(&1).await.unwrap(), Some(score("mine", 1)), "it is still pending");
        persist(&kafka, write).await;
        load(&scores, &by_hand, number, Some(score("theirs", 2))).await;
        assert_eq!(scores.get(&1).await.unwrap(), Some(score("theirs", 2)));
        scores.invalidate_all();
    }
}

#[tokio::test]
async fn a_missing_row_is_asked_for_each_time_unless_misses_are_cached() {
    let (kafka, by_hand) = (Kafka::start(1), ByHand::default());
    let scores = handle(&kafka, &by_hand).await;
    load(&scores, &by_hand, 0, None).await;
    load(&scores, &by_hand, 1, None).await;

    let by_hand = ByHand::default();
    let builder = kafka.builder(&[]).loader(by_hand.clone()).cache_misses(true);
    let scores: Handle = builder.build().await.unwrap();
    load(&scores, &by_hand, 0, None).await;
    assert_eq!(scores.get(&1).await.unwrap(), None);
    assert_eq!(by_hand.asked(), 1);
    // A write ends it at once, whether it is the whole row or a part.
    scores.put(&1, &score("mine", 1)).await.unwrap();
    assert_eq!(scores.get(&1).await.unwrap(), Some(score("mine", 1)));
    let write = scores.delete(&1).await.unwrap();
    persist(&kafka, write).await;
    assert_eq!(scores.get(&1).await.unwrap(), None, "a delete is remembered too");
    assert_eq!(by_hand.asked(), 1);
    scores.add(&1, "score", 5).await.unwrap();
    scores.update(&1, &serde_json::json!({"name": "part"})).await.unwrap();
    load(&scores, &by_hand, 1, None).await;
    assert_eq!(scores.get(&1).await.unwrap(), Some(score("part", 5)));
}

/// The load saw no row; the row was written and persisted before the loader answered.
#[tokio::test]
async fn a_miss_that_is_older_than_a_write_is_not_cached() {
    let (kafka, by_hand) = (Kafka::start(1), ByHand::default());
    let builder = kafka.builder(&[]).loader(by_hand.clone()).cache_misses(true);
    let scores: Handle = builder.build().await.unwrap();
    let reader = get(&scores, 1);
    by_hand.question(0).await;
    let write = scores.put(&1, &score("mine", 1)).await.unwrap();
    persist(&kafka, write).await;
    by_hand.answer(0, &[None]).await;
    assert_eq!(soon("the reader", reader).await.unwrap().unwrap(), Some(score("mine", 1)));
    assert_eq!(scores.get(&1).await.unwrap(), Some(score("mine", 1)));
    assert_eq!(by_hand.asked(), 1);
}

#[tokio::test]
async fn a_clean_copy_is_served_no_longer_than_its_time_to_live() {
    let kafka = Kafka::start(1);
    let asked = std::sync::Arc::new(std::sync::atomic::AtomicI64::new(0));
    let count = std::sync::Arc::clone(&asked);
    let loader = move |_: i64| {
        let number = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        async move { Ok::<_, LoadError>(Some(score("stored", number))) }
    };
    let builder = kafka.builder(&[]).loader(loader).time_to_live(Duration::from_millis(20));
    let scores: Handle = builder.build().await.unwrap();
    assert_eq!(scores.get(&1).await.unwrap(), Some(score("stored", 0)));
    let seen_again = async {
        while scores.get(&1).await.unwrap() == Some(score("stored", 0)) {
            tokio::task::yield_now().await;
        }
    };
    soon("the row to be loaded again", seen_again).await;
}

/// As on a route with `version`: the database kept a newer row than the one that was written.
#[tokio::test]
async fn without_cached_writes_a_row_is_read_from_the_database_once_it_is_persisted() {
    let (kafka, by_hand) = (Kafka::start(1), ByHand::default());
    let builder = kafka.builder(&[]).loader(by_hand.clone()).cache_writes(false);
    let scores: Handle = builder.build().await.unwrap();
    load(&scores, &by_hand, 0, Some(score("loaded", 1))).await;
    assert_eq!(scores.get(&1).await.unwrap(), Some(score("loaded", 1)), "loads are cached");
    let write = scores.put(&1, &score("written", 2)).await.unwrap();
    assert_eq!(
        scores.get(&1).await.unwrap(),
        Some(score("written", 2)),
        "one's own writes are read"
    );
    persist(&kafka, write).await;
    load(&scores, &by_hand, 1, Some(score("newer", 3))).await;
    assert_eq!(scores.get(&1).await.unwrap(), Some(score("newer", 3)));
    persist(&kafka, scores.add(&1, "score", 1).await.unwrap()).await;
    let reader = get(&scores, 1);
    by_hand.answer(2, &[Some(score("newer", 9))]).await;
    assert_eq!(soon("the reader", reader).await.unwrap().unwrap(), Some(score("newer", 9)));
}

#[tokio::test]
async fn pending_rows_outlive_every_limit_on_clean_copies() {
    let (kafka, by_hand) = (Kafka::start(1), ByHand::default());
    let brief = Duration::from_nanos(1);
    let builder = kafka.builder(&[]).loader(by_hand.clone()).capacity_bytes(1);
    let builder = builder.time_to_live(brief).time_to_idle(brief);
    let scores: Handle = builder.build().await.unwrap();
    let write = scores.put(&1, &score("mine", 1)).await.unwrap();
    soon("the write", write.replicated()).await.unwrap();
    assert_eq!(scores.get(&1).await.unwrap(), Some(score("mine", 1)));
    kafka.commit_all();
    soon("the write to be persisted", write.persisted()).await.unwrap();
    let reader = get(&scores, 1);
    until("it is asked for as soon as it is clean", || by_hand.asked() == 1).await;
    reader.abort();
}
